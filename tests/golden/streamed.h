/* streamed: how to run it */
#ifndef STREAMED_H
#define STREAMED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define STREAMED_ARENA_RAM as the name of an array of yours, or */
/* STREAMED_ARENA_RAM_SECTION as attributes, to place it. */
#define STREAMED_ARENA_RAM_BYTES 1156
#define STREAMED_CONST_BYTES 1597

/* input x: s8[1,13,11,3], real = 0.05000000074505806 * (q - 4); ram+724 */
int8_t *streamed_input(void);
#define STREAMED_INPUT_COUNT 429
#define STREAMED_INPUT_SCALE 0.05000000074505806f
#define STREAMED_INPUT_ZERO_POINT (4)
/* output y: s8[1,7,6,6], real = 0.20000000298023224 * (q - 3); ram+724 */
const int8_t *streamed_output(void);
#define STREAMED_OUTPUT_COUNT 252
#define STREAMED_OUTPUT_SCALE 0.20000000298023224f
#define STREAMED_OUTPUT_ZERO_POINT (3)
/* Write the inputs, call this, read the outputs before any other call. */
void streamed_run(void);
#define STREAMED_INFER_STEPS 4

/* Called after each step; define your own to feed a watchdog or count cycles. */
void streamed_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
