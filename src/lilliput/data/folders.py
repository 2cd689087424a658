"""Folders of files: `SPLIT/CLASS/file`, `CLASS/file`, or files alone, which then have no class.

Pictures need Pillow, sounds other than .wav need soundfile (extra `data`).
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from lilliput.data.arrays import ALONE, load_arrays
from lilliput.data.sets import Array, DataSet, Example, Reading, check, gather
from lilliput.data.tables import numbers
from lilliput.errors import DataError, Problem
from lilliput.optional import need

SPLIT_NAMES: Final = frozenset({"train", "val", "valid", "validation", "test", "calibration"})


def read_folder(root: Path, reading: Reading) -> DataSet:
    """Files whose kind is not known are an error, hidden ones are passed over."""
    return gather(*_found(root, reading))


def examples(root: Path, reading: Reading) -> list[Example]:
    """All examples in the order of their files' names, without regard to splits and classes.

    Raises DataError naming every file that cannot be used, and for examples of several shapes.
    """
    found, problems = _found(root, reading)
    check(found, problems)
    return found


def _found(root: Path, reading: Reading) -> tuple[list[Example], list[Problem]]:
    found, problems = list[Example](), list[Problem]()
    for path in _files(root):
        try:
            found += _examples(root, path, reading)
        except DataError as e:
            problems += e.problems
    return found, problems


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.is_file() and not any(p.startswith((".", "_")) for p in inside):
            yield path


def _examples(root: Path, path: Path, reading: Reading) -> list[Example]:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        known = " ".join(_KINDS)
        raise DataError("a file of no known kind", where=str(path), expected=known)
    *folders, _ = path.relative_to(root).parts
    split = folders.pop(0) if folders and folders[0].lower() in SPLIT_NAMES else None
    if len(folders) > 1:
        raise DataError(
            "a file in too many folders",
            where=str(path),
            expected="SPLIT/CLASS/file or CLASS/file",
            found="/".join(folders),
        )
    label = folders[0] if folders else None
    group = reading.group_of(path.stem)
    try:
        found = kind(path, reading)
    except OSError as e:
        raise DataError("cannot be read", where=str(path), found=str(e)[:120]) from None
    split = split or reading.split_of(group)
    return [Example(str(path), x, split, label, group) for x in found]


def _picture(path: Path, reading: Reading) -> list[Array]:
    """(rows, columns, channels) uint8: the largest centred part of the shape that is asked for,
    scaled by area where it gets smaller."""
    image_of, fitted = (need(f"PIL.{name}", "data", "pictures") for name in ("Image", "ImageOps"))
    try:
        with image_of.open(path) as file:
            image = file.convert("RGB" if reading.channels == 3 else "L")
    except (OSError, ValueError, image_of.DecompressionBombError) as e:
        raise DataError("not a picture", where=str(path), found=str(e)[:120]) from None
    if reading.size is not None:
        rows, columns = reading.size
        image = fitted.fit(image, (columns, rows), image_of.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return [pixels.reshape(*pixels.shape[:2], reading.channels)]


def _sound(path: Path, reading: Reading) -> list[Array]:
    """(samples) int16 of one channel."""
    x, rate = _wave(path) if path.suffix.lower() == ".wav" else _coded(path)
    if rate != reading.rate:
        raise DataError(
            "a sound of another rate",
            where=str(path),
            expected=f"{reading.rate} samples a second",
            found=rate,
            hint="convert it, for example: sox IN -r 16000 OUT",
        )
    return reading.windows(x)


def _wave(path: Path) -> tuple[Array, int]:
    try:
        with wave.open(str(path), "rb") as file:
            form, rate = (file.getnchannels(), 8 * file.getsampwidth()), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as e:
        raise DataError("not a .wav file", where=str(path), found=str(e)[:120]) from None
    if form != (1, 16):
        raise DataError(
            "a sound of another form",
            where=str(path),
            expected="1 channel of 16 bits",
            found=f"{form[0]} of {form[1]} bits",
        )
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16), rate


def _coded(path: Path) -> tuple[Array, int]:
    soundfile = need("soundfile", "data", "coded sounds")
    try:
        x, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as e:
        raise DataError("not a sound", where=str(path), found=str(e)[:120]) from None
    if x.shape[1] != 1:
        raise DataError("a sound of one channel", where=str(path), found=x.shape[1])
    return np.asarray(x[:, 0], np.int16), int(rate)


def _recording(path: Path, reading: Reading) -> list[Array]:
    """(rows, columns) float32 of a table without a class, or (rows) of a single column."""
    _, x = numbers(path)
    return reading.windows(x)


def _array(path: Path, reading: Reading) -> list[Array]:
    x = load_arrays(path)[ALONE]
    return reading.windows(x) if reading.window else [x]


_KINDS: Final[dict[str, Callable[[Path, Reading], list[Array]]]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif"), _picture),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".aiff"), _sound),
    ".csv": _recording,
    ".npy": _array,
}
