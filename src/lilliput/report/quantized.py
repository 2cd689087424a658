"""What quantising came to: a text for a terminal, a page with pictures.

One idea: answers first (accuracy, what changed), then layers, then what would help; the page has
every layer, the terminal those that cost most.
"""

from __future__ import annotations

from collections.abc import Iterator

from lilliput.quant.explain import Explanation, Layer
from lilliput.quant.outcome import Outcome
from lilliput.quant.predictions import Part, Predictions
from lilliput.report.markup import Markup, document, tag
from lilliput.report.words import columns, middle

ROWS, WIDE = 40, 6
"""Of a terminal's table; names of values of int16 that are told."""
BAR, WIDTH, LABEL, TOP_DB = 16, 640, 240, 60.0
"""Of the picture: height of a layer, width, part of it for names, dB at the right end."""


def quantized_text(found: Outcome) -> str:
    """The whole account."""
    lines = [f"{name:<16}{value}" for name, value in _facts(found)]
    if found.evaluated is not None:
        lines += _groups_text(found.evaluated)
    if found.explanation is not None:
        lines += ["", *_layers_text(found.explanation)]
    return "\n".join(lines)


def _facts(found: Outcome) -> Iterator[tuple[str, str]]:
    yield "model", found.model
    yield "integers", f"{found.activations} activations, int8 weights, ranges by {found.ranges}"
    if found.wide:
        names = ", ".join(found.wide[:WIDE]) + (" ..." if len(found.wide) > WIDE else "")
        yield "int16", f"{len(found.wide)} values: {names}"
    yield "learnt from", f"{found.samples:,} samples"
    yield "parameters", f"{found.float_bytes:,} B became {found.integer_bytes:,} B"
    steps = [f"{found.equalised} pairs of layers equalised"] if found.equalised else []
    steps += [f"{len(found.reformed)} activations in another form"] if found.reformed else []
    steps += [f"biases of {found.absorbed} channels absorbed"] if found.absorbed else []
    steps += ["weights rounded for the outputs"] if found.adaptively_rounded else []
    steps += ["biases corrected"] if found.bias_corrected else []
    steps += [f"trained {found.distilled} rounds towards the floats"] if found.distilled else []
    if steps:
        yield "repaired", ", ".join(steps)
    yield (
        "exact",
        f"{found.compared} values of {found.checked} samples equal their simulation at 0 LSB",
    )
    for text in found.floats:
        yield "STAYS FLOAT", text
    for text in found.warnings:
        yield "warning", text
    if found.evaluated is not None:
        yield from _answers(found.evaluated, found.evaluated_on)


def _answers(p: Predictions, on: str) -> Iterator[tuple[str, str]]:
    if p.float_accuracy is not None and p.integer_accuracy is not None:
        points = 100 * (p.integer_accuracy - p.float_accuracy)
        told = (
            f"float {p.float_accuracy:.2%}, integer {p.integer_accuracy:.2%} ({points:+.2f} points)"
        )
        yield "accuracy", f"{told}, {p.samples:,} samples of the {on}"
    kinds = ""
    if p.regressions is not None:
        kinds = (
            f": {p.regressions} right to wrong, {p.repairs} wrong to right, {p.wrong_to_wrong} else"
        )
    yield "changed answers", f"{p.flips:,} of {p.samples:,}{kinds}"
    if p.identified:
        yield "sure before", f"{len(p.identified)} of them, though the float network was sure"
    if p.worst_gap is not None and p.amplified is not None:
        kind, (a, b) = "groups" if p.groups else "classes", p.worst_gap
        told = f"between {kind}: {a:.1%} before, {b:.1%} after; one changed by "
        yield "worst gap", f"{told}{100 * p.amplified:.1f} points more than all"


def _groups_text(p: Predictions) -> list[str]:
    parts = p.groups or p.classes
    if not parts:
        return []
    head = ("group" if p.groups else "class", "samples", "float", "integer", "changed")
    return ["", columns(head, [_part(x) for x in parts[:ROWS]])]


