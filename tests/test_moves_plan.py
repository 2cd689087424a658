"""Plans of operators that move elements: what a region rule says, and what no step is left for.

Rules are read off index maps; dividing and joining are views; what does move streams row by
row through the rings of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tests.samples import random_array

from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Quant, Value
from lilliput.ir.region import Pointwise, Scale, Shift, Whole, Window
from lilliput.ir.types import TensorType, f32, s8
from lilliput.ops.blocks import Blocks, depth_to_space, space_to_depth
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.frame import MirrorPad, Pad, mirror_pad, pad
from lilliput.ops.pick import StridedSlice, axis_rule, strided_slice
from lilliput.ops.resize import ResizeBilinear, resize_bilinear
from lilliput.ops.shape import Concat, Slice, concat, slice_
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.program import Loop, Program


def q8(*shape: int) -> TensorType:
    return s8(*shape, scale=0.1, zero_point=-7)


# Region rules -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "rule"),
    [
        (range(5), None, Pointwise(1)),
        (range(2, 7), None, Shift(1, -2)),
        (range(1, 9, 3), None, Window(1, 1, 3, 1, -1)),
        (range(0, 12, 2), range(1, 12, 2), Window(1, 2, 2, 1, 0)),
        ([0, 0, 1, 1, 2, 2], None, Scale(1, 3, 6)),
        ([1, 0, *range(40), 39], None, Window(1, 5, 1, 1, 3)),
        (range(11, 0, -1), None, Whole()),
    ],
)
def test_rules_read_off_maps(low: Sequence[int], high: Sequence[int] | None, rule: object) -> None:
    ends = None if high is None else np.array(high)
    extent = max(*low, *(high or ())) + 1
    assert axis_rule(1, extent, np.array(low), ends) == rule


# Plans ------------------------------------------------------------------------------------


def planned(build: Callable[[Builder, Value], Value]) -> Program:
    b = Builder()
    module = b.module((build(b, b.input("x", q8(1, 6, 6, 4))),))
    return plan(Canonicalize()(module), load("cortex-m4"))


def kernels(program: Program) -> list[str]:
    return [call.kernel.name for entry in program.entries for call in entry.calls()]


def convolved(b: Builder, x: Value, name: str, channels: int = 4) -> Value:
    ones = np.ones((channels, 1, 1, x.type.shape[3]), np.int8)
    w = b.param(f"{name}/w", ones, Quant.per_tensor(0.1))
    return b.add(conv2d, (x, w), Conv2d(), type=q8(*x.type.shape[:3], channels), name=name)


def halves(b: Builder, x: Value, axis: int) -> list[Value]:
    size = tuple(d // 2 if k == axis else d for k, d in enumerate(x.type.shape))
    begins = (tuple(n if k == axis else 0 for k, n in enumerate(size)), (0,) * 4)
    return [b.add(slice_, (x,), Slice(begin, size)) for begin in begins]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_split_branches_and_concat_move_no_bytes(axis: int) -> None:
    def build(b: Builder, x: Value) -> Value:
        made = convolved(b, x, "stem")
        branches = [
            convolved(b, part, f"branch{k}") for k, part in enumerate(halves(b, made, axis))
        ]
        joined = b.add(concat, branches, Concat(axis), name="joined")
        return convolved(b, joined, "head")

    assert kernels(planned(build)) == ["gemm_wide"] * 4


def test_margins_of_inner_axes_need_no_tables() -> None:
    def build(b: Builder, x: Value) -> Value:
        return b.add(pad, (x,), Pad((0, 1, 1, 0), (0, 1, 1, 0), 0))

    assert kernels(planned(build)) == ["pad"]


def test_every_second_row_is_picked_by_a_window_of_one() -> None:
    b = Builder()
    x = b.input("x", f32(1, 9, 4, 2))
    b.add(strided_slice, (x,), StridedSlice((0, 1, 0, 0), (1, 4, 4, 2), (1, 2, 1, 1)))
    (node,) = b.nodes
    assert node.op.regions is not None
    rows = node.op.regions(node)[0][1]
    assert rows == Window(1, 1, 2, 1, -1)


def blocks_there_and_back(b: Builder, x: Value) -> Value:
    deep = b.add(space_to_depth, (x,), Blocks(2), name="m1")
    made = convolved(b, deep, "m2", 64)
    return b.add(depth_to_space, (made,), Blocks(2), name="m3")


def every_second_row(b: Builder, x: Value) -> Value:
    h, w = x.type.shape[1:3]
    box = StridedSlice((0, 1, w - 1, 0), (1, h // 2, w, 16), (1, 2, -1, 1))
    return convolved(b, b.add(strided_slice, (x,), box, name="m1"), "m2")


def half_the_size(b: Builder, x: Value) -> Value:
    h, w = x.type.shape[1:3]
    half = ResizeBilinear(h // 2, w // 2, half_pixel_centers=True)
    return convolved(b, b.add(resize_bilinear, (x,), half, name="m1"), "m2")


def mirrored(b: Builder, x: Value) -> Value:
    edge = MirrorPad((0, 1, 1, 0), (0, 1, 1, 0))
    return convolved(b, b.add(mirror_pad, (x,), edge, name="m1"), "m2")


@pytest.mark.parametrize(
    "build", [blocks_there_and_back, every_second_row, half_the_size, mirrored]
)
def test_moves_stream_through_rings(
    build: Callable[[Builder, Value], Value], host_compiler: Toolchain
) -> None:
    b = Builder()
    y = build(b, convolved(b, b.input("x", q8(1, 24, 6, 4)), "m0", 16))
    module = b.module((convolved(b, y, "end"),))
    names = tuple(n.output.name for n in module.graphs["infer"].nodes)
    program = plan(module, load("cortex-m4"), PlanOptions(streams=(names,)))
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)
    assert program.arenas["ram"] < plan(module, load("cortex-m4")).arenas["ram"]
    picture = random_array(np.random.default_rng(1), q8(1, 24, 6, 4))
    proof = prove(module, program, [Call("infer", {"x": picture})], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
