"""A hand-written model of two steps, one arena and one state, for the tests of the harness.

y[i] = 3 * x[i] + 1 in step 0, z[i] = y[i] + s in step 1, then s += 1.  Nothing here is generated:
it states the harness's contract in the smallest program that uses all of it.
"""

from __future__ import annotations

import struct

COUNT = 8

MODEL = """\
#include <stdint.h>
#include "model.h"

int32_t tiny_arena[3 * 8 + 16] ARENA;
int32_t tiny_state;

__attribute__((weak)) void tiny_on_step(uint32_t step)
{
    (void)step;
}

__attribute__((noinline)) static void scale(const int32_t *x, int32_t *y)
{
    volatile int32_t local[8];
    for (int i = 0; i < 8; i++) {
        local[i] = 3 * x[i];
    }
    for (int i = 0; i < 8; i++) {
        y[i] = local[i] + 1;
    }
}

__attribute__((noinline)) static void add(const int32_t *y, int32_t *z)
{
    for (int i = 0; i < 8; i++) {
        z[i] = y[i] + tiny_state;
    }
}

void tiny_reset(void)
{
    tiny_state = 10;
}

void tiny_run(void)
{
    scale(tiny_arena, tiny_arena + 8);
    tiny_on_step(0u);
    EXTRA
    add(tiny_arena + 8, tiny_arena + 16);
    tiny_state += 1;
    tiny_on_step(1u);
}
"""

HEADER = """\
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
extern int32_t tiny_arena[];
extern int32_t tiny_state;
void tiny_on_step(uint32_t step);
void tiny_reset(void);
void tiny_run(void);
#endif
"""

HARNESS_MODEL = """\
#include "harness.h"
#include "model.h"
#define LL_ON_STEP tiny_on_step
static const ll_span ll_spans[] = {
    {tiny_arena, 32u}, {tiny_arena + 8, 32u}, {tiny_arena + 16, 32u}, {&tiny_state, 4u},
};
static const ll_entry ll_entries[] = {{tiny_run, {0u, 1u}, {2u, 1u}}};
static const uint32_t ll_entry_count = 1u;
static const ll_range ll_step_trace[] = {{1u, 1u}, {2u, 2u}};
static const ll_range ll_step_poison[] = {{0u, 1u}, {1u, 1u}};
static const ll_span ll_arenas[] = {{tiny_arena, 96u}};
static const uint32_t ll_arena_count = 1u;
static void ll_reset(void)
{
    tiny_reset();
}
"""


def sources(extra: str = ";", model: str = MODEL) -> dict[str, str]:
    """The model's files; `extra` is C code that runs in step 1."""
    text = model.replace("EXTRA", extra).replace(" ARENA", "")
    return {"model.c": text, "model.h": HEADER, "harness_model.h": HARNESS_MODEL}


def pack(*values: int) -> bytes:
    """int32 little endian."""
    return struct.pack(f"<{len(values)}i", *values)


X = pack(*range(COUNT))
Y = pack(*(3 * i + 1 for i in range(COUNT)))


def z(state: int) -> bytes:
    """The output for input X when the state is `state`."""
    return pack(*(3 * i + 1 + state for i in range(COUNT)))
