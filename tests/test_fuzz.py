"""The fuzzer itself, what it has found, and a minute of it.

One idea: an input that once went wrong is a file, with the words that are now said of it.
Long runs are `make fuzz`; see docs/fuzzing.md.
"""

from __future__ import annotations

import itertools
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.fuzz import __main__ as command
from tests.fuzz import judge as judging
from tests.fuzz import text
from tests.fuzz.judge import EVIL, Fault, code, judge
from tests.fuzz.limits import TooSlow, limited
from tests.fuzz.mutate import CHANGES, cross, mutate
from tests.fuzz.seeds import text_seeds, tflite_seeds
from tests.fuzz.session import Session, blind
from tests.tflite_files import File, Graph
from tests.tflite_fuzz_cases import model

from lilliput import compiler, devices
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.options import IfOptions
from lilliput.frontends.tflite.schema import IDENTIFIER, Model
from lilliput.ir import Builder, Module
from lilliput.ir.types import s8
from lilliput.ops.elementwise import add

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
SECONDS = 75.0
COMPILED = ""

WORDS: dict[str, str] = {
    "abs-without-scale.tflite": 'node 0 ABS "y0", abs "y0": a scale is needed\n'
    "  expected: quantisation per tensor\n  found: s16[1,999], not quantised",
    "bool-of-255.tflite": 'tensor 2 "y0": booleans other than 0 and 1',
    "branches-of-different-results.tflite": 'node 0 IF "main/2": branches give different numbers '
    "of results\n  expected: 1\n  found: 0",
    "variable-of-gigabytes.tflite": "variables are too large",
    "conv-far-padding.tflite": COMPILED,
    "cumsum-per-axis.tflite": 'node 0 CUMSUM "y0", cumsum "y0": result is quantised per axis\n'
    "  expected: one scale and zero point\n"
    "  found: 5 along axis 2\n"
    "  help: convert again with activations quantised per tensor",
    "fold-bias-of-weights.lilliput": 'fold_bias "fold_bias": bias of this type\n'
    "  expected: s32[5] or s64[5]\n  found: s8[5,2,3]",
    "half-a-character.lilliput": "line 2, column 8: damaged text",
    "hard-swish-scale.tflite": 'node 0 HARD_SWISH "y0", hard_swish "y0": '
    "output scale is too small for hard_swish\n  expected: at least 0.000390625",
    "leaky-relu-of-infinity.tflite": 'node 1 LEAKY_RELU "y0", leaky_relu "y0": '
    "scales have no finite ratio\n  expected: a number\n  found: inf",
    "leaky-relu-of-nan.tflite": 'node 0 LEAKY_RELU "y0", leaky_relu "y0": '
    "scales have no finite ratio\n  expected: a number\n  found: nan",
    "leaky-relu-tiny-scale.tflite": COMPILED,
    "linear-float-bias.tflite": 'node 0 FULLY_CONNECTED "y0", linear "y0": bias of this type\n'
    "  expected: s32\n  found: f32",
    "linear-infinite-ratio.lilliput": 'linear "linear": scales have no finite ratio',
    "logistic-s16-zero-point.tflite": 'logistic "y0": int16 operand has a zero point',
    "logistic-s8-zero-point.tflite": 'logistic "y0": '
    "output quantisation that the fixed-point rule does not give\n"
    "  expected: scale 0.00390625, zero point -128\n  found: scale 0.00390625, zero point 127",
    "name-of-the-metadata.tflite": COMPILED,
    "output-twice.tflite": COMPILED,
    "pad-bool-value.tflite": COMPILED,
    "reduce-prod-scale.lilliput": 'reduce_prod "reduce_prod": scale of a product',
    "relu6-tiny-scale.tflite": "output type differs from what the operator gives",
    "relu-of-per-axis-sum.tflite": 'node 0 ADD "y0": fused activation of a result that is '
    "quantised per axis\n  expected: one scale and zero point\n  found: 3 along axis 0",
    "scalar-input-is-output.tflite": COMPILED,
    "slice-other-per-axis.tflite": 'slice "y0": result is quantised per axis',
    "slice-per-axis.tflite": 'slice "y0": result is quantised per axis',
    "sub-scale.tflite": 'node 0 SUB "y0", sub "y0": output scale is too small',
    "tanh-s16-huge-scale.tflite": 'tanh "y0": scale of an int16 operand\n  expected: below 174,762',
    "weights-beyond-float.tflite": COMPILED,
    "tanh-s8-scale.tflite": 'tanh "y0": output quantisation that the fixed-point rule',
}
"""File -> words of its refusal; those without are compiled."""


def test_every_file_is_listed() -> None:
    assert sorted(p.name for p in CORPUS.iterdir()) == sorted(WORDS)


@pytest.mark.parametrize("name", WORDS)
def test_what_went_wrong_once(name: str) -> None:
    with limited():
        verdict = judge((CORPUS / name).read_bytes())
    assert verdict.stage == ("refused" if WORDS[name] else "compiled"), verdict.words
    assert WORDS[name] in verdict.words


# What grows out of proportion ------------------------------------------------------------


def calls(depth: int, times: int) -> bytes:
    """Subgraphs that each call the next one `times` times, and hold nothing else."""
    file = File()
    graphs = [Graph(file, f"g{k}") for k in range(depth + 1)]
    for k, graph in enumerate(graphs):
        yes = graph.tensor((1,), "BOOL", np.array([True]))
        graph.tensor((1,))
        graph.inputs = (1,) if k == 0 else ()
        for _ in range(times if k < depth else 0):
            graph.add("IF", (yes,), (), IfOptions(k + 1, k + 1))
    main, *others = graphs
    return file.write(main.done(1), *(g.done() for g in others))


