"""The types of the values that flow through a graph.

A `TensorType` is a static shape, an element type and, for quantised tensors, the affine
map `real = scale * (q - zero_point)`.  Nothing here knows an operator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.errors import TypeMismatch

Array = npt.NDArray[Any]


class DType(Enum):
    """Element types; the value is the name used in text, files and C suffixes."""

    F32 = "f32"
    S4 = "s4"
    S8 = "s8"
    U8 = "u8"
    S16 = "s16"
    U16 = "u16"
    S32 = "s32"
    U32 = "u32"
    S64 = "s64"
    BOOL = "bool"

    __hash__ = object.__hash__  # of Enum it is slow, and kinds of layers are looked up by it

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy type that holds one element (S4 is held in int8, one element a byte)."""
        return np.dtype(_NUMPY[self])

    @property
    def itemsize(self) -> int:
        """Bytes of one element in an arena."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self is DType.F32

    @property
    def is_integer(self) -> bool:
        return self not in (DType.F32, DType.BOOL)

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        if self is DType.S4:
            return -8, 7
        bits = 8 * self.itemsize
        return (
            (0, 2**bits - 1) if self.value[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )

    @staticmethod
    def of(dtype: npt.DTypeLike) -> DType:
        """The element type of a NumPy array; raises KeyError where there is none."""
        return _FROM_NUMPY[np.dtype(dtype).name]


_NUMPY: dict[DType, str] = {
    DType.F32: "float32",
    DType.S4: "int8",
    DType.S8: "int8",
    DType.U8: "uint8",
    DType.S16: "int16",
    DType.U16: "uint16",
    DType.S32: "int32",
    DType.U32: "uint32",
    DType.S64: "int64",
    DType.BOOL: "bool",
}
_FROM_NUMPY = {name: dtype for dtype, name in _NUMPY.items() if dtype is not DType.S4}


@dataclass(frozen=True)
class Quant:
    """`real[i] = scale[c] * (q[i] - zero_point[c])`, c = the index along `axis`.

    Per tensor: one scale, one zero point, axis None.  Scales are float32 values held as
    Python floats, because that is what .tflite files store and what the multipliers of
    the TFLite quantisation specification are derived from.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @staticmethod
    def per_tensor(scale: float, zero_point: int = 0) -> Quant:
        return Quant((float(np.float32(scale)),), (int(zero_point),))

    @property
    def is_per_tensor(self) -> bool:
        return self.axis is None


@dataclass(frozen=True)
class TensorType:
    """Static shape, element type, and quantisation if the integers stand for reals."""

    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def scale(self) -> float:
        """The scale of a tensor quantised per tensor; raises TypeMismatch for any other."""
        if self.quant is None or not self.quant.is_per_tensor:
            raise TypeMismatch(
                "a scale is needed",
                expected="quantisation per tensor",
                found=f"{self}, {self.quant or 'not quantised'}",
            )
        return self.quant.scale[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised per tensor, or 0 when it is not quantised."""
        return self.quant.zero_point[0] if self.quant is not None else 0

    def with_shape(self, *shape: int) -> TensorType:
        return TensorType(tuple(shape), self.dtype, self.quant)

    def with_dtype(self, dtype: DType, quant: Quant | None = None) -> TensorType:
        return TensorType(self.shape, dtype, quant)

    @property
    def frame(self) -> tuple[int, int, int]:
        """(rows, pixels, channels): how kernels and views see any shape.

        Channels are the last axis, pixels the one before, rows everything else: for
        NHWC, rows = N*H.
        """
        shape = (1, 1, 1, *self.shape)
        return math.prod(shape[:-2]), shape[-2], shape[-1]

    def __str__(self) -> str:
        return f"{self.dtype.value}[{','.join(map(str, self.shape))}]"


def f32(*shape: int) -> TensorType:
    return TensorType(tuple(shape), DType.F32)


def s32(*shape: int) -> TensorType:
    return TensorType(tuple(shape), DType.S32)


def s64(*shape: int) -> TensorType:
    return TensorType(tuple(shape), DType.S64)


def bools(*shape: int) -> TensorType:
    return TensorType(tuple(shape), DType.BOOL)


def s8(*shape: int, scale: float = 1.0, zero_point: int = 0) -> TensorType:
    return TensorType(tuple(shape), DType.S8, Quant.per_tensor(scale, zero_point))


def s16(*shape: int, scale: float = 1.0, zero_point: int = 0) -> TensorType:
    return TensorType(tuple(shape), DType.S16, Quant.per_tensor(scale, zero_point))
