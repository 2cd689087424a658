"""Any broadcast of NumPy's compiles: operands, conditions and scalars of ranks 0 to 6.

Shapes are drawn so that every pattern of axes that are there and axes that are repeated
occurs; the C of all of them, in one program, equals NumPy.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Module, Session, Value, verify
from lilliput.ir.types import Array, DType, bools, f32, s8
from lilliput.ops.compare import comparisons, select
from lilliput.ops.elementwise import Clamp, add, clamp, mul
from lilliput.passes.broadcast import merged
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan

Shape = tuple[int, ...]
WORST = (
    ((2, 1, 3, 1, 2, 1), (1, 3, 1, 2, 1, 2), (2, 3, 3, 2, 2, 2)),
    ((), (2, 3, 2, 2, 3, 2), (3, 1, 1, 3, 1)),
    ((2, 3, 1, 1), (1, 3, 4, 5), (2, 1, 4, 1)),
    ((5,), (), ()),
    ((1, 1, 1), (1,), ()),
    ((2, 1, 1, 4), (2, 3, 3, 4), (4,)),
    ((3, 1, 2, 2), (3, 4, 1, 1), (1, 4, 2, 2)),
)


def drawn(seed: int, count: int) -> list[tuple[Shape, ...]]:
    """Triples of shapes that broadcast, each axis of each there, repeated or left out."""
    rng = np.random.default_rng(seed)
    triples: list[tuple[Shape, ...]] = []
    for _ in range(count):
        full = [int(v) for v in rng.integers(1, 4, int(rng.integers(0, 7)))]
        shapes: list[Shape] = []
        for _ in range(3):
            kept = [d if rng.random() < 0.6 else 1 for d in full]
            shapes.append(tuple(kept[int(rng.integers(0, len(kept) + 1)) :]))
        triples.append(tuple(shapes))
    return triples


def network(triples: list[tuple[Shape, ...]]) -> tuple[Module, dict[str, Array]]:
    """select of three inputs, and a sum whose product with one of them is limited."""
    rng, b = np.random.default_rng(1), Builder()
    given, outputs = dict[str, Array](), list[Value]()
    for k, (c_shape, x_shape, y_shape) in enumerate(triples):
        c, x = b.input(f"c{k}", bools(*c_shape)), b.input(f"x{k}", f32(*x_shape))
        given[c.name] = rng.integers(0, 2, c_shape).astype(bool)
        given[x.name] = np.asarray(rng.normal(size=x_shape), np.float32)
        data = np.asarray(rng.normal(size=y_shape), np.float32)
        y = b.param(f"y{k}", data)
        if k % 2:
            y = b.input(f"v{k}", f32(*y_shape))
            given[y.name] = data
        total = b.add(mul, (b.add(add, (x, y)), x))
        outputs += [b.add(select, (c, x, y)), b.add(clamp, (total,), Clamp(low=0.0))]
    return b.module(outputs), given


@pytest.mark.parametrize("seed", range(2))
def test_any_broadcast_compiles(seed: int, host_compiler: Toolchain) -> None:
    module, given = network([*WORST, *drawn(seed, 20)])
    canonical = Canonicalize()(module)
    verify(canonical)
    ours, theirs = (Session(m).run(given).outputs.values() for m in (module, canonical))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    program = plan(canonical, load("cortex-m4"))
    proof = prove(canonical, program, [Call("infer", given)], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_axes_that_are_treated_alike_are_merged() -> None:
    shapes, out = merged([(2, 3, 4, 5), (2, 1, 1, 5), (5,)], (2, 3, 4, 5))
    assert (shapes, out) == ([(2, 12, 5), (2, 1, 5), (1, 1, 5)], (2, 12, 5))
    for triple in drawn(5, 200):
        whole = np.broadcast_shapes(*triple)
        joined, result = merged(list(triple), whole)
        for before, after in zip(triple, joined, strict=True):
            a = np.arange(prod(before)).reshape(before)
            b = np.arange(prod(after)).reshape(after)
            expected = np.broadcast_to(a, whole).ravel()
            assert np.array_equal(np.broadcast_to(b, result).ravel(), expected)


def test_a_gate_for_each_picture_of_a_batch_costs_no_copy() -> None:
    """The gates (N,1,1,C) of squeeze and excite: views alone bring them beside (N,H,W,C)."""
    b = Builder()
    x, gate = b.input("x", s8(2, 6, 5, 4, scale=0.1)), b.input("g", s8(2, 1, 1, 4, scale=0.01))
    module = Canonicalize()(b.module([b.add(mul, (x, gate), type=x.type)]))
    assert {n.op.name for n in module.graphs["infer"].nodes} == {"mul", "reshape"}
    program = plan(module, load("cortex-m4"))
    assert program.arenas["ram"] <= 2 * x.type.nbytes + gate.type.nbytes + 16


def test_nodes_that_fit_are_left_alone() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4, 4, 3))
    y = b.add(mul, (b.add(add, (x, b.input("v", f32(3)))), b.input("s", f32())))
    z = b.add(comparisons["less"], (y, b.input("r", f32(4, 1, 1))))
    assert z.type.dtype is DType.BOOL
    names = [n.op.name for n in Canonicalize()(b.module([z])).graphs["infer"].nodes]
    assert names == ["add", "mul", "less"]
