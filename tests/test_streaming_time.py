"""Streaming over time: a step on the newest frames gives what the whole window gives.

One idea: a stream is longer than the window, and every step of it is held against the network
of the window, run on the frames that it has seen last.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli_case import Run, runner
from tests.samples import random_array
from tests.test_programs import prove_everywhere, stream_with_memory
from tests.time_networks import Frames, grow, wake_word

from lilliput import compiler
from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import UnsupportedError, UsageError
from lilliput.frontends.tflite.writer import write
from lilliput.ir import Builder, DType, Module, Op, verify
from lilliput.ir.interp import Session
from lilliput.ir.op import NoAttrs, Sample
from lilliput.ir.types import Array, s8
from lilliput.ops.elementwise import add
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.registry import all_ops
from lilliput.passes.canonicalize import Canonicalize
from lilliput.passes.streaming import Stream, Streamed, stream
from lilliput.passes.streaming.result import work
from lilliput.plan.build import plan
from lilliput.plan.program import Advance


def assert_equals_the_window(found: Streamed, frames: list[Array]) -> None:
    verify(found.module)
    session, whole = Session(found.module), Session(found.source)
    (x,), (new,) = found.source.inputs("infer"), found.module.inputs("step")
    for frame, window in zip(frames, found.windows(frames), strict=True):
        got = session.run({new.name: frame}).outputs
        want = found.given(list(whole.run({x.name: window}).outputs.values()))
        for a, b in zip(got.values(), want, strict=True):
            np.testing.assert_array_equal(a, b)


def frames(f: Frames, found: Streamed, more: int = 4) -> list[Array]:
    """A stream that is longer than the window."""
    return f.frames(found.source, found.window // found.hop + more, found.hop)


def random_stream(seed: int) -> tuple[Frames, Streamed | None]:
    """A random network; None where nothing of it can be saved."""
    rng = np.random.default_rng(seed)

    def choose(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    dtype = (DType.S8, DType.S8, DType.S16, DType.F32)[choose(0, 3)]
    f = Frames(rng, dtype, choose(1, 2))
    module = grow(f, choose, choose(1, 5), padding=choose(0, 2) > 0)
    found = streamed(module, f.time)
    if found is not None and 2 * found.hop <= found.window and choose(0, 1):
        found = streamed(module, f.time, 2 * found.hop)
    return f, found


def streamed(module: Module, axis: int, hop: int | None = None) -> Streamed | None:
    try:
        return stream(module, Stream(axis, hop))
    except UnsupportedError:
        return None


@given(st.integers(0, 1 << 32))
def test_any_network_over_time_gives_what_its_window_gives(seed: int) -> None:
    f, found = random_stream(seed)
    if found is not None:
        assert_equals_the_window(found, frames(f, found))


@pytest.mark.parametrize("seed", [6, 12])
def test_the_c_of_steps_gives_the_same(seed: int, host_compiler: Toolchain) -> None:
    f, found = random_stream(seed)
    assert found is not None
    (new,) = found.module.inputs("step")
    calls = [Call("step", {new.name: frame}) for frame in frames(f, found)]
    proof = prove(found.module, plan(found.module, load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def sample_over_time(op: Op, sample: Sample) -> Module:
    """The operator on one input, its other operands constants."""
    rng, b = np.random.default_rng(7), Builder(names=set())
    operands = [
        b.param(f"p{k}", random_array(rng, t, sample.low, sample.high), t.quant, t.dtype)
        if k
        else b.input("x", t)
        for k, t in enumerate(sample.inputs)
    ]
    attrs = op.attrs() if type(sample.attrs) is NoAttrs else sample.attrs
    return Canonicalize()(
        b.module(b.add_multi(op, operands, attrs, types=sample.outputs or None, name="y"))
    )


@pytest.mark.parametrize(
    "op", [op for op in all_ops() if op.scalar is None or op is add], ids=lambda op: op.name
)
def test_every_operator_over_every_axis(op: Op) -> None:
    """Whichever axis is taken for time: refused, or the same for every step."""
    rng = np.random.default_rng(8)
    for sample in op.samples:
        module = sample_over_time(op, sample)
        for axis, extent in enumerate(sample.inputs[0].shape):
            found = streamed(module, axis) if extent > 1 else None
            if found is None:
                continue
            shape = list(sample.inputs[0].shape)
            shape[axis] = found.hop
            type = sample.inputs[0].with_shape(*shape)
            count = extent // found.hop + 3
            new = [random_array(rng, type, sample.low, sample.high) for _ in range(count)]
            with np.errstate(all="ignore"):
                assert_equals_the_window(found, new)


# What it saves ----------------------------------------------------------------------------


def test_the_wake_word_network_takes_46040_macs_and_3960_bytes(host_compiler: Toolchain) -> None:
    module = wake_word()
    found = stream(module)
    assert (found.axis, found.window, found.hop) == (1, 30, 1)
    assert (work(found.module).macs, work(module).macs) == (46_040, 826_368)
    assert [(r.rows, r.nbytes) for r in found.rings] == [
        (3, 3 * 40),
        (5, 5 * 128),
        (10, 10 * 128),
        (15, 15 * 128),
    ]
    assert found.ring_bytes == 3_960
    assert found.repeated == ()
    program = plan(found.module, load("cortex-m4"))
    # rings turn, each with a counter of 4 bytes, and nothing of them is moved
    assert sum(isinstance(s, Advance) for s in program.entries[0].steps) == 4
    assert program.arenas["ram"] < plan(module, load("cortex-m4")).arenas["ram"]
    stream_of = Frames(np.random.default_rng(3)).frames(module, 65, 1)
    assert_equals_the_window(found, stream_of)
    calls = [Call("step", {"features": frame}) for frame in stream_of[:20]]
    prove_everywhere(found.module, program, calls, host_compiler)


def test_one_dimensional_convolutions_keep_rings_that_turn() -> None:
    """Maps (1,1,T,C): the same program, but for the shape of its input."""
    lying, standing = (stream(wake_word(time)) for time in (2, 1))
    assert lying.axis == 2
    assert lying.ring_bytes == standing.ring_bytes
    one, other = (plan(found.module, load("cortex-m4")) for found in (lying, standing))
    assert one.arenas == other.arenas
    steps = [[type(s) for s in p.entries[0].steps] for p in (one, other)]
    assert steps[0] == steps[1]
    f = Frames(np.random.default_rng(2), time=2)
    assert_equals_the_window(lying, frames(f, lying))


def log_energies(path: Path, count: int) -> list[Array]:
    """`count` frames of 40 log band energies of a recording, 32 ms apart, as int8."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
    step, length = 512, 1024
    cut = [sound[k * step : k * step + length] * np.hamming(length) for k in range(count)]
    power: Array = np.abs(np.fft.rfft(cut)[:, :480]) ** 2
    bands: Array = np.log10(power.reshape(count, 40, 12).sum(2) + 1e-9)
    low, high = float(bands.min()), float(bands.max())
    spread: Array = np.round((bands - low) / (high - low) * 255 - 128).astype(np.int8)
    return [spread[k].reshape(1, 1, 1, 40) for k in range(count)]


