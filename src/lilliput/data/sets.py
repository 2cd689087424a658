"""What a data set is, how it is asked for, and which split an example belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.errors import DataError, Problem

Array = npt.NDArray[Any]
SPLITS = MappingProxyType({"train": 0.8, "test": 0.2})
MAX_PROBLEMS = 20
MAX_BYTES = 1 << 32


@dataclass(frozen=True, eq=False)
class Split:
    """x (n,...); y (n) int64 indices of classes, (n,...) float targets, or None; groups (n) of
    text: who or what an example comes from."""

    x: Array
    y: Array | None = None
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Splits by name, and the names of the classes, in the order of their indices."""

    splits: Mapping[str, Split]
    classes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Split:
        """Raises DataError where there is no such split."""
        try:
            return self.splits[name]
        except KeyError:
            raise DataError("no such split", expected=", ".join(self.splits), found=name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)


@dataclass(frozen=True)
class Reading:
    """How files become examples.

    size : (rows, columns) that pictures are cropped and scaled to; None where all have one size
    channels : 3 for colour, 1 for grey
    rate : samples a second that sounds must have
    window, stride : samples of a sound or rows of a recording that make an example, and how far
        the next begins behind it; None for whole files, `stride` None for the window
    label : the column of a table that holds the class; None for `label`, `class` or `y`
    parts : share of each split, where the files are in none
    group : what stays together in a split: the first group of this pattern in a file's name
    seed : of the shares
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    rate: int = 16_000
    window: int | None = None
    stride: int | None = None
    label: str | None = None
    parts: Mapping[str, float] = field(default_factory=lambda: SPLITS)
    group: str = r"^(.*)$"
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [n for n in (self.window, self.stride, *(self.size or ())) if n is not None]
        if self.channels not in (1, 3) or self.rate < 1 or any(n < 1 for n in wrong):
            raise DataError("size, channels, rate, window and stride", expected="whole numbers")
        total = sum(self.parts.values())
        if min(self.parts.values(), default=0) < 0 or abs(total - 1) > 1e-6:
            raise DataError("shares of the splits", expected="shares of 1", found=self.parts)

    def group_of(self, name: str) -> str:
        """Raises DataError where the pattern is none."""
        try:
            found = re.search(self.group, name)
        except re.error as e:
            raise DataError("pattern of groups", found=self.group, expected=str(e)) from None
        return found[1] if found and found.re.groups else name

    def split_of(self, group: str) -> str:
        """The split that a group of files goes to, whatever other groups there are."""
        digest = hashlib.sha256(f"{self.seed}/{group}".encode()).digest()
        place, reached = int.from_bytes(digest[:8], "big") / 2**64, 0.0
        for name, part in self.parts.items():
            reached += part
            if place < reached:
                return name
        return list(self.parts)[-1]

    def windows(self, x: Array) -> list[Array]:
        """The examples of one recording (n,...); a shorter one is filled up with zeros."""
        if self.window is None:
            return [x]
        lack = self.window - len(x)
        if lack > 0:
            x = np.concatenate([x, np.zeros((lack, *x.shape[1:]), x.dtype)])
        step = self.stride or self.window
        return [x[k : k + self.window] for k in range(0, len(x) - self.window + 1, step)]


@dataclass(frozen=True, eq=False)
class Example:
    """One example, before all are put together."""

    where: str
    x: Array
    split: str
    label: str | None = None
    group: str = ""


def gather(examples: Iterable[Example], problems: Sequence[Problem]) -> DataSet:
    """The data set of these examples; raises DataError for `problems` and for unequal shapes."""
    found = list(examples)
    check(found, problems)
    classes = tuple(sorted({e.label for e in found if e.label is not None}))
    index = {name: k for k, name in enumerate(classes)}
    splits = dict[str, Split]()
    for name in dict.fromkeys(e.split for e in found):
        mine = [e for e in found if e.split == name]
        y = [index[e.label] for e in mine if e.label is not None]
        splits[name] = Split(
            np.stack([e.x for e in mine]),
            np.array(y, np.int64) if len(y) == len(mine) else None,
            np.array([e.group for e in mine]),
        )
    return DataSet(splits, classes)


def check(found: Sequence[Example], problems: Sequence[Problem]) -> None:
    """Raises DataError for `problems`, unequal shapes, none at all, and more than memory holds."""
    wrong = list(problems)
    shapes = {e.x.shape: e for e in reversed(found)}
    if len(shapes) > 1:
        first = found[0].x.shape
        wrong += [
            Problem(
                "examples of several shapes",
                e.where,
                str(first),
                str(shape),
                "give a size for pictures, or a window for sounds and recordings",
            )
            for shape, e in shapes.items()
            if shape != first
        ]
    if sum(e.x.nbytes for e in found) > MAX_BYTES:
        wrong.append(Problem("the data set is too large to be read at once"))
    if not found and not wrong:
        wrong.append(Problem("no examples"))
    if wrong:
        raise DataError(few(wrong))


def few(problems: Sequence[Problem]) -> list[Problem]:
    """The first of many problems, and how many more there are."""
    left = len(problems) - MAX_PROBLEMS
    more = [Problem(f"... and {left} more")] if left > 0 else []
    return [*problems[:MAX_PROBLEMS], *more]
