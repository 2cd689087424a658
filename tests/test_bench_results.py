"""The committed results: nothing has grown since, and the page says what they say.

Instructions, flash and RAM are the same on every machine with one version of a compiler, so they
are compared exactly.  What shrank is no failure: its test is skipped with the difference, until
`make bench` writes the results anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import __main__ as command
from benchmarks import document, ram, results
from benchmarks.networks import DEVICE, FIRST, NETWORKS, WAYS, Network, Way, front_end
from tests.bench_case import KWS, measurement

from lilliput.bench import Measurement, measure
from lilliput.devices import load
from lilliput.emu.toolchain import find

BY_NAME = {network.name: network for network in NETWORKS}
COMMITTED = {(m.name, Way(m.toolchain, m.optimize)): m for m in results.read()}

GCC = tuple(way for way in WAYS if way.toolchain == "gcc")
ZIG = tuple(way for way in WAYS if way.toolchain == "zig")
HELD = [
    *((name, way) for name in ("kws", "vww") for way in GCC),
    *((name, way) for name in ("ic", "ad", "tinyengine-vww") for way in FIRST),
]
"""What is measured again: three minutes of one core."""


# what is measured again -------------------------------------------------------------------


def held(network: Network, way: Way) -> None:
    """Measures, and compares with what was committed."""
    path, committed = network.path(), COMMITTED[network.name, way]
    if path is None:
        pytest.skip(f"{network.file} is not there")
    version = find(load(DEVICE).core, way.toolchain).version
    if version != committed.compiler:
        pytest.skip(f"not comparable: {committed.compiler} was committed, this is {version}")
    found = measure(network.name, path, load(DEVICE), options=way.options(network.name), samples=0)
    assert found.exact
    assert found.sha256 == committed.sha256
    grew, shrank = results.changes(committed, found)
    assert not grew, "; ".join([*grew, "if that is meant: `make bench`"])
    if shrank:
        pytest.skip("; ".join(["smaller than committed: `make bench` writes it", *shrank]))


@pytest.mark.unicorn
@pytest.mark.gcc
@pytest.mark.parametrize("way", GCC, ids=lambda way: way.mode)
def test_the_demo_network_has_not_grown(way: Way) -> None:
    held(BY_NAME["digits"], way)


@pytest.mark.unicorn
@pytest.mark.zig
@pytest.mark.parametrize("way", ZIG, ids=lambda way: way.mode)
def test_the_demo_network_has_not_grown_with_zig(way: Way) -> None:
    held(BY_NAME["digits"], way)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.unicorn
@pytest.mark.gcc
@pytest.mark.parametrize(("name", "way"), HELD, ids=[f"{n}-{way.mode}" for n, way in HELD])
def test_a_published_network_has_not_grown(name: str, way: Way) -> None:
    held(BY_NAME[name], way)


def test_the_front_end_that_is_measured_is_the_one_that_is_made() -> None:
    path = BY_NAME["mfcc-16k"].path()
    assert path is not None
    assert path.read_bytes() == front_end()


# what is committed ------------------------------------------------------------------------


def test_the_page_and_its_picture_are_written_from_the_results() -> None:
    found = results.read()
    hint = "`python -m benchmarks --render` writes it"
    assert document.PAGE.read_text(encoding="utf-8") == document.page(found), hint
    assert document.PICTURE.read_text(encoding="utf-8") == document.picture(found), hint
    assert document.README.read_text(encoding="utf-8") == document.readme(found), hint


def test_the_results_hold_every_network_in_every_way_and_no_time_and_no_place() -> None:
    for network in NETWORKS:
        ways = [way for name, way in COMMITTED if name == network.name]
        assert {*network.ways} <= {*ways}, network.name
    text = results.RESULTS.read_text(encoding="utf-8")
    assert "seconds" not in text
    assert str(Path.home()) not in text
    assert all(m.exact for m in COMMITTED.values())


def test_the_results_are_read_as_they_were_written() -> None:
    text = results.RESULTS.read_text(encoding="utf-8")
    assert results.text(results.read(), json.loads(text)["commit"]) == text


def test_a_wrong_result_meets_no_goal_and_is_shown_as_one() -> None:
    right = measurement("kws", KWS)
    assert "1 of 1 goals are met." in document.page([right])
    wrong = document.page([replace(right, exact=False)])
    assert "0 of 1 goals are met; not met: kws (0.00 times, not exact)." in wrong
    assert "0.005 M, DIFFERS" in wrong


def test_a_wrong_result_meets_no_goal_of_ram() -> None:
    right = COMMITTED["kws", Way("gcc", "ram")]
    assert "1 of 1 goals are met." in document.page([right])
    told = "0 of 1 goals are met; not met: kws for ram."
    assert told in document.page([replace(right, exact=False)])
    large = replace(right.ram_bytes, activations=5 * 1024 + 1)
    assert told in document.page([replace(right, ram_bytes=large)])


def test_a_network_of_no_other_engine_is_not_set_beside_them() -> None:
    ours = [m for (name, _), m in COMMITTED.items() if name in ("mbv2-w0.35", "kws")]
    assert [row[0] for row in ram.beside(ours).rows] == ["kws"]


# how results are kept and compared --------------------------------------------------------


def stored(tmp_path: Path, *found: Measurement) -> list[Measurement]:
    path = tmp_path / "results.json"
    path.write_text(results.text(found, "c"), encoding="utf-8")
    return results.read(path)


def test_measurements_are_ordered_and_the_later_one_counts(tmp_path: Path) -> None:
    old, new = (measurement("kws", KWS, instructions=n) for n in (5000, 4000))
    size = measurement("kws", KWS, optimize="size")
    digits = measurement("digits", toolchain="zig")
    found = stored(tmp_path, size, old, digits, new)
    assert found == [digits, new, size]
    assert results.read(tmp_path / "none.json") == []


def test_a_new_version_of_a_compiler_puts_away_what_the_old_one_made() -> None:
    old = [measurement("kws"), measurement("kws", toolchain="zig")]
    new = [measurement("digits", compiler="gcc 13")]
    assert results.kept(old, new) == old[1:]
    assert results.kept(old, [measurement("digits")]) == old


def test_what_grew_is_named_exactly() -> None:
    old = [measurement("net"), measurement("net", optimize="size")]
    assert results.regressions(old, old) == []
    assert results.regressions(old, [measurement("net", ram=499, instructions=1)]) == []
    assert results.regressions([], [measurement("net", ram=501)]) == []
    grown = results.regressions(old, [measurement("net", flash=1201, ram=499)])
    assert grown == ["net, gcc, speed: flash bytes were 1,000, are 1,201 (+201)"]


def test_what_shrank_is_told_apart() -> None:
    grew, shrank = results.changes(measurement("net"), measurement("net", instructions=1, ram=501))
    assert grew == ["net, gcc, speed: RAM bytes were 500, are 501 (+1)"]
    assert shrank == ["net, gcc, speed: instructions were 5,000, are 1 (-4,999)"]


def test_results_of_another_compiler_are_not_comparable() -> None:
    assert results.regressions([measurement("net")], [measurement("net", compiler="gcc 13")]) == [
        "net: not comparable: gcc 12 was committed, this is gcc 13"
    ]


# the command ------------------------------------------------------------------------------


def lacks(*kinds: str) -> Callable[[str], str]:
    """A machine without some compilers."""
    return lambda kind: f"no {kind}" if kind in kinds else ""


def test_what_is_measured_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LILLIPUT_SHARED", raising=False)
    monkeypatch.setattr(command, "unavailable", lacks())
    names = [str(job) for job in command.jobs(command.parser().parse_args([]))]
    own = [network for network in NETWORKS if network.file is None or network.own]
    assert names == [f"{n.name}, {w.toolchain}, {w.mode}" for n in own for w in n.ways]
    assert [name for name in names if "digits" in name] == [
        f"digits, {way.toolchain}, {way.mode}" for way in WAYS
    ]
    chosen = ["--compiler", "zig", "--mode", "ram", "--only", "digits"]
    assert [str(job) for job in command.jobs(command.parser().parse_args(chosen))] == [
        "digits, zig, ram"
    ]


def test_a_compiler_that_is_missing_is_left_out_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LILLIPUT_SHARED", raising=False)
    monkeypatch.setattr(command, "unavailable", lacks("gcc"))
    names = [str(job) for job in command.jobs(command.parser().parse_args([]))]
    assert names == [f"digits, {way.toolchain}, {way.mode}" for way in ZIG]
    assert capsys.readouterr().err == "note: no gcc\n"


@pytest.mark.unicorn
@pytest.mark.gcc
def test_comparing_writes_nothing_and_names_what_grew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    version = find(load(DEVICE).core, "gcc").version
    old = measurement("digits", compiler=version, instructions=7)
    path = tmp_path / "results.json"
    path.write_text(results.text([old], "c"), encoding="utf-8")
    before = path.read_bytes()
    read = results.read
    monkeypatch.setattr(results, "read", lambda: read(path))
    monkeypatch.setattr(results, "RESULTS", path)
    arguments = ["--only", "digits", "--compiler", "gcc", "--mode", "speed", "--compare"]
    assert command.main(arguments) == 1
    assert "digits, gcc, speed: instructions were 7, are" in capsys.readouterr().err
    assert path.read_bytes() == before
