"""A `Summary` on a terminal: the short text, and all of the report as text.

One idea: memory over time is a grid of letters, a column a step and a row a slice of addresses,
so that it needs neither colour nor a browser.  Only `Glyphs` knows about Unicode.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass

from lilliput.report.fit import advice
from lilliput.report.front import front_text
from lilliput.report.overtime import frames_text, macs_text, streaming_text
from lilliput.report.removed import removed_text
from lilliput.report.summary import Layer, Life, Summary, Timeline
from lilliput.report.words import VERDICT, columns, middle, placement, printable, short, size, total

ROWS = 16
WIDTH = 100
LEGEND = 16
LAYER = 84
"""How long the words for the fullest step may be."""


@dataclass(frozen=True)
class Glyphs:
    """What bars and free memory are drawn with; `parts` are bars shorter than one character."""

    full: str
    parts: str
    free: str
    edge: str


UNICODE = Glyphs("█", " ▏▎▍▌▋▊▉", "·", "│")
ASCII = Glyphs("#", " ", ".", "|")


def text(summary: Summary) -> str:
    """The summary as a person reads it on a terminal."""
    ram, flash, top = summary.ram_bytes, summary.flash_bytes, summary.peak
    rows: list[tuple[str, str]] = [
        ("model", summary.model),
        ("device", summary.device),
        ("compiler", summary.compiler or f"none: {summary.missing}"),
        *_over_time(summary),
        ("MACs", f"{summary.macs:,}{_before(summary)}"),
        *_recomputed(summary),
        *(("STAYS FLOAT", name) for name in summary.islands),
        *(("NOT ROUNDED", name) for name in summary.unrounded),
        ("RAM", total(ram.total)),
        *((("  allowed", size(summary.allowed)),) if summary.allowed is not None else ()),
        ("  activations", size(ram.activations)),
        *(("  input", f"{name}, row by row: not counted as a whole") for name in summary.rowwise),
        ("  states", size(ram.states)),
        ("  static data", size(ram.static)),
        ("  stack (bound)", size(ram.stack)),
        ("flash", total(flash.total)),
        ("  constants", size(flash.constants)),
        ("  code", size(flash.code)),
        ("fullest at", short(top.layer, LAYER)),
        ("", f"{top.nbytes:,} B alive, some of them over one another"),
        *(
            (f"{name} arena", placement(used, summary.bounds[name]))
            for name, used in summary.arenas.items()
        ),
        *_further(summary),
        ("fits", VERDICT[summary.fits]),
    ]
    return printable("\n".join(f"{name:<16}{value}" for name, value in rows))


def _further(summary: Summary) -> Iterator[tuple[str, str]]:
    """What memories beside the defaults hold, and what several RAMs cost."""
    sizes = {m.name: m.size for m in summary.board.memories if not m.default}
    for use in summary.memories:
        if use.name in sizes and use.total is not None:
            limit = sizes[use.name]
            of = "" if limit is None else f" of {limit:,} B"
            what = "constants" if use.kind == "flash" else "arena"
            yield use.name, f"{use.total:,} B{of}: {what}"
    if summary.waiting is not None:
        found = summary.waiting
        best = "" if found.exact else f", at least {found.bound:,.0f} for any choice of memories"
        yield "waits for RAM", f"{found.cycles:,.0f} cycles, by the board's numbers{best}"


def _over_time(summary: Summary) -> Iterator[tuple[str, str]]:
    found = summary.streaming
    if found is not None:
        yield "over time", frames_text(found)
        yield "", f"{macs_text(found)}, {found.ring_bytes:,} B of rings"


def _recomputed(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.recomputed:
        share = summary.extra_macs / (summary.macs - summary.extra_macs)
        yield "  computed again", f"{summary.extra_macs:,} of them, {share:.1%} of the network's"
    if summary.paged:
        count, memories = len(summary.paged), ", ".join(sorted({p.memory for p in summary.paged}))
        what = "1 value" if count == 1 else f"{count} values"
        yield "  paged", f"{what} to {memories} and back, {summary.paged_bytes:,} B moved"


def _before(summary: Summary) -> str:
    found = summary.shrinking
    return f" left of {found.before.macs:,}" if found else ""


def report(summary: Summary, *, ascii_only: bool = False) -> str:
    """Everything that the page shows, for a terminal of WIDTH columns."""
    glyphs = ASCII if ascii_only else UNICODE
    parts = [text(summary), *_work(summary)]
    parts += ["\n".join(_memory(line, glyphs)) for line in summary.timelines]
    parts += front_text(summary)
    parts.append(_layers(summary, glyphs))
    if summary.streaming is not None:
        parts.append(streaming_text(summary.streaming))
    if summary.shrinking is not None:
        parts.append(removed_text(summary.shrinking))
    for found in advice(summary):
        parts.append("\n".join([found.title, *(f"  - {point}" for point in found.points)]))
    whole = printable("\n\n".join(parts))
    if not ascii_only:
        return whole
    return whole.replace("…", "~").encode("ascii", "replace").decode("ascii")


def _work(summary: Summary) -> Iterator[str]:
    timing = summary.timing
    rows = [
        ("predicted cycles", f"{summary.predicted_cycles:,.0f}, by the planner"),
        ("", summary.prediction),
    ]
    if timing is not None:
        cycles = timing.estimated_cycles
        rows += [
            ("instructions", f"{timing.instructions:,}, counted, {timing.compiler}"),
            ("estimated cycles", "unknown" if cycles is None else f"{cycles:,.0f}"),
            ("", timing.cycle_model),
        ]
        if cycles is not None and summary.board.clock_hz:
            clock = summary.board.clock_hz
            rows.append(
                ("estimated time", f"{cycles / clock * 1000:.2f} ms at {clock / 1e6:g} MHz")
            )
    yield "\n".join(f"{name:<18}{value}" for name, value in rows)


# Memory over time -------------------------------------------------------------------------


def _memory(line: Timeline, glyphs: Glyphs) -> Iterator[str]:
    yield (
        f"{line.memory} over the {len(line.columns)} steps of {line.entry}: "
        + placement(line.used, line.lower_bound)
    )
    letters = dict(zip(line.lives, _letters(line), strict=True))
    slots = _slots(line)
    rows = max(1, min(ROWS, line.arena))
    for r in reversed(range(rows)):
        low, high = r * line.arena // rows, (r + 1) * line.arena // rows
        cells = "".join(
            letters[life] if (life := _owner(line, t, low, high)) else glyphs.free for t in slots
        )
        yield f"{high:>11,} {glyphs.edge}{cells}{glyphs.edge}"
    if line.columns:
        yield " " * 13 + "".join("^" if t == line.peak else " " for t in slots).rstrip()
        top = line.columns[line.peak]
        yield f"{'':>13}fullest at step {top.step}, {short(top.what, LAYER)}: {top.need:,} B"
    yield ""
    biggest = sorted(line.lives, key=lambda b: (-b.nbytes, b.first, b.name))[:LEGEND]
    head = ("   buffer", "role", "bytes", "offset", "steps")
    yield columns(
        head,
        [
            (
                f"{letters[b]}  {middle(b.name, 44)}",
                b.role,
                f"{b.nbytes:,}",
                f"{b.offset:,}",
                _span(line, b),
            )
            for b in biggest
        ],
    )
    if len(line.lives) > LEGEND:
        yield f"   and {len(line.lives) - LEGEND} smaller"


def _letters(line: Timeline) -> Iterator[str]:
    """States are capitals; the others go through the alphabet, again and again."""
    counts = {True: 0, False: 0}
    for life in line.lives:
        is_state = life.role == "state"
        alphabet = string.ascii_uppercase if is_state else string.ascii_lowercase
        yield alphabet[counts[is_state] % len(alphabet)]
        counts[is_state] += 1


def _slots(line: Timeline) -> list[int]:
    """The column that each character stands for, from left to right."""
    count, room = len(line.columns), WIDTH - 14
    if not count:
        return [0] * 8
    if count >= room:
        # Every step that decides is drawn; of the others as many as there is room for.
        kept = {k * count // room for k in range(room)}
        kept = kept if line.peak in kept else {*kept, line.peak}
        return sorted(kept)
    return [t for t in range(count) for _ in range(min(6, room // count))]


def _owner(line: Timeline, t: int, low: int, high: int) -> Life | None:
    """Whose most of these bytes are at a step; of buffers over one another, the later."""
    best: tuple[int, int, Life] | None = None
    for life in line.lives:
        if life.first <= t <= life.last:
            part = min(high, life.offset + life.nbytes) - max(low, life.offset)
            if part > 0 and (best is None or (part, life.first) > best[:2]):
                best = (part, life.first, life)
    return best[2] if best and 2 * best[0] >= high - low else None


def _span(line: Timeline, life: Life) -> str:
    """The steps of a life, by their numbers."""
    if not line.columns:
        return "-"
    first = "in" if life.first < 0 else str(line.columns[life.first].step)
    end = life.last >= len(line.columns)
    return f"{first} - {'out' if end else line.columns[life.last].step}"


# Layers -----------------------------------------------------------------------------------


def _layers(summary: Summary, glyphs: Glyphs) -> str:
    timed = {s.step: s for s in summary.timing.steps} if summary.timing else {}
    cost = [_cost(summary, x) for x in summary.layers]
    most = max(cost, default=0.0)
    head = ["step layer", "operator", "kernel", "output", "MACs", "weights", "scratch"]
    head += ["instructions"] if timed else []
    head += ["cycles", ""]
    rows: list[list[str]] = []
    for x, cycles in zip(summary.layers, cost, strict=True):
        row = [
            f"{x.step:>4} {middle(x.name, 32)}",
            "+".join((x.operator, *x.fused)),
            x.kernel,
            x.output,
            f"{x.macs:,}",
            f"{x.weight_bytes:,}",
            f"{x.scratch_bytes:,}",
        ]
        row += [f"{timed[x.step].instructions:,}" if x.step in timed else "-"] if timed else []
        rows.append([*row, f"{cycles:,.0f}", _bar(cycles, most, glyphs)])
    kind = "estimated where counted, else predicted" if timed else "predicted"
    return f"{columns(head, rows)}\n\ncycles: {kind}"


def _cost(summary: Summary, layer: Layer) -> float:
    """Estimated cycles where they are known, else predicted."""
    for step in summary.timing.steps if summary.timing else ():
        if step.step == layer.step and step.estimated_cycles is not None:
            return step.estimated_cycles
    return layer.predicted_cycles


def _bar(value: float, most: float, glyphs: Glyphs, width: int = 10) -> str:
    steps = len(glyphs.parts)
    eighths = round(value / most * width * steps) if most else 0
    full, part = divmod(eighths, steps)
    return (glyphs.full * full + (glyphs.parts[part] if part else "")).ljust(width)
