"""One input of a program and the output that it must give, as C that any project can call.

One idea: both are bytes, as they lie in the arena: nothing is converted on the way, so `exact`
means every bit.  Where the bytes come from is the caller's business (the meaning in NumPy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lilliput.codegen.c import Text, comment, identifier
from lilliput.codegen.names import port_function
from lilliput.codegen.rows import call, sources
from lilliput.ir.types import Array
from lilliput.plan.program import Program
from lilliput.project.learning import FLASH_FUNCTIONS, LearnTest, filler, learner
from lilliput.project.table import table


@dataclass(frozen=True, eq=False)
class SelfTest:
    """Stored elements of the ports of a program's first entry, by name, with the ports' shapes;
    learning : of a program that learns"""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    learning: LearnTest | None = None

    @property
    def nbytes(self) -> int:
        """What the test adds to the flash as constants."""
        more = (self.learning.losses, self.learning.output) if self.learning else ()
        return sum(a.nbytes for a in (*self.inputs.values(), *self.outputs.values(), *more))


def self_test_files(program: Program, test: SelfTest) -> dict[str, str]:
    """`self_test.h` and `self_test.c` for `program`."""
    prefix = identifier(program.name)
    return {
        "self_test.h": _header(program, prefix, test),
        "self_test.c": _source(program, prefix, test),
    }


def self_test_call(program: Program) -> str:
    """The C that runs the first entry of `program` on the built-in input."""
    prefix, entry = identifier(program.name), program.entries[0]
    if entry.push:
        return f"{prefix}_self_test_push()"
    given = sources(prefix, program, entry).values()
    return call(prefix, program, entry, *(f"{filler(prefix, s)}, 0" for s in given))


def self_test_callbacks(program: Program) -> tuple[str, ...]:
    """The functions that are called through pointers in the test."""
    prefix, entry = identifier(program.name), program.entries[0]
    given = () if entry.push else sources(prefix, program, entry).values()
    return (*(filler(prefix, s) for s in given), *(FLASH_FUNCTIONS if learner(program) else ()))


def _header(program: Program, prefix: str, test: SelfTest) -> str:
    guard = f"{prefix.upper()}_SELF_TEST"
    total = sum(a.nbytes for a in test.outputs.values())
    text = Text()
    text.add(
        comment("one input of the network and the output that it must give, to the bit"),
        *(f"#ifndef {guard}_H", f"#define {guard}_H", "", "#include <stdint.h>", ""),
        *("#ifdef __cplusplus", 'extern "C" {', "#endif", ""),
        comment("How many bytes are compared."),
        f"#define {guard}_BYTES {total}u",
        "",
        comment("Resets the states, where the network has any, and writes the input, where the"),
        comment("network does not ask for its rows."),
        f"void {prefix}_self_test_load(void);",
        *_feeders(program, prefix),
        *_input(program, prefix),
        comment("After a run: how many bytes of the output are not what they must be."),
        f"uint32_t {prefix}_self_test_differences(void);",
        *("", "#ifdef __cplusplus", "}", "#endif", "#endif"),
    )
    return str(text)


def _feeders(program: Program, prefix: str) -> list[str]:
    """What hands over the rows of the input."""
    entry = program.entries[0]
    given = sources(prefix, program, entry).values()
    if entry.push:
        return [
            comment("Pushes the rows of the input, all of them."),
            f"void {prefix}_self_test_push(void);",
        ]
    lines = [f"void {filler(prefix, s)}{s.signature};" for s in given]
    return [comment("Fills rows of the input."), *lines] if lines else []


def _input(program: Program, prefix: str) -> list[str]:
    """For a program that learns, whose steps read the same input from memory."""
    if not _copies(program):
        return []
    return [comment("Copies the input to x."), f"void {prefix}_self_test_input(void *x);"]


def _copies(program: Program) -> bool:
    found = learner(program)
    return found is not None and not any(found.step.pulled())


def _feed(text: Text, program: Program, prefix: str) -> None:
    """The functions that `_feeders` declares."""
    entry = program.entries[0]
    names = {value.name: f"input{k}" for k, (value, _) in enumerate(entry.inputs)}
    for name, source in sources(prefix, program, entry).items():
        if entry.push:
            row = f"(const {source.c_type} *)(const void *)({names[name]} + y * {source.row_bytes})"
            with (
                text.function(f"void {prefix}_self_test_push(void)"),
                text.block(f"for (int32_t y = 0; y < {source.rows}; ++y)"),
            ):
                text.add(f"(void){call(prefix, program, entry, row)};")
            continue
        size = source.row_bytes
        with text.function(f"void {filler(prefix, source)}{source.signature}"):
            text.add("(void)ctx;")
            data = f"{names[name]} + first * {size}"
            text.add(f"__builtin_memcpy(rows, {data}, (uint32_t)count * {size}u);")


def _source(program: Program, prefix: str, test: SelfTest) -> str:
    entry = program.entries[0]
    inputs = [test.inputs[value.name] for value, _ in entry.inputs]
    outputs = [test.outputs[value.name] for value, _ in entry.outputs]
    text = Text()
    text.add(
        comment(f"an input of {program.name} and its output, as bytes; see self_test.h"),
        *('#include "self_test.h"', "", f'#include "{prefix}.h"', ""),
    )
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for k, array in enumerate(arrays):
            text.extend(table(f"{kind}{k}", array))
    if _copies(program):
        with text.function(f"void {prefix}_self_test_input(void *x)"):
            text.add("__builtin_memcpy(x, input0, sizeof input0);")
    with text.function(
        "static uint32_t differences(const void *found, const uint8_t *expected, uint32_t bytes)"
    ):
        text.add("const uint8_t *byte = (const uint8_t *)found;", "uint32_t count = 0;")
        with text.block("for (uint32_t i = 0; i < bytes; ++i)"):
            text.add("count += byte[i] != expected[i] ? 1u : 0u;")
        text.add("return count;")
    with text.function(f"void {prefix}_self_test_load(void)"):
        if program.states:
            text.add(f"{prefix}_reset();")
        for k, (_, view) in enumerate(entry.inputs):
            if view is not None:
                port = port_function(prefix, program, entry, "input", k)
                text.add(f"__builtin_memcpy({port}(), input{k}, sizeof input{k});")
    _feed(text, program, prefix)
    with text.function(f"uint32_t {prefix}_self_test_differences(void)"):
        text.add("uint32_t count = 0;")
        for k in range(len(outputs)):
            port = port_function(prefix, program, entry, "output", k)
            text.add(f"count += differences({port}(), output{k}, sizeof output{k});")
        text.add("return count;")
    text.lines.pop()
    return str(text)
