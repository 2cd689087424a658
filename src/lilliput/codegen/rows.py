"""Inputs that come row by row: how the emitted C asks its caller for them.

One idea: nothing is registered, so there is nothing to forget.  Either the entry takes a function
and a context pointer, or the caller calls it with each row and the entry goes on from where it
had to stop; all that it keeps in between is the number of rows so far.

    callback    typedef void (*NAME_rows_fn)(void *ctx, int32_t first, int32_t count, T *rows);
                void NAME_run(NAME_rows_fn rows, void *ctx);
    push        int NAME_push(const T *row);
                void NAME_restart(void);
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lilliput.codegen.arguments import arguments
from lilliput.codegen.c import Text, comment
from lilliput.codegen.names import entry_function, port_function
from lilliput.ir.graph import Value
from lilliput.ops.common import c_type
from lilliput.plan.program import Entry, Loop, Program, Pull, Step


@dataclass(frozen=True)
class Source:
    """A pulled input: the parameters that stand for it, or for one of its rows.

    type : of the function that fills rows; port : what the input's macros begin with
    """

    value: Value
    function: str
    context: str
    type: str
    port: str
    push: bool

    @property
    def c_type(self) -> str:
        return c_type(self.value.type.dtype)

    @property
    def rows(self) -> int:
        return self.value.type.frame[0]

    @property
    def row_bytes(self) -> int:
        return self.value.type.nbytes // self.rows

    @property
    def signature(self) -> str:
        """What follows the name of a function that fills rows."""
        return f"(void *ctx, int32_t first, int32_t count, {self.c_type} *rows)"


def sources(prefix: str, program: Program, entry: Entry) -> dict[str, Source]:
    """Pulled input -> what stands for it, in the module's order; numbered where inputs are."""
    found: dict[str, Source] = {}
    for k, (value, view) in enumerate(entry.inputs):
        if view is None:
            number = k if len(entry.inputs) > 1 else ""
            type, port = (
                port_function(prefix, program, entry, kind, k) for kind in ("rows", "input")
            )
            found[value.name] = Source(
                value, f"rows{number}", f"ctx{number}", f"{type}_fn", port.upper(), entry.push
            )
    return found


def prototype(prefix: str, program: Program, entry: Entry) -> str:
    """The head of the entry's function."""
    name, given = entry_function(prefix, program, entry), sources(prefix, program, entry).values()
    if entry.push:
        return "".join(f"int {name}(const {s.c_type} *row)" for s in given)
    if entry.guarded:
        parameters = ", ".join(_parameters(prefix, program, entry))
        return f"{prefix}_status {name}({parameters or 'void'})"
    parameters = ", ".join(f"{s.type} {s.function}, void *{s.context}" for s in given)
    return f"void {name}({parameters or 'void'})"


def _parameters(prefix: str, program: Program, entry: Entry) -> Iterator[str]:
    """Those of an entry that may refuse a call: inputs in the module's order, then results."""
    pulled, given = sources(prefix, program, entry), arguments(entry)
    for value, view in entry.inputs:
        if view is None:
            s = pulled[value.name]
            yield f"{s.type} {s.function}, void *{s.context}"
        else:
            yield given[value.name].declaration
    yield from (a.declaration for a in given.values() if a.result)


def call(prefix: str, program: Program, entry: Entry, *given: str) -> str:
    """A call of the entry's function: `given` are those of `prototype`, or null pointers."""
    count = sum(1 if s.push else 2 for s in sources(prefix, program, entry).values())
    count += len(arguments(entry)) if entry.guarded else 0
    listed = ", ".join(given or ["0"] * count)
    return f"{entry_function(prefix, program, entry)}({listed})"


def restart_function(prefix: str, program: Program, entry: Entry) -> str:
    return f"{entry_function(prefix, program, entry).removesuffix('push')}restart"


def declare(text: Text, source: Source) -> None:
    """The macros of a pulled input, and the type of what fills its rows."""
    port, count = source.port, source.value.type.size // source.rows
    text.add(f"#define {port}_ROWS {source.rows}", f"#define {port}_ROW_COUNT {count}")
    if source.push:
        return
    text.add(
        comment(f"Writes rows first to first + count - 1 of {source.value.name} to `rows`, one"),
        comment(f"behind the other, {port}_ROW_COUNT elements each; `ctx` is the caller's own."),
        comment("Rows are asked for from the first to the last, each once."),
        f"typedef void (*{source.type}){source.signature};",
    )


def explain(entry: Entry) -> list[str]:
    """What the header says of the entry's function."""
    written = "Write the inputs, call this" if any(entry.placed()) else "Call this"
    if entry.push:
        return [
            f"{written} with each row from the first to the last.  It computes what that row",
            "allows; 1 after the last one: read the outputs before any other call.  Else 0.",
        ]
    return [f"{written}, read the outputs before any other call."]


def pulls(step: Step) -> bool:
    inner = [t.step for t in step.body] if isinstance(step, Loop) else [step]
    return any(isinstance(s, Pull) for s in inner)


def iterations(loop: Loop, source: Source, pushed: str) -> tuple[str, str]:
    """From the iteration that takes row `pushed` in, and what comes before the first, to the one
    that takes the next; `pushed` has been counted up in between."""
    timed = next(t for t in loop.body if isinstance(t.step, Pull))
    due = pushed if timed.period == 1 else f"{pushed} * {timed.period}"
    if timed.phase == 0:
        return due, f"{pushed} < {source.rows} ? {due} : {loop.count}"
    due += f" + {timed.phase}"
    return f"{pushed} == 0 ? 0 : {due}", f"{pushed} < {source.rows} ? {due} : {loop.count}"


def pull(text: Text, step: Pull, source: Source, address: str, k: str, table: str) -> None:
    """Execution `k` of a step: rows are asked for, or the row that was brought is kept.

    table : where rows begin, of a view with places
    """
    view, rows = step.view, step.rows
    first = k if rows == 1 or k == "0" else f"{k} * {rows}"
    slot = first if view.shift == 0 else f"({first} + {view.shift})"
    slot = slot if view.ring is None else f"{slot} % {view.ring}"
    place = f"({source.c_type} *)(void *)({address})"
    if view.places is not None:
        place = f"({source.c_type} *)(void *)({address} + {table}[{first}] * {view.unit})"
    elif slot != "0":
        place += f" + {slot} * {view.row // view.dtype.itemsize}"
    if source.push:
        text.add(f"__builtin_memcpy({place}, row, {source.row_bytes}u);")
    else:
        count = str(rows) if view.rows % rows == 0 else f"ll_min({rows}, {view.rows} - {first})"
        text.add(f"{source.function}({source.context}, {first}, {count}, {place});")
