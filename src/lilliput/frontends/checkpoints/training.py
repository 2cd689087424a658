"""The int8 checkpoints of MIT's tiny-training: a dictionary of layers with their scales.

    first_conv, blocks[{pointwise1, depthwise, pointwise2, residual, se}], feature_mix, classifier
    a layer: in_channel, out_channel, in_shape, out_shape, kernel_size, stride, groups, act,
        params{weight (O,I/groups,KH,KW) int8, bias int32, x_scale, x_zero, y_scale, y_zero,
        w_scales (O)}

The published code multiplies the sums by a float and rounds; here they are scaled as TFLite
scales them, which differs by 1 where a product lies that close to the middle of two integers.
"""

from __future__ import annotations

import numpy as np

from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.checkpoints.fields import Fields
from lilliput.frontends.checkpoints.layers import Block, Element, Layer, build
from lilliput.ir import DType, Module, Quant

_PARTS = ("pointwise1", "depthwise", "pointwise2")


def is_training(value: object) -> bool:
    return isinstance(value, dict) and "first_conv" in value and "blocks" in value


def read_training(value: object, name: str) -> Module:
    """The int8 network, picture in and logits out; raises FormatError or UnsupportedError."""
    file = Fields.of("", value)
    first = file.fields("first_conv")
    blocks = [Block("first_conv", (_layer(first, "first_conv"),))]
    blocks += [_block(item, f"blocks.{k}") for k, item in enumerate(file.items("blocks"))]
    if file.has("feature_mix"):
        blocks.append(Block("feature_mix", (_layer(file.fields("feature_mix"), "feature_mix"),)))
    classifier = _layer(file.fields("classifier"), "classifier")
    return build(name, first.whole("in_shape"), blocks, classifier)


def _block(item: Fields, name: str) -> Block:
    if item.has("se"):
        raise UnsupportedError("squeeze-excite of a training checkpoint", where=item.where)
    layers = tuple(_layer(item.fields(p), f"{name}.{p}") for p in _PARTS if item.has(p))
    if not item.has("residual"):
        return Block(name, layers)
    params = item.fields("residual").fields("params")
    shortcut, start = _element(params, "x"), layers[0].x if layers else None
    if start != shortcut:
        raise FormatError(
            "the shortcut is not what the block begins with",
            where=params.where,
            expected=shortcut.quant,
            found=start and start.quant,
        )
    return Block(name, layers, _element(params, "y"))


def _layer(item: Fields, name: str) -> Layer:
    if item.has("act"):
        raise UnsupportedError("an activation of its own", where=item.where)
    params = item.fields("params")
    weights = params.array("weight")
    shape = weights.shape
    if len(shape) != 4 or shape[0] != item.whole("out_channel"):
        expected = f"(O,I/groups,KH,KW), O = {item.whole('out_channel')}"
        raise FormatError("weights", where=params.where, expected=expected, found=shape)
    scales = params.array("w_scales")
    if scales.shape != shape[:1] or not np.all(np.isfinite(scales) & (scales > 0)):
        raise FormatError(
            "scales of the weights",
            where=params.where,
            expected=f"{shape[0]} positive numbers",
            found=f"{scales.dtype}{list(scales.shape)}",
        )
    return Layer(
        name,
        shape,
        item.whole("stride"),
        item.whole("groups"),
        weights,
        params.array("bias"),
        tuple(float(s) for s in scales.astype(np.float32)),
        _element(params, "x"),
        _element(params, "y"),
    )


def _element(params: Fields, side: str) -> Element:
    scale, zero = params.real(f"{side}_scale"), params.whole(f"{side}_zero", -128, 127)
    if not 0 < scale < float("inf"):
        raise params.wrong(f"{side}_scale", "a positive number")
    return Element(DType.S8, Quant.per_tensor(scale, zero))
