"""The benchmark of training steps: its page is what it holds, and its goals are met."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks import steps
from benchmarks.steps import GOALS, PAGE, known, page

GOAL = [s for s in known() if s.optimize == "goal"]


def test_the_page_has_what_was_measured() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text, known()) == text


def test_every_goal_was_measured_and_is_met() -> None:
    """With an int8 head, on the published board; each step was equal on the emulated core."""
    found = {(s.scheme, s.input) for s in GOAL if s.head == "int8" and s.device == steps.DEVICE}
    assert {goal for goal in GOALS if not goal[0].startswith(steps.OURS)} <= found
    assert all(s.ram <= 1024 * GOALS[s.scheme, s.input] for s in GOAL)
    assert all(s.exact for s in known())


@pytest.mark.parametrize("network", steps.CYCLES)
def test_the_fastest_step_takes_half_the_published_cycles(network: str) -> None:
    mine = [s for s in known() if steps.family(s.scheme) == network and s.optimize == "speed"]
    assert mine
    assert all(2 * s.estimated_cycles < steps.CYCLES[network] * 1e6 for s in mine)


def test_a_row_says_how_it_is_asked_for_and_what_was_missed() -> None:
    step = replace(GOAL[0], scheme="mcunet-49kb", input="callback", head="int8", ram=76_801)
    (row,) = page("<!-- steps -->\n<!-- end -->", [step]).splitlines()[3:-1]
    assert "`--ram 75kB --head int8 --input callback`" in row
    assert "75 kB: missed" in row
