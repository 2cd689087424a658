/* @name@: learning by rounds, each of which is kept only if it has made nothing worse.
 * Written by lilliput; on top of @prefix@.h and of nothing else. */
#ifndef @PREFIX@_LEARNING_H
#define @PREFIX@_LEARNING_H

#include "@prefix@.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `count` samples of yours.  give: writes sample `index` to `x`, which is where the network reads
 * it (@count@ elements), and returns its class. */
typedef struct {
    int32_t (*give)(void *ctx, uint32_t index, @type@ *x);
    void *ctx; /* given to it */
    uint32_t count;
} @prefix@_samples;

/* before, after: mean loss over the samples that are held out; steps: how many have been taken;
 * kept: whether what was learned is still there. */
typedef struct {
    float before, after;
    uint32_t steps;
    int kept;
} @prefix@_round;

/* Mean loss over samples; nothing moves.  What it answers is that of the first one refused. */
@prefix@_status @prefix@_mean_loss(const @prefix@_samples *samples, float *mean);

/* One round: save, a step for each sample of `learn`, the mean loss over `held`; load again where
 * that is higher than before, or where a step was refused, whose status it answers then.
 *
 * What is kept is in RAM: the next round saves it, or save it yourself.  Power that fails leaves
 * what was saved.  @PREFIX@_INVALID, @PREFIX@_FLASH_FAILED before a step: nothing has been done. */
@prefix@_status @prefix@_improve(const @prefix@_flash *flash, const @prefix@_samples *learn,
                                 const @prefix@_samples *held, @prefix@_round *round);

#ifdef __cplusplus
}
#endif
#endif
