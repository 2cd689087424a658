"""The report: one value, and text and a page that say what is in it.

One idea: the page is read back as a browser would, and its picture is measured: every buffer is
one rectangle at its place and of its size.  The numbers themselves are tested where they are made.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from tests.cli_case import Run, runner
from tests.learner import learner
from tests.test_programs import (
    STREAM,
    inverted_residual,
    trainable,
    two_layers,
    two_memories,
)

from lilliput import compiler
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device, Memory, load
from lilliput.errors import DoesNotFit
from lilliput.ir import Module
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.program import Program
from lilliput.report import Linked, Summary, advice, from_json, needs, page, report, summarize, text
from lilliput.report.firmware import cmake, example
from lilliput.report.markup import Markup, join, tag
from lilliput.report.picture import HEIGHT, LEFT, RIGHT, TOP, WIDTH, picture, ticks
from lilliput.report.summary import Timeline
from lilliput.report.words import middle

BOARD = "stm32f746"
DIGITS = str(digits_model())
LINKED = Linked("a compiler 1.0", 2_000, 16, 120, (("streamed_run", 300), ("ll_start", 12)))
FAR = PlanOptions(homes={"y": "far", "w2": "store"}, blocks={"w2": 4})


def linked(module: Module, options: PlanOptions | None = None, device: str = BOARD) -> Summary:
    board = load(device)
    return summarize(plan(module, board, options), board, LINKED, "")


@cache
def cases() -> dict[str, Summary]:
    """Streaming, two entries with a state, a second memory, and the demo's network."""
    far = two_memories()
    model, board = compiler.load(DIGITS), load(BOARD)
    return {
        "streamed": linked(inverted_residual(), STREAM),
        "trainable": linked(trainable()),
        "staged": summarize(plan(two_layers(), far, FAR), far, None, "nothing to link with"),
        "digits": summarize(plan(model.module, board), board, LINKED, ""),
    }


CASES = ("streamed", "trainable", "staged", "digits")
LINES = [(name, k) for name in CASES for k in range(2 if name in ("trainable", "staged") else 1)]


def small(ram: int, flash: int = 1 << 20) -> Device:
    """A board with so little memory."""
    board = load(BOARD)
    return replace(
        board,
        name="small",
        memories=(
            Memory("flash", "flash", 0x0800_0000, flash, default=True),
            Memory("sram", "ram", 0x2000_0000, ram, default=True),
        ),
    )


