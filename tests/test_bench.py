"""`lilliput bench`: measurements, and the figures of other engines beside them."""

from __future__ import annotations

from html.parser import HTMLParser
from math import log10
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.bench_case import KWS, VWW, measurement
from tests.cli_case import Run, runner

from lilliput import compiler, pull
from lilliput.bench import (
    Grid,
    bars,
    chart,
    chart_rows,
    conditions,
    goal_of,
    measure,
    page,
    peers_of,
    peers_table,
    table,
    tables,
)
from lilliput.bench.chart import LEFT, RIGHT, WIDTH, millions
from lilliput.bench.kinds import Kind, kind_of
from lilliput.bench.peers import Figures
from lilliput.demo_data import digits_model
from lilliput.devices import load
from lilliput.plan.objective import Optimize


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


# what others take -------------------------------------------------------------------------


def known() -> list[Figures]:
    return [f for m in pull.models().values() for f in peers_of(m.sha256, "cortex-m4")]


def test_every_figure_is_of_a_pinned_file_and_says_how_it_was_taken() -> None:
    assert len(known()) > 20
    for f in known():
        assert f.engine
        assert f.conditions in conditions()
        assert any((f.instructions, f.cycles, f.ram_bytes, f.flash_bytes)) or f.note, f
    for c in conditions().values():
        assert all((c.title, c.core, c.compiler, c.when, c.instructions, c.cycles))


def test_peers_and_goals_stand_only_beside_the_same_bytes_on_the_same_core() -> None:
    for of in (peers_of, goal_of):
        assert of(KWS, "cortex-m4")
        assert not of(KWS, "cortex-m0plus")
        assert not of("0" * 64, "cortex-m4")
    assert peers_table([measurement("mine")], "cortex-m4") == ""


def test_a_goal_is_for_one_compiler_and_one_mode() -> None:
    found = [
        measurement("kws", KWS, toolchain=kind, optimize=mode)
        for kind in ("gcc", "zig")
        for mode in ("speed", "size")
    ]
    assert [tables.goal(m, "cortex-m4") for m in found] == [3_400_000, None, None, None]
    assert tables.goal(measurement("mine"), "cortex-m4") is None


# tables -----------------------------------------------------------------------------------


def test_tables_show_ours_theirs_and_the_conditions() -> None:
    found = [measurement("kws", KWS), measurement("mine")]
    text = peers_table(found, "cortex-m4")
    assert "TFLM + CMSIS-NN" in text
    assert "X-CUBE-AI" in text
    assert "cannot compile it" in text
    assert "MLPerf Tiny" in text
    assert "boards took" in text
    assert "mine" not in text
    assert "mine" in table(found, "cortex-m4")
    drawn = bars(found, "cortex-m4")
    longest = next(line for line in drawn.splitlines() if "TFLM reference" in line)
    assert longest.count("#") == 40


def test_a_row_holds_macs_of_the_file_and_what_is_left_and_the_error_of_the_model() -> None:
    grid = tables.costs([measurement("kws", KWS)], "cortex-m4")
    row = dict(zip(grid.head, grid.rows[0], strict=True))
    assert (row["MACs"], row["after shrinking"], row["/MAC"]) == ("1,000", "800", "5.00")
    assert (row["goal"], row["of it"]) == ("3,400,000", "0%")
    assert row["boards took"] == tables.model_error("cortex-m4") != "-"
    assert row["pred. error"] == "-1%"


def test_kinds_are_over_the_macs_of_the_file_and_over_those_that_are_left() -> None:
    grid = tables.by_kind([measurement("kws")])
    assert grid.head[3:] == ("pointwise", "other, of all")
    assert grid.rows[0][3:] == ("4.00 (5.00)", "20%")


def test_other_compilers_are_compared_with_gcc_where_both_were_measured() -> None:
    gcc = measurement("net")
    near, far = (measurement("net", toolchain="zig", instructions=n) for n in (5500, 6000))
    assert tables.to_gcc(gcc, [gcc, far]) is None
    assert tables.to_gcc(far, [far]) is None
    assert tables.to_gcc(far, [gcc, far]) == 1.2
    assert tables.beyond_gcc([gcc]) == ""
    assert tables.beyond_gcc([gcc, near]).endswith("above: none.")
    assert tables.beyond_gcc([gcc, far]).endswith("more than 15% above: net for speed (1.20).")


def test_a_grid_is_aligned_text_and_markdown_that_a_name_cannot_break() -> None:
    grid = Grid(("name", "mode", "n"), (("a|<b>", "x", "1"), ("c", "longer", "1,000")), 2)
    assert grid.text().splitlines() == [
        "name   mode        n",
        "a|<b>  x           1",
        "c      longer  1,000",
    ]
    assert grid.markdown().splitlines()[1:3] == ["| --- | --- | ---: |", "| a\\|&lt;b> | x | 1 |"]
    assert "<td>a|&lt;b&gt;</td>" in grid.html()


