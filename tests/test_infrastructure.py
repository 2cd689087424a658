"""The promises of the project's own plumbing: the digits split and the locked versions."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lilliput import errors
from lilliput.demo_data import TEST_ITEMS, load_digits_split, split_indices

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_split_is_a_function_of_the_seed() -> None:
    labels = np.arange(1797, dtype=np.int64) % 10
    assert np.array_equal(split_indices(labels, 3), split_indices(labels, 3))
    assert not np.array_equal(split_indices(labels, 3), split_indices(labels, 4))


def test_every_class_has_its_share_of_the_test_part() -> None:
    labels = np.arange(1797, dtype=np.int64) % 10
    test = split_indices(labels, 0)
    assert test.sum() == TEST_ITEMS
    assert set(np.bincount(labels[test])) <= {53, 54, 55}


def test_the_digits_are_pictures_of_whole_pixels() -> None:
    pytest.importorskip("sklearn")
    digits = load_digits_split()
    assert digits.x_train.shape == (1257, 8, 8, 1)
    assert digits.x_test.shape == (540, 8, 8, 1)
    assert np.array_equal(digits.x_test, np.clip(np.rint(digits.x_test), 0, 16))
    assert np.bincount(digits.y_test).min() >= 50


def test_missing_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(errors.MissingTool, match=r'help: pip install "lilliput\[demo\]"'):
        load_digits_split()


@pytest.mark.parametrize("lock", ["demo", "oracle"])
def test_locks_agree_with_one_another(lock: str) -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))

    dev, other = pins("dev"), pins(lock)
    assert other, lock
    assert {name: dev[name] for name in other if name in dev} == {
        name: version for name, version in other.items() if name in dev
    }


def test_every_room_is_a_package_that_the_import_contracts_can_see() -> None:
    package = ROOT / "src" / "lilliput"
    rooms = {source.parent for source in package.rglob("*.py")}
    assert [str(room.relative_to(package)) for room in sorted(rooms) if not _is_package(room)] == []


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


SUITE = """
import pytest
from hypothesis import given, strategies

def test_ordinary(): pass

@pytest.mark.gcc
def test_compiler(): pass

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.shared
def test_shared(): pass

@given(strategies.booleans())
def test_drawn(value): pass

@pytest.mark.slow
@given(strategies.booleans())
def test_slow_and_drawn(value): pass

@pytest.mark.models
def test_published(): pass
"""


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        ("test", {"ordinary", "compiler", "shared", "drawn"}),
        ("test-rest", {"slow", "shared", "drawn", "slow_and_drawn"}),
        ("test-all", {"ordinary", "compiler", "slow", "shared", "drawn", "slow_and_drawn"}),
        ("test-models", {"published"}),
    ],
)
def test_what_the_targets_of_make_run(target: str, chosen: set[str], tmp_path: Path) -> None:
    """`test-rest` is what `test` leaves out of `test-all` (without the shared folder it skips those
    that want it), or what draws more examples there."""
    recipe = re.search(rf"^{target}:.*\n\t.*pytest (.*) \$\(ARGS\)$", MAKEFILE, re.MULTILINE)
    assert recipe
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-n0", "-q"]
    command = [sys.executable, "-m", "pytest", *shlex.split(recipe[1]), *options, "--collect-only"]
    found = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert set(re.findall(r"::test_(\w+)", found.stdout)) == chosen
