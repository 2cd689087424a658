"""Programs that PT2E quantised, against PyTorch's reference program; files of programs.

Where no float rounds (scales that are powers of two, biases of whole steps) integers are those
of PyTorch, every one.  Elsewhere PyTorch sums products of rounded reals where integers are summed
exactly, which can tell beside the middle between two results only: one step at most, of few.
"""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pt2e import (
    OPS,
    RECIPES,
    Recipe,
    as_integers,
    drawn,
    ends_of,
    nn,
    program_of,
    samples,
    torch,
)

from lilliput import devices
from lilliput.compiler import Model, Options, compile, from_torch, load, quantize
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Array, DType
from lilliput.tolerances import BOUNDS

FLOATS = frozenset(("quantize", "dequantize"))


def differences(program: Any, model: Model, given: list[Any]) -> Array:
    """Integers of ours less those of the reference program, of every sample."""
    first, last = ends_of(program)
    (x,), reference = model.module.inputs("infer"), program.module()
    assert x.type.dtype is DType.S8
    found: list[Array] = []
    for sample in given:
        with torch.no_grad():
            wanted = as_integers(reference(sample).numpy(), last)
        (ours,) = model.run({x.name: as_integers(sample.numpy(), first)}).outputs.values()
        assert ours.dtype == np.int8
        found.append(ours.astype(np.int64) - wanted)
    return np.stack(found)


def operators(model: Model) -> Counter[str]:
    return Counter(n.op.name for n in model.module.graphs["infer"].nodes)


# Quantised networks -----------------------------------------------------------------------

CASES = (
    ("perceptron", "per tensor", 0.02),
    ("perceptron", "half of the range", 0.02),
    ("separable", "per channel", 0.02),
    ("separable", "weights quantised in the program", 0.02),
    ("residual", "uint8, stored biases", 0.2),
    ("gated", "per channel", 0.02),
    ("branches", "per channel", 0.15),
    ("branches", "half of the range", 0.15),
)
"""Network, recipe, and the share of outputs that may be one step off.  An average that lies in the
middle between two integers, and the table of the logistic function, differ by a step inside,
which a layer behind them passes on to several outputs."""


@pytest.mark.parametrize(("name", "recipe", "share"), CASES)
def test_integers_are_pytorchs_within_one_step(name: str, recipe: str, share: float) -> None:
    program = program_of(name, RECIPES[recipe])
    model = from_torch(program)
    assert not FLOATS & operators(model).keys(), "every layer is on integers"
    off = differences(program, model, samples(name))
    assert np.abs(off).max() <= 1
    assert np.mean(off != 0) <= share


@pytest.mark.parametrize("name", ["perceptron", "block", "separable", "gated", "branches"])
def test_integers_are_pytorchs_where_no_float_rounds(name: str) -> None:
    program = program_of(name, Recipe(exact=True))
    np.testing.assert_array_equal(differences(program, from_torch(program), samples(name)), 0)


@pytest.mark.parametrize("name", ["residual", pytest.param("branches", marks=pytest.mark.slow)])
def test_compiled_programs_are_exact(name: str, host_compiler: Toolchain) -> None:
    program = program_of(name, RECIPES["per channel"])
    model, (first, _) = from_torch(program), ends_of(program)
    compiled = compile(model, devices.load("cortex-m4"), Options(compiler="none"))
    (x,) = model.module.inputs("infer")
    calls = [Call("infer", {x.name: as_integers(s.numpy(), first)}) for s in samples(name)]
    proof = prove(model.shrunk.module, compiled.program, calls, hosts=[host_compiler])
    assert proof.exact, proof.difference


# Scales of run time -----------------------------------------------------------------------


