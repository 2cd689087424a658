"""Windows: a step over time held against the whole network, window after window.

One idea: the calls of a step are frames of one stream, so the window that each stands for is
known, and the network as it was read says what it has to give.
"""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.compiler.pipeline import Model, OverTime
from lilliput.emu import prove
from lilliput.ir.interp import Run

WAY = "NumPy, whole windows"


def enough(stream: OverTime, samples: int) -> int:
    """Calls after which the first frames have left the window and every ring has turned."""
    return max(samples, -(-stream.found.window // stream.found.hop) + 3)


def whole_calls(model: Model, calls: Sequence[prove.Call]) -> list[prove.Call]:
    """For each call of a step that of the whole network on its window."""
    assert model.stream is not None
    whole = model.stream.whole.module
    (x,), (given,) = whole.inputs(whole.entry), model.module.inputs(model.module.entry)
    windows = model.stream.found.windows([c.inputs[given.name] for c in calls])
    return [prove.Call(whole.entry, {x.name: window}) for window in windows]


def compare(model: Model, whole: Sequence[Run], steps: Sequence[Run]) -> prove.WayResult:
    """The outputs of every step, as the whole network gives them."""
    assert model.stream is not None
    tensors = 0
    for number, (window, step) in enumerate(zip(whole, steps, strict=True)):
        wanted = model.stream.found.given(list(window.outputs.values()))
        for (name, found), want in zip(step.outputs.items(), wanted, strict=True):
            tensors += 1
            difference = prove.first_difference(want, found)
            if difference is not None:
                where = prove.Difference(WAY, number, name, "output", *difference)
                return prove.WayResult(WAY, tensors, where)
    return prove.WayResult(WAY, tensors, None)
