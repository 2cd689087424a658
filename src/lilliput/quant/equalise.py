"""Channels of unequal range, brought nearer to one another; the float function stays.

Between products, channel i may be divided by any s[i] > 0 if what reads it is multiplied by it
(Nagel et al. 2019, cross-layer equalisation; `passages` says where).  There the ranges of the
weights of both layers are balanced.  Weights have a scale for each channel here, so what suffers
is the activation between, with its one scale: its channel ranges, as calibration saw them, take
the place of the first layer's weights.

One idea: s[i] = sqrt(r[i] / w[i]) makes r[i] / s[i] equal to w[i] * s[i], r the range of channel
i and w that of the weights that read it.  A depthwise layer has a scale for each channel of its
own, so nothing is lost there: s[i] = r[i], all channels equal.

An activation that is not homogeneous takes another form (`reform`), where channels differ enough
to be worth its operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.ir.module import Module, Param
from lilliput.ir.types import Array
from lilliput.quant.calibrate import Extremes
from lilliput.quant.passages import Passage, is_depthwise, passages
from lilliput.quant.reform import reformed

ROUNDS = 4
"""A layer's own channels change the weights that the passage before it is balanced by."""
MOST = 2.0**12
"""Of one channel's factor, either way, in one round."""
WORTH = 4.0
"""Largest over middle channel range from which an activation is given its other form."""


@dataclass(frozen=True, eq=False)
class Equalised:
    """pairs : how many passages; blocked : values that a clamp kept from it; reformed :
    activations in their other form; spread : value -> largest over typical channel range, before
    and after."""

    module: Module
    pairs: int
    blocked: tuple[str, ...]
    reformed: tuple[str, ...]
    spread: Mapping[str, tuple[float, float]]


def equalise(module: Module, extremes: Mapping[str, Extremes]) -> Equalised:
    """The same float network with channels of nearer ranges."""
    there = passages(module)
    params = dict(module.params)
    reach = {p.ranged: extremes[p.ranged].reach.astype(np.float64) for p in there.found}
    before = {name: spread(r) for name, r in reach.items()}
    taken = [p for p in there.found if p.activation is None or before[p.ranged] > WORTH]
    whole = {p.ranged: np.ones_like(reach[p.ranged]) for p in taken}
    for _ in range(ROUNDS):
        for passage in taken:
            s = _factors(passage, reach[passage.ranged], params)
            _divide(passage, s, params)
            reach[passage.ranged] = reach[passage.ranged] / s
            whole[passage.ranged] = whole[passage.ranged] * s
    forms = {p.activation.output.name: whole[p.ranged] for p in taken if p.activation is not None}
    after = {p.ranged: (before[p.ranged], spread(reach[p.ranged])) for p in taken}
    made = reformed(replace(module, params=params), forms)
    return Equalised(made, len(taken), there.blocked, tuple(forms), after)


def spread(reach: Array) -> float:
    """The largest channel range over the middle one of those that are not 0; 1 = all equal."""
    live = reach[reach > 0]
    return float(live.max() / np.median(live)) if live.size else 1.0


def reachable(module: Module) -> frozenset[str]:
    """The values whose channel ranges `equalise` can bring nearer."""
    found = passages(module).found
    return frozenset(name for p in found for name in (p.ranged, *p.scaled))


def _factors(passage: Passage, reach: Array, params: Mapping[str, Param]) -> Array:
    weights = _read(passage, params)
    live = reach > 0 if weights is None else (reach > 0) & (weights > 0)
    s = np.ones_like(reach)
    if not live.any():
        return s
    s[live] = reach[live] if weights is None else np.sqrt(reach[live] / weights[live])
    s[live] /= np.exp(np.mean(np.log(s[live])))
    return np.clip(s, 1 / MOST, MOST)


def _read(passage: Passage, params: Mapping[str, Param]) -> Array | None:
    """(C): the largest weight on each channel, as a share of the reader's largest; None where all
    readers have a scale for each channel anyway."""
    shares: list[Array] = []
    for reader in passage.readers:
        data = params[reader.inputs[1].name].data
        assert data is not None
        if not is_depthwise(reader):
            most = np.abs(data.astype(np.float64)).reshape(-1, data.shape[-1]).max(0)
            shares.append(most / max(float(most.max()), 1e-30))
    return np.max(shares, axis=0) if shares else None


def _divide(passage: Passage, s: Array, params: dict[str, Param]) -> None:
    """Channels of the first layer by s, what reads them times s."""

    def scaled(name: str, factor: Array) -> None:
        old = params[name]
        assert old.data is not None
        params[name] = replace(old, data=(old.data * factor).astype(np.float32))

    _, w, *bias = passage.first.inputs
    scaled(w.name, (1 / s).reshape(-1, *[1] * (len(w.type.shape) - 1)))
    for b in bias:
        scaled(b.name, 1 / s)
    for reader in passage.readers:
        factor = s.reshape(-1, 1, 1, 1) if is_depthwise(reader) else s
        scaled(reader.inputs[1].name, factor)
