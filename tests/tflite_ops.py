"""One-operator .tflite models for comparing operators with TFLite Micro.

`one_op_model` writes the flatbuffer, `run_tflm` runs it in the tflite-micro wheel.  It knows
no operator: options are built by a function that the caller gives.  Not a model writer for
users; that is `lilliput.frontends.tflite`.
"""

# flatbuffers, tflite and tflite_micro ship without types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import flatbuffers
import numpy as np
import tflite

from lilliput.ir.types import Array, DType, TensorType

Options = Callable[[flatbuffers.Builder], tuple[int, int]]
"""Adds the options table to the builder; returns (BuiltinOptions code, offset)."""

_TYPE_CODES: dict[DType, int] = {
    DType.F32: tflite.TensorType.FLOAT32,
    DType.S8: tflite.TensorType.INT8,
    DType.U8: tflite.TensorType.UINT8,
    DType.S16: tflite.TensorType.INT16,
    DType.S32: tflite.TensorType.INT32,
    DType.S64: tflite.TensorType.INT64,
    DType.BOOL: tflite.TensorType.BOOL,
}


def _vector(b: flatbuffers.Builder, values: Sequence[float], width: int) -> int:
    """A vector of int32 or offsets (width 4), int64 (8) or float32 (-4)."""
    b.StartVector(abs(width), len(values), abs(width))
    prepend = {4: b.PrependInt32, 8: b.PrependInt64, -4: b.PrependFloat32}[width]
    for value in reversed(values):
        prepend(value)
    return b.EndVector()


def _offsets(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUOffsetTRelative(value)
    return b.EndVector()


def _tensor(b: flatbuffers.Builder, name: str, t: TensorType, buffer: int) -> int:
    quant = None
    if t.quant is not None:
        scale = _vector(b, t.quant.scale, -4)
        zero_point = _vector(b, t.quant.zero_point, 8)
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale)
        tflite.QuantizationParametersAddZeroPoint(b, zero_point)
        tflite.QuantizationParametersAddQuantizedDimension(b, t.quant.axis or 0)
        quant = tflite.QuantizationParametersEnd(b)
    label, shape = b.CreateString(name), _vector(b, t.shape, 4)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, _TYPE_CODES[t.dtype])
    tflite.TensorAddBuffer(b, buffer)
    tflite.TensorAddName(b, label)
    if quant is not None:
        tflite.TensorAddQuantization(b, quant)
    return tflite.TensorEnd(b)


def one_op_model(
    builtin: int,
    inputs: Sequence[TensorType],
    outputs: Sequence[TensorType],
    options: Options | None = None,
    constants: Mapping[int, Array] | None = None,
    version: int = 1,
) -> bytes:
    """A model of one operator; `constants` are operands by index, the others are inputs."""
    constants = constants or {}
    b = flatbuffers.Builder(1024)
    choice = options(b) if options else None
    buffers: list[int] = []
    for data in (None, *(constants[i] for i in sorted(constants))):
        content = None if data is None else b.CreateByteVector(data.tobytes())
        tflite.BufferStart(b)
        if content is not None:
            tflite.BufferAddData(b, content)
        buffers.append(tflite.BufferEnd(b))
    slot = {index: k + 1 for k, index in enumerate(sorted(constants))}
    names = [*(f"x{i}" for i in range(len(inputs))), *(f"y{i}" for i in range(len(outputs)))]
    tensors = [
        _tensor(b, name, t, slot.get(i, 0))
        for i, (name, t) in enumerate(zip(names, (*inputs, *outputs), strict=True))
    ]
    reads = _vector(b, range(len(inputs)), 4)
    writes = _vector(b, range(len(inputs), len(names)), 4)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, 0)
    tflite.OperatorAddInputs(b, reads)
    tflite.OperatorAddOutputs(b, writes)
    if choice is not None:
        tflite.OperatorAddBuiltinOptionsType(b, choice[0])
        tflite.OperatorAddBuiltinOptions(b, choice[1])
    operators = _offsets(b, [tflite.OperatorEnd(b)])
    given = _vector(b, [i for i in range(len(inputs)) if i not in constants], 4)
    results = _vector(b, range(len(inputs), len(names)), 4)
    all_tensors = _offsets(b, tensors)
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, all_tensors)
    tflite.SubGraphAddInputs(b, given)
    tflite.SubGraphAddOutputs(b, results)
    tflite.SubGraphAddOperators(b, operators)
    graphs = _offsets(b, [tflite.SubGraphEnd(b)])
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(builtin, 127))
    tflite.OperatorCodeAddBuiltinCode(b, builtin)
    tflite.OperatorCodeAddVersion(b, version)
    codes = _offsets(b, [tflite.OperatorCodeEnd(b)])
    all_buffers = _offsets(b, buffers)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, all_buffers)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


def run_tflm(model: bytes, inputs: Sequence[Array], outputs: int = 1) -> list[Array]:
    """The outputs of TFLite Micro's reference kernels for `inputs`."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=4 << 20)
    for i, x in enumerate(inputs):
        interpreter.set_input(x, i)
    interpreter.invoke()
    return [np.array(interpreter.get_output(i)) for i in range(outputs)]
