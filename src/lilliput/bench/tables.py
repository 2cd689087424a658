"""Measurements as tables, other engines beside them, and as bars for a terminal.

One idea: a table is rows of text made from measurements and `peers`; nothing is worked out that
is not in one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lilliput.bench.grid import Grid
from lilliput.bench.kinds import Kind, Share
from lilliput.bench.measure import Measurement
from lilliput.bench.peers import Conditions, conditions, goal_of, peers_of
from lilliput.devices import cores
from lilliput.emu.cycles import cycle_model

BAR = 40
EXACT = {True: "exact", False: "DIFFERS"}
CLOSE = 1.15
"""How many times GCC's instructions those of another compiler may be."""


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def model_error(core: str) -> str:
    """How many times the estimate boards took, as far as it is known."""
    model = cycle_model(cores()[core])
    error = model.error if model else None
    return f"×{error.low:.2f}-{error.high:.2f}" if error else "-"


def how_estimated(core: str) -> str:
    """Where our counts and cycles are from, with what is known of the error."""
    model = cycle_model(cores()[core])
    text = "instructions counted on an emulated core; cycles "
    return text + (f"estimated: {model.error_note}" if model else "not estimated")


# Ours -------------------------------------------------------------------------------------

Column = tuple[str, Callable[[Measurement], str]]
"""A head, and what stands below it."""

WHICH: tuple[Column, ...] = (
    ("network", lambda m: m.name),
    ("compiler", lambda m: m.toolchain),
    ("mode", lambda m: m.optimize),
)
MEMORY: tuple[Column, ...] = (
    ("RAM", lambda m: number(m.ram_bytes.total)),
    ("= arena", lambda m: number(m.ram_bytes.activations)),
    ("+ states", lambda m: number(m.ram_bytes.states)),
    ("+ static", lambda m: number(m.ram_bytes.static)),
    ("+ stack", lambda m: number(m.ram_bytes.stack)),
    ("flash", lambda m: number(m.flash_bytes.total)),
    ("= constants", lambda m: number(m.flash_bytes.constants)),
    ("+ code", lambda m: number(m.flash_bytes.code)),
)


def costs(found: Sequence[Measurement], core: str) -> Grid:
    """What one inference executes and takes, every measurement a row."""
    error = model_error(core)
    measured: tuple[Column, ...] = (
        ("MACs", lambda m: number(m.macs)),
        ("after shrinking", lambda m: number(m.macs_left)),
        ("instructions", lambda m: number(m.instructions)),
        ("/MAC", lambda m: ratio(m.instructions_per_mac)),
        ("goal", lambda m: number(goal(m, core))),
        ("of it", lambda m: share(m.instructions, goal(m, core))),
        ("to GCC", lambda m: ratio(to_gcc(m, found))),
        ("est. cycles", lambda m: number(m.estimated_cycles)),
        ("boards took", lambda m: error if m.estimated_cycles else "-"),
        ("pred. error", lambda m: percent(m.prediction_error)),
        ("RAM", lambda m: number(m.ram_bytes.total)),
        ("flash", lambda m: number(m.flash_bytes.total)),
        ("of it code", lambda m: number(m.flash_bytes.code)),
        ("check", lambda m: EXACT[m.exact]),
    )
    return _grid((*WHICH, *measured), found)


def memory(found: Sequence[Measurement]) -> Grid:
    """Where the bytes are."""
    return _grid((*WHICH, *MEMORY), found)


def by_kind(found: Sequence[Measurement]) -> Grid:
    """Instructions for each multiply-accumulate, by the kind of layer."""
    used = [
        k.value for k in Kind if any(s.kind == k.value and s.macs for m in found for s in m.kinds)
    ]
    heads = (*(h for h, _ in WHICH), *used, "other, of all")
    rows = tuple(
        (*(of(m) for _, of in WHICH), *(_per_mac(m, kind) for kind in used), _other(m))
        for m in found
    )
    return Grid(heads, rows, len(WHICH))


def _grid(columns: Sequence[Column], found: Sequence[Measurement]) -> Grid:
    rows = tuple(tuple(of(m) for _, of in columns) for m in found)
    return Grid(tuple(head for head, _ in columns), rows, len(WHICH))


def _per_mac(m: Measurement, kind: str) -> str:
    """Over the MACs in the file; in brackets over those that are left, where that is another
    number."""
    found: Share | None = next((s for s in m.kinds if s.kind == kind), None)
    if found is None or not found.macs:
        return "-"
    left = f" ({ratio(found.per_mac_left)})" if found.macs != found.macs_left else ""
    return ratio(found.per_mac) + left


def _other(m: Measurement) -> str:
    """The share of instructions in layers without multiply-accumulates and between layers."""
    return share(sum(s.instructions for s in m.kinds if not s.macs), m.instructions)


def share(part: float, whole: float | None) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def goal(m: Measurement, core: str) -> int | None:
    """The goal that a measurement is held to; those of other compilers and modes are not."""
    found = goal_of(m.sha256, core)
    if found is None or (found.toolchain, found.optimize) != (m.toolchain, m.optimize):
        return None
    return found.instructions


