/* The harness's streams on a bare core: Arm or RISC-V semihosting on two files. */
#include "port.h"

#define LL_PAINT 0xA5A5A5A5u
#define LL_PAINT_MAX 65536u
#define LL_SYS_OPEN 0x01u
#define LL_SYS_CLOSE 0x02u
#define LL_SYS_WRITE 0x05u
#define LL_SYS_READ 0x06u
#define LL_SYS_EXIT 0x18u
#define LL_EXIT_OK 0x20026u
#define LL_EXIT_ERROR 0x20023u

extern uint32_t ll_stack_limit[];

static uint32_t ll_request;
static uint32_t ll_response;
static uint32_t *ll_painted;

LL_NOINLINE static uint32_t ll_semihost(uint32_t op, const void *argument) {
#if defined(__arm__)
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#else
    register uint32_t a0 __asm__("a0") = op;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n.option push\n.option norvc\n"
                     "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#endif
}

static uint32_t ll_open(const char *name, uint32_t length, uint32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return ll_semihost(LL_SYS_OPEN, block);
}

int ll_port_open(void) {
    ll_request = ll_open("request.bin", 11u, 1u);
    ll_response = ll_open("response.bin", 12u, 5u);
    return ll_request != UINT32_MAX && ll_response != UINT32_MAX;
}

/* Both calls return the number of bytes that were not moved. */
static int ll_move(uint32_t op, uint32_t file, uint32_t address, uint32_t bytes) {
    const uint32_t block[3] = {file, address, bytes};
    return bytes == 0u || ll_semihost(op, block) == 0u;
}

int ll_port_read(void *data, uint32_t bytes) {
    return ll_move(LL_SYS_READ, ll_request, (uint32_t)(uintptr_t)data, bytes);
}

int ll_port_write(const void *data, uint32_t bytes) {
    return ll_move(LL_SYS_WRITE, ll_response, (uint32_t)(uintptr_t)data, bytes);
}

void ll_port_exit(uint32_t failed) {
    const uintptr_t reason = failed != 0u ? LL_EXIT_ERROR : LL_EXIT_OK;
    (void)ll_semihost(LL_SYS_CLOSE, &ll_response);
#if defined(__arm__)
    (void)ll_semihost(LL_SYS_EXIT, (const void *)reason);
#else
    const uint32_t block[2] = {LL_EXIT_OK, failed};
    (void)reason;
    (void)ll_semihost(0x20u, block);
#endif
    for (;;) {
    }
}

/* The margin keeps the paint clear of this function's own frame. */
LL_NOINLINE void ll_port_paint_stack(void) {
    uint32_t *top = (uint32_t *)__builtin_frame_address(0) - 8;
    uint32_t *word = ll_stack_limit;
    if ((uintptr_t)top - (uintptr_t)word > LL_PAINT_MAX) {
        word = top - LL_PAINT_MAX / 4u;
    }
    ll_painted = word;
    for (; word < top; word++) {
        *(volatile uint32_t *)word = LL_PAINT;
    }
}

LL_NOINLINE uint32_t ll_port_stack_used(void) {
    const uint32_t *top = (const uint32_t *)__builtin_frame_address(0);
    const uint32_t *word = ll_painted;
    while (word < top && *(const volatile uint32_t *)word == LL_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)top - (uintptr_t)word);
}
