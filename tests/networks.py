"""Random networks over the whole operator table: a strategy of Hypothesis.

One idea: a network is a list of operators out of one table, each applied to what those before
it have made, or left out, so that it shrinks to the operators that matter.  `strategies` grows
deeper networks of fewer operators, for plans and streaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter
from tests.grower import CALLS, USED, Grower
from tests.network_steps import STEPS

from lilliput.emu.prove import Call
from lilliput.ir import Array, Builder, DType, Graph, Module, Param, TensorType
from lilliput.ir.text import print_module
from lilliput.ops.shape import Reshape, reshape


@dataclass(frozen=True, eq=False)
class Network:
    """A module of random graphs and the calls that it was grown with."""

    module: Module
    calls: tuple[Call, ...]

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        del cycle
        printer.text(print_module(self.module))


def _grow(
    draw: st.DrawFn, params: dict[str, Param], names: set[str], most: int
) -> tuple[Graph, list[dict[str, Array]]]:
    seed = draw(st.integers(0, 2**16))
    g = Grower(draw, Builder(params, names), np.random.default_rng(seed))
    dtype = draw(st.sampled_from((DType.S8, DType.S8, DType.S16, DType.F32, *USED)))
    g.pool.append(g.input(TensorType(g.shape(g.integer(1, 4)), dtype, g.quant(dtype))))
    # even, which drawn ones would not be
    steps: list[str] = g.rng.choice(sorted(STEPS), most).tolist()
    for name in steps[: g.integer(1, most)]:
        if g.integer(0, 9):
            STEPS[name](g)
    made = [n.output for n in g.b.nodes]
    if not made:
        alone = g.node(reshape, (g.pool[0],), Reshape(g.pool[0].type.shape))
        assert alone is not None
        made = [alone]
    read = {v.name for n in g.b.nodes for v in n.inputs}
    outputs = [v for v in made if v.name not in read]
    if g.chance(3):
        inner = made[g.integer(0, len(made) - 1)]
        outputs += [inner] if inner not in outputs else []
    data = [{v.name: g.data[v.name][k] for v in g.inputs} for k in range(CALLS)]
    return g.b.graph(outputs), data


@st.composite
def networks(draw: st.DrawFn, *, graphs: int = 1, most: int = 10) -> Network:
    """`graphs` random graphs as the entries of one module, each of up to `most` steps."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    entries: dict[str, Graph] = {}
    calls: list[Call] = []
    for k in range(graphs):
        entry = f"case{k}"
        entries[entry], data = _grow(draw, params, names, most)
        calls += [Call(entry, given) for given in data]
    return Network(Module(entries, params, {}, "network"), tuple(calls))
