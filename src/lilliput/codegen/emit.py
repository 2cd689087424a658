"""Writing a program as C.

    <name>.h        the API: what a firmware includes, every size as a macro
    <name>.c        kernels' instances, one function an entry, one comment a step
    <name>_data.h   constants
    lilliput/       the kernels and primitives that the program uses, as they are

No decision is made here: a step becomes a call with the views, regions and parameters that
it holds.  The same program gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np

from lilliput import __version__
from lilliput.codegen import keep
from lilliput.codegen.api import write_header
from lilliput.codegen.arguments import arguments, give, halt, take
from lilliput.codegen.c import Text, comment, identifier, number, table
from lilliput.codegen.instances import (
    Instances,
    kernel_path,
    write_instance,
    write_signature,
)
from lilliput.codegen.names import leaf_steps, port_function
from lilliput.codegen.rows import (
    Source,
    iterations,
    prototype,
    pull,
    pulls,
    restart_function,
    sources,
)
from lilliput.errors import PlanError
from lilliput.ir.types import DType
from lilliput.ops.common import c_type
from lilliput.plan.program import (
    Advance,
    Call,
    Copy,
    Entry,
    Kind,
    Loop,
    Program,
    Pull,
    Range,
    Step,
    Stop,
    Timed,
    View,
    Wait,
)

SUPPORT = "lilliput"


@dataclass(frozen=True)
class EmitOptions:
    """isa : the header of primitives under `isa/`; small : kernels prefer little code; memory
    names that are the defaults of the linker need no section; about : lines of the header on what
    a call does."""

    isa: str = "generic.h"
    small: bool = False
    plain_memories: frozenset[str] = frozenset({"ram", "flash"})
    about: tuple[str, ...] = ()


def emit(program: Program, options: EmitOptions | None = None) -> dict[str, str]:
    """Path -> text of every file, in a stable order.

    Raises PlanError for a program some of whose parameters have no data.
    """
    if program.missing:
        raise PlanError(
            "parameters have no data: the program can be planned, not written",
            where=program.name,
            found=", ".join(program.missing),
        )
    return _Emitter(program, options or EmitOptions()).files()


class _Emitter:
    def __init__(self, program: Program, options: EmitOptions):
        self.program, self.options = program, options
        self.prefix = identifier(program.name)
        self.symbols = _symbols(self.prefix, program)
        self.instances = Instances()
        self.next_step = 0
        self.row_tables: dict[tuple[int, ...], str] = {}
        self.sources: dict[str, Source] = {}
        self.copies = any(isinstance(s, Copy) for e in program.entries for s in leaf_steps(e))

    def files(self) -> dict[str, str]:
        entries = Text()
        for entry in self.program.entries:
            self.entry(entries, entry)
        files = {
            f"{self.prefix}.h": write_header(self.program, self.prefix, self.options.about),
            f"{self.prefix}.c": self.source(entries),
            f"{self.prefix}_data.h": self.data(),
        }
        sources = sorted({s.source for s in self.instances.signatures_in_order()})
        headers = ["arithmetic.h", "elementwise.h", "fixed_point.h", "float.h", "fold.h", "ll.h"]
        headers += ["update.h", *([keep.HEADER] if self.program.saved else [])]
        for path in sorted((*headers, *_isa_headers(self.options.isa))):
            files[f"{SUPPORT}/{path}"] = _resource(path)
        for source in sources:
            files[f"{SUPPORT}/{kernel_path(source)}"] = _resource(f"kernels/{source}")
        return files

    # files

    def source(self, entries: Text) -> str:
        text = Text()
        text.add(
            comment(f"{self.program.name}: written by lilliput {__version__}; do not edit"),
            f'#include "{self.prefix}.h"',
            "",
            *(["#define LL_SMALL 1", ""] if self.options.small else []),
            f'#include "{SUPPORT}/isa/{self.options.isa}"',
            f'#include "{SUPPORT}/elementwise.h"',
            f'#include "{SUPPORT}/float.h"',
            f'#include "{self.prefix}_data.h"',
            "",
        )
        keep.include(text, self.program, self.prefix, SUPPORT)
        self.arenas(text)
        for signature in self.instances.signatures_in_order():
            write_signature(text, signature, SUPPORT)
        for instance, n in self.instances.found.items():
            steps = ", ".join(map(str, self.instances.steps[n]))
            text.add(comment(f"{instance.signature.kernel} of steps {steps}"))
            write_instance(text, self.prefix, n, instance)
        for rows, name in self.row_tables.items():
            text.add(comment("where rows begin in a pool of line buffers"))
            with text.block(f"static const uint16_t {name}[{len(rows)}] =", "};"):
                text.extend(table(np.array(rows, np.uint16)))
        self.hooks(text)
        self.reset(text)
        places = {s.name: self.address(s.view) for s in self.program.states}
        keep.define(text, self.program, self.prefix, places)
        text.lines += entries.lines
        return str(text)

    def arenas(self, text: Text) -> None:
        for memory in self.program.arenas:
            upper = f"{self.prefix.upper()}_ARENA_{memory.upper()}"
            section = self.section("arena", memory)
            align = self.program.arena_align(memory)
            given = comment(f"the caller provides it, aligned to {align}")
            aligned = f"_Alignas({align}) uint8_t"
            text.add(
                f"#ifdef {upper}",
                f"extern uint8_t {upper}[]; {given}",
                f"#define {self.arena(memory)} {upper}",
                "#else",
                f"#ifndef {upper}_SECTION",
                f"#define {upper}_SECTION {section}".rstrip(),
                "#endif",
                f"static {upper}_SECTION {aligned} {self.arena(memory)}[{upper}_BYTES];",
                "#endif",
                "",
            )

    def arena(self, memory: str) -> str:
        return f"{self.prefix}_arena_{memory}"

    def section(self, kind: str, memory: str) -> str:
        """The attribute that places something in a memory which is not a default."""
        plain = memory in self.options.plain_memories
        return "" if plain else f'__attribute__((section(".ll_{kind}_{memory}"))) '

    def data(self) -> str:
        text = Text()
        text.add(comment(f"constants of {self.program.name}, packed as its kernels read them"), "")
        for name, const in self.program.consts.items():
            buffer, symbol = self.program.buffers[name], self.symbols[name]
            dtype = DType.of(const.data.dtype)
            text.add(
                comment(f"{const.value}: {dtype.value}{list(const.data.shape)}, {const.packing}")
            )
            if buffer.within is not None:
                first = (buffer.offset or 0) // const.data.itemsize
                text.add(f"#define {symbol} ({self.symbols[buffer.within]} + {first})")
                continue
            section = self.section("const", buffer.memory)
            aligned = f"_Alignas({buffer.align}) " if buffer.align > const.data.itemsize else ""
            kind = f"static const {section}{aligned}{c_type(dtype)}"
            head = f"{kind} {symbol}[{const.data.size}]"
            with text.block(f"{head} =", "};"):
                text.extend(table(const.data))
        return str(text)

    def hooks(self, text: Text) -> None:
        weak = "__attribute__((weak))"
        with text.function(f"{weak} void {self.prefix}_on_step(uint32_t step)"):
            text.add("(void)step;")
        if not self.copies:
            return
        arguments = "void *target, const void *source, uint32_t bytes"
        with text.function(f"{weak} void {self.prefix}_copy_start({arguments})"):
            text.add("__builtin_memcpy(target, source, bytes);")
        with text.function(f"{weak} void {self.prefix}_copy_wait(void)"):
            text.add("/* memcpy is done when it returns */")

    def reset(self, text: Text) -> None:
        if not self.program.states:
            return
        with text.function(f"void {self.prefix}_reset(void)"):
            for state in self.program.states:
                nbytes = self.program.buffers[state.name].nbytes
                where = self.address(state.view)
                if state.const is None:
                    text.add(f"__builtin_memset({where}, 0, {nbytes}u);")
                else:
                    text.add(f"__builtin_memcpy({where}, {self.symbols[state.const]}, {nbytes}u);")
                if state.counter:
                    text.add(f"__builtin_memset({self.buffer(state.counter)}, 0, 4u);")

    # steps

    def entry(self, text: Text, entry: Entry) -> None:
        self.sources = sources(self.prefix, self.program, entry)
        if entry.push:
            self.pushed(text, entry)
        elif entry.guarded:
            self.refusing(text, entry)
        else:
            with text.function(prototype(self.prefix, self.program, entry)):
                self.steps(text, entry.steps)
        for kind, ports in (("input", entry.inputs), ("output", entry.outputs)):
            for k, (value, view) in enumerate(ports):
                if view is None:
                    continue
                head = port_function(self.prefix, self.program, entry, kind, k)
                const = "const " if kind == "output" else ""
                c = c_type(value.type.dtype)
                with text.function(f"{const}{c} *{head}(void)"):
                    text.add(f"return ({const}{c} *)(void *)({self.address(view)});")

    def steps(self, text: Text, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Loop):
                self.loop(text, step, "0", str(step.count))
            else:
                self.step(text, step)

    def refusing(self, text: Text, entry: Entry) -> None:
        """An entry that may end early: it answers how it ended."""
        given = arguments(entry).values()
        with text.function(prototype(self.prefix, self.program, entry)):
            for argument in (a for a in given if not a.result):
                take(text, argument, self.address(argument.view))
            self.steps(text, entry.steps)
            for argument in (a for a in given if a.result):
                give(text, argument, self.address(argument.view))
            text.add(f"return {self.prefix.upper()}_OK;")

    def pushed(self, text: Text, entry: Entry) -> None:
        """What one row allows: up to the iteration in which the next one is needed."""
        (source,) = self.sources.values()
        restart = restart_function(self.prefix, self.program, entry)
        rows = f"{restart.removesuffix('restart')}pushed"
        at = next(i for i, s in enumerate(entry.steps) if pulls(s))
        before, step, after = entry.steps[:at], entry.steps[at], entry.steps[at + 1 :]
        text.add(comment("rows so far"), f"static int32_t {rows};", "")
        with text.function(prototype(self.prefix, self.program, entry)):
            if before:
                with text.block(f"if ({rows} == 0)"):
                    self.steps(text, before)
            if isinstance(step, Loop):
                begin, end = iterations(step, source, rows)
                text.add(f"const int32_t begin = {begin};", f"++{rows};")
                text.add(f"const int32_t end = {end};")
                self.loop(text, step, "begin", "end")
            else:
                assert isinstance(step, Pull)
                text.add(f"const int32_t k = {rows}++;")
                self.step(text, replace(step, rows=1), looped=True)
            with text.block(f"if ({rows} < {source.rows})"):
                text.add("return 0;")
            self.steps(text, after)
            text.add(f"{rows} = 0;", "return 1;")
        with text.function(f"void {restart}(void)"):
            text.add(f"{rows} = 0;")

    def loop(self, text: Text, loop: Loop, begin: str, end: str) -> None:
        text.add(comment(f"{len(loop.body)} steps stream through line buffers"))
        with text.block(f"for (int32_t t = {begin}; t < {end}; ++t)"):
            for strips, group in loop.turns():
                if strips == 1:
                    self.due(text, group)
                    continue
                text.add(comment(f"{strips} strips of pixels"))
                with text.block(f"for (int32_t q = 0; q < {strips}; ++q)"):
                    self.due(text, group)

    def due(self, text: Text, group: Sequence[Timed]) -> None:
        """Steps of a loop at iteration t, in strip q where they have several."""
        for timed in group:
            condition, k = _timing(timed)
            with text.block(f"if ({condition})"):
                if isinstance(timed.step, Wait):
                    self.step(text, timed.step)
                else:
                    text.add(f"const int32_t k = {k};")
                    self.step(text, timed.step, looped=True, columns=timed.columns)

    def step(
        self, text: Text, step: Step, *, looped: bool = False, columns: Sequence[int] = ()
    ) -> None:
        if isinstance(step, Call):
            self.call(text, step, looped=looped, columns=columns)
        elif isinstance(step, Pull):
            self.pull(text, step, looped=looped)
        elif isinstance(step, Copy):
            self.copy(text, step, looped=looped)
        elif isinstance(step, Wait):
            text.add(f"{self.prefix}_copy_wait();")
        elif isinstance(step, Stop):
            text.add(comment(f"step {self.next_step}: {step.value} within bounds, or the end"))
            before = [f"{self.prefix}_copy_wait();"] if self.copies else []
            below = self.address(step.below) if step.below else ""
            halt(text, step, self.address(step.view), below, self.prefix, before)
        else:
            assert isinstance(step, Advance)
            with text.block(""):
                counter = f"(int32_t *)(void *)({self.buffer(step.counter)})"
                text.add(
                    comment(f"turn the ring {step.counter}"),
                    f"int32_t *const first = {counter};",
                    f"*first = (*first + {step.by}) % {step.ring};",
                )
        text.add(f"{self.prefix}_on_step({self.next_step}u);")
        self.next_step += 1

    def tables(self, call: Call) -> dict[View, str]:
        """The names of the tables that a call's epilogue reads."""
        return {v: self.symbols[v.buffer] for v in (call.store.tables if call.store else ())}

    def call(self, text: Text, call: Call, *, looped: bool, columns: Sequence[int] = ()) -> None:
        n, instance = self.instances.add(
            call, self.next_step, self.tables(call), looped=looped, strips=bool(columns)
        )
        with text.block(""):
            text.add(comment(self.describe(call)))
            if columns:
                numbers = ", ".join(map(str, columns))
                text.add(f"static const uint16_t columns[{len(columns)}] = {{{numbers}}};")
            values = self.given(call, looped=looped, strips=bool(columns))
            still = (values[f.name] for f in instance.fields if not f.moving)
            with text.block(f"static const {self.prefix}_call{n} a =", "};"):
                text.extend(f"{value}," for value in still)
            moving = "".join(f", {values[f.name]}" for f in instance.fields if f.moving)
            text.add(f"{self.prefix}_{call.kernel.function}{n}(&a{moving});")

    def given(self, call: Call, *, looped: bool, strips: bool) -> dict[str, str]:
        """The C values of all that an instance may be given of a call."""
        values = {k: number(v) for k, v in call.kernel.params(call.node).items()}
        views = [(f"in{i}", v) for i, v in enumerate(call.inputs)]
        views += [(f"out{i}", v) for i, (_, v) in enumerate(call.results())]
        for name, view in views:
            values[name], first = self.address(view), str(view.shift)
            if view.counter is not None:
                counter = f"*(const int32_t *)(const void *)({self.buffer(view.counter)})"
                first = f"{counter} + {view.shift}" if view.shift else counter
            if view.block is not None:
                step = view.block * view.pixel
                values[name] += f" + k % {view.slots} * {step}"
                first = f"k * {view.block}"
            values |= {f"{name}_first": first, f"{name}_rows": self.row_table(view)}
        region = call.region
        for axis, reach in (("y", region.y), ("x", region.x), ("c", region.c)):
            values |= zip((f"{axis}0", f"{axis}1"), _bounds(reach, looped=looped), strict=True)
        if strips:
            values |= {"x0": "columns[q]", "x1": "columns[q + 1]"}
        if call.scratch is not None:
            values["scratch"] = self.scratch(call.scratch)
        return values

    def scratch(self, view: View) -> str:
        """Where execution k of a call has its scratch."""
        where = self.address(view)
        if view.places is None:
            return where
        return f"{where} + {self.row_table(view)}[k] * {view.unit}"

    def describe(self, call: Call) -> str:
        """`step 3: conv2d "origin" s8[1,48,48,8] -> s8[1,48,48,16]; kernel; places`"""
        shapes = ", ".join(str(v.type) for v in call.node.inputs)
        fused = "".join(f" + {n.op.name}" for n in call.fused)
        places = ", ".join(self.where(v) for v in call.inputs)
        made = ", ".join(str(v.type) for v, _ in call.results())
        targets = ", ".join(self.where(v) for _, v in call.results())
        return (
            f"step {self.next_step}: {call.node.describe()}{fused} ({shapes}) -> "
            f"{made}; kernel {call.kernel.name}; {places} -> {targets}"
        )

    def where(self, view: View) -> str:
        buffer = self.program.buffers[view.buffer]
        if buffer.kind is Kind.CONST:
            return self.symbols[view.buffer]
        return f"{buffer.memory}+{(buffer.offset or 0) + view.start}"

    def pull(self, text: Text, step: Pull, *, looped: bool) -> None:
        what = f"rows of {step.value.name}: {step.value.type} -> {self.where(step.view)}"
        text.add(comment(f"step {self.next_step}: {what}"))
        address = self.address(step.view)
        source, table = self.sources[step.value.name], self.row_table(step.view)
        pull(text, step, source, address, "k" if looped else "0", table)

    def copy(self, text: Text, copy: Copy, *, looped: bool) -> None:
        source, target = copy.source, copy.target
        text.add(comment(f"step {self.next_step}: bring {source.root} from {self.where(source)}"))
        a, b = self.address(source), self.address(target)
        start = f"{self.prefix}_copy_start"
        if target.block is not None:
            pixel, total = target.pixel, source.pixels
            text.add(
                f"{start}({b} + k % {target.slots} * {target.block * pixel}, "
                f"{a} + k * {target.block * pixel}, "
                f"(uint32_t)(ll_min({target.block}, {total} - k * {target.block}) * {pixel}));"
            )
            return
        if copy.rows is not None:
            low, high = _bounds(copy.rows, looped=looped)
            row = source.pixels * source.channels * source.dtype.itemsize
            with text.block(f"for (int32_t y = {low}; y < {high}; ++y)"):
                text.add(f"{start}({b} + {_slot(target)}, {a} + {_slot(source)}, {row}u);")
            return
        bytes_ = source.rows * source.pixels * source.channels * source.dtype.itemsize
        if source.is_dense and target.is_dense:
            text.add(f"{start}({b}, {a}, {bytes_}u);")
            return
        with (
            text.block(f"for (int32_t y = 0; y < {source.rows}; ++y)"),
            text.block(f"for (int32_t x = 0; x < {source.pixels}; ++x)"),
        ):
            text.add(
                f"{start}({b} + y * {target.row} + x * {target.pixel}, "
                f"{a} + y * {source.row} + x * {source.pixel}, "
                f"{source.channels * source.dtype.itemsize}u);"
            )

    # places

    def row_table(self, view: View) -> str:
        """The name of the table that says where the rows of a view begin."""
        if view.places is None:
            return "0"
        rows = tuple(place // view.unit for place in view.places)
        return self.row_tables.setdefault(rows, f"{self.prefix}_rows{len(self.row_tables)}")

    def buffer(self, name: str) -> str:
        buffer = self.program.buffers[name]
        if buffer.kind is Kind.CONST:
            return f"(const uint8_t *){self.symbols[name]}"
        return f"{self.arena(buffer.memory)} + {buffer.offset}"

    def address(self, view: View) -> str:
        base = self.buffer(view.buffer)
        return f"{base} + {view.start}" if view.start else base


def _slot(view: View) -> str:
    """Where row y of a view begins, in bytes from its start."""
    return f"y * {view.row}" if view.ring is None else f"y % {view.ring} * {view.row}"


def _timing(timed: Timed) -> tuple[str, str]:
    """(when the step runs at iteration t, the number of that execution)."""
    period, phase, count = timed.period, timed.phase, timed.count
    since = f"t - {phase}" if phase else "t"
    k = f"({since}) / {period}" if period > 1 else since
    tests = [f"t >= {phase}"] if phase else []
    if period > 1:
        tests.append(f"({since}) % {period} == 0")
    tests.append(f"{k} < {count}")
    return " && ".join(tests), k


def _bounds(axis: Range, *, looped: bool) -> tuple[str, str]:
    if not looped or axis.step == 0:
        low, high = axis.at(0)
        return str(low), str(high)
    ends = [
        f"ll_clamp({end} + k * {axis.step}, 0, {axis.extent})" for end in (axis.start, axis.stop)
    ]
    return ends[0], ends[1]


def _symbols(prefix: str, program: Program) -> dict[str, str]:
    """Constant -> C name, unique after what identifiers cannot hold is gone."""
    taken: dict[str, str] = {}
    names: dict[str, str] = {}
    for name in program.consts:
        stem = f"{prefix}_{identifier(name)}"
        symbol, k = stem, 1
        while symbol in taken:
            symbol, k = f"{stem}_{k}", k + 1
        taken[symbol] = names[name] = symbol
    return names


def _isa_headers(name: str) -> set[str]:
    """A header of `isa` and those of that folder that it includes, and so on."""
    found: set[str] = set()
    todo = [name]
    while todo:
        path = f"isa/{todo.pop()}"
        if path not in found:
            found.add(path)
            todo += re.findall(r'#include "(\w+\.h)"', _resource(path))
    return found


def _resource(path: str) -> str:
    return (resources.files("lilliput.codegen") / "csrc" / path).read_text(encoding="utf-8")
