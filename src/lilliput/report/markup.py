"""HTML and SVG as text that cannot be broken by what is put into it.

One idea: `Markup` is text that is markup already; everything else is escaped when it becomes a
child or an attribute.  Not a template language: a page is nested calls of `tag`.
"""

from __future__ import annotations

from html import escape
from importlib import resources

from lilliput.report.words import printable

VOID = frozenset({"meta"})
"""Elements that have no end tag."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | None
"""What an element holds; None is left out."""


def tag(name: str, /, *children: Child, **attributes: str | int | float | None) -> Markup:
    """An element.  `class_` is `class`, other underscores are hyphens; None is left out.

    Control characters, which no document may hold, become U+FFFD.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def document(title: str, main: Markup) -> str:
    """A whole page in the style of `page.css`."""
    style = (resources.files("lilliput.report") / "page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    page = tag("html", head, "\n", tag("body", main), lang="en")
    return f"<!doctype html>\n{page}\n"


def join(*children: Child) -> Markup:
    """Children one behind the other, escaped where they are not markup."""
    return Markup("".join(_text(c) for c in children if c is not None))


def _text(child: str | int) -> str:
    if isinstance(child, Markup):
        return child
    return escape(printable(str(child)), quote=True)


def _number(value: str | int | float) -> str:
    """Two decimals at most, so that the same picture is the same bytes."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
