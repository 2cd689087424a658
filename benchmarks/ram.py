"""RAM beside other engines, what is aimed at, and what it costs: from the stored results.

One idea: a goal is of the arena, which the planner decides; another engine's figure is its whole
image's or what it published, and stands beside the whole image of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.networks import CALLBACK, GOALS, MEMORY, SPEED, TOOLCHAINS, WITHIN, goal
from lilliput.bench import Figures, Grid, Measurement, peers_of, tables
from lilliput.bench.chart import millions

ENGINES = ("TFLM", "TinyEngine", "X-CUBE-AI")
FASTEST = "TFLM + CMSIS-NN"
"""The other engine that runs all of them."""
CORES = ("cortex-m4", "cortex-m7")
"""For which others' RAM is known; a core changes it little."""


def table(found: Sequence[Measurement]) -> Grid:
    """Every network with a goal, in every mode that has one, and the fastest plan before them."""
    ours = {(m.name, m.optimize): m for m in found if m.toolchain == TOOLCHAINS[0]}
    head = (
        "network",
        *ENGINES,
        "mode",
        "RAM",
        "of it arena",
        "goal",
        "",
        "instructions",
        "to speed",
    )
    rows = list[tuple[str, ...]]()
    for name, goals in GOALS.items():
        modes = [mode for mode in (SPEED, WITHIN, *goals) if (name, mode) in ours]
        for mode in modes:
            m, first = ours[name, mode], mode == modes[0]
            others = [_least(m, engine) if first else "" for engine in ENGINES]
            rows.append((name if first else "", *others, *_cells(m, ours.get((name, SPEED)))))
    return Grid(head, tuple(rows))


def beside(found: Sequence[Measurement]) -> Grid:
    """RAM of engines and of ours, and instructions of the fastest, for networks others run too."""
    ours = {(m.name, m.optimize): m for m in found if m.toolchain == TOOLCHAINS[0]}
    head = (
        "network",
        *(f"{engine}, RAM" for engine in ENGINES),
        "here, RAM",
        "input by callback",
        f"{FASTEST}, instructions",
        "here, fastest",
    )
    rows = list[tuple[str, ...]]()
    for name in GOALS:
        m = ours.get((name, SPEED))
        if m is None or not any(_counted(m, engine) for engine in ENGINES):
            continue
        least = [ours.get((name, mode)) for mode in (MEMORY, CALLBACK)]
        rows.append(
            (
                name,
                *(_least(m, engine) for engine in ENGINES),
                *(f"{plan.ram_bytes.total:,}" if plan else "-" for plan in least),
                next((millions(f.instructions) for f in _known(m, FASTEST) if f.instructions), "-"),
                millions(m.instructions),
            )
        )
    return Grid(head, tuple(rows))


def met(found: Sequence[Measurement]) -> str:
    """How many goals are met, and which are not; plans that are made within one count no more."""
    free = (m for m in found if m.optimize != WITHIN)
    held = [(m, wanted) for m in free if (wanted := _wanted(m)) is not None]
    missed = [f"{m.name} for {m.optimize}" for m, wanted in held if not _holds(m, wanted)]
    return verdict(len(held), missed)


def verdict(count: int, missed: Sequence[str]) -> str:
    """How many of so many goals are met, and which are not."""
    told = f"{count - len(missed)} of {count} goals are met"
    return f"{told}; not met: {', '.join(missed)}." if missed else f"{told}."


def _wanted(m: Measurement) -> int | None:
    return goal(m.name, m.optimize) if m.toolchain == TOOLCHAINS[0] else None


def _holds(m: Measurement, wanted: int) -> bool:
    return m.exact and m.ram_bytes.activations <= wanted


def _cells(m: Measurement, fastest: Measurement | None) -> tuple[str, ...]:
    wanted = _wanted(m)
    return (
        m.optimize,
        f"{m.ram_bytes.total:,}",
        f"{m.ram_bytes.activations:,}",
        "" if wanted is None else f"{wanted:,}",
        "" if wanted is None else "met" if _holds(m, wanted) else "missed",
        f"{m.instructions:,}" if m.exact else tables.EXACT[False],
        f"{m.instructions / fastest.instructions:.2f}" if fastest and m is not fastest else "",
    )


def _least(m: Measurement, engine: str) -> str:
    """The least RAM that an engine takes in any of its ways, and what is to be said of that."""
    counted = _counted(m, engine)
    if not counted:
        return next((f.note for f in _known(m, engine) if f.note), "-")
    nbytes, note = min(counted)
    return f"{nbytes:,}, {note}" if note else f"{nbytes:,}"


def _counted(m: Measurement, engine: str) -> list[tuple[int, str]]:
    return [(f.ram_bytes, f.note) for f in _known(m, engine) if f.ram_bytes is not None]


def _known(m: Measurement, engine: str) -> list[Figures]:
    return [f for core in CORES for f in peers_of(m.sha256, core) if f.engine.startswith(engine)]
