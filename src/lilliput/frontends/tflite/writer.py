"""Writes a module as a .tflite file: deterministic bytes, and what the format cannot say.

Used to compare with other implementations and to hand a network on.  A `clamp` behind a
node that can carry an activation becomes that activation; padding becomes SAME or VALID,
or a PAD node.  Nodes that the format has no words for are listed, all of them, in one
UnsupportedError.
"""

from __future__ import annotations

from lilliput.errors import UsageError
from lilliput.frontends.tflite.flatbuf import encode
from lilliput.frontends.tflite.operators import WRITE
from lilliput.frontends.tflite.schema import IDENTIFIER
from lilliput.frontends.tflite.writing import Writer
from lilliput.ir import Module


def write(module: Module, entry: str = "infer") -> bytes:
    """The .tflite file of one entry; raises UnsupportedError listing every node left over."""
    if entry not in module.graphs:
        raise UsageError("no such entry", expected=", ".join(module.graphs), found=entry)
    rules = {name: rule.write for name, rule in WRITE.items()}
    fuses = frozenset(name for name, rule in WRITE.items() if rule.fuses)
    return encode(Writer(module, entry, rules, fuses).model(), IDENTIFIER)
