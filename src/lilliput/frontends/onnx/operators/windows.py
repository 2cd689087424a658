"""Layers that slide a window over maps (N,C,*S), and those that normalise or resize them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends import channels
from lilliput.frontends.integers import averaged, bias_steps, int8, mean_of, summable
from lilliput.frontends.normalising import group_norm, layer_norm
from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.tensors import Tensor
from lilliput.frontends.resizing import resize
from lilliput.ir import Value
from lilliput.ops.blocks import Blocks, depth_to_space, space_to_depth
from lilliput.ops.numeric import Rounding
from lilliput.ops.reduce import Reduction, mean, reduce_max
from lilliput.ops.shape import Reshape, Transpose, reshape, transpose

Build = Callable[[Call], Tensor | list[Tensor]]
Pads = list[tuple[int, int]]


def _of(call: Call, name: str, count: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with an entry for each spatial axis."""
    found = call.ints(name)
    if found is None:
        return (default,) * count
    if len(found) != count or min(found) < (0 if name == "output_padding" else 1):
        raise FormatError(f"attribute {name}", where=call.where, expected=count, found=found)
    return found


def _pads(
    call: Call, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Pads:
    """(before, after) of each spatial axis, `auto_pad` worked out."""
    auto, space = call.attr("auto_pad", "NOTSET"), call.shape(0)[2:]
    if auto in ("NOTSET", ""):
        found, n = call.ints("pads") or (0,) * (2 * len(space)), len(space)
        if len(found) != 2 * n:
            raise FormatError("attribute pads", where=call.where, expected=2 * n, found=found)
        if min(found) < 0:
            raise call.refuse("negative padding", expected=">= 0", found=found)
        return list(zip(found[:n], found[n:], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(space)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise FormatError("attribute auto_pad", where=call.where, found=auto)
    pads: Pads = []
    for size, k, s, d in zip(space, kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return pads


# Convolutions -----------------------------------------------------------------------------


def bias_of(call: Call, k: int, x: Value, w: Value) -> Value | None:
    """Operand `k` as a bias in steps of the product of two scales: int32; None if there is none."""
    if not call.has(k):
        return None
    t = call.tensor(k)
    steps = bias_steps(x, w, call.constant(k, "bias"), t.stored)
    return call.builder.param(f"{call.scope.rename(t.name)}/stored", steps)


def _conv(call: Call) -> Tensor:
    x, w = call.tensor(0).integers, call.tensor(1)
    if len(call.shape(0)) not in (3, 4):
        raise call.refuse("convolution of this many dimensions", found=len(call.shape(0)) - 2)
    count = len(call.shape(0)) - 2
    kernel = w.shape[2:]
    stride, dilation = _of(call, "strides", count), _of(call, "dilations", count)
    pads = _pads(call, kernel, stride, dilation)
    groups = call.attr("group", 1)
    weights = call.integers(1) if w.stored is not None and x is not None else None
    if summable(x, weights, call.target):
        assert x is not None
        assert weights is not None
        assert call.target is not None
        y = channels.conv(
            call.place, x, weights, bias_of(call, 2, x, weights),
            stride=stride, pads=pads, dilation=dilation, groups=groups,
            type=int8((), call.target), rounding=Rounding.EVEN,
        )  # fmt: skip
        return Tensor(call.output, integers=y)
    bias = call.value(2) if call.has(2) else None
    y = channels.conv(
        call.place, call.value(0), call.value(1), bias,
        stride=stride, pads=pads, dilation=dilation, groups=groups,
    )  # fmt: skip
    return call.result(y)


def _conv_transpose(call: Call) -> Tensor:
    count = len(call.shape(0)) - 2
    kernel = call.shape(1)[2:]
    stride, dilation = _of(call, "strides", count), _of(call, "dilations", count)
    extra = _of(call, "output_padding", count, 0)
    stated = call.ints("output_shape")
    auto = call.attr("auto_pad", "NOTSET")
    if stated is None and auto in ("NOTSET", "", "VALID"):
        pads = _pads(call, kernel, stride, dilation)
    else:
        space = call.shape(0)[2:]
        whole = [n * s for n, s in zip(space, stride, strict=True)]
        size = list(stated[-count:]) if stated else whole
        pads = list[tuple[int, int]]()
        rows = zip(space, stride, kernel, dilation, extra, size, strict=True)
        for n, s, k, d, e, out in rows:
            total = max((n - 1) * s + e + (k - 1) * d + 1 - out, 0)
            less, more = total // 2, total - total // 2
            pads.append((less, more) if auto == "SAME_UPPER" else (more, less))
    y = channels.conv_transpose(
        call.place, call.value(0), call.value(1), call.value(2) if call.has(2) else None,
        stride=stride, pads=pads, dilation=dilation, extra=extra, groups=call.attr("group", 1),
    )  # fmt: skip
    return call.result(y)


# Pools ------------------------------------------------------------------------------------


def _window(call: Call) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    count = len(call.shape(0)) - 2
    kernel, stride = _of(call, "kernel_shape", count), _of(call, "strides", count)
    dilation = _of(call, "dilations", count)
    if any(d > 1 for d in dilation):
        raise call.refuse("pool with a dilation", expected=1, found=dilation)
    return kernel, stride, _pads(call, kernel, stride, dilation)


def _max_pool(call: Call) -> Tensor:
    if len([n for n in call.node.output if n]) > 1:
        raise call.refuse("pool that gives the places of the largest")
    kernel, stride, pads = _window(call)
    ceil = bool(call.attr("ceil_mode", 0))
    y = channels.max_pool(
        call.place, call.moved(0), kernel=kernel, stride=stride, pads=pads, ceil=ceil
    )
    return call.like(y, 0)


def _avg_pool(call: Call) -> Tensor:
    kernel, stride, pads = _window(call)
    ceil, include = bool(call.attr("ceil_mode", 0)), bool(call.attr("count_include_pad", 0))

    def pool(x: Value) -> Value:
        return channels.avg_pool(
            call.place, x, kernel=kernel, stride=stride, pads=pads, ceil=ceil, include_pad=include
        )

    x, target = call.tensor(0).integers, call.target
    if x is None or target is None:
        return call.result(pool(call.value(0)))
    if kernel == x.type.shape[2:] and not any(map(any, pads)):
        return _global_avg(call)
    return Tensor(call.output, integers=averaged(call.place, x, target, pool))


def _global_avg(call: Call) -> Tensor:
    axes = tuple(range(2, len(call.shape(0))))
    x, target = call.tensor(0).integers, call.target
    if x is not None and target is not None:
        y = mean_of(call.place, x, Reduction(axes), target)
        return Tensor(call.output, integers=y)
    return call.result(call.emit(mean, (call.value(0),), Reduction(axes)))


def _global_max(call: Call) -> Tensor:
    axes = tuple(range(2, len(call.shape(0))))
    return call.like(call.emit(reduce_max, (call.moved(0),), Reduction(axes)), 0)


# Normalisation ----------------------------------------------------------------------------


def _batch_norm(call: Call) -> Tensor:
    if call.attr("training_mode", 0):
        raise call.refuse("batch norm in training mode", hint="export in evaluation mode")
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean_of, variance = (call.constant(k + 1, name) for k, name in enumerate(names))
    epsilon = call.attr("epsilon", 1e-5)
    y = channels.batch_norm(call.place, call.value(0), scale, bias, mean_of, variance, epsilon)
    return call.result(y)


def _group_norm(call: Call) -> Tensor:
    kind = call.node.op_type
    count = call.shape(0)[1]
    groups = call.attr("num_groups", 0) if kind == "GroupNormalization" else count
    if groups < 1:
        raise FormatError("attribute num_groups", where=call.where, found=groups)
    scale, bias = call.constant(1, "scale"), call.constant(2, "bias")
    if scale.size == groups != count:  # opset 18 had one for each group
        scale, bias = np.repeat(scale, count // groups), np.repeat(bias, count // groups)
    p, epsilon = call.place, call.attr("epsilon", 1e-5)
    operands = p.constant(scale, "scale"), p.constant(bias, "bias")
    return call.result(group_norm(p, call.value(0), groups, *operands, epsilon))


def _layer_norm(call: Call) -> Tensor:
    rank = len(call.shape(0))
    axis = call.axis(call.attr("axis", -1), rank)
    scale = call.value(1)
    bias = call.value(2) if call.has(2) else None
    axes, epsilon = tuple(range(axis, rank)), call.attr("epsilon", 1e-5)
    return call.result(layer_norm(call.place, call.value(0), axes, scale, bias, epsilon))


# Resizing and blocks ----------------------------------------------------------------------


def _resize(call: Call) -> Tensor:
    shape = call.shape(0)
    old = call.opset < 11 or call.node.op_type == "Upsample"
    mode = call.attr("mode", "nearest")
    rule = call.attr("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = call.attr("nearest_mode", "floor" if old else "round_prefer_floor")
    axes = call.ints("axes") or tuple(range(len(shape)))
    axes = tuple(call.axis(a, len(shape)) for a in axes)
    scales_at, size_at = (1, -1) if old else (2, 3)
    size = list(shape)
    if size_at > 0 and call.has(size_at):
        for axis, n in zip(axes, call.list(size_at, "sizes"), strict=True):
            size[axis] = n
        if call.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise call.refuse("resize that keeps the aspect ratio", expected="stretch")
    else:
        for axis, factor in zip(axes, call.constant(scales_at, "scales").reshape(-1), strict=True):
            exact = float(factor) * shape[axis]
            size[axis] = math.floor(exact + 1e-4)
            if abs(size[axis] - exact) > 1e-3 and rule != "align_corners":
                raise call.refuse("resize by a factor that gives no whole extent", found=exact)
    if size[:2] != list(shape[:2]):
        raise call.refuse("resize of batch or channels", expected=shape[:2], found=size[:2])
    mode = {"bilinear": "linear"}.get(mode, mode)
    if call.attr("antialias", 0) or call.attr("exclude_outside", 0):
        raise call.refuse("resize with antialias or exclude_outside", expected=0)
    if mode == "linear":
        return call.result(resize(call.place, call.value(0), size[2:], mode=mode, rule=rule))
    y = resize(call.place, call.moved(0), size[2:], mode=mode, rule=rule, rounding=rounding)
    return call.like(y, 0)


def _depth_to_space(call: Call) -> Tensor:
    size, mode = call.attr("blocksize", 0), call.attr("mode", "DCR")
    p, x = call.place, call.moved(0)
    n, c, h, w = call.shape(0)
    if size < 1 or c % (size * size):
        raise FormatError("attribute blocksize", where=call.where, found=f"{size} of {c} channels")
    if mode == "CRD":
        each = c // (size * size)
        parts = p.between(reshape, (x,), Reshape((n, each, size, size, h, w)), "parts")
        mixed = p.between(transpose, (parts,), Transpose((0, 2, 3, 1, 4, 5)), "order")
        x = p.between(reshape, (mixed,), Reshape((n, c, h, w)), "mixed")
    rows = channels.channels_last(p, x)
    y = p.between(depth_to_space, (rows,), Blocks(size))
    return call.like(channels.channels_first(p, y), 0)


def _space_to_depth(call: Call) -> Tensor:
    p, size = call.place, call.attr("blocksize", 0)
    rows = channels.channels_last(p, call.moved(0))
    y = p.between(space_to_depth, (rows,), Blocks(size))
    return call.like(channels.channels_first(p, y), 0)


READ: Mapping[str, Build] = {
    "AveragePool": _avg_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "GlobalAveragePool": _global_avg,
    "GlobalMaxPool": _global_max,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}
