"""Elements by index: embedding, index_select, gather along an axis, x[indices]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lilliput.frontends.torch.call import Build, Call
from lilliput.frontends.torch.program import Ref
from lilliput.ir import DType, Value
from lilliput.ops.index import gather


def picked(call: Call, x: Value, index: Value, axis: int, shape: Sequence[int]) -> Value:
    """x with what `index` names along an axis, as `shape`."""
    data, n = call.place.data(index), x.type.shape[axis]
    if data is not None and ((data < -n) | (data >= n)).any():
        found = f"{data.min()} to {data.max()}"
        raise call.refuse("index outside of its axis", expected=f"below {n}", found=found)
    if data is not None and (data < 0).any():
        index = call.constant(np.where(data < 0, data + n, data), "index")
    before, after = math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis + 1 :])
    rows = call.shaped(x, (1, before, n, after), "rows")
    where = call.shaped(index, (1, index.type.size), "where")
    return call.shaped(call.between(gather, (rows, where), None, "picked"), shape)


def _embedding(call: Call) -> Value:
    return picked(call, call.value("weight"), call.value("indices"), 0, call.out.shape)


def _index_select(call: Call) -> Value:
    x = call.value("self")
    axis = call.axis("dim", len(x.type.shape))
    return picked(call, x, call.value("index"), axis, call.out.shape)


def _index(call: Call) -> Value:
    """x[:, indices]: one axis has indices."""
    x, given = call.value("self"), call.get("indices")
    assert isinstance(given, tuple)
    axes = [k for k, a in enumerate(given) if isinstance(a, Ref)]
    if len(axes) != 1:
        raise call.refuse("indices of several axes", expected="one axis", found=len(axes))
    (ref,) = (a for a in given if isinstance(a, Ref))
    index = call.tensors.of(ref)
    if index is None or index.type.dtype is DType.BOOL:
        raise call.refuse(
            "elements chosen by bools: how many depends on the data", hint="torch.where"
        )
    return picked(call, x, index, axes[0], call.out.shape)


READ: dict[str, Build] = {
    "embedding.default": _embedding,
    "index.Tensor": _index,
    "index_select.default": _index_select,
}
