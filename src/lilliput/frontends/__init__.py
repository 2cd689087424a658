"""Frontends: files of trained networks become modules, recognised by their content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lilliput.errors import FormatError
from lilliput.frontends import onnx, torch
from lilliput.frontends.checkpoints import (
    is_architecture,
    is_pickle,
    read_architecture,
    read_checkpoint,
)
from lilliput.frontends.tflite.reader import read as read_tflite
from lilliput.ir import Module
from lilliput.ir.text import MARK, load
from lilliput.ops import registry

MAX_FILE = 2**31 - 1


@dataclass(frozen=True)
class Source:
    """A file as it was found; `io` as `tflite.reader` has it."""

    path: Path
    data: bytes
    io: str

    @property
    def name(self) -> str:
        """What the module is called."""
        return self.path.stem


@dataclass(frozen=True)
class Format:
    """A format that can be read, and how its bytes tell that a file is of it."""

    title: str
    matches: Callable[[bytes], bool]
    read: Callable[[Source], Module]


FORMATS = (
    Format(
        "TensorFlow Lite (.tflite)",
        lambda data: data[4:8] == b"TFL3",
        lambda file: read_tflite(file.data, name=file.name, io=file.io),
    ),
    Format(
        "Lilliput module (.lilliput)",
        lambda data: MARK in data[:256],
        lambda file: load(file.data, registry.get),
    ),
    Format(
        "ONNX (.onnx)",
        onnx.matches,
        lambda file: onnx.read(file.data, name=file.name, io=file.io, folder=file.path.parent),
    ),
    Format(
        "PyTorch program (.pt2)",
        torch.matches,
        lambda file: torch.read_file(file.data, name=file.name, io=file.io),
    ),
    Format(
        "checkpoint of MCUNet or tiny-training (.pth, .pkl)",
        is_pickle,
        lambda file: read_checkpoint(file.data, file.path),
    ),
    Format(
        "architecture of MCUNet (.json)",
        is_architecture,
        lambda file: read_architecture(file.data, file.name),
    ),
)


def read_torch(
    module: object,
    example: object = None,
    *,
    name: str = "model",
    batch: int = 1,
    io: str = "int8",
) -> Module:
    """The module that a PyTorch module or program is; see `torch.reader`."""
    return torch.read(module, example, name=name, batch=batch, io=io)


def load_model(path: str | Path, *, io: str = "int8") -> Module:
    """The module that a file holds, whatever the file is called; see `tflite.reader` for `io`.

    Raises FormatError where the file is missing, empty, or of no format known here.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise FormatError("file is too large", where=str(path), found=f"{size} bytes")
        data = path.read_bytes()
    except OSError as e:
        raise FormatError(
            "cannot read the model", where=str(path), found=e.strerror or str(e)
        ) from e
    for format in FORMATS:
        if format.matches(data):
            return format.read(Source(path, data, io))
    raise FormatError(
        "not a model that can be read",
        where=str(path),
        expected=", ".join(f.title for f in FORMATS),
        found=f"{len(data)} bytes beginning with {data[:16]!r}" if data else "an empty file",
    )
