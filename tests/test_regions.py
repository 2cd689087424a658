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

from lilliput.ir import Op
from lilliput.ir.region import Reduce, needs
from lilliput.ops import all_ops

WITH_C = [pytest.param(o, id=o.name) for o in all_ops() if o.kernels or o.scalar]


@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param("gcc", id="gcc"),
        pytest.param("clang", id="clang", marks=[pytest.mark.slow, pytest.mark.clang]),
    ],
)
@pytest.mark.parametrize("op", WITH_C)
def test_any_partition_is_the_whole(op: Op, compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    binary, every = program(op, compiler, tmp_path)
    assert every
    for which, case in enumerate(every):
        for seed in range(4):
            run_kernel(binary, case, which, seed, tmp_path)


@pytest.mark.parametrize("op", [pytest.param(o, id=o.name) for o in all_ops() if o.regions])
def test_what_a_region_does_not_ask_for_does_not_matter(op: Op) -> None:
    assert op.regions is not None
    rng = np.random.default_rng(5)
    for sample in op.samples:
        node = build(op, sample)
        given = data_of(sample)
        with np.errstate(over="ignore"):
            (whole,) = op.ref(node, given)
        for _ in range(3):
            spans: list[tuple[int, int]] = []
            for extent in whole.shape:
                low = int(rng.integers(0, extent))
                spans.append((low, int(rng.integers(low, extent)) + 1))
            other = [a.copy() for a in data_of(sample, 1)]
            for rule, mine, theirs in zip(op.regions(node), given, other, strict=True):
                box = tuple(
                    slice(0, extent)
                    if isinstance(r, Reduce) or (hasattr(r, "axis") and r.axis >= len(spans))
                    else slice(*needs(r, spans[r.axis] if hasattr(r, "axis") else (0, 1), extent))
                    for r, extent in zip(rule, mine.shape, strict=True)
                )
                theirs[box] = mine[box]
            with np.errstate(over="ignore"):
                (partial,) = op.ref(node, other)
            piece = tuple(slice(*s) for s in spans)
            assert partial[piece].tobytes() == whole[piece].tobytes(), (node.describe(), spans)
