"""The operators of ONNX that are read: name -> builder, one file a family.

A builder takes a `Call` and gives a `Tensor` for the result, or one for each result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lilliput.frontends.onnx.call import Call
from lilliput.frontends.onnx.operators import (
    elementwise,
    measured,
    products,
    quantised,
    recurrent,
    reduce,
    shape,
    windows,
)
from lilliput.frontends.onnx.tensors import Tensor

READ: Mapping[str, Callable[[Call], Tensor | list[Tensor]]] = {
    **elementwise.READ,
    **windows.READ,
    **products.READ,
    **shape.READ,
    **reduce.READ,
    **recurrent.READ,
    **quantised.READ,
    **measured.READ,  # has Cast and Mul, too: last
}

__all__ = ["READ"]
