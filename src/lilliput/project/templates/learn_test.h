/* A test of learning: some steps on the input that is built in, and what they must give. */
#ifndef @PREFIX@_LEARN_TEST_H
#define @PREFIX@_LEARN_TEST_H

#include "@prefix@.h"

/* From the factory's values: @steps@ steps; unless `flash` is null, a checkpoint of them that is
 * brought back after a reset, @more@ further steps, and a run of the network that learned.  How
 * many losses and bytes of output are not what they must be; ends with a reset. */
uint32_t @prefix@_learn_test(const @prefix@_flash *flash);

#endif
