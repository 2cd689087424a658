"""Data sets: folders of pictures, sounds and recordings, tables, arrays; in named splits.

    found = data.read("pictures/", data.Reading(size=(96, 96)))
    found["train"].x           # (n,96,96,3) uint8
    found.classes              # ("no_person", "person")

A folder is `SPLIT/CLASS/file` or `CLASS/file`; in the second case files go to splits by a hash of
their names, so that a file stays where it is when others are added, and files of one group (a
speaker, a recording) stay together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lilliput.data.arrays import ALONE, load_arrays, read_arrays
from lilliput.data.folders import examples, read_folder
from lilliput.data.sets import DataSet, Reading, Split
from lilliput.data.tables import read_table
from lilliput.errors import DataError

__all__ = ["ALONE", "DataSet", "Reading", "Split", "examples", "load_arrays", "read"]

_READERS: Final = {".npz": read_arrays, ".npy": read_arrays, ".csv": read_table}


def read(path: str | Path, reading: Reading | None = None) -> DataSet:
    """The data set at `path`: a folder, an .npz or .npy of arrays, or a .csv table.

    Raises DataError naming every file that cannot be used, and why.
    """
    path, reading = Path(path), reading or Reading()
    if path.is_dir():
        return read_folder(path, reading)
    reader = _READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise DataError(
            "no data set",
            where=str(path),
            expected=f"a folder, or a file {', '.join(_READERS)}",
            found="a file of another kind" if path.exists() else "nothing",
        )
    return reader(path, reading)
