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
    reals,
    scalar,
    table,
    tables,
    text,
    union,
)
from lilliput.frontends.tflite.options import OPTIONS
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
RESOURCE VARIANT UINT32 UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2
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
    "UINT8": DType.U8,
    "UINT16": DType.U16,
    "UINT32": DType.U32,
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
class Int32Vector:
    values: tuple[int, ...] = numbers(0, "i")


@dataclass(frozen=True)
class Uint16Vector:
    values: tuple[int, ...] = numbers(0, "H")


@dataclass(frozen=True)
class Uint8Vector:
    values: memoryview = blob(0, 4)


SPARSE_INDICES: dict[int, type[object]] = {1: Int32Vector, 2: Uint16Vector, 3: Uint8Vector}


@dataclass(frozen=True)
class Dimension:
    """One level of a sparse tensor's storage; format 0 is dense, 1 compressed rows."""

    format: int = scalar(0, "b", 0)
    dense_size: int = scalar(1, "i", 0)
    segments: object | None = union(3, SPARSE_INDICES)
    indices: object | None = union(5, SPARSE_INDICES)


@dataclass(frozen=True)
class Sparsity:
    traversal_order: tuple[int, ...] = numbers(0, "i")
    block_map: tuple[int, ...] = numbers(1, "i")
    dimensions: tuple[Dimension, ...] = tables(2, Dimension)


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...] = numbers(0, "i")
    type: int = scalar(1, "b", 0)
    buffer: int = scalar(2, "I", 0)
    name: str = text(3)
    quantization: Quantization | None = table(4, Quantization)
    is_variable: bool = scalar(5, "?", False)
    sparsity: Sparsity | None = table(6, Sparsity)
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
class Operator:
    opcode: int = scalar(0, "I", 0)
    inputs: tuple[int, ...] = numbers(1, "i")
    outputs: tuple[int, ...] = numbers(2, "i")
    options: object | None = union(4, OPTIONS)
    custom: memoryview = blob(5, 16)
    intermediates: tuple[int, ...] = numbers(8, "i")


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
STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM
STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM
STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS
STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER
STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE
STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT
STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR
REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
BUILTIN: dict[int, str] = dict(enumerate(_NAMES.split()))
CODES: dict[str, int] = {name: code for code, name in BUILTIN.items()}
