"""Elements picked or put by index: gather, gather_nd, scatter_nd, update_slice, one_hot.

Nothing is computed and no quantisation changes.  Indices may be known at run time only; then
an index outside of its axis is moved to the nearest one inside (gathers, update_slice), or what
it would place is left out (scatter_nd), so that no model reads or writes beyond its tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Kernel, NoAttrs, Op, Operand, Sample, Work
from lilliput.ir.region import Pointwise, Whole, pointwise, whole
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.bounds import placed
from lilliput.ops.common import ACTIVATIONS, c_type, check
from lilliput.ops.move import DTYPES, moved, moved_work, oracles
from lilliput.ops.registry import register

INDICES = (DType.S32, DType.S64)
LITERT_ONLY = (DType.S16, DType.S32, DType.S64, DType.BOOL)
MAX_DEPTH = 5
MAX_RANK = 6


@dataclass(frozen=True)
class Scatter(Attrs):
    """shape: of the axes that are indexed."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class OneHot(Attrs):
    """depth: extent of the new axis."""

    depth: int


def index_check(type: TensorType, rank: int, letters: str) -> None:
    """Indices are s32 or s64, of a shape such as `letters`."""
    allowed = " ".join(d.value for d in INDICES)
    check(type.dtype in INDICES, "type of the indices", allowed, type.dtype.value)
    check(len(type.shape) == rank, "indices", letters, type.shape)


def check_count(types: Sequence[TensorType], names: str) -> None:
    """As many operands as `names` has words."""
    check(len(types) == len(names.split()), "wrong number of operands", names, len(types))


def indexed_types(node: Node, data: int, index: int) -> Mapping[str, str]:
    """Macros of a kernel over elements of operand `data` and indices of operand `index`."""
    x = c_type(node.inputs[data].type.dtype)
    return {"LL_X": x, "LL_ACC": "int32_t", "LL_I": c_type(node.inputs[index].type.dtype)}


def _extents(shape: Sequence[int]) -> dict[str, int]:
    """Fields extent0..4 of axes that are indexed."""
    every = (*shape, *(1,) * MAX_DEPTH)[:MAX_DEPTH]
    return {f"extent{k}": d for k, d in enumerate(every)}


# gather, gather_nd ------------------------------------------------------------------------


def _gather_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "x indices")
    x, index = types
    check(len(x.shape) == 4, "operand is not of rank 4", "(B,O,N,C)", x.shape)
    index_check(index, 2, "(B,K)")
    check(index.shape[0] == x.shape[0], "blocks of indices", x.shape[0], index.shape[0])
    return (x.with_shape(x.shape[0], x.shape[1], index.shape[1], x.shape[3]),)


def _gather_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, index = operands
    places = np.clip(index, 0, x.shape[2] - 1)
    return (np.stack([block[:, at] for block, at in zip(x, places, strict=True)]),)


def _gather_nd_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "x indices")
    x, index = types
    index_check(index, 2, "(K,D)")
    depth = len(x.shape) - 1
    check(1 <= depth <= MAX_DEPTH, "rank", f"2 to {MAX_DEPTH + 1}", x.shape)
    check(index.shape[1] == depth, "places an index has", depth, index.shape)
    return (x.with_shape(index.shape[0], x.shape[-1]),)


def _gather_nd_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, index = operands
    return (x[tuple(np.clip(index.T, 0, np.array(x.shape[:-1])[:, None] - 1))],)


def _gather_operands(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0), Operand(node.inputs[1]))


def _gather_params(node: Node) -> Mapping[str, int]:
    x = node.inputs[0].type
    flat = {"outer": x.shape[1], "nested": 0, "pixels": x.shape[2], "depth": 1}
    return flat | _extents((x.shape[2],))


def _gather_nd_params(node: Node) -> Mapping[str, int]:
    x = node.inputs[0].type.shape
    nested = {"outer": 1, "nested": 1, "pixels": x[-2], "depth": len(x) - 1}
    return nested | _extents(x[:-1])


