"""Programs as torchao's PT2E really makes them: prepare, calibrate or train, convert, import.

Skipped where torchao is not installed: it is no dependency, `tests/pt2e.py` stands in for it.
"""

# torch comes as `Any`, for it is not installed everywhere.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from tests.pt2e import NETWORKS, as_integers, drawn, ends_of, torch

from lilliput.compiler import Model, from_torch
from lilliput.ir.islands import float_islands

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pt2e: Any = pytest.importorskip(
        "torchao.quantization.pt2e.quantize_pt2e", reason="torchao is not installed"
    )
    own: Any = pytest.importorskip("torchao.testing.pt2e._xnnpack_quantizer")
    modes: Any = pytest.importorskip("torchao.quantization.pt2e")

pytestmark = pytest.mark.filterwarnings("ignore")
ISLANDS = {"perceptron": 0, "block": 0, "residual": 0, "separable": 1, "gated": 3, "branches": 1}
"""Network -> operators that torchao's quantiser leaves in floats, at most (it quantises neither
softmax, nor hard-swish, nor the logistic function)."""


def quantised(name: str, *, per_channel: bool, training: bool) -> Any:
    """The converted program of a network, calibrated on six samples."""
    torch.manual_seed(7)
    make, shape = NETWORKS[name]
    module, example = make(), (drawn(shape),)
    graph = torch.export.export(module.train() if training else module.eval(), example).module()
    config = own.get_symmetric_quantization_config(is_per_channel=per_channel, is_qat=training)
    quantizer = own.XNNPACKQuantizer().set_global(config)
    prepared = (pt2e.prepare_qat_pt2e if training else pt2e.prepare_pt2e)(graph, quantizer)
    for seed in range(10, 16):
        prepared(drawn(shape, seed))
    if training:
        modes.move_exported_model_to_eval(prepared)
    return torch.export.export(pt2e.convert_pt2e(prepared), example)


@pytest.mark.parametrize(
    ("per_channel", "training"),
    [(False, False), (True, False), (True, True)],
    ids=["tensor", "channel", "training"],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_torchao_converts_is_read_as_integers(
    name: str, per_channel: bool, training: bool
) -> None:
    """Within a step at the end of a chain; two behind a sum of results of other scales."""
    program = quantised(name, per_channel=per_channel, training=training)
    model = from_torch(program)
    assert len(float_islands(model.module)) <= ISLANDS[name]
    off = np.concatenate([_apart(program, model, drawn(NETWORKS[name][1], k)) for k in range(4)])
    assert off.max() <= 2
    assert np.mean(off > 1) <= 0.02


def _apart(program: Any, model: Model, sample: Any) -> Any:
    """Steps between our integers and PyTorch's; of floats in steps of a hundredth."""
    with torch.no_grad():
        want = program.module()(sample).numpy()
    first, last = ends_of(program)
    (x,) = model.module.inputs("infer")
    (found,) = model.run({x.name: as_integers(sample.numpy(), first)}).outputs.values()
    if found.dtype == np.float32:
        return np.abs(found - want).reshape(-1) * 100
    return np.abs(found.astype(int) - as_integers(want, last).astype(int)).reshape(-1)
