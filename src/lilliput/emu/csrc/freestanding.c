/* The two functions of the C library that generated code may call, for images without one. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    uint8_t *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
#if !defined(__ARM_FEATURE_UNALIGNED)
    if ((((uintptr_t)t | (uintptr_t)f) & 3u) == 0u)
#endif
    {
        for (; bytes >= 4u; bytes -= 4u, t += 4, f += 4) {
            *(uint32_t *)(void *)t = *(const uint32_t *)(const void *)f;
        }
    }
    for (; bytes != 0u; bytes--) {
        *t++ = *f++;
    }
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    uint8_t *t = (uint8_t *)to;
    const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    for (; bytes != 0u && ((uintptr_t)t & 3u) != 0u; bytes--) {
        *t++ = (uint8_t)value;
    }
    for (; bytes >= 4u; bytes -= 4u, t += 4) {
        *(uint32_t *)(void *)t = word;
    }
    for (; bytes != 0u; bytes--) {
        *t++ = (uint8_t)value;
    }
    return to;
}
