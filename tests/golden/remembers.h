/* remembers: how to run it */
#ifndef REMEMBERS_H
#define REMEMBERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define REMEMBERS_ARENA_RAM as the name of an array of yours, or */
/* REMEMBERS_ARENA_RAM_SECTION as attributes, to place it. */
#define REMEMBERS_ARENA_RAM_BYTES 152
#define REMEMBERS_CONST_BYTES 827

/* input frame: s8[1,1,1,6], real = 0.10000000149011612 * (q - 2); ram+44 */
int8_t *remembers_input(void);
#define REMEMBERS_INPUT_COUNT 6
#define REMEMBERS_INPUT_SCALE 0.10000000149011612f
#define REMEMBERS_INPUT_ZERO_POINT (2)
/* output out: s8[1,3], real = 0.019999999552965164 * (q - 0); ram+44 */
const int8_t *remembers_output(void);
#define REMEMBERS_OUTPUT_COUNT 3
#define REMEMBERS_OUTPUT_SCALE 0.019999999552965164f
#define REMEMBERS_OUTPUT_ZERO_POINT (0)
/* Write the inputs, call this, read the outputs before any other call. */
void remembers_run(void);
#define REMEMBERS_STEP_STEPS 6

/* Puts every state to its value at power-on.  Call it before anything else. */
void remembers_reset(void);

/* Called after each step; define your own to feed a watchdog or count cycles. */
void remembers_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
