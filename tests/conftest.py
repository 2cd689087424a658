"""What all tests share: hypothesis profiles, golden files, the shared folder, tools that may lack.

One idea: a test says what it needs by a marker or a fixture, and is skipped with the reason where
that is missing.  Not a place for helpers that build networks.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from lilliput.emu.toolchain import Toolchain, host_compilers

GOLDEN = Path(__file__).parent / "golden"

NEEDS: dict[str, tuple[Callable[[str], object], str, str]] = {
    "gcc": (shutil.which, "arm-none-eabi-gcc", "install gcc-arm-none-eabi"),
    "riscv_gcc": (shutil.which, "riscv64-unknown-elf-gcc", "install gcc-riscv64-unknown-elf"),
    "clang": (shutil.which, "clang", "install clang"),
    "qemu": (shutil.which, "qemu-system-arm", "install qemu-system-arm"),
    "zig": (importlib.util.find_spec, "ziglang", 'pip install "lilliput[toolchain]"'),
    "unicorn": (importlib.util.find_spec, "unicorn", 'pip install "lilliput[emulator]"'),
    "oracle": (importlib.util.find_spec, "tflite_micro", 'pip install "lilliput[oracle]"'),
}
"""Marker -> how to look for the tool, its name, what to do when it is missing."""

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.register_profile(
    "thorough", derandomize=True, deadline=None, max_examples=300, print_blob=True
)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def shared_folder() -> Path | None:
    """The folder named by LILLIPUT_SHARED, or None; for use where a fixture is too late."""
    named = os.environ.get("LILLIPUT_SHARED", "")
    return Path(named).resolve() if named and Path(named).is_dir() else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden from what the code does"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (find, tool, hint) in NEEDS.items():
        if item.get_closest_marker(marker) and not find(tool):
            pytest.skip(f"{tool} is not installed: {hint}")
    if item.get_closest_marker("shared") and shared_folder() is None:
        pytest.skip("LILLIPUT_SHARED does not name a folder of models and data")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and data that LILLIPUT_SHARED names; skips where it is missing."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("LILLIPUT_SHARED does not name a folder of models and data")
    return folder


@pytest.fixture(scope="session")
def host_compiler() -> Toolchain:
    """One compiler for this machine: the pip-installed Zig if there is one."""
    found = {t.kind: t for t in host_compilers()}
    for kind in ("zig", "gcc", "clang"):
        if kind in found:
            return found[kind]
    pytest.skip('no C compiler for this machine: pip install "lilliput[toolchain]"')


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(text, name)`: the text equals tests/golden/<name>, which --update-golden rewrites."""
    update = bool(request.config.getoption("--update-golden"))
    command = f"pytest {request.node.nodeid} -n0 --update-golden"

    def compare(text: str, name: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        if not path.is_file():
            pytest.fail(f"tests/golden/{name} does not exist; to write it: {command}")
        expected = path.read_text(encoding="utf-8")
        assert text == expected, f"tests/golden/{name} differs; if that is meant: {command}"

    return compare
