"""`lilliput bench`: measurements, and the figures of other engines beside them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.cli_case import Run, runner

from lilliput import pull
from lilliput.bench import (
    Measurement,
    bars,
    conditions,
    measure,
    page,
    peers_of,
    peers_table,
    table,
)
from lilliput.bench.peers import Figures
from lilliput.demo_data import digits_model
from lilliput.devices import load
from lilliput.report import FlashBytes, RamBytes


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


KWS = pull.models()["mlperf-tiny-kws"].sha256


def measurement(name: str, sha256: str = "") -> Measurement:
    return Measurement(
        name,
        sha256,
        1000,
        RamBytes(400, 0, 20, 0, 80, 500),
        FlashBytes(900, 100, 1000, ()),
        5000,
        7000.0,
        6900.0,
        True,
        ("host C", "emulated"),
        "gcc 12",
    )


def known() -> list[Figures]:
    return [f for m in pull.models().values() for f in peers_of(m.sha256, "cortex-m4")]


def test_every_figure_is_of_a_pinned_file_and_says_how_it_was_taken() -> None:
    assert len(known()) > 20
    for f in known():
        assert f.engine
        assert f.conditions in conditions()
        assert any((f.instructions, f.cycles, f.ram_bytes, f.flash_bytes)), f
    for c in conditions().values():
        assert all((c.title, c.core, c.compiler, c.when, c.instructions, c.cycles))


def test_peers_stand_only_beside_the_same_bytes_on_the_same_core() -> None:
    assert peers_of(KWS, "cortex-m4")
    assert not peers_of(KWS, "cortex-m0plus")
    assert not peers_of("0" * 64, "cortex-m4")
    assert peers_table([measurement("mine")], "cortex-m4") == ""


def test_tables_show_ours_theirs_and_the_conditions() -> None:
    found = [measurement("kws", KWS), measurement("mine")]
    text = peers_table(found, "cortex-m4")
    assert "TFLM + CMSIS-NN" in text
    assert "X-CUBE-AI" in text
    assert "MLPerf Tiny" in text
    assert "mine" not in text
    assert "mine" in table(found)
    drawn = bars(found, "cortex-m4")
    longest = next(line for line in drawn.splitlines() if "TFLM reference" in line)
    assert longest.count("#") == 40


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("src", "href")] + [tag] * (
            tag == "script"
        )

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_complete_by_itself_and_escapes_names() -> None:
    document = page([measurement("<kws>", KWS)], "cortex-m4", "cortex-m4")
    parsed = _Page()
    parsed.feed(document)
    assert not parsed.links
    assert "<kws>" in parsed.text
    assert "5,000" in "".join(parsed.text)
    assert document == page([measurement("<kws>", KWS)], "cortex-m4", "cortex-m4")


@pytest.mark.unicorn
@pytest.mark.gcc
def test_the_demo_network_is_measured() -> None:
    found = measure("digits", digits_model(), load("cortex-m4"), samples=1)
    assert found.exact
    assert found.instructions > 100_000
    assert found.macs == 27_696
    assert found.ram_bytes.total
    again = measure("digits", digits_model(), load("cortex-m4"), samples=0)
    assert again.exact is None
    assert again.instructions == found.instructions


@pytest.mark.unicorn
@pytest.mark.gcc
def test_the_command(run: Run, tmp_path: Path) -> None:
    html = tmp_path / "bench.html"
    done = run("bench", digits_model(), "--samples", 1, "--html", html, "--json")
    assert done.code == 0, done.err
    (network,) = done.json["networks"]
    assert network["exact"] is True
    assert network["instructions_per_mac"] > 1
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_network_that_cannot_be_read_fails_the_command(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")
    done = run("bench", bad)
    assert done.code == 1
    assert "not a model that can be read" in done.err
