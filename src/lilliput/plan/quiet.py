"""What planning does without."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np


@contextmanager
def planning() -> Generator[None, None, None]:
    """Without warnings, as tables are made of functions that overflow to infinity, and without
    collecting garbage: nearly all that is made is kept until there is a plan, and to go through it
    again and again takes a tenth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        if collects:
            gc.enable()
