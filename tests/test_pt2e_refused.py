"""Programs of PyTorch that are told of or refused: islands of floats, forms, files."""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import io
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli_case import Run, runner
from tests.pt2e import (
    OPS,
    Recipe,
    as_integers,
    drawn,
    ends_of,
    nn,
    program_of,
    quantised,
    torch,
)

from lilliput.compiler import from_torch, load
from lilliput.errors import FormatError, LilliputError, UnsupportedError, UsageError


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_what_stays_in_floats_is_told(run: Run, tmp_path: Path) -> None:
    """A function without integer form, and a layer whose result nobody quantises."""

    class Island(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return self.second(torch.exp(self.first(x)))

    torch.manual_seed(1)
    program = quantised(Island(), drawn((1, 5)), Recipe(skip=("linear",)))
    torch.export.save(program, tmp_path / "net.pt2")
    model = load(tmp_path / "net.pt2")
    found = Counter(n.op.name for n in model.module.graphs["infer"].nodes)
    assert (found["linear"], found["exp"], found["dequantize"]) == (2, 1, 2)
    shown = run("inspect", tmp_path / "net.pt2")
    assert "STAYS FLOAT" in shown.out
    for layer in ('linear "first (test_pt2e_refused.py:', 'exp "exp (test_pt2e_refused.py:'):
        assert layer in shown.out
    x = drawn((1, 5), 9)
    first = ends_of(program)[0]
    (ours,) = model.run({"x": as_integers(x.numpy(), first)}).outputs.values()
    np.testing.assert_allclose(ours, program.module()(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def refused(module: Any, given: Any, *words: str) -> LilliputError:
    with pytest.raises(LilliputError) as caught:
        from_torch(torch.export.export(module, (given,)))
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return caught.value


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Any], Any]):
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def test_unsupported_operators_are_listed_at_once_with_their_lines() -> None:
    def forward(x: Any) -> Any:
        x = OPS.quantize_per_tensor.default(x, 0.1, 0, -128, 127, torch.int8)
        x = OPS.dequantize_per_tensor.default(x, 0.1, 0, -128, 127, torch.int8)
        return torch.sort(torch.fft.rfft(x).real)[0]

    error = refused(Calls(forward), drawn((1, 8)), "sort", "_fft_r2c", "test_pt2e_refused.py:")
    assert isinstance(error, UnsupportedError)
    assert len(error.problems) >= 2


def test_forms_of_quantisation_that_are_refused() -> None:
    ops, ends = OPS, (-128, 127, torch.int8)

    def measured(x: Any) -> Any:
        scale, zero = ops.choose_qparams.tensor(x, -128, 127, 1e-5, torch.int8)
        return ops.quantize_per_tensor.tensor(x, scale, zero, *ends)

    def channels(x: Any) -> Any:
        steps = torch.tensor([0.1, 0.2]), torch.tensor([0, 0])
        whole = ops.quantize_per_channel.default(x, *steps, 1, *ends)
        return ops.dequantize_per_channel.default(whole, *steps, 1, *ends)

    def arithmetic(x: Any) -> Any:
        whole = ops.quantize_per_tensor.default(x, 0.1, 0, *ends)
        return whole.to(torch.int32) * 3

    def nothing(x: Any) -> Any:
        whole = ops.quantize_per_tensor.default(x, 0.0, 0, *ends)
        return ops.dequantize_per_tensor.default(whole, 0.0, 0, *ends)

    def places(x: Any) -> Any:
        return nn.functional.max_pool2d(x, 2, return_indices=True)[1]

    x = drawn((1, 2, 3))
    refused(Calls(places), drawn((1, 2, 4, 4)), "result 1 of the operator is not supported")
    refused(Calls(measured), x, "measured at run time (quantized_decomposed.choose_qparams", "stat")
    refused(Calls(channels), x, "activations quantised per channel", "expected: one scale")
    refused(Calls(arithmetic), x, "arithmetic on quantised integers", "convert_pt2e without")
    refused(Calls(nothing), x, "scale and zero point", "finite, > 0")


def test_programs_that_are_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    given = (drawn((1, 4), count=2),)
    open = torch.export.Dim("batch", min=2, max=9)
    program = torch.export.export(module.eval(), given, dynamic_shapes=({0: open},))
    with pytest.raises(UnsupportedError, match="inputs of a dynamic shape"):
        from_torch(program)
    learns = torch.export.export(module.train(), given)
    with pytest.raises(UnsupportedError, match="training mode"):
        from_torch(learns, batch=2)
    with pytest.raises(UsageError, match="has its shapes already"):
        from_torch(program, given)
    with pytest.raises(UsageError, match="unknown form of inputs"):
        from_torch(program, io="int4")


@pytest.fixture(scope="module")
def saved() -> bytes:
    file = io.BytesIO()
    torch.export.save(program_of("perceptron", Recipe()), file)
    return file.getvalue()


def test_damaged_files(run: Run, saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    at = saved.index(b'"graph_module"')
    flipped = saved[:at] + b"\xff" + saved[at + 1 :]
    for data in (saved[: len(saved) // 2], saved[:600], flipped):
        path.write_bytes(data)
        with pytest.raises(FormatError, match="the file is damaged"):
            load(path)
    result = run("inspect", path)
    assert result.code != 0


def rewritten(saved: bytes, change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    """The archive with some of what it holds exchanged, and more."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        for name in names:
            new.writestr(name, change(name, old.read(name)))
        for name, data in more.items():
            new.writestr(f"{names[0].partition('/')[0]}/{name}", data)
    return out.getvalue()


def test_files_that_would_run_something_are_refused(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"

    def same(name: str, data: bytes) -> bytes:
        return data

    def as_pickles(name: str, data: bytes) -> bytes:
        wanted = name.endswith("weights_config.json")
        return data.replace(b'"use_pickle": false', b'"use_pickle": true') if wanted else data

    library = {"data/aotinductor/model/net.so": b"\x7fELF"}
    pickled = {"data/constants/custom_obj_0": b"\x80\x02cos\nsystem\n."}
    for data, found in (
        (rewritten(saved, same, **library), "net.so"),
        (rewritten(saved, same, **pickled), "custom_obj_0"),
        (rewritten(saved, as_pickles), "weights_config.json"),
    ):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=found):
            load(path)


def test_a_file_of_something_else(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(rewritten(saved, lambda name, d: b"{}" if name.endswith("l.json") else d))
    with pytest.raises(FormatError, match="cannot load the program"):
        load(path)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert "torch.export" not in str(caught.value), "weights alone are no program"


def test_torch_that_is_missing(
    run: Run, saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(saved)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run("inspect", path)
    assert result.code != 0
    assert "torch is not installed, which PyTorch programs (.pt2) need" in result.err
