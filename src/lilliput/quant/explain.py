"""Where the accuracy went: float beside integer, layer by layer, and what would help.

The figures of a layer are explained in `advice`, which is made of them.

One idea: the simulation of the integers walks beside the float network on the same samples, so
every number is a difference of two arrays of one name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.module import Module
from lilliput.ir.types import Array, DType
from lilliput.quant.advice import OWN, Findings, Layer, advice
from lilliput.quant.batch import evenly, walk
from lilliput.quant.calibrate import Observed
from lilliput.quant.equalise import spread
from lilliput.quant.mixed import has_int16, widened
from lilliput.quant.prepare import is_product
from lilliput.quant.scheme import Encodings
from lilliput.quant.simulate import Simulation, simulate

MOST = 64
"""Samples that layers are compared on, at most."""
WIDER = 4
"""Products, and other operators, that are tried with int16 results: those that lose most."""
EXACT_DB = 150.0
"""What is said of no difference at all."""


@dataclass(frozen=True)
class Explanation:
    """layers in order; output_db : SQNR of the first output; advice : what would help, best
    first."""

    samples: int
    output_db: float
    layers: tuple[Layer, ...]
    advice: tuple[str, ...]

    def costliest(self, count: int = 5) -> tuple[Layer, ...]:
        """The layers whose rounding costs the outputs most."""
        told = [x for x in self.layers if x.gain_db is not None]
        return tuple(sorted(told, key=lambda x: -(x.gain_db or 0.0))[:count])


def explain(
    module: Module,
    encodings: Encodings,
    observed: Observed,
    inputs: Mapping[str, Array],
    *,
    each: bool = True,
    done: Sequence[str] = (),
) -> Explanation:
    """Compares on some of the samples; `each` also leaves every product in floats in turn.

    done : "equalize", "absorb", "rounding", where these were
    """
    graph = module.graphs[module.entry]
    count, part = evenly(graph, inputs, MOST)
    whole = Simulation(module, encodings, part, count)
    outs = [v.name for v in graph.outputs if v.type.dtype.is_float]
    real: dict[str, Array] = {}
    layers: list[Layer] = []
    for step in walk(graph, module, part, count):
        whole.apply(step.node)
        y = step.node.output
        if y.name in outs:
            real[y.name] = step.results[0]
        if y.type.dtype.is_float and y.name not in whole.fused:
            layers.append(_layer(step.node, step.results[0], whole, observed))
    out = next((name for name in outs if name in real), "")
    base = _sqnr(real[out], whole_real(whole, module, out)) if out else EXACT_DB
    if each and out:
        gains = _gains(module, encodings, part, count, out, real[out], base)
        layers = [replace(x, gain_db=gains.get(x.name)) for x in layers]
        wide = _int16_gains(module, encodings, part, count, out, real[out], base, layers)
        layers = [replace(x, int16_db=wide.get(x.name)) for x in layers]
    seen = Findings(module, observed.extremes, layers, base, observed.samples, frozenset(done))
    return Explanation(count, base, tuple(layers), advice(seen))


def whole_real(whole: Simulation, module: Module, name: str) -> Array:
    values = {v.name: v for v in module.graphs[module.entry].values()}
    return whole.real(values[name])


def _layer(node: Node, real: Array, whole: Simulation, observed: Observed) -> Layer:
    y = node.output
    reach = observed.extremes[y.name].reach
    about = Layer(
        y.name, node.op.name, EXACT_DB, 0.0, 1.0, spread(reach), int((reach == 0).sum()), reach.size
    )
    found = whole.real(y)
    if y.name not in whole.whole:
        return replace(about, sqnr_db=_sqnr(real, found))
    q, (low, high) = whole.whole[y.name], whole.type(y).dtype.bounds
    type = whole.type(y)
    ends = [(end - type.zero_point) * type.scale for end in (low, high)]
    slack = type.scale / 2
    clipped = float(np.mean((real < ends[0] - slack) | (real > ends[1] + slack)))
    used = (int(q.max()) - int(q.min())) / (high - low)
    return replace(about, sqnr_db=_sqnr(real, found), saturated=clipped, used=used)


def _sqnr(real: Array, found: Array) -> float:
    a, b = real.astype(np.float64).reshape(-1), found.astype(np.float64).reshape(-1)
    signal, noise = float(a @ a), float((a - b) @ (a - b))
    if noise == 0.0:
        return EXACT_DB
    return float(np.clip(10 * np.log10(max(signal, 1e-30) / noise), -EXACT_DB, EXACT_DB))


def _gains(
    module: Module,
    encodings: Encodings,
    part: Mapping[str, Array],
    count: int,
    out: str,
    real: Array,
    base: float,
) -> dict[str, float]:
    """Product -> dB of the output that its staying in floats gives; its result, and the clamp
    behind it, are not rounded then."""
    gains: dict[str, float] = {}
    graph = module.graphs[module.entry]
    for node in graph.nodes:
        if is_product(node, module.params):
            name = node.output.name
            left = simulate(module, encodings, part, count, frozenset({name}))
            gains[name] = _sqnr(real, whole_real(left, module, out)) - base
            limit = left.fused.get(name)
            if limit is not None:
                gains[limit.output.name] = gains.pop(name)
    return gains


def _int16_gains(
    module: Module,
    encodings: Encodings,
    part: Mapping[str, Array],
    count: int,
    out: str,
    real: Array,
    base: float,
    layers: Sequence[Layer],
) -> dict[str, float]:
    """Value -> dB of the output that int16 in its place gives, of the layers that lose most."""
    if encodings.scheme.activations is not DType.S8:
        return {}
    graph = module.graphs[module.entry]
    ready = {n.output.name for n in graph.nodes if has_int16(n, module)} - encodings.wide
    able = [x for x in layers if x.name in ready and x.operator in OWN]
    products = sorted((x for x in able if x.gain_db), key=lambda x: -(x.gain_db or 0.0))
    others = sorted((x for x in able if x.gain_db is None), key=lambda x: x.sqnr_db)
    gains: dict[str, float] = {}
    for x in (*products[:WIDER], *others[:WIDER]):
        wide = simulate(module, widened(module, encodings, (x.name,)), part, count)
        gains[x.name] = _sqnr(real, whole_real(wide, module, out)) - base
    return gains
