"""Words and columns that text and page share."""

from __future__ import annotations

from collections.abc import Sequence


def short(name: str, width: int = 60) -> str:
    """A layer's name for a terminal: TensorFlow joins all that it fused by semicolons."""
    first, *others = name.split(";")
    text = first + (" ..." if others else "")
    return text if len(text) <= width else f"{text[: width - 4]} ..."


def printable(text: str) -> str:
    """Lines without control characters: a name must not steer a terminal or break a page."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def middle(name: str, width: int) -> str:
    """A name cut in its middle: the beginning says which block, the end which layer."""
    text = name.split(";")[0]
    if len(text) <= width:
        return text
    if width < 5:
        return text[-width:] if width > 0 else ""
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def size(count: int | None) -> str:
    """Bytes for a table."""
    return "unknown" if count is None else f"{count:>10,} B"


def total(count: int | None) -> str:
    """Bytes, and the same in kB of 1,024 bytes."""
    return "unknown" if count is None else f"{count:>10,} B ({count / 1024:.1f} kB)"


def placement(used: int, bound: int) -> str:
    """How good a placement is: bytes used, beside what none can do with less than."""
    gap = f"{used - bound:,} B above it" if used > bound else "optimal"
    return f"{used:,} B, lower bound {bound:,} B: {gap}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is aligned left and whose others are aligned right."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    )


VERDICT = {True: "yes", False: "no", None: "unknown"}
