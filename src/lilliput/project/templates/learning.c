/* Learning by rounds; see @prefix@_learning.h. */
#include "@prefix@_learning.h"

@prefix@_status @prefix@_mean_loss(const @prefix@_samples *samples, float *mean) {
    float sum = 0.0f;
    if (samples->count == 0u) {
        return @PREFIX@_INVALID;
    }
    for (uint32_t i = 0; i < samples->count; ++i) {
        float loss;
        const int32_t label = samples->give(samples->ctx, i, @evaluate_x@());
        const @prefix@_status status = @evaluate@(0, label, &loss);
        if (status != @PREFIX@_OK) {
            return status;
        }
        sum += loss;
    }
    *mean = sum / (float)samples->count;
    return @PREFIX@_OK;
}

static @prefix@_status learn_all(const @prefix@_samples *learn, uint32_t *steps) {
    @prefix@_status status = @PREFIX@_OK;
    while (*steps < learn->count) {
        const int32_t label = learn->give(learn->ctx, *steps, @train_x@());
        status = @train@(0, label, 0);
        if (status != @PREFIX@_OK) {
            break;
        }
        ++*steps;
    }
    return status;
}

@prefix@_status @prefix@_improve(const @prefix@_flash *flash, const @prefix@_samples *learn,
                                 const @prefix@_samples *held, @prefix@_round *round) {
    round->steps = 0u;
    round->kept = 0;
    @prefix@_status status = @prefix@_mean_loss(held, &round->before);
    round->after = round->before;
    if (status == @PREFIX@_OK) {
        status = @prefix@_save(flash);
    }
    if (status != @PREFIX@_OK) {
        return status;
    }
    status = learn_all(learn, &round->steps);
    if (status == @PREFIX@_OK) {
        status = @prefix@_mean_loss(held, &round->after);
    }
    if (status == @PREFIX@_OK && round->after <= round->before) {
        round->kept = 1;
        return status;
    }
    const @prefix@_status back = @prefix@_load(flash);
    return back != @PREFIX@_OK ? back : status;
}
