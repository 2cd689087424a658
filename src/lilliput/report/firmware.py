"""The C that a firmware needs to run the model, with its names and sizes.

One idea: a program that compiles as it stands, next to the emitted header.
"""

from __future__ import annotations

from collections.abc import Iterator

from lilliput.report.summary import EntryPoint, Port, Summary


def example(summary: Summary) -> str:
    """A main.c that calls every entry once."""
    return "\n".join(_lines(summary)) + "\n"


def cmake(summary: Summary, folder: str = "firmware") -> str:
    """What links the written folder into a firmware built by CMake."""
    return f"add_subdirectory({folder})\ntarget_link_libraries(app PRIVATE {summary.api.prefix})\n"


def _lines(summary: Summary) -> Iterator[str]:
    api = summary.api
    yield f'#include "{api.prefix}.h"'
    for entry in api.entries:
        yield ""
        yield from _entry(entry)
    yield ""
    yield "int main(void)"
    yield "{"
    if api.resets:
        yield f"    {api.prefix}_reset(); /* states: before anything else */"
    yield "    for (;;) {"
    yield from (f"        call_{entry.function}();" for entry in api.entries)
    yield "    }"
    yield "}"


def _entry(entry: EntryPoint) -> Iterator[str]:
    yield f"static void call_{entry.function}(void)"
    yield "{"
    for port in entry.inputs:
        name = port.function.rpartition("_")[2]
        yield f"    {port.c_type} *{name} = {port.function}(); /* {_meaning(port)} */"
        yield f"    for (int i = 0; i < {port.function.upper()}_COUNT; ++i) {{"
        yield f"        {name}[i] = 0; /* your data */"
        yield "    }"
    yield f"    {entry.function}();"
    for port in entry.outputs:
        name = port.function.rpartition("_")[2]
        yield f"    const {port.c_type} *{name} = {port.function}(); /* {_meaning(port)} */"
        yield f"    (void){name}[0]; /* {port.count:,} elements */"
    yield "}"


def _meaning(port: Port) -> str:
    """Names come from the model's file: they must not end the comment."""
    text = f"{port.name}: {port.type}".replace("*/", "* /").replace("/*", "/ *")
    plain = "".join(c if c.isprintable() else "?" for c in text)
    if port.scale is None:
        return plain
    return f"{plain}, real = {port.scale:.9g} * (q - {port.zero_point})"
