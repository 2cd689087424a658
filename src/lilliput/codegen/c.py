"""C text: identifiers, literals, tables and indentation.  One place owns each."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lilliput.ir.types import Array

WIDTH = 100


def identifier(name: str) -> str:
    """`name` as a C identifier: what is not a letter or digit becomes `_`."""
    text = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "x"
    return f"_{text}" if text[0].isdigit() else text


def number(value: float | int | np.integer[Any] | np.floating[Any]) -> str:
    """A literal that reads back as the same value, without implicit conversion."""
    if not isinstance(value, int | np.integer):
        v = float(np.float32(value))
        if not np.isfinite(v):
            return "(0.0f / 0.0f)" if np.isnan(v) else f"({'-' if v < 0 else ''}1.0f / 0.0f)"
        return f"{v!r}f"
    v = int(value)
    if v == -(2**31):
        return "INT32_MIN"
    if v == -(2**63):
        return "INT64_MIN"
    return f"{v}LL" if not -(2**31) < v < 2**31 else str(v)


def table(data: Array) -> Iterator[str]:
    """The elements of an array as lines of at most WIDTH characters."""
    line = ""
    for element in data.reshape(-1):
        text = number(element) + ","
        if line and len(line) + 1 + len(text) > WIDTH - 4:
            yield line
            line = ""
        line = f"{line} {text}" if line else text
    if line:
        yield line


def comment(text: str) -> str:
    """A one-line comment.  Names come from the model's file: what would end it early is
    defused, and so is a line break, which behind a backslash joins `*` and `/` of two lines."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    return f"/* {line.replace('*/', '* /').replace('/*', '/ *')} */"


class Text:
    """Lines with indentation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def add(self, *lines: str) -> None:
        for line in lines:
            self.lines.append(f"{'    ' * self.depth}{line}" if line else "")

    def extend(self, lines: Iterable[str]) -> None:
        self.add(*lines)

    @contextmanager
    def block(self, head: str, tail: str = "}") -> Generator[None]:
        self.add(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.add(tail)

    @contextmanager
    def function(self, head: str) -> Generator[None]:
        self.add(head, "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.add("}", "")

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"
