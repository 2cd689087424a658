"""Measurements as text: a table, the peers beside them, and bars."""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.bench.measure import Measurement
from lilliput.bench.peers import conditions, peers_of
from lilliput.devices import cores
from lilliput.emu.cycles import cycle_model
from lilliput.report import columns

BAR = 40
EXACT = {True: "exact", False: "DIFFERS", None: "-"}


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def how_estimated(core: str) -> str:
    """Where our counts and cycles are from, with what is known of the error."""
    model = cycle_model(cores()[core])
    text = "instructions counted on an emulated core; cycles "
    return text + (f"estimated: {model.error_note}" if model else "not estimated")


def table(found: Sequence[Measurement]) -> str:
    """One row a network: where its bytes are, what it executes, whether it is exact."""
    head = ("network", "MACs", "RAM", "= arena", "+ states", "+ static", "+ stack", "flash")
    head += ("= constants", "+ code", "instructions", "/MAC", "est. cycles", "pred. error", "check")
    rows = [
        (
            m.name,
            *map(number, (m.macs, m.ram_bytes.total, m.ram_bytes.activations)),
            *map(number, (m.ram_bytes.states, m.ram_bytes.static, m.ram_bytes.stack)),
            *map(number, (m.flash_bytes.total, m.flash_bytes.constants, m.flash_bytes.code)),
            number(m.instructions),
            "-" if m.instructions_per_mac is None else f"{m.instructions_per_mac:.2f}",
            number(m.estimated_cycles),
            percent(m.prediction_error),
            EXACT[m.exact],
        )
        for m in found
    ]
    return columns(head, rows)


def peers_table(found: Sequence[Measurement], core: str) -> str:
    """Ours and others', network by network, with the conditions; "" where nobody is known."""
    rows: list[tuple[str, ...]] = []
    used: dict[str, None] = {}
    for m in found:
        others = peers_of(m.sha256, core)
        if not others:
            continue
        ours = (m.instructions, m.estimated_cycles, m.ram_bytes.total, m.flash_bytes.total)
        rows.append((m.name, "Lilliput", "this run", *map(number, ours), EXACT[m.exact]))
        for f in others:
            figures = (f.instructions, f.cycles, f.ram_bytes, f.flash_bytes)
            rows.append(("", f.engine, f.conditions, *map(number, figures), f.note))
            used[f.conditions] = None
    if not rows:
        return ""
    head = ("network", "engine", "taken", "instructions", "cycles", "RAM", "flash", "note")
    notes = [
        f"  {c.name}: {c.title}, {c.compiler}, {c.when}; instructions: {c.instructions}; "
        f"cycles: {c.cycles}" + (f"; {c.note}" if c.note else "")
        for c in (conditions()[name] for name in used)
    ]
    ours = f"  this run: {how_estimated(core)}"
    return "\n".join([columns(head, rows), "", "how the figures were taken:", ours, *notes])


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
