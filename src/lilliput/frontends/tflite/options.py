"""The options of operators, as the .tflite schema declares them: dataclasses, and their numbers.

Operators whose options hold nothing are left out: they are read, and written, without any.
"""

# The tables say by themselves what they are: no docstrings, and fields made by calls.
# ruff: noqa: D101

from __future__ import annotations

from dataclasses import dataclass

from lilliput.frontends.tflite.flatbuf import numbers, scalar, text


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
class SVDFOptions:
    rank: int = scalar(0, "i", 0)
    activation: int = scalar(1, "b", 0)
    asymmetric_inputs: bool = scalar(2, "?", False)


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
class L2NormOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class LocalResponseNormalizationOptions:
    radius: int = scalar(0, "i", 0)
    bias: float = scalar(1, "f", 0.0)
    alpha: float = scalar(2, "f", 0.0)
    beta: float = scalar(3, "f", 0.0)


@dataclass(frozen=True)
class ResizeBilinearOptions:
    align_corners: bool = scalar(2, "?", False)
    half_pixel_centers: bool = scalar(3, "?", False)


@dataclass(frozen=True)
class ReshapeOptions:
    new_shape: tuple[int, ...] = numbers(0, "i")


@dataclass(frozen=True)
class SpaceToDepthOptions:
    block_size: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class MulOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class GatherOptions:
    axis: int = scalar(0, "i", 0)
    batch_dims: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class ReducerOptions:
    keep_dims: bool = scalar(0, "?", False)


@dataclass(frozen=True)
class SubOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class DivOptions:
    activation: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class SqueezeOptions:
    axes: tuple[int, ...] = numbers(0, "i")


@dataclass(frozen=True)
class StridedSliceOptions:
    begin_mask: int = scalar(0, "i", 0)
    end_mask: int = scalar(1, "i", 0)
    ellipsis_mask: int = scalar(2, "i", 0)
    new_axis_mask: int = scalar(3, "i", 0)
    shrink_axis_mask: int = scalar(4, "i", 0)
    offset: bool = scalar(5, "?", False)


@dataclass(frozen=True)
class SplitOptions:
    count: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class CastOptions:
    source: int = scalar(0, "b", 0)
    target: int = scalar(1, "b", 0)


@dataclass(frozen=True)
class ArgMaxOptions:
    output_type: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class TransposeConvOptions:
    padding: int = scalar(0, "b", 0)
    stride_w: int = scalar(1, "i", 0)
    stride_h: int = scalar(2, "i", 0)
    activation: int = scalar(3, "b", 0)


@dataclass(frozen=True)
class ShapeOptions:
    output_type: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class ArgMinOptions:
    output_type: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class PackOptions:
    count: int = scalar(0, "i", 0)
    axis: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class OneHotOptions:
    axis: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class UnpackOptions:
    count: int = scalar(0, "i", 0)
    axis: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class UnidirectionalSequenceLSTMOptions:
    activation: int = scalar(0, "b", 0)
    cell_clip: float = scalar(1, "f", 0.0)
    projection_clip: float = scalar(2, "f", 0.0)
    time_major: bool = scalar(3, "?", False)
    asymmetric_inputs: bool = scalar(4, "?", False)
    diagonal_recurrent: bool = scalar(5, "?", False)


@dataclass(frozen=True)
class ResizeNearestOptions:
    align_corners: bool = scalar(0, "?", False)
    half_pixel_centers: bool = scalar(1, "?", False)


@dataclass(frozen=True)
class LeakyReluOptions:
    alpha: float = scalar(0, "f", 0.0)


@dataclass(frozen=True)
class MirrorPadOptions:
    mode: int = scalar(0, "b", 0)


@dataclass(frozen=True)
class SplitVOptions:
    count: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class ReverseSequenceOptions:
    sequence_axis: int = scalar(0, "i", 0)
    batch_axis: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class IfOptions:
    then_graph: int = scalar(0, "i", 0)
    else_graph: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class WhileOptions:
    condition_graph: int = scalar(0, "i", 0)
    body_graph: int = scalar(1, "i", 0)


@dataclass(frozen=True)
class DepthToSpaceOptions:
    block_size: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class BatchMatMulOptions:
    adjoint_x: bool = scalar(0, "?", False)
    adjoint_y: bool = scalar(1, "?", False)
    asymmetric_inputs: bool = scalar(2, "?", False)


@dataclass(frozen=True)
class CumsumOptions:
    exclusive: bool = scalar(0, "?", False)
    reverse: bool = scalar(1, "?", False)


@dataclass(frozen=True)
class CallOnceOptions:
    init_graph: int = scalar(0, "i", 0)


@dataclass(frozen=True)
class VarHandleOptions:
    container: str = text(0)
    shared_name: str = text(1)


@dataclass(frozen=True)
class GeluOptions:
    approximate: bool = scalar(0, "?", False)


OPTIONS: dict[int, type[object]] = {
    1: Conv2DOptions,
    2: DepthwiseConv2DOptions,
    5: Pool2DOptions,
    6: SVDFOptions,
    8: FullyConnectedOptions,
    9: SoftmaxOptions,
    10: ConcatenationOptions,
    11: AddOptions,
    12: L2NormOptions,
    13: LocalResponseNormalizationOptions,
    15: ResizeBilinearOptions,
    17: ReshapeOptions,
    19: SpaceToDepthOptions,
    21: MulOptions,
    23: GatherOptions,
    27: ReducerOptions,
    28: SubOptions,
    29: DivOptions,
    30: SqueezeOptions,
    32: StridedSliceOptions,
    35: SplitOptions,
    37: CastOptions,
    40: ArgMaxOptions,
    49: TransposeConvOptions,
    55: ShapeOptions,
    57: ArgMinOptions,
    59: PackOptions,
    61: OneHotOptions,
    64: UnpackOptions,
    71: UnidirectionalSequenceLSTMOptions,
    74: ResizeNearestOptions,
    75: LeakyReluOptions,
    77: MirrorPadOptions,
    79: SplitVOptions,
    87: ReverseSequenceOptions,
    92: IfOptions,
    93: WhileOptions,
    94: DepthToSpaceOptions,
    101: BatchMatMulOptions,
    102: CumsumOptions,
    103: CallOnceOptions,
    111: VarHandleOptions,
    116: GeluOptions,
}
