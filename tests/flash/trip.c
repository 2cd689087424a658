/* Learns, saves, learns on, loads: what is reported is compared with the interpreter. */
#include "states.h"

static simulated device;
static uint8_t kept[PART_BYTES];

static uint32_t states_crc(void) {
    uint8_t all[PART_BYTES];
    states_copy(all);
    return crc_of(all, PART_BYTES);
}

static uint32_t bits_of(float value) {
    union {
        float value;
        uint32_t bits;
    } u = {value};
    return u.bits;
}

static void refusals(void) {
    float loss = 7.0f;
    float *const image = learner_train_step_input0();
    for (int k = 0; k < LEARNER_TRAIN_STEP_INPUT0_COUNT; ++k) {
        image[k] = 3.0e38f;
    }
    driver_report[8] = (uint32_t)learner_train_step(0, 3, &loss);
    driver_report[9] = (uint32_t)learner_train_step(0, -1, &loss);
    driver_report[10] = (uint32_t)learner_train_step(0, 1, &loss);
    driver_report[11] = states_crc();
    driver_report[12] = loss == 7.0f ? 1u : 0u;
    driver_report[13] = (uint32_t)learner_set_learning_rate(image[0] * 10.0f);
}

void driver_run(void) {
    float loss = 0.0f;
    uint32_t failed = 0u;
    flash_wipe(&device, LEARNER_SLOT_BYTES, 8u);
    const learner_flash flash = flash_of(&device);
    scramble();
    learner_reset();
    driver_report[1] = states_crc();
    driver_report[2] = (uint32_t)learner_load(&flash);
    for (int32_t i = 0; i < 5; ++i) {
        failed += train(i, &loss) != LEARNER_OK ? 1u : 0u;
        driver_report[3] ^= bits_of(loss);
    }
    failed += learner_set_learning_rate(0.125f) != LEARNER_OK ? 1u : 0u;
    failed += learner_save(&flash) != LEARNER_OK ? 1u : 0u;
    states_copy(kept);
    driver_report[4] = states_crc();
    for (int32_t i = 5; i < 10; ++i) {
        failed += train(i, 0) != LEARNER_OK ? 1u : 0u;
    }
    driver_report[5] = states_crc();
    failed += states_are(kept) != 0 ? 1u : 0u;
    failed += learner_load(&flash) != LEARNER_OK ? 1u : 0u;
    failed += states_are(kept) == 0 ? 1u : 0u;
    driver_report[6] = states_crc();
    scramble();
    learner_reset();
    failed += learner_load(&flash) != LEARNER_OK ? 1u : 0u;
    driver_report[7] = states_crc();
    failed += learner_get_learning_rate() != 0.125f ? 1u : 0u;
    refusals();
    driver_report[0] = failed + device.broken * 256u;
}
