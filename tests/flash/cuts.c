/* Power fails at every byte of a save in turn: what is loaded then is the old checkpoint or the new
 * one, never another, and the next save works.  Then every byte is damaged, every read fails. */
#include "states.h"

#define SLOT 256u

static simulated device, prepared;
static uint8_t factory[PART_BYTES], old[PART_BYTES], fresh[PART_BYTES];

static void count(uint32_t word, int holds) {
    driver_report[word] += holds != 0 ? 0u : 1u;
}

static void learn(int32_t from, uint8_t *into) {
    for (int32_t i = from; i < from + 3; ++i) {
        count(0, train(i, 0) == LEARNER_OK);
    }
    states_copy(into);
}

static void wake(void) {
    scramble();
    learner_reset();
}

static void put_word(uint8_t *at, uint32_t value) {
    for (uint32_t i = 0; i < 4u; ++i) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

/* Gives the checkpoint of a slot another sequence number or identity, as word `word`. */
static void rewrite(simulated *f, uint32_t slot, uint32_t word, uint32_t value) {
    uint8_t *const header = f->bytes + slot * f->slot;
    put_word(header + 4u * word, value);
    put_word(header + 28, crc_of(header, 28));
}

/* A flash with `saves` checkpoints, the newest of which is `old` and has sequence number `last`;
 * RAM holds `fresh`. */
static void prepare(uint32_t unit, uint32_t saves, uint32_t last) {
    flash_wipe(&prepared, SLOT < 2u * unit ? 2u * unit : SLOT, unit);
    const learner_flash flash = flash_of(&prepared);
    wake();
    states_copy(factory);
    states_copy(old);
    for (uint32_t i = 0; i < saves; ++i) {
        learn((int32_t)(3u * i), old);
        count(0, learner_save(&flash) == LEARNER_OK);
    }
    if (saves > 0u) {
        rewrite(&prepared, 1u - saves % 2u, 4u, last);
    }
    if (saves > 1u) {
        rewrite(&prepared, saves % 2u, 4u, last - 1u);
    }
    learn(30, fresh);
}

/* Saves `fresh` with power for `cut` bytes; whether that was enough. */
static int save_until(int32_t cut, uint8_t torn) {
    device = prepared;
    device.left = cut;
    device.torn = torn;
    const learner_flash flash = flash_of(&device);
    for (uint32_t p = 0, k = 0; p < PART_COUNT; ++p) {
        for (uint32_t i = 0; i < parts[p].bytes; ++i, ++k) {
            parts[p].data[i] = fresh[k];
        }
    }
    const learner_status status = learner_save(&flash);
    const int done = device.dark == 0;
    count(1, status == (done != 0 ? LEARNER_OK : LEARNER_FLASH_FAILED));
    device.left = -1;
    device.dark = 0;
    return done;
}

static void cut_everywhere(uint8_t torn, int before) {
    static uint8_t third[PART_BYTES];
    int done = 0;
    for (int32_t cut = 0; done == 0; ++cut) {
        done = save_until(cut, torn);
        const learner_flash flash = flash_of(&device);
        wake();
        const learner_status status = learner_load(&flash);
        const int is_new = states_are(fresh), is_old = states_are(before != 0 ? old : factory);
        count(2, is_new != is_old);
        count(3, is_new != 0 || before != 0
                     ? status == LEARNER_OK
                     : status == LEARNER_NO_CHECKPOINT || status == LEARNER_CORRUPT);
        count(4, done == 0 || is_new != 0);
        driver_report[10] += is_old != 0 ? 1u : 0u;
        driver_report[11] += is_new != 0 ? 1u : 0u;
        learn(40, third);
        count(5, learner_save(&flash) == LEARNER_OK);
        wake();
        count(5, learner_load(&flash) == LEARNER_OK && states_are(third) != 0);
    }
}

/* Each byte of the newest checkpoint changed: the older one is loaded, or none. */
static void damage_everywhere(uint32_t saves) {
    const uint32_t newest = saves == 1u ? 0u : 1u;
    const uint32_t start = 32u < prepared.unit ? prepared.unit : 32u;
    for (uint32_t at = 32u; at < prepared.slot; ++at) {
        const int padding = at < start || at >= start + PART_BYTES;
        count(14, padding == 0 || prepared.bytes[newest * prepared.slot + at] == 0xFFu);
    }
    for (uint32_t at = 0; at < start + PART_BYTES; ++at) {
        if (at >= 32u && at < start) {
            continue; /* padding */
        }
        for (int bit = 0; bit <= 8; ++bit) {
            device = prepared;
            device.bytes[newest * device.slot + at] ^= (uint8_t)(bit < 8 ? 1u << bit : 0xFFu);
            const learner_flash flash = flash_of(&device);
            wake();
            const learner_status status = learner_load(&flash);
            count(6, status == (saves == 1u ? LEARNER_CORRUPT : LEARNER_OK));
            count(6, states_are(old) == 0 && (saves > 1u || states_are(factory) != 0));
            driver_report[12] += 1u;
        }
    }
}

/* Each read fails in turn: a whole checkpoint is loaded, or nothing is. */
static void fail_everywhere(void) {
    for (int32_t fails = 1;; ++fails) {
        device = prepared;
        device.reads = 0;
        device.fails = fails;
        const learner_flash flash = flash_of(&device);
        wake();
        const learner_status status = learner_load(&flash);
        if (device.reads < fails) {
            count(7, status == LEARNER_OK && states_are(old) != 0);
            return;
        }
        count(7, status == (states_are(factory) != 0 ? LEARNER_FLASH_FAILED : LEARNER_OK));
        driver_report[13] += 1u;
    }
}

static void foreign(void) {
    const learner_flash flash = flash_of(&device);
    device = prepared;
    for (uint32_t slot = 0; slot < 2u; ++slot) {
        rewrite(&device, slot, 2u, (uint32_t)LEARNER_IDENTITY + 1u);
    }
    wake();
    count(8, learner_load(&flash) == LEARNER_FOREIGN && states_are(factory) != 0);
    device = prepared;
    rewrite(&device, 1u, 1u, 2u | 32u << 16); /* format 2 */
    wake();
    count(8, learner_load(&flash) == LEARNER_OK && states_are(old) == 0);
    device = prepared;
    learner_flash wrong = flash;
    wrong.write_size = 3u;
    count(8, learner_save(&wrong) == LEARNER_INVALID && learner_load(&wrong) == LEARNER_INVALID);
    wrong = flash;
    wrong.slot_bytes = 64u;
    count(8, learner_save(&wrong) == LEARNER_INVALID && learner_save(0) == LEARNER_INVALID);
}

void driver_run(void) {
    static const uint32_t units[] = UNITS;
    for (uint32_t u = 0; u < sizeof units / sizeof units[0]; ++u) {
        for (uint32_t saves = 0; saves < 4u; ++saves) {
            /* with three saves the next sequence number is 0, with two it is UINT32_MAX */
            prepare(units[u], saves, saves == 3u ? UINT32_MAX : UINT32_MAX - 1u);
            cut_everywhere(0x00u, saves > 0u);
            cut_everywhere(0x5Au, saves > 0u);
            driver_report[9] |= prepared.broken | device.broken;
        }
        prepare(units[u], 1u, 1u);
        damage_everywhere(1u);
        fail_everywhere();
        prepare(units[u], 2u, 0u); /* 0 is newer than UINT32_MAX */
        damage_everywhere(2u);
        fail_everywhere();
    }
    prepare(1u, 2u, 9u);
    foreign();
}