@pytest.mark.shared
def test_the_wake_word_network_on_a_recording(shared: Path) -> None:
    path = shared / "data" / "mlperf_tiny" / "short_wav_easy10s.wav"
    assert_equals_the_window(stream(wake_word()), log_energies(path, 100))


@pytest.mark.shared
def test_a_network_that_is_padded_in_time_streams_with_its_borders(shared: Path) -> None:
    """The keyword network of MLPerf Tiny: SAME padding, stride 2 in time, a pool over it all."""
    path = shared / "models" / "mlperf_tiny" / "kws_ref_model_int8.tflite"
    model = compiler.over_time(compiler.load(path))
    assert model.stream is not None
    found = model.stream.found
    assert (found.window, found.hop) == (49, 2)
    assert work(found.module).macs < 0.45 * work(found.source).macs
    assert {r.why for r in found.repeated} == {"padding in time"}
    assert_equals_the_window(found, frames(Frames(np.random.default_rng(1)), found))


def two_convolutions(f: Frames, stride: int = 1, pad: int = 0) -> Module:
    x = f.conv(f.input(20, 1, 4), 3, 8, stride=stride, ends=(pad, pad))
    return f.module(f.pooled(f.conv(x, 5, ends=(pad, pad))))


def test_a_pool_over_the_window_keeps_the_rows_that_it_pools() -> None:
    found = stream(two_convolutions(Frames(np.random.default_rng(0))))
    # 3 rows for a window of 3, 5 for one of 5, and the 14 rows that are pooled
    assert [r.rows for r in found.rings] == [3, 5, 14]
    assert work(found.module).macs == 3 * 4 * 8 + 5 * 8 + 3 * 8


def test_a_branch_without_a_window_waits_in_a_ring() -> None:
    """A residual joins a value and what is made of it, 4 frames later."""
    f = Frames(np.random.default_rng(0))
    x = f.conv(f.input(20, 1, 4), 1, 4, name="early")
    y = f.conv(f.conv(x, 3, name="middle"), 3)
    found = stream(f.module(f.sum(f.cropped(x, 0, 16), y)))
    assert [(r.value, r.rows) for r in found.rings] == [("early", 5), ("middle", 3)]
    assert_equals_the_window(found, frames(f, found))


def test_a_stride_takes_as_many_frames_a_step_and_no_fewer() -> None:
    module = two_convolutions(Frames(np.random.default_rng(0)), stride=2)
    assert stream(module).hop == 2
    assert stream(module, Stream(hop=6)).hop == 6
    for hop in (1, 3, 22):
        with pytest.raises(UsageError, match="multiple of 2 up to the window of 20"):
            stream(module, Stream(hop=hop))


def test_rows_near_the_ends_of_a_padded_window_are_computed_again() -> None:
    f = Frames(np.random.default_rng(0))
    found = stream(two_convolutions(f, pad=1))
    told = [(r.rows, r.computed, r.fresh, r.why) for r in found.repeated]
    # padding of 1 spoils a row at each end of 20, and two of the 18 behind the window of 5
    assert told == [(20, 3, 1, "padding in time"), (18, 5, 1, "padding in time")]
    assert_equals_the_window(found, frames(f, found))