def _gather_kernel(*, nested: bool) -> Kernel:
    return Kernel(
        name="gather",
        source="gather.c",
        accepts=lambda _: None,
        types=lambda node: indexed_types(node, 0, 1),
        params=_gather_nd_params if nested else _gather_params,
        specialise=("nested", "depth"),
        operands=_gather_operands,
        work=moved_work,
    )


gather = register(
    Op(
        name="gather",
        doc="y[b,o,k,c] = x[b, o, indices[b,k], c], indices clamped; x (B,O,N,C), "
        "indices (B,K) -> y (B,O,K,C)",
        infer=_gather_infer,
        ref=_gather_ref,
        grads=(shape_rules.gathered, None),
        regions=lambda _: ((Pointwise(0), Pointwise(1), Whole(), Pointwise(3)), whole(2)),
        bounds=placed,
        cost=moved,
        kernels=(_gather_kernel(nested=False),),
        samples=(
            Sample((s8(1, 1, 20, 7, scale=0.1, zero_point=4), s32(1, 5)), low=0, high=19),
            Sample((s8(2, 3, 5, 4), s32(2, 9)), low=0, high=4),
            Sample((s8(1, 4, 6, 1), s64(1, 3)), low=-9, high=9),
            Sample((s16(3, 1, 5, 2), s32(3, 5)), low=0, high=4),
            Sample((f32(1, 2, 8, 3), s32(1, 4)), low=0, high=7, params=(1,)),
            Sample((s32(2, 2, 3, 1), s64(2, 2)), low=0, high=2),
            Sample((bools(1, 2, 4, 3), s32(1, 6)), low=0, high=3),
        ),
        dtypes=DTYPES,
        oracle=oracles("GATHER", (DType.S8, DType.F32), LITERT_ONLY),
    )
)

gather_nd = register(
    Op(
        name="gather_nd",
        doc="y[k,c] = x[indices[k,0], .., indices[k,D-1], c], indices clamped; x of rank D+1, "
        "indices (K,D) -> y (K,C); D up to 5",
        infer=_gather_nd_infer,
        ref=_gather_nd_ref,
        grads=(shape_rules.gathered_nd, None),
        regions=lambda node: (
            (*whole(len(node.inputs[0].type.shape) - 1), Pointwise(1)),
            (Pointwise(0), Whole()),
        ),
        cost=moved,
        kernels=(_gather_kernel(nested=True),),
        samples=(
            Sample((s8(5, 6, 7, scale=0.1, zero_point=4), s32(9, 2)), low=0, high=4),
            Sample((s8(20, 3), s32(4, 1)), low=0, high=19),
            Sample((s8(2, 3, 4, 2, 3, 2), s64(5, 5)), low=-2, high=4),
            Sample((s16(3, 4, 5, 1), s32(6, 3)), low=0, high=2),
            Sample((f32(3, 4, 5), s32(7, 2)), low=0, high=2, params=(1,)),
            Sample((s32(4, 4, 1), s64(5, 2)), low=0, high=3),
        ),
        dtypes=DTYPES,
        oracle=oracles("GATHER_ND", (DType.S8, DType.F32), LITERT_ONLY),
    )
)


# scatter_nd -------------------------------------------------------------------------------


def _scatter_shape(node: Node) -> tuple[int, ...]:
    assert isinstance(node.attrs, Scatter)
    return node.attrs.shape


def _scatter_infer(a: Scatter, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "indices updates")
    index, x = types
    index_check(index, 2, "(K,D)")
    allowed = " ".join(d.value for d in SCATTERED)
    check(x.dtype in SCATTERED, "element type", allowed, x.dtype.value)
    check(1 <= len(a.shape) <= MAX_DEPTH, "axes that are indexed", f"1 to {MAX_DEPTH}", a.shape)
    check(index.shape[1] == len(a.shape), "places an index has", len(a.shape), index.shape)
    fits = len(x.shape) == 2 and x.shape[0] == index.shape[0]
    check(fits, "updates", f"({index.shape[0]},C)", x.shape)
    return (x.with_shape(*a.shape, x.shape[1]),)


