"""Integers trained towards the float network that they came from, without labels."""

from __future__ import annotations

import numpy as np
import pytest
from tests.quantised import float_digits, unequal, varied

import lilliput
from lilliput import Quantization, compiler
from lilliput.demo_data import load_digits_split
from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir import Builder
from lilliput.ir.types import f32
from lilliput.ops.elementwise import add
from lilliput.quant.prepare import prepare

torch = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
distill = pytest.importorskip("lilliput.train.distill")
exact = pytest.importorskip("lilliput.train.exact")


def test_training_nears_the_floats_on_other_data() -> None:
    """`quantize` itself compares what was trained with its simulation, at 0 LSB."""
    digits, network = load_digits_split(), unequal(float_digits(), decades=1.0)
    real = compiler.from_module(network).answers(digits.x_test)

    def noise(options: Quantization) -> float:
        found = lilliput.quantize(network, digits.x_train[:200], options)
        assert found.outcome.distilled == options.distill
        return float(np.square(found.model.answers(digits.x_test) - real).sum())

    assert noise(Quantization(distill=4)) < 0.7 * noise(Quantization())


def test_the_same_seed_gives_the_same_integers() -> None:
    network, x = float_digits(), load_digits_split().x_train[:40]
    made = [lilliput.quantize(network, x, Quantization(distill=1, seed=3)) for _ in range(2)]
    for name, found in made[0].encodings.weights.items():
        other = made[1].encodings.weights[name]
        np.testing.assert_array_equal(found.data, other.data)
        np.testing.assert_array_equal(found.bias, other.bias)


def test_training_takes_one_thread() -> None:
    """With more, the last bits of a gradient, and so the integers, depend on how many there are."""
    network, x = float_digits(), load_digits_split().x_train[:20]
    before, seen = torch.get_num_threads(), dict[str, int]()
    torch.set_num_threads(2)
    try:
        lilliput.quantize(
            network,
            x,
            Quantization(distill=1),
            log=lambda line: seen.update({line.split()[0]: torch.get_num_threads()}),
        )
        assert seen["epoch"] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_layers_of_int16_are_trained_with_the_others() -> None:
    network, x = float_digits(), load_digits_split().x_train[:40]
    options = Quantization(distill=1, int16_layers=("pointwise1/relu", "classes"))
    before = lilliput.quantize(network, x, Quantization(int16_layers=options.int16_layers))
    after = lilliput.quantize(network, x, options)
    assert after.outcome.wide == before.outcome.wide
    changed = [
        name
        for name, found in after.encodings.weights.items()
        if (found.bias != before.encodings.weights[name].bias).any()
    ]
    assert len(changed) == len(after.encodings.weights)


def test_cuts_are_where_one_value_is_all() -> None:
    graph = prepare(varied()).graphs["infer"]
    found = distill.cuts(graph)
    assert {"a/relu6", "joined", "y"} <= set(found)
    assert not {"d", "d/relu", "residual", "gate"} & set(found)


def test_sums_are_exact_up_to_their_bound() -> None:
    """Products of the ends of both types, in the widest layer that float32 is trusted with."""
    made = lilliput.quantize(
        float_digits(), load_digits_split().x_train[:20], Quantization()
    ).model.module
    rng = np.random.default_rng(0)
    seen = 0
    for node in made.graphs["infer"].nodes:
        if not exact.is_sum(node):
            continue
        seen += 1
        x, w = (v.type.shape for v in node.inputs[:2])
        ends = [rng.choice([-255, 255], x), rng.choice([-127, 127], w)]
        small, wide = (
            exact.sums(node, *(torch.from_numpy(a).to(d) for a in ends)).to(torch.float64)
            for d in (torch.float32, torch.float64)
        )
        assert torch.equal(small, wide)
    assert seen == 6


def test_what_cannot_be_trained() -> None:
    x = np.random.default_rng(0).normal(0, 1, (8, 4)).astype(np.float32)
    with pytest.raises(UsageError, match="rounds of training"):
        lilliput.quantize(float_digits(), load_digits_split().x_train[:8], Quantization(distill=-1))
    b = Builder()
    a, c = b.input("a", f32(1, 4)), b.input("c", f32(1, 4))
    two = b.module((b.add(add, (a, c)),))
    with pytest.raises(UnsupportedError, match="one input"):
        lilliput.quantize(two, {"a": x, "c": x}, Quantization(distill=1))
