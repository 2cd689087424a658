"""A budget of RAM, and the front that a plan was chosen from.

One idea: what is promised of a budget (kept to, never slower than with less, an error with the
smallest plan where nothing fits) is asked of whole compilations; the front is held against the
plans that are made when its bytes are asked for.
"""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli_case import Run, runner
from tests.test_programs import inverted_residual, trainable

from lilliput import compiler
from lilliput.cli import common
from lilliput.demo_data import digits_model
from lilliput.devices.device import load
from lilliput.errors import DoesNotFit, UsageError
from lilliput.ir import Builder, Module, Quant
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.plan.build import PlanOptions, plan, plan_on_front
from lilliput.plan.front import Point, front, thin
from lilliput.plan.objective import STACK_ROOM, Budget, Optimize
from lilliput.plan.partition import Cut
from lilliput.report import page, report

DIGITS = str(digits_model())
CORE = "cortex-m4"
DEVICE = load(CORE)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@cache
def digits() -> compiler.Model:
    return compiler.load(DIGITS)


def made(ram: int | None, optimize: Optimize = Optimize.SPEED) -> compiler.Compiled:
    options = compiler.Options(compiler="none", ram=ram, optimize=optimize)
    return compiler.compile(digits(), DEVICE, options)


# Sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("49152", 49_152),
        ("48kB", 49_152),
        ("48KB", 49_152),
        ("48 kb", 49_152),
        ("0.5MB", 524_288),
        ("7B", 7),
        ("1.5kB", 1_536),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert common.size(text, "--ram") == count


@pytest.mark.parametrize(
    "text", ["", "kB", "0", "0.1", "-5", "1e9", "48 kg", "0x10", "1.5.0", "9" * 40, "٤٨"]
)
def test_other_sizes_are_refused_with_the_forms_that_are_taken(text: str) -> None:
    with pytest.raises(UsageError, match=r"--ram: no such size[\s\S]*49152, 48kB or 0\.5MB"):
        common.size(text, "--ram")


# Budgets ----------------------------------------------------------------------------------


