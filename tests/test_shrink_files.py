"""Smaller files and smaller firmware: the command, the pipeline, and other implementations.

One idea: a file that was written smaller is run by TFLite Micro and LiteRT's reference kernels
beside the original.  Whether leaving out is sound is tested in `test_shrink`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.cli_case import Run, runner
from tests.starved import at_the_ends, starved
from tests.strategies import modules
from tests.test_oracle import HEAVY, HYBRID, shared_models
from tests.tflite_tables import N, T, file
from tests.tflm import Tflm, isolated, run_litert

from lilliput import compiler, devices
from lilliput.compiler import Model, Options
from lilliput.demo_data import digits_model
from lilliput.errors import UnsupportedError
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.options import FullyConnectedOptions
from lilliput.ir import Array, Builder, Module, Quant, verify
from lilliput.ir.text import save
from lilliput.ir.types import f32, s8
from lilliput.ops.conv import Linear, linear
from lilliput.ops.quantize import To, dequantize, quantize
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.shrink import Shrunk, shrink
from lilliput.report import Shrinking, from_json, page, report, shrinking, work

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
CORE = "cortex-m4"
DIGITS = digits_model()
STATES = ("keyword_scrambled", "trained_lstm_int8")
"""With states, which the format cannot hold."""
TINY = ("ad01_int8", "ic_resnet8_int8", "kws_ref_model_int8")
"""Of MLPerf Tiny those that need every channel."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def thin(columns: tuple[int, ...] = (1,)) -> Module:
    """Two products; channels in `columns` of the first are read by no weight of the second."""
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input("x", s8(1, 6, scale=0.1))
    w = b.param("w", rng.integers(-90, 91, (4, 6)).astype(np.int8), Quant.per_tensor(0.01))
    h = b.add(linear, (x, w), Linear(), type=s8(1, 4, scale=0.1), name="h", origin="first")
    v = rng.integers(1, 90, (3, 4)).astype(np.int8)
    v[:, list(columns)] = 0
    second = b.param("v", v, Quant.per_tensor(0.01))
    return b.module(
        (b.add(linear, (h, second), Linear(), type=s8(1, 3, scale=0.1), name="y"),), name="thin"
    )


@pytest.fixture
def thin_file(tmp_path: Path) -> Path:
    path = tmp_path / "thin.tflite"
    path.write_bytes(write(thin()))
    return path


# The command ------------------------------------------------------------------------------


