"""Channels that are trained in part are the largest, and moving them changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lilliput.compiler import load
from lilliput.demo_data import digits_model
from lilliput.ir import Array, Builder, Module, Session, Value
from lilliput.ir.types import Quant, f32, s8
from lilliput.ops.gradient import call
from lilliput.ops.registry import get
from lilliput.train.build import trainable
from lilliput.train.channels import ALL, FIRST, JOINT, MAGNITUDE, arranged, magnitudes
from lilliput.train.layers import layers
from lilliput.train.schemes import UpdateScheme, published

SHARED = [
    "tiny_training/mcunet-5fps.pkl",
    "tiny_training/mbv2-w0.35.pkl",
    "mlperf_tiny/ic_resnet8_int8.tflite",
    "mlperf_tiny/kws_ref_model_int8.tflite",
    "mlperf_tiny/vww_96_int8.tflite",
]


def halves(module: Module) -> dict[int, int]:
    return {la.index: la.channels // 2 for la in layers(module) if la.channels > 1}


def result(module: Module, seed: int = 0) -> Array:
    """Of the first entry, for a drawn picture."""
    x = module.inputs(module.entry)[0]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-128, 128, x.type.shape) if x.type.quant else rng.normal(size=x.type.shape)
    data = drawn.astype(x.type.dtype.numpy)
    return next(iter(Session(module).run({x.name: data}).outputs.values()))


def unchanged(module: Module) -> None:
    """With every layer trained in part."""
    found = arranged(module, halves(module))
    assert {MAGNITUDE, JOINT} & set(found.how.values())
    assert np.array_equal(result(module), result(found.module))
    moved = [i for i, order in found.order.items() if np.any(order != np.arange(len(order)))]
    assert moved
    for i in moved:
        old, new = layers(module)[i], layers(found.module)[i]
        sizes = magnitudes(module, old)[found.order[i]]
        assert np.allclose(magnitudes(found.module, new), sizes, rtol=1e-12)


def test_the_network_of_digits_computes_the_same() -> None:
    unchanged(load(digits_model()).module)


@pytest.mark.shared
@pytest.mark.parametrize("path", SHARED)
def test_published_networks_compute_the_same(shared: Path, path: str) -> None:
    unchanged(load(str(shared / "models" / path)).module)


@pytest.mark.shared
def test_what_layers_share_serves_them_together(shared: Path) -> None:
    """The published schemes train several layers on one stream of residuals: the channels that all
    of them have first hold more of their weights than the first ones of the file."""
    module = load(str(shared / "models/tiny_training/mcunet-5fps.pkl")).module
    found = {la.index: la for la in layers(module)}
    weights = published("mcunet-49kb").weights
    parts = {i: round(share * found[i].channels) for i, share in weights.items()}
    ordered = arranged(module, parts)
    assert set(ordered.how.values()) == {JOINT}
    held = before = 0.0
    for i, k in parts.items():
        size = magnitudes(module, found[i])
        held += size[ordered.order[i][:k]].sum() / size.sum()
        before += size[:k].sum() / size.sum()
    assert held > 1.1 * before


def test_the_largest_channels_are_trained_and_said() -> None:
    module = load(digits_model()).module
    found = trainable(module, UpdateScheme(weights={2: 0.25, 4: 1.0}), classes=4)
    layer = layers(module)[2]
    size = magnitudes(module, layer)
    best = np.argsort(-size, kind="stable")[: layer.channels // 4]
    assert set(best) == set(found.order[2][: len(best)])
    (row,) = [t for t in found.tensors if t.name.endswith("/trained")]
    assert (row.channels, row.share) == (MAGNITUDE, 0.25)
    assert {t.channels for t in found.tensors if t is not row} == {ALL}
    trained = found.module.states[row.name].init
    assert np.array_equal(
        trained, data(module, layer.weight.name)[..., found.order[2][: len(best)]]
    )


def data(module: Module, name: str) -> Array:
    found = module.params[name].data
    assert found is not None
    return found


def product(b: Builder, x: Value, count: int, name: str, seed: int) -> Value:
    """A 1x1 convolution."""
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (count, 1, 1, x.type.shape[3])).astype(np.int8)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.01, 0.1, count))
    weight = b.param(f"{name}/weight", w, Quant(scales, (0,) * count, 0))
    bias = b.param(f"{name}/bias", rng.integers(-99, 99, count).astype(np.int32))
    type = s8(*x.type.shape[:3], count, scale=0.5)
    return b.add(get("conv2d"), (x, weight, bias), type=type, name=name)


def test_one_reader_of_a_residual_stream_has_its_own_channels() -> None:
    """Both who write the stream, and all who read it, follow."""
    b = Builder()
    x = b.input("x", s8(1, 3, 3, 5, scale=0.25))
    one, other = product(b, x, 8, "one", 1), product(b, x, 8, "other", 2)
    stream = b.add(get("add"), (one, other), type=one.type, name="stream")
    again = b.add(get("add"), (stream, product(b, stream, 8, "inner", 3)), type=one.type)
    module = b.module((product(b, again, 4, "out", 4),))
    found = arranged(module, {2: 3})
    assert dict(found.how) == {2: MAGNITUDE}
    assert np.array_equal(result(module), result(found.module))
    order = found.order[2]
    for name in ("one/weight", "other/weight", "one/bias"):
        assert np.array_equal(data(found.module, name), data(module, name)[order])
    inner = data(module, "inner/weight")
    assert np.array_equal(data(found.module, "inner/weight"), inner[order][..., order])


@pytest.mark.parametrize("how", ["input", "concat", "flatten", "reversed"])
def test_channels_with_a_given_order_stay(how: str) -> None:
    b = Builder()
    x = b.input("x", s8(1, 2, 2, 4, scale=0.25))
    y = x if how == "input" else product(b, x, 4, "one", 1)
    if how == "concat":
        y = call(b, "concat", y, product(b, x, 4, "other", 2), axis=3)
    if how == "flatten":
        y = call(b, "reshape", y, shape=(1, 1, 1, 16))
    if how == "reversed":
        begin, size, stride = (0, 0, 0, 3), (1, 2, 2, 4), (1, 1, 1, -1)
        y = call(b, "strided_slice", y, begin=begin, size=size, stride=stride)
    module = b.module((product(b, y, 3, "last", 5),))
    last = len(layers(module)) - 1
    found = arranged(module, {last: 2})
    assert dict(found.how) == {last: FIRST}
    assert np.array_equal(result(module), result(found.module))


def test_floats_are_the_same_but_for_the_order_of_sums() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input("x", f32(1, 6))
    w = b.param("w", rng.normal(size=(16, 6)).astype(np.float32))
    v = b.param("v", rng.normal(size=(3, 16)).astype(np.float32))
    hidden = call(b, "relu", call(b, "linear", x, w))
    module = b.module((call(b, "linear", hidden, v),))
    found = arranged(module, {1: 4})
    assert dict(found.how) == {1: MAGNITUDE}
    assert np.allclose(result(module), result(found.module), atol=1e-5)
