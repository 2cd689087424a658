/* A flash of two slots as it behaves: erased bytes are 0xFF, writing only clears bits, a place is
 * written once between erasures, in whole units.  Power may fail before any byte, or in it. */
#ifndef SIMULATED_H
#define SIMULATED_H

#include <stdint.h>

#define FLASH_SLOT_MOST 512u

typedef struct {
    uint8_t bytes[2u * FLASH_SLOT_MOST];
    uint8_t written[2u * FLASH_SLOT_MOST]; /* since the last erasure */
    uint32_t slot, unit;
    int32_t left;         /* bytes until power fails; < 0: it does not */
    uint8_t torn;         /* bits that the byte in which it fails has of what it becomes */
    int32_t reads, fails; /* reads so far; the one that fails, 0: none does */
    uint32_t broken;      /* rules that have been broken */
    int dark;             /* power has failed: from then on nothing happens to the flash */
} simulated;

/* Makes a byte what it becomes, if power lasts. */
static inline void flash_byte(simulated *f, uint32_t at, uint8_t value) {
    if (f->left == 0) {
        f->bytes[at] = (uint8_t)((f->bytes[at] & (uint8_t)~f->torn) | (value & f->torn));
        f->dark = 1;
        return;
    }
    if (f->left > 0) {
        --f->left;
    }
    f->bytes[at] = value;
}

static inline int flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes) {
    simulated *f = (simulated *)ctx;
    uint8_t *out = (uint8_t *)data;
    if (bytes > 2u * f->slot || offset > 2u * f->slot - bytes) {
        f->broken |= 1u;
        return -1;
    }
    if (f->dark != 0 || ++f->reads == f->fails) {
        return -1;
    }
    for (uint32_t i = 0; i < bytes; ++i) {
        out[i] = f->bytes[offset + i];
    }
    return 0;
}

static inline int flash_erase(void *ctx, uint32_t offset, uint32_t bytes) {
    simulated *f = (simulated *)ctx;
    if (bytes != f->slot || (offset != 0u && offset != f->slot)) {
        f->broken |= 2u;
    }
    for (uint32_t i = 0; i < bytes && f->dark == 0; ++i) {
        f->written[offset + i] = 0u;
        flash_byte(f, offset + i, 0xFFu);
    }
    return f->dark == 0 ? 0 : -1;
}

static inline int flash_write(void *ctx, uint32_t offset, const void *data, uint32_t bytes) {
    simulated *f = (simulated *)ctx;
    const uint8_t *in = (const uint8_t *)data;
    if (offset % f->unit != 0u || bytes % f->unit != 0u || bytes == 0u ||
        offset / f->slot != (offset + bytes - 1u) / f->slot || offset + bytes > 2u * f->slot) {
        f->broken |= 4u;
    }
    for (uint32_t i = 0; i < bytes && f->dark == 0; ++i) {
        if (f->written[offset + i] != 0u || f->bytes[offset + i] != 0xFFu) {
            f->broken |= 8u;
        }
        f->written[offset + i] = 1u;
        flash_byte(f, offset + i, (uint8_t)(f->bytes[offset + i] & in[i]));
    }
    return f->dark == 0 ? 0 : -1;
}

#endif
