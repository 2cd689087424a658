"""Modules and calls made from operators' samples, and random data for any type."""

from __future__ import annotations

import numpy as np

from lilliput.emu.prove import Call
from lilliput.ir import Builder, Graph, Module, Op, Param, TensorType
from lilliput.ir.op import NoAttrs, Sample
from lilliput.ir.types import Array, DType

S32_RANGE = 100_000


def random_array(
    rng: np.random.Generator,
    type: TensorType,
    low: float | None = None,
    high: float | None = None,
) -> Array:
    """Data over the whole range of small integers, over [low, high] of others."""
    if type.dtype.is_float:
        span = (-4.0 if low is None else low, 4.0 if high is None else high)
        return rng.uniform(*span, type.shape).astype(np.float32)
    if type.dtype is DType.BOOL:
        return rng.integers(0, 2, type.shape).astype(bool)
    bounds = type.dtype.bounds
    if type.dtype.itemsize > 2:
        bounds = (-S32_RANGE, S32_RANGE)
    lo = bounds[0] if low is None else int(low)
    hi = bounds[1] if high is None else int(high)
    return rng.integers(lo, hi, type.shape, endpoint=True).astype(type.dtype.numpy)


def sample_module(op: Op, samples: tuple[Sample, ...], seed: int = 0) -> tuple[Module, list[Call]]:
    """One entry for each sample, and calls with random and with extreme inputs."""
    rng = np.random.default_rng(seed)
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}
    calls: list[Call] = []
    for k, sample in enumerate(samples):
        b = Builder(params, names)
        operands = [
            b.param(f"p{k}_{i}", random_array(rng, t, sample.low, sample.high), t.quant, t.dtype)
            if i in sample.params
            else b.input(f"x{k}_{i}", t)
            for i, t in enumerate(sample.inputs)
        ]
        attrs = op.attrs() if type(sample.attrs) is NoAttrs else sample.attrs
        outputs = b.add_multi(
            op, operands, attrs, types=sample.outputs or None, name=f"y{k}", origin=op.name
        )
        entry = f"case{k}"
        graphs[entry] = b.graph(outputs)
        wanted = [v for i, v in enumerate(operands) if i not in sample.params]
        calls += [
            Call(entry, {v.name: _data(rng, v.type, sample, extreme) for v in wanted})
            for extreme in (None, "low", "high")
        ]
    return Module(graphs, params, {}, op.name), calls


def _data(rng: np.random.Generator, type: TensorType, sample: Sample, extreme: str | None) -> Array:
    if extreme is None or type.dtype.is_float or type.dtype.itemsize > 2:
        return random_array(rng, type, sample.low, sample.high)
    bound = type.dtype.bounds[extreme == "high"] if type.dtype is not DType.BOOL else 1
    return np.full(type.shape, bound, type.dtype.numpy)
