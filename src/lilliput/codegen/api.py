"""The header that a firmware includes: every function and every size, documented."""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.codegen import arguments, keep
from lilliput.codegen.c import Text, comment
from lilliput.codegen.names import leaf_steps, port_function
from lilliput.codegen.rows import declare, explain, prototype, restart_function, sources
from lilliput.ops.common import c_type
from lilliput.plan.program import Copy, Entry, Program, View


def write_header(program: Program, prefix: str, about: Sequence[str] = ()) -> str:
    """about : lines on what a call does."""
    text = Text()
    upper = prefix.upper()
    text.add(
        comment(f"{program.name}: how to run it"),
        *map(comment, about),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
    )
    for memory, nbytes in program.arenas.items():
        text.add(
            comment(f"Arena in {memory}: activations, scratch, inputs, outputs and states."),
            comment(f"Define {upper}_ARENA_{memory.upper()} as the name of an array of yours, or"),
            comment(f"{upper}_ARENA_{memory.upper()}_SECTION as attributes, to place it."),
            f"#define {upper}_ARENA_{memory.upper()}_BYTES {nbytes}",
        )
    text.add(f"#define {upper}_CONST_BYTES {program.constants()}", "")
    keep.declare_status(text, program, prefix)
    for entry in program.entries:
        _entry(text, program, prefix, entry)
    if program.states:
        text.add(
            comment("Puts every state to its value at power-on.  Call it before anything else."),
            f"void {prefix}_reset(void);",
            "",
        )
    keep.declare(text, program, prefix)
    text.add(
        comment("Called after each step; define your own to feed a watchdog or count cycles."),
        f"void {prefix}_on_step(uint32_t step);",
        "",
    )
    if any(isinstance(s, Copy) for e in program.entries for s in leaf_steps(e)):
        text.add(
            comment("Start a copy between memories; wait for all that were started."),
            comment("Define your own to use DMA; the default is memcpy."),
            f"void {prefix}_copy_start(void *target, const void *source, uint32_t bytes);",
            f"void {prefix}_copy_wait(void);",
            "",
        )
    text.add("#ifdef __cplusplus", "}", "#endif", "#endif")
    return str(text)


def _entry(text: Text, program: Program, prefix: str, entry: Entry) -> None:
    upper = prefix.upper()
    pulled = sources(prefix, program, entry)
    for kind, ports in (("input", entry.inputs), ("output", entry.outputs)):
        for k, (value, view) in enumerate(ports):
            name = port_function(prefix, program, entry, kind, k)
            quant = value.type.quant
            scale = (
                f", real = {quant.scale[0]!r} * (q - {quant.zero_point[0]})"
                if quant and quant.is_per_tensor
                else ""
            )
            text.add(comment(f"{kind} {value.name}: {value.type}{scale}{_place(program, view)}"))
            const = "const " if kind == "output" else ""
            if view is not None:
                text.add(f"{const}{c_type(value.type.dtype)} *{name}(void);")
            text.add(f"#define {name.upper()}_COUNT {value.type.size}")
            if quant and quant.is_per_tensor:
                text.add(
                    f"#define {name.upper()}_SCALE {quant.scale[0]!r}f",
                    f"#define {name.upper()}_ZERO_POINT ({quant.zero_point[0]})",
                )
            if view is None:
                declare(text, pulled[value.name])
    text.extend(comment(line) for line in explain(entry))
    if entry.guarded:
        text.extend(comment(line) for line in arguments.explain(prefix, entry))
    text.add(f"{prototype(prefix, program, entry)};")
    if entry.push:
        text.add(
            comment("Forgets the rows so far: the next one is row 0 again."),
            f"void {restart_function(prefix, program, entry)}(void);",
        )
    text.add(
        f"#define {upper}_{entry.name.upper()}_STEPS {sum(1 for _ in leaf_steps(entry))}",
        "",
    )


def _place(program: Program, view: View | None) -> str:
    if view is None:
        return "; row by row"
    buffer = program.buffers[view.buffer]
    return "" if buffer.offset is None else f"; {buffer.memory}+{buffer.offset + view.start}"
