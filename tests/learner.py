"""A small classifier that learns, written by hand, and the C that drives it in tests.

A linear layer of three classes over four features.  `train_step` moves its weights and bias by
stochastic gradient descent, and refuses labels that are no class and losses that are no number.
Not a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lilliput.codegen.emit import emit
from lilliput.codegen.keep import saved_bytes
from lilliput.devices.device import Device, load
from lilliput.emu.machine import Command, emulation_device, run_emulated, run_host
from lilliput.emu.toolchain import Toolchain, build_firmware, build_host, find
from lilliput.ir import Builder, Guard, Module, State, Value, finite, verify
from lilliput.ir.types import Array, f32, s32
from lilliput.ops.conv import Linear, linear
from lilliput.ops.elementwise import add, mul, sub
from lilliput.ops.index import OneHot, one_hot
from lilliput.ops.shape import Reshape, reshape
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.training import softmax_cross_entropy
from lilliput.plan.build import plan
from lilliput.plan.program import Program

FEATURES, CLASSES = 4, 3
SOURCES = Path(__file__).parent / "flash"


@dataclass(frozen=True)
class Tensors:
    """What the entries share."""

    w: Value
    bias: Value
    rate: Value
    steps: Value


def learner(name: str = "learner", *, late_loss: bool = False) -> Module:
    """`infer(x) -> probability`, `train_step(image, label) -> loss, logits`.

    late_loss : the nodes are in an order in which the loss comes after the updates
    """
    names: set[str] = set()
    b = Builder(names=names)
    x = b.input("x", f32(1, FEATURES))
    rng = np.random.default_rng(11)
    w = b.state("w", f32(CLASSES, FEATURES), rng.normal(0, 0.5, (CLASSES, FEATURES)).astype("f4"))
    bias = b.state("bias", f32(CLASSES), np.zeros(CLASSES, np.float32))
    rate = b.state("learning_rate", f32(1), np.full(1, 0.25, np.float32))
    steps = b.state("steps", s32(1), np.zeros(1, np.int32))
    last = b.state("last_loss", f32(1, 1), np.full((1, 1), -1.0, np.float32))
    shared = Tensors(w, bias, rate, steps)
    logits = b.add(linear, (x, w, bias), Linear(), name="scores")
    infer = b.graph([b.add(softmax, (logits,), Softmax(1.0), name="probability")])

    t = Builder(b.params, names)
    image, label = t.input("image", f32(1, FEATURES)), t.input("label", s32(1))
    for state in b.states.values():
        t.read(state)
    loss, scores, updates = _step(t, image, label, shared)
    left = {**updates, last.name: loss}
    states = {
        n: State(
            s.value,
            s.init,
            {"train_step": left[n]} if n in left else {},
            saved=n != "last_loss",
            settable=n == "learning_rate",
        )
        for n, s in b.states.items()
    }
    updated = [left[n] for n in states if n in left]
    train = t.graph([loss, scores, *updated])
    if late_loss:
        first = [n for n in train.nodes if n.output != loss]
        train = replace(train, nodes=(*first, *(n for n in train.nodes if n.output == loss)))
    guards = {"train_step": (Guard("label", 0, CLASSES - 1), finite("loss"))}
    module = Module({"infer": infer, "train_step": train}, t.params, states, name, guards)
    verify(module)
    return module


def _step(
    t: Builder, image: Value, label: Value, shared: Tensors
) -> tuple[Value, Value, Mapping[str, Value]]:
    """(loss, logits, state -> what is left in it)."""
    one, zero = (t.param(n, np.full(1, v, np.float32)) for n, v in (("one", 1), ("zero", 0)))
    logits = t.add(linear, (image, shared.w, shared.bias), Linear(), name="logits")
    index = t.add(reshape, (label,), Reshape((1, 1)), name="index")
    hot = t.add(one_hot, (index, one, zero), OneHot(CLASSES), name="hot")
    target = t.add(reshape, (hot,), Reshape((1, CLASSES)), name="target")
    loss = t.add(softmax_cross_entropy, (logits, target), name="loss")
    probability = t.add(softmax, (logits,), Softmax(1.0), name="train/probability")
    d = t.add(sub, (probability, target), name="d_logits")
    column = t.add(reshape, (d,), Reshape((CLASSES, 1)), name="d_column")
    dw = t.add(mul, (column, image), name="dw")
    step = t.add(mul, (dw, shared.rate), name="step")
    w = t.add(sub, (shared.w, step), name="w_new")
    flat = t.add(reshape, (d,), Reshape((CLASSES,)), name="d_bias")
    step = t.add(mul, (flat, shared.rate), name="bias_step")
    bias = t.add(sub, (shared.bias, step), name="bias_new")
    count = t.add(add, (shared.steps, t.param("once", np.full(1, 1, np.int32))), name="steps_new")
    return loss, logits, {"w": w, "bias": bias, "steps": count}


def examples(count: int, seed: int = 5) -> list[Mapping[str, Array]]:
    """Inputs of `train_step`: each class has one large feature."""
    rng = np.random.default_rng(seed)
    found: list[Mapping[str, Array]] = []
    for _ in range(count):
        label = int(rng.integers(CLASSES))
        image = rng.normal(0, 0.2, (1, FEATURES)).astype(np.float32)
        image[0, label] += 1
        found.append({"image": image, "label": np.full(1, label, np.int32)})
    return found


# C that drives it -------------------------------------------------------------------------

HARNESS = """\
#include "harness.h"
#include "driver.h"
#define LL_ON_STEP driver_on_step
static const ll_span ll_spans[] = {{driver_report, sizeof driver_report}};
static const ll_entry ll_entries[] = {{driver_run, {0u, 0u}, {0u, 1u}}};
static const uint32_t ll_entry_count = 1u;
static const ll_range ll_step_trace[] = {{0u, 0u}};
static const ll_range ll_step_poison[] = {{0u, 0u}};
static const ll_span ll_arenas[] = {{driver_arena, sizeof driver_arena - LL_GUARD}};
static const uint32_t ll_arena_count = 1u;
static void ll_reset(void)
{
}
"""


def sources(driver: str, programs: Sequence[Program], units: Sequence[int]) -> dict[str, str]:
    """The files of `programs` and of tests/flash/<driver>.c, which has a function `driver_run` that
    fills `driver_report`; the first program's arena and the places of its states are in
    driver.h; units: what the simulated flashes write at once."""
    first = programs[0]
    (arena,) = first.arenas.values()
    parts = ", ".join(
        f"{{learner_arena + {first.buffers[s.name].offset}, {first.buffers[s.name].nbytes}}}"
        for s in first.saved
    )
    header = f"""\
