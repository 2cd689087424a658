"""What a checkpoint belongs to: one number for a module's saved states and all that reads them."""

from __future__ import annotations

import hashlib

import numpy as np

from lilliput.ir.module import Module
from lilliput.ir.text import print_module


def identity(module: Module) -> int:
    """64 bits of a hash of names, types and order of the states, of every node, and of the
    constants that the trained tensors have been trained beside; the states' first values are not
    in it.  0 where no state is saved."""
    if not any(s.saved for s in module.states.values()):
        return 0
    digest = hashlib.sha256(print_module(module).encode())
    for param in module.params.values():
        if param.data is not None:
            data = np.ascontiguousarray(param.data, param.data.dtype.newbyteorder("<"))
            digest.update(data.tobytes())
    return int.from_bytes(digest.digest()[:8], "little")