def test_a_budget_is_kept_to_and_never_makes_a_plan_faster() -> None:
    free = made(None)
    fastest, least = free.summary.front[0], made(None, Optimize.RAM).program.arenas["ram"]
    assert least < fastest.ram_bytes
    cycles = free.summary.predicted_cycles
    for arena in sorted({fastest.ram_bytes, (fastest.ram_bytes + least) // 2, least}, reverse=True):
        found = made(arena + STACK_ROOM)
        assert found.program.arenas["ram"] <= arena
        assert found.summary.predicted_cycles >= cycles
        cycles = found.summary.predicted_cycles


@pytest.mark.parametrize("optimize", list(Optimize))
def test_every_objective_keeps_to_a_budget(optimize: Optimize) -> None:
    least = made(None, Optimize.RAM).program.arenas["ram"]
    assert made(least + STACK_ROOM, optimize).program.arenas["ram"] <= least


@pytest.mark.parametrize("optimize", list(Optimize))
def test_where_nothing_fits_the_smallest_plan_and_what_decides_it_are_named(
    optimize: Optimize,
) -> None:
    least = made(None, Optimize.RAM).program.arenas["ram"]
    with pytest.raises(DoesNotFit) as raised:
        made(100, optimize)
    told = str(raised.value)
    assert re.search(
        r"does not fit into ram by [\d,]+ bytes\s+"
        r"expected: at most 100 bytes, as --ram says\s+"
        r"found: [\d,]+ bytes in the smallest plan that was found; most is needed at \S+ .*\d",
        told,
    ), told
    found = re.search(r"found: ([\d,]+) bytes", told)
    assert found
    assert int(found[1].replace(",", "")) <= least


def long_names() -> compiler.Model:
    """Four layers that stream, each by a name as TFLite joins them."""
    b = Builder()
    y = b.input("image", s8(1, 64, 64, 3, scale=0.1))
    for i, channels in enumerate((16, 16, 16, 2)):
        data = np.ones((channels, 3, 3, y.type.shape[3]), np.int8)
        w = b.param(f"w{i}", data, Quant.per_tensor(0.1))
        type = s8(1, 64, 64, channels, scale=0.2)
        name = ";".join(
            f"model/block_{i}/{'deep/' * 30}{part}" for part in ("conv", "norm", "relu")
        )
        y = b.add(conv2d, (y, w), Conv2d(pad=(1, 1, 1, 1)), type=type, name=f"y{i}", origin=name)
    return compiler.from_module(b.module((y,), name="long"))


def test_a_loop_that_does_not_fit_is_told_in_a_few_words() -> None:
    """By its first and its last layer, what keeps most there, and what to do about the input."""
    options = compiler.Options(compiler="none", ram=4096, optimize=Optimize.RAM)
    with pytest.raises(DoesNotFit) as raised:
        compiler.compile(long_names(), DEVICE, options)
    told = str(raised.value)
    assert re.search(
        r"most is needed at a loop of 4 layers, \d+ times: "
        r'conv2d "model/block_0\S*…\S*/conv" to conv2d "model/block_3\S*…\S*/conv", '
        r"[\d,]+ bytes: y\d/lines \(ring\) [\d,]+, image \(input\) 12,288, y3 \(output\) 8,192, "
        r"of which some lie over one another\n",
        told,
    ), told
    assert "take the rows of the input one by one (--input callback), or allow more RAM" in told
    assert len(told) < 700


def test_a_budget_never_allows_more_than_a_board_has() -> None:
    board = load("stm32f746")
    options = compiler.Options(compiler="none", ram=1 << 30)
    summary = compiler.compile(digits(), board, options).summary
    assert summary.ram.size == board.ram_bytes
    assert options.plan_for(board, digits().module).budget == Budget.of(board)


def test_a_core_has_no_limit_but_the_budget() -> None:
    summary = made(1 << 20).summary
    assert summary.ram.size == 1 << 20
    assert summary.flash.size is None
    assert f"  allowed       {1 << 20:>10,} B" in report(summary)


# The front --------------------------------------------------------------------------------

NETWORKS = {
    "digits": lambda: digits().module,
    "residual": inverted_residual,
    "trainable": trainable,
}


def is_front(points: tuple[Point, ...]) -> bool:
    return all(
        a.ram_bytes > b.ram_bytes and a.predicted_cycles < b.predicted_cycles
        for a, b in pairwise(points)
    )


@pytest.mark.parametrize("optimize", list(Optimize))
@pytest.mark.parametrize("name", NETWORKS)
def test_the_front_is_sorted_and_holds_the_plan(name: str, optimize: Optimize) -> None:
    module: Module = NETWORKS[name]()
    options = PlanOptions(optimize=optimize)
    program, points = plan_on_front(module, DEVICE, options)
    assert program.arenas == plan(module, DEVICE, options).arenas
    assert is_front(points)
    (chosen,) = [p for p in points if p.chosen]
    if len(program.entries) == 1:
        assert chosen.ram_bytes == program.arenas["ram"]
    assert 1 <= len(points) <= 12


def test_what_the_front_promises_can_be_planned() -> None:
    module = digits().module
    _, points = plan_on_front(module, DEVICE)
    assert len(points) > 2
    for p in points:
        budget = Budget(ram=p.ram_bytes + STACK_ROOM)
        program, again = plan_on_front(module, DEVICE, PlanOptions(budget=budget))
        (chosen,) = [q for q in again if q.chosen]
        assert program.arenas["ram"] <= p.ram_bytes
        assert chosen.predicted_cycles <= 1.03 * p.predicted_cycles


def test_groups_that_were_said_have_no_front() -> None:
    options = PlanOptions(streams=(("a", "s", "d", "y"),))
    assert plan_on_front(inverted_residual(), DEVICE, options)[1] == ()


CUTS = st.lists(st.builds(Cut, st.just(()), st.integers(0, 9_999), st.floats(0, 1e6), st.just(0.0)))
CHOSEN = st.builds(Point, st.integers(0, 9_999), st.floats(0, 1e6), st.just(True))


@given(CUTS, st.integers(0, 99), CHOSEN)
def test_any_cuts_make_a_front_around_the_plan(cuts: list[Cut], states: int, plan: Point) -> None:
    points = front(cuts, states, plan)
    assert is_front(points)
    assert points.count(plan) == 1
    assert 1 <= len(points) <= 12


@given(st.integers(1, 40), st.integers(3, 12), st.data())
def test_thinning_keeps_ends_and_plan(count: int, most: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, count - 1))
    points = [Point(1_000 - 10 * k, float(k), k == at) for k in range(count)]
    left = thin(points, most)
    assert len(left) == min(count, most)
    assert {points[0], points[-1], points[at]} <= set(left)
    assert list(left) == [p for p in points if p in left]


# What is shown ----------------------------------------------------------------------------


def test_compile_writes_the_front(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out, "--json")
    found = run(*common, "--ram", "0.5MB").json["plan"]
    assert [set(p) for p in found["front"]] == [{"ram_bytes", "predicted_cycles", "chosen"}] * len(
        found["front"]
    )
    assert sum(p["chosen"] for p in found["front"]) == 1
    assert found["front"][0] == {
        "ram_bytes": found["arenas"]["ram"],
        "predicted_cycles": sum(x["predicted_cycles"] for x in found["layers"]),
        "chosen": True,
    }
    stored = json.loads((out / "manifest.json").read_text())["summary"]
    assert stored["front"] == found["front"]


def test_text_and_page_draw_the_front() -> None:
    summary = made(None).summary
    points, told, drawn = summary.front, report(summary), page(summary)
    assert f"{points[0].ram_bytes:,} B, this plan" in told
    assert f"{points[-1].ram_bytes:,} B  " in told
    assert 'id="front"' in drawn
    picture = drawn[drawn.index('id="front"') :].partition("</svg>")[0]
    assert picture.count("<circle") == len(points)
    assert picture.count('class="point chosen"') == 1
    for p in points:
        assert f"{p.ram_bytes:,} B, {p.predicted_cycles:,.0f} cycles predicted" in picture
    assert "arena, bytes of RAM" in picture


@pytest.mark.parametrize("command", ["compile", "check", "profile", "report"])
def test_commands_take_a_budget(run: Run, tmp_path: Path, command: str) -> None:
    more = ("-o", tmp_path / "out") if command == "compile" else ()
    result = run(command, DIGITS, "-d", CORE, *more, "--ram", "lots")
    assert result.code == 1
    assert result.err.endswith(
        "--ram: no such size\n"
        "  expected: bytes, 1 or more, as in 49152, 48kB or 0.5MB (a kB is 1,024 bytes)\n"
        "  found: lots\n"
    )


def test_compile_leaves_with_1_where_nothing_fits(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("compile", DIGITS, "-d", CORE, "--compiler", "none", "-o", out, "--ram", "100")
    assert result.code == 1
    assert "at most 100 bytes, as --ram says" in result.err
    assert not out.exists()


@pytest.mark.zig
@pytest.mark.unicorn
def test_check_tells_that_a_budget_is_not_kept(run: Run) -> None:
    result = run("check", DIGITS, "-d", CORE, "--samples", "1", "--ram", "100")
    assert result.code == 1
    assert re.search(r"take [\d,]+ B of RAM, of which 100 B are allowed", result.out)
