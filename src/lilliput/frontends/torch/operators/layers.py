"""Layers with channels first: convolutions, pools, normalisations, resizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from lilliput.errors import UnsupportedError
from lilliput.frontends import channels
from lilliput.frontends.channels import Pads
from lilliput.frontends.normalising import group_norm, layer_norm
from lilliput.frontends.resizing import resize
from lilliput.frontends.torch.call import Build, Call
from lilliput.ir import TensorType, Value
from lilliput.ops.numeric import Rounding
from lilliput.ops.reduce import Reduction, mean, reduce_max

# Convolutions -----------------------------------------------------------------------------


def batched(call: Call, name: str, spatial: int) -> Value:
    """(N,C,*S): a map without a batch gets one."""
    x = call.value(name)
    shape = x.type.shape
    return call.shaped(x, (1, *shape), "batch") if len(shape) == spatial + 1 else x


def unbatched(call: Call, y: Value) -> Value:
    """Without the batch that the result does not have."""
    return call.shaped(y, call.out.shape, "sample")


def _string_pads(call: Call, w: Value, dilation: Sequence[int]) -> Pads:
    """Those of "same", whose odd row comes behind, and of "valid"."""
    if call.get("padding") == "valid":
        return [(0, 0)] * len(dilation)
    totals = [(k - 1) * d for k, d in zip(w.type.shape[2:], dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def conv(
    call: Call,
    bias: Value | None,
    type: TensorType | None = None,
    rounding: Rounding = Rounding.DOUBLE,
) -> Value:
    """A convolution of the call's operands; `type` and `rounding` of the result as in
    `channels.conv`."""
    w = call.value("weight")
    n = len(w.type.shape) - 2
    dilation = call.pair("dilation", n)
    text = isinstance(call.get("padding"), str)
    pads = _string_pads(call, w, dilation) if text else _even(call.pair("padding", n, 0))
    y = channels.conv(
        call.place, batched(call, "input", n), w, bias,
        stride=call.pair("stride", n), pads=pads, dilation=dilation,
        groups=call.integer("groups"), type=type, rounding=rounding,
    )  # fmt: skip
    return unbatched(call, y)


def _conv(call: Call) -> Value:
    return conv(call, call.optional("bias"))


def _convolution(call: Call) -> Value:
    """What programs have whose operators were taken apart."""
    return _conv_transpose(call) if call.flag("transposed") else _conv(call)


def _even(pads: Sequence[int]) -> Pads:
    return [(p, p) for p in pads]


def _conv_transpose(call: Call) -> Value:
    w = call.value("weight")
    n = len(w.type.shape) - 2
    y = channels.conv_transpose(
        call.place,
        batched(call, "input", n),
        w,
        call.optional("bias"),
        stride=call.pair("stride", n),
        pads=_even(call.pair("padding", n, 0)),
        dilation=call.pair("dilation", n),
        extra=call.pair("output_padding", n, 0),
        groups=call.integer("groups"),
    )
    return unbatched(call, y)


# Pools ------------------------------------------------------------------------------------


def _max_pool(n: int) -> Build:
    def build(call: Call) -> Value:
        kernel = call.pair("kernel_size", n)
        if set(call.pair("dilation", n)) != {1}:
            raise call.refuse("dilated pool", found=call.pair("dilation", n))
        y = channels.max_pool(
            call.place,
            batched(call, "self", n),
            kernel=kernel,
            stride=call.pair("stride", n) if call.ints("stride") else kernel,
            pads=_even(call.pair("padding", n, 0)),
            ceil=call.flag("ceil_mode"),
        )
        return unbatched(call, y)

    return build


def averaging(call: Call, n: int) -> Callable[[Value], Value]:
    """The windows of an average, as a function of the map (N,C,*S)."""
    kernel = call.pair("kernel_size", n)
    if call.get("divisor_override") is not None:
        raise call.refuse("divisor of a mean", found=call.get("divisor_override"))

    def pool(x: Value) -> Value:
        return channels.avg_pool(
            call.place,
            x,
            kernel=kernel,
            stride=call.pair("stride", n) if call.ints("stride") else kernel,
            pads=_even(call.pair("padding", n, 0)),
            ceil=call.flag("ceil_mode"),
            include_pad=call.flag("count_include_pad"),
        )

    return pool


def _avg_pool(n: int) -> Build:
    return lambda call: unbatched(call, averaging(call, n)(batched(call, "self", n)))


def _adaptive(n: int, *, largest: bool = False) -> Build:
    def build(call: Call) -> Value:
        x, size = batched(call, "self", n), call.out.shape[-n:]
        if set(size) == {1}:
            over = Reduction(tuple(range(2, 2 + n)))
            return unbatched(call, call.emit(reduce_max if largest else mean, (x,), over))
        return unbatched(call, channels.adaptive_pool(call.place, x, size, largest=largest))

    return build


# Normalisation ----------------------------------------------------------------------------


def _batch_norm(call: Call) -> Value:
    if call.flag("training"):
        raise _learning(call)
    x = call.value("input")
    moved, spread = call.data("running_mean"), call.data("running_var")
    scale = call.data("weight") if call.has("weight") else np.ones_like(moved)
    bias = call.data("bias") if call.has("bias") else np.zeros_like(moved)
    return channels.batch_norm(call.place, x, scale, bias, moved, spread, call.number("eps", 1e-5))


def _learning(call: Call) -> UnsupportedError:
    return call.refuse(
        "batch norm in training mode", hint="export in evaluation mode: module.eval()"
    )


def _functional_batch_norm(call: Call) -> Value:
    """What torch.export makes of a batch norm that learns."""
    raise _learning(call)


def _layer_norm(call: Call) -> Value:
    x = call.value("input")
    rank, own = len(x.type.shape), len(call.ints("normalized_shape"))
    axes = tuple(range(rank - own, rank))
    scale, bias = call.optional("weight"), call.optional("bias")
    return layer_norm(call.place, x, axes, scale, bias, call.number("eps", 1e-5))


def _group_norm(call: Call) -> Value:
    x, scale, bias = call.value("input"), call.optional("weight"), call.optional("bias")
    groups = call.integer("num_groups")
    return group_norm(call.place, x, groups, scale, bias, call.number("eps", 1e-5))


def _instance_norm(call: Call) -> Value:
    """By what is measured; with running statistics it is a batch norm."""
    if not call.flag("use_input_stats"):
        return _batch_norm(call)
    x, scale, bias = call.value("input"), call.optional("weight"), call.optional("bias")
    return group_norm(call.place, x, x.type.shape[1], scale, bias, call.number("eps", 1e-5))


# Resizing ---------------------------------------------------------------------------------


def _resize(mode: str, rounding: str = "floor", *, exact: bool = False) -> Build:
    def build(call: Call) -> Value:
        x, size = call.value("input" if "input" in call.step.arguments else "self"), call.out.shape
        rule = "half_pixel" if mode == "linear" or exact else "asymmetric"
        if call.flag("align_corners"):
            rule = "align_corners"
        _check_scales(call, x.type.shape[2:], size[2:], mode)
        return resize(call.place, x, size[2:], mode=mode, rule=rule, rounding=rounding)

    return build


def _check_scales(call: Call, size: Sequence[int], out: Sequence[int], mode: str) -> None:
    """torch takes places from the factors that it was given, which are rounded away in sizes."""
    factors = call.get("scale_factors")
    if not isinstance(factors, tuple) or call.flag("align_corners"):
        return
    for n, m, factor in zip(size, out, factors, strict=True):
        if not isinstance(factor, int | float) or not math.isclose(n * factor, m, abs_tol=1e-6):
            raise call.refuse(
                f"{mode} resize by a factor that gives no whole size",
                found=f"{n} * {factor}",
                hint="interpolate(size=...)",
            )


READ: dict[str, Build] = {
    "_adaptive_avg_pool2d.default": _adaptive(2),
    "_native_batch_norm_legit_functional.default": _functional_batch_norm,
    "_native_batch_norm_legit_no_training.default": lambda call: [_batch_norm(call)],
    "adaptive_avg_pool1d.default": _adaptive(1),
    "adaptive_avg_pool2d.default": _adaptive(2),
    "avg_pool1d.default": _avg_pool(1),
    "avg_pool2d.default": _avg_pool(2),
    "batch_norm.default": _batch_norm,
    "conv1d.default": _conv,
    "conv1d.padding": _conv,
    "conv2d.default": _conv,
    "conv2d.padding": _conv,
    "convolution.default": _convolution,
    "conv_transpose1d.default": _conv_transpose,
    "conv_transpose2d.input": _conv_transpose,
    "group_norm.default": _group_norm,
    "instance_norm.default": _instance_norm,
    "layer_norm.default": _layer_norm,
    "max_pool1d.default": _max_pool(1),
    "max_pool2d.default": _max_pool(2),
    "max_pool2d_with_indices.default": _max_pool(2),
    "upsample_bilinear2d.vec": _resize("linear"),
    "upsample_linear1d.vec": _resize("linear"),
    "upsample_nearest1d.vec": _resize("nearest"),
    "upsample_nearest2d.vec": _resize("nearest"),
    "_upsample_nearest_exact2d.vec": _resize("nearest", exact=True),
}
