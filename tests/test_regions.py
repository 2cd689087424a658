"""Kernels compute regions: any partition of the result gives the same bytes as the whole.

Every operator's samples run on every kernel that takes them: as a whole, in random boxes
from views with gaps, and from rings; all memory that is not an element of the result is
guarded.  Also that a region rule tells the truth about which inputs matter.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.kernel_harness import build, data_of, program, run_kernel

from lilliput.ir import Array, Op
from lilliput.ir.region import AxisRule, Interval, Reduce, Whole, needs
from lilliput.ops import all_ops

WITH_C = [
    pytest.param(o, id=o.name)
    for o in all_ops()
    if (o.kernels or o.scalar) and len(build(o, o.samples[0]).outputs) == 1
]
"""Operators of several results are called once, on everything: nothing is partitioned."""


@pytest.mark.parametrize(
    ("compiler", "at_most"),
    [
        pytest.param("gcc", 3, id="gcc-some"),
        pytest.param("gcc", None, id="gcc", marks=pytest.mark.slow),
        pytest.param("clang", None, id="clang", marks=[pytest.mark.slow, pytest.mark.clang]),
    ],
)
@pytest.mark.parametrize("op", WITH_C)
def test_any_partition_is_the_whole(
    op: Op, compiler: str, at_most: int | None, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    binary, every = program(op, compiler, tmp_path, at_most)
    assert every
    for which, case in enumerate(every):
        for seed in range(4):
            run_kernel(binary, case, which, seed, tmp_path)


def part(interval: Interval) -> slice:
    return slice(interval[0], interval[1])


def asked(rule: AxisRule, spans: list[Interval], extent: int) -> Interval:
    """The part of an operand's axis that the box `spans` of the result needs."""
    if isinstance(rule, Whole | Reduce) or rule.axis >= len(spans):
        return 0, extent
    return needs(rule, spans[rule.axis], extent)


@pytest.mark.parametrize("op", [pytest.param(o, id=o.name) for o in all_ops() if o.regions])
def test_what_a_region_does_not_ask_for_does_not_matter(op: Op) -> None:
    assert op.regions is not None
    rng = np.random.default_rng(5)
    for sample in op.samples:
        node = build(op, sample)
        given = data_of(sample)
        with np.errstate(over="ignore"):
            whole: Array = op.ref(node, given)[0]
        for _ in range(3):
            spans: list[Interval] = []
            for extent in node.output.type.shape:
                low = int(rng.integers(0, extent))
                spans.append((low, int(rng.integers(low, extent)) + 1))
            other = [a.copy() for a in data_of(sample, 1)]
            for rule, mine, theirs in zip(op.regions(node), given, other, strict=True):
                box = tuple(
                    part(asked(r, spans, extent))
                    for r, extent in zip(rule, mine.shape, strict=True)
                )
                theirs[box] = mine[box]
            with np.errstate(over="ignore"):
                partial: Array = op.ref(node, other)[0]
            piece = tuple(map(part, spans))
            assert partial[piece].tobytes() == whole[piece].tobytes(), (node.describe(), spans)
