"""The commands: what they print, as text and as one JSON object, and how they leave.

One idea: a command is tested through its arguments and its streams, in this process.  What the
numbers mean is tested where they are made; bad input has a file of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from tests.cli_case import Run, environment, runner
from tests.tflite_files import File, Graph
from tests.tflite_fuzz_cases import model

import lilliput
from lilliput import cli, compiler
from lilliput.demo_data import digits_model
from lilliput.frontends.tflite.options import GatherOptions

DIGITS = str(digits_model())
CORE = "cortex-m4"
pytestmark = [pytest.mark.zig, pytest.mark.unicorn]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.mark.parametrize("name", list(cli.lilliput.commands))
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.code == 0
    assert f"Example:\n    lilliput {name}" in result.out
    assert "--json" in result.out
    first = cli.lilliput.commands[name].get_short_help_str(200)
    assert len(first) < 66, "the list of commands would cut it short"


def test_the_commands_are_those_of_the_design() -> None:
    names = (
        "demo inspect compile check profile bench report quantize train shrink run flash devices "
        "ops pull"
    )
    assert list(cli.lilliput.commands) == names.split()


def test_no_arguments_shows_the_commands(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    assert "lilliput compile model.tflite --device stm32f746 -o firmware" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile", DIGITS, "-o", "x"], "Missing option '--device'"),
        (["nothing"], "No such command 'nothing'"),
        (["check", DIGITS, "-d", CORE, "--samples", "0"], "0 is not in the range"),
        (["check", DIGITS, "-d", CORE, "--emulator", "vax"], "'vax' is not one of"),
    ],
)
def test_mistyped_commands_leave_with_2(run: Run, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert words in result.err
    assert result.out == ""
    told = run(*arguments, "--json")
    assert told.code == 2
    assert words in told.json["error"][0]["what"]


# Commands ---------------------------------------------------------------------------------


def test_inspect(run: Run) -> None:
    result = run("inspect", DIGITS)
    assert result.code == 0
    assert "stem" in result.out
    assert "s8[1,8,8,16]" in result.out
    found = run("inspect", DIGITS, "--json").json
    assert found["macs"] == 28_928
    assert found["operators"] == {"conv2d": 5, "reshape": 1, "linear": 1, "softmax": 1}
    assert found["inputs"][0].startswith("pixels s8[1,8,8,1]")
    assert found["activation_bytes"] > 0


def test_compile_writes_a_whole_folder(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "digits"
    result = run("compile", DIGITS, "-d", "stm32f746", "-o", out, "--json")
    assert result.code == 0
    value = result.json
    assert value["fits"] is True
    assert value["ram_bytes"]["total"] > 0
    assert value["flash_bytes"]["total"] > 0
    assert len(value["plan"]["layers"]) == 7
    assert {"digits.c", "digits.h", "manifest.json", "CMakeLists.txt"} <= {
        p.name for p in out.iterdir()
    }
    assert [p.name for p in out.parent.iterdir()] == ["digits"]


def test_compile_without_linking_says_why_numbers_are_missing(run: Run, tmp_path: Path) -> None:
    arguments = ("compile", DIGITS, "-d", CORE, "--compiler", "none")
    value = run(*arguments, "-o", tmp_path / "a", "--json").json
    assert value["flash_bytes"]["total"] is None
    assert value["missing"] == "linking was switched off"
    text = run(*arguments, "-o", tmp_path / "b").out
    assert "none: linking was switched off" in text


def test_compile_is_byte_stable(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", tmp_path / name)
    files = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir() if p.is_file()}
    assert files == {n: (tmp_path / "b" / n).read_bytes() for n in files}


def test_force_replaces_only_what_lilliput_wrote(run: Run, tmp_path: Path) -> None:
    out, own = tmp_path / "out", tmp_path / "own"
    arguments = ("compile", DIGITS, "-d", CORE, "--compiler", "none", "--force", "-o")
    assert run(*arguments, out).code == 0
    (out / "old.txt").write_text("left from before", encoding="utf-8")
    assert run(*arguments, out).code == 0
    assert not (out / "old.txt").exists()
    own.mkdir()
    (own / "precious.txt").write_text("mine", encoding="utf-8")
    result = run(*arguments, own)
    assert result.code == 1
    assert "will not replace what Lilliput did not write" in result.err
    assert (own / "precious.txt").read_text(encoding="utf-8") == "mine"


def test_check_proves_the_digits(run: Run) -> None:
    result = run("check", DIGITS, "-d", CORE, "--samples", "4", "--json")
    assert result.code == 0, result.text
    value = result.json
    assert value["exact"] is True
    assert value["within_bound"] is None
    assert value["first_difference"] is None
    assert f"emulated {CORE}" in value["ways"]["run"]
    assert all(value["ways"]["run"].values())
    assert value["ways"]["missing"] == {}
    assert value["tensors"] > 0
    assert value["saturated"] < value["outputs"]
    assert value["stack_bytes"]["measured"] <= value["stack_bytes"]["bound"]


def test_check_of_floats_is_not_exact_but_bit_for_bit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "floats.tflite"
    path.write_bytes(model("floats"))
    result = run("check", path, "-d", CORE, "--samples", "3", "--json")
    assert result.code == 0, result.text
    assert result.json["exact"] is None
    assert result.json["within_bound"] is (True if "TFLite Micro" in result.text else None)
    assert all(result.json["ways"]["run"].values())


@pytest.mark.oracle
def test_check_gives_float_ends_to_the_oracle_as_reals(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "convolutional.tflite"
    path.write_bytes(model("convolutional"))
    result = run("check", path, "-d", CORE, "--samples", "5", "--json")
    assert result.code == 0, result.text
    assert result.json["exact"] is True
    assert result.json["ways"]["run"]["TFLite Micro"] is True


@pytest.mark.oracle
def test_check_gives_uint8_ends_to_the_oracle_as_they_are(run: Run, tmp_path: Path) -> None:
    file = File()
    g = Graph(file, "g")
    x = g.tensor((1, 6), "UINT8", scale=0.1, zero_point=120)
    inner = g.tensor((1, 6), "INT8", scale=0.1, zero_point=-8)
    made = g.tensor((1, 6), "INT8", scale=1 / 256, zero_point=-128)
    y = g.tensor((1, 6), "UINT8", scale=1 / 256)
    g.inputs = (x,)
    g.add("QUANTIZE", (x,), (inner,))
    g.add("LOGISTIC", (inner,), (made,))
    g.add("QUANTIZE", (made,), (y,))
    path = tmp_path / "bytes.tflite"
    path.write_bytes(file.write(g.done(y)))
    result = run("check", path, "-d", CORE, "--samples", "5", "--json")
    assert result.code == 0, result.text
    assert result.json["exact"] is True
    assert result.json["ways"]["run"]["TFLite Micro"] is True


@pytest.mark.oracle
def test_check_looks_up_rows_that_a_table_has(run: Run, tmp_path: Path) -> None:
    file = File()
    g = Graph(file, "g")
    places, y = g.tensor((1, 4), "INT32"), g.tensor((1, 4, 2))
    table = g.tensor((5, 2), "FLOAT32", np.arange(10, dtype=np.float32))
    g.inputs = (places,)
    g.add("GATHER", (table, places), (y,), GatherOptions(0))
    path = tmp_path / "table.tflite"
    path.write_bytes(file.write(g.done(y)))
    result = run("check", path, "-d", CORE, "--samples", "8", "--json")
    assert result.code == 0, result.text
    assert result.json["ways"]["run"]["TFLite Micro"] is True


def test_check_names_the_tensor_where_the_oracle_differs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilliput.emu import oracle

    def lie(*_: object, **__: object) -> oracle.OracleRun:
        return oracle.OracleRun("TFLite Micro", ((np.zeros((1, 10), np.int8),),), ({},))

    monkeypatch.setattr(oracle, "run", lie)
    result = run("check", DIGITS, "-d", CORE, "--samples", "1")
    assert result.code == 1
    assert "DIFFERENT: TFLite Micro, call 0: probabilities" in result.out
    assert "NOT exact" in result.out


def test_a_missing_oracle_is_named_and_accepted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilliput.emu import oracle

    monkeypatch.setattr(oracle, "_MODULES", {"TFLite Micro": "no_such_package_here"})
    result = run("check", DIGITS, "-d", CORE, "--samples", "1", "--json")
    assert result.code == 0
    assert "not installed" in result.json["ways"]["not_installed"]["TFLite Micro"]


def test_profile(run: Run) -> None:
    result = run("profile", DIGITS, "-d", CORE, "--json")
    assert result.code == 0, result.text
    value = result.json
    assert value["instructions"] > value["macs"] == 27_696
    assert value["estimated_cycles"] > 0
    assert value["compiler"]
    assert sum(layer["macs"] for layer in value["layers"]) == value["macs"]
    assert sum(layer["instructions"] for layer in value["layers"]) <= value["instructions"]
    assert value["cycle_error"]["low"] < value["cycle_error"]["mean"] < value["cycle_error"]["high"]
    assert value["flash_waits"] is None
    blocks = value["blocks"]
    assert len(blocks) == 5
    assert blocks[0]["share"] >= blocks[1]["share"] > 0
    assert all(b["function"] and b["file"] and b["lines"] for b in blocks[:2])
    assert blocks[0]["layer"] in {layer["name"] for layer in value["layers"]}
    assert blocks[0]["instructions"] == len(blocks[0]["disassembly"])
    assert all(i["text"] and i["estimated_cycles"] >= 0 for i in blocks[0]["disassembly"])


def test_profile_as_text(run: Run) -> None:
    text = run("profile", DIGITS, "-d", "stm32l4r5", "--blocks", "2").out
    assert "instructions      " in text
    assert "of them waiting for flash" in text
    assert "5 wait states" in text
    assert "boards took" in text
    assert len(text.split("hottest blocks")[1].split("\n\n")[0].splitlines()) == 3
    assert "hottest blocks" not in run("profile", DIGITS, "-d", CORE, "--blocks", "0").out


def test_run_gives_what_numpy_gives(run: Run, tmp_path: Path) -> None:
    out, x, y = tmp_path / "digits", tmp_path / "x.npy", tmp_path / "y.npy"
    assert run("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out).code == 0
    picture = np.random.default_rng(3).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)
    np.save(x, picture)
    result = run("run", out, "--input", x, "--output", y, "--json")
    assert result.code == 0, result.text
    expected = compiler.load(DIGITS).run(picture).outputs["probabilities"]
    np.testing.assert_array_equal(np.load(y), expected)
    assert result.json["outputs"]["probabilities"]["values"] == expected.reshape(-1).tolist()
    assert result.json["instructions"] > 0
    assert "as real numbers:" in run("run", out, "--input", f"pixels={x}").out


def test_run_refuses_inputs_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    out, x = tmp_path / "digits", tmp_path / "x.npy"
    run("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out)
    for array, words in (
        (np.zeros((8, 8), np.int8), "help: reshape it to (1, 8, 8, 1)"),
        (np.zeros((1, 8, 8, 1), np.float32), "help: quantise it: np.clip(np.rint(x / 0.06"),
        (np.zeros((1, 8, 8, 1), np.int32), "help: convert it: x.astype(np.int8)"),
    ):
        np.save(x, array)
        result = run("run", out, "--input", x)
        assert result.code == 1
        assert "pixels: input has another shape or type" in result.err
        assert words in result.err
    result = run("run", out, "--input", f"image={x}")
    assert "inputs do not match the network's" in result.err
    x.write_bytes(b"no array")
    assert "cannot read the input" in run("run", out, "--input", x).err
    assert "cannot read the input" in run("run", out, "--input", tmp_path / "none.npy").err


def test_devices(run: Run) -> None:
    found = run("devices", "--json").json["devices"]
    board = next(d for d in found if d["name"] == "stm32f746")
    assert board["ram_bytes"] == 320 * 1024
    assert board["sources"]
    assert "216 MHz" in run("devices").out
    assert len(run("devices", "-v").out) > len(run("devices").out)


def test_ops(run: Run) -> None:
    found = {op["name"]: op for op in run("ops", "--json").json["operators"]}
    assert "s8" in found["conv2d"]["dtypes"]
    assert found["conv2d"]["oracle"]["s8"].startswith("TFLM CONV_2D")
    rows = {line.split()[0]: line.split() for line in run("ops").out.splitlines() if line}
    assert "TFLM" in rows["conv2d"]


@pytest.mark.slow
def test_demo(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    result = run("demo", "-o", tmp_path / "kept", "--json")
    assert result.code == 0, result.text
    value = result.json
    assert value["exact"] is True
    assert value["digits"] == 540
    assert value["accuracy"] > 0.95
    assert (tmp_path / "kept" / "digits.c").is_file()


# The process ------------------------------------------------------------------------------


def test_a_defect_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("seven\nlines")

    monkeypatch.setattr(compiler, "load", broken)
    result = run("inspect", DIGITS, defect=True)
    assert result.code == 70
    assert result.err == (
        "lilliput: internal error (ZeroDivisionError: seven lines), please report it\n"
        "  help: LILLIPUT_DEBUG=1 shows where it happened\n"
    )


def test_ctrl_c_leaves_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compiler, "load", interrupt)
    result = run("inspect", DIGITS)
    assert result.code == 130
    assert "interrupted" in result.err
    assert run("inspect", DIGITS, "--json").json["error"][0]["what"] == "interrupted"


def test_a_reader_that_leaves_is_no_error() -> None:
    program = "from lilliput.cli import main; main(['devices', '-v'])"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(60)


def test_help_does_not_import_numpy() -> None:
    program = (
        "import sys, contextlib, lilliput, lilliput.cli\n"
        "with contextlib.suppress(SystemExit): lilliput.cli.main(['--help'])\n"
        "sys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lilliput", "--version"],
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"lilliput, version {lilliput.__version__}\n"


def test_public_names_exist() -> None:
    assert all(getattr(lilliput, name) is not None for name in lilliput.__all__)
    assert set(lilliput.__all__) <= set(dir(lilliput))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lilliput.nothing  # type: ignore[attr-defined]


def test_options_have_help() -> None:
    for command in cli.lilliput.commands.values():
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help
