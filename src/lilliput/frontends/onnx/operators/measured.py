"""Dynamically quantised models: integers whose scale the file measures on each input.

    DynamicQuantizeLinear -> MatMulInteger or ConvInteger -> Cast -> Mul by both scales (-> Add)

One idea: what such a chain rounds is what the float operator is given, so the operator is built on
the reals, with the weights that its integers stand for; the rounding of activations at run time is
left out.  Between its first and its last node a chain has no value (`Awaited`): whoever takes one
of its tensors for something else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.onnx.call import AWAITED, STATIC, Call
from lilliput.frontends.onnx.operators import elementwise, products, recurrent, windows
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.ir import Array, Value

Build = Callable[[Call], Tensor | list[Tensor]]


@dataclass(frozen=True, eq=False)
class Measured:
    """Reals that the file rounds to integers of the scale `units`, of one measurement."""

    real: Value
    units: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.real.type.shape


@dataclass(frozen=True, eq=False)
class Scale:
    """Measured scales, by which measurements, times a constant."""

    units: tuple[str, ...]
    data: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


@dataclass(frozen=True)
class ZeroPoint:
    """What 0 is as an integer of a measurement."""

    units: tuple[str, ...]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Sum:
    """An int32 sum in steps of `units`; build : what a step of the weights is -> its reals."""

    units: tuple[str, ...]
    shape: tuple[int, ...]
    build: Callable[[Array], Tensor]


def _measure(call: Call) -> list[Tensor]:
    """DynamicQuantizeLinear: y, its scale and its zero point."""
    call.check_float(0)
    units = (call.output,)
    found = Measured(call.value(0), units), Scale(units, np.ones((), np.float32)), ZeroPoint(units)
    return [Tensor(n, awaited=a) for n, a in zip(call.node.output, found, strict=False)]


# Products ---------------------------------------------------------------------------------


def _operand(call: Call, k: int, zero: int) -> Measured:
    """Activations: integers of a measured scale, with their own zero point."""
    found = call.tensor(k).awaited
    point = call.tensor(zero).awaited if call.has(zero) else None
    if not isinstance(found, Measured):
        raise call.refuse(
            "integers of no measured scale",
            expected="the result of DynamicQuantizeLinear",
            hint=STATIC,
        )
    if not isinstance(point, ZeroPoint) or point.units != found.units:
        raise call.refuse("the zero point of other integers", expected="its own")
    return found


def _whole(call: Call, k: int, zero: int, axis: int) -> Array:
    """Constant weights less their zero point, float32; zero points are of `axis`."""
    data = call.constant(k, "weights")
    if data.dtype.name not in ("int8", "uint8"):
        raise call.refuse("weights", expected="int8 or uint8", found=data.dtype.name)
    points = call.constant(zero, "zero point") if call.has(zero) else np.zeros(1, data.dtype)
    return data.astype(np.float32) - _along(call, points, data.shape, axis)


def _along(call: Call, steps: Array, shape: tuple[int, ...], axis: int) -> Array:
    """One number, or one for each index of `axis`, as float32 that broadcasts to `shape`."""
    if steps.size == 1:
        return steps.reshape(()).astype(np.float32)
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    if steps.size != shape[axis]:
        raise FormatError(
            "scales or zero points", where=call.where, expected=shape[axis], found=steps.shape
        )
    return steps.reshape(sizes).astype(np.float32)


def _per_channel(call: Call, data: Array, shape: tuple[int, ...], axis: int) -> Array:
    """`data`, which broadcasts to a result of `shape`, as (1) or one for each index of `axis`."""
    wide = data.reshape((1,) * (len(shape) - data.ndim) + data.shape)
    if data.size != 1 and (wide.ndim != len(shape) or wide.size != wide.shape[axis]):
        raise call.refuse("scales of weights", expected="per tensor or per channel", found=shape)
    return wide.reshape(-1)


def _tensor(name: str, value: Value) -> Tensor:
    return Tensor(name, value=value)


def _made(found: Tensor | list[Tensor]) -> Tensor:
    assert isinstance(found, Tensor)
    return found


def _told(call: Call) -> None:
    """Notes that what this node rounds at run time is not rounded here."""
    call.builder.unrounded.append(f'{call.node.op_type} "{call.origin}"')


def _conv(call: Call) -> Tensor:
    """ConvInteger: x, w (O,I,*K), their zero points."""
    x, w = _operand(call, 0, 2), _whole(call, 1, 3, 0)
    _told(call)

    def build(steps: Array) -> Tensor:
        data = w * _along(call, _per_channel(call, steps, shape, 1), w.shape, 0)
        weights = Tensor(call.tensor(1).name, data=data)
        own = replace(call, inputs=(_tensor(call.tensor(0).name, x.real), weights))
        return _made(windows.READ["Conv"](own))

    shape = (1, w.shape[0], *(0,) * (w.ndim - 2))
    return Tensor(call.output, awaited=Sum(x.units, shape, build))


def _matmul(call: Call) -> Tensor:
    """MatMulInteger: a, b, their zero points; b is constant weights, or measured, too."""
    a, b = _operand(call, 0, 2), call.tensor(1).awaited
    _told(call)
    name = call.tensor(0).name
    if isinstance(b, Measured):
        b = _operand(call, 1, 3)
        pair = _tensor(name, a.real), _tensor(call.tensor(1).name, b.real)
        shape = (*a.shape[:-1], b.shape[-1])
        plain = replace(call, inputs=pair)

        def both(steps: Array) -> Tensor:
            if steps.size != 1:
                raise call.refuse("scales of activations", expected="one", found=steps.shape)
            return _times(call, _made(products.READ["MatMul"](plain)), steps)

        return Tensor(call.output, awaited=Sum(tuple(sorted(a.units + b.units)), shape, both))
    w = _whole(call, 1, 3, -1)

    def build(steps: Array) -> Tensor:
        data = w * _along(call, _per_channel(call, steps, shape, -1), w.shape, -1)
        own = replace(call, inputs=(_tensor(name, a.real), Tensor(call.tensor(1).name, data=data)))
        return _made(products.READ["MatMul"](own))

    shape = (*a.shape[:-1], w.shape[-1])
    return Tensor(call.output, awaited=Sum(a.units, shape, build))


def _times(call: Call, made: Tensor, factor: Array) -> Tensor:
    """`made` times one number, for which there is mostly nothing to do."""
    if np.all(factor == 1):
        return made
    constant = Tensor(f"{made.name}/factor", data=factor.astype(np.float32).reshape(1))
    return _made(elementwise.READ["Mul"](replace(call, inputs=(made, constant))))


# What scales a sum ------------------------------------------------------------------------


def _cast(call: Call) -> Tensor | list[Tensor]:
    found = call.tensor(0).awaited
    if isinstance(found, Sum):
        return Tensor(call.output, awaited=found)
    return elementwise.READ["Cast"](call)


def _mul(call: Call) -> Tensor | list[Tensor]:
    """A measured scale times a constant or another one, or a sum times all of its scales."""
    pair = call.tensor(0), call.tensor(1)
    found = [t.awaited for t in pair]
    if found == [None, None]:
        return elementwise.READ["Mul"](call)
    scales = [_scale(t) for t in pair]
    if scales[0] is not None and scales[1] is not None:
        units = tuple(sorted(scales[0].units + scales[1].units))
        data = np.asarray(scales[0].data * scales[1].data, np.float32)
        return Tensor(call.output, awaited=Scale(units, data))
    for total, scale in zip(found, reversed(scales), strict=True):
        if isinstance(total, Sum) and scale is not None and scale.units == total.units:
            return replace(total.build(scale.data), name=call.output)
    raise call.refuse(AWAITED, hint=STATIC)


def _scale(t: Tensor) -> Scale | None:
    if isinstance(t.awaited, Scale):
        return t.awaited
    return None if t.data is None else Scale((), t.data)


# One node for all of it -------------------------------------------------------------------


def _with_bias(call: Call, x: Tensor, w: Array, k: int) -> Tensor:
    weights = Tensor(call.tensor(1).name, data=w)
    if not call.has(k):
        return _made(products.READ["MatMul"](replace(call, inputs=(x, weights))))
    return _made(products.READ["Gemm"](replace(call, inputs=(x, weights, call.tensor(k)))))


def _measured_matmul(call: Call) -> Tensor:
    """DynamicQuantizeMatMul: a, b (K,N), the scale and zero point of b, a bias."""
    _told(call)
    w = _whole(call, 1, 3, -1)
    w = w * _along(call, call.constant(2, "scale"), w.shape, -1)
    return _with_bias(call, call.tensor(0), w, 4)


def _matmul_to_float(call: Call) -> Tensor:
    """MatMulIntegerToFloat: a, b (K,N), their scales, their zero points, a bias."""
    a, scale = _operand(call, 0, 4), call.tensor(2).awaited
    if not isinstance(scale, Scale) or scale.units != a.units:
        raise call.refuse("the scale of other integers", expected="its own")
    _told(call)
    w = _whole(call, 1, 5, -1)
    w = w * _along(call, call.constant(3, "scale"), w.shape, -1) * scale.data
    return _with_bias(call, _tensor(call.tensor(0).name, a.real), w, 6)


def _lstm(call: Call) -> Tensor | list[Tensor]:
    """DynamicQuantizeLSTM: as LSTM, with weights (D,I,4H) that have scales and zero points."""
    _told(call)

    def rows(k: int, scale: int) -> Tensor:
        data = call.constant(k, "weights")
        if data.ndim != 3 or data.dtype.name not in ("int8", "uint8"):
            raise call.refuse("weights", expected="(D,I,4H) of 8 bits", found=data.shape)

        def spread(at: int) -> Array:
            steps = call.constant(at, "scale or zero point").astype(np.float32)
            return steps.reshape(len(data), 1, -1)

        real = (data.astype(np.float32) - spread(scale + 1)) * spread(scale)
        return Tensor(call.tensor(k).name, data=np.ascontiguousarray(real.transpose(0, 2, 1)))

    plain = (call.tensor(0), rows(1, 8), rows(2, 10), *call.inputs[3:8])
    return recurrent.READ["LSTM"](replace(call, inputs=plain))


READ: Mapping[str, Build] = {
    "Cast": _cast,
    "ConvInteger": _conv,
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeLinear": _measure,
    "DynamicQuantizeMatMul": _measured_matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul_to_float,
    "Mul": _mul,
}
