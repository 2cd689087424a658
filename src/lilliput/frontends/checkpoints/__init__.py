"""Published checkpoints: MIT's int8 training networks (.pkl), MCUNet (.pth and .json)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from lilliput.errors import FormatError
from lilliput.frontends.checkpoints.architecture import (
    architecture_of,
    is_architecture,
    read_architecture,
)
from lilliput.frontends.checkpoints.pickles import is_pickle, read_pickle
from lilliput.frontends.checkpoints.training import is_training, read_training
from lilliput.ir import Module, verify

__all__ = ["is_architecture", "is_pickle", "read_architecture", "read_checkpoint"]


def read_checkpoint(data: bytes, path: Path) -> Module:
    """The module of a pickle: int8 layers with their scales, or weights whose architecture lies
    beside `path`.  Raises FormatError or UnsupportedError.
    """
    value = read_pickle(data)
    if is_training(value):
        module = read_training(value, path.stem)
    elif isinstance(value, dict):
        module = read_architecture(architecture_of(path), path.stem, cast("object", value))
    else:
        raise FormatError(
            "no network that is known",
            where=str(path),
            expected="a state_dict, or the int8 layers of tiny-training",
            found=type(value).__name__,
        )
    verify(module)
    return module
