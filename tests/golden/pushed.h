/* pushed: how to run it */
#ifndef PUSHED_H
#define PUSHED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define PUSHED_ARENA_RAM as the name of an array of yours, or */
/* PUSHED_ARENA_RAM_SECTION as attributes, to place it. */
#define PUSHED_ARENA_RAM_BYTES 604
#define PUSHED_CONST_BYTES 1007

/* input x: s8[1,13,11,3], real = 0.05000000074505806 * (q - 4); row by row */
#define PUSHED_INPUT_COUNT 429
#define PUSHED_INPUT_SCALE 0.05000000074505806f
#define PUSHED_INPUT_ZERO_POINT (4)
#define PUSHED_INPUT_ROWS 13
#define PUSHED_INPUT_ROW_COUNT 33
/* output y: s8[1,7,6,6], real = 0.20000000298023224 * (q - 3); ram+0 */
const int8_t *pushed_output(void);
#define PUSHED_OUTPUT_COUNT 252
#define PUSHED_OUTPUT_SCALE 0.20000000298023224f
#define PUSHED_OUTPUT_ZERO_POINT (3)
/* Call this with each row from the first to the last.  It computes what that row */
/* allows; 1 after the last one: read the outputs before any other call.  Else 0. */
int pushed_push(const int8_t *row);
/* Forgets the rows so far: the next one is row 0 again. */
void pushed_restart(void);
#define PUSHED_INFER_STEPS 5

/* Called after each step; define your own to feed a watchdog or count cycles. */
void pushed_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
