/* Types that a model describes itself with to the harness (see harness.c for the protocol).
 *
 * A header `harness_model.h` written beside the model includes this one and defines:
 *   LL_ON_STEP         name of the model's hook, void hook(uint32_t step)
 *   ll_spans           memory that entries read, write and trace
 *   ll_entries         entry points; ranges are ranges of ll_spans
 *   ll_step_trace      by step: spans whose bytes are reported after it
 *   ll_step_poison     by step: spans that nobody reads after it
 *   ll_arenas          arenas; LL_GUARD bytes behind each belong to the harness
 *   ll_reset           puts every state back to its first value
 */
#ifndef LL_HARNESS_H
#define LL_HARNESS_H

#include "port.h"

#include <stdint.h>

#define LL_GUARD 64u

typedef struct ll_span {
    void *data;
    uint32_t bytes;
} ll_span;

/* An input that the entry asks for row by row; `next` is the row that it has to ask for. */
typedef struct ll_source {
    const uint8_t *data;
    uint32_t row_bytes;
    int32_t next;
} ll_source;

/* Hands rows over; a run that asks out of order, or for a row twice, ends here. */
void ll_hand_over(ll_source *source, int32_t first, int32_t count, void *rows);
/* Ends the run unless `holds`. */
void ll_require(int holds);

typedef struct ll_range {
    uint16_t first;
    uint16_t count;
} ll_range;

typedef struct ll_entry {
    void (*run)(void);
    ll_range inputs;
    ll_range outputs;
} ll_entry;

#endif
