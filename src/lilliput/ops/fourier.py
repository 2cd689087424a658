"""rfft: the Fourier transform of real numbers, in 32-bit fixed point.

One idea: N real numbers are N/2 complex ones (even, odd); their transform is taken apart into
that of the real ones (Sorensen et al., "Real-valued fast Fourier transform algorithms", 1987).
Every stage halves, so that nothing overflows and the result is X / N; 32-bit data lose nothing
that 16-bit sound holds, whatever its loudness, hence no block exponents.  Twiddles are Q15:
a product with one is an instruction of Armv7E-M, and two multiplications anywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, Whole, pointwise
from lilliput.ir.types import Array, DType, TensorType, s32
from lilliput.ops.common import check, slides
from lilliput.ops.move import one
from lilliput.ops.numeric import Ints, wrap32
from lilliput.ops.registry import register

SMALLEST, LARGEST = 8, 8192

Complex = tuple[Ints, Ints]
"""Real and imaginary parts."""


def twiddles(n: int) -> Complex:
    """(-cos, -sin) of 2 pi k / n for k = 0 .. n/4, in Q15: so signed, both ends are exact."""
    angle = 2 * np.pi * np.arange(n // 4 + 1) / n
    cos, sin = (np.floor(-f(angle) * 32768 + 0.5).astype(np.int64) for f in (np.cos, np.sin))
    return cos, sin


def mulw(a: Ints, b: Ints) -> Ints:
    """a * b / 2^16, rounded down: a of int32, b of int16 (Arm's SMULW)."""
    return (a * b) >> 16


def _turned(re: Ints, im: Ints, w: Complex) -> Complex:
    """Minus the real part, and the imaginary part, of half of exp(-i angle) * (re + i im)."""
    cos, sin = w
    return wrap32(mulw(re, cos) + mulw(im, sin)), wrap32(mulw(re, sin) - mulw(im, cos))


def _reversed(count: int) -> Ints:
    """0 .. count-1 with the order of their bits turned around."""
    index, turned = np.arange(count), np.zeros(count, np.int64)
    for bit in range(count.bit_length() - 1):
        turned = turned << 1 | (index >> bit) & 1
    return turned


def _first_stages(re: Ints, im: Ints) -> Complex:
    """Transforms of four numbers each, n/4 apart, divided by four: twiddles of 1 and -i."""
    quarter = re.shape[-1] // 4
    at = _reversed(quarter)
    (ar, br, cr, dr), (ai, bi, ci, di) = (
        [v[..., at + quarter * k] >> 2 for k in (0, 2, 1, 3)] for v in (re, im)
    )
    sr, si, er, ei = ar + br, ai + bi, ar - br, ai - bi
    tr, ti, fr, fi = cr + dr, ci + di, cr - dr, ci - di
    real, imag = (sr + tr, er + fi, sr - tr, er - fi), (si + ti, ei - fr, si - ti, ei + fr)
    shape = re.shape
    return (
        wrap32(np.stack(real, -1).reshape(shape)),
        wrap32(np.stack(imag, -1).reshape(shape)),
    )


def _stage(re: Ints, im: Ints, length: int, w: Complex) -> Complex:
    """Twos of transforms of half of `length` become one of it, halved."""
    shape, quarter = re.shape, length // 4
    wide = (*shape[:-1], shape[-1] // length, 4, quarter)
    r, i = re.reshape(wide), im.reshape(wide)
    step = (len(w[0]) - 1) // quarter
    near = w[0][:-1:step], w[1][:-1:step]
    # the twiddles of the second quarter are -i times those of the first
    tr, ti = _turned(r[..., 2, :], i[..., 2, :], near)
    qr, qi = _turned(r[..., 3, :], i[..., 3, :], near)
    ur, ui, vr, vi = r[..., 0, :] >> 1, i[..., 0, :] >> 1, r[..., 1, :] >> 1, i[..., 1, :] >> 1
    real, imag = (ur - tr, vr + qi, ur + tr, vr - qi), (ui + ti, vi + qr, ui - ti, vi - qr)
    return (
        wrap32(np.stack(real, -2).reshape(shape)),
        wrap32(np.stack(imag, -2).reshape(shape)),
    )


def rfft_s32(x: Ints) -> Ints:
    """(..., N) -> (..., N+2): X[k] / N for k = 0 .. N/2, real and imaginary parts in turns."""
    n = x.shape[-1]
    w = twiddles(n)
    re, im = _first_stages(x[..., 0::2], x[..., 1::2])
    length = 8
    while length <= n // 2:
        re, im = _stage(re, im, length, w)
        length *= 2
    y = np.zeros((*x.shape[:-1], n // 2 + 1, 2), np.int64)
    re, im = re >> 1, im >> 1
    y[..., 0, 0], y[..., -1, 0] = re[..., 0] + im[..., 0], re[..., 0] - im[..., 0]
    k: Ints = np.arange(1, n // 4 + 1, dtype=np.int64)
    ar, ai, br, bi = re[..., k], im[..., k], re[..., -k], im[..., -k]
    even_r, even_i = wrap32(ar + br) >> 1, wrap32(ai - bi) >> 1
    tr, ti = _turned(wrap32(ai + bi), wrap32(br - ar), (w[0][1:], w[1][1:]))
    y[..., n // 2 - k, 0], y[..., n // 2 - k, 1] = even_r + tr, ti - even_i
    y[..., k, 0], y[..., k, 1] = even_r - tr, even_i + ti
    return wrap32(y.reshape(*x.shape[:-1], n + 2))


def _infer(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    x = one(types)
    check(x.dtype is DType.S32, "element type", "s32", x.dtype.value)
    check(len(x.shape) >= 1, "rank", ">= 1", x.shape)
    n = x.shape[-1]
    power = n & (n - 1) == 0 and SMALLEST <= n <= LARGEST
    check(power, "length of the transform", f"a power of two, {SMALLEST} to {LARGEST}", n)
    return (TensorType((*x.shape[:-1], n + 2), DType.S32),)


def _ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    return (rfft_s32(operands[0].astype(np.int64)).astype(np.int32),)


def _regions(node: Node) -> tuple[OperandRule, ...]:
    return ((*pointwise(len(node.output.type.shape) - 1), Whole()),)


def _length(node: Node) -> int:
    return node.inputs[0].type.shape[-1]


def _transforms(node: Node) -> int:
    return math.prod(node.inputs[0].type.shape[:-1])


def _products(node: Node) -> int:
    """Four for each butterfly with a twiddle, and for each two of the results."""
    half = _length(node) // 2
    stages = half.bit_length() - 3
    return _transforms(node) * (stages * half * 2 + half // 2 * 4)


def _work(node: Node) -> Work:
    """Inner: products with twiddles; set-ups: groups of butterflies, about."""
    return Work(_products(node), node.output.type.size, _transforms(node) * (_length(node) // 8))


def _operands(b: Builder, node: Node) -> tuple[Operand, ...]:
    """Twiddles in words: the sine above, the cosine below."""
    cos, sin = twiddles(_length(node))
    words = ((sin << 16) | (cos & 0xFFFF)).astype(np.int32)
    return (Operand(node.inputs[0], 0), Operand(b.param(f"{node.output.name}/twiddles", words)))


rfft = register(
    Op(
        name="rfft",
        doc="y[..., 2k], y[..., 2k+1] = real, imaginary part of 1/N sum over j of "
        "x[..., j] exp(-2 pi i j k / N), k = 0..N/2; x (..., N) of s32 -> y (..., N+2)",
        infer=_infer,
        ref=_ref,
        regions=_regions,
        slide=slides,
        cost=lambda node: Cost(macs=_products(node)),
        kernels=(
            Kernel(
                name="rfft",
                source="rfft.c",
                accepts=lambda node: None,
                types=lambda node: {},
                params=lambda node: {"n": _length(node)},
                specialise=("n",),
                operands=_operands,
                work=_work,
                code=700,
            ),
        ),
        samples=(
            Sample((s32(1, 3, 2, 64),)),
            Sample((s32(3, 8),), low=-3, high=3),
            Sample((s32(2, 16),), low=-(2**31), high=2**31 - 1),
            Sample((s32(1, 2, 1, 512),), low=-(2**30), high=2**30),
            Sample((s32(32),)),
        ),
        dtypes=(DType.S32,),
        oracle="docs/audio.md",
    )
)
