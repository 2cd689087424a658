"""Operators that put a map into another frame: PAD, PADV2, RESIZE_NEAREST_NEIGHBOR ..."""

from __future__ import annotations

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import ANY, Row, Rule
from lilliput.frontends.tflite.options import ResizeNearestOptions
from lilliput.frontends.tflite.writing import Job, Writer
from lilliput.ir import Value
from lilliput.ops.frame import Pad, ResizeNearest, pad, resize_nearest


def _pad(call: Call) -> Value:
    widths, rank = call.ints(1), len(call.type(0).shape)
    if len(widths) != 2 * rank:
        raise FormatError("paddings", where=call.where, expected=(rank, 2), found=widths)
    value: float = 0.0 if call.out.dtype.is_float else call.out.zero_point
    if call.has(2):
        data = call.constant(2)
        if data is None or data.size != 1 or call.type(2).dtype is not call.out.dtype:
            raise call.refuse("padding value", expected="one constant of the result's type")
        value = data.reshape(-1)[0].item()
        if call.out.quant is not None and call.type(2).quant != call.out.quant:
            raise call.refuse("padding value is quantised otherwise than the result")
    return call.emit(pad, (call.value(0),), Pad(widths[::2], widths[1::2], value))


def _resize_nearest(call: Call) -> Value:
    o, size = call.options(ResizeNearestOptions), call.ints(1)
    if len(size) != 2:
        raise FormatError("size", where=call.where, expected="height, width", found=size)
    attrs = ResizeNearest(size[0], size[1], o.align_corners, o.half_pixel_centers)
    return call.emit(resize_nearest, (call.value(0),), attrs)


def _write_pad(w: Writer, job: Job) -> None:
    a, type = job.node.attrs, job.out.type
    assert isinstance(a, Pad)
    extra = [w.integers(job, "paddings", np.stack((a.before, a.after), axis=1))]
    if a.value == (0 if type.dtype.is_float else type.zero_point):
        w.emit("PAD", job, None, None, extra)
        return
    value = np.array([a.value], type.dtype.numpy)
    w.emit(
        "PADV2",
        job,
        None,
        None,
        [*extra, w.extra(w.fresh(f"{job.out.name}/value"), value, type.quant)],
    )


def _write_resize_nearest(w: Writer, job: Job) -> None:
    a = job.node.attrs
    assert isinstance(a, ResizeNearest)
    size = w.integers(job, "size", (a.height, a.width))
    options = ResizeNearestOptions(a.align_corners, a.half_pixel_centers)
    w.emit("RESIZE_NEAREST_NEIGHBOR", job, None, options, [size])


READ = {
    "PAD": Row(_pad, (2, 2), ANY, ()),
    "PADV2": Row(_pad, (3, 3), ANY, ()),
    "RESIZE_NEAREST_NEIGHBOR": Row(_resize_nearest, (2, 2), ANY, ()),
}

WRITE = {
    "pad": Rule(_write_pad),
    "resize_nearest": Rule(_write_resize_nearest),
}
