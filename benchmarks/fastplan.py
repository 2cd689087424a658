"""The fast estimate of RAM beside the full planner: `python -m benchmarks.fastplan`.

Three times are measured of each network, in this order:

    cold     nothing is known: the first network of a search
    unseen   it was not seen as a whole, but others of its space were: the layers that it shares
             with them are known, and of loops those that begin at the same place
    again    the same network once more: what a search pays for one it has asked about

Estimates are compared with the arena that the full planner places: for `--optimize speed`, and the
smallest that it finds where no room is enough.  `--optimize ram` may take more than that, where the
last bytes are not worth their cycles; how far the estimate is from it is counted, too.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np

from benchmarks.networks import DEVICE, present
from lilliput import compiler
from lilliput.devices.device import Device, load
from lilliput.ir import Builder, Module, Quant, Value
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear
from lilliput.ops.elementwise import Binary, add
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.ops.shape import Reshape, reshape
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.fast import Known, peak
from lilliput.plan.objective import Budget, Optimize
from lilliput.report import columns

NEAR = 0.02
"""The error that a search can live with."""
FAST = 5.0
"""Milliseconds that it may take, of a network of 60 nodes."""
NODES = 50
"""Random networks that are measured have so many nodes at least."""
NO_ROOM = Budget(ram=0)


# A space of networks ------------------------------------------------------------------------


@dataclass
class _Writer:
    """Layers one after the other; weights are random, about normal, as trained ones are."""

    b: Builder
    rng: np.random.Generator
    count: int = 0

    def conv(self, x: Value, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> Value:
        """Padded so that a stride of 1 keeps the map."""
        self.count += 1
        name, depth = f"conv{self.count}", x.type.shape[3] // groups
        weights = self.rng.normal(0, 30, (channels, kernel, kernel, depth)).clip(-127, 127)
        w = self.b.param(f"{name}_w", weights.astype(np.int8), Quant.per_tensor(0.01))
        bias = self.b.param(f"{name}_b", self.rng.integers(-99, 99, channels).astype(np.int32))
        _, rows, pixels, _ = x.type.shape
        shape = 1, -(-rows // stride), -(-pixels // stride), channels
        half = kernel // 2
        pad = half, half, half, half
        attrs = Conv2d(stride=(stride, stride), pad=pad, groups=groups)
        type = s8(*shape, scale=0.1, zero_point=-128)
        return self.b.add(conv2d, (x, w, bias), attrs, type=type, name=name)

    def block(self, x: Value, channels: int, expand: int, kernel: int, stride: int) -> Value:
        """An inverted residual."""
        inner = x.type.shape[3] * expand
        y = self.conv(x, inner, 1) if expand > 1 else x
        y = self.conv(self.conv(y, inner, kernel, stride, inner), channels, 1)
        if stride > 1 or channels != x.type.shape[3]:
            return y
        self.count += 1
        return self.b.add(add, (x, y), Binary(), type=x.type, name=f"add{self.count}")

    def classes(self, x: Value, count: int) -> Value:
        _, rows, pixels, channels = x.type.shape
        pooled = s8(1, 1, 1, channels, scale=0.1, zero_point=-128)
        x = self.b.add(avg_pool2d, (x,), Pool((rows, pixels)), type=pooled, name="pooled")
        x = self.b.add(reshape, (x,), Reshape((1, channels)), name="flat")
        data = self.rng.integers(-90, 90, (count, channels)).astype(np.int8)
        w = self.b.param("classes_w", data, Quant.per_tensor(0.01))
        return self.b.add(linear, (x, w), Linear(), type=s8(1, count, scale=0.2), name="classes")


STAGES = ((24, 2), (40, 2), (80, 2), (96, 1), (160, 2))
"""(channels, stride) at width 1."""


def network(seed: int, stages: Sequence[tuple[int, int]] = STAGES) -> Module:
    """A network of a space like MobileNetV2's: resolution, widths, depths, kernels and expansions
    are drawn; 20 to 80 nodes."""
    chance = random.Random(seed)
    work = _Writer(Builder(), np.random.default_rng(seed))
    side, width = chance.choice((64, 80, 96, 112, 128, 144)), chance.choice((0.35, 0.5, 0.75))
    x = work.b.input("image", s8(1, side, side, 3, scale=0.1))
    x = work.conv(x, _wide(16 * width), 3, 2)
    x = work.block(x, _wide(16 * width), 1, 3, 1)
    for channels, stride in stages:
        for i in range(chance.randint(1, 4)):
            expand, kernel = chance.choice((3, 4, 6)), chance.choice((3, 5, 7))
            x = work.block(x, _wide(channels * width), expand, kernel, stride if i == 0 else 1)
    return work.b.module((work.classes(x, chance.choice((2, 10, 100))),), name=f"random{seed}")


def _wide(channels: float) -> int:
    """A multiple of 8."""
    return max(8, round(channels / 8) * 8)


# Measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Milliseconds of the estimate, and bytes, in one mode.

    full : what the full planner needs; chosen : what `--optimize` makes of it; None where it was
        not asked
    """

    name: str
    nodes: int
    mode: str
    cold: float
    unseen: float
    again: float
    estimate: int
    full: int | None
    chosen: int | None

    @property
    def error(self) -> float | None:
        return self.estimate / self.full - 1 if self.full else None

    @property
    def below(self) -> float | None:
        return self.estimate / self.chosen - 1 if self.chosen else None