#ifndef DRIVER_H
#define DRIVER_H
#include <stdint.h>
#define REPORT 16
#define ARENA_BYTES {arena}
#define PARTS {{{parts}}}
#define PART_COUNT {len(first.saved)}u
#define UNITS {{{", ".join(f"{unit}u" for unit in units)}}}
#define PART_BYTES {saved_bytes(first)}u
extern uint32_t driver_report[REPORT];
extern uint8_t driver_arena[64];
void driver_run(void);
void driver_on_step(uint32_t step);
#endif
"""
    files = {"driver.h": header, "harness_model.h": HARNESS}
    for name in (f"{driver}.c", "simulated.h", "states.h"):
        files[name] = (SOURCES / name).read_text(encoding="utf-8")
    for program in programs:
        files |= emit(program)
    return files


def defines(programs: Sequence[Program]) -> tuple[str, ...]:
    (memory,) = programs[0].arenas
    return (f"{programs[0].name.upper()}_ARENA_{memory.upper()}=learner_arena",)


def drive_host(
    driver: str,
    programs: Sequence[Program],
    host: Toolchain,
    folder: Path,
    units: Sequence[int] = (8,),
) -> list[int]:
    """What the driver reports on this machine, under sanitizers."""
    files = sources(driver, programs, units)
    program = build_host(host, files, folder, defines=defines(programs))
    return _report(run_host(program, [Command("run", 0, ())], 300)[0].outputs[0])


def drive_core(driver: str, programs: Sequence[Program], device: Device, folder: Path) -> list[int]:
    """What the driver reports on an emulated core."""
    files, toolchain = sources(driver, programs, (8,)), find(device.core)
    image = build_firmware(toolchain, device, files, folder, defines=defines(programs))
    return _report(run_emulated(image, device, [Command("run", 0, ())], count=False)[0].outputs[0])


def _report(data: bytes) -> list[int]:
    return [int(word) for word in np.frombuffer(data, "<u4")]


def core(name: str = "cortex-m4") -> Device:
    return emulation_device(load(name).core)


def program(name: str = "learner", device: Device | None = None) -> Program:
    return plan(learner(name), device or core())
