"""Layers of int16 among layers of int8: any choice is exact, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.quantised import float_digits, pictures, varied

import lilliput
from lilliput import Quantization, compiler, devices
from lilliput.demo_data import load_digits_split
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir import Builder, DType, Module
from lilliput.ir.types import f32
from lilliput.ops.normalise import l2_normalize, log_softmax
from lilliput.plan.build import plan
from lilliput.quant.mixed import has_int16
from lilliput.quant.prepare import prepare


def layers(module: Module) -> list[str]:
    """Names of all that may be int16: the inputs, and results of operators with such a kernel."""
    ready = prepare(module)
    graph = ready.graphs[ready.entry]
    nodes = [n.output.name for n in graph.nodes if has_int16(n, ready)]
    return [*(v.name for v in graph.inputs), *nodes]


def made(module: Module, names: tuple[str, ...]) -> lilliput.Quantized:
    return lilliput.quantize(module, pictures(), Quantization(int16_layers=names))


WHOLE = varied()
NAMES = layers(WHOLE)


@given(chosen=st.sets(st.sampled_from(NAMES)))
@settings(max_examples=20, deadline=None)
def test_any_choice_of_layers_equals_its_simulation(chosen: set[str]) -> None:
    """`quantize` itself compares every value; here that the types are what was asked for."""
    found = made(WHOLE, tuple(sorted(chosen)))
    assert not found.outcome.floats
    values = {v.name: v for v in found.model.module.graphs["infer"].values()}
    for name in NAMES:
        if name in values:
            wide = name in found.outcome.wide
            assert values[name].type.dtype is (DType.S16 if wide else DType.S8)
    assert chosen <= set(found.outcome.wide)


@pytest.mark.parametrize("names", [("d", "residual"), ("x", "a/relu6", "y")])
def test_mixed_networks_are_exact_in_c_and_on_a_core(
    names: tuple[str, ...], host_compiler: Toolchain
) -> None:
    model = made(WHOLE, names).model
    device = devices.load("cortex-m4")
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 6, 3))
    given_ = model.module.inputs("infer")[0]
    calls = [Call("infer", {given_.name: x.astype(given_.type.dtype.numpy)})]
    program = plan(model.module, device)
    target = (find(device.core), device)
    proof = prove(model.module, program, calls, hosts=[host_compiler], target=target)
    assert proof.exact, proof.difference


def test_all_layers_in_int16_are_the_network_in_int16() -> None:
    digits, network = load_digits_split(), float_digits()
    whole = Quantization(activations="int16")
    mixed = Quantization(int16_layers=("*",))
    both = [lilliput.quantize(network, digits.x_train[:100], o).model for o in (whole, mixed)]
    for found in zip(*(m.module.graphs["infer"].nodes for m in both), strict=True):
        assert found[0].op is found[1].op
        assert found[0].output.type == found[1].output.type
    answers = [m.answers(digits.x_test[:50]) for m in both]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_wide_layers_lose_less() -> None:
    """The weights of this network are integers, so that all it loses is its activations'."""
    digits, network = load_digits_split(), float_digits()
    real = compiler.from_module(network).answers(digits.x_test)

    def noise(*names: str) -> float:
        options = Quantization(int16_layers=names)
        found = lilliput.quantize(network, digits.x_train[:100], options).model
        return float(np.square(found.answers(digits.x_test) - real).sum())

    assert 2 * noise("*") < noise("stem/relu", "classes", "probabilities") < noise()


def test_the_explanation_names_layers_that_gain() -> None:
    digits, network = load_digits_split(), float_digits()
    graph = network.graphs["infer"]
    scores = replace(graph, nodes=graph.nodes[:-1], outputs=graph.nodes[-2].outputs)
    network = replace(network, graphs={"infer": scores})
    found = lilliput.quantize(network, digits.x_train[:100], Quantization(explain=True)).outcome
    assert found.explanation is not None
    tried = [x for x in found.explanation.layers if x.int16_db is not None]
    best = max(tried, key=lambda x: x.int16_db or 0.0)
    (said,) = (text for text in found.explanation.advice if "--int16-layers" in text)
    assert said.startswith(f"int16: {best.name} with 16 bits gives the outputs {best.int16_db:.1f}")
    named = tuple(said.split("--int16-layers ")[1].rstrip(")").split(","))
    again = Quantization(explain=True, int16_layers=named)
    better = lilliput.quantize(network, digits.x_train[:100], again).outcome
    assert better.explanation is not None
    assert better.explanation.output_db > found.explanation.output_db
    assert set(named) <= set(better.wide)


def test_names_that_cannot_be() -> None:
    with pytest.raises(
        UsageError, match=r"(?s)no layer of this name.*residul.*near to it: residual"
    ):
        made(WHOLE, ("residul",))
    options = Quantization(activations="int16", int16_layers=("d",))
    with pytest.raises(UsageError, match="layers are widened in a network of int8"):
        lilliput.quantize(WHOLE, pictures(), options)


def test_operators_without_an_int16_kernel_are_all_named() -> None:
    b = Builder()
    x = b.input("x", f32(1, 12))
    y = b.add(l2_normalize, (x,), name="first")
    y = b.add(log_softmax, (y,), name="second")
    data = np.random.default_rng(1).normal(0, 1, (8, 12)).astype(np.float32)
    with pytest.raises(UnsupportedError, match="no int16 kernel") as caught:
        lilliput.quantize(b.module((y,)), data, Quantization(int16_layers=("*",)))
    assert [p.where for p in caught.value.problems] == [
        'l2_normalize "first"',
        'log_softmax "second"',
    ]
