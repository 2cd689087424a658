"""What operators say that their results can hold, against what they give.

Every sample of every operator is computed for operands drawn from random ranges, ends more
often than what lies between; no element may leave the range that the operator states.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.samples import random_array, sample_module

from lilliput.ir import Array, Node, Op, TensorType
from lilliput.ir.op import Sample
from lilliput.ir.range import Range, compact
from lilliput.ops.bounds import SMALL, tabulated
from lilliput.ops.registry import all_ops, get

DRAWS = 6


def stated(node: Node, operands: list[Range]) -> Range | None:
    if node.op.bounds is not None:
        return node.op.bounds(node, operands)
    return tabulated(node, operands)


def states(op: Op) -> bool:
    """Whether it says something of integers: by a rule, or because it can be tabulated."""
    return any(
        (op.bounds is not None or (op.scalar is not None and _tabulates(s)))
        and all(t.dtype.is_integer for t in (*s.inputs, *op.infer(s.attrs, s.inputs)))
        for s in op.samples
    )


def _tabulates(sample: Sample) -> bool:
    return len(sample.inputs) == 1 and sample.inputs[0].dtype in SMALL


def random_range(rng: np.random.Generator, type: TensorType, form: int, sample: Sample) -> Range:
    """Anything, a range for each channel, one for each element, or a constant."""
    if form == 0 and type.dtype in SMALL:
        return Range.full(type)
    shape = type.shape if form > 1 else (*(1,) * (len(type.shape) - 1), *type.shape[-1:])
    ends = [
        random_array(rng, type.with_shape(*shape), sample.low, sample.high).astype(np.int64)
        for _ in range(2)
    ]
    low, high = np.minimum(*ends), np.maximum(*ends)
    narrow = rng.integers(0, 2, shape).astype(bool)
    high = np.where(narrow, np.minimum(low + 3, high), high)
    return Range.constant(low) if form == 3 else Range(low, high)


def drawn(rng: np.random.Generator, told: Range, type: TensorType) -> Array:
    low, high = np.broadcast_to(told.low, type.shape), np.broadcast_to(told.high, type.shape)
    between = rng.integers(low, high, endpoint=True)
    return np.choose(rng.integers(0, 3, type.shape), [low, high, between]).astype(type.dtype.numpy)


def check_bounds(node: Node, known: dict[str, Range], sample: Sample, seed: int) -> int:
    """How many elements were held against a range."""
    rng = np.random.default_rng(seed)
    operands = [
        known.get(v.name, random_range(rng, v.type, int(rng.integers(0, 4)), sample))
        for v in node.inputs
    ]
    told = stated(node, operands)
    if told is None:
        return 0
    assert told.low.ndim == told.high.ndim == len(node.output.type.shape)
    given = [drawn(rng, r, v.type) for r, v in zip(operands, node.inputs, strict=True)]
    with np.errstate(all="ignore"):
        y = node.op.ref(node, given)[0].reshape(node.output.type.shape)
    assert (told.low <= y).all(), (node.describe(), sample)
    assert (told.high >= y).all(), (node.describe(), sample)
    return y.size


@pytest.mark.parametrize("op", [op for op in all_ops() if states(op)], ids=lambda op: op.name)
def test_no_result_leaves_its_range(op: Op) -> None:
    held = 0
    module, _ = sample_module(op, op.samples)
    for sample, graph in zip(op.samples, module.graphs.values(), strict=True):
        (node,) = graph.nodes
        types = [v.type for v in (*node.inputs, *node.outputs)]
        if not all(t.dtype.is_integer for t in types):
            continue
        known = {
            v.name: Range.constant(data)
            for v in graph.params
            if (data := module.params[v.name].data) is not None
        }
        held += sum(check_bounds(node, known, sample, seed) for seed in range(DRAWS))
    assert held


def test_a_sum_that_could_wrap_says_nothing() -> None:
    """The most that a bias can be: some sums wrap, so anything can be stored of that channel."""
    op = get("linear")
    module, _ = sample_module(op, op.samples[:1])
    (graph,) = module.graphs.values()
    (node,) = graph.nodes
    x, w, _ = node.inputs
    big = np.array([2**31 - 1, 0, -(2**31)], np.int32)
    weights = np.full(w.type.shape, 1, np.int8)
    operands = [Range.full(x.type), Range.constant(weights), Range.constant(big)]
    assert op.bounds is not None
    told = op.bounds(node, operands)
    assert told is not None
    assert told.sums is not None
    assert [(int(a), int(b)) for a, b in zip(told.low[0], told.high[0], strict=True)][::2] == [
        (-128, 127)
    ] * 2
    assert int(told.sums[1][0, 0]) > 2**31 - 1


def test_ranges_are_as_small_as_they_can_be_said() -> None:
    low = np.zeros((2, 3, 4), np.int64) + np.arange(4)
    told = compact(low, low + 1)
    assert told.low.shape == told.high.shape == (1, 1, 4)
    varied = low.copy()
    varied[1, 0, 0] = -1
    assert compact(varied, low + 1).low.shape == (2, 3, 4)


def test_padding_adds_nothing_to_a_sum_and_so_may_decide_its_range() -> None:
    """x = 10 everywhere: in the corner of a padded map only four of nine weights count."""
    op = get("conv2d")
    sample = next(
        s for s in op.samples if s.attrs == replace(op.attrs(), pad=(1, 1, 1, 1), groups=3)
    )
    module, _ = sample_module(op, (sample,))
    (node,) = next(iter(module.graphs.values())).nodes
    x, w = node.inputs
    centred = 10 - x.type.zero_point
    operands = [
        Range.constant(np.full((1, 1, 1, 3), 10)),
        Range.constant(np.full(w.type.shape, w.type.zero_point + 1 - 128, np.int8)),
    ]
    assert op.bounds is not None
    told = op.bounds(node, operands)
    assert told is not None
    assert told.sums is not None
    weight = 1 - 128
    low, high = (sorted({int(v) for v in a.reshape(-1)}) for a in told.sums)
    assert (low, high) == ([9 * weight * centred], [4 * weight * centred])
