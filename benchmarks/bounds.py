"""RAM that no schedule goes below, beside what the planner takes: `python -m benchmarks.bounds`.

Bounds are computed, arenas are those of `results.json`, goals are what is aimed at.  A goal is met,
or below the bound and so out of reach of every schedule of the class that `lilliput.plan.bound`
states, or open.  That class computes each value once: a plan that is below computes some again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.networks import CALLBACK, MEMORY, NETWORKS, goal, present
from benchmarks.results import read
from lilliput import compiler
from lilliput.plan.bound import Least, least
from lilliput.report import columns

INPUT = {MEMORY: "in memory", CALLBACK: "callback"}


@dataclass(frozen=True)
class Row:
    """Bytes of one network in one mode; None: not measured, or nothing is aimed at."""

    name: str
    mode: str
    bound: Least
    arena: int | None
    goal: int | None

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        if self.arena is not None and self.arena <= self.goal:
            return "met, computing again" if self.below else "met"
        return "out of reach" if self.bound.nbytes > self.goal else "open"

    @property
    def below(self) -> bool:
        """Whether a plan needs less than any that computes each value once."""
        return self.arena is not None and self.arena < self.bound.nbytes

    def cells(self) -> tuple[str, ...]:
        bound, node = self.bound, self.bound.node
        shape = "x".join(map(str, node.output.type.frame)) if node else ""
        at = f"row {bound.rows}" + (f", pixel {bound.pixels}" if bound.pixels is not None else "")
        return (
            self.name,
            INPUT[self.mode],
            f"{bound.nbytes:,}",
            "-" if self.arena is None else f"{self.arena:,}",
            "-" if self.arena is None else f"{bound.nbytes / self.arena:.1%}",
            "-" if self.goal is None else f"{self.goal:,}",
            self.verdict,
            f"{node.op.name} {shape}, {at}" if node else f"input, {at}",
        )


HEAD = ("network", "input", "bound", "arena", "share", "goal", "", "needed by")


def rows(names: Sequence[str]) -> Iterator[Row]:
    arenas = {(m.name, m.optimize): m.ram_bytes.activations for m in read() if m.toolchain == "gcc"}
    for network, path in present():
        if network.name in names:
            module = compiler.load(path).shrunk.module
            for mode in INPUT:
                print(f"{network.name}, {INPUT[mode]}", file=sys.stderr, flush=True)
                inputs = {v.name for entry in module.graphs for v in module.inputs(entry)}
                bound = least(module, frozenset(inputs if mode == CALLBACK else ()))
                arena = arenas.get((network.name, mode))
                yield Row(network.name, mode, bound, arena, goal(network.name, mode))


def main() -> None:
    parser = argparse.ArgumentParser(description="RAM that no schedule of a class goes below.")
    known = [network.name for network in NETWORKS]
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(known)}")
    names: list[str] = parser.parse_args().networks
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no network {', '.join(unknown)}; there are {', '.join(known)}")
    print(columns(HEAD, [row.cells() for row in rows(names or known)]))


if __name__ == "__main__":
    main()
