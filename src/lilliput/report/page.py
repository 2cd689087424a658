"""report.html: one page that holds everything, made of a `Summary` and nothing else.

One idea: the page is complete as text.  Style is inline, there is no script and nothing is
fetched; names from the model's file reach it only through `markup.tag`, which escapes them.
The same summary gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lilliput.report import firmware, picture
from lilliput.report.fit import Need, advice, needs
from lilliput.report.front import front_page
from lilliput.report.markup import Child, Markup, document, join, tag
from lilliput.report.overtime import streaming_page
from lilliput.report.removed import removed_page
from lilliput.report.summary import Layer, Summary
from lilliput.report.words import middle

FUNCTIONS = 24
CONSTANTS = 16


def page(summary: Summary) -> str:
    """The HTML document."""
    urgent = summary.fits is False
    body = [
        _header(summary),
        _cards(summary),
        _help(summary) if urgent else None,
        _time(summary),
        _front(summary),
        _layers(summary),
        _over_time(summary),
        _islands(summary),
        _unrounded(summary),
        _removed(summary),
        _flash(summary),
        _kernels(summary),
        None if urgent else _help(summary),
        _firmware(summary),
        _footer(summary),
    ]
    return document(f"{summary.model} on {summary.device}", tag("main", *_lines(body)))


def _lines(parts: Sequence[Markup | None]) -> Iterator[Child]:
    for part in parts:
        if part is not None:
            yield part
            yield "\n"


def _section(name: str, title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), *children, id=name)


# Header and bars --------------------------------------------------------------------------


def _header(summary: Summary) -> Markup:
    board = summary.board
    clock = f", {board.clock_hz / 1e6:g} MHz" if board.clock_hz else ""
    verdict, kind = _verdict(summary)
    return tag(
        "header",
        tag("h1", summary.model, " ", tag("span", verdict, class_=f"verdict {kind}")),
        tag("p", tag("strong", summary.device), f" · {board.title} · {board.core}{clock}"),
        tag(
            "p",
            summary.compiler or f"Not linked: {summary.missing}",
            f" · optimised for {summary.optimize}",
            class_="quiet",
        ),
    )


def _verdict(summary: Summary) -> tuple[str, str]:
    if summary.fits is False:
        return "does not fit", "bad"
    if summary.ram.size is None:
        return "no limits: a core, not a board", "unknown"
    return ("fits", "good") if summary.fits else ("not known whether it fits", "unknown")


def _cards(summary: Summary) -> Markup:
    found = {n.memory.name: n for n in needs(summary)}
    others = [n for n in found.values() if n.used and not n.memory.default]
    ram, flash = summary.ram_bytes, summary.flash_bytes
    rowwise = (
        f"; row by row, so not counted: {', '.join(summary.rowwise)}" if summary.rowwise else ""
    )
    return tag(
        "div",
        _bar(
            "RAM",
            found[summary.ram.name],
            (
                ("activations, inputs, outputs", ram.activations - ram.scratch, "activation"),
                ("scratch at the fullest step", ram.scratch, "scratch"),
                ("states", ram.states, "state"),
                ("static data", ram.static, "static"),
                ("stack (bound)", ram.stack, "stack"),
            ),
            f"arena = activations, scratch and states{rowwise}",
        ),
        _bar(
            "Flash",
            found[summary.flash.name],
            (
                ("weights and other constants", flash.constants, "weights"),
                *_code(summary),
            ),
            "of the linked image" if flash.code is not None else "constants only: not linked",
        ),
        *(_bar(n.memory.name, n, (("used", n.used, "activation"),), n.memory.kind) for n in others),
        _work(summary),
        class_="cards",
    )


def _code(summary: Summary) -> Iterator[tuple[str, int | None, str]]:
    """The model's functions, and all else in the image: what they keep in read-only data,
    start-up code, vectors, padding."""
    flash = summary.flash_bytes
    if flash.code is None:
        yield "code", None, "code"
        return
    model = min(sum(n for name, n in flash.functions if not _is_runtime(name)), flash.code)
    yield "code of the model", model, "code"
    yield "tables of the code, start-up, padding", flash.code - model, "runtime"


def _is_runtime(function: str) -> bool:
    """Of the linked image without a harness: start-up code, `main`, and compiler helpers."""
    return function.startswith(("ll_start", "ll_fault", "main", "mem", "__"))


def _bar(title: str, need: Need, parts: Sequence[tuple[str, int | None, str]], note: str) -> Markup:
    size = need.memory.size
    scale = max(need.used, size or 0, 1)
    known = sum(n for _, n, _ in parts if n is not None)
    segments = [
        tag(
            "span",
            class_=f"part {kind}",
            style=f"width:{100 * n / scale:.3f}%",
            title=f"{name}: {n:,} B",
        )
        for name, n, kind in parts
        if n
    ]
    mark = None
    if size is not None and need.over:
        mark = tag("span", class_="mark", style=f"left:{100 * size / scale:.3f}%")
    limit = "no limit" if size is None else f"of {size:,} B ({_kb(size)})"
    share = None if not size else tag("span", f"{known / size:.1%}", class_="share")
    over = tag("p", f"{need.over:,} B too many", class_="over") if need.over else None
    return tag(
        "div",
        tag("h3", title, share),
        tag("p", tag("b", f"{known:,} B"), f" {limit}", class_="total"),
        tag("div", *segments, mark, class_=f"bar{' full' if need.over else ''}"),
        over,
        tag("dl", *(_part(*part) for part in parts), class_="parts"),
        tag("p", f"{need.memory.name} · {note}", class_="quiet"),
        class_="card",
    )


def _part(name: str, count: int | None, kind: str) -> Markup:
    told = "unknown" if count is None else f"{count:,} B"
    name_cell = tag("dt", tag("span", class_=f"swatch solid {kind}"), name)
    return tag("div", name_cell, tag("dd", told))


def _kb(count: int) -> str:
    return f"{count / 1024:,.0f} kB" if count % 1024 == 0 else f"{count / 1024:,.1f} kB"


def _work(summary: Summary) -> Markup:
    timing, clock = summary.timing, summary.board.clock_hz
    first = summary.api.entries[0].name
    rows: list[tuple[str, str]] = [
        ("multiply-accumulates", f"{sum(x.macs for x in summary.layers if x.entry == first):,}"),
        *((("computed again", f"{summary.extra_macs:,}"),) if summary.recomputed else ()),
        *((("paged, bytes", f"{summary.paged_bytes:,}"),) if summary.paged else ()),
        ("predicted cycles", f"{summary.predicted_cycles:,.0f}"),
    ]
    notes = [f"Predicted by the planner, before compiling: {summary.prediction}."]
    if timing is not None:
        rows.append(("instructions, counted", f"{timing.instructions:,}"))
        cycles = timing.estimated_cycles
        if cycles is not None:
            rows.append(("estimated cycles", f"{cycles:,.0f}"))
            if clock:
                rows.append(
                    (f"estimated time at {clock / 1e6:g} MHz", f"{1000 * cycles / clock:,.2f} ms")
                )
        notes.append(f"Estimate, not a measurement: {timing.cycle_model}.")
    else:
        notes.append("Nothing was counted; with --profile it is.")
    return tag(
        "div",
        tag("h3", f"Work of one call of {first}"),
        tag(
            "dl",
            *(tag("div", tag("dt", name), tag("dd", told)) for name, told in rows),
            class_="parts",
        ),
        *(tag("p", note, class_="quiet") for note in notes),
        class_="card",
    )


# Memory over time -------------------------------------------------------------------------


def _time(summary: Summary) -> Markup:
    sizes = {m.name: m.size for m in summary.board.memories}
    beside = (summary.ram_bytes.static or 0) + (summary.ram_bytes.stack or 0)
    figures: list[Child] = []
    for line in summary.timelines:
        size, gap = sizes[line.memory], line.used - line.lower_bound
        taken = beside if line.memory == summary.ram.name else 0
        told = f"{line.used:,} B ({_kb(line.used)})"
        if line.used < line.arena:
            told += f" of the arena's {line.arena:,} B"
        if gap == 0:
            told += ", which is the lower bound of any placement: optimal"
        else:
            told += f", {gap:,} B above the lower bound of any placement, {line.lower_bound:,} B"
        figures += [
            tag("h3", f"{line.entry} in {line.memory}"),
            tag("p", f"{line.entry} uses {told}."),
            picture.figure(line, None if size is None else size - taken),
        ]
    return _section(
        "memory",
        "Memory over time",
        tag(
            "p",
            "Each rectangle is a buffer: from the step that first writes it to the one that last "
            "reads it, at its place in the arena. Where two overlap, a kernel writes its output "
            "over input rows that it has no more use for.",
            class_="quiet",
        ),
        *figures,
    )


def _front(summary: Summary) -> Markup | None:
    if len(summary.front) < 2:
        return None
    return _section("front", "RAM against cycles", *front_page(summary))


# Tables -----------------------------------------------------------------------------------


def _table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[Markup]]) -> Markup:
    """`head` are (title, class); every cell is a <td> already."""
    titles = (tag("th", title, class_=kind or None, scope="col") for title, kind in head)
    body = (join(tag("tr", *row), "\n") for row in rows)
    table = tag("table", tag("thead", tag("tr", *titles)), tag("tbody", *body))
    return tag("div", table, class_="scroll", tabindex=0)


def _number(value: int | float | None, most: float = 0) -> Markup:
    """A right-aligned number, with a bar of its share of the largest."""
    if not value:
        return tag("td", "–" if value is None else "0", class_="number none")
    width = f"--part:{value / most:.4f}" if most else None
    kind = "number share" if most else "number"
    return tag("td", f"{value:,.0f}", class_=kind, style=width)


def _layers(summary: Summary) -> Markup:
    timed = {s.step: s for s in summary.timing.steps} if summary.timing else {}
    several = len(summary.api.entries) > 1
    head = [("step", "number"), *([("entry", "")] if several else []), ("layer", "")]
    head += [("kernel", ""), ("output", ""), ("MACs", "number")]
    head += [("instructions", "number"), ("est. cycles", "number")] if timed else []
    head += [("pred. cycles", "number"), ("weights B", "number"), ("scratch B", "number")]
    layers = summary.layers
    most = {
        "macs": max((x.macs for x in layers), default=0),
        "cycles": max((x.predicted_cycles for x in layers), default=0),
        "weights": max((x.weight_bytes for x in layers), default=0),
        "scratch": max((x.scratch_bytes for x in layers), default=0),
        "instructions": max((s.instructions for s in timed.values()), default=0),
        "estimated": max((s.estimated_cycles or 0 for s in timed.values()), default=0),
    }
    rows: list[list[Markup]] = []
    for x in layers:
        step = timed.get(x.step)
        row = [
            tag("td", x.step, class_="number"),
            *([tag("td", x.entry)] if several else []),
            _name(x),
        ]
        row += [tag("td", x.kernel), tag("td", x.output, class_="code")]
        row.append(_number(x.macs, most["macs"]))
        if timed:
            row.append(_number(step.instructions if step else None, most["instructions"]))
            row.append(_number(step.estimated_cycles if step else None, most["estimated"]))
        row.append(_number(x.predicted_cycles, most["cycles"]))
        row.append(_number(x.weight_bytes, most["weights"]))
        row.append(_number(x.scratch_bytes, most["scratch"]))
        rows.append(row)
    return _section("layers", "Layers", _table(head, rows))


def _name(layer: Layer) -> Markup:
    """Origin, operator, what was fused into it, and how often it runs where it streams."""
    told = " + ".join((layer.operator, *layer.fused))
    if layer.times > 1:
        told += f", {layer.times} times"
    return tag(
        "td",
        tag("span", middle(layer.name, 44), class_="name", title=layer.name),
        tag("span", told, class_="quiet"),
    )


def _over_time(summary: Summary) -> Markup | None:
    found = summary.streaming
    return _section("time", "A step over time", *streaming_page(found)) if found else None


def _islands(summary: Summary) -> Markup | None:
    if not summary.islands:
        return None
    why = "These operators calculate in floats between integers: slow where there is no FPU."
    items = tag("ul", *(tag("li", name) for name in summary.islands))
    return _section("floats", "What stays float", tag("p", why), items)


def _unrounded(summary: Summary) -> Markup | None:
    if not summary.unrounded:
        return None
    why = (
        "The file rounds what these operators read to integers, by scales measured on each input. "
        "Here they calculate in floats; lilliput quantize makes integers of them."
    )
    items = tag("ul", *(tag("li", name) for name in summary.unrounded))
    return _section("unrounded", "What the file rounds at run time", tag("p", why), items)


def _removed(summary: Summary) -> Markup | None:
    found = summary.shrinking
    return _section("removed", "Left out, and why", *removed_page(found)) if found else None


def _flash(summary: Summary) -> Markup:
    constants, functions = summary.constants, summary.flash_bytes.functions
    total = sum(c.nbytes for c in constants)
    largest = constants[0].nbytes if constants else 0
    rows = [
        [
            tag("td", middle(c.name, 36), title=f"{c.name} in {c.memory}, read by {c.layer}"),
            tag("td", c.dtype, class_="quiet"),
            _number(c.nbytes, largest),
        ]
        for c in constants[:CONSTANTS]
    ]
    rest = constants[CONSTANTS:]
    if rest:
        rows.append(_rest(f"{len(rest)} smaller ones", 1, sum(c.nbytes for c in rest), largest))
    parts = [
        tag(
            "div",
            tag("h3", f"Constants: {total:,} B"),
            _table((("constant", ""), ("stored as", ""), ("bytes", "number")), rows),
        )
    ]
    if functions:
        most = functions[0][1]
        code = [
            [tag("td", name, class_="code"), _number(n, most)] for name, n in functions[:FUNCTIONS]
        ]
        if functions[FUNCTIONS:]:
            small = functions[FUNCTIONS:]
            code.append(_rest(f"{len(small)} smaller ones", 0, sum(n for _, n in small), most))
        title = f"Code: {summary.flash_bytes.code:,} B"
        parts.append(
            tag("div", tag("h3", title), _table((("function", ""), ("bytes", "number")), code))
        )
    return _section("flash", "Flash", tag("div", *parts, class_="two"))


def _rest(told: str, empty: int, count: int, most: int) -> list[Markup]:
    blanks = [tag("td")] * empty
    return [tag("td", told, class_="quiet"), *blanks, _number(count, max(most, count))]


def _kernels(summary: Summary) -> Markup:
    """Layers with the same kernel for the same reasons, numbers apart, are one row."""
    groups: dict[tuple[object, ...], list[Layer]] = {}
    for x in summary.layers:
        reasons = tuple((kernel, *_NUMBER.split(why)[::2]) for kernel, why in x.rejected)
        groups.setdefault((x.operator, x.kernel, reasons), []).append(x)
    rows: list[list[Markup]] = []
    for layers in groups.values():
        first = layers[0]
        lost = [
            tag("li", tag("b", kernel), ": ", _ranged([x.rejected[k][1] for x in layers]))
            for k, (kernel, _) in enumerate(first.rejected)
        ]
        names = ", ".join(middle(x.name, 30) for x in layers)
        rows.append(
            [
                tag("td", ", ".join(str(x.step) for x in layers), title=names, class_="steps"),
                tag("td", first.operator),
                tag("td", tag("b", first.kernel)),
                tag("td", tag("ul", *lost) if lost else "there is no other", class_="reasons"),
            ]
        )
    head = (("steps", ""), ("operator", ""), ("kernel", ""), ("why not another", ""))
    return _section("kernels", "Kernels chosen", _table(head, rows))


_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


def _ranged(reasons: Sequence[str]) -> str:
    """Reasons that differ in numbers only as one, with the smallest and the largest."""
    pieces = [_NUMBER.split(why) for why in reasons]
    told: list[str] = []
    for k, piece in enumerate(pieces[0]):
        found = sorted({p[k] for p in pieces}, key=float) if k % 2 else [piece]
        told.append(piece if len(found) == 1 else f"{found[0]} to {found[-1]}")
    return "".join(told)


# Words ------------------------------------------------------------------------------------


def _help(summary: Summary) -> Markup:
    title = "What would help" if summary.fits is False else "Room and limits"
    parts = [
        tag(
            "div",
            tag("h3", found.title),
            tag("ul", *(tag("li", _code_words(p)) for p in found.points)),
        )
        for found in advice(summary)
    ]
    return _section("help", title, *parts)


def _code_words(text: str) -> Markup:
    """What is between backquotes as code; a lone one, in a layer's name, stays."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return join(text)
    return join(*(tag("code", p) if k % 2 else p for k, p in enumerate(pieces)))