class Dynamic(nn.Module):
    """What dynamic quantisation makes of two layers on one input: a chain for each."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 8), nn.Linear(12, 8)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.one(_measured(x))) + self.two(_measured(x))


def _measured(x: Any) -> Any:
    ends = (-128, 127, torch.int8)
    scale, zero = OPS.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)
    whole = OPS.quantize_per_tensor.tensor(x, scale, zero, *ends)
    return OPS.dequantize_per_tensor.tensor(whole, scale, zero, *ends)


def test_scales_of_run_time_are_left_out_and_told_of() -> None:
    torch.manual_seed(4)
    program = torch.export.export(Dynamic().eval(), (drawn((1, 12)),))
    model = from_torch(program)
    assert model.module.unrounded == ('linear "one"', 'linear "two"')
    assert not FLOATS & operators(model).keys()
    for seed in range(3):
        x = drawn((1, 12), seed)
        with torch.no_grad():
            want = program.module()(x).numpy()
        (found,) = model.run({"x": x.numpy()}).outputs.values()
        assert not BOUNDS["scales of run time"].broken(want, found).any()
    made = quantize(model, np.concatenate([drawn((1, 12), k).numpy() for k in range(40)]))
    assert made.model.module.outputs("infer")[0].type.dtype is DType.S8


# Forms of a program -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_a_graph_and_a_file_are_the_same(tmp_path: Path) -> None:
    """So is one whose operators were taken apart, in which layers have other names."""
    program, given = program_of("separable", Recipe()), samples("separable")
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    apart = program.run_decompositions()
    (sample,) = program.example_inputs[0]
    models = [load(path), from_torch(program.module(), sample), from_torch(apart)]
    whole = from_torch(program)
    first, _ = ends_of(program)
    for model in models:
        assert operators(model) == operators(whole)
        for x in given:
            stored = {"input": as_integers(x.numpy(), first)}
            ours, theirs = (list(m.run(stored).outputs.values()) for m in (model, whole))
            np.testing.assert_array_equal(ours, theirs)


def test_float_ends_are_kept_where_asked_for(tmp_path: Path) -> None:
    program = program_of("perceptron", Recipe(exact=True))
    torch.export.save(program, tmp_path / "net.pt2")
    for model in (from_torch(program, io="float"), load(tmp_path / "net.pt2", io="float")):
        assert [v.type.dtype for v in model.module.outputs("infer")] == [DType.F32]
        for x in samples("perceptron"):
            (ours,) = model.run({"input": x.numpy()}).outputs.values()
            np.testing.assert_array_equal(ours, program.module()(x).detach().numpy())


def test_a_float_program_needs_no_example() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).eval()
    program = torch.export.export(module, (drawn((1, 4)),))
    x = drawn((1, 4), 5)
    (ours,) = from_torch(program).run({"input": x.numpy()}).outputs.values()
    np.testing.assert_allclose(ours, module(x).detach().numpy(), rtol=2e-5, atol=2e-6)


def test_ends_in_integers() -> None:
    """A program that takes and gives integers itself, uint8 here as int8 less 128."""
    ends = (0.5, 130, 0, 255, torch.uint8)
    more = (0.25, 120, 0, 255, torch.uint8)

    class Bare(nn.Module):
        def forward(self, x: Any) -> Any:
            real = torch.relu(OPS.dequantize_per_tensor.default(x, *ends))
            return OPS.quantize_per_tensor.default(real, *more)

    given = torch.arange(0, 256, 3, dtype=torch.uint8).reshape(1, -1)
    model = from_torch(torch.export.export(Bare(), (given,)))
    shifted = (given.numpy().astype(np.int16) - 128).astype(np.int8)
    (ours,) = model.run({"x": shifted}).outputs.values()
    np.testing.assert_array_equal(ours.astype(np.int16) + 128, Bare()(given).numpy())


def test_the_fold_of_a_batch_norm_in_the_program() -> None:
    """What QAT leaves where nothing was folded: weights times a factor, then quantised."""
    ops, source = OPS, torch.Generator().manual_seed(3)

    class Trained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.norm.running_var.uniform_(0.5, 2.0, generator=source)
            self.register_buffer("steps", torch.tensor([0.004, 0.005, 0.006, 0.007]))
            self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

        def forward(self, x: Any) -> Any:
            x = ops.quantize_per_tensor.default(x, 0.02, -3, -128, 127, torch.int8)
            x = ops.dequantize_per_tensor.default(x, 0.02, -3, -128, 127, torch.int8)
            factor = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
            ends = (self.steps, self.zeros, 0, -127, 127, torch.int8)
            w = ops.quantize_per_channel.default(
                self.conv.weight * factor[:, None, None, None], *ends
            )
            w = ops.dequantize_per_channel.default(w, *ends)
            moved = (self.conv.bias - self.norm.running_mean) * factor + self.norm.bias
            y = torch.relu(nn.functional.conv2d(x, w, moved, padding=1))
            y = ops.quantize_per_tensor.default(y, 0.01, -128, -128, 127, torch.int8)
            return ops.dequantize_per_tensor.default(y, 0.01, -128, -128, 127, torch.int8)

    torch.manual_seed(5)
    shape = (1, 2, 6, 6)
    program = torch.export.export(Trained().eval(), (drawn(shape),))
    model = from_torch(program)
    assert operators(model) == {"conv2d": 1, "transpose": 2}
    off = differences(program, model, [drawn(shape, seed) for seed in range(4)])
    assert np.abs(off).max() <= 1
    assert np.mean(off != 0) < 0.02


def test_affine_operators_of_torchao() -> None:
    """Declared here as torchao does, where that is not installed: blocks are channels."""
    try:
        import torchao  # pyright: ignore[reportMissingImports]

        assert torchao
    except ImportError:
        declared = torch.library.Library("torchao", "FRAGMENT")
        for text in AFFINE:
            declared.define(text)
        declared.impl("quantize_affine", _quantize_affine, "CompositeExplicitAutograd")
        declared.impl("dequantize_affine", _dequantize_affine, "CompositeExplicitAutograd")
    ops = torch.ops.torchao

    class Affine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 5)
            held = {"ws": torch.rand(5) / 100 + 0.003, "xs": torch.tensor([0.02])}
            held |= {"ys": torch.tensor([0.01]), "z": torch.tensor([3], dtype=torch.int8)}
            for name, value in {**held, "wz": torch.zeros(5, dtype=torch.int8)}.items():
                self.register_buffer(name, value)

        def both(self, x: Any, block: list[int], scale: Any, zero: Any) -> Any:
            whole = ops.quantize_affine.default(x, block, scale, zero, torch.int8, -128, 127)
            return ops.dequantize_affine.default(whole, block, scale, zero, torch.int8, -128, 127)

        def forward(self, x: Any) -> Any:
            x = self.both(x, [1, 6], self.xs, self.z)
            w = self.both(self.layer.weight, [1, 6], self.ws, self.wz)
            y = nn.functional.linear(x, w, self.layer.bias)
            return self.both(y, [1, 5], self.ys, self.z)

    module, x = Affine().eval(), drawn((1, 6))
    model = from_torch(torch.export.export(module, (x,)))
    assert operators(model) == {"linear": 1}
    (ours,) = model.run({"x": as_integers(x.numpy(), (0.02, 3))}).outputs.values()
    wanted = as_integers(module(x).detach().numpy(), (0.01, 3))
    assert np.abs(ours.astype(int) - wanted).max() <= 1


RANGE = "Scalar? quant_min=None, Scalar? quant_max=None"
STEPS = "Tensor input, SymInt[] block_size, Tensor scale, Tensor? zero_point"
KEPT = f"quantize_affine({STEPS}, ScalarType output_dtype, {RANGE}) -> Tensor"
REAL = f"{STEPS}, ScalarType input_dtype, {RANGE}, ScalarType output_dtype=float32"
AFFINE = (KEPT, f"dequantize_affine({REAL}) -> Tensor")


def _spread(x: Any, block: list[int], part: Any) -> Any:
    return part.reshape([n // b for n, b in zip(x.shape, block, strict=True)])


def _quantize_affine(
    x: Any, block: list[int], scale: Any, zero: Any, dtype: Any, low: Any = None, high: Any = None
) -> Any:
    steps = torch.round(x * (1.0 / _spread(x, block, scale))) + _spread(x, block, zero)
    return steps.clamp(low, high).to(dtype)


def _dequantize_affine(
    x: Any, block: list[int], scale: Any, zero: Any, dtype: Any, low: Any = None, high: Any = None,
    output_dtype: Any = torch.float32,
) -> Any:  # fmt: skip
    moved = x.to(torch.float32) - _spread(x, block, zero)
    return (moved * _spread(x, block, scale)).to(output_dtype)