@pytest.mark.parametrize(
    ("count", "text"),
    [(264_192, "0.264 M"), (3_043_085, "3.04 M"), (27_000_000, "27.0 M"), (3_322e6, "3,322 M")],
)
def test_counts_have_three_digits(count: int, text: str) -> None:
    assert millions(int(count)) == text


# the picture and the page -----------------------------------------------------------------


def test_the_chart_has_a_dot_for_every_engine_and_a_tick_for_the_goal() -> None:
    vww = measurement("<vww>", VWW, instructions=5_000_000, macs=7_489_664)
    small = measurement("<vww>", VWW, instructions=6_000_000, optimize="size")
    shown = chart_rows([vww, small, measurement("unknown")], "cortex-m4")
    (row,) = shown
    assert [m.engine for m in row.marks] == [
        "Lilliput",
        "TinyEngine",
        "TFLM + CMSIS-NN",
        "TFLM reference",
    ]
    drawn = ElementTree.fromstring(chart(shown, "t"))
    space = "{http://www.w3.org/2000/svg}"
    dots = [c for c in drawn.iter(f"{space}circle") if c.find(f"{space}title") is not None]
    places = [float(c.attrib["cx"]) for c in dots]
    assert places == sorted(places)
    assert len(places) == 4
    left, *_, right = places
    decades = log10(116_600_000 / 5_000_000) / log10(20 / 0.5)
    assert right - left == pytest.approx((WIDTH - LEFT - RIGHT) * decades, abs=0.1)
    titles = [t.text or "" for t in drawn.iter(f"{space}title")]
    assert "goal: 6,000,000 instructions" in titles
    assert "<vww>" in [t.text for t in drawn.iter(f"{space}text")]


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
    found = [measurement("<kws>", KWS), measurement("<kws>", KWS, optimize="size")]
    document = page(found, "cortex-m4", "cortex-m4")
    parsed = _Page()
    parsed.feed(document)
    assert not parsed.links
    assert "<kws>" in parsed.text
    assert "5,000" in "".join(parsed.text)
    assert "Lilliput, gcc, size" in parsed.text
    assert document == page(found, "cortex-m4", "cortex-m4")
    assert document.count("<svg") == 1
    assert "<svg" not in page([measurement("mine")], "cortex-m4", "cortex-m4")


# measuring --------------------------------------------------------------------------------


def test_every_layer_has_a_kind() -> None:
    module = compiler.load(digits_model()).module
    kinds = [kind_of(n) for n in module.graphs[module.entry].nodes]
    assert kinds[:3] == [Kind.CONVOLUTION, Kind.DEPTHWISE, Kind.POINTWISE]
    assert {*kinds} == {*Kind}


@pytest.mark.unicorn
@pytest.mark.gcc
def test_the_demo_network_is_measured() -> None:
    found = measure("digits", digits_model(), load("cortex-m4"), samples=1)
    assert found.exact
    assert len(found.ways) > 1
    assert found.instructions > 10_000
    assert (found.macs, found.macs_left) == (28_928, 27_696)
    assert (found.toolchain, found.optimize) == ("gcc", "speed")
    assert found.ram_bytes.total
    again = measure("digits", digits_model(), load("cortex-m4"), samples=0)
    assert again.exact
    assert again.ways == ("emulated cortex-m4",)
    assert again.instructions == found.instructions


@pytest.mark.unicorn
@pytest.mark.gcc
def test_kinds_add_up() -> None:
    options = compiler.Options(optimize=Optimize.RAM)
    found = measure("digits", digits_model(), load("cortex-m4"), options=options, samples=0)
    assert [s.kind for s in found.kinds] == [k.value for k in Kind]
    assert sum(s.instructions for s in found.kinds) == found.instructions
    assert sum(s.macs for s in found.kinds) == found.macs
    assert all(s.instructions for s in found.kinds)
    assert found.optimize == "ram"


@pytest.mark.unicorn
@pytest.mark.gcc
def test_the_command(run: Run, tmp_path: Path) -> None:
    html = tmp_path / "bench.html"
    done = run("bench", digits_model(), "--samples", 1, "--html", html, "--json")
    assert done.code == 0, done.err
    (network,) = done.json["networks"]
    assert network["exact"] is True
    assert network["instructions_per_mac"] > 1
    assert network["macs"] > network["macs_left"]
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.unicorn
@pytest.mark.gcc
@pytest.mark.parametrize("mode", ["size", "ram"])
def test_the_command_shows_its_mode(run: Run, mode: str) -> None:
    done = run("bench", digits_model(), "--samples", 0, "--optimize", mode)
    assert done.code == 0, done.err
    assert f"gcc       {mode}" in done.out
    assert "27,696" in done.out


def test_a_network_that_cannot_be_read_fails_the_command(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")
    done = run("bench", bad)
    assert done.code == 1
    assert "not a model that can be read" in done.err
