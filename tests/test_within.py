"""Constants that are a part of a larger one: stored once, found by their bytes, and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.test_memories import FLASH, board, ram
from tests.test_programs import CORE, bias, prove_everywhere, weights

from lilliput.codegen.emit import emit
from lilliput.devices.device import load
from lilliput.emu.prove import Call
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError
from lilliput.ir import Array, Builder, Module, Param, Value
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.shape import Concat, Slice, concat, slice_
from lilliput.plan.build import plan
from lilliput.plan.check import check
from lilliput.plan.memories import spill
from lilliput.plan.objective import Budget
from lilliput.plan.program import Buffer, Const, Kind
from lilliput.plan.within import LEAST, parts

CHANNELS, FIRST, SOME = 24, 8, 8
DIRECT = {"flash": True, "ram": True}


def module() -> Module:
    """A 1x1 convolution, and channels 8 to 16 of the same one, made apart."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 4, 4, 12, scale=0.05, zero_point=3))
    w, zero = weights(b, "w", CHANNELS, 1, 1, 12), bias(b, "b", CHANNELS)

    def some(value: Value) -> Value:
        data, (_, *others) = b.params[value.name].data, value.type.shape
        assert data is not None
        box = Slice((FIRST, *(0 for _ in others)), (SOME, *others))
        (type,) = slice_.infer(box, [value.type])
        return b.use(Param(Value(f"{value.name}/some", type), data[FIRST : FIRST + SOME]))

    wp, bp = some(w), some(zero)
    made = [
        b.add(conv2d, (x, *given), Conv2d(), type=s8(1, 4, 4, n, scale=0.2), name=f"y{n}")
        for given, n in (((w, zero), CHANNELS), ((wp, bp), SOME))
    ]
    joined = b.add(concat, (*made, made[1], made[1]), Concat(3), type=s8(1, 4, 4, 48, scale=0.2))
    twice = b.add(add, (joined, joined), type=s8(1, 4, 4, 48, scale=0.4))
    return b.module((twice,))


def test_some_channels_of_a_weight_are_where_the_weight_is(host_compiler: Toolchain) -> None:
    """Weights as they are packed, and all that comes with each channel."""
    m = module()
    program = plan(m, load(CORE))
    within = {n: b for n, b in program.buffers.items() if b.within is not None}
    values = {program.consts[n].value for n in within}
    assert "w/some" in values
    whole = {program.consts[b.within].value for b in within.values() if b.within}
    assert "w" in whole
    stored = program.constants()
    assert stored == program.constants("flash")
    assert stored == sum(c.data.nbytes for n, c in program.consts.items() if n not in within)
    assert sum(b.nbytes for b in within.values()) >= SOME * 12
    x = np.random.default_rng(1).integers(-128, 128, (1, 4, 4, 12)).astype(np.int8)
    prove_everywhere(m, program, [Call("infer", {"x": x})], host_compiler)
    text = emit(program)[f"{program.name}_data.h"]
    assert text.count("#define") == len(within)


def consts(*found: tuple[str, Array, int]) -> tuple[list[Const], dict[str, Buffer]]:
    made = [Const(name, data, "plain", name) for name, data, _ in found]
    buffers = {n: Buffer(n, "flash", d.nbytes, Kind.CONST, align) for n, d, align in found}
    return made, buffers


def test_only_aligned_parts_of_the_same_type_are_found() -> None:
    whole = np.random.default_rng(3).integers(-128, 128, 400).astype(np.int8)
    made = consts(
        ("whole", whole, 1),
        ("aligned", whole[40:80], 4),
        ("askew", whole[42:82], 4),
        ("bytes", whole[3:43], 1),
        ("nested", whole[48:64], 1),
        ("words", whole[40:80].view(np.int32), 4),
        ("small", whole[: LEAST - 1], 1),
        ("alike", np.zeros(64, np.int8), 1),
        ("alike too", np.zeros(32, np.int8), 1),
    )
    assert parts(*made) == {
        "aligned": ("whole", 40),
        "bytes": ("whole", 3),
        "nested": ("whole", 48),
    }
    apart = {n: replace(b, memory=n) for n, b in made[1].items()}
    assert not parts(made[0], apart)


def test_a_certificate_says_where_the_bytes_are() -> None:
    program = plan(module(), load(CORE))
    name, part = next((n, b) for n, b in program.buffers.items() if b.within is not None)
    whole = program.buffers[part.within or ""]
    check(program, DIRECT)
    for wrong in (
        {name: replace(part, offset=(part.offset or 0) + part.align)},
        {name: replace(part, offset=(part.offset or 0) + whole.nbytes)},
        {whole.name: replace(whole, within=name)},
        {whole.name: replace(whole, memory="elsewhere")},
    ):
        with pytest.raises(CertificateError, match="constant") as error:
            check(replace(program, buffers={**program.buffers, **wrong}), DIRECT)
        assert error.value.problems[0].where in (name, whole.name)


def test_what_leaves_the_flash_takes_its_parts_along(tmp_path: Path) -> None:
    program = plan(module(), load(CORE))
    qspi = {"kind": "flash", "origin": 0x9000_0000, "size": 0x10_0000, "read": 8.0}
    device = board(tmp_path, flash=FLASH, ram=ram(0x2000_0000, 0x8000, default=True), qspi=qspi)
    moved = spill(program, device, Budget(flash=0), [device.memory("qspi")])
    assert {moved.homes.get("w"), moved.homes.get("w/some")} == {"qspi"}


def test_parameters_without_data_are_all_stored() -> None:
    """What a search plans of shapes alone has the bytes of a network with weights."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 4, 4, 16, scale=0.1))
    ends: list[Value] = []
    for k in range(80):
        channels = 16 if k < 70 else 4
        w, zero = weights(b, f"w{k}", channels, 1, 1, 16), bias(b, f"b{k}", channels)
        type = s8(1, 4, 4, channels, scale=0.1)
        made = b.add(conv2d, (x, w, zero), Conv2d(), type=type, name=f"y{k}")
        x, ends = (made, ends) if k < 70 else (x, [*ends, made])
    known = b.module(tuple(ends))
    bare = {n: replace(p, data=None) for n, p in known.params.items()}
    found = plan(replace(known, params=bare), load(CORE))
    within = [n for n, b in found.buffers.items() if b.within is not None]
    assert not {found.consts[n].value for n in within} & bare.keys()
    assert abs(found.constants() / plan(known, load(CORE)).constants() - 1) < 0.1
