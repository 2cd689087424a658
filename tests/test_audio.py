"""Front ends: fixed point against float64, one answer everywhere, joined with networks, streamed.

One idea: the reference is written independently of the graph, and the graph's own result is what
every other way has to give to the bit.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli_case import runner

from lilliput import audio, compiler
from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import FormatError, UnsupportedError, UsageError
from lilliput.ir import Builder, Module, Quant
from lilliput.ir.interp import Session
from lilliput.ir.text import save
from lilliput.ir.types import TensorType, f32, s8
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.fourier import rfft_s32
from lilliput.ops.reduce import Reduction, mean
from lilliput.ops.spectrum import Log2, log2_fixed, root
from lilliput.passes.streaming import stream
from lilliput.plan.build import plan

MEL = audio.LogMel(window=480, fft=512)
SMALL = audio.LogMel(sample_rate=8000, window=100, stride=40, fft=128, mels=8, high=3000.0)
FRONTS = (
    MEL,
    SMALL,
    audio.LogMel(window=256, stride=256, fft=256, mels=20, spectrum="power", log="db"),
    audio.Mfcc(MEL),
    audio.Mfcc(SMALL, 8),
)
Samples = npt.NDArray[np.int16]


def sound(seed: int, count: int, loud: float = 8000.0) -> Samples:
    """A falling tone of random pitch in noise."""
    rng, t = np.random.default_rng(seed), np.arange(count)
    tone = np.sin(2 * np.pi * rng.uniform(0.01, 0.2) * t) * np.exp(-3 * t / count)
    noise = rng.normal(0, 0.01, count)
    return np.clip(loud * (tone + noise), -32768, 32767).astype(np.int16)


def features_type(front: audio.FrontEnd) -> TensorType:
    module = audio.module(front, 1)
    return module.outputs(module.entry)[0].type


# The arithmetic -----------------------------------------------------------------------------


@given(st.integers(3, 11), st.integers(2, 30), st.integers(0, 1 << 32))
def test_the_transform_is_the_exact_one_within_its_steps(bits: int, size: int, seed: int) -> None:
    n = 1 << bits
    x = np.random.default_rng(seed).integers(-(1 << size), 1 << size, n, endpoint=True)
    found = rfft_s32(x)
    exact = np.fft.rfft(x) / n
    error = np.abs(found[0::2] + 1j * found[1::2] - exact)
    # a step for each stage, and Q15 twiddles: half of 2^-15 of what there is, each stage
    rms = np.sqrt((x.astype(np.float64) ** 2).mean())
    assert error.max() <= bits + bits * rms * 2**-15


def test_full_scale_tones_do_not_overflow_the_transform() -> None:
    n = 256
    for phase in (0.0, 0.3, np.pi / 2):
        x = np.where(np.cos(2 * np.pi * 5 * np.arange(n) / n + phase) >= 0, 1, -1)
        found = rfft_s32(x.astype(np.int64) << 30)
        exact = np.fft.rfft(x) / n * 2**30
        assert np.abs(found[0::2] + 1j * found[1::2] - exact).max() < 2**30 * 2**-12


@given(st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=20))
def test_roots_are_near_and_small_ones_exact(squares: list[int]) -> None:
    small = [q % 2**32 for q in squares]
    found = root(np.array(small, np.uint64)).tolist()
    for q, r in zip(small, found, strict=True):
        # the nearest integer, in integers
        assert r * r - r < q <= r * r + r or (q, r) == (0, 0)
    wide = root(np.array(squares, np.uint64)).astype(np.float64)
    assert np.all(np.abs(wide - np.sqrt(np.array(squares, np.float64))) <= 0.5 + wide * 2**-16)


def test_logarithms_are_within_two_steps_and_rise() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(np.concatenate((np.arange(1, 3000), rng.integers(1, 2**62, 3000))))
    found = log2_fixed(x, Log2())
    assert np.abs(found - np.log2(x.astype(np.float64)) * 65536).max() < 2
    assert (np.diff(found) >= 0).all()
    assert log2_fixed(np.array([-5, 0, 3]), Log2(offset=1, least=2)).tolist() == [
        65536,
        65536,
        131072,
    ]


# Front ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("loud", [30000.0, 300.0])
def test_features_are_those_of_the_definition(front: audio.FrontEnd, loud: float) -> None:
    samples, type = sound(1, 4800, loud), features_type(front)
    exact = audio.reference(front, samples)
    error = audio.features(front, samples) * type.scale - exact
    assert exact.shape == (audio.features(front, samples)).shape
    assert 10 * np.log10((exact**2).mean() / (error**2).mean()) > 60


@pytest.mark.parametrize("front", FRONTS[3:])
def test_int8_features_are_the_rounded_definition_or_its_neighbour(front: audio.FrontEnd) -> None:
    type = s8(1, scale=0.58, zero_point=83)
    samples = sound(2, 4800)
    exact = np.clip(np.round(audio.reference(front, samples) / type.scale) + 83, -128, 127)
    off = np.abs(audio.features(front, samples, type) - exact)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.03


def test_silence_and_the_loudest_sound_have_features() -> None:
    front = audio.Mfcc(MEL)
    signs = np.random.default_rng(0).choice([-32768, 32767], 1600)
    for samples in (np.zeros(1600, np.int16), signs.astype(np.int16)):
        error = audio.features(front, samples) * features_type(front).scale
        assert np.abs(error - audio.reference(front, samples)).max() < 0.05


def test_the_axes_of_an_accelerometer_are_transformed_one_by_one() -> None:
    front = audio.Spectra(axes=3, window=24, stride=12, fft=32, log_offset=1e-3)
    samples = np.stack([sound(k, 120) for k in range(3)], 1)
    found = audio.features(front, samples)
    assert found.shape == (9, 3, 17)
    error = found * features_type(front).scale - audio.reference(front, samples)
    assert np.abs(error).max() < 0.05


@pytest.mark.parametrize(
    ("front", "type"),
    [
        (audio.Mfcc(SMALL, 5), s8(1, scale=0.6, zero_point=9)),
        (SMALL, None),
        (audio.Spectra(2, 24, 12, 32), f32(1)),
    ],
)
def test_the_c_of_a_front_end_gives_its_features(
    front: audio.FrontEnd, type: TensorType | None, host_compiler: Toolchain
) -> None:
    module = audio.module(front, 3, type)
    calls = [Call("infer", {"samples": blocks_of(front, k, 3)}) for k in range(3)]
    proof = prove(module, plan(module, load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_the_features_of_a_core_are_those_of_python(core: str) -> None:
    front = audio.Mfcc(MEL)
    module = audio.module(front, 2, s8(1, scale=0.58, zero_point=83))
    device = load(core)
    calls = [Call("infer", {"samples": blocks_of(front, k, 2)}) for k in range(2)]
    target = (find(device.core), device)
    proof = prove(module, plan(module, device), calls, hosts=[], target=target)
    assert proof.exact, str(proof.difference)


def blocks_of(front: audio.FrontEnd, seed: int, frames: int) -> Samples:
    count = (frames - 1 + -(-front.window // front.stride)) * front.stride
    axes = [sound(seed + k, count) for k in range(front.axes)]
    return audio.blocks(front, np.stack(axes, 1) if front.axes > 1 else axes[0])


# Joined with a network ----------------------------------------------------------------------


def listens(frames: int = 9, features: int = 6) -> Module:
    """A convolution over three frames, the mean of what it finds, three classes."""
    rng, b = np.random.default_rng(3), Builder()

    def weights(name: str, *shape: int) -> npt.NDArray[np.int8]:
        return rng.integers(-127, 128, shape).astype(np.int8)

    quant = Quant.per_tensor(0.01)
    x = b.input("features", s8(1, frames, features, 1, scale=0.6, zero_point=9))
    w = b.param("w", weights("w", 4, 3, features, 1), quant)
    y = b.add(conv2d, (x, w), Conv2d(), type=s8(1, frames - 2, 1, 4, scale=0.3), name="first")
    seen = b.add(mean, (y,), Reduction((1, 2), keepdims=False), name="mean")
    v = b.param("v", weights("v", 3, 4), quant)
    return b.module(
        [b.add(linear, (seen, v), Linear(), type=s8(1, 3, scale=0.1), name="y")], name="listens"
    )


def test_a_joined_network_reads_samples_and_gives_what_features_give() -> None:
    front, network = audio.Mfcc(SMALL, 6), listens()
    joined = compiler.from_module(audio.prepend(front, network))
    samples = sound(4, 11 * 40)
    type = network.inputs("infer")[0].type
    features = audio.features(front, samples, type).reshape(type.shape)
    wanted = Session(network).run({"features": features}).outputs["y"]
    found = joined.run({"samples": audio.blocks(front, samples)}).outputs["y"]
    np.testing.assert_array_equal(found, wanted)


def test_a_joined_network_streams_a_block_of_samples_a_call(host_compiler: Toolchain) -> None:
    front = audio.Mfcc(SMALL, 6)
    model = compiler.over_time(compiler.from_module(audio.prepend(front, listens())))
    assert model.stream is not None
    found = model.stream.found
    assert (found.hop, found.window) == (1, 11)
    # windows of 100 samples that are 40 apart lie in three blocks
    assert [(r.value, r.rows) for r in found.rings if r.value == "samples"] == [("samples", 3)]
    blocks = audio.blocks(front, sound(5, 16 * 40))
    frames = [blocks[:, k : k + 1] for k in range(16)]
    step, whole = Session(found.module), Session(found.source)
    for frame, window in zip(frames, found.windows(frames), strict=True):
        got = step.run({"samples": frame}).outputs["y"]
        np.testing.assert_array_equal(got, whole.run({"samples": window}).outputs["y"])
    calls = [Call("step", {"samples": frame}) for frame in frames]
    program = plan(found.module, load("cortex-m4"))
    proof = prove(found.module, program, calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_features_alone_stream_one_frame_a_call() -> None:
    module = compiler.from_module(audio.module(audio.Mfcc(MEL), 5)).module
    found = stream(module)
    assert (found.hop, [(r.value, r.rows) for r in found.rings]) == (1, [("samples", 2)])


def test_a_command_joins_a_front_end_and_reads_a_joined_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, network, joined = (tmp_path / n for n in ("f.toml", "n.lilliput", "j.lilliput"))
    toml.write_text(
        'kind = "mfcc"\nsample_rate = 8000\nwindow = 100\nstride = 40\nfft = 128\nmels = 8\n'
        "high = 3000\ncoefficients = 6\n"
    )
    network.write_bytes(save(listens()))
    assert audio.read(toml) == audio.Mfcc(SMALL, 6)
    joined.write_bytes(save(audio.prepend(audio.read(toml), listens())))
    run = runner(capsys)
    one = run("inspect", network, "--front-end", toml, "--json")
    other = run("inspect", joined, "--json")
    assert (one.code, other.code) == (0, 0)
    assert one.json["layers"] == other.json["layers"]


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"fft": 500}, "fft"),
        ({"window": 2000}, "window"),
        ({"high": 9000.0}, "low and high"),
        ({"mels": 300}, "bands without any"),
        ({"log_offset": 0.0}, "log_offset"),
        ({"stride": 0}, "stride"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(given: dict[str, float], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        audio.LogMel(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("kind = 3", "kind of front end"),
        ("kind = 'mfcc'\nwindows = 3", "field windows"),
        ("kind = 'log_mel'\nmels = true", "field mels"),
        ("kind = ", "not a TOML file"),
    ],
)
def test_a_file_that_says_no_front_end_is_refused(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "front.toml"
    path.write_text(text)
    with pytest.raises(FormatError, match=what):
        audio.read(path)


def test_samples_and_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="too few samples"):
        audio.features(MEL, np.zeros(100, np.int16))
    with pytest.raises(UsageError, match="float64 of shape"):
        audio.features(MEL, np.zeros(9000))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="other features than the network reads"):
        audio.prepend(audio.Mfcc(SMALL, 7), listens())
    b = Builder()
    x, y = b.input("x", s8(1, 4)), b.input("y", s8(1, 4))
    with pytest.raises(UnsupportedError, match="one input"):
        audio.prepend(SMALL, b.module([x, y]))


# Real sound ---------------------------------------------------------------------------------


@pytest.mark.shared
def test_recorded_words_have_the_features_of_the_definition(shared: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    data = np.load(shared / "data" / "speech_commands" / "speech_commands_v002_12class_flac.npz")
    flac, offs = data["flac"].tobytes(), data["offs"]
    front, type = audio.Mfcc(MEL), s8(1, scale=0.5847, zero_point=83)
    signal = noise = 0.0
    for k in range(0, 2760, 138):
        samples, _ = soundfile.read(io.BytesIO(flac[offs[k] : offs[k + 1]]), dtype="int16")
        exact = audio.reference(front, samples)
        error = audio.features(front, samples) * features_type(front).scale - exact
        signal, noise = signal + (exact**2).sum(), noise + (error**2).sum()
        rounded = np.clip(np.round(exact / type.scale) + 83, -128, 127)
        assert np.abs(audio.features(front, samples, type) - rounded).max() <= 2
    assert 10 * np.log10(signal / noise) > 60
