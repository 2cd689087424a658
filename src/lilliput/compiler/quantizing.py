"""Quantising: a float network and the user's data become an integer network, and an account of it.

One idea: the integers are held against a simulation before anybody gets them, every value of
some samples at 0 LSB, and nothing stays a float unless that was allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lilliput.compiler.pipeline import Log, Model, from_module, quiet
from lilliput.emu.prove import first_difference
from lilliput.errors import Mismatch, UnsupportedError, UsageError
from lilliput.frontends.tflite import write as write_tflite
from lilliput.ir import text
from lilliput.ir.islands import float_islands, told
from lilliput.ir.module import Module
from lilliput.ir.types import Array, DType
from lilliput.quant.absorb import absorb
from lilliput.quant.batch import evenly, outputs, walk
from lilliput.quant.calibrate import Observed, calibrate, observe, with_weights
from lilliput.quant.convert import Converted, convert, product_names
from lilliput.quant.correct import correct
from lilliput.quant.data import Samples, array, samples
from lilliput.quant.equalise import equalise
from lilliput.quant.explain import explain
from lilliput.quant.mixed import widened
from lilliput.quant.outcome import Outcome
from lilliput.quant.predictions import Predictions, compare
from lilliput.quant.prepare import prepare
from lilliput.quant.scheme import Encodings, Scheme
from lilliput.quant.simulate import simulate, stored_inputs

CHECKED = 4
"""Samples on which every value is compared with the simulation."""
ACTIVATIONS = {"int8": DType.S8, "int16": DType.S16}


@dataclass(frozen=True)
class Quantization:
    """How to quantise.

    activations : "int8" or "int16"
    int16_layers : names of layers, or patterns of names, with int16 results in a network of int8
    ranges : "minmax", "percentile", "mse" or "kl"
    equalize, absorb_bias, bias_correction, adaptive_rounding : see `lilliput.quant`
    symmetric_heads : outputs with zero point 0
    allow_float : leave what has no integer form in floats; allow_dead : take activations that are
        0 on all data
    explain : compare layer by layer
    distill : rounds over the data in which the integers are trained towards the float network
    """

    activations: str = "int8"
    ranges: str = "minmax"
    equalize: bool = False
    absorb_bias: bool = False
    bias_correction: bool = False
    adaptive_rounding: bool = False
    symmetric_heads: bool = False
    allow_float: bool = False
    allow_dead: bool = False
    explain: bool = False
    seed: int = 0
    int16_layers: tuple[str, ...] = ()
    distill: int = 0

    @property
    def scheme(self) -> Scheme:
        if self.activations not in ACTIVATIONS:
            raise UsageError(
                "no such activations", expected="int8 or int16", found=self.activations
            )
        return Scheme(ACTIVATIONS[self.activations], symmetric_heads=self.symmetric_heads)


@dataclass(frozen=True, eq=False)
class Quantized:
    """`model` holds the integers; `outcome` says what became of it; `encodings` how they are
    meant."""

    model: Model
    outcome: Outcome
    encodings: Encodings

    def to_json(self) -> dict[str, object]:
        return self.outcome.to_json()


def quantize(
    model: Model | Module,
    calibration: object,
    options: Quantization | None = None,
    *,
    test: object = None,
    labels: object = None,
    groups: object = None,
    log: Log = quiet,
) -> Quantized:
    """The integer network of a float network, from data like those it will see.

    calibration : arrays, a mapping from input names, a path, or an iterable such as a DataLoader
    test : other data to compare answers on; the calibration data where there are none
    labels, groups : (N) of the test data; without labels only changed answers are counted

    Raises UsageError for data that cannot be used, UnsupportedError with every node that has no
    integer form, Mismatch where the integers are not those of the simulation (a defect).
    """
    options = options or Quantization()
    module = model.module if isinstance(model, Model) else model
    if options.distill < 0:
        raise UsageError("rounds of training", expected="0 or more", found=options.distill)
    scheme = options.scheme
    network = prepare(module)
    inputs = network.inputs(network.entry)
    data = samples(calibration, inputs)
    held = data if test is None else samples(test, inputs, least=1)
    truth, named = _labels(labels, held.count), _groups(groups, held.count)
    log(f"{data.count} samples through the float network")
    observed = _observed(network, data, options)
    repaired = _repaired(network, data, observed, options)
    network, observed = repaired.network, repaired.observed
    encodings = calibrate(network, data.inputs, observed, scheme, options.ranges)
    if options.int16_layers:
        encodings = with_weights(network, widened(network, encodings, options.int16_layers))
    convert(network, encodings, allow_float=options.allow_float)  # refuses before it learns
    if options.adaptive_rounding or options.bias_correction:
        log("towards the float network, layer by layer")
        encodings = correct(
            network,
            encodings,
            data.inputs,
            rounding=options.adaptive_rounding,
            bias=options.bias_correction,
            seed=options.seed,
        )
    converted = convert(network, encodings, allow_float=options.allow_float)
    if options.distill:
        log("training towards the float network, without labels")
        encodings = _distilled(network, encodings, converted.module, data, options, log)
        converted = convert(network, encodings, allow_float=options.allow_float)
    made = _model(converted)
    log("comparing the integers with their simulation")
    compared, checked = _check(network, encodings, made.module, data, converted.islands)
    log("comparing answers")
    evaluated = _evaluated(network, encodings, made.module, held, truth, named)
    explanation = None
    if options.explain:
        log("explaining, layer by layer")
        explanation = explain(network, encodings, observed, data.inputs, done=_done(options))
    outcome = Outcome(
        model=module.name,
        activations=options.activations,
        wide=_wide(network, encodings),
        ranges=options.ranges,
        samples=data.count,
        float_bytes=_bytes(module),
        integer_bytes=_bytes(made.module),
        compared=compared,
        checked=checked,
        equalised=repaired.pairs,
        reformed=repaired.reformed,
        absorbed=repaired.absorbed,
        bias_corrected=options.bias_correction,
        adaptively_rounded=options.adaptive_rounding,
        distilled=options.distill,
        floats=_floats(converted),
        warnings=(
            *data.warnings,
            *_unseen(network, data.labels if test is not None or truth is None else truth),
            *(f"{p.where}: {p.what}" for p in observed.never),
            *(
                f"{name}: the float network leaves out what its file rounds"
                for name in module.unrounded
            ),
        ),
        evaluated_on=""
        if evaluated is None
        else ("test data" if test is not None else "calibration data"),
        evaluated=evaluated,
        explanation=explanation,
    )
    return Quantized(made, outcome, encodings)


def _observed(network: Module, data: Samples, options: Quantization) -> Observed:
    found = observe(network, data.inputs)
    if found.never and not options.allow_dead:
        raise UsageError(found.never)
    return found


@dataclass(frozen=True, eq=False)
class _Repaired:
    """The float network before its integers are chosen, what it does, and what was changed."""

    network: Module
    observed: Observed
    pairs: int = 0
    reformed: tuple[str, ...] = ()
    absorbed: int = 0


def _repaired(
    network: Module, data: Samples, observed: Observed, options: Quantization
) -> _Repaired:
    found = _Repaired(network, observed)
    if options.equalize:
        equal = equalise(found.network, found.observed.extremes)
        again = observe(equal.module, data.inputs)
        found = _Repaired(equal.module, again, equal.pairs, equal.reformed)
    if options.absorb_bias:
        absorbed = absorb(found.network, found.observed.extremes)
        again = observe(absorbed.module, data.inputs)
        count = absorbed.channels
        found = replace(found, network=absorbed.module, observed=again, absorbed=count)
    return found


def _distilled(
    network: Module,
    encodings: Encodings,
    made: Module,
    data: Samples,
    options: Quantization,
    log: Log,
) -> Encodings:
    """`encodings` with the weights and biases that training gives the integer network `made`.

    Raises MissingTool without torch, UnsupportedError for operators that no gradient passes.
    """
    from lilliput.train.distill import Teacher, distill  # torch, only where it is asked for
    from lilliput.train.qat import WEIGHED, Qat

    teacher, student = Teacher(network), Qat(made)
    x = data.inputs[network.inputs(network.entry)[0].name]
    distill(student, teacher, x, epochs=options.distill, seed=options.seed, log=log)
    weights = dict(encodings.weights)
    origins = product_names(network)
    for node in made.graphs[made.entry].nodes:
        name = origins.get(node.output.name)
        if name is not None and node.op.name in WEIGHED and node.inputs[1].name in student.steps:
            stored = [student.stored(v.name) for v in node.inputs[1:3]]
            old = weights[name]
            weights[name] = replace(old, data=stored[0].astype(old.data.dtype), bias=stored[1])
    return replace(encodings, weights=weights)


def _model(converted: Converted) -> Model:
    """The integers, with their .tflite file for other implementations where the format has it."""
    made = from_module(converted.module)
    try:
        return replace(made, tflite=write_tflite(made.module, made.module.entry))
    except UnsupportedError:
        return made


def _wide(network: Module, encodings: Encodings) -> tuple[str, ...]:
    """Names of the values of int16 in a network of int8, in order."""
    values = network.graphs[network.entry].values()
    return tuple(v.name for v in values if v.name in encodings.wide)


def _floats(converted: Converted) -> tuple[str, ...]:
    """Every float operator of the integer network, with the reason."""
    reasons = {p.where: p.what for p in converted.floats}
    names = told(float_islands(converted.module))
    return tuple(f"{n}: {reasons.get(n, 'calculates in floats')}" for n in names)


def _bytes(module: Module) -> int:
    return sum(p.value.type.nbytes for p in module.params.values())


def _done(options: Quantization) -> list[str]:
    steps = {
        "equalize": options.equalize,
        "absorb": options.absorb_bias,
        "rounding": options.adaptive_rounding,
        "distill": options.distill > 0,
    }
    return [name for name, taken in steps.items() if taken]


# Checks -----------------------------------------------------------------------------------


def _check(
    network: Module, encodings: Encodings, made: Module, data: Samples, islands: frozenset[str]
) -> tuple[int, int]:
    """(values, samples) that are equal; raises Mismatch for the first that is not."""
    count, part = evenly(network.graphs[network.entry], data.inputs, CHECKED)
    meant = simulate(network, encodings, part, count, islands=islands).whole
    compared = 0
    stored = stored_inputs(network, encodings, part)
    for step in walk(made.graphs[made.entry], made, stored, count):
        for v, found in zip(step.node.outputs, step.results, strict=True):
            if v.name not in meant or not v.type.dtype.is_integer:
                continue
            compared += 1
            difference = first_difference(meant[v.name], found)
            if difference is not None:
                raise Mismatch(
                    "the integers are not those of the simulation: please report it",
                    where=step.node.describe(),
                    found=str(difference),
                )
    return compared, count


def _evaluated(
    network: Module,
    encodings: Encodings,
    made: Module,
    held: Samples,
    labels: Array | None,
    groups: Sequence[str] | None,
) -> Predictions | None:
    """Answers of the first output; None where it is no vector of scores."""
    real = next(iter(outputs(network, held.inputs).values()))
    stored = stored_inputs(network, encodings, held.inputs)
    whole = next(iter(outputs(made, stored).values())).astype(np.float64)
    scores = real.reshape(held.count, -1)
    classifies = scores.shape[1] > 1 and real.ndim == 2
    if not classifies:
        if labels is not None:
            raise UsageError(
                "labels for a network without scores",
                expected="an output (1, classes)",
                found=str(real.shape),
            )
        return None
    if labels is not None and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        raise UsageError(
            "labels are no classes of the network",
            expected=f"0 to {scores.shape[1] - 1}",
            found=f"{labels.min()} to {labels.max()}",
        )
    return compare(scores, whole.reshape(held.count, -1), labels, groups)


def _unseen(network: Module, labels: Array | None) -> Iterator[str]:
    """Classes of the first output that the calibration data have no sample of, if that is known."""
    shape = network.outputs(network.entry)[0].type.shape
    if labels is None or len(shape) != 2 or labels.min() < 0 or labels.max() >= shape[1] > 1:
        return
    missing = sorted(set(range(shape[1])) - set(labels.tolist()))
    if missing:
        told = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
        yield (
            f"no calibration sample of {len(missing)} classes ({told}): what they alone make large "
            "is clipped; take an even spread over the data, such as x[:: len(x) // 256]"
        )


def _labels(given: object, count: int) -> Array | None:
    if given is None:
        return None
    labels = array(given).reshape(-1)
    if labels.dtype.kind not in "iub" or len(labels) != count:
        raise UsageError(
            "labels do not fit the data",
            expected=f"{count} integers",
            found=f"{len(labels)} of {labels.dtype}",
        )
    return labels.astype(np.int64)


def _groups(given: object, count: int) -> list[str] | None:
    if given is None:
        return None
    groups = [str(g) for g in array(given).reshape(-1)]
    if len(groups) != count:
        raise UsageError("groups do not fit the data", expected=count, found=len(groups))
    return groups


def file_of(found: Quantized, path: str | Path) -> bytes:
    """The bytes to write at `path`: a .tflite file, or a module for any other ending."""
    if Path(path).suffix != ".tflite":
        return text.save(found.model.module)
    if found.model.tflite is None:
        module = found.model.module
        return write_tflite(module, module.entry)  # raises with the reason
    return found.model.tflite