def _scatter_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    index, x = operands
    y = np.zeros(node.output.type.shape, node.output.type.dtype.numpy)
    for at, row in zip(index, x, strict=True):
        if all(0 <= i < d for i, d in zip(at, _scatter_shape(node), strict=True)):
            y[tuple(at)] += row
    return (y,)


def _scatter_types(node: Node) -> Mapping[str, str]:
    dtype = node.output.type.dtype
    wide = {DType.F32: "ll_add_f32", DType.S64: "ll_wrap_add_s64"}
    return {**indexed_types(node, 1, 0), "LL_ADD": wide.get(dtype, "ll_wrap_add")}


def _scatter_params(node: Node) -> Mapping[str, int]:
    shape, number = _scatter_shape(node), node.inputs[0].type.shape[0]
    return {"number": number, "pixels": shape[-1], "depth": len(shape)} | _extents(shape)


def _scatter_work(node: Node) -> Work:
    """Inner: elements added; set-ups: places that are looked up, one an axis of each index."""
    index, x = (v.type for v in node.inputs)
    return Work(x.size, node.output.type.size, index.size)


SCATTERED = (DType.S8, DType.F32, DType.S32, DType.S64)

scatter_nd = register(
    Op(
        name="scatter_nd",
        doc="y = 0; y[indices[k,0], .., indices[k,D-1], c] += updates[k,c]; indices (K,D), "
        "updates (K,C) -> y (`shape`, C); D up to 5; integers wrap",
        attrs=Scatter,
        infer=_scatter_infer,
        ref=_scatter_ref,
        regions=lambda node: (whole(2), (Whole(), Pointwise(len(node.output.type.shape) - 1))),
        cost=moved,
        kernels=(
            Kernel(
                name="scatter",
                source="scatter.c",
                accepts=lambda _: None,
                types=_scatter_types,
                params=_scatter_params,
                specialise=("depth",),
                operands=lambda _, node: (Operand(node.inputs[0]), Operand(node.inputs[1])),
                work=_scatter_work,
            ),
        ),
        samples=(
            Sample((s32(9, 2), s8(9, 5)), Scatter((3, 4)), low=0, high=2),
            Sample((s32(4, 1), s8(4, 3)), Scatter((9,)), low=-9, high=9),
            Sample((s64(6, 3), f32(6, 1)), Scatter((2, 3, 2)), low=0, high=1),
            Sample((s32(7, 1), f32(7, 4)), Scatter((3,)), low=0, high=2),
            Sample((s32(3, 2), s32(3, 2)), Scatter((3, 3)), low=0, high=2),
            Sample((s32(3, 1), s64(3, 2)), Scatter((2,)), low=0, high=1),
        ),
        dtypes=SCATTERED,
        # the first operand is that of the indices
        oracle={DType.S32: "LiteRT SCATTER_ND", DType.S64: "docs/numerics.md"},
    )
)


# update_slice -----------------------------------------------------------------------------


def _update_infer(_: NoAttrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "x update start")
    x, update, start = types
    rank = len(x.shape)
    check(1 <= rank <= MAX_RANK, "rank", f"1 to {MAX_RANK}", x.shape)
    fits = len(update.shape) == rank and all(
        n <= d for n, d in zip(update.shape, x.shape, strict=True)
    )
    check(fits, "extents of the update", f"at most {x.shape}", update.shape)
    check(update.dtype is x.dtype, "type of the update", x.dtype.value, update.dtype.value)
    index_check(start, 1, f"({rank})")
    check(start.shape == (rank,), "places of the start", rank, start.shape)
    return (x,)


def _update_ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    x, update, start = operands
    first = np.clip(start, 0, np.array(x.shape) - np.array(update.shape))
    y = x.copy()
    y[tuple(slice(b, b + n) for b, n in zip(first, update.shape, strict=True))] = update
    return (y,)


def _update_params(node: Node) -> Mapping[str, int]:
    x, update = (v.type.shape for v in node.inputs[:2])
    lead = (1,) * (MAX_RANK - len(x))
    fields = {"lead": len(lead)}
    fields |= {f"extent{k}": d for k, d in enumerate((*lead, *x))}
    return fields | {f"size{k}": d for k, d in enumerate((*lead, *update))}


