"""A table as a value: for a terminal, for Markdown, for the page.

One idea: what a table says is worked out once, in `tables`; how it looks is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

from lilliput.report.markup import Markup, tag


@dataclass(frozen=True)
class Grid:
    """Cells as text; the first `words` columns are words, aligned left, the others numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def text(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if self._is_word(k) else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in (self.head, *self.rows)
        )

    def markdown(self) -> str:
        rule = ["---" if self._is_word(k) else "---:" for k in range(len(self.head))]
        lines = (self.head, rule, *self.rows)
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)

    def html(self) -> Markup:
        """In a box that scrolls where it is narrow."""
        head = tag("thead", self._row("th", self.head))
        body = tag("tbody", *(self._row("td", row) for row in self.rows))
        return tag("div", tag("table", head, body), class_="scroll", tabindex=0)

    def _row(self, cell: str, row: tuple[str, ...]) -> Markup:
        kinds = (None if self._is_word(k) else "number" for k in range(len(row)))
        return tag("tr", *(tag(cell, c, class_=kind) for c, kind in zip(row, kinds, strict=True)))

    def _is_word(self, column: int) -> bool:
        return column < self.words


def _cell(text: str) -> str:
    """Markdown's own signs in a name are characters of the name."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
