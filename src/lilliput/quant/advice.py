"""What would help: from the figures of the layers to options of `lilliput quantize`, best first.

    SQNR         10 log10 of the float signal over the difference, in dB; 6 dB are one bit
    saturated    share of elements at an end of the range that a float beyond it was clipped to
    used         share of the integers between the least and the largest that occur
    spread       largest channel range over the middle one: what one scale for all costs the others
    gain         dB that the outputs win if this layer alone stays in floats
    int16        dB that they win if its result alone is int16; of the layers that lose most

One idea: each rule looks at figures that were measured and names the layer that is worst; an
option is named only where it would do something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lilliput.ir.module import Module
from lilliput.quant.absorb import lifted
from lilliput.quant.calibrate import Extremes
from lilliput.quant.equalise import reachable
from lilliput.quant.forms import SCALED
from lilliput.quant.passages import passages
from lilliput.quant.prepare import PRODUCTS

OWN = SCALED | PRODUCTS | {"clamp", "lstm"}
"""Operators whose results have ranges that the data decided."""
UNEQUAL, CLIPPED, UNUSED, LOW_DB, COSTLY_DB, FEW = 8.0, 0.01, 0.35, 12.0, 1.0, 64
WORTH_DB, MOST_NAMED = 0.3, 4


@dataclass(frozen=True)
class Layer:
    """One value of the network; see the module for the figures.  dead : channels that are 0 on
    all data; gain_db : of products only."""

    name: str
    operator: str
    sqnr_db: float
    saturated: float
    used: float
    spread: float
    dead: int
    channels: int
    gain_db: float | None = None
    int16_db: float | None = None


@dataclass(frozen=True, eq=False)
class Findings:
    """module : the float network; extremes : of its values; output_db : SQNR of its first output;
    samples : that ranges come from; done : "equalize", "absorb", "rounding", "distill", where
    these were."""

    module: Module
    extremes: Mapping[str, Extremes]
    layers: Sequence[Layer]
    output_db: float
    samples: int
    done: frozenset[str]

    @property
    def own(self) -> list[Layer]:
        return [x for x in self.layers if x.operator in OWN]

    @property
    def uneven(self) -> list[Layer]:
        return [x for x in self.own if x.spread > UNEQUAL and x.channels > 1]


def advice(seen: Findings) -> tuple[str, ...]:
    return tuple(text for rule in RULES for text in rule(seen))


def _equalize(seen: Findings) -> Iterator[str]:
    within = reachable(seen.module)
    uneven = [x for x in seen.uneven if x.name in within]
    if uneven and "equalize" not in seen.done:
        worst = max(uneven, key=lambda x: x.spread)
        yield (
            f"equalize: channel ranges of {len(uneven)} layers differ, most in {worst.name}, "
            f"{worst.spread:.0f} times the middle one (--equalize)"
        )


def _blocked(seen: Findings) -> Iterator[str]:
    blocked = passages(seen.module).blocked
    uneven = [x for x in seen.uneven if x.name in blocked]
    if uneven:
        yield (
            f"a clamp that is no rectifier keeps {len(uneven)} uneven layers from equalisation "
            f"({uneven[0].name}): train with relu"
        )


def _absorb(seen: Findings) -> Iterator[str]:
    high = lifted(seen.module, seen.extremes)
    if high and "absorb" not in seen.done:
        yield (
            f"absorb: {len(high)} layers have channels that never come near zero, first {high[0]}: "
            "their ranges are spent on what lies below (--absorb-bias)"
        )


def _clipping(seen: Findings) -> Iterator[str]:
    clipped = [x for x in seen.own if x.saturated > CLIPPED]
    if clipped:
        worst = max(clipped, key=lambda x: x.saturated)
        yield (
            f"clipping: {worst.saturated:.1%} of {worst.name} lie beyond its range: more data, "
            "or --ranges minmax"
        )


def _unused(seen: Findings) -> Iterator[str]:
    high = lifted(seen.module, seen.extremes)
    unused = [x for x in seen.own if x.used < UNUSED and x.spread <= UNEQUAL and x.name not in high]
    if unused:
        worst = min(unused, key=lambda x: x.used)
        yield (
            f"range: {worst.name} uses {worst.used:.0%} of its integers: rare values widen it "
            "(--ranges mse or percentile)"
        )


def _more_data(seen: Findings) -> Iterator[str]:
    if seen.samples < FEW:
        yield f"data: ranges come from {seen.samples} samples; give some hundreds"


def _rounding(seen: Findings) -> Iterator[str]:
    costly = any((x.gain_db or 0) > COSTLY_DB for x in seen.layers)
    if (seen.output_db < LOW_DB or costly) and "rounding" not in seen.done:
        yield (
            "rounding: --adaptive-rounding and --bias-correction, with --ranges mse, move weights "
            "and biases towards the float network"
        )


def _some_finer(seen: Findings) -> Iterator[str]:
    found = [x for x in seen.layers if (x.int16_db or 0.0) > WORTH_DB]
    if found:
        found.sort(key=lambda x: -(x.int16_db or 0.0))
        names = ",".join(x.name for x in found[:MOST_NAMED])
        yield (
            f"int16: {found[0].name} with 16 bits gives the outputs {found[0].int16_db:.1f} dB "
            f"(--int16-layers {names})"
        )


def _finer(seen: Findings) -> Iterator[str]:
    if seen.output_db < LOW_DB:
        yield (
            f"int16: the outputs keep {seen.output_db:.1f} dB; --activations int16 gives up to "
            "48 dB more"
        )


def _training(seen: Findings) -> Iterator[str]:
    if seen.output_db < LOW_DB and {"equalize", "rounding"} <= seen.done:
        if "distill" not in seen.done:
            yield "training: --distill 4 trains the integers towards the floats, without labels"
        else:
            yield "training: lilliput.train.qat trains the integers on labels"


RULES: tuple[Callable[[Findings], Iterator[str]], ...] = (
    _equalize,
    _blocked,
    _absorb,
    _clipping,
    _unused,
    _more_data,
    _rounding,
    _some_finer,
    _finer,
    _training,
)