update_slice = register(
    Op(
        name="update_slice",
        doc="y = x with `update` put at `start`, which is clamped so that all of it fits; "
        "x, update of one rank up to 6, start (rank) -> y like x",
        infer=_update_infer,
        ref=_update_ref,
        regions=lambda node: (
            pointwise(len(node.inputs[0].type.shape)),
            whole(len(node.inputs[1].type.shape)),
            whole(1),
        ),
        cost=moved,
        kernels=(
            Kernel(
                name="update_slice",
                source="update_slice.c",
                accepts=lambda _: None,
                types=lambda node: indexed_types(node, 0, 2),
                params=_update_params,
                operands=lambda _, node: (
                    Operand(node.inputs[0], 0),
                    *(Operand(v) for v in node.inputs[1:]),
                ),
                work=moved_work,
                overlap="element",
            ),
        ),
        samples=(
            Sample((s8(2, 3, 5, 4), s8(1, 2, 5, 3), s32(4)), low=-1, high=3),
            Sample((s8(9), s8(4), s64(1)), low=-1, high=9),
            Sample((s8(2, 2, 3, 2, 3, 2), s8(1, 2, 2, 1, 2, 2), s32(6)), low=-1, high=2),
            Sample((s16(7, 5), s16(1, 5), s32(2)), low=0, high=7),
            Sample((f32(3, 4, 2), f32(3, 1, 2), s32(3)), low=0, high=4),
            Sample((s32(4, 3), s32(2, 2), s64(2)), low=-1, high=4),
        ),
        dtypes=DTYPES,
        oracle=oracles("DYNAMIC_UPDATE_SLICE", (*ACTIVATIONS, DType.S32), (DType.S64, DType.BOOL)),
    )
)


# one_hot ----------------------------------------------------------------------------------


def _one_hot_infer(a: OneHot, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check_count(types, "indices on off")
    index, on, off = types
    index_check(index, 2, "(R,C)")
    check(a.depth >= 1, "depth", ">= 1", a.depth)
    for t in (on, off):
        check(t.size == 1, "value", "one element", t.shape)
        check(t.dtype is on.dtype, "types of the values", on.dtype.value, off.dtype.value)
    return (on.with_shape(index.shape[0], a.depth, index.shape[1]),)


def _one_hot_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    index, on, off = operands
    depth = np.arange(node.output.type.shape[1])
    return (np.where(index[:, None] == depth[:, None], on.reshape(()), off.reshape(())),)


one_hot = register(
    Op(
        name="one_hot",
        doc="y[r,n,c] = on where n = indices[r,c], else off; indices (R,C), on and off one "
        "element -> y (R,`depth`,C)",
        attrs=OneHot,
        infer=_one_hot_infer,
        ref=_one_hot_ref,
        regions=lambda node: (
            (Pointwise(0), Pointwise(2)),
            *(whole(len(v.type.shape)) for v in node.inputs[1:]),
        ),
        cost=moved,
        kernels=(
            Kernel(
                name="one_hot",
                source="one_hot.c",
                accepts=lambda _: None,
                types=lambda node: indexed_types(node, 1, 0),
                params=lambda _: {"none": 0},
                operands=lambda _, node: tuple(Operand(v) for v in node.inputs),
                work=lambda node: Work(
                    0, node.output.type.size, math.prod(node.output.type.shape[:-1])
                ),
            ),
        ),
        samples=(
            Sample((s32(3, 4), f32(), f32()), OneHot(6), params=(1, 2), low=-1, high=6),
            Sample((s32(7, 1), s8(), s8()), OneHot(5), params=(1, 2), low=-1, high=5),
            Sample((s64(1, 9), s32(), s32()), OneHot(3), params=(1, 2), low=0, high=2),
            Sample((s32(2, 3), bools(), bools()), OneHot(4), low=0, high=3),
            Sample((s32(2, 3), s64(), s64()), OneHot(2), params=(1,), low=0, high=1),
        ),
        dtypes=(DType.S8, DType.F32, DType.S32, DType.S64, DType.BOOL),
        oracle="LiteRT ONE_HOT",
    )
)