# Reading a page ---------------------------------------------------------------------------


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list["Element"])

    def all(self, tag: str, kind: str = "") -> list[Element]:
        """Elements below this one, of a tag and a class."""
        mine = [c for c in self.children if c.tag == tag and kind in ("", *c.kinds)]
        return mine + [e for c in self.children for e in c.all(tag, kind)]

    @property
    def kinds(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def words(self) -> str:
        return " ".join([self.text, *(c.words for c in self.children)])


class Reader(HTMLParser):
    """Builds a tree; fails where tags do not match, or where an attribute is given twice."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert max(Counter(name for name, _ in attrs).values(), default=1) == 1
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag != "meta":
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].text += data


def read(html: str) -> Element:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


@pytest.mark.parametrize("name", CASES)
def test_the_page_is_one_document_that_fetches_and_runs_nothing(name: str) -> None:
    html = page(cases()[name])
    root = read(html)
    assert html.startswith("<!doctype html>\n<html lang=")
    assert not root.all("script")
    assert not root.all("link")
    assert not root.all("img")
    assert not re.search(r"https?:|url\(|@import|src=|href=", html)
    ids = [e.attributes["id"] for e in root.all("section")]
    assert len(set(ids)) == len(ids) == 6


@pytest.mark.parametrize("name", CASES)
def test_the_same_summary_gives_the_same_bytes(name: str) -> None:
    summary = cases()[name]
    again = from_json(json.loads(json.dumps(summary.to_json())))
    assert again == summary
    assert page(again) == page(summary)
    assert report(again) == report(summary)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"layers": 3}, TypeError),
        ({"fits": "yes"}, TypeError),
        ({"board": {}}, KeyError),
        ({"alternatives": [{"name": 1}]}, TypeError),
    ],
)
def test_what_is_not_a_summary_is_refused(
    change: dict[str, object], error: type[Exception]
) -> None:
    stored = {**json.loads(json.dumps(cases()["digits"].to_json())), **change}
    with pytest.raises(error):
        from_json(stored)


# The picture ------------------------------------------------------------------------------


def timeline(name: str, k: int) -> tuple[Timeline, Element]:
    summary = cases()[name]
    return summary.timelines[k], read(page(summary)).all("svg")[k]


@pytest.mark.parametrize(("name", "k"), LINES)
def test_every_buffer_is_drawn_once_at_its_place_inside_the_arena(name: str, k: int) -> None:
    line, svg = timeline(name, k)
    groups = svg.all("g", "buffer")
    assert len(groups) == len(line.lives)
    for life, group in zip(line.lives, groups, strict=True):
        (title,), (rect,) = group.all("title"), group.all("rect")
        assert title.text.startswith(f"{life.name} ({life.role}): {life.nbytes:,} B at offset")
        assert life.role in group.kinds
        x, y, width, height = (float(rect.attributes[a]) for a in ("x", "y", "width", "height"))
        assert LEFT - 0.01 <= x < x + width <= WIDTH - RIGHT + 0.01
        assert TOP - 0.01 <= y <= y + height <= TOP + HEIGHT + 0.01
        scale = HEIGHT / line.arena
        assert height == pytest.approx(life.nbytes * scale, abs=0.02)
        assert TOP + HEIGHT - y - height == pytest.approx(life.offset * scale, abs=0.02)


@pytest.mark.parametrize(("name", "k"), LINES)
def test_rectangles_overlap_only_where_the_plan_lets_an_output_run_over_an_input(
    name: str, k: int
) -> None:
    line, _ = timeline(name, k)
    for a in line.lives:
        for b in line.lives:
            at_once = a.first <= b.last and b.first <= a.last
            over = a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
            if a is not b and at_once and over:
                assert a.last == b.first or b.last == a.first


@pytest.mark.parametrize(("name", "k"), LINES)
def test_the_marked_step_decides_and_the_bound_is_kept(name: str, k: int) -> None:
    line, svg = timeline(name, k)
    steps = svg.all("g", "step")
    assert len(steps) == len(line.columns)
    assert [i for i, s in enumerate(steps) if "most" in s.kinds] == [line.peak]
    assert all(c.need <= line.columns[line.peak].need <= line.lower_bound for c in line.columns)
    assert line.lower_bound <= line.used <= line.arena
    for t, column in enumerate(line.columns):  # more than what is alive by alignment only
        alive = sum(b.first <= t <= b.last for b in line.lives)
        assert column.need <= column.alive + 7 * alive
    assert max(b.offset + b.nbytes for b in line.lives) == line.used
    assert bool(svg.all("line", "bound")) == (line.lower_bound < line.used)


def test_roles_are_told_apart() -> None:
    roles = {
        name: {b.name: b.role for line in summary.timelines for b in line.lives}
        for name, summary in cases().items()
    }
    streamed = {"x": "input", "a/lines": "ring", "s": "ring", "y": "output"}
    scratch = {f"{name}/scratch": "scratch" for name in "asdy"}
    assert roles["streamed"] == {**streamed, **scratch}
    assert roles["trainable"]["w_trained"] == "state"
    assert roles["staged"]["w2/near"] == "staged"
    assert roles["staged"]["y"] == "activation"
    assert [x.memory for x in cases()["staged"].timelines] == ["ram", "far"]


def test_a_limit_is_drawn_where_the_arena_exceeds_it() -> None:
    line = cases()["digits"].timelines[0]
    assert not read(picture(line, line.arena)).all("line", "limit")
    (limit,) = read(picture(line, line.arena // 2)).all("line", "limit")
    assert float(limit.attributes["y1"]) == pytest.approx(TOP + HEIGHT / 2)


@pytest.mark.parametrize("top", [1, 7, 64, 1_088, 4_095, 4_096, 46_080, 397_920, 10_000_000])
def test_ticks_are_few_round_and_inside(top: int) -> None:
    found = ticks(top)
    assert found[0] == 0
    assert found[-1] <= top
    assert 2 <= len(found) <= 7
    assert len({b - a for a, b in pairwise(found)}) == 1


# Numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_totals_are_those_of_the_program(name: str) -> None:
    summary = cases()[name]
    ram, flash = summary.ram_bytes, summary.flash_bytes
    assert ram.activations + ram.states == summary.arenas[summary.ram.name]
    assert 0 <= ram.scratch <= ram.activations
    used = {n.memory.name: n.used for n in needs(summary)}
    stored = sum(c.nbytes for c in summary.constants if c.memory == summary.flash.name)
    assert flash.constants == stored
    if name != "staged":
        assert ram.total == used[summary.ram.name] == ram.activations + ram.states + 16 + 120
        assert flash.total == used[summary.flash.name] == stored + 2_000
    else:
        assert used["far"] == 300
        assert used["store"] == 14 * 300
        assert (ram.total, flash.total) == (None, None)
    html = page(summary)
    assert f"{used[summary.ram.name]:,} B</b>" in html
    assert f"{used[summary.flash.name]:,} B</b>" in html


def test_the_table_has_every_layer_in_order_with_what_was_fused() -> None:
    summary = cases()["streamed"]
    (section,) = [e for e in read(page(summary)).all("section") if e.attributes["id"] == "layers"]
    rows = section.all("tbody")[0].all("tr")
    names = [row.all("span", "name")[0].attributes["title"] for row in rows]
    assert names == [x.name for x in summary.layers] == ["a", "s", "d", "y"]
    assert "conv2d + add, 7 times" in rows[3].words
    assert [x.times for x in summary.layers] == [13, 7, 7, 7]


def test_kernels_that_lost_are_told_with_their_reasons() -> None:
    summary = cases()["digits"]
    (section,) = [e for e in read(page(summary)).all("section") if e.attributes["id"] == "kernels"]
    told = {(e.all("b")[0].text, e.text) for e in section.all("li")}
    assert ("linear", ": not 1x1 with stride 1 in one group") in told
    steps = [row.all("td")[0].text.split(", ") for row in section.all("tbody")[0].all("tr")]
    assert sorted(int(s) for row in steps for s in row) == [x.step for x in summary.layers]


# Names from a file ------------------------------------------------------------------------

EVIL = "<script>alert('1')</script>\x00\x1b[2J*/ \"&amp;"


def renamed(name: str) -> Summary:
    """The demo's network with a hostile name everywhere."""
    summary = cases()["digits"]
    line = summary.timelines[0]
    return replace(
        summary,
        model=name,
        layers=tuple(replace(x, name=name) for x in summary.layers),
        constants=tuple(replace(c, name=name, layer=name) for c in summary.constants),
        timelines=(
            replace(
                line,
                lives=tuple(replace(b, name=name) for b in line.lives),
                columns=tuple(replace(c, what=name) for c in line.columns),
            ),
        ),
        api=replace(
            summary.api,
            entries=tuple(
                replace(e, inputs=tuple(replace(p, name=name) for p in e.inputs))
                for e in summary.api.entries
            ),
        ),
    )


def test_names_are_escaped_everywhere() -> None:
    html = page(renamed(EVIL))
    root = read(html)
    assert not root.all("script")
    assert "\x00" not in html
    assert "\x1b" not in html
    assert root.all("h1")[0].text.startswith("<script>alert('1')</script>\ufffd")
    code = example(renamed(EVIL))
    assert code.count("/*") == code.count("*/")


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert "\x1b" not in report(renamed(EVIL))
    assert "\x1b" not in text(renamed(EVIL))


def test_markup_escapes_what_is_not_markup() -> None:
    assert tag("p", "a<b", tag("b", "&"), title='"') == '<p title="&quot;">a&lt;b<b>&amp;</b></p>'
    assert tag("rect", x=1.0, y=0.333333, class_=None) == '<rect x="1" y="0.33"></rect>'
    assert isinstance(join("<", Markup("<i></i>")), Markup)
    assert join("<", Markup("<i></i>"), None) == "&lt;<i></i>"


def test_names_are_cut_in_the_middle() -> None:
    assert middle("blocks/0/conv/Relu6", 12) == "blo…nv/Relu6"
    assert middle("a;b", 9) == "a"
    assert middle("abcdef", 3) == "def"


# Whether it fits --------------------------------------------------------------------------


def planned() -> Program:
    return plan(compiler.load(DIGITS).module, small(1 << 20))


def test_advice_for_memory_that_is_too_small_names_layers_and_boards() -> None:
    summary = summarize(planned(), small(700), LINKED, "")
    assert summary.fits is False
    (lack, boards) = advice(summary)
    arena = sum(planned().arenas.values())
    assert lack.title == f"sram lacks {arena + 16 + 120 - 700:,} B"
    told = "\n".join(lack.points)
    assert 'conv2d "depthwise1"' in told
    assert "stem (activation) is 1,024 B, made by conv2d" in told
    assert "of 7 steps need too much" in told
    assert len(boards.points) == len(summary.alternatives) == 3
    sizes = [(b.ram, b.flash) for b in summary.alternatives]
    assert sizes == sorted(sizes)
    assert all(ram >= 1_224 and flash >= 8_953 for ram, flash in sizes)
    root = read(page(summary))
    order = [e.attributes["id"] for e in root.all("section")]
    assert order[0] == "help"
    assert root.all("span", "bad")[0].text == "does not fit"
    assert f"{arena + 16 + 120 - 700:,} B too many" in root.words


def test_steps_beyond_the_limit_are_those_that_need_more() -> None:
    summary = summarize(planned(), small(700), LINKED, "")
    line = summary.timelines[0]
    beyond = [c for c in line.columns if c.need + 136 > 700]
    told = "\n".join(advice(summary)[0].points)
    assert f"{len(beyond)} of 7 steps need too much" in told


def test_advice_for_flash_names_the_largest_constants() -> None:
    summary = summarize(planned(), small(1 << 16, 4_096), LINKED, "")
    (lack, _) = advice(summary)
    assert lack.title.startswith("flash lacks")
    told = "\n".join(lack.points)
    assert "classes/weight is 1,920 B of int8, read by classes" in told
    assert "--optimize size" in told
    assert "float32" not in told


def test_advice_is_honest_where_it_fits() -> None:
    (room,) = advice(cases()["digits"])
    assert room.title == "Room that is left"
    left = 327_680 - (cases()["digits"].ram_bytes.total or 0)
    assert any(f"sram: {left:,} of 327,680 B are left" in p for p in room.points)
    core = summarize(planned(), load("cortex-m4"), LINKED, "")
    assert "there is no limit" in advice(core)[0].points[0]


def test_too_much_is_known_without_linking() -> None:
    assert summarize(planned(), small(700), None, "no compiler").fits is False
    assert summarize(planned(), small(1 << 16), None, "no compiler").fits is None


def test_a_network_that_does_not_fit_can_be_reported_and_not_compiled() -> None:
    model, board = compiler.load(DIGITS), small(512)
    options = compiler.Options(compiler="none")
    with pytest.raises(DoesNotFit, match=r"does not fit into sram by [0-9,]+ bytes"):
        compiler.compile(model, board, options)
    assert compiler.compile(model, board, options, must_fit=False).summary.fits is False


def test_the_certificate_holds_for_what_is_drawn() -> None:
    program = planned()
    check(program, {"flash": True, "sram": True})
    (line,) = summarize(program, small(1 << 16), LINKED, "").timelines
    offsets = {b.name: b.offset for b in line.lives}
    for name, buffer in program.buffers.items():
        if buffer.offset is not None and buffer.within is None:
            assert offsets[name.removeprefix("infer/")] == buffer.offset


# C and CMake ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "trainable", "learner"])
def test_the_c_of_the_page_compiles_next_to_the_header(name: str, tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    model = {
        "digits": lambda: compiler.load(DIGITS),
        "trainable": lambda: compiler.from_module(trainable()),
        "learner": lambda: compiler.from_module(learner()),
    }[name]()
    compiled = compiler.compile(model, load(BOARD), compiler.Options(compiler="none"))
    compiler.write(compiled, tmp_path / "out")
    (tmp_path / "main.c").write_text(example(compiled.summary), encoding="utf-8")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", "-Iout"]
    subprocess.run(["gcc", *flags, "main.c"], cwd=tmp_path, check=True, timeout=60)
    library = cmake(compiled.summary).split()[-1].rstrip(")")
    assert f"add_library({library} " in (tmp_path / "out" / "CMakeLists.txt").read_text("utf-8")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert html == page(compiled.summary)
    assert example(compiled.summary) in {e.text for e in read(html).all("code")}
    assert ("_reset();" in example(compiled.summary)) == (name != "digits")


# Text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["streamed", "trainable"])
def test_the_text_of_a_small_program(golden: Callable[[str, str], None], name: str) -> None:
    known = cases()[name]
    layers = tuple(replace(x, predicted_cycles=10.0 * x.macs) for x in known.layers)
    summary = replace(known, layers=layers, prediction="error as stated", alternatives=())
    golden(report(summary) + "\n", f"report_{name}.txt")


def test_text_without_unicode_says_the_same() -> None:
    plain, drawn = report(renamed("é"), ascii_only=True), report(renamed("é"))
    assert plain.isascii()
    assert len(plain.splitlines()) == len(drawn.splitlines())
    assert report(cases()["digits"], ascii_only=True).isascii()


def test_more_steps_than_columns_still_show_the_one_that_decides() -> None:
    line = cases()["digits"].timelines[0]
    many = tuple(replace(line.columns[0], step=k, need=0, alive=0) for k in range(300))
    long = replace(line, columns=many, peak=151)
    lines = report(replace(cases()["digits"], timelines=(long,))).splitlines()
    marks = [x for x in lines if x.strip() and set(x.strip()) == {"^"}]
    assert len(marks) == 1
    assert max(len(x) for x in lines if "│" in x) <= 102


# The command ------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_report_of_a_folder_equals_what_compile_knew(run: Run, tmp_path: Path) -> None:
    out, html = tmp_path / "out", tmp_path / "again.html"
    assert run("compile", DIGITS, "-d", BOARD, "-o", out, "--compiler", "none").code == 0
    result = run("report", out, "--html", html)
    assert result.code == 0
    assert "sram over the 7 steps of infer: 1,376 B" in result.out
    assert html.read_bytes() == (out / "report.html").read_bytes()
    value = run("report", out, "--json").json
    assert value["timelines"][0]["arena"] == 1_376
    assert run("report", out, "--ascii").out.isascii()
    refused = run("report", out, "-d", BOARD)
    assert refused.code == 1
    assert "the folder is compiled already" in refused.err


def test_report_of_a_network_needs_a_device(run: Run) -> None:
    refused = run("report", DIGITS)
    assert refused.code == 1
    assert "a network needs a device to be reported for" in refused.err
    assert run("report", DIGITS, "-d", BOARD, "--compiler", "none").code == 0


def test_a_damaged_summary_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("compile", DIGITS, "-d", BOARD, "-o", out, "--compiler", "none")
    path = out / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["summary"]["timelines"] = {}
    path.write_text(json.dumps(value), encoding="utf-8")
    refused = run("report", out)
    assert refused.code == 1
    assert "the manifest is damaged" in refused.err
    assert run("report", tmp_path / "nothing", "-d", BOARD).code == 1


@pytest.mark.zig
@pytest.mark.unicorn
def test_counted_instructions_are_in_the_summary_and_on_the_page() -> None:
    model = compiler.load(DIGITS)
    compiled = compiler.counted(compiler.compile(model, load(BOARD)))
    timing = compiled.summary.timing
    assert timing is not None
    assert [s.step for s in timing.steps] == [x.step for x in compiled.summary.layers]
    assert sum(s.instructions for s in timing.steps) <= timing.instructions
    html = page(compiled.summary)
    assert f"{timing.instructions:,}" in html
    assert "Estimate, not a measurement" in html
    assert from_json(json.loads(json.dumps(compiled.summary.to_json()))) == compiled.summary
    assert "estimated time" in report(compiled.summary)
