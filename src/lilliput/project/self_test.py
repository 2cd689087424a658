"""One input of a program and the output that it must give, as C that any project can call.

One idea: both are bytes, as they lie in the arena: nothing is converted on the way, so `exact`
means every bit.  Where the bytes come from is the caller's business (the meaning in NumPy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.codegen.c import Text, comment, identifier
from lilliput.codegen.names import port_function
from lilliput.ir.types import Array
from lilliput.plan.program import Program

_COLUMNS = 16


@dataclass(frozen=True, eq=False)
class SelfTest:
    """Stored elements of the ports of a program's first entry, by name, with the ports' shapes."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def nbytes(self) -> int:
        """What the test adds to the flash as constants."""
        return sum(a.nbytes for a in (*self.inputs.values(), *self.outputs.values()))


def self_test_files(program: Program, test: SelfTest) -> dict[str, str]:
    """`self_test.h` and `self_test.c` for `program`."""
    prefix = identifier(program.name)
    return {
        "self_test.h": _header(prefix, test),
        "self_test.c": _source(program, prefix, test),
    }


def _header(prefix: str, test: SelfTest) -> str:
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
        comment("Resets the states, where the network has any, and writes the input."),
        f"void {prefix}_self_test_load(void);",
        comment("After a run: how many bytes of the output are not what they must be."),
        f"uint32_t {prefix}_self_test_differences(void);",
        *("", "#ifdef __cplusplus", "}", "#endif", "#endif"),
    )
    return str(text)


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
            _table(text, f"{kind}{k}", array)
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
        for k in range(len(inputs)):
            port = port_function(prefix, program, entry, "input", k)
            text.add(f"__builtin_memcpy({port}(), input{k}, sizeof input{k});")
    with text.function(f"uint32_t {prefix}_self_test_differences(void)"):
        text.add("uint32_t count = 0;")
        for k in range(len(outputs)):
            port = port_function(prefix, program, entry, "output", k)
            text.add(f"count += differences({port}(), output{k}, sizeof output{k});")
        text.add("return count;")
    text.lines.pop()
    return str(text)


def _table(text: Text, name: str, array: Array) -> None:
    stored = np.ascontiguousarray(array)
    data = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    with text.block(f"static const uint8_t {name}[{len(data)}] =", "};"):
        text.extend(_rows(data))


def _rows(data: bytes) -> Sequence[str]:
    rows = [data[k : k + _COLUMNS] for k in range(0, len(data), _COLUMNS)]
    return [" ".join(f"{byte:#04x}," for byte in row) for row in rows]
