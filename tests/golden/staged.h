/* staged: how to run it */
#ifndef STAGED_H
#define STAGED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define STAGED_ARENA_RAM as the name of an array of yours, or */
/* STAGED_ARENA_RAM_SECTION as attributes, to place it. */
#define STAGED_ARENA_RAM_BYTES 3072
/* Arena in far: activations, scratch, inputs, outputs and states. */
/* Define STAGED_ARENA_FAR as the name of an array of yours, or */
/* STAGED_ARENA_FAR_SECTION as attributes, to place it. */
#define STAGED_ARENA_FAR_BYTES 300
#define STAGED_CONST_BYTES 5184

/* input x: s8[1,6,5,4], real = 0.10000000149011612 * (q - 1); ram+656 */
int8_t *staged_input(void);
#define STAGED_INPUT_COUNT 120
#define STAGED_INPUT_SCALE 0.10000000149011612f
#define STAGED_INPUT_ZERO_POINT (1)
/* output z: s8[1,14], real = 1.100000023841858 * (q - 2); ram+3056 */
const int8_t *staged_output(void);
#define STAGED_OUTPUT_COUNT 14
#define STAGED_OUTPUT_SCALE 1.100000023841858f
#define STAGED_OUTPUT_ZERO_POINT (2)
/* Write the inputs, call this, read the outputs before any other call. */
void staged_run(void);
#define STAGED_INFER_STEPS 8

/* Called after each step; define your own to feed a watchdog or count cycles. */
void staged_on_step(uint32_t step);

/* Start a copy between memories; wait for all that were started. */
/* Define your own to use DMA; the default is memcpy. */
void staged_copy_start(void *target, const void *source, uint32_t bytes);
void staged_copy_wait(void);

#ifdef __cplusplus
}
#endif
#endif
