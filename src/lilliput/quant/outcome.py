"""What quantising a network came to, as plain values: for a terminal, a page, and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lilliput.quant.explain import Explanation
from lilliput.quant.predictions import Predictions


@dataclass(frozen=True)
class Outcome:
    """float_bytes, integer_bytes : of parameters
    compared : values of the integer network found equal, at 0 LSB, to those of its simulation, on
        `checked` samples
    equalised : passages between layers; reformed : activations that took another form for it;
        absorbed : channels that gave a part of their bias away
    distilled : rounds of training towards the float network
    wide : values of int16 in a network of int8
    floats : nodes left in floats, with the reasons
    warnings : what is odd, but possible
    evaluated : the answers of both networks on `evaluated_on`
    """

    model: str
    activations: str
    ranges: str
    samples: int
    float_bytes: int
    integer_bytes: int
    compared: int
    checked: int
    equalised: int = 0
    reformed: tuple[str, ...] = ()
    absorbed: int = 0
    bias_corrected: bool = False
    adaptively_rounded: bool = False
    distilled: int = 0
    wide: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    evaluated_on: str = ""
    evaluated: Predictions | None = None
    explanation: Explanation | None = None

    def to_json(self) -> dict[str, object]:
        return asdict(self)
