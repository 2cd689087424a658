"""What slides a window: the pools, and the padding that they share with convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import Pool2DOptions
from lilliput.frontends.tflite.schema import Padding
from lilliput.frontends.tflite.writing import Job, Writer, fail
from lilliput.ir import Op, TensorType, Value
from lilliput.ops.conv import same_pad
from lilliput.ops.pool import Pool, avg_pool2d, max_pool2d


def pads(
    call: Call,
    padding: int,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    x = call.type(0).shape
    if len(x) != 4 or padding not in (Padding.SAME, Padding.VALID):
        raise FormatError(
            "padding or rank", where=call.where, expected="SAME or VALID, (N,H,W,C)", found=x
        )
    if min(*window, *stride, *dilation) < 1:
        raise FormatError(
            "window, stride and dilation",
            where=call.where,
            expected=">= 1",
            found=(window, stride, dilation),
        )
    if padding == Padding.VALID:
        return 0, 0, 0, 0
    rows, columns = (same_pad(x[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
    return *rows, *columns


def padding_of(
    x: TensorType,
    pad: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Padding | None:
    """VALID or SAME where these are the pads that it means."""
    if not any(pad):
        return Padding.VALID
    rows, columns = (same_pad(x.shape[k + 1], window[k], stride[k], dilation[k]) for k in (0, 1))
    return Padding.SAME if (*rows, *columns) == tuple(pad) else None


def _pool(op: Op) -> Callable[[Call], Value]:
    def build(call: Call) -> Value:
        o = call.options(Pool2DOptions)
        window, stride = (o.filter_h, o.filter_w), (o.stride_h, o.stride_w)
        attrs = Pool(window, stride, pads(call, o.padding, window, stride, (1, 1)))
        return call.emit(op, (call.value(0),), attrs, o.activation)

    return build


def _write_pool(name: str) -> Callable[[Writer, Job], None]:
    def rule(w: Writer, job: Job) -> None:
        a = job.node.attrs
        assert isinstance(a, Pool)
        padding = padding_of(job.node.inputs[0].type, a.pad, a.kernel, a.stride, (1, 1))
        if padding is None:
            raise fail(job.node, "pads are neither SAME nor VALID", f"pads are {a.pad}")
        stride, kernel = (a.stride[1], a.stride[0]), (a.kernel[1], a.kernel[0])
        w.emit(name, job, None, Pool2DOptions(padding, *stride, *kernel, job.activation))

    return rule


READ = {
    "AVERAGE_POOL_2D": Row(_pool(avg_pool2d)),
    "MAX_POOL_2D": Row(_pool(max_pool2d)),
}

WRITE = {
    "avg_pool2d": Rule(_write_pool("AVERAGE_POOL_2D"), fuses=True),
    "max_pool2d": Rule(_write_pool("MAX_POOL_2D"), fuses=True),
}
