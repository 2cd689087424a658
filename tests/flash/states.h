/* The saved states as a test sees them: bytes in the arena of the learner.  Also an independent
 * CRC-32, the steps of a training whose examples Python has, too, and what every driver defines. */
#ifndef STATES_H
#define STATES_H

#include "driver.h"
#include "learner.h"
#include "simulated.h"

uint32_t driver_report[REPORT];
uint8_t driver_arena[64];
extern uint8_t learner_arena[];
_Alignas(16) uint8_t learner_arena[ARENA_BYTES];

typedef struct {
    uint8_t *data;
    uint32_t bytes;
} part;

static const part parts[PART_COUNT] = PARTS;

static inline uint32_t crc_step(uint32_t crc, uint8_t byte) {
    crc ^= byte;
    for (int k = 0; k < 8; ++k) {
        crc = (crc & 1u) != 0u ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
    }
    return crc;
}

static inline uint32_t crc_of(const uint8_t *data, uint32_t bytes) {
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < bytes; ++i) {
        crc = crc_step(crc, data[i]);
    }
    return ~crc;
}

static inline void states_copy(uint8_t *to) {
    for (uint32_t p = 0; p < PART_COUNT; ++p) {
        for (uint32_t i = 0; i < parts[p].bytes; ++i) {
            *to++ = parts[p].data[i];
        }
    }
}

static inline int states_are(const uint8_t *wanted) {
    uint8_t all[PART_BYTES];
    int same = 1;
    states_copy(all);
    for (uint32_t i = 0; i < PART_BYTES; ++i) {
        same &= all[i] == wanted[i] ? 1 : 0;
    }
    return same;
}

/* What RAM holds at power-on. */
static inline void scramble(void) {
    for (uint32_t i = 0; i < ARENA_BYTES; ++i) {
        learner_arena[i] = 0xA5u;
    }
}

/* Example i of `driven` in learner.py. */
static inline learner_status train(int32_t i, float *loss) {
    float image[LEARNER_TRAIN_STEP_INPUT0_COUNT];
    for (int32_t k = 0; k < LEARNER_TRAIN_STEP_INPUT0_COUNT; ++k) {
        image[k] = k == i % 3 ? 1.0f : 0.25f * (float)(k + i % 5);
    }
    return learner_train_step(image, i % 3, loss);
}

static inline learner_flash flash_of(simulated *f) {
    const learner_flash flash = {flash_read, flash_erase, flash_write, f, f->slot, f->unit};
    return flash;
}

static inline void flash_wipe(simulated *f, uint32_t slot, uint32_t unit) {
    for (uint32_t i = 0; i < 2u * FLASH_SLOT_MOST; ++i) {
        f->bytes[i] = 0xFFu;
        f->written[i] = 0u;
    }
    f->slot = slot;
    f->unit = unit;
    f->left = -1;
    f->reads = f->fails = 0;
    f->dark = 0;
}

#endif
