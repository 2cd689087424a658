"""Arrays in .npz and .npy files.

`x` and `y`, with `split` or without; or `x_train`, `y_train`, `x_test`, `y_test` and the like; a
.npy file is `x` alone.  y are classes, or, as floats of two axes or more, targets of a loss.
`classes` names the classes, `groups` says where an example comes from.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.data.sets import Array, DataSet, Reading, Split
from lilliput.errors import DataError

ALONE = ""
"""The name of an array that has none: that of an .npy file."""


def read_arrays(path: Path, reading: Reading) -> DataSet:
    """Raises DataError where the file holds something else, or lengths differ."""
    held = load_arrays(path)
    if ALONE in held:
        held["x"] = held.pop(ALONE)
    classes = tuple(str(c) for c in held.pop("classes", np.array([], str)))
    stems = [n.removeprefix("x_") for n in held if n.startswith("x_")]
    if stems:
        splits = {s: _split(path, held, f"_{s}") for s in stems}
    elif "x" in held:
        splits = _divided(path, held, reading)
    else:
        raise DataError(
            "no examples",
            where=str(path),
            expected="an array x, or x_train, x_test ...",
            found=", ".join(held) or "nothing",
        )
    return DataSet(splits, classes)


def load_arrays(path: Path) -> dict[str, Array]:
    """Arrays of an .npz by name, or of an .npy under ALONE; nothing in them is executed.

    Raises DataError."""
    try:
        with path.open("rb") as file:
            found: Any = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return {ALONE: found}
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise DataError(
            "arrays cannot be read",
            where=str(path),
            expected="an .npz or .npy file",
            found=str(e)[:120] or type(e).__name__,
            hint="save plain arrays of numbers, without objects",
        ) from None


def _split(path: Path, held: dict[str, Array], suffix: str) -> Split:
    x, y, groups = (held.get(f"{n}{suffix}") for n in ("x", "y", "groups"))
    assert x is not None
    if x.ndim == 0 or not len(x):
        raise DataError("no examples", where=f"{path}, x{suffix}", found=f"shape {x.shape}")
    for name, other in (("y", y), ("groups", groups)):
        if other is not None and len(other) != len(x):
            raise DataError(
                "arrays of several lengths",
                where=f"{path}, {name}{suffix}",
                expected=len(x),
                found=len(other),
            )
    if y is not None and (y.ndim == 1 or not np.issubdtype(y.dtype, np.floating)):
        y = y.astype(np.int64)
    return Split(x, y, groups)


def _divided(path: Path, held: dict[str, Array], reading: Reading) -> dict[str, Split]:
    whole = _split(path, held, "")
    names = held.get("split")
    if names is None:
        groups = whole.groups if whole.groups is not None else np.arange(len(whole))
        names = np.array([reading.split_of(str(g)) for g in groups])
    if len(names) != len(whole):
        raise DataError(
            "arrays of several lengths",
            where=f"{path}, split",
            expected=len(whole),
            found=len(names),
        )

    def part(name: str) -> Split:
        mine = names == name
        y, groups = (None if v is None else v[mine] for v in (whole.y, whole.groups))
        return Split(whole.x[mine], y, groups)

    return {str(n): part(n) for n in dict.fromkeys(names.tolist())}
