"""The order of operators against all orders that there are.

Random work of a few tasks is scheduled in every topological order by a model of its own, which
lists what is alive at each step; the search has to reach the least peak, its bound may not be above
it, and where the given order is as good, it has to stay.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import calls_of, modules

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Builder, Module, Value
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add
from lilliput.ops.shape import Concat, concat
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize
from lilliput.plan.order import Task, Work, best_order, reorder, work_of

M4 = load("cortex-m4")


@st.composite
def works(draw: st.DrawFn, most: int = 6) -> Work:
    """Tasks that read what earlier ones wrote; some write into a storage that others do, too."""
    sizes = [draw(st.integers(0, 20)) for _ in range(draw(st.integers(1, 2)))]
    given_ = frozenset(range(len(sizes)))
    makers: list[set[int]] = [set() for _ in sizes]
    tasks: list[Task] = []
    closed: set[int] = set(given_)
    for k in range(draw(st.integers(1, most))):
        reads = draw(
            st.frozensets(st.sampled_from(sorted(given_ | set(range(len(sizes))))), max_size=3)
        )
        shared = [s for s in range(len(sizes)) if s not in closed | reads]
        if shared and not draw(st.integers(0, 3)):
            target = draw(st.sampled_from(shared))
        else:
            target = len(sizes)
            sizes.append(draw(st.integers(0, 20)))
            makers.append(set())
        closed |= reads
        after = frozenset(m for s in reads for m in makers[s])
        makers[target].add(k)
        tasks.append(Task(after, reads, frozenset({target}), draw(st.booleans())))
    last = {s for s in range(len(sizes)) if not any(s in t.reads for t in tasks)} - given_
    return Work(tuple(tasks), tuple(sizes), given_, frozenset(last))


def orders(work: Work, done: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if len(done) == len(work.tasks):
        yield done
    for i, task in enumerate(work.tasks):
        if i not in done and task.after <= set(done):
            yield from orders(work, (*done, i))


def peak(work: Work, order: tuple[int, ...]) -> int:
    """What is alive at each step by the first and the last step of each storage."""
    first = dict.fromkeys(work.given, -1)
    last: dict[int, int] = dict.fromkeys(work.given, -1)
    for t, i in enumerate(order):
        for s in work.tasks[i].reads | work.tasks[i].writes:
            first.setdefault(s, t)
            last[s] = t
    unread = {s for s in work.given if last[s] < 0 and s not in work.kept}
    last |= dict.fromkeys(work.kept, len(order))
    most = sum(work.sizes[s] for s in work.given - unread)
    for t, i in enumerate(order):
        alive = sum(work.sizes[s] for s in first if first[s] <= t <= last[s] and s not in unread)
        task = work.tasks[i]
        made = sum(work.sizes[s] for s in task.writes if first[s] == t)
        read = sum(work.sizes[s] for s in task.reads - task.writes if last[s] == t)
        most = max(most, alive - (min(made, read) if task.over else 0))
    return most


@given(work=works())
def test_the_best_order_against_all_orders(work: Work) -> None:
    peaks = {order: peak(work, order) for order in orders(work)}
    own = tuple(range(len(work.tasks)))
    found = best_order(work)
    assert found.peak == found.bound == peaks[found.tasks] == min(peaks.values())
    assert peaks[own] > found.peak or found.tasks == own


@given(work=works(most=7), limit=st.integers(0, 6), width=st.integers(1, 3))
def test_a_search_that_is_cut_short_has_a_sound_bound(work: Work, limit: int, width: int) -> None:
    peaks = {order: peak(work, order) for order in orders(work)}
    found = best_order(work, limit, width)
    assert found.bound <= min(peaks.values()) <= found.peak == peaks[found.tasks]
    assert found.peak <= peaks[tuple(range(len(work.tasks)))]
    assert found == best_order(work, limit, width)
