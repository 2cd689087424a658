"""Along one axis: where the best elements are (arg_max, arg_min, top_k), and running sums.

One idea: any tensor is (R,N,C) around the axis N, so that an axis is one of three places and
rows stay rows.  The result of a search is indices; the values themselves are what `index.gather`
picks by them.  Sums over whole axes are in `reduce`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node, Value
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Pointwise, Whole
from lilliput.ir.types import Array, DType, TensorType, bools, f32, s8, s16, s32, s64
from lilliput.ops import shape_rules
from lilliput.ops.common import c_type, check
from lilliput.ops.move import one
from lilliput.ops.numeric import quantize_multiplier, requant, saturate
from lilliput.ops.registry import register

ORDERED = (DType.S8, DType.S16, DType.F32, DType.S32, DType.S64)
PLACES = (DType.S32, DType.S64)
CUMSUM_SHIFT = 19
"""Bits that TFLite puts below the unit of a running sum of int8."""


@dataclass(frozen=True)
class Arg(Attrs):
    """dtype: of the places, s32 or s64."""

    dtype: str = "s32"


@dataclass(frozen=True)
class TopK(Attrs):
    """k: how many places."""

    k: int


@dataclass(frozen=True)
class Cumsum(Attrs):
    """exclusive: without the element at the place itself; reverse: from the end."""

    exclusive: bool = False
    reverse: bool = False


def _operand(_: Builder, node: Node) -> tuple[Operand, ...]:
    return (Operand(node.inputs[0], 0),)


def _regions(_: Node) -> tuple[OperandRule, ...]:
    return ((Pointwise(0), Whole(), Pointwise(2)),)


def _rank_3(types: Sequence[TensorType], dtypes: Sequence[DType]) -> TensorType:
    x = one(types)
    allowed = " ".join(d.value for d in dtypes)
    check(x.dtype in dtypes, "element type", allowed, x.dtype.value)
    check(len(x.shape) == 3, "operand is not of rank 3", "(R,N,C)", x.shape)
    return x


# arg_max, arg_min, top_k ------------------------------------------------------------------


def _arg_infer(a: Arg, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    r, _, c = _rank_3(types, (*ORDERED, DType.BOOL)).shape
    names = [d.value for d in PLACES]
    check(a.dtype in names, "type of the places", " ".join(names), a.dtype)
    return (TensorType((r, 1, c), DType(a.dtype)),)


def _top_k_infer(a: TopK, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    r, n, c = _rank_3(types, ORDERED).shape
    check(1 <= a.k <= n, "k", f"1 to {n}", a.k)
    return (TensorType((r, a.k, c), DType.S32),)


def best_places(x: Array, k: int, *, smallest: bool) -> Array:
    """(R,N,C) -> (R,k,C): places of the k best along N, best first, of equal ones the first."""
    if smallest:
        return np.argsort(x, 1, kind="stable")[:, :k]
    backwards = np.argsort(x[:, ::-1], 1, kind="stable")[:, ::-1]
    return x.shape[1] - 1 - backwards[:, :k]


def _search_ref(node: Node, operands: Sequence[Array], smallest: bool) -> tuple[Array, ...]:
    y = node.output.type
    places = best_places(operands[0], y.shape[1], smallest=smallest)
    return (places.astype(y.dtype.numpy),)


def _search_work(node: Node) -> Work:
    """Inner: elements compared, once for each place; set-ups: places."""
    x, y = node.inputs[0].type, node.output.type
    return Work(x.size * y.shape[1], y.size, y.size)


def _search(smallest: bool) -> Kernel:
    return Kernel(
        name="top_k",
        source="top_k.c",
        accepts=lambda _: None,
        types=lambda node: {"LL_X": c_type(node.inputs[0].type.dtype), "LL_ACC": "int32_t"},
        params=lambda node: {
            "extent": node.inputs[0].type.shape[1],
            "smallest": int(smallest),
        },
        specialise=("smallest",),
        operands=_operand,
        finish=lambda _, __: Finish(lambda acc, _: acc),
        work=_search_work,
    )


def _arg(name: str, doc: str, smallest: bool) -> Op:
    tflm, litert = f"TFLM {name.upper()}", f"LiteRT {name.upper()}"
    return register(
        Op(
            name=name,
            doc=f"y[r,0,c] = the first n at which x[r,n,c] is {doc}; x (R,N,C) -> y (R,1,C)",
            attrs=Arg,
            infer=_arg_infer,
            ref=lambda node, operands: _search_ref(node, operands, smallest),
            grads=(None,),
            regions=_regions,
            cost=lambda node: Cost(ops=node.inputs[0].type.size),
            kernels=(_search(smallest),),
            samples=(
                Sample((s8(4, 33, 1, scale=0.1, zero_point=-7),), Arg()),
                Sample((s8(2, 7, 5),), Arg(), low=-2, high=2),
                Sample((f32(3, 9, 2),), Arg(), low=-3.0, high=3.0),
                Sample((f32(1, 6, 7),), Arg("s64"), low=-1e6, high=1e6),
                Sample((s16(3, 11, 2),), Arg()),
                Sample((s32(2, 5, 3),), Arg(), low=-3, high=3),
                Sample((bools(2, 4, 3),), Arg()),
            ),
            dtypes=(*ORDERED, DType.BOOL),
            oracle={
                DType.F32: tflm,
                DType.S8: tflm,
                DType.S32: litert,
                DType.BOOL: litert,
                DType.S16: "docs/numerics.md",
                DType.S64: "docs/numerics.md",
            },
        )
    )


arg_max = _arg("arg_max", "largest", smallest=False)
arg_min = _arg("arg_min", "smallest", smallest=True)

top_k = register(
    Op(
        name="top_k",
        doc="y[r,:,c] = places of the k largest x[r,:,c], largest first, of equal ones the first; "
        "x (R,N,C) -> y (R,k,C)",
        attrs=TopK,
        infer=_top_k_infer,
        ref=lambda node, operands: _search_ref(node, operands, smallest=False),
        grads=(None,),
        regions=_regions,
        cost=lambda node: Cost(ops=node.inputs[0].type.size * node.output.type.shape[1]),
        kernels=(_search(smallest=False),),
        samples=(
            Sample((s8(4, 33, 1, scale=0.1, zero_point=-7),), TopK(5)),
            Sample((s8(2, 7, 1),), TopK(7), low=-1, high=1),
            Sample((s8(2, 6, 3),), TopK(2)),
            Sample((f32(3, 9, 1),), TopK(2), low=-3.0, high=3.0),
            Sample((s16(3, 11, 1),), TopK(1)),
            Sample((s32(1, 20, 1),), TopK(4), low=-3, high=3),
            Sample((s64(2, 5, 1),), TopK(3)),
        ),
        dtypes=ORDERED,
        oracle="LiteRT TOPK_V2",
    )
)


# cumsum -----------------------------------------------------------------------------------


def _cumsum_attrs(node: Node) -> Cumsum:
    assert isinstance(node.attrs, Cumsum)
    return node.attrs


def _cumsum_scale(node: Node) -> tuple[int, int]:
    x, y = node.inputs[0].type, node.output.type
    return quantize_multiplier(x.scale / ((1 << CUMSUM_SHIFT) * y.scale))


def _cumsum_constants(node: Node) -> None:
    if node.output.type.dtype is DType.S8:
        for type in (node.inputs[0].type, node.output.type):
            check(type.quant is not None and type.quant.is_per_tensor, "scale", "one", type.quant)
        _cumsum_scale(node)


def _cumsum_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, x, y = _cumsum_attrs(node), node.inputs[0].type, node.output.type
    data = operands[0][:, ::-1] if a.reverse else operands[0]
    wide = np.dtype(np.float32 if y.dtype.is_float else np.int64)
    start = np.full((x.shape[0], 1, x.shape[2]), -x.zero_point, wide)
    steps = np.concatenate([start, data.astype(wide) - wide.type(x.zero_point)], 1)
    sums = np.add.accumulate(steps, 1, dtype=wide)
    sums = sums[:, :-1] if a.exclusive else sums[:, 1:]
    sums = sums[:, ::-1] if a.reverse else sums
    if y.dtype is not DType.S8:
        return (sums.astype(y.dtype.numpy),)
    mult, shift = _cumsum_scale(node)
    return (saturate(requant(sums << CUMSUM_SHIFT, mult, shift) + y.zero_point, y),)


def _cumsum_finish(_: Builder, node: Node) -> Finish:
    y = node.output.type
    if y.dtype is not DType.S8:
        return Finish(lambda acc, _: acc)
    mult, shift = _cumsum_scale(node)
    low, high = (bound - y.zero_point for bound in y.dtype.bounds)

    def c(acc: str, _: Callable[[Value], str]) -> str:
        scaled = f"ll_requant(ll_wrap_shl({acc}, {CUMSUM_SHIFT}), {mult}, {shift})"
        return f"ll_clamp({scaled}, {low}, {high}) + ({y.zero_point})"

    return Finish(c)


def _cumsum_types(node: Node) -> Mapping[str, str]:
    dtype = node.inputs[0].type.dtype
    acc = DType.S32 if dtype is DType.S8 else dtype
    add = {DType.S32: "ll_wrap_add", DType.S64: "ll_wrap_add_s64", DType.F32: "ll_add_f32"}[acc]
    return {"LL_X": c_type(dtype), "LL_ACC": c_type(acc), "LL_ADD": add}


def _cumsum_params(node: Node) -> Mapping[str, int]:
    a, x = _cumsum_attrs(node), node.inputs[0].type
    return {
        "extent": x.shape[1],
        "exclusive": int(a.exclusive),
        "reverse": int(a.reverse),
        "zero": x.zero_point,
    }


SUMMED = (DType.S8, DType.F32, DType.S32, DType.S64)

cumsum = register(
    Op(
        name="cumsum",
        doc="y[r,n,c] = sum of x[r,m,c] over m <= n; x, y (R,N,C)",
        attrs=Cumsum,
        infer=lambda a, types: (_rank_3(types, SUMMED),),
        ref=_cumsum_ref,
        constants=_cumsum_constants,
        grads=(shape_rules.accumulated,),
        regions=_regions,
        kernels=(
            Kernel(
                name="cumsum",
                source="cumsum.c",
                accepts=lambda _: None,
                types=_cumsum_types,
                params=_cumsum_params,
                specialise=("exclusive", "reverse"),
                operands=_operand,
                finish=_cumsum_finish,
                work=lambda node: Work(node.output.type.size, node.output.type.size, 0),
            ),
        ),
        samples=(
            Sample(
                (s8(2, 7, 5, scale=0.1, zero_point=3),),
                Cumsum(),
                (s8(2, 7, 5, scale=0.4, zero_point=-128),),
            ),
            Sample(
                (s8(3, 40, 1, scale=0.1, zero_point=-100),),
                Cumsum(exclusive=True),
                (s8(3, 40, 1, scale=5.0, zero_point=127),),
            ),
            Sample(
                (s8(1, 9, 4, scale=1.0, zero_point=9),),
                Cumsum(reverse=True),
                (s8(1, 9, 4, scale=0.01),),
            ),
            Sample((f32(2, 9, 3),), Cumsum(), low=-3.0, high=3.0),
            Sample((f32(1, 8, 2),), Cumsum(exclusive=True, reverse=True), low=-1e4, high=1e4),
            Sample((s32(2, 6, 3),), Cumsum(reverse=True)),
            Sample((s64(1, 5, 2),), Cumsum(exclusive=True)),
        ),
        dtypes=SUMMED,
        oracle={
            DType.S8: "TFLM CUMSUM",
            DType.F32: "TFLM CUMSUM",
            DType.S32: "LiteRT CUMSUM",
            DType.S64: "LiteRT CUMSUM",
        },
    )
)
