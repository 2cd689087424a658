"""Programs whose scales are measured at run time (dynamic quantisation), as floats.

    choose_qparams -> quantize -> dequantize -> linear

One idea: what such a chain rounds is what the float operator is given, so the chain is left out;
the weights stay those of their integers.  Integers that anybody but a dequantize reads are kept,
and refused by the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lilliput.frontends.torch.program import Argument, Ref, Step, Traced
from lilliput.frontends.torch.scales import DEQUANTIZES, QUANTIZES
from lilliput.frontends.torch.uses import refs

MEASURES = "choose_qparams"
"""Part of the names of the operators that measure a scale."""


def without_measured_scales(traced: Traced) -> tuple[Traced, tuple[str, ...]]:
    """The program without chains of measured scales, and the operators that read their results."""
    measures = {s.name for s in traced.steps if MEASURES in s.operator}
    whole = {
        s.name: ref
        for s in traced.steps
        if s.operator in QUANTIZES and _by(s, measures) and (ref := _first(s)) is not None
    }
    for s in traced.steps:  # integers that are used otherwise stay
        if not (s.operator in DEQUANTIZES and _by(s, measures)):
            for ref in refs(s.arguments.values()):
                whole.pop(ref.name, None)
    for _, ref in traced.outputs:
        whole.pop(ref.name, None)
    if not whole:
        return traced, ()
    instead: dict[Ref, Ref] = {}
    left: list[Step] = []
    told: list[str] = []
    for s in traced.steps:
        first = _first(s)
        if s.operator in DEQUANTIZES and first is not None and first.name in whole:
            source = whole[first.name]
            instead[Ref(s.name)] = instead.get(source, source)
        elif s.name not in whole:
            if any(ref in instead for ref in refs(s.arguments.values())):
                told.append(f'{s.operator.partition(".")[0]} "{s.label}"')
            left.append(replace(s, arguments=_replaced(s.arguments, instead)))
    read = {ref.name for s in left for ref in refs(s.arguments.values())}
    kept = tuple(s for s in left if s.name not in measures or s.name in read)
    outputs = tuple((name, instead.get(ref, ref)) for name, ref in traced.outputs)
    states = {n: (held, instead.get(ref, ref)) for n, (held, ref) in traced.states.items()}
    return replace(traced, steps=kept, outputs=outputs, states=states), tuple(dict.fromkeys(told))


def _first(step: Step) -> Ref | None:
    found = next(iter(step.arguments.values()), None)
    return found if isinstance(found, Ref) else None


def _by(step: Step, measures: set[str]) -> bool:
    """Whether the scale of a quantize or dequantize is a measured one."""
    scale = step.arguments.get("scale")
    return isinstance(scale, Ref) and scale.name in measures


def _replaced(arguments: Mapping[str, Argument], instead: Mapping[Ref, Ref]) -> dict[str, Argument]:
    def one(a: Argument) -> Argument:
        if isinstance(a, tuple):
            return tuple(one(x) for x in a)
        return instead.get(a, a) if isinstance(a, Ref) else a

    return {name: one(a) for name, a in arguments.items()}
