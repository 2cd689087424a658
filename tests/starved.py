"""Random networks with something to leave out, and what has to hold when it is left out.

One idea: any network is starved: rows and columns of its weights become zero, biases push
channels to an end of the range.  Then all that shrinking looks for is there, in every mixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lilliput.ir import Array, Module, Node, Param, Session, TensorType, verify
from lilliput.ir.text import print_module
from lilliput.ops.accumulate import Weighted
from lilliput.passes.shrink import Shrunk, shrink


def starved(module: Module, seed: int, share: float = 0.4) -> Module:
    """`module` with about a `share` of the channels of its weighted sums zero or at an end."""
    rng = np.random.default_rng(seed)
    params = dict(module.params)
    for graph in module.graphs.values():
        for node in graph.nodes:
            if isinstance(node.attrs, Weighted) and node.inputs[0].type.dtype.is_integer:
                _starve(node, params, rng, share)
    return replace(module, params=params)


def _starve(node: Node, params: dict[str, Param], rng: np.random.Generator, share: float) -> None:
    weights = params.get(node.inputs[1].name)
    if weights is None or weights.data is None:
        return
    w = weights.data.copy()
    zero = weights.value.type.zero_point
    w[rng.random(w.shape[0]) < share] = zero
    w[..., rng.random(w.shape[-1]) < share] = zero
    params[weights.name] = Param(weights.value, w)
    for value in node.inputs[2:3]:
        bias = params.get(value.name)
        if bias is not None and bias.data is not None:
            pushed = rng.random(bias.data.shape) < share / 2
            far = rng.choice([-1, 1], bias.data.shape) * (1 << int(rng.integers(10, 29)))
            data = np.where(pushed, far, bias.data).astype(bias.data.dtype)
            params[value.name] = Param(value, data)


def at_the_ends(module: Module, entry: str, seed: int) -> Iterator[dict[str, Array]]:
    """Random inputs, all lowest, all highest, and each element at an end or at its zero."""
    rng = np.random.default_rng(seed)
    for k in range(5):
        yield {v.name: _data(rng, v.type, k) for v in module.inputs(entry)}


def _data(rng: np.random.Generator, type: TensorType, k: int) -> Array:
    if type.dtype.is_float:
        return rng.uniform(-8, 8, type.shape).astype(np.float32)
    if not type.dtype.is_integer:
        return rng.integers(0, 2, type.shape).astype(bool)
    low, high = type.dtype.bounds
    if type.dtype.itemsize > 2:
        low, high = -100, 100
    if k == 0:
        return rng.integers(low, high, type.shape, endpoint=True).astype(type.dtype.numpy)
    if k < 3:
        return np.full(type.shape, (low, high)[k - 1], type.dtype.numpy)
    ends = np.array([low, high, type.zero_point])
    return rng.choice(ends, type.shape).astype(type.dtype.numpy)


def check_shrunk(module: Module, seed: int = 0) -> Shrunk:
    """Shrinks it, and sees that outputs, states and what is left between have the same bits."""
    found = shrink(module)
    verify(found.module)
    assert print_module(shrink(module).module) == print_module(found.module)
    for entry in module.graphs:
        ends = module.inputs(entry), module.outputs(entry)
        assert (found.module.inputs(entry), found.module.outputs(entry)) == ends
        whole, less = Session(module), Session(found.module)
        for data in at_the_ends(module, entry, seed):
            check_same(found, whole.run(data, entry).values, less.run(data, entry).values, module)
            for name, state in whole.states.items():
                assert state.tobytes() == less.states[name].tobytes(), name
    check_proofs(found)
    assert not shrink(found.module).changed
    return found


def check_same(found: Shrunk, before: dict[str, Array], after: dict[str, Array], m: Module) -> None:
    for name, data in after.items():
        if name in before and name not in m.params:
            part = found.part(name, before[name])
            assert part.shape == data.shape, name
            assert part.tobytes() == data.tobytes(), name


def check_proofs(found: Shrunk) -> None:
    """Each channel is removed once, and is not among those that are kept."""
    places = [(r.entry, r.value, r.axis, r.index) for r in found.removed]
    assert len(set(places)) == len(places)
    made = {v.name for g in found.module.graphs.values() for n in g.nodes for v in n.outputs}
    for r in found.removed:
        if r.value in made:
            assert r.index not in found.kept[r.value][r.axis]
