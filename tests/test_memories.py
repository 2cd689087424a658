"""Several memories: what the planner puts where, that results stay exact there, and what it says
where nothing fits.  Boards are made of a few tiny banks, so that small networks have to be split.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput import compiler
from lilliput.compiler import Options
from lilliput.demo_data import digits_model
from lilliput.devices import Device, Memory, load
from lilliput.emu.machine import ROOM, emulation_device
from lilliput.errors import DoesNotFit, EmulationError, UsageError
from lilliput.plan.arena import Block
from lilliput.plan.banks import Bank, choose
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.memories import further, levels
from lilliput.plan.program import Call, Copy, Kind, Loop, Program, Wait
from lilliput.plan.traffic import Traffic, memory_cycles, traffic

STACK = 1024
"""Bytes of the default RAM that a plan leaves to the stack."""

Row = Mapping[str, object]
FLASH: Row = {"kind": "flash", "origin": 0x0800_0000, "size": 0x10_0000, "default": True}


def board(tmp_path: Path, **memories: Row) -> Device:
    """A board of these memories, read from a file."""
    lines = ['title = "tiny banks"', 'core = "cortex-m4"', "clock_hz = 1_000_000", "[sources]"]
    lines += [f'{name} = "made up"' for name in ("clock_hz", *memories)]
    for name, row in memories.items():
        lines.append(f"[memory.{name}]")
        lines += [
            f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in row.items()
        ]
    path = tmp_path / "tiny.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load(path)


def ram(origin: int, size: int, cost: float = 0.0, **more: object) -> Row:
    return {"kind": "ram", "origin": origin, "size": size, "read": cost, "write": cost, **more}


def digits() -> compiler.Model:
    return compiler.load(digits_model())


def exact(model: compiler.Model, device: Device, options: Options | None = None) -> None:
    """Holds NumPy, host C and emulated C against each other."""
    found = compiler.check(model, device, samples=4, options=options)
    assert found.exact, str(found.difference)
    assert not found.missing
    assert not found.problems


def tops(program: Program) -> dict[str, int]:
    """Memory -> where its highest buffer ends."""
    found: dict[str, int] = {}
    for b in program.buffers.values():
        if b.kind is not Kind.CONST:
            found[b.memory] = max(found.get(b.memory, 0), (b.offset or 0) + b.nbytes)
    return found


# 1. activations ---------------------------------------------------------------------------


def test_all_goes_to_the_fast_memory_where_it_fits(tmp_path: Path) -> None:
    device = board(
        tmp_path,
        flash=FLASH,
        sram=ram(0x2000_0000, 0x4000, 0.5, default=True),
        dtcm=ram(0x1000_0000, 0x1000),
    )
    program = plan(digits().module, device)
    assert set(program.arenas) == {"dtcm"}
    assert memory_cycles(program.entries, program.buffers, device) == 0
    exact(digits(), device)


def test_nothing_moves_to_a_memory_that_is_no_faster(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 0x4000, default=True)
    alone = plan(digits().module, board(tmp_path, flash=FLASH, sram=sram))
    other = ram(0x1000_0000, 0x4000)
    program = plan(digits().module, board(tmp_path, flash=FLASH, sram=sram, other=other))
    assert program.buffers == alone.buffers
    assert program.entries == alone.entries
    assert program.spread is None


def test_a_network_that_no_bank_holds_is_split_over_two(tmp_path: Path) -> None:
    """1,488 B of activations, banks of 1,300 and 900 bytes."""
    sram = ram(0x2000_0000, 1300 + STACK, 0.5, default=True)
    device = board(tmp_path, flash=FLASH, sram=sram, dtcm=ram(0x1000_0000, 900))
    program = plan(digits().module, device)
    assert set(program.arenas) == {"sram", "dtcm"}
    assert program.arenas["sram"] <= 1300
    assert program.arenas["dtcm"] <= 900
    assert not any(isinstance(s, Loop) for s in program.entries[0].steps)  # nothing streams
    assert tops(program)["dtcm"] <= program.arenas["dtcm"]
    found = program.spread
    assert found is not None
    assert 0 < found.bound <= found.cycles
    assert found.cycles == memory_cycles(program.entries, program.buffers, device)
    exact(digits(), device)


def test_the_hottest_bytes_are_in_the_fast_memory(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 0x4000, 0.5, default=True)
    device = board(tmp_path, flash=FLASH, sram=sram, dtcm=ram(0x1000_0000, 600))
    program = plan(digits().module, device)
    moved = traffic(program.entries, program.buffers)
    heat = {
        n: (moved[n].read + moved[n].written) / b.nbytes
        for n, b in program.buffers.items()
        if b.kind is Kind.ARENA and n in moved
    }
    fast = [h for n, h in heat.items() if program.buffers[n].memory == "dtcm"]
    slow = [h for n, h in heat.items() if program.buffers[n].memory == "sram"]
    assert fast
    assert max(fast) >= max(slow)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[Block], dict[str, Traffic]]:
    count = draw(st.integers(1, 6))
    blocks = [
        Block(f"b{k}", draw(st.integers(1, 12)) * 4, 4, first, first + draw(st.integers(0, 2)))
        for k in range(count)
        for first in (draw(st.integers(0, 4)),)
    ]
    moved = {b.name: Traffic(draw(st.integers(0, 99)), draw(st.integers(0, 99))) for b in blocks}
    return blocks, moved


@given(drawn=tasks(), room=st.integers(0, 12))
def test_choices_are_the_best_and_bounds_hold(
    drawn: tuple[list[Block], dict[str, Traffic]], room: int
) -> None:
    """Two banks: all subsets of the buffers are tried."""
    blocks, moved = drawn
    banks = [Bank("slow", 1 << 20, 2.0, 1.0), Bank("fast", room * 4, 0.0, 0.5)]
    found = choose(banks, {"e": (blocks, {})}, (), moved, {})
    best = min(
        sum(
            moved[b.name].cycles(*((0.0, 0.5) if chosen >> k & 1 else (2.0, 1.0)))
            for k, b in enumerate(blocks)
        )
        for chosen in range(1 << len(blocks))
        if fits([b for k, b in enumerate(blocks) if chosen >> k & 1], room * 4)
    )
    assert found.bound <= best <= found.cycles
    if found.exact:
        assert found.cycles == best


def fits(blocks: list[Block], room: int) -> bool:
    """Whether first fit in any order of at most six buffers finds room."""
    from lilliput.plan import arena

    return not blocks or arena.extent(blocks, arena.place(blocks, {})) <= room


# 2. constants -----------------------------------------------------------------------------


def test_the_coldest_weights_spill_to_external_flash(tmp_path: Path) -> None:
    module = digits().module
    whole = plan(module, load("cortex-m4"))
    total = sum(b.nbytes for b in whole.buffers.values() if b.kind is Kind.CONST)
    small = {**FLASH, "size": (16 << 10) + total // 2}
    qspi: Row = {"kind": "flash", "origin": 0x9000_0000, "size": 0x10_0000, "read": 8.0}
    sram = ram(0x2000_0000, 0x8000, default=True)
    device = board(tmp_path, flash=small, sram=sram, qspi=qspi)
    program = plan(module, device)
    consts = [b for b in program.buffers.values() if b.kind is Kind.CONST]
    assert {b.memory for b in consts} == {"flash", "qspi"}
    read = traffic(whole.entries, whole.buffers)
    cold = min((n for n in whole.consts if n in read and whole.buffers[n].nbytes >= 256),
               key=lambda n: read[n].read / whole.buffers[n].nbytes)  # fmt: skip
    value = whole.consts[cold].value
    assert {program.buffers[n].memory for n, c in program.consts.items() if c.value == value} == {
        "qspi"
    }
    exact(digits(), device)


def test_weights_that_kernels_cannot_read_come_in_slices(tmp_path: Path) -> None:
    small = {**FLASH, "size": 0x4400}
    store: Row = {
        "kind": "flash",
        "origin": 0x9000_0000,
        "size": 0x10_0000,
        "direct": False,
        "read": 8.0,
    }
    device = board(tmp_path, flash=small, sram=ram(0x2000_0000, 0x8000, default=True), store=store)
    program = plan(digits().module, device)
    leaves = [t.step for s in program.entries[0].steps if isinstance(s, Loop) for t in s.body]
    copies = [s for s in (*program.entries[0].steps, *leaves) if isinstance(s, Copy)]
    assert copies
    assert all(program.buffers[c.source.buffer].memory == "store" for c in copies)
    assert all(program.buffers[c.target.buffer].memory == "sram" for c in copies)
    exact(digits(), device)


# 3. rows ----------------------------------------------------------------------------------


def external(tmp_path: Path, internal: int = 700, cost: float = 40.0) -> Device:
    sram = ram(0x2000_0000, internal + STACK, default=True)
    return board(tmp_path, flash=FLASH, sram=sram, sdram=ram(0xC000_0000, 0x10_0000, cost))


def test_rows_of_external_maps_are_moved_while_others_are_used(tmp_path: Path) -> None:
    from lilliput.plan.fetch import fetch

    module = big().module
    device = load("cortex-m4")
    program = plan(module, device)
    entry, buffers = program.entries[0], dict(program.buffers)
    far = frozenset(n for n, b in buffers.items() if b.kind is Kind.ARENA and b.nbytes > 4000)
    moved = fetch(entry, buffers, far, device.ram.name)
    loops = [s for s in moved.steps if isinstance(s, Loop)]
    assert loops
    for loop in loops:
        kinds = [type(t.step) for t in loop.body]
        assert kinds.index(Wait) < kinds.index(Copy) < kinds.index(Call)
        copies = [t for t in loop.body if isinstance(t.step, Copy)]
        call = next(t for t in loop.body if isinstance(t.step, Call))
        assert all(abs(t.phase - call.phase) == call.period for t in copies)
    near = [b for n, b in buffers.items() if n not in program.buffers]
    assert near
    assert all(b.memory == device.ram.name and b.nbytes < 8000 for b in near)


def big() -> compiler.Model:
    """Three windows over maps of 64 x 64, too large for the internal RAM of `external`."""
    import numpy as np

    from lilliput.ir import Builder, Quant
    from lilliput.ir.types import s8
    from lilliput.ops.conv import Conv2d, conv2d

    rng = np.random.default_rng(0)
    b = Builder(names=set())
    x = b.input("x", s8(1, 64, 64, 2, scale=0.1))
    for k, (channels, stride) in enumerate(((4, 1), (4, 1), (6, 2))):
        shape = (channels, 3, 3, x.type.shape[3])
        w = b.param(f"w{k}", rng.integers(-90, 90, shape).astype(np.int8), Quant((0.02,), (0,)))
        bias = b.param(f"b{k}", np.arange(channels, dtype=np.int32))
        side = x.type.shape[1] // stride
        type = s8(1, side, side, channels, scale=0.4)
        pads = Conv2d(stride=(stride, stride), pad=(1, 1, 1, 1))
        x = b.add(conv2d, (x, w, bias), pads, type=type, name=f"y{k}")
    return compiler.from_module(b.module([x], name="big"))


def test_maps_in_external_memory_are_exact(tmp_path: Path) -> None:
    device = external(tmp_path, internal=6000)
    model = big()
    program = plan(model.module, device)
    assert "sdram" in program.arenas
    assert program.arenas["sram"] <= 6000
    steps = program.entries[0].steps
    loops = [s for s in steps if isinstance(s, Loop)]
    assert any(isinstance(t.step, Copy) and t.step.rows for s in loops for t in s.body)
    exact(model, device)


# 4. what is said, and the ends ------------------------------------------------------------


def test_the_report_names_every_memory(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 1000 + STACK, 0.5, default=True)
    device = board(tmp_path, flash=FLASH, sram=sram, dtcm=ram(0x1000_0000, 900))
    compiled = compiler.compile(digits(), device)
    summary = compiled.summary
    assert {m.name for m in summary.memories} == {"flash", "sram", "dtcm"}
    by_name = {m.name: m for m in summary.memories}
    assert by_name["dtcm"].total == by_name["dtcm"].arena == compiled.program.arenas["dtcm"]
    assert by_name["sram"].total == summary.ram_bytes.total
    assert by_name["flash"].total == summary.flash_bytes.total
    assert '.ll_arena_dtcm"' in compiled.files[f"{compiled.summary.api.prefix}.c"]
    assert summary.waiting is not None
    compiler.write(compiled, tmp_path / "out")
    folder = compiler.read(tmp_path / "out")
    assert [(m.name, m.origin, m.size) for m in folder.memories] == [("dtcm", 0x1000_0000, 900)]


def test_memories_can_be_forbidden(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 0x4000, 0.5, default=True)
    device = board(tmp_path, flash=FLASH, sram=sram, dtcm=ram(0x1000_0000, 0x1000))
    module = digits().module
    none = plan(module, device, PlanOptions(memories=frozenset()))
    assert set(none.arenas) == {"sram"}
    bounded = Options(ram=0x2000).plan_for(device, module)
    assert bounded.memories == frozenset()
    with pytest.raises(UsageError, match="no memory 'sdram'"):
        plan(module, device, PlanOptions(memories=frozenset({"sdram"})))


def test_what_a_board_keeps_for_itself_is_taken_only_when_named(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 0x4000, 0.5, default=True)
    itcm = ram(0x0, 0x1000, auto=False)
    device = board(tmp_path, flash=FLASH, sram=sram, itcm=itcm)
    assert further(device, None) == []
    assert [m.name for m in further(device, frozenset({"itcm"}))] == ["itcm"]
    assert set(plan(digits().module, device).arenas) == {"sram"}


def test_dearer_memories_are_opened_one_by_one() -> None:
    device = load("stm32f746g-disco")
    opened = [[m.name for m in level] for level in levels(device, further(device, None))]
    assert opened == [["dtcm"], ["dtcm", "sdram"], ["dtcm", "qspi"], ["dtcm", "sdram", "qspi"]]


def test_where_nothing_fits_every_memory_is_named(tmp_path: Path) -> None:
    sram = ram(0x2000_0000, 300, default=True)
    device = board(tmp_path, flash=FLASH, sram=sram, dtcm=ram(0x1000_0000, 64))
    with pytest.raises(DoesNotFit, match="does not fit into sram by") as caught:
        compiler.compile(digits(), device)
    assert "dtcm holds" in str(caught.value)
    assert "of 64 bytes" in str(caught.value)


def test_emulated_memories_keep_their_addresses_where_they_can() -> None:
    core = load("cortex-m4").core
    far = Memory("sdram", "ram", 0xC000_0000, 0x1000)
    touching = Memory("dtcm", "ram", 0x2000_0000, 0x1000)
    device = emulation_device(core, beside=(far, touching))
    assert device.memory("sdram").origin == 0xC000_0000
    assert device.memory("sdram").size == 0x1000 + ROOM
    assert device.memory("dtcm").origin != 0x2000_0000  # the emulator's own RAM is there
    regions = sorted((m.origin, m.end) for m in device.memories)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(regions))
    carved = emulation_device(load("cortex-m55").core, beside=(Memory("s", "ram", 0, 0x1000),))
    assert carved.memory("s").end <= carved.ram.end + 0x1000
    with pytest.raises(EmulationError, match="no room for a memory"):
        emulation_device(load("cortex-m55").core, beside=(Memory("s", "ram", 0, 1 << 31),))
