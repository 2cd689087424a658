"""Schemes beside layers: lite residual modules (TinyTL) and normalisations alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilliput.compiler import from_module, load
from lilliput.demo_data import digits_model
from lilliput.devices.device import load as board
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import LilliputError, UnsupportedError, UsageError
from lilliput.ir import Array, Module, Session
from lilliput.plan.build import plan
from lilliput.tolerances import BOUNDS
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.lite import ALL_BLOCKS, blocks, with_lite
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme, parse

CLASSES = 4


@pytest.fixture(scope="module")
def digits() -> Module:
    return load(digits_model()).module


def calls(found: Training, count: int) -> list[Call]:
    x = found.module.inputs(ENTRY)[0]
    rng = np.random.default_rng(2)
    drawn: list[Array] = [
        rng.integers(-128, 128, x.type.shape).astype(np.int8)
        if x.type.quant
        else rng.normal(size=x.type.shape).astype(np.float32)
        for _ in range(count)
    ]
    labels = [np.array([k % CLASSES], np.int32) for k in range(count)]
    return [Call(ENTRY, {x.name: p, "label": y}) for p, y in zip(drawn, labels, strict=True)]


def result(module: Module) -> Array:
    x = module.inputs(module.entry)[0]
    data = np.random.default_rng(1).integers(-128, 128, x.type.shape).astype(np.int8)
    return next(iter(Session(module).run({x.name: data}).outputs.values()))


def test_the_words_are_read_and_written(digits: Module) -> None:
    found = layers(with_head(digits, CLASSES))
    for text in ("lite", "biases=2,lite=1", "lite=2", "norm", "biases=1,norm,0:1/2"):
        scheme = parse(text, found)
        again = parse(str(scheme), found)
        assert (again.biases, again.lite, again.norms) == (scheme.biases, scheme.lite, scheme.norms)
        assert UpdateScheme.from_json(json.dumps(scheme.to_json())) == scheme
    assert (parse("lite", found).biases, parse("lite", found).lite) == (5, ALL_BLOCKS)
    assert parse("lite=1", found).biases == 0
    with pytest.raises(UsageError):
        parse("lite=x", found)


# Lite residual modules ----------------------------------------------------------------------

SHARED = [
    "tiny_training/mcunet-5fps.pkl",
    "mlperf_tiny/ic_resnet8_int8.tflite",
    "mlperf_tiny/kws_ref_model_int8.tflite",
]


def test_a_module_that_has_not_learned_changes_nothing(digits: Module) -> None:
    assert np.array_equal(result(digits), result(with_lite(digits, ALL_BLOCKS).module))


@pytest.mark.shared
@pytest.mark.parametrize("path", SHARED)
def test_nor_does_it_in_published_networks(shared: Path, path: str) -> None:
    module = load(str(shared / "models" / path)).module
    assert np.array_equal(result(module), result(with_lite(module, ALL_BLOCKS).module))


@pytest.mark.shared
def test_a_block_is_an_inverted_bottleneck(shared: Path) -> None:
    """MCUNet-5fps has fourteen; seven of them end in a sum with what entered them."""
    module = load(str(shared / "models/tiny_training/mcunet-5fps.pkl")).module
    makers = module.graphs[module.entry].producers()
    found = blocks(module)
    assert len(found) == 14
    sums = [b for b in found if makers[b.y.name].op.name == "add"]
    assert len(sums) == 7
    assert all(b.x in makers[b.y.name].inputs for b in sums)


def test_branches_learn_and_are_the_same_in_c(digits: Module, host_compiler: Toolchain) -> None:
    scheme = parse("lite", layers(with_head(digits, CLASSES)))
    found = trainable(digits, scheme, Optimiser(rate=0.05), classes=CLASSES)
    rows = [t for t in found.tensors if t.index is None]
    assert [t.layer for t in rows] == ["depthwise1/lite"] * 4 + ["depthwise2/lite"] * 4
    module = from_module(found.module).module
    proof = prove(module, plan(module, board("cortex-m4")), calls(found, 6), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
    session = Session(found.module)
    losses = [
        [float(session.run(c.inputs, ENTRY).outputs["loss"][0]) for c in calls(found, 4)]
        for _ in range(15)
    ]
    assert np.mean(losses[-1]) < 0.5 * np.mean(losses[0])
    for row in rows:
        assert np.any(session.states[row.name] != found.module.states[row.name].init), row.name


def test_more_modules_than_blocks_are_refused(digits: Module) -> None:
    with pytest.raises(UsageError, match="up to 2"):
        trainable(digits, UpdateScheme(lite=3), classes=CLASSES)


# Normalisations -----------------------------------------------------------------------------


def normed() -> tuple[Any, Module]:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    import lilliput

    torch.manual_seed(3)
    nn = torch.nn
    made = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.BatchNorm2d(8)),
        *(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, CLASSES)),
    )
    made.eval()
    return made, lilliput.from_torch(made, torch.randn(1, 2, 8, 8)).module


def test_norms_alone_move_as_in_torch(host_compiler: Toolchain) -> None:
    """A batch norm behind a convolution is in its weights; the other three move."""
    torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    twin, module = normed()
    found = trainable(module, UpdateScheme(norms=True), Optimiser(rate=0.1))
    moved = {t.name for t in found.tensors if t.index is None}
    assert len(moved) == 6
    (call,) = calls(found, 1)
    session = Session(found.module)
    session.run(call.inputs, ENTRY)
    (x, label) = call.inputs.values()
    loss = torch.nn.functional.cross_entropy(
        twin(torch.from_numpy(x)), torch.from_numpy(label).long()
    )
    loss.backward()
    theirs = dict(twin.named_parameters())
    for name in ("1.weight", "1.bias", "8.weight", "8.bias"):
        ours = next(n for n in moved if n.endswith(name))
        wanted = (theirs[name] - 0.1 * theirs[name].grad).detach().numpy()
        assert not BOUNDS["PyTorch"].broken(wanted, session.states[ours].reshape(-1)).any(), name
    fixed = from_module(found.module).module
    proof = prove(fixed, plan(fixed, board("cortex-m4")), calls(found, 3), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_where_norms_are_in_the_weights_that_is_said(digits: Module) -> None:
    with pytest.raises(UnsupportedError, match="--scheme biases"):
        trainable(digits, UpdateScheme(norms=True), classes=CLASSES)
    assert issubclass(UnsupportedError, LilliputError)
