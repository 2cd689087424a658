"""Who reads the tensors of a captured program: its steps as `frontends.uses` wants them."""

from __future__ import annotations

from collections.abc import Iterable

from lilliput.errors import ModelError
from lilliput.frontends.torch.program import Argument, Ref, Step, Traced
from lilliput.frontends.torch.scales import DEQUANTIZES, QUANTIZES, Held, scale_of
from lilliput.frontends.uses import Reading, Uses
from lilliput.ir import Array, Quant

_CUTS = ("clamp", "clamp_max", "clamp_min", "hardtanh", "relu", "relu6")
CUTS = frozenset(f"{name}.default" for name in _CUTS)
_MOVES = """
    _unsafe_view.default alias.default clone.default expand.default flatten.using_ints
    lift_fresh_copy.default max_pool1d.default max_pool2d.default max_pool2d_with_indices.default
    permute.default reshape.default select.int slice.Tensor squeeze.default squeeze.dim
    squeeze.dims transpose.int unflatten.int unsqueeze.default view.default
"""
MOVES = frozenset(_MOVES.split())
"""Of one tensor, whose elements stay what they are; the largest of some are, too."""


def uses_of(traced: Traced) -> Uses[Ref]:
    readers: dict[Ref, list[Step]] = {}
    for step in traced.steps:
        for ref in dict.fromkeys(refs(step.arguments.values())):
            readers.setdefault(ref, []).append(step)

    def held(ref: Ref) -> Array | None:
        found = traced.constants.get(ref.name)
        return found.data if found else None

    def readings(ref: Ref) -> list[Reading[Ref]]:
        return [_reading(step, ref, held) for step in readers.get(ref, ())]

    left = {end for _, end in traced.states.values()}
    return Uses(readings, {ref for _, ref in traced.outputs} | left)


def refs(arguments: Iterable[Argument]) -> list[Ref]:
    """All tensors among the arguments of a step."""
    found: list[Ref] = []
    for a in arguments:
        found += [a] if isinstance(a, Ref) else refs(a) if isinstance(a, tuple) else []
    return found


def _reading(step: Step, ref: Ref, held: Held) -> Reading[Ref]:
    kind, first = step.operator, next(iter(step.arguments.values()), None)
    if first != ref:
        return Reading("other")
    if kind in QUANTIZES:
        return Reading("quantizes", _quant(step, held))
    if kind in DEQUANTIZES:
        return Reading("dequantizes", _quant(step, held))
    if kind in MOVES:
        return Reading("moves", result=Ref(step.name))
    return Reading("cuts", result=Ref(step.name)) if kind in CUTS else Reading("other")


def _quant(step: Step, held: Held) -> Quant | None:
    """One scale of 8 bits; None for anything else."""
    try:
        scale = scale_of(step, held, step.name)
    except ModelError:
        return None
    eight = scale.dtype in ("int8", "uint8") and scale.quant.is_per_tensor
    return scale.quant if eight else None
