"""What a step over time keeps and computes: gathered, for a terminal, for the page.

One idea: two pairs of figures (multiply-accumulates of a step and of its window; frames of a
step and of its window), then every ring, then what has to be computed again and why.
"""

from __future__ import annotations

from collections.abc import Iterator

from lilliput.passes.streaming import Streamed
from lilliput.report.markup import Markup, tag
from lilliput.report.removed import work
from lilliput.report.summary import KeptRows, RepeatedLayer, Streaming
from lilliput.report.words import columns, middle


def streaming(found: Streamed) -> Streaming:
    """The plain values of `found`."""
    return Streaming(
        found.axis,
        found.window,
        found.hop,
        work(found.module).macs,
        work(found.source).macs,
        found.ring_bytes,
        tuple(KeptRows(r.value, r.rows, r.nbytes) for r in found.rings),
        tuple(
            RepeatedLayer(r.layer, r.operator, r.rows, r.computed, r.fresh, r.why)
            for r in found.repeated
        ),
    )


def frames_text(found: Streaming) -> str:
    """`1 new frame of 30 a step`."""
    frames = "1 new frame" if found.hop == 1 else f"{found.hop} new frames"
    return f"{frames} of {found.window} a step"


def macs_text(found: Streaming) -> str:
    return f"{found.macs:,} MACs a step instead of {found.window_macs:,} a window"


def streaming_text(found: Streaming) -> str:
    """Figures, rings, and what is computed again."""
    lines = [f"over time: {frames_text(found)}, {macs_text(found)}"]
    if found.rings:
        rows = [(middle(r.value, 44), str(r.rows), f"{r.nbytes:,}") for r in found.rings]
        lines += ["", columns(("ring of", "rows", "bytes"), rows)]
    if found.repeated:
        rows = [
            (middle(r.layer, 44), r.operator, f"{r.computed} of {r.rows}", str(r.fresh), r.why)
            for r in found.repeated
        ]
        head = ("computed again in each step", "operator", "rows", "new", "because of")
        lines += ["", columns(head, rows)]
    return "\n".join(lines)


def streaming_page(found: Streaming) -> Iterator[Markup]:
    """The children of the section."""
    told = "The outputs are the bits that the whole network gives for the window that ends with "
    told += "the newest frames. Rows of maps that only move with the window are kept in rings."
    yield tag("p", f"{frames_text(found)}, {macs_text(found)}. {told}")
    yield tag("pre", streaming_text(found), tabindex=0)
