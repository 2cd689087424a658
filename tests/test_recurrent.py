"""Layers with a state against TFLite Micro over several calls: SVDF and LSTM of every type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pytest
from tests.samples import random_array
from tests.tflite_files import File, Graph
from tests.tflm import Tflm
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput import devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import UnsupportedError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.options import SVDFOptions, UnidirectionalSequenceLSTMOptions
from lilliput.frontends.tflite.schema import Activation
from lilliput.ir import Module, Session
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan

CALLS = 6


@dataclass(frozen=True)
class Svdf:
    """state: type of the window, FLOAT32 for floats."""

    batch: int
    features: int
    filters: int
    frames: int
    rank: int
    state: str

    def write(self) -> bytes:
        rng = np.random.default_rng(self.filters)
        graph = Graph(file := File(), "main")
        units, real = self.filters // self.rank, self.state == "FLOAT32"
        x_kind = "FLOAT32" if real else "INT8"
        shapes = ((self.filters, self.features), (self.filters, self.frames))
        scale, fine = (0.005, 0.00004) if self.state == "INT16" else (0.2, 0.02)

        def weights(shape: tuple[int, int], kind: str) -> np.ndarray:
            if real:
                return rng.uniform(-1, 1, shape).astype(np.float32)
            most = 127 if kind == "INT8" else 32767
            return rng.integers(-most, most, shape).astype(kind.lower())

        x = graph.tensor((self.batch, self.features), x_kind, **_q(real, 0.05, -7))
        w = graph.tensor(shapes[0], x_kind, weights(shapes[0], x_kind), **_q(real, 0.01))
        taps = graph.tensor(shapes[1], self.state, weights(shapes[1], self.state), **_q(real, fine))
        bias = rng.uniform(-1, 1, units) if real else rng.integers(-5000, 5000, units)
        b = graph.tensor(
            (units,),
            "FLOAT32" if real else "INT32",
            bias.astype("f4" if real else "i4"),
            **_q(real, scale * fine),
        )
        size = (self.batch, self.filters * self.frames)
        window = graph.tensor(size, self.state, variable=True, **_q(real, scale))
        y = graph.tensor((self.batch, units), x_kind, **_q(real, 0.06, -128))
        graph.inputs = (x,)
        graph.add("SVDF", (x, w, taps, b, window), (y,), SVDFOptions(self.rank, Activation.RELU))
        return file.write(graph.done(y))


class Scaled(TypedDict, total=False):
    """Arguments of `Graph.tensor` that make it a quantised tensor."""

    scale: float
    zero_point: int


def _q(real: bool, scale: float, zero_point: int = 0) -> Scaled:
    return {} if real else {"scale": scale, "zero_point": zero_point}


@dataclass(frozen=True)
class Lstm:
    """kind: type of the activations."""

    batch: int
    frames: int
    features: int
    units: int
    kind: str
    clip: float = 0.0
    time_major: bool = False

    def write(self, peephole: bool = False) -> bytes:
        rng = np.random.default_rng(self.units)
        graph = Graph(file := File(), "main")
        real, kind = self.kind == "FLOAT32", self.kind
        w_kind = "FLOAT32" if real else "INT8"
        b_kind = {"FLOAT32": "FLOAT32", "INT8": "INT32", "INT16": "INT64"}[kind]
        fine = kind == "INT16"
        order = (self.frames, self.batch) if self.time_major else (self.batch, self.frames)
        x = graph.tensor((*order, self.features), kind, **_q(real, 0.0001 if fine else 0.02, 0))

        def weights(shape: tuple[int, int], scale: float) -> int:
            data = (
                rng.uniform(-1, 1, shape).astype(np.float32)
                if real
                else rng.integers(-127, 127, shape).astype(np.int8)
            )
            return graph.tensor(shape, w_kind, data, **_q(real, scale))

        w = [weights((self.units, self.features), 0.01 * k) for k in (1.0, 0.7, 1.3, 0.9)]
        r = [weights((self.units, self.units), 0.02 * k) for k in (1.0, 0.8, 1.1, 1.2)]
        bias = [
            graph.tensor(
                (self.units,),
                b_kind,
                rng.uniform(-1, 1, self.units).astype(np.float32)
                if real
                else rng.integers(-900, 900, self.units).astype(b_kind.lower()),
            )
            for _ in range(4)
        ]
        h_scale = 2.0**-15 if fine else 0.008
        size = (self.batch, self.units)
        h = graph.tensor(size, kind, variable=True, **_q(real, h_scale, 0 if fine else -5))
        cell_kind = "FLOAT32" if real else "INT16"
        c = graph.tensor(size, cell_kind, variable=True, **_q(real, 2.0**-11))
        y = graph.tensor((*order, self.units), kind, **_q(real, h_scale, 0 if fine else -5))
        extra = bias[0] if peephole else -1
        graph.inputs = (x,)
        graph.add(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            (x, *w, *r, extra, -1, -1, *bias, -1, -1, h, c, -1, -1, -1, -1),
            (y,),
            UnidirectionalSequenceLSTMOptions(
                Activation.TANH, self.clip, 0.0, self.time_major, False, False
            ),
        )
        return file.write(graph.done(y))


LAYERS = (
    Svdf(1, 10, 8, 5, 1, "INT16"),
    Svdf(2, 7, 12, 3, 3, "INT16"),
    Svdf(1, 9, 6, 4, 2, "INT8"),
    Svdf(1, 10, 8, 5, 2, "FLOAT32"),
    Svdf(2, 5, 3, 1, 1, "INT16"),
    Lstm(1, 4, 6, 5, "INT8"),
    Lstm(2, 3, 5, 4, "INT8", clip=2.0),
    Lstm(1, 5, 4, 7, "INT16", clip=3.0),
    Lstm(2, 3, 4, 5, "FLOAT32", clip=1.5),
    Lstm(1, 3, 4, 6, "INT8", time_major=True),
    Lstm(2, 3, 4, 3, "FLOAT32", time_major=True),
)


def calls(module: Module) -> list[Call]:
    rng = np.random.default_rng(4)
    (x,) = module.inputs("infer")
    return [Call("infer", {x.name: random_array(rng, x.type, -1, 1)}) for _ in range(CALLS)]


@pytest.mark.oracle
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_with_a_state_equals_tflite_micro_call_after_call(layer: Svdf | Lstm) -> None:
    data = layer.write()
    module = read(data)
    ours, theirs = Session(module), Tflm(data)
    shown: list[bytes] = []
    for call in calls(module):
        (mine,) = ours.run(call.inputs).outputs.values()
        (other,) = theirs.run(list(call.inputs.values())).outputs
        check_near(mine, other, ONE_OPERATOR, str(layer))
        shown.append(mine.tobytes())
    assert len(set(shown)) > 1


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_with_a_state_is_exact_in_c(layer: Svdf | Lstm, host_compiler: Toolchain) -> None:
    module = Canonicalize()(read(layer.write()))
    program = plan(module, devices.load("cortex-m4"))
    proof = prove(module, program, calls(module), hosts=[host_compiler])
    assert proof.exact, proof.difference


def test_the_window_of_an_svdf_turns_and_nothing_is_moved() -> None:
    module = Canonicalize()(read(Svdf(1, 10, 8, 5, 1, "INT16").write()))
    (entry,) = plan(module, devices.load("cortex-m4")).entries
    moved = [c for c in entry.calls() if c.node.op.name == "copy"]
    assert [c.value.type.shape for c in moved] in ([], [(5, 1, 8)])
    assert all(c.region.y.extent == 1 for c in moved)


def test_forms_of_lstm_that_nobody_runs_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="peephole"):
        read(Lstm(1, 2, 3, 4, "INT8").write(peephole=True))
