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
    pulled = [port for port in entry.inputs if port.rows]
    if not entry.push:
        for port in pulled:
            yield from _filler(port)
    yield f"static void call_{entry.function}(void)"
    yield "{"
    for port in entry.inputs:
        if port.rows:
            continue
        name = port.function.rpartition("_")[2]
        yield f"    {port.c_type} *{name} = {port.function}(); /* {_meaning(port)} */"
        yield f"    for (int i = 0; i < {port.function.upper()}_COUNT; ++i) {{"
        yield f"        {name}[i] = 0; /* your data */"
        yield "    }"
    if entry.push:
        yield from _pushes(entry, *pulled)
    elif entry.ok:
        yield f"    if ({entry.function}({', '.join(_arguments(entry))}) != {entry.ok}) {{"
        yield "        return; /* refused: every state is as it was */"
        yield "    }"
    else:
        yield f"    {entry.function}({', '.join(f'fill_{port.function}, 0' for port in pulled)});"
    for port in entry.outputs:
        name = port.function.rpartition("_")[2]
        yield f"    const {port.c_type} *{name} = {port.function}(); /* {_meaning(port)} */"
        yield f"    (void){name}[0]; /* {port.count:,} elements */"
    yield "}"


def _arguments(entry: EntryPoint) -> Iterator[str]:
    """Of an entry that may refuse a call: null for what lies in its place already, and for results
    that are read there."""
    for port in entry.inputs:
        if port.rows:
            yield f"fill_{port.function}, 0"
        else:
            yield f"{port.function.rpartition('_')[2]}[0]" if port.count == 1 else "0"
    yield from ("0" for port in entry.outputs if port.count == 1)


def _filler(port: Port) -> Iterator[str]:
    """The function that an entry asks for rows."""
    parameters = f"void *ctx, int32_t first, int32_t count, {port.c_type} *rows"
    yield f"static void fill_{port.function}({parameters})"
    yield "{"
    yield f"    /* rows first to first + count - 1 of {_meaning(port)} */"
    yield f"    for (int i = 0; i < count * {port.function.upper()}_ROW_COUNT; ++i) {{"
    yield "        rows[i] = 0; /* your data */"
    yield "    }"
    yield "    (void)first;"
    yield "    (void)ctx; /* yours: a camera, a decoder */"
    yield "}"
    yield ""


def _pushes(entry: EntryPoint, port: Port) -> Iterator[str]:
    yield f"    /* {_meaning(port)} */"
    yield f"    {port.c_type} row[{port.function.upper()}_ROW_COUNT] = {{0}};"
    yield "    do {"
    yield "        row[0] = 0; /* your data: the next row */"
    yield f"    }} while (!{entry.function}(row));"


def _meaning(port: Port) -> str:
    """Names come from the model's file: they must not end the comment."""
    text = f"{port.name}: {port.type}".replace("*/", "* /").replace("/*", "/ *")
    plain = "".join(c if c.isprintable() else "?" for c in text)
    if port.scale is None:
        return plain
    return f"{plain}, real = {port.scale:.9g} * (q - {port.zero_point})"
