"""Small sound files to begin from: networks, loops, and samples of every operator by itself.

One idea: the samples that test an operator are its seeds, so a new operator is fuzzed as
soon as it is registered.  An operator that the .tflite writer cannot say is a .lilliput file.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from tests.samples import sample_module
from tests.test_control import accumulator, branches, counted_loop
from tests.tflite_fuzz_cases import MODULES, model

from lilliput.errors import UnsupportedError
from lilliput.frontends.tflite import write
from lilliput.ir import Op
from lilliput.ir.op import Sample
from lilliput.ir.text import save
from lilliput.ops import registry

SAMPLES = 2
"""Of each operator, spread over its list."""
MAX_BYTES = 8192


@functools.cache
def tflite_seeds() -> tuple[bytes, ...]:
    return tuple(d for d in _all() if d[4:8] == b"TFL3")


@functools.cache
def text_seeds() -> tuple[bytes, ...]:
    """Modules of this project's own format: every operator, and the networks."""
    return tuple(d for d in _all() if d[4:8] != b"TFL3")


def published_seeds() -> list[bytes]:
    """The small ones of LILLIPUT_SHARED/models, for long runs; none where it is not set."""
    folder = Path(os.environ.get("LILLIPUT_SHARED", ""), "models")
    files = sorted(folder.rglob("*.tflite")) if os.environ.get("LILLIPUT_SHARED") else []
    return [f.read_bytes() for f in files if f.stat().st_size <= MAX_BYTES]


@functools.cache
def _all() -> tuple[bytes, ...]:
    made = [model(name) for name in MODULES]
    made += [save(build()) for build in MODULES.values()]
    made += [counted_loop(3), branches(True), accumulator(), accumulator(np.ones((1, 4), "f4"))]
    for op in registry.all_ops():
        for sample in op.samples[:: max(1, -(-len(op.samples) // SAMPLES))]:
            made += _files(op, sample)
    return tuple(d for d in made if len(d) <= MAX_BYTES)


def _files(op: Op, sample: Sample) -> list[bytes]:
    """A sample as a module, and as a .tflite file where that format can say it."""
    module, _ = sample_module(op, (sample,))
    try:
        return [save(module), write(module, module.entry)]
    except UnsupportedError:
        return [save(module)]
