"""Optimal offsets by constraint programming, for what `branch` leaves open.

One idea: the same two-sided choice for every pair of buffers that conflict, given to the CP-SAT
solver of OR-tools (the extra `planner`), with the placement that is known as a hint and the
bound that is proven as a constraint.  One worker, a fixed seed and a limit in deterministic
time make the result a function of the input and of the version of OR-tools, not of the machine.
That is why it is used only where it is asked for: a plan must not depend on what happens to be
installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import util
from typing import Final

from lilliput.errors import MissingTool
from lilliput.plan.arena import Block, Distances, Problem, extent
from lilliput.plan.branch import Placed

LIMIT: Final = 30.0
"""Deterministic time of the solver, about as many seconds."""


def solve(
    blocks: Sequence[Block],
    distances: Distances,
    base: int,
    placed: Placed,
    limit: float = LIMIT,
) -> Placed:
    """The smallest placement that is found within `limit`, and the bound that is proven by then;
    never worse than `placed` in either.

    Raises MissingTool where OR-tools is not installed, unless `placed` is optimal already.
    """
    if placed.bound >= placed.top:
        return placed
    if util.find_spec("ortools") is None:
        raise MissingTool(
            "OR-tools, which finds optimal offsets, is not installed",
            expected="the Python package ortools",
            found=f"a plan of {placed.top:,} B, proven to be within {placed.top - placed.bound:,} B"
            " of the optimum without it",
            hint='pip install "lilliput[planner]", or do without exact offsets',
        )
    from ortools.sat.python import cp_model

    model, problem = cp_model.CpModel(), Problem(blocks, distances, base)
    top = model.new_int_var(placed.bound, placed.top, "top")
    units = [
        model.new_int_var(start // align, (placed.top - nbytes) // align, "")
        for start, align, nbytes in zip(problem.starts, problem.aligns, problem.sizes, strict=True)
    ]
    offsets = [unit * align for unit, align in zip(units, problem.aligns, strict=True)]
    for i, nbytes in enumerate(problem.sizes):
        model.add(offsets[i] + nbytes <= top)
        model.add_hint(units[i], placed.offsets[blocks[i].name] // blocks[i].align)
    for i, j, gap_j, gap_i in problem.pairs():
        lower = model.new_bool_var("")
        below = model.add(offsets[j] - offsets[i] >= gap_j)
        above = model.add(offsets[i] - offsets[j] >= gap_i)
        # OR-tools gives one overload no type
        below.only_enforce_if(lower)  # pyright: ignore[reportUnknownMemberType]
        above.only_enforce_if(~lower)  # pyright: ignore[reportUnknownMemberType]
    model.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = limit
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return placed
    found = {b.name: solver.value(u) * b.align for b, u in zip(blocks, units, strict=True)}
    end = extent(blocks, found)
    bound = max(placed.bound, math.ceil(solver.best_objective_bound - 1e-6))
    if end >= placed.top:
        return Placed(placed.offsets, placed.top, min(bound, placed.top))
    return Placed(found, end, min(bound, end))