def timed(module: Module, known: Known, streaming: bool) -> tuple[int, float]:
    """(bytes, milliseconds of this process), without waiting for others."""
    start = time.process_time()
    return peak(module, known, streaming=streaming), 1e3 * (time.process_time() - start)


def measure(name: str, module: Module, known: Known, mode: str, *, plans: bool) -> Row:
    """`plans`: whether the full planner is asked, too, which takes a thousand times as long."""
    streaming = mode == Optimize.RAM.value
    device = load(DEVICE)
    estimate, cold = timed(module, Known(known.core), streaming)
    _, unseen = timed(module, known, streaming)
    again = min(timed(module, known, streaming)[1] for _ in range(3))
    if not plans:
        return Row(name, nodes(module), mode, cold, unseen, again, estimate, None, None)
    chosen = full = placed(module, device, PlanOptions(optimize=Optimize(mode)))
    if streaming:
        full = min(full, placed(module, device, PlanOptions(budget=NO_ROOM)))
    return Row(name, nodes(module), mode, cold, unseen, again, estimate, full, chosen)


def placed(module: Module, device: Device, options: PlanOptions) -> int:
    return plan(module, device, options).arenas[device.ram.name]


def nodes(module: Module) -> int:
    return sum(len(g.nodes) for g in module.graphs.values())


def rows(count: int, before: int, first: int, full: int, modes: Sequence[str]) -> Iterator[Row]:
    """Published networks, all of them planned, then random ones, of which `full` are."""
    known = Known(load(DEVICE).core.name)
    seeds = iter(range(first, sys.maxsize))
    mine = list(islice(((s, m) for s in seeds if nodes(m := network(s)) >= NODES), count))
    for k, seed in enumerate(islice(seeds, before)):
        if k % 100 == 0:
            print(f"asked about {k} of {before} other networks", file=sys.stderr, flush=True)
        module = network(seed)
        for mode in modes:
            peak(module, known, streaming=mode == Optimize.RAM.value)
    modules = [(n.name, compiler.load(path).shrunk.module) for n, path in present()]
    modules += [(f"random {seed}", module) for seed, module in mine]
    for k, (name, module) in enumerate(modules):
        print(f"network {k + 1} of {len(modules)}: {name}", file=sys.stderr, flush=True)
        for mode in modes:
            yield measure(name, module, known, mode, plans=k < len(modules) - count + full)


HEAD = (
    "network",
    "nodes",
    "mode",
    "cold ms",
    "unseen ms",
    "again ms",
    "estimate",
    "full",
    "error",
    "--optimize",
)


def cells(row: Row) -> tuple[str, ...]:
    times = (f"{t:.1f}" for t in (row.cold, row.unseen, row.again))
    if row.full is None or row.chosen is None or row.error is None:
        sizes = f"{row.estimate:,}", "-", "-", "-"
    else:
        sizes = f"{row.estimate:,}", f"{row.full:,}", f"{row.error:+.2%}", f"{row.chosen:,}"
    return row.name, str(row.nodes), row.mode, *times, *sizes


def summary(found: Sequence[Row]) -> str:
    errors = [(row.error, row.name) for row in found if row.error is not None]
    below = [row.below for row in found if row.below is not None]
    near, like = (sum(abs(x) <= NEAR for x in xs) for xs in ([e for e, _ in errors], below))
    lines = [f"{found[0].mode}, {len(found)} networks, {len(errors)} of them planned"]
    if errors:
        worst, name = max(errors, key=lambda x: abs(x[0]))
        middle = median(abs(e) for e, _ in errors)
        lines += [f"  {near} within {NEAR:.0%}, median {middle:.2%}, worst {worst:+.2%} ({name})"]
        lines += [f"  {like} within {NEAR:.0%} of what --optimize takes"]
    for what, ms in (
        ("cold", [r.cold for r in found]),
        ("unseen", [r.unseen for r in found]),
        ("again", [r.again for r in found]),
    ):
        fast = sum(t < FAST for t in ms)
        lines.append(
            f"  {what}: median {median(ms):.1f} ms, worst {max(ms):.1f} ms, "
            f"{fast} under {FAST:.0f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The fast estimate of RAM beside the full planner."
    )
    parser.add_argument("--count", type=int, default=50, help="random networks")
    parser.add_argument("--full", type=int, default=12, help="of these, planned in full")
    parser.add_argument("--before", type=int, default=1000, help="networks that were asked about")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--mode", choices=("speed", "ram"), help="one of the two alone")
    options = parser.parse_args()
    modes = [options.mode] if options.mode else ["speed", "ram"]
    found: list[Row] = []
    for row in rows(options.count, options.before, options.seed, options.full, modes):
        found.append(row)
        print("  ".join(cells(row)), flush=True)
    print(columns(HEAD, [cells(row) for row in found]))
    for mode in modes:
        for ours in (True, False):
            mine = [r for r in found if r.mode == mode and r.name.startswith("random ") == ours]
            if mine:
                print(summary(mine))


if __name__ == "__main__":
    main()
