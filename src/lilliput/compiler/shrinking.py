"""A smaller .tflite file of a .tflite file: for other engines, or for a look at what is left.

One idea: the file that is written is read again and calculated beside the original before
anybody gets it.  A network without anything to leave out keeps the bytes of its file.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from lilliput import report
from lilliput.compiler.pipeline import Log, Model, from_module, load, quiet
from lilliput.compiler.proof import random_calls
from lilliput.emu.prove import first_difference
from lilliput.errors import FormatError, LilliputError, OutputExists, UnsupportedError
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.schema import IDENTIFIER
from lilliput.frontends.tflite.schema import Model as FileModel
from lilliput.ir.graph import Node
from lilliput.ir.interp import Session
from lilliput.ir.module import Module

CALLS = 4
"""Lowest, highest and middle inputs, then random ones."""


@dataclass(frozen=True, eq=False)
class SmallerFile:
    """`data` are the bytes to write, `shrinking` what they lack; None where nothing was found."""

    model: str
    before: int
    data: bytes
    shrinking: report.Shrinking | None
    floats: bool

    def to_json(self) -> dict[str, object]:
        found = asdict(self.shrinking) if self.shrinking else None
        sizes = {"before": self.before, "after": len(self.data)}
        return {"model": self.model, "file_bytes": sizes, "shrinking": found}


def shrink_file(path: str | Path, log: Log = quiet) -> SmallerFile:
    """The smaller file of the network at `path`, with the same ends and the same outputs.

    Raises what `load` raises, FormatError for another format, and UnsupportedError where the
    smaller network cannot be said as a .tflite file.
    """
    model = load(path, io="float")
    module, whole = model.module, model.tflite
    if whole is None:
        raise FormatError(
            "only .tflite files are written smaller", where=str(path), expected="a .tflite model"
        )
    floats = not any(v.type.dtype.is_integer for n in _nodes(module) for v in n.outputs)
    log("shrinking")
    if not model.shrunk.changed:
        return SmallerFile(module.name, len(whole), whole, None, floats)
    data = write(model.shrunk.module, module.entry)
    log("comparing with the original")
    _check(model, data)
    found = report.shrinking(module, model.shrunk)
    return SmallerFile(module.name, len(whole), data, found, floats)


def _nodes(module: Module) -> tuple[Node, ...]:
    return module.graphs[module.entry].nodes


def _check(model: Model, data: bytes) -> None:
    """The file's ends and outputs are those of the network."""
    smaller = from_module(read(data, io="float")).module
    ends = [
        [(v.type.shape, v.type.dtype, v.type.quant) for v in (*m.inputs(e), *m.outputs(e))]
        for m, e in ((model.module, model.module.entry), (smaller, smaller.entry))
    ]
    assert model.tflite is not None
    if ends[0] != ends[1] or _codes(model.tflite) != _codes(data):
        raise UnsupportedError(
            "inputs and outputs of the smaller file would have other types",
            hint="files with uint8 are read as int8; compile the file as it is",
        )
    names = [v.name for v in smaller.inputs(smaller.entry)]
    for call in random_calls(model, CALLS, 0):
        want = Session(model.module).run(call.inputs).outputs.values()
        given = dict(zip(names, call.inputs.values(), strict=True))
        got = Session(smaller).run(given).outputs.values()
        for a, b in zip(want, got, strict=True):
            if first_difference(a, b) is not None:
                raise LilliputError("the smaller file gives other outputs: please report it")


def _codes(data: bytes) -> list[int]:
    """Element types of inputs and outputs, as the file has them."""
    graph = decode(data, IDENTIFIER, FileModel).subgraphs[0]
    return [graph.tensors[k].type for k in (*graph.inputs, *graph.outputs)]


def write_file(data: bytes, path: str | Path, *, force: bool = False) -> None:
    """Writes a file whole or not at all; raises OutputExists where it is there already."""
    target = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
    require_free_file(target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        new.write_bytes(data)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def require_free_file(path: str | Path, *, force: bool = False) -> None:
    """Raises OutputExists where `path` is there; with `force`, only where it is no file."""
    target = Path(path)
    if not (target.exists() or target.is_symlink()):
        return
    if not force:
        raise OutputExists(
            "the output file is there already",
            where=str(path),
            hint="name another file, or replace this one with --force",
        )
    if target.is_symlink() or not target.is_file():
        raise OutputExists(
            "will not replace what is not a file",
            where=str(path),
            expected="a file",
            found="a link" if target.is_symlink() else "a folder",
            hint="name another file",
        )