def to_gcc(m: Measurement, found: Sequence[Measurement]) -> float | None:
    """Instructions over those of the same network and mode with GCC; None for GCC's own."""
    for other in found:
        if (other.name, other.optimize, other.toolchain) == (m.name, m.optimize, "gcc"):
            return None if m.toolchain == "gcc" else m.instructions / other.instructions
    return None


def beyond_gcc(found: Sequence[Measurement]) -> str:
    """How far other compilers are from GCC, and where that is more than `CLOSE`; "" if only one
    was used."""
    known = [(r, m) for m in found if (r := to_gcc(m, found)) is not None]
    if not known:
        return ""
    low, high = min(r for r, _ in known), max(r for r, _ in known)
    far = [f"{m.name} for {m.optimize} ({r:.2f})" for r, m in known if r > CLOSE]
    kinds = " and ".join(dict.fromkeys(m.toolchain for _, m in known))
    text = f"Instructions with {kinds} are {low:.2f} to {high:.2f} times those with gcc"
    limit = f"{CLOSE - 1:.0%}"
    return f"{text}; more than {limit} above: {', '.join(far) or 'none'}."


# Ours and others' -------------------------------------------------------------------------


def peers(found: Sequence[Measurement], core: str) -> Grid | None:
    """Ours and others', network by network; None where nobody is known."""
    head = ("network", "engine", "taken", "note", "instructions", "cycles", "RAM", "flash")
    rows = tuple(row for sha in _known(found, core) for row in _peer_rows(found, sha, core))
    return Grid(head, rows, 4) if rows else None


def _known(found: Sequence[Measurement], core: str) -> list[str]:
    """The files, each once, that others have figures of."""
    return [sha for sha in dict.fromkeys(m.sha256 for m in found) if peers_of(sha, core)]


def _peer_rows(found: Sequence[Measurement], sha256: str, core: str) -> Iterator[tuple[str, ...]]:
    mine = [m for m in found if m.sha256 == sha256]
    for k, m in enumerate(mine):
        ours = (m.instructions, m.estimated_cycles, m.ram_bytes.total, m.flash_bytes.total)
        engine = f"Lilliput, {m.toolchain}, {m.optimize}"
        yield "" if k else m.name, engine, "this run", EXACT[m.exact], *map(number, ours)
    for f in peers_of(sha256, core):
        figures = (f.instructions, f.cycles, f.ram_bytes, f.flash_bytes)
        yield "", f.engine, f.conditions, f.note, *map(number, figures)


def used_conditions(found: Sequence[Measurement], core: str) -> list[Conditions]:
    """Those of all figures that stand beside these measurements."""
    names = dict.fromkeys(f.conditions for m in found for f in peers_of(m.sha256, core))
    return [conditions()[name] for name in names]


def conditions_text(c: Conditions) -> str:
    text = f"{c.title}, {c.compiler}, {c.when}; instructions: {c.instructions}; cycles: {c.cycles}"
    return text + (f"; {c.note}" if c.note else "")


def table(found: Sequence[Measurement], core: str) -> str:
    """Everything that is known of our own as text."""
    parts = (
        costs(found, core).text(),
        "\n".join(filter(None, (COSTS_NOTE, beyond_gcc(found)))),
        by_kind(found).text(),
        KINDS_NOTE,
        memory(found).text(),
    )
    return "\n\n".join(parts)


COSTS_NOTE = (
    "/MAC: over the multiply-accumulates of the network as its file has it. Goals are for GCC and "
    "speed.\nCycles are estimated, never measured; boards took: by what published runs exceed "
    "such estimates."
)
KINDS_NOTE = (
    "Instructions for each multiply-accumulate of the file; in brackets, for each that shrinking "
    "left.\nother: the share of instructions in layers that have none, and between layers."
)


def peers_table(found: Sequence[Measurement], core: str) -> str:
    """`peers` as text with the conditions; "" where nobody is known."""
    grid = peers(found, core)
    if grid is None:
        return ""
    notes = [f"  {c.name}: {conditions_text(c)}" for c in used_conditions(found, core)]
    ours = f"  this run: {how_estimated(core)}"
    return "\n".join([grid.text(), "", "how the figures were taken:", ours, *notes])


def bars(found: Sequence[Measurement], core: str) -> str:
    """Instructions an inference as bars, each network on its own scale."""
    lines: list[str] = []
    for m in found:
        named = [("Lilliput", m.instructions)]
        named += [(f.engine, f.instructions) for f in peers_of(m.sha256, core) if f.instructions]
        most, width = max(n for _, n in named), max(len(e) for e, _ in named)
        lines.append(f"{m.name}, instructions")
        lines += [
            f"  {e:<{width}}  {'#' * max(1, round(BAR * n / most)):<{BAR}}  {n:,}" for e, n in named
        ]
    return "\n".join(lines)