def test_the_smaller_file_gives_the_same(run: Run, thin_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "smaller.tflite"
    result = run("shrink", thin_file, "-o", out)
    assert result.code == 0, result.text
    assert "36 MACs became 27" in result.out
    assert "3 of 4" in result.out
    assert out.stat().st_size < thin_file.stat().st_size
    whole, less = compiler.load(thin_file), compiler.load(out)
    assert list(out.parent.iterdir()) == [out]
    for data in at_the_ends(whole.module, "infer", 0):
        assert less.run(data).outputs["y"].tobytes() == whole.run(data).outputs["y"].tobytes()
    assert not less.shrunk.changed


def test_json_has_every_proof(run: Run, thin_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller.tflite"
    value = run("shrink", thin_file, "-o", out, "--json").json
    assert value["file_bytes"] == {
        "before": thin_file.stat().st_size,
        "after": out.stat().st_size,
    }
    (layer,) = value["shrinking"]["layers"]
    assert (layer["layer"], layer["operator"], layer["kept"]) == ("h", "linear", 3)
    (proof,) = layer["proofs"]
    assert (proof["channel"], proof["why"]) == (1, "unread")
    assert proof["low"] < proof["high"]
    assert proof["sum_low"] < proof["sum_high"]


def test_nothing_to_leave_out_leaves_the_bytes(run: Run, tmp_path: Path) -> None:
    source, out = tmp_path / "whole.tflite", tmp_path / "same.tflite"
    source.write_bytes(write(thin(())))
    result = run("shrink", source, "-o", out)
    assert result.code == 0
    assert "nothing to leave out: every channel can vary" in result.out
    assert out.read_bytes() == source.read_bytes()
    assert run("shrink", source, "-o", tmp_path / "j", "--json").json["shrinking"] is None


def test_of_floats_nothing_is_known(run: Run, tmp_path: Path) -> None:
    b = Builder()
    w = b.param("w", np.zeros((3, 4), np.float32))
    y = b.add(linear, (b.input("x", f32(1, 4)), w), Linear(), name="y")
    source, out = tmp_path / "float.tflite", tmp_path / "same.tflite"
    source.write_bytes(write(b.module((y,))))
    result = run("shrink", source, "-o", out)
    assert result.code == 0
    assert "computes with floats" in result.out
    assert out.read_bytes() == source.read_bytes()


def test_float_ends_of_a_quantised_network_stay(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.add(quantize, (b.input("x", f32(1, 5)),), To(), type=s8(1, 5, scale=0.1), name="q")
    w = rng.integers(-90, 91, (4, 5)).astype(np.int8)
    w[2] = 0
    weights = b.param("w", w, Quant.per_tensor(0.01))
    h = b.add(linear, (x, weights), Linear(), type=s8(1, 4, scale=0.1), name="h")
    v = b.param("v", rng.integers(1, 90, (3, 4)).astype(np.int8), Quant.per_tensor(0.01))
    y = b.add(linear, (h, v), Linear(), type=s8(1, 3, scale=0.1), name="y")
    source, out = tmp_path / "ends.tflite", tmp_path / "smaller.tflite"
    source.write_bytes(write(b.module((b.add(dequantize, (y,), name="real"),))))
    assert run("shrink", source, "-o", out).code == 0
    module = read(out.read_bytes(), io="float")
    assert [v.type for v in (*module.inputs("infer"), *module.outputs("infer"))] == [
        f32(1, 5),
        f32(1, 3),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a model that can be read"),
        (b"\0\0\0\0TFL3 and no more", ""),
        (None, "cannot read the model"),
        (save(thin()), "only .tflite files are written smaller"),
    ],
    ids=["empty", "cut", "missing", "another format"],
)
def test_what_is_no_such_file_is_refused(
    run: Run, tmp_path: Path, data: bytes | None, words: str
) -> None:
    source, out = tmp_path / "bad.tflite", tmp_path / "out.tflite"
    if data is not None:
        source.write_bytes(data)
    result = run("shrink", source, "-o", out)
    assert result.code == 1
    assert words in result.err
    assert result.err.startswith("  ") or result.err.startswith("lilliput: ")
    assert not out.exists()


@pytest.mark.shared
def test_a_network_with_states_is_refused(run: Run, shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    result = run("shrink", shared / "models/tflm/keyword_scrambled.tflite", "-o", out)
    assert result.code == 1
    assert "the format cannot hold a state" in result.err
    assert not out.exists()


def test_uint8_ends_would_become_int8_and_are_refused(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(1, 256, shape).astype(np.uint8) for shape in ((4, 6), (3, 4)))
    second[:, 1] = 128
    tensors = [
        T((1, 6), "UINT8", (0.1, 120)),
        T((4, 6), "UINT8", (0.01, 128), first),
        T((1, 4), "UINT8", (0.1, 120)),
        T((3, 4), "UINT8", (0.01, 128), second),
        T((1, 3), "UINT8", (0.1, 120)),
    ]
    nodes = [
        N("FULLY_CONNECTED", (0, 1), 2, FullyConnectedOptions()),
        N("FULLY_CONNECTED", (2, 3), 4, FullyConnectedOptions()),
    ]
    source, out = tmp_path / "legacy.tflite", tmp_path / "out.tflite"
    source.write_bytes(file(tensors, nodes))
    assert compiler.load(source).shrunk.changed
    result = run("shrink", source, "-o", out)
    assert result.code == 1
    assert "would have other types" in result.err
    assert not out.exists()


def test_what_is_there_is_replaced_only_by_force(run: Run, thin_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "there.tflite"
    out.write_text("mine")
    refused = run("shrink", thin_file, "-o", out)
    assert refused.code == 1
    assert "is there already" in refused.err
    assert "--force" in refused.err
    assert out.read_text() == "mine"
    assert run("shrink", thin_file, "-o", out, "--force").code == 0
    assert out.read_bytes()[4:8] == b"TFL3"
    folder = tmp_path / "folder"
    folder.mkdir()
    assert (
        "will not replace what is not a file"
        in run("shrink", thin_file, "-o", folder, "--force").err
    )
    link = tmp_path / "link"
    link.symlink_to(out)
    assert "found: a link" in run("shrink", thin_file, "-o", link, "--force").err


def test_a_path_that_cannot_be_written(run: Run, thin_file: Path, tmp_path: Path) -> None:
    result = run("shrink", thin_file, "-o", thin_file / "below.tflite")
    assert result.code == 1
    assert result.err
    assert run("shrink", thin_file).code == 2


# The pipeline -----------------------------------------------------------------------------


def test_what_is_left_is_compiled_and_held_against_all_of_it() -> None:
    model = compiler.from_module(thin())
    device = devices.load(CORE)
    result = compiler.check(model, device, samples=4)
    assert result.exact
    assert result.ok
    assert result.ways[0].name == "NumPy, nothing left out"
    assert result.ways[0].tensors == 4 * 2
    whole = compiler.check(model, device, samples=1, options=Options(shrink=False))
    assert whole.ok
    assert "NumPy, nothing left out" not in [w.name for w in whole.ways]


def test_a_channel_too_many_left_out_is_found() -> None:
    """The proof does not trust shrinking: a smaller network that means something else is seen."""
    model = compiler.from_module(thin())
    model.__dict__["shrunk"] = shrink(thin((1, 2)))
    result = compiler.check(model, devices.load(CORE), samples=2)
    assert not result.ok
    assert result.exact is False
    assert result.difference is not None
    assert result.difference.way == "NumPy, nothing left out"
    assert result.difference.tensor == "y"


def test_options_compile_all_of_it() -> None:
    model, device = compiler.from_module(thin()), devices.load(CORE)
    sizes = [
        compiler.compile(model, device, Options("none", shrink=shrinks)).summary
        for shrinks in (True, False)
    ]
    assert [s.macs for s in sizes] == [27, 36]
    assert sizes[0].flash_bytes.constants < sizes[1].flash_bytes.constants
    assert sizes[1].shrinking is None
    assert compiler.profile(model, device).macs == 27
    assert compiler.profile(model, device, options=Options(shrink=False)).macs == 36


def test_no_shrink_on_the_command_line(run: Run, thin_file: Path) -> None:
    given = ("report", thin_file, "-d", CORE, "--compiler", "none", "--json")
    assert run(*given).json["macs"] == 27
    whole = run(*given, "--no-shrink").json
    assert (whole["macs"], whole["shrinking"]) == (36, None)


def test_inspect_shows_what_is_there_and_what_is_compiled() -> None:
    found = compiler.inspect(compiler.from_module(thin()))
    assert (found.macs, found.shrunk_macs) == (36, 27)
    assert found.parameter_bytes > found.shrunk_parameter_bytes
    assert "36, 27 after shrinking" in compiler.inspection_text(found)
    whole = compiler.inspection_text(compiler.inspect(compiler.from_module(thin(()))))
    assert "after shrinking" not in whole


# The report -------------------------------------------------------------------------------


def told() -> tuple[Model, Shrinking]:
    model = compiler.load(DIGITS)
    return model, shrinking(model.module, model.shrunk)


def test_the_report_says_what_was_left_out_and_why() -> None:
    model, found = told()
    compiled = compiler.compile(model, devices.load("stm32f746"), Options("none"))
    summary = compiled.summary
    assert summary.shrinking == found
    assert (found.before.macs, found.after.macs) == (28_928, summary.macs)
    text = report(summary)
    assert "MACs            27,696 left of 28,928" in text
    assert "15 of 16" in text
    html = page(summary)
    assert "channel 1: constant -128, from sums in [-102200, -710]" in html
    assert html.count("<details>") == len(found.layers)
    assert from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_nodes_that_went_are_in_the_report() -> None:
    module = thin((0, 1, 2, 3))
    found = shrinking(module, shrink(module))
    assert [n.operator for n in found.nodes] == ["linear", "linear"]
    assert found.after == work(shrink(module).module)
    assert found.after.macs == 0


# Other implementations --------------------------------------------------------------------


def outputs(data: bytes, calls: Sequence[Sequence[Array]], name: str) -> list[list[bytes]]:
    """What an implementation gives for each call, in a process of its own."""

    def work_() -> list[list[bytes]]:
        if name == "LiteRT":
            return [[a.tobytes() for a in run_litert(data, c, reference=True)] for c in calls]
        tflm = Tflm(data, arena=32 << 20)
        return [[a.tobytes() for a in tflm.run(c).outputs] for c in calls]

    return isolated(work_)


def held(original: bytes, smaller: Shrunk, names: Sequence[str], seed: int = 0) -> None:
    """The written file gives what the original gives, in each implementation that runs it."""
    entry = smaller.module.entry
    data = write(smaller.module, entry)
    verify(read(data, io="float"))
    calls = [list(c.values()) for c in at_the_ends(smaller.module, entry, seed)]
    for name in names:
        try:
            want = outputs(original, calls, name)
        except RuntimeError:
            continue  # refuses the original itself
        assert outputs(data, calls, name) == want, name


MODELS = [
    pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in HEAVY else [])
    for p in shared_models()
    if p.stem not in (*HYBRID, *STATES)
]


@pytest.mark.shared
@pytest.mark.oracle
@pytest.mark.parametrize("path", MODELS)
def test_published_networks_written_smaller(path: Path) -> None:
    original = path.read_bytes()
    found = shrink(Canonicalize()(read(original, io="float")))
    if found.changed:
        held(original, found, ("TFLM", "LiteRT"))
    else:
        assert not found.removed


@pytest.mark.shared
def test_the_person_detector_needs_half_of_itself(shared: Path) -> None:
    model = compiler.load(shared / "models/mlperf_tiny/vww_96_int8.tflite")
    found = model.shrunk
    (graph,) = found.module.graphs.values()
    convolutions = [n for n in graph.nodes if n.op.name == "conv2d"]
    assert work(model.module).macs == 7_489_664
    assert work(found.module).macs == 3_727_313
    assert sum(n.inputs[1].type.nbytes for n in convolutions) == 29_022
    live = [n.output.type.shape[3] for n in convolutions if n.inputs[1].type.shape[1] == 1]
    assert live == [16, 32, 32, 64, 60, 106, 57, 30, 19, 15, 25, 31, 22]
    assert all(r.low is not None and r.low <= (r.high or 0) for r in found.removed)


@pytest.mark.shared
@pytest.mark.parametrize("name", TINY)
def test_networks_that_need_all_of_themselves(shared: Path, name: str) -> None:
    assert not compiler.load(shared / f"models/mlperf_tiny/{name}.tflite").shrunk.changed


@pytest.mark.oracle
@settings(
    max_examples=max(2, settings().max_examples // 2),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[p for p in Phase if p is not Phase.explain],
)
@given(module=modules(graphs=1, rigid=True), seed=st.integers(0, 2**16))
def test_random_networks_written_smaller(module: Module, seed: int) -> None:
    hungry = Canonicalize()(starved(module, seed, 0.5))
    found = shrink(hungry)
    try:
        original = write(hungry, hungry.entry)
        write(found.module, found.module.entry)
    except UnsupportedError:
        return
    if found.changed:
        held(original, found, ("TFLM",), seed)
