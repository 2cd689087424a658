"""Layers of int16 in a network of int8: what is named takes 16 bits, the rest stays as it is.

One idea: every value has two scales from calibration, its own and the one by which a layer of the
other type reads it (`Encodings.views`).  To widen a layer is to swap them: its result is int16,
and wherever the types of two neighbours differ, an integer rescaling stands between.  A layer
calculates in the type of its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np

from lilliput.errors import Problem, UnsupportedError, UsageError
from lilliput.ir.graph import Graph, Node
from lilliput.ir.module import Module
from lilliput.ir.types import DType
from lilliput.quant import forms
from lilliput.quant.calibrate import read_scale
from lilliput.quant.scheme import Encodings, Weights


def widened(module: Module, encodings: Encodings, names: Sequence[str]) -> Encodings:
    """`encodings` with int16 results of the layers `names`: results, origins, inputs of the
    network, or patterns of these (`block.*`).

    Raises UsageError for names that nothing has, UnsupportedError listing all operators among
    them that have no int16 kernel.
    """
    if not names:
        return encodings
    if encodings.scheme.activations is not DType.S8:
        raise UsageError("layers are widened in a network of int8", hint="--activations int8")
    graph = module.graphs[module.entry]
    values = _named(graph, names)
    missing = [
        Problem(
            "no int16 kernel of this operator",
            node.describe(),
            "an operator that `lilliput ops` lists with s16",
            hint="leave it out of --int16-layers",
        )
        for node in graph.nodes
        if node.output.name in values and not has_int16(node, module)
    ]
    if missing:
        raise UnsupportedError(missing)
    return _swapped(module, encodings, values - encodings.wide)


def has_int16(node: Node, module: Module) -> bool:
    """Whether the integer form of `node` may have a result of int16."""
    form = forms.touches_floats(node) and forms.has_form(node, module.params)
    return form and node.output.type.dtype.is_float and DType.S16 in node.op.dtypes


def _named(graph: Graph, names: Sequence[str]) -> frozenset[str]:
    """Values that the names mean, and those that are one with them: a product and its clamp."""
    known = {v.name: {v.name} for v in graph.inputs if v.type.dtype.is_float}
    for node in graph.nodes:
        for name in (node.output.name, node.origin):
            if name:
                known.setdefault(name, set()).add(node.output.name)
    found = set[str]()
    unknown: list[Problem] = []
    for name in names:
        hits = {v for key, values in known.items() if fnmatchcase(key, name) for v in values}
        hits |= known.get(name, set())
        if not hits:
            near = ", ".join(get_close_matches(name, known, 3, 0.4))
            unknown.append(
                Problem(
                    "no layer of this name",
                    "--int16-layers",
                    "a name that --explain lists, or a pattern of names",
                    name,
                    f"near to it: {near}" if near else "",
                )
            )
        found |= hits
    if unknown:
        raise UsageError(unknown)
    for first, limit in forms.fused(graph).items():
        if {first, limit.output.name} & found:
            found |= {first, limit.output.name}
    return frozenset(found)


def _swapped(module: Module, encodings: Encodings, values: frozenset[str]) -> Encodings:
    own = {v: encodings.views[v] for v in values}
    views = {v: encodings.activations[v] for v in values}
    made = replace(
        encodings,
        activations={**encodings.activations, **own},
        views={**encodings.views, **views},
        wide=encodings.wide | values,
    )
    weights = dict(made.weights)
    for node in module.graphs[module.entry].nodes:
        name = node.output.name
        if name in weights:
            before, after = read_scale(encodings, node), read_scale(made, node)
            if before != after:
                weights[name] = _rebased(weights[name], before / after)
    return replace(made, weights=weights)


def _rebased(weights: Weights, ratio: float) -> Weights:
    """The same bias where a unit of the sums is 1 / `ratio` of what it was."""
    limit = 2**31 - 1
    bias = np.clip(np.rint(weights.bias * ratio), -limit, limit)
    return replace(weights, bias=bias.astype(np.int64))
