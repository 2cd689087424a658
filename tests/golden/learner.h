/* learner: how to run it */
#ifndef LEARNER_H
#define LEARNER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arena in ram: activations, scratch, inputs, outputs and states. */
/* Define LEARNER_ARENA_RAM as the name of an array of yours, or */
/* LEARNER_ARENA_RAM_SECTION as attributes, to place it. */
#define LEARNER_ARENA_RAM_BYTES 128
#define LEARNER_CONST_BYTES 68

typedef enum {
    LEARNER_OK = 0, /* done */
    LEARNER_INVALID = -1, /* an argument is out of range; nothing has been done */
    LEARNER_DIVERGED = -2, /* what was computed is no finite number; states are as they were */
    LEARNER_NO_CHECKPOINT = -3, /* both slots are blank */
    LEARNER_CORRUPT = -4, /* what the slots hold is damaged, or was never finished */
    LEARNER_FLASH_FAILED = -5, /* the flash has refused, or does not hold what was written */
    LEARNER_FOREIGN = -6, /* the checkpoint is one of another program, or of another format */
} learner_status;

/* input x: f32[1,4]; ram+72 */
float *learner_input(void);
#define LEARNER_INPUT_COUNT 4
/* output probability: f32[1,3]; ram+72 */
const float *learner_output(void);
#define LEARNER_OUTPUT_COUNT 3
/* Write the inputs, call this, read the outputs before any other call. */
void learner_run(void);
#define LEARNER_INFER_STEPS 2

/* input image: f32[1,4]; ram+72 */
float *learner_train_step_input0(void);
#define LEARNER_TRAIN_STEP_INPUT0_COUNT 4
/* input label: s32[1]; ram+112 */
int32_t *learner_train_step_input1(void);
#define LEARNER_TRAIN_STEP_INPUT1_COUNT 1
/* output loss: f32[1,1]; ram+124 */
const float *learner_train_step_output0(void);
#define LEARNER_TRAIN_STEP_OUTPUT0_COUNT 1
/* output logits: f32[1,3]; ram+88 */
const float *learner_train_step_output1(void);
#define LEARNER_TRAIN_STEP_OUTPUT1_COUNT 3
/* Write the inputs, call this, read the outputs before any other call. */
/* A null pointer stands for an input that has been written to its place already. */
/* Results are written through pointers that are not null, where the call succeeds. */
/* LEARNER_INVALID, LEARNER_DIVERGED: the call is refused, and every state as it was. */
learner_status learner_train_step(const float *image, int32_t label, float *loss);
#define LEARNER_TRAIN_STEP_STEPS 11

/* Puts every state to its value at power-on.  Call it before anything else. */
void learner_reset(void);

/* state learning_rate: f32; what is not finite is refused */
float learner_get_learning_rate(void);
learner_status learner_set_learning_rate(float value);

/* Checkpoints hold 4 tensors: w, bias, learning_rate, steps */
/* SLOT_BYTES: what each of the two slots needs, whatever the flash writes at once. */
/* IDENTITY: of the network and of what is saved; other checkpoints are refused. */
#define LEARNER_SAVED_BYTES 68
#define LEARNER_SLOT_BYTES 512
#define LEARNER_IDENTITY 0x477247886c57149cULL
/* A flash as two slots, at offsets 0 and slot_bytes.  Its functions return 0 if */
/* they have done it.  erase: a whole slot, which it makes pages of, to 0xFF; */
/* write: at multiples of write_size, in multiples of it, each place once. */
typedef struct {
    int (*read)(void *ctx, uint32_t offset, void *data, uint32_t bytes);
    int (*erase)(void *ctx, uint32_t offset, uint32_t bytes);
    int (*write)(void *ctx, uint32_t offset, const void *data, uint32_t bytes);
    void *ctx; /* given to all of them */
    uint32_t slot_bytes; /* whole pages */
    uint32_t write_size; /* a power of two, at most 256 */
} learner_flash;

/* Writes a checkpoint to the slot that does not hold the newest one.  If power fails on */
/* the way, at whatever byte, the newest one is still there. */
learner_status learner_save(const learner_flash *flash);
/* Brings the newest whole checkpoint back.  Call reset before it at power-on: where it */
/* answers other than OK, states are as they were, or reset if the flash failed midway. */
learner_status learner_load(const learner_flash *flash);

/* Called after each step; define your own to feed a watchdog or count cycles. */
void learner_on_step(uint32_t step);

#ifdef __cplusplus
}
#endif
#endif
