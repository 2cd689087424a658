"""From a program, its board, and what linking told, to the one `Summary`.

One idea: what the report says is worked out once, here; text and page only arrange it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lilliput.codegen.c import identifier
from lilliput.codegen.names import entry_function, port_function
from lilliput.devices.device import Device, load, names
from lilliput.errors import UsageError
from lilliput.ops.common import c_type
from lilliput.plan.cost import prediction_error
from lilliput.plan.lifetimes import leaves
from lilliput.plan.objective import step_cycles
from lilliput.plan.program import Call, Entry, Kind, Loop, Program, Step
from lilliput.report.fit import overflows
from lilliput.report.summary import (
    Alternative,
    Api,
    Board,
    Constant,
    EntryPoint,
    FlashBytes,
    Layer,
    Linked,
    Memory,
    MemoryUse,
    Port,
    RamBytes,
    Summary,
    Waiting,
)
from lilliput.report.timeline import peak, scratch, timelines


def summarize(
    program: Program,
    device: Device,
    linked: Linked | None,
    missing: str,
    optimize: str = "speed",
    *,
    allowed: int | None = None,
) -> Summary:
    """The summary of `program` on `device`; `linked` is None when nothing could be linked.

    allowed : bytes of the default RAM that it may take, where these are not all that there are
    """
    ram, lines = device.ram.name, timelines(program)
    states = sum(
        b.nbytes for b in program.buffers.values() if b.kind is Kind.STATE and b.memory == ram
    )
    arena = program.arenas.get(ram, 0)
    ram_bytes = RamBytes(
        arena - states,
        scratch(lines, ram),
        states,
        linked.static if linked else None,
        linked.stack if linked else None,
        arena + linked.static + linked.stack if linked else None,
    )
    flash_bytes = _flash(program, device, linked)
    board = Board(
        device.title,
        device.core.name,
        device.clock_hz,
        tuple(_memories(device, allowed)),
    )
    arenas = dict(program.arenas)
    summary = Summary(
        program.name,
        device.name,
        linked.compiler if linked else None,
        optimize,
        ram_bytes,
        flash_bytes,
        arenas,
        {memory: program.lower_bound(memory) for memory in arenas},
        None,
        peak(lines, ram if ram in arenas else max(arenas, key=lambda m: arenas[m], default=ram)),
        tuple(layers(program, device.core.name)),
        tuple(lines),
        tuple(_constants(program)),
        board,
        _api(program),
        _prediction(device.core.name),
        _alternatives(device, ram_bytes, flash_bytes, arenas),
        missing,
        allowed=allowed,
        recomputed=program.extra,
        paged=program.paged,
        memories=tuple(_uses(program, device, linked)),
        waiting=program.spread
        and Waiting(program.spread.cycles, program.spread.bound, program.spread.exact),
    )
    # Too much already without what linking adds is too much; enough is known with it only.
    fits = False if overflows(summary) else True if linked else None
    return replace(summary, fits=fits)


def _memories(device: Device, allowed: int | None) -> Iterator[Memory]:
    for m in device.memories:
        size = m.size if device.limits else None
        if m == device.ram and allowed is not None:
            size = allowed if size is None else min(size, allowed)
        yield Memory(m.name, m.kind, size, m.default)


def _uses(program: Program, device: Device, linked: Linked | None) -> Iterator[MemoryUse]:
    for m in device.memories:
        mine = [b for b in program.buffers.values() if b.memory == m.name]
        arena = program.arenas.get(m.name, 0)
        states = sum(b.nbytes for b in mine if b.kind is Kind.STATE)
        constants = program.constants(m.name)
        other: int | None = 0
        if m.default:
            other = linked and (linked.code if m.kind == "flash" else linked.static + linked.stack)
        if arena or constants or m.default:
            total = None if other is None else arena + constants + other
            yield MemoryUse(m.name, m.kind, arena, states, constants, other, total)


def layers(program: Program, core: str) -> list[Layer]:
    """Every kernel call in order, with its cycles as predicted for `core`."""
    lines = {(x.entry, x.memory): x for x in timelines(program)}
    found: list[Layer] = []
    step = 0
    for entry in program.entries:
        mine = [x for (name, _), x in lines.items() if name == entry.name]
        for t, top in enumerate(entry.steps):
            live = sum(x.columns[t].alive - x.states for x in mine)
            cycles = {id(call): n for call, n in step_cycles(top, core)}
            for leaf in leaves(top):
                if isinstance(leaf, Call):
                    times, predicted = _times(top, leaf), cycles[id(leaf)]
                    found.append(_layer(program, entry, step, leaf, live, times, predicted))
                step += 1
    return found


def _times(top: Step, leaf: Call) -> int:
    if not isinstance(top, Loop):
        return 1
    return next(t.count for t in top.body if t.step is leaf)


def _layer(
    program: Program, entry: Entry, step: int, call: Call, live: int, times: int, cycles: float
) -> Layer:
    consts = {v.buffer for v in call.inputs if program.buffers[v.buffer].kind is Kind.CONST}
    return Layer(
        step,
        entry.name,
        call.node.origin or call.value.name,
        call.node.op.name,
        tuple(n.op.name for n in call.fused),
        call.kernel.name,
        ", ".join(str(value.type) for value, _ in call.results()),
        call.node.op.cost(call.node).macs,
        cycles,
        sum(program.buffers[name].nbytes for name in consts),
        program.buffers[call.scratch.buffer].nbytes if call.scratch else 0,
        live,
        times,
        call.rejected,
    )


def _flash(program: Program, device: Device, linked: Linked | None) -> FlashBytes:
    constants = program.constants(device.flash.name)
    code = linked.code if linked else None
    prefix = f"{identifier(program.name)}_"
    functions = linked.functions if linked else ()
    return FlashBytes(
        constants,
        code,
        None if code is None else code + constants,
        tuple(
            sorted(
                ((name.partition(".")[0].removeprefix(prefix), n) for name, n in functions),
                key=lambda row: (-row[1], row[0]),
            )
        ),
    )


def _constants(program: Program) -> Iterator[Constant]:
    """The largest first."""
    reader: dict[str, str] = {}
    for entry in program.entries:
        for step in (leaf for s in entry.steps for leaf in leaves(s)):
            if isinstance(step, Call):
                tables = step.store.tables if step.store else ()
                for view in (*step.inputs, *tables):
                    reader.setdefault(view.buffer, step.node.origin or step.value.name)
                    reader.setdefault(view.root, step.node.origin or step.value.name)
    stored = (c for c in program.consts.values() if program.buffers[c.buffer].within is None)
    for const in sorted(stored, key=lambda c: (-c.data.nbytes, c.buffer)):
        yield Constant(
            const.value,
            program.buffers[const.buffer].memory,
            program.buffers[const.buffer].nbytes,
            str(const.data.dtype),
            reader.get(const.buffer, reader.get(const.value, "")),
        )


def _api(program: Program) -> Api:
    prefix = identifier(program.name)
    return Api(
        prefix,
        bool(program.states),
        tuple(
            EntryPoint(
                entry.name,
                entry_function(prefix, program, entry),
                tuple(_ports(program, prefix, entry, "input")),
                tuple(_ports(program, prefix, entry, "output")),
                entry.push,
                f"{prefix.upper()}_OK" if entry.guarded else "",
            )
            for entry in program.entries
        ),
    )


def _ports(program: Program, prefix: str, entry: Entry, kind: str) -> Iterator[Port]:
    for k, (value, view) in enumerate(entry.inputs if kind == "input" else entry.outputs):
        quant = value.type.quant
        scaled = quant if quant and quant.is_per_tensor else None
        yield Port(
            value.name,
            str(value.type),
            c_type(value.type.dtype),
            port_function(prefix, program, entry, kind, k),
            value.type.size,
            scaled.scale[0] if scaled else None,
            scaled.zero_point[0] if scaled else None,
            value.type.frame[0] if view is None else 0,
        )


def _prediction(core: str) -> str:
    """What is known of the error of predicted cycles."""
    error = prediction_error(core)
    if error is None:
        return "no run of this core to compare with"
    return (
        f"error a step {error.median:.1%} median, {error.worst:.0%} worst,"
        f" fitted with {error.compiler}"
    )


def _alternatives(
    device: Device, ram: RamBytes, flash: FlashBytes, arenas: dict[str, int]
) -> tuple[Alternative, ...]:
    """The three smallest other boards; code and stack are taken as those of this core."""
    if not device.limits:
        return ()
    need = sum(arenas.values()) + (ram.static or 0) + (ram.stack or 0)
    stored = flash.constants if flash.total is None else flash.total
    boards = [b for name in names() if name != device.name and (b := _board(name))]
    return tuple(_smallest([b for b in boards if b.limits], need, stored))


def _board(name: str) -> Device | None:
    """A board, or None where a file of the user's is damaged: nobody asked for that one."""
    try:
        return load(name)
    except UsageError:
        return None


def _smallest(boards: Sequence[Device], ram: int, flash: int) -> Iterator[Alternative]:
    fitting = [b for b in boards if b.ram_bytes >= ram and b.flash_bytes >= flash]
    for b in sorted(fitting, key=lambda b: (b.ram_bytes, b.flash_bytes, b.name))[:3]:
        yield Alternative(b.name, b.title, b.core.name, b.ram_bytes, b.flash_bytes)
