"""What a quantize or dequantize of a PT2E program says: scale, zero point, range.

Operators of three names: torch's `quantized_decomposed` per tensor and per channel, and torchao's
affine ones, whose blocks are here whole tensors or channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.frontends.integers import SHIFT, quantised
from lilliput.frontends.torch.program import Argument, Ref, Step
from lilliput.ir import Array, Quant

_OWN, _AO = "quantized_decomposed.", "torchao."
_KINDS = ("per_tensor.default", "per_tensor.tensor", "per_tensor.tensor2", "per_channel.default")
QUANTIZES = frozenset(
    (*(f"{_OWN}quantize_{kind}" for kind in _KINDS), f"{_AO}quantize_affine.default")
)
DEQUANTIZES = frozenset(
    (*(f"{_OWN}dequantize_{kind}" for kind in _KINDS), f"{_AO}dequantize_affine.default")
)
DYNAMIC = ("choose_qparams", "per_token", "dynamic")
"""Parts of the names of operators that measure a scale at run time."""
DTYPES = ("int8", "uint8", "int16", "int32")

Held = Callable[[Ref], Array | None]
"""What a constant holds; None for what is computed."""


@dataclass(frozen=True)
class Scale:
    """quant : of the integers as they are kept here, uint8 less 128
    bounds : of those integers; a program may leave out a part of the type's
    dtype : the type in the program
    inverse : what torch multiplies reals by, float32, one or one for each channel
    """

    quant: Quant
    bounds: tuple[int, int]
    dtype: str
    inverse: Array


def scale_of(step: Step, held: Held, where: str) -> Scale:
    """Raises UnsupportedError for what is computed at run time, and for other types and blocks."""
    dtype = step.arguments.get("dtype")
    if step.operator.startswith(_AO):
        ends = "output_dtype" if step.operator in QUANTIZES else "input_dtype"
        dtype = step.arguments.get(ends)
    if dtype not in DTYPES:
        raise UnsupportedError(
            "integers of this type", where=where, expected=", ".join(DTYPES), found=dtype
        )
    scales = _numbers(step, ("scale", "scales"), held, where, "scale")
    zeros = _numbers(step, ("zero_point", "zero_points"), held, where, "zero point")
    zeros = zeros if zeros is not None else np.zeros(1, np.int64)
    if scales is None:
        raise UnsupportedError("no scale", where=where)
    rank = len(step.results[0].shape or ())
    unsigned = dtype == "uint8"
    zeros = np.broadcast_to(zeros.reshape(-1), scales.reshape(-1).shape)
    quant = quantised(scales, zeros, _axis(step, where), rank, unsigned, where)
    low, high = _bounds(step, str(dtype), held, where)
    inverse = (1.0 / scales.reshape(-1)).astype(np.float32)
    return Scale(quant, (low, high), str(dtype), inverse)


def _numbers(step: Step, names: Sequence[str], held: Held, where: str, what: str) -> Array | None:
    """Of a number, or of a constant tensor; a number keeps its 64 bits."""
    found = next((step.arguments[n] for n in names if step.arguments.get(n) is not None), None)
    if found is None:
        return None
    data = held(found) if isinstance(found, Ref) else np.array(found)
    if data is None or data.dtype.kind not in "iuf":
        raise UnsupportedError(
            f"{what} is computed at run time",
            where=where,
            expected="a constant",
            hint="quantise activations statically, with calibration",
        )
    return data


def _axis(step: Step, where: str) -> int:
    """The axis of channels; of no meaning for one scale."""
    axis = step.arguments.get("axis")
    if isinstance(axis, int):
        return axis
    blocks, shape = step.arguments.get("block_size"), step.results[0].shape
    if not isinstance(blocks, tuple) or shape is None:
        return 0
    small = [k for k, (b, n) in enumerate(zip(blocks, shape, strict=True)) if b != n]
    if len(small) > 1 or any(blocks[k] != 1 for k in small):
        raise UnsupportedError(
            "scales of blocks", where=where, expected="per tensor or per channel", found=blocks
        )
    return small[0] if small else 0


def _bounds(step: Step, dtype: str, held: Held, where: str) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    ends: list[int] = []
    for name, limit in (("quant_min", limits.min), ("quant_max", limits.max)):
        given: Argument = step.arguments.get(name)
        data = _numbers(step, (name,), held, where, name) if given is not None else None
        found = int(limit) if data is None else int(data.reshape(-1)[0])
        ends.append(min(max(found, int(limits.min)), int(limits.max)))
    low, high = ends
    shift = SHIFT if dtype == "uint8" else 0
    return low - shift, high - shift
