"""Backward: which rows of each value a step reads, and where they come from.

One idea: a row that is read is either steady and older than the newest, then a step before has
computed it and a ring holds it; or it is computed now, and asks for rows of its operands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.region import Interval, clamp
from lilliput.passes.streaming.follow import Read, Track, Tracks


@dataclass(frozen=True)
class Rows:
    """Where the rows of a value come from in a step.

    pieces : rows that are computed, ascending
    ring : rows that are kept, up to the newest steady one; None: nothing is
    fresh : of them those that the step adds
    """

    pieces: tuple[Interval, ...]
    ring: Interval | None
    fresh: Interval


def frames(tracks: Tracks) -> int:
    """The fewest frames by which every value moves by whole rows."""
    steady = (t for t in tracks.values() if t is not None and t.steady != (0, 0))
    return math.lcm(*(t.rate.denominator for t in steady))


def newest(track: Track, hop: int) -> Interval:
    """The rows of an output that a step of `hop` frames gives."""
    return max(0, track.rows - math.ceil(track.rate * hop)), track.rows


def demand(graph: Graph, source: str, tracks: Tracks, hop: int) -> dict[str, Rows]:
    """For every value with an axis of time; `hop` frames a step, a multiple of `frames`."""
    needed: dict[str, set[int]] = {n: set() for n, t in tracks.items() if t is not None}
    found: dict[str, Rows] = {}
    for value in graph.outputs:
        track = tracks.get(value.name)
        if track is not None:
            needed[value.name].update(range(*newest(track, hop)))
    for node in reversed(graph.nodes):
        if node.output.name not in tracks:
            continue
        track, name = tracks[node.output.name], node.output.name
        if track is None:
            for value in node.inputs:
                _need(value.name, needed, tracks, None)
            continue
        found[name] = _rows(track, node, needed[name], hop)
        for value, read in zip(node.inputs, track.reads, strict=True):
            for piece in found[name].pieces:
                part = None if read is None else reads(value, read, piece)
                _need(value.name, needed, tracks, part)
    track = tracks[source]
    assert track is not None
    given = (track.rows - hop, track.rows)
    ring = _rows(track, None, needed[source], hop).ring
    found[source] = Rows((given,), ring, given)
    return found


def reads(value: Value, read: Read, piece: Interval) -> Interval:
    """The rows of an operand that `piece` of the result reads."""
    axis, rule = read
    return clamp(rule.needs(*piece), value.type.shape[axis])


def _need(name: str, needed: Mapping[str, set[int]], tracks: Tracks, part: Interval | None) -> None:
    track = tracks.get(name)
    if track is not None:
        needed[name].update(range(*(part or (0, track.rows))))


def _rows(track: Track, node: Node | None, needed: set[int], hop: int) -> Rows:
    """node : that computes the value, None for the input"""
    low, high = track.steady
    fresh = (max(low, high - math.floor(track.rate * hop)), high)
    old = [i for i in needed if low <= i < fresh[0]]
    ring = (min(old), high) if old else None
    now = {i for i in needed if not low <= i < fresh[0]}
    now.update(range(*fresh) if ring else ())
    if track.undivided and now:
        now.update(range(track.rows))
    pieces = _runs(now)
    if node is not None:
        now.update(i for piece in pieces for i in range(*_grown(node, track, piece)))
        pieces = _runs(now)
    return Rows(pieces, ring, fresh)


def _runs(rows: Iterable[int]) -> tuple[Interval, ...]:
    runs: list[Interval] = []
    for i in sorted(rows):
        if runs and runs[-1][1] == i:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
    return tuple(runs)


def _grown(node: Node, track: Track, piece: Interval) -> Interval:
    """`piece` with as many rows more as it takes to read one of each operand: what lies in a
    margin alone has nothing to be computed of."""
    low, high = piece
    for value, read in zip(node.inputs, track.reads, strict=True):
        if read is None:
            continue
        axis, rule = read
        extent = value.type.shape[axis]
        while rule.needs(low, high)[1] <= 0 and high < track.rows:
            high += 1
        while rule.needs(low, high)[0] >= extent and low > 0:
            low -= 1
    return low, high
