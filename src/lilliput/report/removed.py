"""What was left out of a network and why: gathered, for a terminal, for the page.

One idea: counts are for people, so they are shown first; the proof of every single channel is
there, too, folded in the page and whole in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator

from lilliput.ir.module import Module
from lilliput.passes.shrink import Removal, Shrunk, Why
from lilliput.report.markup import Markup, join, tag
from lilliput.report.summary import ChannelProof, DroppedLayer, Shrinking, ThinLayer, Work
from lilliput.report.words import columns, middle

ROWS = 60
"""Of a terminal's table; the page has all."""


def work(module: Module) -> Work:
    """What one call of every entry takes, and what is stored for it."""
    nodes = (n for g in module.graphs.values() for n in g.nodes)
    stored = sum(p.value.type.nbytes for p in module.params.values())
    return Work(sum(n.op.cost(n).macs for n in nodes), stored)


def shrinking(module: Module, shrunk: Shrunk) -> Shrinking:
    """What `shrunk` lacks of `module`."""
    groups: dict[tuple[str, str, int], list[Removal]] = {}
    for r in shrunk.removed:
        groups.setdefault((r.entry, r.value, r.axis), []).append(r)
    shapes = {v.name: v.type.shape for g in module.graphs.values() for v in g.values()}
    layers = [_layer(found, shapes[name][axis]) for (_, name, axis), found in groups.items()]
    nodes = tuple(DroppedLayer(r.entry, r.operator, r.layer, r.what) for r in shrunk.rewritten)
    return Shrinking(work(module), work(shrunk.module), tuple(layers), nodes)


def _layer(found: list[Removal], channels: int) -> ThinLayer:
    first = found[0]
    proofs = tuple(
        ChannelProof(r.index, r.why.value, r.low, r.high, r.sum_low, r.sum_high)
        for r in sorted(found, key=lambda r: r.index)
    )
    constant = sum(r.why is Why.CONSTANT for r in found)
    return ThinLayer(
        first.entry,
        first.operator,
        first.layer,
        first.value,
        first.axis,
        channels,
        channels - len(found),
        constant,
        len(found) - constant,
        proofs,
    )


# Text -------------------------------------------------------------------------------------


def removed_text(found: Shrinking) -> str:
    """Two figures, and a row for each layer that lost channels."""
    lines = [f"left out before compiling: {_figures(found)}"]
    if found.layers:
        head = ("layer", "operator", "channels kept", "constant", "unread")
        rows = [
            (
                middle(x.layer, 44),
                x.operator,
                f"{x.kept} of {x.channels}",
                str(x.constant),
                str(x.unread),
            )
            for x in found.layers[:ROWS]
        ]
        lines += ["", columns(head, rows)]
        if len(found.layers) > ROWS:
            lines.append(f"and {len(found.layers) - ROWS} more layers")
    if found.nodes:
        lines += ["", *(f"{x.operator} {middle(x.layer, 44)}: {x.why}" for x in found.nodes[:ROWS])]
        if len(found.nodes) > ROWS:
            lines.append(f"and {len(found.nodes) - ROWS} more nodes")
    return "\n".join(lines)


def _figures(found: Shrinking) -> str:
    a, b = found.before, found.after
    return (
        f"{a.macs:,} MACs became {b.macs:,}, "
        f"{a.parameter_bytes:,} B of parameters {b.parameter_bytes:,} B"
    )


# Page -------------------------------------------------------------------------------------


def removed_page(found: Shrinking) -> Iterator[Markup]:
    """The children of the section."""
    yield tag(
        "p",
        f"{_figures(found)}. Nothing of it mattered: the outputs are the same bits for any input.",
    )
    told = "A channel is constant where the interval of what it can hold is one number: layers "
    told += "that read it have that number in their biases. It is unread where no result that is "
    told += "left depends on it. Sums are accumulators, before they are scaled and stored."
    yield tag("p", told, class_="quiet")
    for layer in found.layers:
        yield _layer_page(layer)
    if found.nodes:
        rows = [
            tag("li", f"{x.operator} ", tag("b", middle(x.layer, 60)), ": ", x.why)
            for x in found.nodes
        ]
        yield tag("details", tag("summary", f"{len(rows)} nodes"), tag("ul", *rows))


def _layer_page(layer: ThinLayer) -> Markup:
    reasons = [f"{layer.constant} constant"] if layer.constant else []
    reasons += [f"{layer.unread} unread"] if layer.unread else []
    counts = f"{layer.kept} of {layer.channels} channels, without {' and '.join(reasons)}"
    proofs = (join(_proof(p), "\n") for p in layer.proofs)
    return tag(
        "details",
        tag(
            "summary",
            f"{layer.operator} ",
            tag("b", middle(layer.layer, 60), title=layer.layer),
            f": {counts}",
        ),
        tag("pre", *proofs, tabindex=0),
    )


def _proof(p: ChannelProof) -> str:
    """`channel 7: constant -128, from sums in [-9321, -210]`."""
    text = f"channel {p.channel}: {p.why}"
    if p.low is not None:
        text += f" {p.low}" if p.low == p.high else f", in [{p.low}, {p.high}]"
    if p.sum_low is not None:
        text += f", from sums in [{p.sum_low}, {p.sum_high}]"
    return text
