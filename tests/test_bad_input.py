"""Bad input: one clear message, a non-zero exit, no traceback, no hang, nothing half-written.

One idea: each row is something a user can do wrong and the words that they are told.  The files
themselves are fuzzed in `test_tflite`; here they go through the commands.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import Run, environment, runner
from tests.test_fuzz import CORPUS, WORDS
from tests.test_tflite import FAULTS, edited, rename, with_graph
from tests.tflite_fuzz_cases import MODULES, model, mutate, rewrite

from lilliput import compiler
from lilliput.demo_data import digits_model
from lilliput.emu import toolchain
from lilliput.frontends import FORMATS
from lilliput.frontends.tflite import write
from lilliput.frontends.tflite.schema import CODES
from lilliput.ir import Builder, Quant
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.shape import Reshape, reshape

DIGITS = str(digits_model())
CORE = "cortex-m4"
SECONDS = 5


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def save(data: bytes) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        return path

    return save


# Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_file_is_told(
    run: Run, save: Callable[[bytes], Path], fault: str, tmp_path: Path
) -> None:
    data, _, _ = FAULTS[fault]
    path = save(data)
    for command in (["inspect"], ["compile", "-d", CORE, "-o", str(tmp_path / "out")]):
        result = run(command[0], path, *command[1:])
        assert result.code == 1
        assert result.err.startswith("lilliput: ")
        assert result.out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]
    told = run("check", path, "-d", CORE, "--json")
    assert told.code == 1
    assert all(problem["what"] for problem in told.json["error"])


KNOWN = f"  expected: {', '.join(f.title for f in FORMATS)}\n"
ZIP = b"PK\3\4" + bytes(20)
FOUND = {b"": "an empty file", ZIP: f"24 bytes beginning with {ZIP[:16]!r}"}


@pytest.mark.parametrize("data", FOUND)
def test_what_is_no_model(run: Run, save: Callable[[bytes], Path], data: bytes) -> None:
    path = save(data)
    words = f"lilliput: {path}: not a model that can be read\n{KNOWN}  found: {FOUND[data]}\n"
    assert run("inspect", path).err == words


def test_a_missing_file(run: Run, tmp_path: Path) -> None:
    result = run("inspect", tmp_path / "none.tflite")
    assert result.code == 1
    assert result.err == (
        f"lilliput: {tmp_path / 'none.tflite'}: cannot read the model\n"
        "  found: No such file or directory\n"
    )
    assert "cannot read the model" in run("inspect", tmp_path).err


def test_a_huge_file_is_refused_at_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    start = time.perf_counter()
    result = run("inspect", path)
    assert time.perf_counter() - start < SECONDS
    assert result.code == 1
    assert result.err.startswith(f"lilliput: {path}: file is too large\n")


def test_unsupported_operators_are_told_all_at_once(
    run: Run, save: Callable[[bytes], Path]
) -> None:
    result = run("inspect", save(edited("convolutional", rename(CODES["LSH_PROJECTION"]))))
    assert result.code == 1
    assert result.err.count("operator is not supported") > 5
    assert result.err.count("help: `lilliput ops` lists what is") > 5
    assert 'node 1 LSH_PROJECTION "stem": operator is not supported' in result.err


def test_a_cycle(run: Run, save: Callable[[bytes], Path]) -> None:
    backwards = with_graph(lambda g: replace(g, operators=tuple(reversed(g.operators))))
    result = run("inspect", save(edited("floats", backwards)))
    assert result.code == 1
    assert "is read before any node gives it a value" in result.err


@pytest.mark.parametrize("damage", [mutate, rewrite])
@pytest.mark.parametrize("name", MODULES)
def test_damaged_files_compile_or_are_refused(
    run: Run, tmp_path: Path, name: str, damage: Callable[[bytes, int], bytes]
) -> None:
    """What a reader lets through must be planned and written as C, or refused in words."""
    path, codes = tmp_path / "model.tflite", set[int]()
    for seed in range(25):
        path.write_bytes(damage(model(name), 1000 + seed))
        start = time.perf_counter()
        out = tmp_path / f"out{seed}"
        result = run("compile", path, "-d", CORE, "--compiler", "none", "-o", out)
        assert time.perf_counter() - start < SECONDS
        assert out.exists() == (result.code == 0)
        codes.add(result.code)
    assert codes <= {0, 1}


@pytest.mark.parametrize("name", WORDS)
def test_what_the_fuzzer_found_is_told(run: Run, name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("compile", CORPUS / name, "-d", CORE, "--compiler", "none", "-o", out)
    assert result.code == bool(WORDS[name]), result.text
    assert out.exists() == (result.code == 0)
    if WORDS[name]:
        assert result.err.startswith("lilliput: ")
        assert WORDS[name] in result.err


# Devices, folders, tools ------------------------------------------------------------------


def test_an_unknown_device_names_the_nearest(run: Run, tmp_path: Path) -> None:
    result = run("compile", DIGITS, "-d", "stm32f764", "-o", tmp_path / "out")
    assert result.code == 1
    assert "lilliput: there is no device 'stm32f764'\n" in result.err
    assert "stm32f746" in result.err.split("expected: ")[1].split("\n")[0]
    assert "help: `lilliput devices` lists all" in result.err
    assert not (tmp_path / "out").exists()


def large() -> bytes:
    """One convolution whose input and output are 300 kB."""
    b = Builder()
    x = b.input("image", s8(1, 160, 160, 12, scale=0.1))
    w = b.param("w", np.ones((12, 1, 1, 12), np.int8), Quant.per_tensor(0.1))
    y = b.add(
        conv2d,
        (x, w),
        Conv2d(),
        type=s8(1, 160, 160, 12, scale=0.2),
        name="widest",
        origin="widest",
    )
    y = b.add(reshape, (y,), Reshape((1, 160 * 160 * 12)), name="flat")
    return write(b.module((y,), name="large"))


def test_what_does_not_fit_says_by_how_much_where_and_what_helps(
    run: Run, save: Callable[[bytes], Path], tmp_path: Path
) -> None:
    path = save(large())
    result = run("compile", path, "-d", "stm32f446", "-o", tmp_path / "out", "--compiler", "none")
    assert result.code == 1
    assert "does not fit into sram by " in result.err or "does not fit into ram by " in result.err
    assert " bytes\n  expected: at most 131,072 bytes\n  found: " in result.err
    assert 'most is needed at conv2d "widest"' in result.err
    assert "help: use a smaller input" in result.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_refused_before_any_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        pytest.fail("worked")

    monkeypatch.setattr(compiler, "load", worked)
    result = run("compile", DIGITS, "-d", CORE, "-o", tmp_path)
    assert result.code == 1
    assert result.err == (
        f"lilliput: {tmp_path}: the output folder is there already\n"
        "  help: name another folder, or replace this one with --force\n"
    )


@pytest.fixture
def no_gcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    toolchain.forget()

    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(toolchain.util, "find_spec", nothing)


@pytest.mark.usefixtures("no_gcc")
def test_a_missing_toolchain(run: Run, tmp_path: Path) -> None:
    try:
        result = run("profile", DIGITS, "-d", CORE)
        assert result.code == 1
        assert f"lilliput: no C compiler for {CORE}\n" in result.err
        assert "expected: arm-none-eabi-gcc on PATH or " in result.err
        assert "pip install ziglang" in result.err
        result = run("check", DIGITS, "-d", CORE, "--samples", "1")
        assert result.code == 1
        assert "MISSING: no C compiler" in result.out
        assert "NOT proven: a way could not be run (--allow-missing accepts that)" in result.out
        value = run("check", DIGITS, "-d", CORE, "--samples", "1", "--allow-missing", "--json")
        assert value.code == 0
        assert set(value.json["ways"]["missing"]) == {"host C", f"emulated {CORE}"}
        result = run("compile", DIGITS, "-d", CORE, "-o", tmp_path / "out")
        assert result.code == 0
        assert "none: no C compiler for cortex-m4" in result.out
    finally:
        toolchain.forget()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda p: p.rename(p.with_name("gone")), "not a folder that `lilliput compile`"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "not a folder that"),
    "no JSON": (lambda p: (p / "manifest.json").write_text("{", encoding="utf-8"), "not a folder"),
    "list": (lambda p: (p / "manifest.json").write_text("[]", encoding="utf-8"), "is damaged"),
    "no keys": (lambda p: (p / "manifest.json").write_text("{}", encoding="utf-8"), "is damaged"),
    "other core": (lambda p: swap(p / "manifest.json", CORE, "vax"), "is damaged"),
    "outside": (lambda p: swap(p / "manifest.json", '"digits.c"', '"../x.c"'), "is damaged"),
    "no source": (lambda p: (p / "digits.c").unlink(), "the manifest lists cannot be read"),
    "broken C": (lambda p: (p / "digits.c").write_text("int", encoding="utf-8"), "failed"),
    "other shape": (lambda p: swap(p / "manifest.json", "10\n", "11\n"), "another length"),
}


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.zig
@pytest.mark.unicorn
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder(run: Run, tmp_path: Path, damage: str) -> None:
    out, x = tmp_path / "out", tmp_path / "x.npy"
    assert run("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out).code == 0
    np.save(x, np.zeros((1, 8, 8, 1), np.int8))
    change, words = DAMAGE[damage]
    change(out)
    result = run("run", out, "--input", x)
    assert result.code == 1, result.text
    assert words in result.err


# Ctrl-C -----------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [0, 1, 2])
@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_write_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, force: bool
) -> None:
    out = tmp_path / "out"
    arguments = ("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out)
    if force:
        assert run(*arguments).code == 0
    before = {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    written, write_text = 0, Path.write_text

    def stop(path: Path, *args: object, **more: object) -> int:
        nonlocal written
        if written == files:
            raise KeyboardInterrupt
        written += 1
        return write_text(path, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", stop)
        result = run(*arguments, *(["--force"] if force else []))
    assert result.code == 130
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if force else [])
    assert {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""A shell starts what runs in its background deaf to it, and children inherit that."""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_in_the_middle_of_a_command(tmp_path: Path) -> None:
    arguments = ["check", DIGITS, "-d", CORE, "--samples", "2000"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HEARS_CTRL_C + f"from lilliput.cli import main; main({arguments!r})",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(tmp_path)),
        text=True,
    )
    assert process.stderr is not None
    assert "shrinking" in process.stderr.readline()
    assert "NumPy" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []
