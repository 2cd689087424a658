"""LSTMs become integers of the quantiser's own making: exact, and near the floats on a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lilliput
from lilliput import Quantization, devices
from lilliput.demo_data import load_digits_split
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.ir import Array, Builder, DType, Module, Value
from lilliput.ir.types import f32
from lilliput.ops.conv import Linear, linear
from lilliput.ops.lstm import LSTM, float_frames, lstm
from lilliput.ops.shape import Reshape as To
from lilliput.ops.shape import Slice, reshape, slice_
from lilliput.plan.build import plan
from lilliput.quant.recurrent import cell_quant

FRAMES, DEPTH = 8, 8


def layer(b: Builder, x: Value, units: int, seed: int, state: float, clip: float = 0.0) -> Value:
    """An LSTM with gates of unlike weights; `state` is what its states begin with."""
    rng = np.random.default_rng(seed)

    def param(name: str, data: Array) -> Value:
        return b.param(f"{name}{seed}", data.astype(np.float32))

    depth, gates = x.type.shape[2], np.repeat([1.0, 0.3, 0.7, 2.0], units)
    w = param("w", rng.normal(0, 0.4, (4 * units, depth)) * gates[:, None])
    r = param("r", rng.normal(0, 0.3, (4 * units, units)) * gates[:, None])
    bias = param("bias", rng.normal(0, 0.5, 4 * units))
    states = [param(name, rng.uniform(-state, state, (1, units))) for name in ("h", "c")]
    y = b.add_multi(lstm, (x, w, r, bias, *states), LSTM(clip), name=f"lstm{seed}")
    return y[0]


def network(units: int = 6, layers: int = 1, state: float = 0.0, clip: float = 0.0) -> Module:
    b = Builder()
    y = b.input("x", f32(1, FRAMES, DEPTH))
    for k in range(layers):
        y = layer(b, y, units, k, state, clip)
    last = b.add(slice_, (y,), Slice((0, FRAMES - 1, 0), (1, 1, units)))
    flat = b.add(reshape, (last,), To((1, units)))
    w = np.random.default_rng(9).normal(0, 1, (4, units)).astype(np.float32)
    return b.module((b.add(linear, (flat, b.param("wy", w)), Linear(), name="y"),), name="series")


def frames(count: int = 24, scale: float = 1.0) -> Array:
    return np.random.default_rng(1).normal(0, scale, (count, FRAMES, DEPTH)).astype(np.float32)


@given(
    units=st.integers(1, 9),
    layers=st.integers(1, 2),
    state=st.sampled_from([0.0, 0.5]),
    clip=st.sampled_from([0.0, 0.8]),
    scale=st.sampled_from([1e-3, 1.0, 40.0]),
    wide=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_lstms_equal_their_simulation(
    units: int, layers: int, state: float, clip: float, scale: float, wide: bool
) -> None:
    """`quantize` compares every value; here that they are integers."""
    options = Quantization(activations="int16" if wide else "int8", allow_dead=True)
    found = lilliput.quantize(network(units, layers, state, clip), frames(scale=scale), options)
    assert not found.outcome.floats
    nodes = [n for n in found.model.module.graphs["infer"].nodes if n.op is lstm]
    assert len(nodes) == layers
    for node in nodes:
        x, w, r, _, h, c = (v.type for v in node.inputs)
        assert (w.dtype, r.dtype, c.dtype) == (DType.S8, DType.S8, DType.S16)
        assert x.dtype is h.dtype is (DType.S16 if wide else DType.S8)


@pytest.mark.parametrize("options", [Quantization(), Quantization(int16_layers=("lstm0",))])
def test_c_and_an_emulated_core_are_exact(options: Quantization, host_compiler: Toolchain) -> None:
    model = lilliput.quantize(network(5, 2, 0.4), frames(), options).model
    device = devices.load("cortex-m4")
    rng = np.random.default_rng(0)
    calls = [
        Call("infer", {"x": rng.integers(-128, 128, (1, FRAMES, DEPTH)).astype(np.int8)})
        for _ in range(2)
    ]
    program = plan(model.module, device)
    target = (find(device.core), device)
    proof = prove(model.module, program, calls, hosts=[host_compiler], target=target)
    assert proof.exact, proof.difference


def test_the_cell_state_is_covered_in_every_frame() -> None:
    """Its scale follows from all frames of all samples, not from the last, which alone is seen."""
    x, module = frames(scale=3.0), network(4)
    found = lilliput.quantize(module, x, Quantization())
    node = next(n for n in found.model.module.graphs["infer"].nodes if n.op is lstm)
    real = next(n for n in module.graphs["infer"].nodes if n.op is lstm)
    constants = [module.params[v.name].data for v in real.inputs[1:]]
    cells = [c for _, c in float_frames(real, [x, *(d for d in constants if d is not None)])]
    most = max(float(np.abs(c).max()) for c in cells)
    assert most > float(np.abs(cells[-1]).max())
    scale = node.inputs[5].type.scale
    assert 32767 * scale / 2 < most <= 32767 * scale
    assert cell_quant(1.0).scale == (2.0**-14,)
    assert cell_quant(0.99).scale == (2.0**-15,)
    assert cell_quant(1e9).scale == (2.0**-9,)
    assert cell_quant(0.0).scale == (2.0**-27,)


@pytest.mark.slow
def test_a_trained_lstm_keeps_its_answers() -> None:
    """Digits, read row by row: within 1 point, and 97 of 100 answers the same."""
    torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    digits = load_digits_split()
    scale = np.float32(1 / 16)

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.rows = torch.nn.LSTM(DEPTH, 24, batch_first=True)
            self.scores = torch.nn.Linear(24, 10)

        def forward(self, x: Any) -> Any:
            return self.scores(self.rows(x)[0][:, -1])

    def rows(x: Array) -> Array:
        return (x.reshape(len(x), FRAMES, DEPTH) * scale).astype(np.float32)

    torch.manual_seed(0)
    net, train = Reader(), rows(digits.x_train)
    x, y = torch.from_numpy(train), torch.from_numpy(digits.y_train.astype(np.int64))
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(8):
        for part in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimiser.step()
    model = lilliput.from_torch(net.eval(), torch.zeros(1, FRAMES, DEPTH))
    found = lilliput.quantize(
        model, train[:200], test=rows(digits.x_test), labels=digits.y_test
    ).outcome
    assert not found.floats
    seen = found.evaluated
    assert seen is not None
    assert seen.float_accuracy is not None
    assert seen.integer_accuracy is not None
    assert seen.float_accuracy > 0.9
    assert seen.integer_accuracy > seen.float_accuracy - 0.01
    assert seen.flips <= 0.03 * seen.samples
