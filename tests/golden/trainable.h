/* trainable: how to run it */
#ifndef TRAINABLE_H
#define TRAINABLE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define TRAINABLE_ARENA_RAM as the name of an array of yours, or */
/* TRAINABLE_ARENA_RAM_SECTION as attributes, to place it. */
#define TRAINABLE_ARENA_RAM_BYTES 1232
#define TRAINABLE_CONST_BYTES 720

/* input x: f32[1,6,5,3]; ram+816 */
float *trainable_input(void);
#define TRAINABLE_INPUT_COUNT 90
/* output probability: f32[1,4]; ram+232 */
const float *trainable_output(void);
#define TRAINABLE_OUTPUT_COUNT 4
/* Write the inputs, call this, read the outputs before any other call. */
void trainable_run(void);
#define TRAINABLE_INFER_STEPS 5

/* input x_train: f32[1,6,5,3]; ram+872 */
float *trainable_train_input0(void);
#define TRAINABLE_TRAIN_INPUT0_COUNT 90
/* input target: f32[1,4]; ram+256 */
float *trainable_train_input1(void);
#define TRAINABLE_TRAIN_INPUT1_COUNT 4
/* output loss: f32[1,1]; ram+464 */
const float *trainable_train_output(void);
#define TRAINABLE_TRAIN_OUTPUT_COUNT 1
/* Write the inputs, call this, read the outputs before any other call. */
void trainable_train(void);
#define TRAINABLE_TRAIN_STEPS 12

/* Puts every state to its value at power-on.  Call it before anything else. */
void trainable_reset(void);

/* Called after each step; define your own to feed a watchdog or count cycles. */
void trainable_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
