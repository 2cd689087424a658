/* Two programs that learn in one firmware, and one flash: each refuses what the other has left. */
#include "states.h"

#include "other.h"

static simulated device;

void driver_run(void) {
    static uint8_t factory[PART_BYTES];
    flash_wipe(&device, LEARNER_SLOT_BYTES, 32u);
    const learner_flash mine = flash_of(&device);
    const other_flash theirs = {flash_read, flash_erase, flash_write,
                                &device,    device.slot, device.unit};
    learner_reset();
    other_reset();
    states_copy(factory);
    driver_report[0] = train(1, 0) == LEARNER_OK && states_are(factory) == 0 ? 1u : 0u;
    driver_report[1] = other_save(&theirs) == OTHER_OK ? 1u : 0u;
    learner_reset();
    driver_report[2] = (uint32_t)learner_load(&mine);
    driver_report[3] = states_are(factory) != 0 ? 1u : 0u;
    /* the other's checkpoint is left where it is, until its place is needed */
    driver_report[4] = learner_save(&mine) == LEARNER_OK ? 1u : 0u;
    driver_report[5] = other_load(&theirs) == OTHER_OK ? 1u : 0u;
    driver_report[6] = learner_load(&mine) == LEARNER_OK ? 1u : 0u;
    driver_report[7] = learner_save(&mine) == LEARNER_OK ? 1u : 0u;
    driver_report[8] = (uint32_t)other_load(&theirs);
    driver_report[9] = device.broken;
}
