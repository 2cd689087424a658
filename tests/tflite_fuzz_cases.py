"""Small .tflite models and seeded damage to them.

One idea: a handful of modules that together use every operator the writer knows, written
as files, and a mutation that depends on its seed alone.  Not a test.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import cast

import numpy as np

from lilliput.frontends.tflite import write
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.schema import IDENTIFIER, Model
from lilliput.ir import Array, Builder, DType, Module, Quant, TensorType
from lilliput.ir.types import f32, s8, s16
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Clamp, add, clamp, mul, sub
from lilliput.ops.frame import Pad, ResizeNearest, pad, resize_nearest
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d
from lilliput.ops.quantize import Requantize, To, dequantize, quantize, requantize
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.shape import Concat, Reshape, Slice, Transpose, concat, reshape, slice_, transpose
from lilliput.ops.softmax import Softmax, softmax
from lilliput.ops.unary import UNARY, Slope


def _integers(seed: int, *shape: int, dtype: str = "int8", reach: int = 127) -> Array:
    return np.random.default_rng(seed).integers(-reach, reach + 1, shape).astype(dtype)


def convolutional() -> Module:
    """Float input, quantised; convolutions of every padding, residual, pools, classifier."""
    b = Builder()
    x = b.add(quantize, (b.input("image", f32(1, 8, 7, 3)),), To(), type=s8(1, 8, 7, 3, scale=0.02))
    scales = np.array((0.01, 0.02, 0.03, 0.04), np.float32)
    channels = Quant(tuple(map(float, scales)), (0,) * 4, 0)
    w = b.param("stem/w", _integers(1, 4, 3, 3, 3), channels)
    bias = Quant(tuple(map(float, np.float32(0.02) * scales)), (0,) * 4, 0)
    c = b.param("stem/b", _integers(2, 4, dtype="int32", reach=9000), bias)
    type = s8(1, 4, 4, 4, scale=0.1, zero_point=-5)
    y = b.add(conv2d, (x, w, c), Conv2d((2, 2), pad=(0, 1, 1, 1)), type=type, name="stem/linear")
    y = b.add(clamp, (y,), Clamp(-5, 55), type=type, name="stem")
    w = b.param("depthwise/w", _integers(3, 8, 3, 3, 1), Quant.per_tensor(0.02))
    deep = s8(1, 4, 4, 8, scale=0.07, zero_point=3)
    attrs = Conv2d(pad=(1, 1, 1, 1), groups=4)
    z = b.add(conv2d, (y, w), attrs, type=deep, name="depthwise")
    w = b.param("project/w", _integers(4, 4, 1, 1, 8), Quant.per_tensor(0.02))
    z = b.add(conv2d, (z, w), Conv2d(), type=type, name="project")
    z = b.add(add, (y, z), type=s8(1, 4, 4, 4, scale=0.2), name="residual")
    z = b.add(max_pool2d, (z,), Pool((2, 2), (2, 2)), name="max")
    z = b.add(avg_pool2d, (z,), Pool((2, 2), (1, 1), (0, 1, 0, 1)), name="average")
    z = b.add(reshape, (z,), Reshape((1, 16)), name="flat")
    w = b.param("head/w", _integers(5, 3, 16), Quant.per_tensor(0.01))
    z = b.add(linear, (z, w), Linear(), type=s8(1, 3, scale=0.3), name="head")
    z = b.add(softmax, (z,), Softmax(), type=s8(1, 3, scale=1 / 256, zero_point=-128), name="p")
    return b.module([b.add(dequantize, (z,), name="probabilities")])


def shapes() -> Module:
    """Operators that move elements, two inputs, two outputs, int8 and int16."""
    b = Builder()
    type = s8(1, 4, 3, 2, scale=0.1, zero_point=7)
    x, y = b.input("x", type), b.input("y", type)
    z = b.add(concat, (x, y), Concat(3), name="both")
    z = b.add(transpose, (z,), Transpose((0, 2, 1, 3)), name="turned")
    z = b.add(pad, (z,), Pad((0, 1, 0, 0), (0, 0, 2, 0), 7), name="padded")
    z = b.add(pad, (z,), Pad((0, 0, 1, 0), (0, 0, 0, 0), -9), name="filled")
    z = b.add(resize_nearest, (z,), ResizeNearest(8, 14), name="large")
    z = b.add(slice_, (z,), Slice((0, 1, 2, 0), (1, 3, 4, 2)), name="part")
    m = b.add(mean, (z,), Reduction((1, 2)), type=s8(1, 1, 1, 2, scale=0.2), name="mean")
    p = b.add(mul, (z, m), type=s8(1, 3, 4, 2, scale=0.5), name="product")
    d = b.add(sub, (p, z), type=s8(1, 3, 4, 2, scale=0.4, zero_point=-1), name="difference")
    wide = s16(1, 3, 4, 2, scale=0.001)
    return b.module([m, b.add(requantize, (d,), Requantize(DType.S16), type=wide, name="wide")])


def floats() -> Module:
    """Float operators with fused ranges, and functions of one element."""
    b = Builder()
    rng = np.random.default_rng(6)
    x = b.input("x", f32(2, 5))
    w = b.param("w", rng.normal(size=(4, 5)).astype(np.float32))
    c = b.param("b", rng.normal(size=4).astype(np.float32))
    y = b.add(linear, (x, w, c), Linear(), name="layer/linear")
    y = b.add(clamp, (y,), Clamp(0.0, 6.0), name="layer")
    y = b.add(add, (y, c), name="sum/linear")
    y = b.add(clamp, (y,), Clamp(-1.0, 1.0), name="sum")
    y = b.add(UNARY["leaky_relu"], (y,), Slope(0.25), name="leaky")
    for name in ("logistic", "tanh", "hard_swish", "abs"):
        y = b.add(UNARY[name], (y,), name=name)
    return b.module([b.add(clamp, (y,), Clamp(low=0.0), name="relu")])


def int4() -> Module:
    """4-bit weights, an odd number of them."""
    b = Builder()
    x = b.input("x", s8(1, 5, scale=0.1))
    w = b.param("w", _integers(7, 3, 5, reach=7), Quant.per_tensor(0.1), DType.S4)
    return b.module([b.add(linear, (x, w), Linear(), type=s8(1, 3, scale=0.2), name="y")])


MODULES: dict[str, Callable[[], Module]] = {
    "convolutional": convolutional,
    "shapes": shapes,
    "floats": floats,
    "int4": int4,
}


@functools.cache
def model(name: str) -> bytes:
    return write(MODULES[name]())


def mutate(data: bytes, seed: int) -> bytes:
    """`data` cut short, with bytes or words replaced, or with a part copied elsewhere."""
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    kind = int(rng.integers(5))
    if kind == 0:
        return bytes(out[: int(rng.integers(len(out)))])
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(out) - 4))
        if kind == 1:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            out[at] = int(rng.integers(256))
        elif kind == 3:
            words = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(out), int(rng.integers(len(out))))
            out[at : at + 4] = words[int(rng.integers(len(words)))].to_bytes(4, "little")
        else:
            size, source = int(rng.integers(1, 64)), int(rng.integers(len(out)))
            part = out[source : source + size]
            out[at : at + len(part)] = part
    return bytes(out)


UNSIGNED = ("opcode", "buffer", "details_type", "version", "offset")


def rewrite(data: bytes, seed: int) -> bytes:
    """`data` decoded, a few of its fields replaced, and encoded again: sound bytes, odd model."""
    rng = np.random.default_rng(seed)
    root: object = decode(data, IDENTIFIER, Model)
    for _ in range(int(rng.integers(1, 4))):
        root = _rewritten(root, rng)
    return encode(root, IDENTIFIER)


def _rewritten(value: object, rng: np.random.Generator) -> object:
    """`value` with one thing somewhere inside it changed."""
    if isinstance(value, tuple):
        items = list(cast("tuple[object, ...]", value))
        if not items:
            return ()
        k, how = int(rng.integers(len(items))), int(rng.integers(8))
        if how == 0:
            return (*items[:k], *items[k + 1 :])
        if how == 1:
            return (*items, items[k])
        items[k] = _rewritten(items[k], rng)
        return tuple(items)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return (0.0, -1.0, 1e-30, 1e30, math.inf, math.nan)[int(rng.integers(6))]
    if isinstance(value, int):
        return (-1, 0, 1, 2, 3, 4, 17, 127)[int(rng.integers(8))]
    if isinstance(value, memoryview):
        data = value.tobytes()
        return memoryview(data[: int(rng.integers(len(data) + 1))])
    if not is_dataclass(value) or isinstance(value, type):
        return value
    names = [f.name for f in fields(value) if getattr(value, f.name) is not None]
    deep = [n for n in names if n in ("subgraphs", "tensors", "operators")]
    names = deep or names
    name = names[int(rng.integers(len(names)))]
    changed = _rewritten(getattr(value, name), rng)
    if isinstance(changed, int) and changed < 0 and name in UNSIGNED:
        return value
    return replace(value, **{name: changed})


def random_inputs(types: Mapping[str, TensorType], seed: int = 0) -> dict[str, Array]:
    """Data for a module's inputs: the whole range of integers, floats in [-4, 4]."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, type in types.items():
        if type.dtype.is_float:
            made[name] = np.asarray(rng.uniform(-4, 4, type.shape), np.float32)
        elif type.dtype.is_integer:
            low, high = type.dtype.bounds
            data = rng.integers(low, high, type.shape, endpoint=True, dtype=np.int64)
            made[name] = np.asarray(data, type.dtype.numpy)
        else:
            made[name] = np.asarray(rng.integers(0, 2, type.shape), bool)
    return made