def _part(x: Part) -> tuple[str, ...]:
    return (
        middle(x.name, 30),
        str(x.samples),
        f"{x.float_accuracy:.1%}",
        f"{x.integer_accuracy:.1%}",
        str(x.flips),
    )


# Layers -----------------------------------------------------------------------------------

_HEAD = ("layer", "operator", "SQNR dB", "clipped", "used", "spread", "dead", "cost dB")


def _layers_text(e: Explanation) -> list[str]:
    lines = [f"the output keeps {e.output_db:.1f} dB, on {e.samples} samples"]
    costly = [f"{middle(x.name, 40)} {x.gain_db:+.1f} dB" for x in e.costliest(3) if x.gain_db]
    if costly:
        lines.append(f"left in floats, it would gain most by: {', '.join(costly)}")
    lines += ["", columns(_HEAD, [_row(x) for x in e.layers[:ROWS]])]
    if e.advice:
        lines += ["", "what would help", *(f"  {text}" for text in e.advice)]
    return lines


def _row(x: Layer) -> tuple[str, ...]:
    return (
        middle(x.name, 40),
        x.operator,
        f"{x.sqnr_db:.1f}",
        f"{x.saturated:.1%}",
        f"{x.used:.0%}",
        f"{x.spread:.1f}",
        f"{x.dead} of {x.channels}" if x.dead else "-",
        "-" if x.gain_db is None else f"{x.gain_db:.1f}",
    )


# Page -------------------------------------------------------------------------------------


def quantized_page(found: Outcome) -> str:
    """The HTML document."""
    facts = [tag("li", tag("b", name), " ", text) for name, text in _facts(found)]
    parts: list[Markup] = [tag("header", tag("h1", f"{found.model}, quantised")), tag("ul", *facts)]
    p, e = found.evaluated, found.explanation
    if p is not None and (p.groups or p.classes):
        text = "\n".join(_groups_text(p)).strip()
        parts.append(tag("section", tag("h2", "Who lost what"), tag("pre", text, tabindex=0)))
    if e is not None:
        text = columns(_HEAD, [_row(x) for x in e.layers])
        children = [tag("h2", "Layer by layer"), _picture(e), tag("pre", text, tabindex=0)]
        parts.append(tag("section", *children))
        if e.advice:
            items = [tag("li", text) for text in e.advice]
            parts.append(tag("section", tag("h2", "What would help"), tag("ul", *items)))
    return document(f"{found.model}, quantised", tag("main", *parts))


def _picture(e: Explanation) -> Markup:
    """A bar for each layer: the dB that it keeps."""
    height = BAR * len(e.layers) + 8
    bars = [_bar(k, x) for k, x in enumerate(e.layers)]
    title = tag("title", "signal to quantisation noise of each layer, dB")
    box = f"0 0 {WIDTH} {height}"
    drawing = tag("svg", title, *bars, viewBox=box, role="img", width=WIDTH, height=height)
    caption = "Signal over quantisation noise, layer by layer; six decibels are one bit."
    return tag("figure", tag("div", drawing, class_="scroll"), tag("figcaption", caption))


def _bar(k: int, x: Layer) -> Markup:
    y = BAR * k + 4
    length = (WIDTH - LABEL - 60) * min(max(x.sqnr_db, 0.0), TOP_DB) / TOP_DB
    return tag(
        "g",
        tag("title", f"{x.name}: {x.sqnr_db:.1f} dB"),
        tag("text", middle(x.name, 34), x=0, y=y + 11, class_="label"),
        tag("rect", x=LABEL, y=y, width=length, height=BAR - 4, fill="currentColor", opacity=0.6),
        tag("text", f"{x.sqnr_db:.1f}", x=LABEL + length + 6, y=y + 11, class_="label"),
    )
