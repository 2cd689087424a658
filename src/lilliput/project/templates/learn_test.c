/* What a few steps of @name@ must give, to the bit; see learn_test.h. */
#include "learn_test.h"

#include "self_test.h"

/* float32, bit by bit */
static const uint32_t losses[@all@] = {@losses@};
/* the network's first output after all of them */
@output@
static uint32_t bits_of(float value) {
    union {
        float value;
        uint32_t bits;
    } u = {value};
    return u.bits;
}

/* Steps first to last - 1, of the classes 0 and 1 in turn. */
static uint32_t learn(int32_t first, int32_t last) {
    uint32_t wrong = 0;
    for (int32_t i = first; i < last; ++i) {
        float loss = 0.0f;
@train_place@        const @prefix@_status status = @train@(@train_given@, i % 2, &loss);
        wrong += status != @PREFIX@_OK || bits_of(loss) != losses[i] ? 1u : 0u;
    }
    return wrong;
}

uint32_t @prefix@_learn_test(const @prefix@_flash *flash) {
    @prefix@_reset();
    uint32_t wrong = learn(0, @steps@);
    if (flash == 0) {
        @prefix@_reset();
        return wrong;
    }
    wrong += @prefix@_save(flash) != @PREFIX@_OK ? 1u : 0u;
    @prefix@_reset();
    wrong += @prefix@_load(flash) != @PREFIX@_OK ? 1u : 0u;
    wrong += learn(@steps@, @all@);
@run_place@    @run@(@run_given@);
    const uint8_t *const found = (const uint8_t *)@run_y@();
    for (uint32_t i = 0; i < sizeof learned; ++i) {
        wrong += found[i] != learned[i] ? 1u : 0u;
    }
    @prefix@_reset();
    return wrong;
}
