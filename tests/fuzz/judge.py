"""Whether the package does what it promises with some bytes: refuse them, or take them whole.

One idea: one function of the bytes alone, that returns how far they got and raises for
whatever must not happen.  It knows nothing of where the bytes come from.

    refused    an error of `lilliput.errors` while reading, the same one every time
    large      read, the same graph every time, written and read back, canonical; too large to
               go on
    planned    ... refused by the planner
    compiled   ... and written as C, the same text every time; the canonical form gives the
               outputs that it gave when it was read
"""

from __future__ import annotations

import re
import traceback
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from tests.tflite_fuzz_cases import random_inputs

from lilliput import compiler, devices
from lilliput.devices.device import Device
from lilliput.errors import (
    CertificateError,
    FormatError,
    LilliputError,
    ModelError,
    PlanError,
    UnsupportedError,
)
from lilliput.frontends import FORMATS, Source
from lilliput.ir import Module, verify
from lilliput.ir.interp import Session
from lilliput.ir.text import load, print_module, save
from lilliput.ir.types import Array
from lilliput.ops import registry

MAX_ELEMENTS = 1 << 16
MAX_MACS = 1 << 22
MAX_NODES = 64
MAX_STATED = 4096
"""What is compiled, and the largest attribute of what is also run."""
CORE = "cortex-m4"
EVIL = "#evil"
"""What names hold that try to be code."""


class Fault(Exception):
    """A promise that is broken without an error of its own."""


@dataclass(frozen=True)
class Verdict:
    """How far the bytes got, and the words of the error that ended it, if one did."""

    stage: str
    words: str = ""


def judge(data: bytes) -> Verdict:
    """Raises whatever is no error of the package, a warning too, and Fault where a promise is
    broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return _judged(data)


def _judged(data: bytes) -> Verdict:
    try:
        module = read(data)
    except ModelError as e:
        again = _refusal(data)
        if again != str(e):
            raise Fault(f"refused otherwise the second time:\n{e}\n{again}") from None
        again.encode()
        return Verdict("refused", again)
    verify(module)
    text = print_module(module)
    if print_module(read(data)) != text:
        raise Fault("read otherwise the second time")
    if print_module(load(save(module), registry.get)) != text:
        raise Fault("is another module when it is written and read back")
    model = compiler.from_module(module)
    return _taken(model, module) if _small(model.module) else Verdict("large")


def read(data: bytes) -> Module:
    """As `frontends.load_model`, of bytes."""
    for format in FORMATS:
        if format.matches(data):
            return format.read(Source(Path("fuzzed"), data, "int8"))
    raise FormatError("not a model that can be read")


def _refusal(data: bytes) -> str:
    try:
        read(data)
    except ModelError as e:
        return str(e)
    return "accepted"


def _taken(model: compiler.Model, module: Module) -> Verdict:
    """Compiles the canonical form of a sound module; only the planner may still refuse, and
    never by its certificate."""
    options = compiler.Options(compiler="none")
    try:
        files = compiler.compile(model, _device(), options).files
        if files != compiler.compile(model, _device(), options).files:
            raise Fault("the C is another one the second time")
        if EVIL in code("".join(files.values())):
            raise Fault("a name has become code")
    except CertificateError:
        raise
    except (PlanError, UnsupportedError) as e:
        return Verdict("planned", str(e))
    if _runs(module):
        _same_meaning(module, model.module)
    return Verdict("compiled")


@cache
def _device() -> Device:
    return devices.load(CORE)


def code(text: str) -> str:
    """C without its comments, lines joined as a compiler joins them first."""
    text.encode()
    return re.sub(r"/\*.*?\*/", " ", text.replace("\\\n", ""), flags=re.DOTALL)


def _small(module: Module) -> bool:
    nodes = [n for g in module.graphs.values() for n in g.nodes]
    values = [v for g in module.graphs.values() for v in g.values()]
    return (
        len(nodes) <= MAX_NODES
        and sum(v.type.size for v in values) <= MAX_ELEMENTS
        and sum(n.op.cost(n).macs for n in nodes) <= MAX_MACS
    )


def _runs(module: Module) -> bool:
    """NumPy pads an operand where C steps over what is not there: far padding takes memory."""
    nodes = (n for g in module.graphs.values() for n in g.nodes)
    stated = [v for n in nodes for v in _numbers(vars(n.attrs))]
    known = all(p.data is not None for p in module.params.values())
    return known and max(map(abs, stated), default=0) <= MAX_STATED


def _numbers(value: object) -> list[int]:
    if isinstance(value, dict):
        return _numbers(tuple(cast("dict[str, object]", value).values()))
    if isinstance(value, tuple):
        return [n for v in cast("tuple[object, ...]", value) for n in _numbers(v)]
    return [value] if isinstance(value, int) else []


def _same_meaning(module: Module, canonical: Module) -> None:
    """Both give the same outputs from every entry."""
    for entry in module.graphs:
        inputs = random_inputs({v.name: v.type for v in module.inputs(entry)})
        for a, b in zip(*(_results(m, entry, inputs) for m in (module, canonical)), strict=True):
            if a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                raise Fault(f"entry {entry!r} means something else in canonical form")


def _results(module: Module, entry: str, inputs: Mapping[str, Array]) -> list[Array]:
    run = Session(module).run(inputs, entry)
    return [*(run.values[v.name] for v in module.outputs(entry)), *run.states.values()]


def signature(error: BaseException) -> str:
    """What tells one defect from another: the class, and the last lines of the package's code."""
    root = str(Path(compiler.__file__).parent.parent)
    frames = [
        f"{Path(f.filename).stem}.{f.name}:{f.lineno}"
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename.startswith(root)
    ]
    words = str(error).split("\n", 1)[0] if isinstance(error, (Fault, LilliputError)) else ""
    return f"{type(error).__name__} {words} {' < '.join(frames[:-4:-1])}".strip()


def short_name(signature: str) -> str:
    return f"{zlib.crc32(signature.encode()):08x}"
