"""Float operators inside a network of integers are told of, everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lilliput
from lilliput import Quantization, devices, report
from lilliput.compiler import Options, compile, from_module, inspect, inspection_text
from lilliput.demo_data import digits_model
from lilliput.errors import UnsupportedError
from lilliput.ir import Builder, Module
from lilliput.ir.islands import float_islands, told
from lilliput.ir.types import f32
from lilliput.ops.conv import conv2d
from lilliput.ops.unary import UNARY
from lilliput.quant.unroll import MOST_FRAMES


def _floats() -> Module:
    """An operator that is not quantised, between two products."""
    rng = np.random.default_rng(4)
    b = Builder()
    x = b.input("x", f32(1, 4, 4, 4))
    first = b.param("w", rng.normal(0, 0.5, (8, 1, 1, 4)).astype(np.float32))
    y = b.add(UNARY["erf"], (b.add(conv2d, (x, first)),), name="bent", origin="layer 3")
    last = b.param("v", rng.normal(0, 0.5, (3, 1, 1, 8)).astype(np.float32))
    return b.module((b.add(conv2d, (y, last)),))


def test_every_account_names_the_island() -> None:
    data = np.random.default_rng(0).normal(size=(40, 4, 4, 4))
    made = lilliput.quantize(_floats(), data, Quantization(allow_float=True))
    assert told(float_islands(made.model.module)) == ('erf "layer 3"',)
    assert [text.split(":")[0] for text in made.outcome.floats] == ['erf "layer 3"']
    assert 'STAYS FLOAT     erf "layer 3"' in report.quantized_text(made.outcome)
    found = compile(made.model, devices.load("cortex-m4"), Options(compiler="none")).summary
    assert found.islands == ('erf "layer 3"',)
    assert 'STAYS FLOAT     erf "layer 3"' in report.text(found)
    assert "What stays float" in report.page(found)
    assert report.from_json(found.to_json()).islands == found.islands
    assert "STAYS FLOAT" in inspection_text(inspect(made.model))


def test_all_integers_and_all_floats_have_none() -> None:
    whole = lilliput.load(digits_model())
    assert not float_islands(whole.module)
    assert not float_islands(from_module(_floats()).module)


FRAMES = MOST_FRAMES + 1


def test_a_recurrent_layer_stays_a_float_and_is_told() -> None:
    """A GRU of more frames than are written out has no integers."""
    torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")

    class Spotter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()  # pyright: ignore[reportUnknownMemberType]  # its base is Any
            self.cells = torch.nn.GRU(4, 6, batch_first=True)
            self.head = torch.nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.cells(x)[0][:, -1])

    torch.manual_seed(0)
    model = lilliput.from_torch(Spotter().eval(), torch.zeros(1, FRAMES, 4))
    data = np.random.default_rng(0).normal(size=(40, FRAMES, 4))
    with pytest.raises(UnsupportedError, match="no integer form"):
        lilliput.quantize(model, data)
    made = lilliput.quantize(model, data, Quantization(allow_float=True))
    assert [n.op.name for n in float_islands(made.model.module)].count("gru") == 1
    assert any(text.startswith("gru") for text in made.outcome.floats)
    assert made.model.module.outputs("infer")[0].type.dtype.value == "s8"