def test_frames_before_the_first_are_zero_points() -> None:
    f = Frames(np.random.default_rng(0))
    module = two_convolutions(f)
    found = stream(module)
    x = module.inputs("infer")[0]
    (frame,) = f.frames(module, 1, 1)
    window = np.full(x.type.shape, x.type.zero_point, np.int8)
    window[:, -1:] = frame
    want = Session(module).run({"x": window}).outputs["y"]
    np.testing.assert_array_equal(Session(found.module).run({"x": frame}).outputs["y"], want)


def test_outputs_that_follow_time_are_the_newest_rows() -> None:
    f = Frames(np.random.default_rng(0))
    found = stream(f.module(f.conv(f.input(9, 2, 3), 3, 5)))
    assert found.module.outputs("step")[0].type.shape == (1, 1, 2, 5)
    assert found.newest == ((1, (6, 7)),)


# What is refused --------------------------------------------------------------------------


def recurrent() -> Module:
    return Canonicalize()(stream_with_memory())


def two_inputs() -> Module:
    b = Builder(names=set())
    x, y = b.input("x", s8(1, 6, 1, 2)), b.input("y", s8(1, 6, 1, 2))
    return Canonicalize()(b.module([b.add(add, (x, y), type=s8(1, 6, 1, 2), name="sum")]))


def product_of_the_window() -> Module:
    f = Frames(np.random.default_rng(0))
    return f.module(f.flat(f.input(6, 1, 2)))


def mean_of_the_window() -> Module:
    b = Builder(names=set())
    x = b.input("x", s8(1, 6, 1, 2))
    return b.module([b.add(mean, (x,), Reduction((1, 2)), name="y")])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (recurrent, "states or several entries is not a function of a window"),
        (two_inputs, "needs one input"),
        (product_of_the_window, "saves nothing.*the first layer reads all frames"),
        (mean_of_the_window, "saves nothing"),
    ],
)
def test_networks_that_do_not_stream_are_refused(build: Callable[[], Module], words: str) -> None:
    with pytest.raises(UnsupportedError, match=f"(?s){words}"):
        stream(build())


@pytest.mark.parametrize("axis", [2, 4, 9])
def test_an_axis_without_frames_is_refused(axis: int) -> None:
    with pytest.raises(UsageError, match=r"no axis of time(.|\n)*several frames: 1, 3"):
        stream(two_convolutions(Frames(np.random.default_rng(0))), Stream(axis))


# Commands ---------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "wake.tflite"
    path.write_bytes(write(wake_word()))
    return str(path)


def test_compile_writes_a_step(run: Run, file: str, tmp_path: Path) -> None:
    out = str(tmp_path / "wake")
    command = ["compile", file, "-d", "cortex-m4", "-o", out, "--compiler", "none"]
    told = run(*command, "--stream-axis", "time", "--json").json
    found = told["streaming"]
    assert (found["window"], found["hop"], found["axis"]) == (30, 1, 1)
    assert (found["macs"], found["window_macs"]) == (told["macs"], 826_368)
    assert (found["ring_bytes"], told["ram_bytes"]["states"]) == (3_960, 3_960 + 4 * 4)
    header = Path(out, "wake.h").read_text(encoding="utf-8")
    assert "each call takes 1 new frame" in header
    assert "whole network gives for the newest 30." in header
    assert "void wake_reset(void);" in header
    assert "#define WAKE_INPUT_COUNT 40\n" in header
    assert "A step over time" in Path(out, "report.html").read_text(encoding="utf-8")
    shown = run(*command, "--stream-axis", "1", "--force").out
    assert "1 new frame of 30 a step" in shown
    assert "46,040 MACs a step instead of 826,368 a window, 3,960 B of rings" in shown


@pytest.mark.unicorn
def test_check_holds_steps_against_whole_windows(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "small.tflite"
    file.write_bytes(write(two_convolutions(Frames(np.random.default_rng(0)))))
    told = run("check", file, "-d", "cortex-m4", "--stream-axis", "time", "--json").json
    assert told["exact"]
    assert told["ways"]["run"]["NumPy, whole windows"]
    assert told["samples"] == 23  # as many as it takes for the first frame to leave


def test_inspect_lists_rings(run: Run, file: str) -> None:
    shown = run("inspect", file, "--stream-axis", "time").out
    assert "over time: 1 new frame of 30 a step" in shown
    told = run("inspect", file, "--stream-axis", "time", "--json").json
    assert [r["rows"] for r in told["streaming"]["rings"]] == [3, 5, 10, 15]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--stream-axis", "frames"), "expected: time, or a number"),
        (("--stream-axis", "2"), "no axis of time"),
        (("--hop", "2"), "add --stream-axis time"),
        (("--stream-axis", "time", "--hop", "31"), "up to the window of 30"),
    ],
)
def test_options_that_cannot_be_are_refused(
    run: Run, file: str, options: tuple[str, ...], words: str
) -> None:
    result = run("inspect", file, *options)
    assert result.code == 1
    assert words in result.err