def one_output(times: int) -> bytes:
    """The input, given back many times."""
    main = Graph(File(), "main")
    main.inputs = (main.tensor((1,)),)
    return main.file.write(main.done(*(0,) * times))


GROWTH: dict[str, tuple[bytes, str]] = {
    "calls that double": (calls(13, 2), "compiled"),
    "calls that double too often": (calls(16, 3), "too many nodes once loops are unrolled"),
    "calls of calls": (calls(400, 1), "subgraphs call one another too deeply"),
    "many outputs": (one_output(8000), "large"),
}


@pytest.mark.parametrize("name", GROWTH)
def test_nothing_grows_out_of_proportion(name: str) -> None:
    data, words = GROWTH[name]
    with limited():
        verdict = judge(data)
    assert words == verdict.stage or words in verdict.words


NAMES = (
    "*/ #evil /*",
    "*\\\n/ #evil",
    "*\\\r\n/ #evil",
    "*\u2028/ #evil",
    '"\n#evil',
    "??/\n#evil",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_cannot_leave_its_comment(name: str) -> None:
    b = Builder()
    x = b.input(f"{name}x", s8(1, 4, scale=0.1))
    y = b.add(add, (x, x), type=s8(1, 4, scale=0.2), name=f"{name}y", origin=name)
    module = b.module([y], name=name)
    options = compiler.Options(compiler="none")
    device = devices.load(judging.CORE)
    files = compiler.compile(compiler.from_module(module), device, options).files
    assert any(EVIL in text for text in files.values())
    assert not any(EVIL in code(text) for text in files.values())


# What the oracle sees ---------------------------------------------------------------------


def test_sound_files_are_taken() -> None:
    stages = [judge(data).stage for data in (*tflite_seeds(), *text_seeds())]
    assert len(tflite_seeds()) > 50
    assert len(text_seeds()) > 80
    assert set(stages) == {"compiled"}


def test_an_error_of_python_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> Module:
        raise KeyError("index")

    monkeypatch.setattr(judging, "read", broken)
    lines: list[str] = []
    session = Session(tmp_path, lines.append)
    assert session.attempt(b"one") is None
    assert session.attempt(b"two") is None
    assert list(session.faults.values()) == [2]
    (kept,) = tmp_path.glob("*.bin")
    assert kept.read_bytes() == b"one"
    assert "KeyError: 'index'" in kept.with_suffix(".txt").read_text(encoding="utf-8")
    assert lines[0].startswith("FAULT ")
    assert "1 faults met 2 times" in session.summary()


def test_a_warning_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(data: bytes) -> Module:
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        raise AssertionError

    monkeypatch.setattr(judging, "read", noisy)
    with pytest.raises(RuntimeWarning, match="overflow"):
        judge(b"")


def test_another_answer_the_second_time_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["int4", "floats"])
    read = judging.read

    def fickle(data: bytes) -> Module:
        return read(model(next(answers)))

    monkeypatch.setattr(judging, "read", fickle)
    with pytest.raises(Fault, match="read otherwise the second time"):
        judge(b"")


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(TooSlow), limited(seconds=0.05):
        any(False for _ in itertools.count())


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_what_takes_too_much_memory_is_ended() -> None:
    with pytest.raises(MemoryError), limited(size=64 << 20):
        np.ones(128 << 20, np.uint8)
    assert np.ones(128 << 20, np.uint8).all()


# The mutator ------------------------------------------------------------------------------


def test_mutations_depend_on_their_seed_alone() -> None:
    data, other = model("convolutional"), model("shapes")
    assert [mutate(data, seed) for seed in range(50)] == [mutate(data, seed) for seed in range(50)]
    assert len({mutate(data, seed) for seed in range(50)}) > 40
    assert cross(data, other, 3) == cross(data, other, 3)
    module = text_seeds()[0]
    twice = [text.mutate(module, random.Random(5)) for _ in range(2)]
    assert twice[0] == twice[1] != module


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_every_change_changes_something(number: int) -> None:
    """Each works on every seed, on an empty model, and makes what can mostly be written."""
    change, changed = CHANGES[number], 0
    for data in (*tflite_seeds(), encode(Model(), IDENTIFIER)):
        sound = decode(data, IDENTIFIER, Model)
        for seed in range(4):
            changed += change(sound, random.Random(seed)) != sound
    assert changed > 50


def test_mutations_reach_every_stage() -> None:
    rng = random.Random(2)
    seeds = [*tflite_seeds(), *text_seeds()]
    stages = [judge(mutate(rng.choice(seeds), rng.getrandbits(63))).stage for _ in range(300)]
    assert 20 < stages.count("compiled") < 200
    assert stages.count("refused") > 50


# Runs -------------------------------------------------------------------------------------


def test_the_command_tells_of_files_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["fuzz", *map(str, arguments)])
        return command.main()

    assert run(CORPUS / "sub-scale.tflite") == 0
    assert "refused\nnode 0 SUB" in capsys.readouterr().out
    assert run("--blind", "--seconds", 0.5, "--keep", tmp_path) == 0
    assert "0 faults" in capsys.readouterr().err


@pytest.mark.slow
def test_a_minute_of_mutations(tmp_path: Path) -> None:
    """The same inputs every time, as many as the machine has time for."""
    session = Session(tmp_path)
    blind(session, seconds=SECONDS, seed=1)
    told = "\n".join(p.read_text(encoding="utf-8") for p in sorted(tmp_path.glob("*.txt")))
    assert not session.faults, f"{session.summary()}\n{told}"
    assert session.stages["compiled"] > 100
