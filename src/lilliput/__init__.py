"""Lilliput: a trained network becomes C firmware for a microcontroller, proven bit for bit.

    model = lilliput.load("model.tflite")
    board = lilliput.devices.load("stm32f746")
    lilliput.check(model, board).exact
    lilliput.write(lilliput.compile(model, board), "firmware")

The public names are imported when they are first used, so that `import lilliput` and
`lilliput --help` cost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lilliput import audio, compiler, data, demo, devices, errors, pull
    from lilliput.compiler import (
        Check,
        Compiled,
        Inspection,
        Model,
        Options,
        Profile,
        Quantization,
        Quantized,
        check,
        compile,
        from_torch,
        inspect,
        load,
        profile,
        quantize,
        run,
        write,
    )

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Compiled",
    "Inspection",
    "Model",
    "Options",
    "Profile",
    "Quantization",
    "Quantized",
    "audio",
    "check",
    "compile",
    "compiler",
    "data",
    "demo",
    "devices",
    "errors",
    "from_torch",
    "inspect",
    "load",
    "profile",
    "pull",
    "quantize",
    "run",
    "write",
]

_MODULES = frozenset({"audio", "compiler", "data", "demo", "devices", "errors", "pull"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lilliput' has no attribute {name!r}")
    if name in _MODULES:
        return importlib.import_module(f"lilliput.{name}")
    return getattr(importlib.import_module("lilliput.compiler"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
