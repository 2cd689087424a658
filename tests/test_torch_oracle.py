"""PyTorch as a way of `check`: the program of a .pt2 file, run as it is."""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pt2e import RECIPES, nn, program_of, torch

from lilliput import devices
from lilliput.compiler import Check, Model, check, load
from lilliput.compiler.proof import random_calls
from lilliput.emu import torch_oracle
from lilliput.emu.near import Shown, compare
from lilliput.emu.prove import WayResult, reference

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def saved(program: Any, folder: Path) -> Path:
    path = folder / "net.pt2"
    torch.export.save(program, path)
    return path


def exported(module: Any, *example: Any, **named: Any) -> Any:
    return torch.export.export(module.eval(), example, named or None)


def way(model: Model, path: Path, calls: int = 4) -> WayResult:
    """PyTorch's of `path` beside NumPy's of `model`."""
    given = random_calls(model, calls, 0)
    inputs, outputs = model.module.inputs("infer"), model.module.outputs("infer")
    arrays = [tuple(c.inputs[v.name] for v in inputs) for c in given]
    found = torch_oracle.run(path, inputs, arrays, model.rows)
    shown = [Shown(v.name, v) for v in outputs]
    return compare(shown, found, reference(model.module, given), model.rows, torch_oracle.NEAR)


class Mean(nn.Module):
    """Keeps a running mean of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(1, 4))

    def forward(self, x: Any) -> Any:
        self.kept.mul_(0.5).add_(0.5 * x)
        return self.kept * 1.0


class Several(nn.Module):
    """Arguments by place and by name, a number among them; a dict of results."""

    def forward(self, x: Any, factor: float, bias: Any = None, *, at: Any) -> Any:
        y = x * factor if bias is None else x + bias
        return {"sum": y + at, "last": y[..., -1:]}


def test_check_runs_the_program_of_a_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    model = load(saved(exported(net, torch.randn(1, 3, 4, 4)), tmp_path))
    assert model.pt2 == tmp_path / "net.pt2"
    found = check(model, devices.load("cortex-m4"), samples=4)
    assert found.ok
    assert found.within_bound
    assert found.ways[-1].name == torch_oracle.NAME
    assert found.ways[-1].tensors == 4


@pytest.mark.parametrize(
    ("name", "channels_last"),
    [("separable", True), pytest.param("branches", False, marks=pytest.mark.slow)],
)
def test_integers_are_within_steps_of_the_program(
    name: str, channels_last: bool, tmp_path: Path
) -> None:
    path = saved(program_of(name, RECIPES["per channel"]), tmp_path)
    found = way(load(path, channels_last=channels_last), path)
    assert found.difference is None
    assert found.tensors == 4


def test_states_go_on_from_call_to_call(tmp_path: Path) -> None:
    path = saved(exported(Mean(), torch.zeros(1, 4)), tmp_path)
    model = load(path)
    assert model.module.states
    assert way(model, path, 6).difference is None


def test_arguments_by_name_and_numbers(tmp_path: Path) -> None:
    x = torch.randn(1, 5)
    path = saved(exported(Several(), x, 2.0, at=torch.randn(1, 5)), tmp_path)
    found = way(load(path), path)
    assert found.difference is None
    assert found.tensors == 8


def test_another_program_is_found_out(tmp_path: Path) -> None:
    model = load(saved(exported(nn.Linear(4, 2), torch.zeros(1, 4)), tmp_path))
    (tmp_path / "other").mkdir()
    other = saved(exported(nn.Linear(4, 2), torch.zeros(1, 4)), tmp_path / "other")
    difference = way(model, other).difference
    assert difference is not None
    assert str(difference).startswith("PyTorch, call 0: output")


def _checked(model: Model) -> Check:
    return check(model, devices.load("cortex-m4"), samples=2)


def test_what_cannot_be_compared_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(program_of("perceptron", RECIPES["per tensor"]), tmp_path)
    found = _checked(load(path, io="float"))
    assert found.within_bound is None
    assert "no bound" in found.not_installed[torch_oracle.NAME]
    monkeypatch.setattr(torch_oracle.util, "find_spec", lambda name: None)
    found = _checked(load(path))
    assert found.ok
    assert "not installed" in found.not_installed[torch_oracle.NAME]


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    path = saved(exported(nn.Linear(4, 2), torch.zeros(1, 4)), tmp_path)
    model = replace(load(path), pt2=tmp_path / "gone.pt2")
    found = _checked(model)
    assert "does not run the file" in found.not_installed[torch_oracle.NAME]
