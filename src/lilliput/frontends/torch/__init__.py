"""PyTorch modules and programs: `read` captures a module through `torch.export`, `read_file`
reads what `torch.export.save` wrote.

capture    module or program, example -> Traced
archive    a file (.pt2) -> program             these two alone talk to torch
program    Traced: steps of ATen operators, as plain data
scales     what quantize and dequantize of a PT2E program say
dynamic    chains of scales that are measured at run time, left out
uses       who reads a tensor, and as which integers
reader     Traced -> Module                     a table name -> builder, errors all at once
operators  the builders, by family
"""

from lilliput.frontends.torch.archive import load, matches
from lilliput.frontends.torch.reader import read
from lilliput.ir import Module

__all__ = ["matches", "read", "read_file"]


def read_file(data: bytes, *, name: str = "model", io: str = "int8") -> Module:
    """The module that a file of `torch.export.save` holds; see `reader.read` and `archive.load`."""
    return read(load(data, name), name=name, io=io)
