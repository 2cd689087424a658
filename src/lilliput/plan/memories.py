"""Which memories of a board a plan uses, and which constants leave the internal flash.

One idea: a memory that costs more than the default one of its kind is opened only where that makes
the plan faster, or fit.  Those that cost no more are open from the start; the others are opened
one after the other, the cheapest first, each time with a plan of its own; the fastest plan that
fits is taken, what it waits for memories included.  A plan that fits without giving anything up
ends the search, as nothing dearer can be better.

A board with one RAM and one flash has one such plan, the one that it always had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lilliput.devices.device import Device, Memory
from lilliput.errors import UnsupportedError
from lilliput.plan.lifetimes import leaves
from lilliput.plan.objective import (
    CODE_ROOM,
    STACK_ROOM,
    Budget,
    Optimize,
    Prices,
    predicted,
)
from lilliput.plan.program import Call, Kind, Loop, Program
from lilliput.plan.search import best_plan
from lilliput.plan.traffic import traffic

SLICE = 4096
"""Bytes of a slice of weights that is copied, about: two of them lie in RAM."""
WORTH = 256
"""Constants of fewer bytes stay where they are."""

Make = Callable[[Prices], Program]


def further(device: Device, allowed: frozenset[str] | None) -> list[Memory]:
    """The memories beside the defaults that a plan may use by itself, the cheapest first.

    allowed : their names; None: those that the board leaves to the planner.  RAM that kernels
    cannot reach is never among them.  Raises UsageError for a name that the board does not have.
    """
    for name in allowed or ():
        device.memory(name)
    if not device.limits:
        return []
    found = [
        m
        for m in device.memories
        if not m.default
        and (m.kind == "flash" or m.direct)
        and (m.auto if allowed is None else m.name in allowed)
    ]
    return sorted(found, key=lambda m: (m.cost, -m.size))


def levels(device: Device, more: Sequence[Memory]) -> list[tuple[Memory, ...]]:
    """What is open beside the defaults, in the order in which it is tried."""
    ram, rams = device.ram, [m for m in more if m.kind == "ram"]
    free = [m for m in rams if m.cost <= ram.cost]
    dear = [m for m in rams if m not in free]
    flash = tuple(m for m in more if m.kind == "flash")
    found = [(*free, *dear[:k]) for k in range(len(dear) + 1)]
    return found + [(*level, *flash) for level in found if flash]


def used_beside(program: Program, device: Device) -> tuple[Memory, ...]:
    """The memories beside the defaults in which a program has something."""
    used = {b.memory for b in program.buffers.values()}
    return tuple(m for m in device.memories if m.name in used and not m.default)


def best_of_memories(
    make: Make,
    refine: Callable[[Program], Program],
    device: Device,
    optimize: Optimize,
    budget: Budget,
    more: Sequence[Memory],
    *,
    smallest: bool = False,
) -> Program:
    """The best plan over all levels of memories that may be open.

    refine : the best of a level -> what it is with rows moved between memories, if that is better
    smallest : as `best_plan` has it
    """
    if not more:
        return best_plan(make, device, optimize, budget, smallest=smallest)
    tried: list[Program] = []
    for level in levels(device, more):
        flash = any(m.kind == "flash" for m in level)
        if flash and not _over_flash(make(Prices()), device, budget):
            break  # all constants fit into the internal one
        opened = frozenset(m.name for m in level)

        def at(prices: Prices, opened: frozenset[str] = opened) -> Program:
            return make(replace(prices, memories=opened))

        room = sum(m.size for m in level if m.kind == "ram")
        within = replace(budget, flash=float("inf")) if flash else budget
        plain = best_plan(at, device, optimize, within, room, smallest=smallest)
        tried.append(refine(plain))
        free = optimize is Optimize.RAM or plain is at(Prices())
        if free and not any(_overflow(tried[-1], device, budget)):
            break
    return min(tried, key=lambda p: (*_overflow(p, device, budget), predicted(p, device)))


def _overflow(program: Program, device: Device, budget: Budget) -> tuple[float, float]:
    """Bytes that are too many in the default RAM and flash: further ones are never too full."""
    ram = program.arenas.get(device.ram.name, 0) + STACK_ROOM - budget.ram
    return max(ram, 0), max(_over_flash(program, device, budget), 0)


def _over_flash(program: Program, device: Device, budget: Budget) -> float:
    used = program.constants(device.flash.name)
    return max(used + CODE_ROOM - budget.flash, 0)


# Constants --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """Values whose constants live in another flash; `blocks`: channels of a slice of those that are
    brought to RAM slice by slice."""

    homes: Mapping[str, str]
    blocks: Mapping[str, int]


def spill(program: Program, device: Device, budget: Budget, flashes: Sequence[Memory]) -> Moved:
    """The constants that leave the internal flash until the others fit: those of which a call reads
    each byte least often, the largest first among them."""
    calls = [c for e in program.entries for c in e.calls()]
    code = max(CODE_ROOM, sum(c.kernel.code for c in calls))
    buffers = program.buffers
    mine = {n: b for n, b in buffers.items() if b.kind is Kind.CONST and b.within is None}
    here = {n: b for n, b in mine.items() if b.memory == device.flash.name}
    over = sum(b.nbytes for b in here.values()) + code - budget.flash
    read = traffic(program.entries, buffers)
    rooms = {m.name: m.size for m in flashes}
    slices = _slices(program)
    homes: dict[str, str] = {}
    blocks: dict[str, int] = {}
    for name in sorted(
        here, key=lambda n: (read[n].read / here[n].nbytes if n in read else 0, -here[n].nbytes, n)
    ):
        size, value = here[name].nbytes, program.consts[name].value
        if over <= 0:
            break
        target = next((m for m in flashes if rooms[m.name] >= size), None)
        if size < WORTH or target is None or not (target.direct or name in slices):
            continue
        rooms[target.name] -= size
        over -= size
        moved = (n for n, b in buffers.items() if name in (n, b.within))
        homes |= {program.consts[n].value: target.name for n in moved}
        if slices.get(name):
            blocks[value] = slices[name]
    return Moved(homes, blocks)


def _slices(program: Program) -> dict[str, int]:
    """Constants that are operands of calls alone, outside of loops: those can be copied before they
    are read; and channels of a slice, 0 where they are copied whole."""
    found: dict[str, int] = {}
    barred: set[str] = set()
    for step in (s for e in program.entries for s in e.steps):
        for leaf in leaves(step):
            if not isinstance(leaf, Call):
                continue
            own = len(leaf.inputs) - (len(leaf.store.operands) if leaf.store else 0)
            names = [v.buffer for v in leaf.inputs]
            if isinstance(step, Loop):
                barred.update(names)
            barred.update(names[own:])
            barred.update(v.buffer for v in (leaf.store.tables if leaf.store else ()))
            channels = leaf.region.c.extent
            for name in set(names[:own]):
                each = program.buffers[name].nbytes / max(channels, 1)
                found[name] = min(max(int(SLICE / max(each, 1)) // 4 * 4, 4), channels)
    barred.update(s.const for s in program.states if s.const)
    return {n: k for n, k in found.items() if n not in barred}


def with_spilled(
    plain: Program,
    device: Device,
    budget: Budget,
    flashes: Sequence[Memory],
    again: Callable[[Moved], Program],
) -> Program:
    """`plain`, or where its constants do not fit the faster of two programs: what has left is read
    where it is, or comes to RAM in slices where that can be."""
    moved = spill(plain, device, budget, flashes)
    if not moved.homes:
        return plain
    tried = list(_variants(moved, device, again))
    room = budget.ram - STACK_ROOM
    return min(
        tried or [plain],
        key=lambda p: (max(p.arenas.get(device.ram.name, 0) - room, 0), predicted(p, device)),
    )


def _variants(moved: Moved, device: Device, again: Callable[[Moved], Program]) -> Iterator[Program]:
    if all(device.memory(m).direct for m in moved.homes.values()):
        yield again(replace(moved, blocks={}))
    try:
        yield again(moved)
    except UnsupportedError:  # an operator whose only kernels want their weights packed
        far = {v: m for v, m in moved.homes.items() if not device.memory(m).direct}
        if far:
            yield again(Moved(moved.homes, {}))
