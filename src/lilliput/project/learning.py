"""What a firmware that learns has beside the emitted C: rounds that go back where they made it
worse, a flash to save to, and a test of both.

One idea: the emitted C has the entries and the checkpoints; what is policy, or a board's, is short
C on top of them that a user may read and change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.codegen.c import identifier
from lilliput.codegen.keep import slot_bytes
from lilliput.codegen.names import entry_function, port_function
from lilliput.codegen.rows import Source, sources
from lilliput.devices import Device
from lilliput.ir.interp import Session
from lilliput.ir.types import Array, DType
from lilliput.ops.common import c_type
from lilliput.plan.program import Entry, Program
from lilliput.project.table import table
from lilliput.project.template import fill
from lilliput.train.build import ENTRY, EVALUATE

STEPS, MORE = 4, 2
"""Steps of the test before and behind a save."""
RESERVED = 8192
"""Bytes of RAM that are left for the stack and the rest of a firmware."""


@dataclass(frozen=True)
class Learner:
    """The entries of a program that learns: its first, `train_step`, `evaluate` if it has one."""

    first: Entry
    step: Entry
    evaluate: Entry | None


def learner(program: Program) -> Learner | None:
    """None of a program that does not learn samples of classes, or saves nothing."""
    found = {e.name: e for e in program.entries if e.guarded}
    if ENTRY not in found or not program.saved or not _labelled(found[ENTRY]):
        return None
    return Learner(program.entries[0], found[ENTRY], found.get(EVALUATE))


def _labelled(entry: Entry) -> bool:
    """Whether it takes a sample and a class."""
    label = entry.inputs[-1][0].type
    return len(entry.inputs) == 2 and label.dtype is DType.S32 and label.size == 1


def learning_files(program: Program) -> dict[str, str]:
    """`NAME_learning.h` and `NAME_learning.c`, for programs with an entry `evaluate` whose samples
    lie in memory."""
    found = learner(program)
    if found is None or found.evaluate is None or any(found.step.pulled()):
        return {}
    prefix = identifier(program.name)
    (x, _), _ = found.step.inputs
    words = {
        "name": program.name,
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "type": c_type(x.type.dtype),
        "count": str(x.type.size),
        **_functions(program, prefix, found.step, "train"),
        **_functions(program, prefix, found.evaluate, "evaluate"),
    }
    return {f"{prefix}_learning.{end}": fill(f"learning.{end}", **words) for end in ("h", "c")}


def library_sources(program: Program) -> tuple[str, ...]:
    """The C files that are the network's, without a firmware around it."""
    more = (name for name in learning_files(program) if name.endswith(".c"))
    return (f"{identifier(program.name)}.c", *more)


# A test of it, and where it is saved ------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LearnTest:
    """What `STEPS` + `MORE` steps on the input of the self-test must give: losses f32, and the
    first output of the network that learned."""

    losses: Array
    output: Array


def learn_test(session: Session, found: Learner, inputs: Mapping[str, Array]) -> LearnTest:
    """session : of the program's meaning, as at power-on; inputs : of the first entry."""
    (x,), losses = inputs.values(), list[Array]()
    (given, _), (label, _) = found.step.inputs
    for i in range(STEPS + MORE):
        if i == STEPS:  # reset and load: what is not saved is the factory's
            states = session.module.states.values()
            session.states |= {s.name: s.init for s in states if not s.saved}
        example = {given.name: x, label.name: np.full(1, i % 2, np.int32)}
        losses.append(session.run(example, ENTRY).outputs["loss"])
    outputs = session.run(inputs, found.first.name).outputs
    return LearnTest(np.concatenate(losses), next(iter(outputs.values())))


def firmware_files(program: Program, device: Device, test: LearnTest | None) -> dict[str, str]:
    """`learn_test.h`, `learn_test.c`, `flash.h` and `flash.c` of a firmware that learns."""
    found, prefix = learner(program), identifier(program.name)
    if found is None or test is None:
        return {}
    first = program.entries[0]
    words = {
        "name": program.name,
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "steps": str(STEPS),
        "more": str(MORE),
        "all": str(STEPS + MORE),
        "losses": ", ".join(f"{bits:#010x}u" for bits in test.losses.view("<u4").tolist()),
        "output": "\n".join(table("learned", test.output)),
        "in_ram": str(int(in_ram(program, device))),
        **_sample(program, prefix, found.step, "train"),
        **_sample(program, prefix, first, "run"),
        "run_y": port_function(prefix, program, first, "output", 0),
    }
    names = ("learn_test.h", "learn_test.c", "flash.h", "flash.c")
    return {name: fill(name, **words) for name in names}


def in_ram(program: Program, device: Device) -> bool:
    """Whether two slots fit into the default RAM beside the arena."""
    free = device.ram.size - program.arenas.get(device.ram.name, 0)
    return 2 * slot_bytes(program) + RESERVED <= free


FLASH_FUNCTIONS = ("ll_flash_read", "ll_flash_erase", "ll_flash_write")
"""What the emitted C calls through pointers in that firmware."""


def filler(prefix: str, source: Source) -> str:
    """The function of the self-test that hands over rows of a sample."""
    return f"{prefix}_self_test_{source.function}"


def _sample(program: Program, prefix: str, entry: Entry, word: str) -> Mapping[str, str]:
    """The entry's function, `_place`: the line that puts the built-in sample where it reads it, and
    `_given`: what the call has instead.  A step asks with the filler of the first entry."""
    found, given = _functions(program, prefix, entry, word), "0" if entry.guarded else ""
    place = f"{prefix}_self_test_input({found[f'{word}_x']}());\n"
    if any(entry.pulled()):
        (source,) = sources(prefix, program, program.entries[0]).values()
        place, given = "", f"{filler(prefix, source)}, 0"
    indent = " " * (8 if entry.guarded else 4)
    return {**found, f"{word}_place": place and indent + place, f"{word}_given": given}


def _functions(program: Program, prefix: str, entry: Entry, word: str) -> Mapping[str, str]:
    return {
        word: entry_function(prefix, program, entry),
        f"{word}_x": port_function(prefix, program, entry, "input", 0),
    }
