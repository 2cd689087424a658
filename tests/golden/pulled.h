/* pulled: how to run it */
#ifndef PULLED_H
#define PULLED_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define PULLED_ARENA_RAM as the name of an array of yours, or */
/* PULLED_ARENA_RAM_SECTION as attributes, to place it. */
#define PULLED_ARENA_RAM_BYTES 604
#define PULLED_CONST_BYTES 1007

/* input x: s8[1,13,11,3], real = 0.05000000074505806 * (q - 4); row by row */
#define PULLED_INPUT_COUNT 429
#define PULLED_INPUT_SCALE 0.05000000074505806f
#define PULLED_INPUT_ZERO_POINT (4)
#define PULLED_INPUT_ROWS 13
#define PULLED_INPUT_ROW_COUNT 33
/* Writes rows first to first + count - 1 of x to `rows`, one */
/* behind the other, PULLED_INPUT_ROW_COUNT elements each; `ctx` is the caller's own. */
/* Rows are asked for from the first to the last, each once. */
typedef void (*pulled_rows_fn)(void *ctx, int32_t first, int32_t count, int8_t *rows);
/* output y: s8[1,7,6,6], real = 0.20000000298023224 * (q - 3); ram+0 */
const int8_t *pulled_output(void);
#define PULLED_OUTPUT_COUNT 252
#define PULLED_OUTPUT_SCALE 0.20000000298023224f
#define PULLED_OUTPUT_ZERO_POINT (3)
/* Call this, read the outputs before any other call. */
void pulled_run(pulled_rows_fn rows, void *ctx);
#define PULLED_INFER_STEPS 5

/* Called after each step; define your own to feed a watchdog or count cycles. */
void pulled_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
