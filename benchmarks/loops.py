"""What streaming costs by itself: `python -m benchmarks.loops [--only NAME]`.

Of each network that has a goal the plan within it, which streams, and the same kernels layer by
layer, whatever RAM that takes; instructions of one inference, counted on an emulated core.  The
fastest plan at any RAM has other kernels, for which the goal leaves no scratch: that difference is
in `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import sys
from math import inf

from benchmarks.networks import DEVICE, GOALS, WITHIN, goal, present
from lilliput import compiler
from lilliput.devices.device import Device, load
from lilliput.errors import LilliputError
from lilliput.ir import Module
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.maker import Maker
from lilliput.plan.objective import STACK_ROOM, Budget, Prices, calls_of
from lilliput.plan.program import Program
from lilliput.plan.quiet import planning


@planning()
def layered(module: Module, device: Device, program: Program) -> Program:
    """The kernels of a program, one after the other.

    Raises LilliputError where others are taken.
    """
    calls = calls_of(program)
    scratch = {c.value.name: float(c.kernel.scratch(c.node)) for c in calls}
    planar = {c.output.root for c in calls if c.output.is_planar}
    names = {v.name for graph in module.graphs.values() for v in graph.values()} | scratch.keys()
    prices = Prices(scratch=scratch, rows=frozenset(names - planar), ram=inf)
    found = Maker(module, device, PlanOptions())(prices)
    kernels = [{c.value.name: c.kernel.name for c in calls_of(p)} for p in (program, found)]
    if kernels[0] != kernels[1]:
        raise LilliputError("layer by layer other kernels are taken", where=module.name)
    return found


def instructions(model: compiler.Model, device: Device, program: Program) -> int:
    """Of one inference; raises LilliputError where it is not exact."""
    options = compiler.Options(shrink=False)
    counted = compiler.profile(model, device, options=options, program=program)
    if not counted.exact:
        raise LilliputError("a run is not exact", where=model.module.name)
    return counted.instructions


def main() -> None:
    parser = argparse.ArgumentParser(description="What streaming costs by itself.")
    parser.add_argument("--only", action="append", help="this network (repeatable)")
    chosen = parser.parse_args()
    device = load(DEVICE)
    print("| network | arena | instructions | layer by layer, arena | instructions | ratio |")
    print(f"|{'---|' * 6}")
    for network, path in present():
        arena = goal(network.name, WITHIN)
        if arena is None or network.name not in (chosen.only or GOALS):
            continue
        print(f"counting {network.name}", file=sys.stderr)
        model = compiler.from_module(compiler.load(path).shrunk.module)
        options = PlanOptions(budget=Budget(ram=arena + STACK_ROOM))
        streaming = plan(model.module, device, options)
        both = streaming, layered(model.module, device, streaming)
        counts = [instructions(model, device, p) for p in both]
        sizes = [
            f"{p.arenas[device.ram.name]:,} B | {n:,}" for p, n in zip(both, counts, strict=True)
        ]
        print(
            f"| {network.name} | {sizes[0]} | {sizes[1]} | {counts[0] / counts[1]:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