def _firmware(summary: Summary) -> Markup:
    name = summary.api.prefix
    return _section(
        "firmware",
        "In a firmware",
        tag(
            "p", "Include ", tag("code", f"{name}.h"), " and compile ", tag("code", f"{name}.c"),
            "; there is no heap, and no library but memcpy and memset. This compiles as it stands:",
        ),
        tag("pre", tag("code", firmware.example(summary)), tabindex=0),
        tag("p", "With CMake, where the folder lies beside your CMakeLists.txt:"),
        tag("pre", tag("code", firmware.cmake(summary)), tabindex=0),
        tag(
            "p", "Define ", tag("code", f"{name.upper()}_ARENA_{summary.ram.name.upper()}"),
            " as the name of an array of yours, aligned to 16 bytes, to share its RAM, and ",
            tag("code", f"{name}_on_step(uint32_t)"), " to feed a watchdog.",
        ),
    )  # fmt: skip


def _footer(summary: Summary) -> Markup:
    return tag(
        "footer",
        tag(
            "p",
            "kB are 1,024 bytes. RAM and flash are to the byte: arena and constants from the plan, "
            "code and static data from the linked image, the stack as a bound from its "
            "disassembly, without interrupts of yours. Instructions are counted on an emulated "
            "core; cycles are estimates and rank programs, they do not predict a board.",
        ),
        tag("p", f"Written by Lilliput for {summary.model} on {summary.device}."),
    )
