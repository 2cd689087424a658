/* One harness for host, Unicorn and QEMU: runs a model's entries as a request says and reports
 * outputs, every traced tensor, and high-water marks.
 *
 * All numbers are little-endian uint32.
 *   request   "LLRQ" nonce, then commands {op, entry, flags}: op 0 end, 1 reset, 2 run (the
 *             entry's input spans follow); flags 1 trace, 2 poison, 4 measure
 *   response  "LLRS", then records {kind, id, bytes, payload}: 1 trace of step id, 2 output span
 *             id, 3 {stack bytes, arena bytes..., guards intact}, 4 end of a run,
 *             5 last: nonce xor FNV-1a of every byte before it
 * A measured run paints the arenas and therefore starts from reset states.
 *
 * It knows nothing of operators, and no model code is in here. */
#include "harness.h"
#include "harness_model.h"
#include "port.h"

#define LL_MAGIC_REQUEST 0x51524C4Cu
#define LL_MAGIC_RESPONSE 0x53524C4Cu
#define LL_PAINT_BYTE 0xA5u
#define LL_GUARD_BYTE 0x5Cu
#define LL_FLAG_TRACE 1u
#define LL_FLAG_POISON 2u
#define LL_FLAG_MEASURE 4u

static uint32_t ll_digest = 2166136261u;
static uint32_t ll_flags;

/* The emulator counts instructions between these three. */
void ll_run_begin(void);
void ll_run_end(void);
void ll_step_begin(uint32_t step);
void ll_step_end(void);
void LL_ON_STEP(uint32_t step);

LL_NOINLINE void ll_run_begin(void) {
    __asm__ volatile("nop" ::: "memory");
}

LL_NOINLINE void ll_run_end(void) {
    __asm__ volatile("nop\n\tnop" ::: "memory");
}

LL_NOINLINE void ll_step_end(void) {
    __asm__ volatile("nop\n\tnop\n\tnop" ::: "memory");
}

static void ll_fail(void) {
    ll_port_exit(1u);
}

static void ll_put(const void *data, uint32_t bytes) {
    const uint8_t *byte = (const uint8_t *)data;
    for (uint32_t i = 0; i < bytes; i++) {
        ll_digest = (ll_digest ^ byte[i]) * 16777619u;
    }
    if (ll_port_write(data, bytes) == 0) {
        ll_fail();
    }
}

static void ll_record(uint32_t kind, uint32_t id, uint32_t bytes) {
    const uint32_t header[3] = {kind, id, bytes};
    ll_put(header, sizeof header);
}

static void ll_take(void *data, uint32_t bytes) {
    if (ll_port_read(data, bytes) == 0) {
        ll_fail();
    }
}

static void ll_fill(void *data, uint32_t bytes, uint8_t value) {
    volatile uint8_t *byte = (volatile uint8_t *)data;
    for (uint32_t i = 0; i < bytes; i++) {
        byte[i] = value;
    }
}

void ll_require(int holds) {
    if (holds == 0) {
        ll_fail();
    }
}

LL_NOINLINE void ll_hand_over(ll_source *source, int32_t first, int32_t count, void *rows) {
    volatile uint8_t *target = (volatile uint8_t *)rows;
    const uint8_t *byte = source->data + (uint32_t)first * source->row_bytes;
    ll_require(first == source->next && count > 0);
    source->next = first + count;
    for (uint32_t i = 0; i < (uint32_t)count * source->row_bytes; i++) {
        target[i] = byte[i];
    }
}

LL_NOINLINE void ll_step_begin(uint32_t step) {
    if ((ll_flags & LL_FLAG_TRACE) != 0u && ll_step_trace[step].count != 0u) {
        const ll_span *span = &ll_spans[ll_step_trace[step].first];
        uint32_t bytes = 0;
        for (uint32_t i = 0; i < ll_step_trace[step].count; i++) {
            bytes += span[i].bytes;
        }
        ll_record(1u, step, bytes);
        for (uint32_t i = 0; i < ll_step_trace[step].count; i++) {
            ll_put(span[i].data, span[i].bytes);
        }
    }
    if ((ll_flags & LL_FLAG_POISON) != 0u) {
        const ll_span *span = &ll_spans[ll_step_poison[step].first];
        for (uint32_t i = 0; i < ll_step_poison[step].count; i++) {
            ll_fill(span[i].data, span[i].bytes, LL_PAINT_BYTE);
        }
    }
}

