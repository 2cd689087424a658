"""Tables (.csv): one example a row with its class in a column, or one recording a file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lilliput.data.sets import Array, DataSet, Example, Reading, gather
from lilliput.errors import DataError

LABELS = ("label", "class", "y")


def read_table(path: Path, reading: Reading) -> DataSet:
    """One example a row: a header names the columns, one of which may hold the class, and one,
    `split`, the split.  Raises DataError."""
    header, rows = _rows(path)
    names = [n.strip() for n in header]
    if reading.label is not None and reading.label not in names:
        raise DataError("no such column", where=str(path), expected=names, found=reading.label)
    wanted = (reading.label,) if reading.label else LABELS
    label = next((names.index(n) for n in wanted if n in names), None)
    split = names.index("split") if "split" in names else None
    kept = [k for k in range(len(rows[0])) if k not in (label, split)]
    examples = list[Example]()
    for k, row in enumerate(rows):
        group = str(k)
        examples.append(
            Example(
                f"{path}, row {k + 1}",
                np.array([_number(path, k, row[c]) for c in kept], np.float32),
                reading.split_of(group) if split is None else row[split].strip(),
                None if label is None else row[label].strip(),
                group,
            )
        )
    return gather(examples, [])


def numbers(path: Path) -> tuple[tuple[str, ...], Array]:
    """The header, if any, and all rows (rows, columns) in float32."""
    header, rows = _rows(path)
    values = [[_number(path, k, v) for v in row] for k, row in enumerate(rows)]
    return tuple(header), np.array(values, np.float32)


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DataError("not a table", where=str(path), found=str(e)[:120]) from None
    header = rows.pop(0) if rows and not all(_is_number(v) for v in rows[0]) else []
    if not rows:
        raise DataError("a table without rows", where=str(path))
    width = len(header or rows[0])
    for k, row in enumerate(rows):
        if len(row) != width:
            raise DataError(
                "a row of another length",
                where=f"{path}, row {k + 1}",
                expected=f"{width} columns",
                found=len(row),
            )
    return header, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, row: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError("not a number", where=f"{path}, row {row + 1}", found=text[:40])
    return value
