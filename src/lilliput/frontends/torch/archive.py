"""Programs in files (.pt2), which torch.export.save writes: a zip archive of JSON and bare tensors.

One idea: only what a program consists of is let through.  An archive may also hold pickles of
the user's own classes and compiled libraries, which loading would run; those are refused, and torch
is told to unpickle tensors only.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from lilliput.errors import FormatError, LilliputError
from lilliput.frontends.torch.capture import quiet
from lilliput.optional import need

MARK = "archive_format"
ALLOWED = re.compile(
    r"archive_(format|version)|version|byteorder|\.(data|format_version|storage_alignment).*"
    r"|models/[^/]+\.json|data/(weights|constants)/((weight|tensor)_\d+|[^/]+_config\.json)"
    r"|data/sample_inputs/[^/]+\.pt|extra/.*"
)
"""Paths inside of the folder that everything lies in."""
OPERATORS = ("torch.ao.quantization.fx._decomposed", "torchao")
"""Where the operators of quantised programs are declared; older or newer torch may lack one."""
TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
MAX_BYTES = 1 << 31
"""Of all that an archive holds, unpacked."""


def matches(data: bytes) -> bool:
    """Whether the bytes are an archive of torch.export.save, whole or cut off."""
    if data[:4] != b"PK\3\4":
        return False
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return b"/data/weights/weight_" in data[:512] or b"/archive_format" in data[:512]
    return any(PurePosixPath(n).name == MARK for n in names)


def load(data: bytes, where: str) -> Any:
    """The ExportedProgram of a file.

    Raises MissingTool without torch, FormatError where the file is damaged or holds what would be
    run, with the names.
    """
    torch = need("torch", "torch", "PyTorch programs (.pt2)")
    _check(data, where)
    with quiet(), _tensors_only():
        for module in OPERATORS:
            _declared(module)
        try:
            return torch.export.load(io.BytesIO(data))
        except Exception as e:
            reason = f"{type(e).__name__}: {e}".splitlines()[0][:300]
            raise FormatError(
                "torch.export cannot load the program",
                where=where,
                found=reason,
                hint=f"save it with the version of torch that is installed, {torch.__version__}",
            ) from None


def _check(data: bytes, where: str) -> None:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        infos, broken = archive.infolist(), archive.testzip()
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as e:
        raise FormatError("the file is damaged or was cut off", where=where, found=str(e)) from None
    if broken:
        raise FormatError("the file is damaged", where=where, found=broken)
    size = sum(i.file_size for i in infos)
    if size > MAX_BYTES:
        raise FormatError("the file is too large", where=where, expected=MAX_BYTES, found=size)
    names = [i.filename for i in infos]
    foreign = [n for n in names if not ALLOWED.fullmatch(n.partition("/")[2])]
    foreign += [n for n in names if n.endswith("_config.json") and _pickles(archive.read(n))]
    if foreign:
        raise FormatError(
            "the file holds more than a program of tensors, and loading it would run that",
            where=where,
            found=", ".join(foreign[:4]),
            hint="load it where you trust it, and give lilliput.from_torch the program",
        )


def _pickles(config: bytes) -> bool:
    """Whether tensors are kept as pickles, by what lists them; what cannot be read is refused."""
    try:
        listed: Any = json.loads(config)["config"]
        return any(entry.get("use_pickle", False) for entry in listed.values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return True


def _declared(module: str) -> None:
    try:
        need(module, "torch", "quantised programs")
    except LilliputError:
        return


@contextmanager
def _tensors_only() -> Generator[None]:
    before = os.environ.get(TENSORS_ONLY)
    os.environ[TENSORS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TENSORS_ONLY]
        else:
            os.environ[TENSORS_ONLY] = before
