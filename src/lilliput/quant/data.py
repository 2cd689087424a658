"""The user's data: arrays, files, folders and loaders, as joined float32 samples.

One idea: whatever it comes as, it ends as one array for each input, (N * d0, ...) for an input
(d0, ...), checked: shapes, numbers, count.  Tensors of other libraries are taken by their
`numpy()`; nothing is imported for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from lilliput.data import ALONE, Reading, examples, load_arrays
from lilliput.errors import Problem, UsageError
from lilliput.ir.graph import Value
from lilliput.ir.types import Array
from lilliput.quant.batch import leading

LABELS = "y"
"""The name of classes beside the data; nothing but a warning depends on them."""
FEW = 32
"""Fewer samples are warned about."""


@dataclass(frozen=True, eq=False)
class Samples:
    """inputs : name -> joined array; count; warnings : what is odd, but possible; labels (count)
    int64 : classes that came with the data, if any."""

    inputs: Mapping[str, Array]
    count: int
    warnings: tuple[str, ...] = field(default=())
    labels: Array | None = None


def samples(given: object, inputs: Sequence[Value], *, least: int = 2) -> Samples:
    """Checked samples of an array, a mapping from input names, a path, or an iterable of arrays,
    tensors, tuples (the first items are inputs) or mappings.

    Raises UsageError with everything that is wrong, DataError for files that cannot be read.
    """
    found = _arrays(given, inputs)
    problems: list[Problem] = []
    joined = {v.name: _joined(found[v.name], v, problems) for v in inputs if v.name in found}
    problems += [Problem("no data for this input", v.name) for v in inputs if v.name not in found]
    if problems:
        raise UsageError(problems)
    counts = {v.name: len(joined[v.name]) // leading(v) for v in inputs}
    if len(set(counts.values())) != 1:
        raise UsageError("inputs have different numbers of samples", found=str(counts))
    count = next(iter(counts.values()))
    if count < least:
        raise UsageError(
            "too few samples: a range cannot be told from them",
            expected=f"{least} or more; some hundreds are good",
            found=f"{count}",
        )
    labels = None if LABELS in counts else found.get(LABELS)
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (count,)):
        labels = None
    labels = None if labels is None else labels.astype(np.int64)
    return Samples(joined, count, _warnings(joined, count), labels)


def _warnings(joined: Mapping[str, Array], count: int) -> tuple[str, ...]:
    made: list[str] = []
    if count < FEW:
        made.append(f"only {count} samples: ranges seen in a hundred or more are safer")
    for name, data in joined.items():
        rows = data.reshape(count, -1)
        if count > 1 and data.dtype.kind == "f" and not np.ptp(rows, axis=0).any():
            made.append(f"all samples of {name} are the same: one would tell as much")
    return tuple(made)


def array(given: object) -> Array:
    """A NumPy array of anything that is one, or has `numpy()`; raises UsageError."""
    try:
        tensor = cast("Any", given)
        if not isinstance(given, np.ndarray) and hasattr(tensor, "numpy"):
            tensor = tensor.detach() if hasattr(tensor, "detach") else tensor
            tensor = tensor.cpu() if hasattr(tensor, "cpu") else tensor
            return np.asarray(tensor.numpy())
        return np.asarray(tensor)
    except (ValueError, TypeError, RuntimeError) as e:
        kind = type(cast("object", given)).__name__
        raise UsageError("data is no array", found=f"{kind}: {e}") from None


# Where it comes from ----------------------------------------------------------------------


def _arrays(given: object, inputs: Sequence[Value]) -> dict[str, Array]:
    """Name of an input -> its samples; LABELS -> their classes, where these came along."""
    if isinstance(given, str | Path):
        return _file(Path(given), inputs)
    if isinstance(given, Mapping):
        return _named({str(k): array(v) for k, v in cast("Any", given).items()}, inputs)
    if isinstance(given, np.ndarray) or hasattr(given, "numpy"):
        return {inputs[0].name: array(cast("object", given))}
    if not isinstance(given, Iterable):
        raise UsageError("data is no array and nothing to go through", found=type(given).__name__)
    return _stacked(cast("Iterable[object]", given), inputs)


def _stacked(items: Iterable[object], inputs: Sequence[Value]) -> dict[str, Array]:
    """The batches or samples of an iterable, one behind the other."""
    parts: dict[str, list[Array]] = {v.name: [] for v in inputs}
    labels = list[Array]()
    for item in items:
        if isinstance(item, Mapping):
            found = _named({str(k): array(v) for k, v in cast("Any", item).items()}, inputs)
        elif isinstance(item, list | tuple) and not np.isscalar(cast("Any", item)[0]):
            several = [array(part) for part in cast("Sequence[object]", item)]
            found = {v.name: a for v, a in zip(inputs, several, strict=False)}
            if len(several) == len(inputs) + 1:
                found.setdefault(LABELS, several[-1])
        else:
            found = {inputs[0].name: array(cast("object", item))}
        for v in inputs:
            if v.name not in found:
                raise UsageError("no data for this input in an item", where=v.name)
            parts[v.name].append(_as_batch(found[v.name], v))
        if LABELS in found and LABELS not in parts:
            labels.append(found[LABELS].reshape(-1))
    if not parts[inputs[0].name]:
        raise UsageError("there is no data: nothing to go through", expected="arrays", found="none")
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return {LABELS: np.concatenate(labels), **joined} if labels else joined


def _as_batch(data: Array, v: Value) -> Array:
    shape = v.type.shape
    single = data.shape in (shape, shape[1:]) and shape[:1] == (1,)
    return data.reshape(1, *shape[1:]) if single else data


def _named(arrays: Mapping[str, Array], inputs: Sequence[Value]) -> dict[str, Array]:
    names = {v.name for v in inputs}
    labels = {LABELS: arrays[LABELS]} if LABELS in arrays else {}
    if names <= arrays.keys():
        return {**labels, **{name: arrays[name] for name in names}}
    if len(inputs) == 1:
        only = arrays.get("x", next(iter(arrays.values())) if len(arrays) == 1 else None)
        if only is not None:
            return {**labels, inputs[0].name: only}
    raise UsageError(
        "arrays are not named like the inputs",
        expected=", ".join(sorted(names)) + (", or x" if len(inputs) == 1 else ""),
        found=", ".join(arrays) or "none",
    )


def _file(path: Path, inputs: Sequence[Value]) -> dict[str, Array]:
    if path.is_dir():
        return _folder(path, inputs)
    found = load_arrays(path)
    return {inputs[0].name: found[ALONE]} if ALONE in found else _named(found, inputs)


def _folder(path: Path, inputs: Sequence[Value]) -> dict[str, Array]:
    """Every example of a folder in the order of its names, whatever split or class it is in."""
    if len(inputs) > 1:
        raise UsageError("a folder is data of one input", hint="use an .npz with named arrays")
    shape = inputs[0].type.shape
    picture = len(shape) == 4 and shape[3] in (1, 3)
    size = (shape[1], shape[2]) if picture else None
    found = examples(path, Reading(size=size, channels=shape[3] if picture else 3))
    rows = _stacked([e.x.astype(np.float32) for e in found], inputs)
    classes = sorted({e.label for e in found if e.label is not None})
    if classes and all(e.label is not None for e in found):
        rows[LABELS] = np.array([classes.index(e.label or "") for e in found])
    return rows


# Checks -----------------------------------------------------------------------------------


def _joined(data: Array, v: Value, problems: list[Problem]) -> Array:
    """(N * d0, ...) of the input's element type; what is wrong goes to `problems`."""
    if data.dtype.kind not in "fiub":
        problems.append(Problem("data are no numbers", v.name, "numbers", str(data.dtype)))
        return data
    wanted = v.type.shape
    shape = _fitting(data.shape, wanted)
    if shape is None:
        problems.append(_misshapen(data, v))
        return data
    whole = data.reshape(shape).astype(v.type.dtype.numpy)
    if not v.type.dtype.is_float:
        return whole
    bad = ~np.isfinite(whole)
    if bad.any():
        first = int(np.argwhere(bad)[0][0])
        text = f"{int(bad.sum())} elements, the first in sample {first}"
        problems.append(Problem("data hold NaN or infinity", v.name, "finite numbers", text))
    elif whole.size and float(whole.min()) == float(whole.max()):
        text = f"{float(whole.min()):g} everywhere"
        problems.append(Problem("data are constant", v.name, "samples that differ", text))
    return whole


def _fitting(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """The joined shape, axes of extent 1 aside; None where it cannot be."""
    if wanted[:1] != (1,):
        fits = shape[1:] == wanted
        return (shape[0] * (wanted or (1,))[0], *wanted[1:]) if fits else None
    if not shape:
        return None
    inner = [d for d in wanted[1:] if d != 1]
    if [d for d in shape[1:] if d != 1] == inner:
        return (shape[0], *wanted[1:])
    one = [d for d in shape if d != 1] == inner
    return (1, *wanted[1:]) if one else None


def _misshapen(data: Array, v: Value) -> Problem:
    wanted = v.type.shape
    first = len(data.shape) == len(wanted) == 4 and data.shape[1] == wanted[3]
    hint = "channels come last here: x.transpose(0, 2, 3, 1)" if first else ""
    return Problem(
        "data have another shape",
        v.name,
        f"(N, {', '.join(map(str, wanted[1:]))})",
        str(data.shape),
        hint,
    )
