"""Training of integer networks: exact forward values, gradients of the smooth twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilliput import compiler
from lilliput.demo_data import digits_model
from lilliput.errors import GraphError, UnsupportedError, UsageError
from lilliput.ir import Array, Builder, Module, Quant, Session
from lilliput.ir.batch import batched
from lilliput.ir.types import DType, TensorType, f32, s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.ops.shape import Reshape, Transpose, reshape, transpose

torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
qat: Any = pytest.importorskip("lilliput.train.qat")


def pictures(count: int) -> tuple[Array, Array]:
    """Real inputs of the demo's network, and what they show."""
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    x = (found.images[:count, :, :, None] / 16.0).astype(np.float32)
    return x, found.target[:count]


def network() -> Module:
    return compiler.load(digits_model()).module


def block() -> Module:
    """A depthwise and a pointwise layer with a shortcut, scales of each channel, a pool."""
    rng = np.random.default_rng(5)
    b = Builder()
    x = b.input("x", s8(1, 6, 6, 4, scale=0.05, zero_point=3))
    quant = Quant(tuple(rng.uniform(0.01, 0.03, 4).tolist()), (0,) * 4, 0)
    weights = [rng.integers(-127, 128, s).astype(np.int8) for s in ((4, 3, 3, 1), (4, 1, 1, 4))]
    bias = rng.integers(-500, 500, 4).astype(np.int32)
    wide, y = s8(1, 6, 6, 4, scale=0.08, zero_point=-128), s8(1, 6, 6, 4, scale=0.1)
    depth = Conv2d(pad=(1, 1, 1, 1), groups=4)
    h = b.add(conv2d, (x, b.param("w1", weights[0], quant), b.param("b1", bias)), depth, type=wide)
    h = b.add(conv2d, (h, b.param("w2", weights[1], quant), b.param("b2", bias)), type=y)
    h = b.add(add, (x, h), type=s8(1, 6, 6, 4, scale=0.12, zero_point=7))
    h = b.add(avg_pool2d, (h,), Pool((6, 6)))
    return b.module((b.add(reshape, (h,), Reshape((1, 4))),))


@pytest.mark.parametrize("make", [network, block])
def test_every_forward_value_is_the_devices(make: Callable[[], Module]) -> None:
    module = make()
    value = module.inputs("infer")[0]
    trained = qat.Qat(module)
    x = np.random.default_rng(0).uniform(-2, 2, (5, *value.type.shape[1:])).astype(np.float32)
    found = trained(torch.from_numpy(x)).detach().numpy()
    type = next(v.type for v in module.graphs["infer"].values() if v.name == trained.result)
    for k in range(5):
        q = np.clip(np.rint(x[k : k + 1] / value.type.scale) + value.type.zero_point, -128, 127)
        stored = Session(module).run({value.name: q.astype(np.int8)}).values[trained.result]
        real = (stored.astype(np.int64) - type.zero_point) * type.scale
        np.testing.assert_array_equal(found[k], real[0].astype(np.float32))


def test_gradients_are_those_of_the_smooth_network() -> None:
    module = block()
    trained = qat.Qat(module)
    x = torch.rand((3, 6, 6, 4), generator=torch.Generator().manual_seed(1))
    trained(x).square().sum().backward()
    stored = [p.data for p in module.params.values()]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.real.values())

    def loss(which: str, at: tuple[int, ...], step: float) -> float:
        """The same network in real numbers, without any rounding."""
        real = {n: p.detach().clone() for n, p in trained.real.items()}
        real[which][at] += step
        image = x.permute(0, 3, 1, 2)
        conv = torch.nn.functional.conv2d
        w = {n: v.permute(0, 3, 1, 2) if v.ndim == 4 else v for n, v in real.items()}
        h = conv(image, w["w1"], w["b1"], padding=1, groups=4).clamp(0, 255 * 0.08)
        y = image + conv(h, w["w2"], w["b2"])
        return float(y.mean((2, 3)).square().sum())

    assert len(stored) == 4
    for name, at in (("w1", (1, 0, 2, 0)), ("w2", (3, 0, 0, 1)), ("b1", (2,)), ("b2", (0,))):
        slope = (loss(name, at, 1e-2) - loss(name, at, -1e-2)) / 2e-2
        assert float(trained.real[name].grad[at]) == pytest.approx(slope, rel=0.15, abs=0.2)


def test_training_repairs_damaged_weights(tmp_path: Path) -> None:
    x, y = pictures(400)
    module = network()
    trained = qat.Qat(module)

    def accuracy() -> float:
        logits = trained(torch.from_numpy(x)).detach().numpy().reshape(len(x), -1)
        return float((logits.argmax(1) == y).mean())

    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in trained.real.values():
            p += torch.randn(p.shape, generator=noise) * p.abs().mean()
    before = accuracy()
    losses = qat.finetune(trained, x, y, epochs=2, rate=3e-3)
    assert losses[1] < losses[0]
    assert accuracy() > before + 0.4
    repaired = trained.module()
    again = qat.Qat(repaired)(torch.from_numpy(x[:50]))
    assert torch.equal(again, trained(torch.from_numpy(x[:50])))
    path = tmp_path / "repaired.lilliput"
    path.write_bytes(compiler.from_module(repaired) and _saved(repaired))
    assert compiler.load(path).module.params.keys() == module.params.keys()


def _saved(module: Module) -> bytes:
    from lilliput.ir.text import save

    return save(module)


def test_the_same_seed_trains_the_same_weights() -> None:
    x, y = pictures(64)
    found = list[Module]()
    for _ in range(2):
        trained = qat.Qat(network())
        qat.finetune(trained, x, y, epochs=1, rate=1e-3, seed=4)
        found.append(trained.module())
    for name, param in found[0].params.items():
        np.testing.assert_array_equal(param.data, found[1].params[name].data)


def test_what_cannot_be_trained() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4))
    with pytest.raises(GraphError, match="no tensor can be trained"):
        qat.Qat(b.module((b.add(reshape, (x,), Reshape((1, 2, 2))),)))
    with pytest.raises(UsageError, match="input"):
        qat.Qat(block())(torch.zeros(2, 6, 5, 4))
    with pytest.raises(UsageError, match="examples"):
        qat.finetune(qat.Qat(block()), np.zeros((2, 6, 6, 4)), np.zeros(3))


def test_batches_of_many() -> None:
    module = block()
    x = np.random.default_rng(2).integers(-128, 128, (7, 6, 6, 4)).astype(np.int8)
    many = Session(batched(module, 7)).run({"x": x}).outputs
    for k in range(7):
        one = Session(module).run({"x": x[k : k + 1]}).outputs
        for name, data in one.items():
            np.testing.assert_array_equal(many[name][k : k + 1], data)


def test_a_batch_that_cannot_be() -> None:
    b = Builder()
    x = b.input("x", f32(1, 4, 1))
    y = b.add(transpose, (x,), Transpose((1, 0, 2)))
    with pytest.raises(UnsupportedError, match="not a batch of one"):
        batched(b.module((y,)), 3)
    b = Builder()
    x = b.input("x", TensorType((3, 4), DType.F32))
    with pytest.raises(UnsupportedError, match="input x"):
        batched(b.module((b.add(reshape, (x,), Reshape((12,))),)), 2)
