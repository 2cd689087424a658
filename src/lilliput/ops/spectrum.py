"""What is left of a spectrum: magnitudes or powers of its bins, bands of them, logarithms.

magnitude and power take real and imaginary parts in turns, as `rfft` gives them, of those bins
that are needed.  filter_bank sums bins that follow one another with weights in Q15, which is
what triangles on the mel scale are.  log2 is element-wise, and natural logarithms or decibels are
its scale.  Squares and sums are exact in 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Finish, Kernel, Op, Operand, Sample, Scalar, Work
from lilliput.ir.region import OperandRule, Whole, pointwise
from lilliput.ir.types import Array, DType, TensorType, s16, s32, s64
from lilliput.ops.common import c_type, check, slides
from lilliput.ops.elementwise import broadcast_regions
from lilliput.ops.move import one
from lilliput.ops.numeric import INT32_MAX, Ints
from lilliput.ops.registry import register

LOG_FRACTION = 16
"""Fraction bits of log2."""
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Bins(Attrs):
    """first, count: the bins of which the result is."""

    first: int
    count: int


@dataclass(frozen=True)
class FilterBank(Attrs):
    """first, count: of each band the bins that it sums; shift: fraction bits of the weights that
    are dropped."""

    first: tuple[int, ...]
    count: tuple[int, ...]
    shift: int = 15


@dataclass(frozen=True)
class Log2(Attrs):
    """offset: added before; least: what a sum is raised to, 1 or more."""

    offset: int = 0
    least: int = 1


# magnitude and power ----------------------------------------------------------------------


def _bins(node: Node) -> Bins:
    assert isinstance(node.attrs, Bins)
    return node.attrs


def _bins_infer(dtype: DType) -> Callable[[Bins, Sequence[TensorType]], tuple[TensorType, ...]]:
    def infer(a: Bins, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        x = one(types)
        check(x.dtype is DType.S32, "element type", "s32", x.dtype.value)
        pairs = len(x.shape) >= 1 and x.shape[len(x.shape) - 1] % 2 == 0
        check(pairs, "channels", "real and imaginary parts in turns", x.shape)
        bins = x.shape[len(x.shape) - 1] // 2
        inside = a.first >= 0 and a.count >= 1 and a.first + a.count <= bins
        check(inside, "bins", f"within 0 to {bins - 1}", f"{a.count} from {a.first}")
        return (TensorType((*x.shape[:-1], a.count), dtype),)

    return infer


def _squares(node: Node, x: Array) -> Words:
    """re^2 + im^2 of the bins, exact."""
    a = _bins(node)
    wide = x.astype(np.int64)[..., 2 * a.first : 2 * (a.first + a.count)]
    squares = (wide * wide).astype(np.uint64)
    return squares[..., 0::2] + squares[..., 1::2]


def bit_length(a: Words) -> Ints:
    """Bits of numbers of 64 bits; of 0 none."""
    bits = np.zeros(a.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        above = a >= np.uint64(1) << np.uint64(step)
        bits += np.where(above, step, 0)
        a = np.where(above, a >> np.uint64(step), a)
    return bits + (a > 0)


def root(squares: Words) -> Ints:
    """Square roots within one part in 2^16, and to the nearest integer below 2^32; at most
    2^31 - 1."""
    half = np.maximum(bit_length(squares) - 31, 0) >> 1
    q = (squares >> (2 * half).astype(np.uint64)).astype(np.int64)
    r = np.sqrt(q.astype(np.float64)).astype(np.int64)  # q < 2^32: exact in doubles
    r = r + (q - r * r > r)
    return np.minimum(r << half, INT32_MAX)


def _magnitude_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    return (root(_squares(node, operands[0])).astype(np.int32),)


def _power_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    most = np.uint64(2**63 - 1)
    return (np.minimum(_squares(node, operands[0]), most).astype(np.int64),)


def _channels_whole(node: Node) -> tuple[OperandRule, ...]:
    lead = pointwise(len(node.output.type.shape) - 1)
    return ((*lead, Whole()), (Whole(),))[: len(node.inputs)]


def _of_bins(name: str, doc: str, dtype: DType) -> Op:
    y = {DType.S32: "int32_t", DType.S64: "int64_t"}[dtype]
    return register(
        Op(
            name=name,
            doc=f"y[..., k] = {doc} of (x[..., 2j], x[..., 2j+1]), j = first + k; "
            f"x (..., 2K) of s32 -> y (..., count) of {dtype.value}",
            attrs=Bins,
            infer=_bins_infer(dtype),
            ref=_magnitude_ref if dtype is DType.S32 else _power_ref,
            regions=_channels_whole,
            slide=slides,
            cost=lambda node: Cost(macs=2 * node.output.type.size, ops=node.output.type.size),
            kernels=(
                Kernel(
                    name=name,
                    source="bins.c",
                    accepts=lambda node: None,
                    types=lambda node: {"LL_BIN": f"ll_bin_{name}", "LL_ACC": y},
                    params=lambda node: {
                        "first": _bins(node).first,
                        "count": _bins(node).count,
                    },
                    specialise=("first", "count"),
                    operands=lambda b, node: (Operand(node.inputs[0], 0),),
                    work=lambda node: Work(
                        node.output.type.size,
                        node.output.type.size,
                        node.output.type.size // _bins(node).count,
                    ),
                ),
            ),
            samples=(
                Sample((s32(1, 3, 2, 18),), Bins(0, 9)),
                Sample((s32(2, 66),), Bins(5, 20), low=-9, high=9),
                Sample((s32(3, 34),), Bins(1, 16), low=-(2**31), high=2**31 - 1),
                Sample((s32(40),), Bins(19, 1), low=-(2**31), high=-(2**31)),
            ),
            dtypes=(DType.S32,),
            oracle="docs/audio.md",
        )
    )


magnitude = _of_bins("magnitude", "root of the sum of the squares", DType.S32)
power = _of_bins("power", "sum of the squares", DType.S64)


# filter_bank ------------------------------------------------------------------------------


def _bank(node: Node) -> FilterBank:
    assert isinstance(node.attrs, FilterBank)
    return node.attrs


def _bank_infer(a: FilterBank, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 2, "wrong number of operands", "x, weights", len(types))
    x, w = types
    check(x.dtype in (DType.S32, DType.S64), "element type", "s32 or s64", x.dtype.value)
    check(len(x.shape) >= 1, "rank", ">= 1", x.shape)
    bins = x.shape[-1]
    check(len(a.first) == len(a.count) > 0, "bands", "a first and a count each", a)
    pairs = zip(a.first, a.count, strict=True)
    inside = all(f >= 0 and n >= 0 and f + n <= bins for f, n in pairs)
    check(inside, "bins of a band", f"within 0 to {bins - 1}", a)
    total = sum(a.count)
    check(total < 1 << 15 and bins < 1 << 15, "weights", "fewer than 32768", total)
    check(w.dtype is DType.S16 and w.shape == (total,), "weights", f"s16[{total}]", w)
    check(w.zero_point == 0, "zero point of the weights", 0, w.quant)
    check(0 <= a.shift <= 15, "shift", "0 to 15", a.shift)
    return (TensorType((*x.shape[:-1], len(a.first)), DType.S64),)


def _bank_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a, y = _bank(node), np.zeros(node.output.type.shape, np.int64)
    (x, w), at = (v.astype(np.int64) for v in operands), 0
    long = node.inputs[0].type.dtype is DType.S64
    for band, (first, count) in enumerate(zip(a.first, a.count, strict=True)):
        part, weights = x[..., first : first + count], w[at : at + count]
        at += count
        if long:  # each product is rounded down by itself, or it would not fit
            below = part & ((1 << a.shift) - 1)
            y[..., band] = ((part >> a.shift) * weights + (below * weights >> a.shift)).sum(-1)
        else:
            y[..., band] = (part * weights).sum(-1) >> a.shift
    return (y,)


def _bank_operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    """Of each band: its first bin, its first weight, the first weight behind it."""
    a = _bank(node)
    ends = np.cumsum((0, *a.count))
    table = np.stack((np.array(a.first), ends[:-1], ends[1:]), 1).astype(np.int16)
    bands = b.param(f"{node.output.name}/bands", table)
    return (Operand(node.inputs[0], 0), Operand(node.inputs[1]), Operand(bands))


def _bank_macs(node: Node) -> int:
    a = _bank(node)
    return node.output.type.size // len(a.first) * sum(a.count)


filter_bank = register(
    Op(
        name="filter_bank",
        doc="y[..., m] = sum over k < count[m] of x[..., first[m] + k] * w[n + k] / 2^shift, n = "
        "count[0] + ... + count[m-1]; x (..., K) of s32 or s64, w of s16 -> y (..., M) of s64",
        attrs=FilterBank,
        infer=_bank_infer,
        ref=_bank_ref,
        regions=_channels_whole,
        slide=slides,
        cost=lambda node: Cost(macs=_bank_macs(node)),
        kernels=(
            Kernel(
                name="filter_bank",
                source="filter_bank.c",
                accepts=lambda node: None,
                types=lambda node: {
                    "LL_X": c_type(node.inputs[0].type.dtype),
                    "LL_ACC": "int64_t",
                },
                params=lambda node: {"shift": _bank(node).shift},
                specialise=("shift",),
                operands=_bank_operands,
                finish=lambda b, node: Finish(lambda acc, load: acc),
                work=lambda node: Work(
                    _bank_macs(node), node.output.type.size, node.output.type.size
                ),
            ),
        ),
        samples=(
            Sample(
                (s32(1, 3, 2, 20), s16(21)), FilterBank((0, 2, 5, 19), (5, 7, 8, 1)), params=(1,)
            ),
            Sample(
                (s32(2, 9), s16(6)),
                FilterBank((8, 0, 3), (1, 0, 5), 9),
                params=(1,),
                low=-(2**15),
                high=2**15 - 1,
            ),
            Sample((s64(2, 3, 12), s16(13)), FilterBank((0, 4, 11), (5, 7, 1)), params=(1,)),
            Sample((s64(7), s16(7)), FilterBank((0,), (7,), 0), params=(1,)),
        ),
        dtypes=(DType.S32, DType.S64),
        oracle="docs/audio.md",
    )
)


# log2 -------------------------------------------------------------------------------------


@cache
def log_table() -> npt.NDArray[np.uint16]:
    """log2(1 + k/128) in Q0.16 for k = 0..128; the last, 1, wraps to 0, and so do differences."""
    exact = np.log2(1 + np.arange(129) / 128) * (1 << LOG_FRACTION)
    return np.floor(exact + 0.5).astype(np.int64).astype(np.uint16)


def log2_fixed(x: Ints, a: Log2) -> Ints:
    """log2(max(x + offset, least)) in steps of 2^-16, linear between 128 values an octave."""
    value = np.maximum(x + np.int64(a.offset), a.least).astype(np.uint64)
    whole = bit_length(value) - 1
    mantissa = (value << (63 - whole).astype(np.uint64)) >> np.uint64(32)
    fraction = (mantissa & np.uint64(0x7FFFFFFF)).astype(np.int64)
    index, rest = fraction >> 24, (fraction >> 8) & 0xFFFF
    table = log_table().astype(np.int64)
    slope = (table[index + 1] - table[index]) & 0xFFFF
    return (whole << LOG_FRACTION) + table[index] + ((slope * rest + (1 << 15)) >> 16)


def _log_infer(a: Log2, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(x.dtype in (DType.S32, DType.S64), "element type", "s32 or s64", x.dtype.value)
    check(0 <= a.offset < 1 << 31, "offset", "0 to 2^31 - 1", a.offset)
    check(1 <= a.least < 1 << 31, "least", "1 to 2^31 - 1", a.least)
    return (TensorType(x.shape, DType.S32),)


def _log_attrs(node: Node) -> Log2:
    assert isinstance(node.attrs, Log2)
    return node.attrs


def _log_ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    with np.errstate(over="ignore"):
        return (log2_fixed(operands[0].astype(np.int64), _log_attrs(node)).astype(np.int32),)


def _log_c(node: Node, args: Sequence[str]) -> str:
    a = _log_attrs(node)
    return f"ll_log2_q16({args[0]}, {a.offset}, {a.least}, {{table}})"


def _log_tables(_: Node) -> Mapping[str, Array]:
    return {"table": log_table()}


log2 = register(
    Op(
        name="log2",
        doc="y = 2^16 log2(max(x + offset, least)); x of s32 or s64 -> y of s32 of its shape",
        attrs=Log2,
        infer=_log_infer,
        ref=_log_ref,
        regions=broadcast_regions,
        scalar=Scalar(_log_c, _log_tables),
        samples=(
            Sample((s32(1, 3, 5, 7),), Log2()),
            Sample((s32(300),), Log2(offset=3), low=0, high=600),
            Sample((s32(41),), Log2(least=1000), low=-(2**31), high=2**31 - 1),
            Sample((s64(2, 50),), Log2(1, 2), low=-(2**62), high=2**62),
            Sample((s64(2, 50),), Log2(2**31 - 1), low=2**63 - 2**32, high=2**63 - 1),
            Sample((s64(64),), Log2(), low=-3, high=70),
        ),
        dtypes=(DType.S32, DType.S64),
        oracle="docs/audio.md",
    )
)
