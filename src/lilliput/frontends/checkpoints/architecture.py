"""MCUNet and other networks of once-for-all: an architecture in JSON, and a state_dict.

The state_dict (.pth) alone does not say strides or activations, the architecture alone has no
weights: with it only, the module has parameters without data, which can be inspected, planned
and costed.  Batch normalisation is folded into the convolution before it, in double precision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.checkpoints.fields import Fields
from lilliput.frontends.checkpoints.layers import FLOAT, Block, Layer, build
from lilliput.frontends.checkpoints.pickles import array
from lilliput.ir import Array, Module
from lilliput.ops.elementwise import Clamp

_ACTIVATIONS = {"relu6": Clamp(0.0, 6.0), "relu": Clamp(0.0)}
_BRANCH = "mobile_inverted_conv"
MOST_JSON = 1 << 22


def is_architecture(data: bytes) -> bool:
    return data[:64].lstrip()[:1] == b"{" and b'"' + _BRANCH.encode() + b'"' in data[:MOST_JSON]


def read_architecture(data: bytes, name: str, weights: object = None) -> Module:
    """The float network of an architecture; `weights`: what `read_pickle` found in a .pth, if any.

    Raises FormatError or UnsupportedError.
    """
    try:
        file = Fields.of("", json.loads(data))
    except (ValueError, RecursionError) as e:
        raise FormatError("the architecture is not JSON", found=str(e)[:200]) from None
    state = None if weights is None else _state_dict(weights)
    eps = file.fields("bn").real("eps")
    reader = _Reader(state, eps)
    blocks = [Block("first_conv", (reader.conv(file.fields("first_conv"), "first_conv"),))]
    blocks += [reader.block(item, f"blocks.{k}") for k, item in enumerate(file.items("blocks"))]
    if file.has("feature_mix_layer"):
        mix = reader.conv(file.fields("feature_mix_layer"), "feature_mix_layer")
        blocks.append(Block("feature_mix_layer", (mix,)))
    classifier = reader.linear(file.fields("classifier"), "classifier")
    reader.finish()
    size = file.whole("resolution", 8, 2048)
    return build(name, size, blocks, classifier, known=state is not None)


def architecture_of(path: Path) -> bytes:
    """The architecture that belongs to a checkpoint: NAME.json beside it or in `configs/`."""
    places = [path.with_suffix(".json"), path.parent / "configs" / f"{path.stem}.json"]
    for place in places:
        if place.is_file() and place.stat().st_size <= MOST_JSON:
            return place.read_bytes()
    raise FormatError(
        "a state_dict has weights but no layers",
        where=str(path),
        expected=f"its architecture in {' or '.join(str(p) for p in places)}",
        hint="or capture the PyTorch module itself: lilliput.from_torch(module, example)",
    )


def _state_dict(value: object) -> Mapping[str, Any]:
    found = Fields.of("", value)
    return found.fields("state_dict").values if found.has("state_dict") else found.values


@dataclass
class _Reader:
    """`state`: the weights by name; `used` the names that were read."""

    state: Mapping[str, Any] | None
    eps: float

    def __post_init__(self) -> None:
        self.used = set[str]()

    def block(self, item: Fields, name: str) -> Block:
        shortcut = FLOAT if item.has("shortcut") else None
        if item.has("shortcut"):
            _kind(item.fields("shortcut"), "IdentityLayer")
        branch = item.fields(_BRANCH) if item.has(_BRANCH) else None
        if branch is None or branch.text("name") == "ZeroLayer":  # only the shortcut is left
            return Block(name, ())
        _kind(branch, "MBInvertedConvLayer")
        if branch.values.get("use_se"):
            raise UnsupportedError("squeeze-excite in an architecture", where=branch.where)
        inputs, outputs = branch.whole("in_channels"), branch.whole("out_channels")
        middle = (
            branch.whole("mid_channels")
            if branch.has("mid_channels")
            else round(inputs * branch.real("expand_ratio"))
        )
        act = branch.values.get("act_func", "relu6")
        size, stride = branch.whole("kernel_size", 1, 31), branch.whole("stride", 1, 8)
        path = f"{name}.{_BRANCH}"
        layers = [
            self._conv(f"{path}.depth_conv", (middle, 1, size, size), act, stride, middle),
            self._conv(f"{path}.point_linear", (outputs, middle, 1, 1), None),
        ]
        if branch.real("expand_ratio") != 1:
            wide = self._conv(f"{path}.inverted_bottleneck", (middle, inputs, 1, 1), act)
            layers.insert(0, wide)
        return Block(name, tuple(layers), shortcut)

    def conv(self, item: Fields, name: str) -> Layer:
        _kind(item, "ConvLayer")
        if item.values.get("has_shuffle") or item.values.get("dilation", 1) != 1:
            raise UnsupportedError("shuffle or dilation in an architecture", where=item.where)
        groups, size = item.whole("groups"), item.whole("kernel_size", 1, 31)
        inputs, outputs = item.whole("in_channels"), item.whole("out_channels")
        shape = (outputs, inputs // groups, size, size)
        return self._conv(name, shape, item.values.get("act_func"), item.whole("stride"), groups)

    def linear(self, item: Fields, name: str) -> Layer:
        _kind(item, "LinearLayer")
        shape = (item.whole("out_features"), item.whole("in_features"), 1, 1)
        layer = Layer(name, shape)
        if self.state is None:
            return layer
        weights = self._array(f"{name}.linear.weight", shape[:2])
        bias = self._array(f"{name}.linear.bias", shape[:1])
        return replace(layer, weights=weights.reshape(shape), bias=bias)

    def finish(self) -> None:
        """Raises FormatError for weights that no layer has taken."""
        left = [k for k in self.state or () if k not in self.used and "num_batches" not in k]
        if left:
            raise FormatError("weights that the architecture does not know", found=left[:4])

    def _conv(
        self,
        name: str,
        shape: tuple[int, int, int, int],
        act: object,
        stride: int = 1,
        groups: int = 1,
    ) -> Layer:
        known = _ACTIVATIONS.get(act) if isinstance(act, str) else None
        if act is not None and known is None:
            expected = ", ".join(_ACTIVATIONS)
            raise UnsupportedError(
                "activation", where=name, expected=expected, found=f"{act!s:.40}"
            )
        layer = Layer(name, shape, stride, groups, activation=known)
        if self.state is None:
            return layer
        weights = self._array(f"{name}.conv.weight", shape).astype(np.float64)
        gain, shift, mean, variance = (
            self._array(f"{name}.bn.{part}", shape[:1]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + self.eps)
        return replace(
            layer,
            weights=(weights * factor[:, None, None, None]).astype(np.float32),
            bias=(shift - mean * factor).astype(np.float32),
        )

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        assert self.state is not None
        found = array(self.state.get(name))
        if found is None:
            raise FormatError("weights are missing", where=name)
        if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
            raise FormatError(
                "weights of another form",
                where=name,
                expected=f"finite float32{list(shape)}",
                found=f"{found.dtype}{list(found.shape)}",
            )
        self.used.add(name)
        return found


def _kind(item: Fields, expected: str) -> None:
    found = item.text("name")
    if not re.fullmatch(expected, found):
        raise UnsupportedError("layer", where=item.where, expected=expected, found=found[:60])
