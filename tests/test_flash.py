"""Writing an image to a board: what would be done, what is done, and what is missing.

One idea: pyOCD is a program that is called, so a program that writes down its arguments stands in
for it.  That a real board takes the image is not shown here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.cli_case import Run, runner

import boot
from lilliput.project import flash


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


PYOCD = """\
import json, os, sys
arguments = sys.argv[1:]
if arguments == ["json", "--probes"]:
    print(json.dumps({"boards": json.loads(os.environ["FAKE_PROBES"])}))
elif os.environ.get("FAKE_FAILS"):
    sys.exit("the target does not answer")
else:
    with open(os.environ["FAKE_LOG"], "w") as log:
        log.write(" ".join(arguments))
"""


@pytest.fixture
def pyocd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in of pyOCD that sees one probe; the file where it writes what it was asked."""
    package = tmp_path / "site" / "pyocd"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(PYOCD, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("FAKE_PROBES", '[{"unique_id": "1"}]')
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def nordic(tmp_path: Path) -> Path:
    folder = tmp_path / "nordic"
    boot.write(boot.tiny(), "nrf52840", folder)
    return folder


@pytest.mark.gcc
def test_flash_builds_and_writes(run: Run, nordic: Path, pyocd: Path) -> None:
    boot.tool("make")
    result = run("flash", nordic, "--json")
    assert result.code == 0, result.text
    image = nordic / "build" / "firmware.elf"
    assert result.json["written"] is True
    assert image.is_file()
    assert pyocd.read_text(encoding="utf-8") == f"load --target nrf52840 {image}"


@pytest.mark.gcc
def test_a_dry_run_does_nothing(run: Run, nordic: Path, pyocd: Path) -> None:
    boot.tool("make")
    result = run("flash", nordic, "--dry-run")
    assert result.code == 0
    assert re.search(r"would run: .*make -C .* TOOLCHAIN=gcc", result.out)
    assert re.search(r"would run: .* -m pyocd load --target nrf52840 .*firmware\.elf", result.out)
    assert not pyocd.exists()
    assert not (nordic / "build").exists()


@pytest.mark.gcc
def test_another_board_and_another_part(run: Run, nordic: Path) -> None:
    told = run("flash", nordic, "--dry-run", "--device", "stm32f412", "--json").json
    assert told["target"] == "stm32f412xg"
    told = run("flash", nordic, "--dry-run", "--target", "nrf52833", "--json").json
    assert told["target"] == "nrf52833"
    result = run("flash", nordic, "--dry-run", "--device", "stm32f446")
    assert result.code == 1
    assert "name it with --target" in result.err


@pytest.mark.gcc
def test_flash_says_what_is_missing(
    run: Run, nordic: Path, pyocd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot.tool("make")
    monkeypatch.setenv("FAKE_PROBES", "[]")
    result = run("flash", nordic)
    assert result.code == 1
    assert "no debug probe was found" in result.err
    monkeypatch.setenv("FAKE_PROBES", '[{"unique_id": "1"}]')
    monkeypatch.setenv("FAKE_FAILS", "1")
    result = run("flash", nordic)
    assert result.code == 1
    assert "the target does not answer" in result.err
    (nordic / "firmware" / "main.c").write_text("nonsense\n", encoding="utf-8")
    result = run("flash", nordic)
    assert result.code == 1
    assert "the project does not build" in result.err
    assert "main.c" in result.err


def test_flash_without_pyocd(run: Run, nordic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(flash.util, "find_spec", nothing)
    monkeypatch.setattr(flash, "build_command", nothing)
    result = run("flash", nordic)
    assert result.code == 1
    assert "no image is built" in result.err
    (nordic / "build").mkdir()
    (nordic / "build" / "firmware.elf").write_bytes(b"")
    result = run("flash", nordic)
    assert result.code == 1
    assert "pyOCD is not installed" in result.err
    assert 'pip install "lilliput[flash]"' in result.err


def test_flash_wants_a_bare_metal_project(run: Run, tmp_path: Path) -> None:
    boot.write(boot.tiny(), "nrf52840", tmp_path / "library", "arduino")
    result = run("flash", tmp_path / "library")
    assert result.code == 1
    assert "not a project that makes an image" in result.err
    assert "a project for arduino" in result.err
    assert run("flash", tmp_path / "nothing").code == 1
