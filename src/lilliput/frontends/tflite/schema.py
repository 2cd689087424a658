"""The part of the .tflite schema that is read and written, as dataclasses.

Field numbers are slots of TensorFlow Lite's public FlatBuffers schema (version 3).
Operators' numbers are in `BUILTIN`; a number that is not there is reported by itself.
"""

# The tables say by themselves what they are: no docstrings, and fields made by calls.
# ruff: noqa: D101, RUF009

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lilliput.frontends.tflite.flatbuf import (
    blob,
    numbers,
    presence,
    reals,
    scalar,
    table,
    tables,
    text,
    union,
)
from lilliput.ir import DType

IDENTIFIER = b"TFL3"
VERSION = 3


class Activation(IntEnum):
    """ActivationFunctionType: what a node applies to its result."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


class Padding(IntEnum):
    SAME = 0
    VALID = 1


_TYPE_NAMES = """
FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64
RESOURCE VARIANT UINT32 UINT16 INT4 BFLOAT16
"""
TENSOR_TYPES: dict[int, str] = dict(enumerate(_TYPE_NAMES.split()))
DTYPES: dict[str, DType] = {
    "FLOAT32": DType.F32,
    "INT4": DType.S4,
    "INT8": DType.S8,
    "INT16": DType.S16,
    "INT32": DType.S32,
    "INT64": DType.S64,
    "BOOL": DType.BOOL,
}
TYPE_CODES: dict[DType, int] = {
    DTYPES[name]: code for code, name in TENSOR_TYPES.items() if name in DTYPES
}


@dataclass(frozen=True)
class Quantization:
    scale: tuple[float, ...] = reals(2)
    zero_point: tuple[int, ...] = numbers(3, "q")
    details_type: int = scalar(4, "B", 0)
    dimension: int = scalar(6, "i", 0)


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...] = numbers(0, "i")
    type: int = scalar(1, "b", 0)
    buffer: int = scalar(2, "I", 0)
    name: str = text(3)
    quantization: Quantization | None = table(4, Quantization)
    is_variable: bool = scalar(5, "?", False)
    sparsity: bool = presence(6)
    shape_signature: tuple[int, ...] = numbers(7, "i")


@dataclass(frozen=True)
class Buffer:
    data: memoryview = blob(0, 16)
    offset: int = scalar(1, "Q", 0)


@dataclass(frozen=True)
class OperatorCode:
    deprecated: int = scalar(0, "b", 0)
    custom: str = text(1)
    version: int = scalar(2, "i", 1)
    builtin: int = scalar(3, "i", 0)

    @property
    def code(self) -> int:
        """Old files hold the number in a byte, new ones in both fields while it fits."""
        return max(self.deprecated, self.builtin)


@dataclass(frozen=True)
class Conv2DOptions:
    padding: int = scalar(0, "b", 0)
    stride_w: int = scalar(1, "i", 0)
    stride_h: int = scalar(2, "i", 0)
    activation: int = scalar(3, "b", 0)
    dilation_w: int = scalar(4, "i", 1)
    dilation_h: int = scalar(5, "i", 1)


@dataclass(frozen=True)
class DepthwiseConv2DOptions:
    padding: int = scalar(0, "b", 0)
    stride_w: int = scalar(1, "i", 0)
    stride_h: int = scalar(2, "i", 0)
    multiplier: int = scalar(3, "i", 0)
    activation: int = scalar(4, "b", 0)
    dilation_w: int = scalar(5, "i", 1)
    dilation_h: int = scalar(6, "i", 1)


@dataclass(frozen=True)
class Pool2DOptions:
    padding: int = scalar(0, "b", 0)
    stride_w: int = scalar(1, "i", 0)
    stride_h: int = scalar(2, "i", 0)
    filter_w: int = scalar(3, "i", 0)
    filter_h: int = scalar(4, "i", 0)
    activation: int = scalar(5, "b", 0)


@dataclass(frozen=True)
class FullyConnectedOptions:
    activation: int = scalar(0, "b", 0)
    weights_format: int = scalar(1, "b", 0)
    keep_num_dims: bool = scalar(2, "?", False)


@dataclass(frozen=True)
class SoftmaxOptions:
    beta: float = scalar(0, "f", 0.0)


@dataclass(frozen=True)
class ConcatenationOptions:
    axis: int = scalar(0, "i", 0)
    activation: int = scalar(1, "b", 0)


@dataclass(frozen=True)
class AddOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class SubOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class MulOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class ReshapeOptions:
    new_shape: tuple[int, ...] = numbers(0, "i")


@dataclass(frozen=True)
class ReducerOptions:
    keep_dims: bool = scalar(0, "?", False)


@dataclass(frozen=True)
class ResizeNearestOptions:
    align_corners: bool = scalar(0, "?", False)
    half_pixel_centers: bool = scalar(1, "?", False)


@dataclass(frozen=True)
class LeakyReluOptions:
    alpha: float = scalar(0, "f", 0.0)


OPTIONS: dict[int, type[object]] = {
    1: Conv2DOptions,
    2: DepthwiseConv2DOptions,
    5: Pool2DOptions,
    8: FullyConnectedOptions,
    9: SoftmaxOptions,
    10: ConcatenationOptions,
    11: AddOptions,
    17: ReshapeOptions,
    21: MulOptions,
    27: ReducerOptions,
    28: SubOptions,
    74: ResizeNearestOptions,
    75: LeakyReluOptions,
}


@dataclass(frozen=True)
class Operator:
    opcode: int = scalar(0, "I", 0)
    inputs: tuple[int, ...] = numbers(1, "i")
    outputs: tuple[int, ...] = numbers(2, "i")
    options: object | None = union(4, OPTIONS)


@dataclass(frozen=True)
class SubGraph:
    tensors: tuple[Tensor, ...] = tables(0, Tensor)
    inputs: tuple[int, ...] = numbers(1, "i")
    outputs: tuple[int, ...] = numbers(2, "i")
    operators: tuple[Operator, ...] = tables(3, Operator)
    name: str = text(4)


@dataclass(frozen=True)
class Model:
    version: int = scalar(0, "I", 0)
    codes: tuple[OperatorCode, ...] = tables(1, OperatorCode)
    subgraphs: tuple[SubGraph, ...] = tables(2, SubGraph)
    description: str = text(3)
    buffers: tuple[Buffer, ...] = tables(4, Buffer)


_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG
PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD
REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE
RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS
RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
BUILTIN: dict[int, str] = dict(enumerate(_NAMES.split()))
CODES: dict[str, int] = {name: code for code, name in BUILTIN.items()}
CONTROL_FLOW = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE"})