void LL_ON_STEP(uint32_t step) {
    ll_step_begin(step);
    ll_step_end();
}

static void ll_report_memory(uint32_t stack_bytes) {
    uint32_t intact = 1u;
    ll_record(3u, 0u, 4u * (ll_arena_count + 2u));
    ll_put(&stack_bytes, 4u);
    for (uint32_t a = 0; a < ll_arena_count; a++) {
        const uint8_t *byte = (const uint8_t *)ll_arenas[a].data;
        uint32_t used = (ll_flags & LL_FLAG_MEASURE) != 0u ? ll_arenas[a].bytes : 0u;
        while (used != 0u && byte[used - 1u] == LL_PAINT_BYTE) {
            used--;
        }
        ll_put(&used, 4u);
        for (uint32_t i = 0; i < LL_GUARD; i++) {
            intact &= byte[ll_arenas[a].bytes + i] == LL_GUARD_BYTE ? 1u : 0u;
        }
    }
    ll_put(&intact, 4u);
}

static void ll_run(uint32_t entry) {
    const ll_entry *model = &ll_entries[entry];
    uint32_t stack_bytes = 0;
    if ((ll_flags & LL_FLAG_MEASURE) != 0u) {
        for (uint32_t a = 0; a < ll_arena_count; a++) {
            ll_fill(ll_arenas[a].data, ll_arenas[a].bytes, LL_PAINT_BYTE);
        }
        ll_reset();
    }
    for (uint32_t i = 0; i < model->inputs.count; i++) {
        const ll_span *span = &ll_spans[model->inputs.first + i];
        ll_take(span->data, span->bytes);
    }
    if ((ll_flags & LL_FLAG_MEASURE) != 0u) {
        ll_port_paint_stack();
    }
    ll_run_begin();
    model->run();
    ll_run_end();
    if ((ll_flags & LL_FLAG_MEASURE) != 0u) {
        stack_bytes = ll_port_stack_used();
    }
    for (uint32_t i = 0; i < model->outputs.count; i++) {
        const ll_span *span = &ll_spans[model->outputs.first + i];
        ll_record(2u, i, span->bytes);
        ll_put(span->data, span->bytes);
    }
    ll_report_memory(stack_bytes);
    ll_record(4u, entry, 0u);
}

static void ll_serve(void) {
    for (;;) {
        uint32_t command[3];
        ll_take(command, sizeof command);
        if (command[0] == 0u) {
            return;
        }
        if (command[0] == 1u) {
            ll_reset();
        } else if (command[0] == 2u && command[1] < ll_entry_count) {
            ll_flags = command[2];
            ll_run(command[1]);
        } else {
            ll_fail();
        }
    }
}

int main(void) {
    const uint32_t magic = LL_MAGIC_RESPONSE;
    uint32_t start[2];
    if (ll_port_open() == 0) {
        ll_fail();
    }
    ll_take(start, sizeof start);
    if (start[0] != LL_MAGIC_REQUEST) {
        ll_fail();
    }
    ll_put(&magic, 4u);
    for (uint32_t a = 0; a < ll_arena_count; a++) {
        ll_fill((uint8_t *)ll_arenas[a].data + ll_arenas[a].bytes, LL_GUARD, LL_GUARD_BYTE);
    }
    ll_reset();
    ll_serve();
    ll_record(5u, 0u, 4u);
    {
        const uint32_t seal = ll_digest ^ start[1];
        ll_put(&seal, 4u);
    }
    ll_port_exit(0u);
    return 0;
}
