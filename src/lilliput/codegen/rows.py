"""Inputs that are pulled: how the emitted C asks its caller for their rows.

One idea: an entry takes a function and a context pointer for each of them; nothing is registered
and nothing is kept, so that there is nothing to forget.  With an input of which `rows` are pulled:

    typedef void (*NAME_rows_fn)(void *ctx, int32_t first, int32_t count, T *rows);
    void NAME_run(NAME_rows_fn rows, void *ctx);
"""

from __future__ import annotations

from dataclasses import dataclass

from lilliput.codegen.c import Text, comment
from lilliput.codegen.names import entry_function, port_function
from lilliput.ir.graph import Value
from lilliput.ops.common import c_type
from lilliput.plan.program import Entry, Program, Pull


@dataclass(frozen=True)
class Source:
    """The parameters that stand for a pulled input, and the type of the function."""

    value: Value
    function: str
    context: str
    type: str

    @property
    def c_type(self) -> str:
        return c_type(self.value.type.dtype)

    @property
    def row_count(self) -> int:
        """Elements of a row."""
        _, pixels, channels = self.value.type.frame
        return pixels * channels

    @property
    def row_bytes(self) -> int:
        return self.row_count * self.value.type.dtype.itemsize

    @property
    def signature(self) -> str:
        """What follows the name of a function of that type."""
        return f"(void *ctx, int32_t first, int32_t count, {self.c_type} *rows)"


def sources(prefix: str, program: Program, entry: Entry) -> dict[str, Source]:
    """Pulled input -> what stands for it, in the module's order; numbered where inputs are."""
    found: dict[str, Source] = {}
    for k, (value, view) in enumerate(entry.inputs):
        if view is None:
            number = k if len(entry.inputs) > 1 else ""
            type = f"{port_function(prefix, program, entry, 'rows', k)}_fn"
            found[value.name] = Source(value, f"rows{number}", f"ctx{number}", type)
    return found


def prototype(prefix: str, program: Program, entry: Entry) -> str:
    """`void NAME_run(void)`, with the parameters of what is pulled."""
    given = sources(prefix, program, entry).values()
    parameters = ", ".join(f"{s.type} {s.function}, void *{s.context}" for s in given)
    return f"void {entry_function(prefix, program, entry)}({parameters or 'void'})"


def call(prefix: str, program: Program, entry: Entry, argument: str) -> str:
    """A call of the entry's function with `argument` for everything."""
    count = 2 * len(sources(prefix, program, entry))
    return f"{entry_function(prefix, program, entry)}({', '.join([argument] * count)})"


def declare(text: Text, source: Source, port: str) -> None:
    """The macros and the type of a pulled input; `port` is what its macros begin with."""
    rows = source.value.type.frame[0]
    text.add(
        f"#define {port}_ROWS {rows}",
        f"#define {port}_ROW_COUNT {source.row_count}",
        comment(
            f"Writes rows first to first + count - 1 of {source.value.name} to `rows`, without"
        ),
        comment(f"gaps, {port}_ROW_COUNT elements each; `ctx` is the caller's own.  Rows are"),
        comment("asked for from the first to the last, each once."),
        f"typedef void (*{source.type}){source.signature};",
    )


def pull(text: Text, step: Pull, source: Source, address: str, k: str) -> None:
    """Execution `k` of a step: a call of the caller's function."""
    view, rows = step.view, step.rows
    first = k if rows == 1 or k == "0" else f"{k} * {rows}"
    count = str(rows) if view.rows % rows == 0 else f"ll_min({rows}, {view.rows} - {first})"
    slot = first if view.shift == 0 else f"({first} + {view.shift})"
    slot = slot if view.ring is None else f"{slot} % {view.ring}"
    place = f"({source.c_type} *)(void *)({address})"
    if slot != "0":
        place += f" + {slot} * {view.row // view.dtype.itemsize}"
    text.add(f"{source.function}({source.context}, {first}, {count}, {place});")
