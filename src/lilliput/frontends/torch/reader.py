"""Reads a captured module: `Traced` in, verified module out, or one error with every reason.

What a quantised program computes between a dequantize and a quantize is built on the integers
where there is a rule for it (`operators.INTEGER`), in floats between those two where there is
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lilliput.errors import ModelError, Problem, UnsupportedError, UsageError
from lilliput.frontends.ends import named
from lilliput.frontends.torch.call import Call, Folding, Tensors, Unavailable, describe
from lilliput.frontends.torch.capture import capture
from lilliput.frontends.torch.dynamic import without_measured_scales
from lilliput.frontends.torch.operators import IGNORED, INTEGER, READ
from lilliput.frontends.torch.program import Ref, Spec, Step, Traced
from lilliput.frontends.torch.scales import DEQUANTIZES, DYNAMIC, QUANTIZES
from lilliput.frontends.torch.uses import MOVES, refs, uses_of
from lilliput.ir import DType, Module, TensorType, Value, verify

MAX_STEPS = 50_000
MAX_PROBLEMS = 100
IO = ("int8", "float")
RANDOM = ("rand", "bernoulli", "dropout", "normal", "multinomial")
STORED = {"int8": DType.S8, "uint8": DType.S8, "int16": DType.S16}
"""Integers with a scale, as they are kept here."""


def read(
    module: Any, example: Any = None, *, name: str = "model", batch: int = 1, io: str = "int8"
) -> Module:
    """The module of one entry, `infer`, that computes what `module` does for inputs like `example`.

    module : a PyTorch module, or a program that torch.export made of one, which needs no example
    io : of a quantised program: "int8" takes quantize and dequantize off the ends, "float" keeps
        them

    Shapes are those of the example.  Buffers that forward changes become states; values of plain
    Python, and inputs changed in place, are not looked at again.
    Raises UsageError, or UnsupportedError with every problem found.
    """
    if io not in IO:
        raise UsageError("unknown form of inputs and outputs", expected=" or ".join(IO), found=io)
    kept = READ.keys() | INTEGER.keys()
    traced, unrounded = without_measured_scales(capture(module, example, kept, batch))
    return replace(_Reader(traced, name, io).run(), unrounded=unrounded)


class _Reader:
    def __init__(self, traced: Traced, name: str, io: str):
        self.traced, self.name, self.io = traced, name, io
        self.builder = Folding()
        self.tensors = Tensors(self.builder, traced.constants)
        self.uses = uses_of(traced)
        self.problems: list[Problem] = []
        self.wanted = {ref: name for name, ref in reversed(traced.outputs)}
        self.read = {ref for s in traced.steps for ref in refs(s.arguments.values())}
        self.read.update(self.wanted, (end for _, end in traced.states.values()))

    def run(self) -> Module:
        traced, builder = self.traced, self.builder
        if len(traced.steps) > MAX_STEPS:
            raise UnsupportedError(
                "too many operators", expected=MAX_STEPS, found=len(traced.steps)
            )
        for name, spec in traced.inputs.items():
            self._input(name, spec)
        self._hold()
        for step in traced.steps:
            self._step(step)
        if not self.problems and not traced.outputs:
            self.problems.append(Problem("the module returns no tensor"))
        if self.problems:
            left = len(self.problems) - MAX_PROBLEMS
            more = [Problem(f"... and {left} more")] if left > 0 else []
            raise UnsupportedError([*self.problems[:MAX_PROBLEMS], *more])
        module = builder.module(self._outputs(), name=self.name, updates=self._updates())
        verify(module)
        return module

    # Ends -----------------------------------------------------------------------------

    def _input(self, name: str, spec: Spec) -> None:
        """Reals that are only quantised are the integers themselves."""
        ref = Ref(name)
        stored = self.uses.stored(ref) if spec.dtype in ("int8", "uint8") else None
        if stored is not None and spec.shape is not None:
            type = TensorType(spec.shape, DType.S8, stored)
            self.tensors.values[ref] = self.builder.input(name, type)
            return
        try:
            type = self._bare(name).typed(spec)
        except ModelError as e:
            self.problems += e.problems
            self.tensors.values[ref] = None
            return
        quant = self.uses.quantised_input(ref) if self.io == "int8" else None
        if quant is None or type.dtype is not DType.F32:
            self.tensors.values[ref] = self.builder.input(name, type)
        else:
            self.tensors.integers[ref] = self.builder.input(name, type.with_dtype(DType.S8, quant))

    def _bare(self, name: str) -> Call:
        """A call that stands for an input or a buffer, to check and to report with."""
        return Call(self.builder, self.tensors, Step(name, "input", {}, (), name), name)

    def _hold(self) -> None:
        """Parameters and states.  What nothing reads may be of any type, and so may scales."""
        read = {ref for _, ref in self.traced.outputs}
        for step in self.traced.steps:
            given = list(step.arguments.values())
            scaled = step.operator in QUANTIZES or step.operator in DEQUANTIZES
            read.update(refs(given[:1] if scaled else given))
        states = {name: held for name, (held, _) in self.traced.states.items()}
        for name, held in {**self.traced.constants, **states}.items():
            if Ref(name) not in read and name not in states:
                continue
            spec = Spec(held.data.shape, str(held.data.dtype))
            try:
                type = self._bare(held.path).typed(spec)
            except ModelError as e:
                self.problems += e.problems
                self.tensors.values[Ref(name)] = None
                continue
            if name in states:
                made = self.builder.state(held.path, type, held.data)
            else:
                made = self.builder.param(held.path, held.data)
            self.tensors.values[Ref(name)] = made

    def _outputs(self) -> list[Value]:
        """What is returned; integers that are only dequantised are what they are."""
        ends = [ref for _, ref in self.traced.outputs]
        known = self.tensors.integers
        whole = known if self.io == "int8" else {}
        found = [whole.get(ref) or self._value(ref) for ref in ends]
        if not any(ref in known for ref in ends) or self.traced.states:
            return found
        return named(self.builder, found, [name for name, _ in self.traced.outputs])

    def _updates(self) -> dict[str, Value]:
        return {
            self._value(Ref(name)).name: self._value(left)
            for name, (_, left) in self.traced.states.items()
        }

    def _value(self, ref: Ref) -> Value:
        value = self.tensors.of(ref)
        assert value is not None, ref
        return value

    # Steps ----------------------------------------------------------------------------

    def _step(self, step: Step) -> None:
        if step.operator in IGNORED:
            return
        results = [Ref(step.name, k) for k in range(len(step.results))]
        self.tensors.values.update(dict.fromkeys(results))
        label = next((self.wanted[r] for r in results if r in self.wanted), step.label)
        name = label if label not in self.builder.params else f"{label}/{step.name}"
        target = self.uses.target(results[0]) if results else None
        call = Call(self.builder, self.tensors, step, name, target)
        try:
            self._check_scales(call)
            whole = self._whole(call)
            made = whole or self._build(call)
            unmade = [ref for ref in results[len(made) :] if ref in self.read]
            if unmade:
                raise call.refuse(f"result {unmade[0].index} of the operator is not supported")
        except Unavailable:
            return
        except ModelError as e:
            where = describe(step)
            self.problems += [
                p if p.where.startswith(where) else replace(p, where=where) for p in e.problems
            ]
            return
        kept = self.tensors.integers if whole else self.tensors.values
        kept.update(zip(results, made, strict=False))

    def _check_scales(self, call: Call) -> None:
        """Raises UnsupportedError for arithmetic on integers that have a scale."""
        if call.step.operator in DEQUANTIZES or call.step.operator in MOVES:
            return
        for ref in refs(call.step.arguments.values()):
            value = self.tensors.values.get(ref)
            if value is not None and value.type.quant is not None:
                raise call.refuse(
                    "arithmetic on quantised integers",
                    found=str(value.type),
                    hint="convert_pt2e without use_reference_representation",
                )

    def _whole(self, call: Call) -> Sequence[Value]:
        """The integers that stand for the results; none where there is no rule."""
        build = INTEGER.get(call.step.operator)
        known = (ref in self.tensors.integers for ref in refs(call.step.arguments.values()))
        if build is None or not (any(known) or call.step.operator in DEQUANTIZES):
            return ()
        made = build(call)
        made = (made,) if isinstance(made, Value) else tuple(made or ())
        for k, value in enumerate(made):
            if value.type.shape != call.step.results[k].shape:
                raise _another(call, call.step.results[k].shape, value)
        return made

    def _build(self, call: Call) -> Sequence[Value]:
        build = READ.get(call.step.operator)
        if build is None:
            raise _unknown(call)
        made = build(call)
        made = [made] if isinstance(made, Value) else list(made)
        for k, value in enumerate(made):
            spec = call.step.results[k]
            stored = STORED.get(spec.dtype) if value.type.quant is not None else None
            type = call.result(k)
            if value.type.shape != type.shape or value.type.dtype != (stored or type.dtype):
                raise _another(call, type, value)
        return made


def _another(call: Call, expected: object, found: Value) -> UnsupportedError:
    return call.refuse(
        "result of another type: a defect of this reader, report it",
        expected=str(expected),
        found=str(found.type),
    )


def _unknown(call: Call) -> UnsupportedError:
    name = call.step.operator.removesuffix(".default")
    if "cond" in name or "while_loop" in name or "scan" in name:
        return call.refuse(f"control flow ({name})", hint="compute both, choose by torch.where")
    if any(word in name for word in RANDOM):
        return call.refuse(
            f"random numbers ({name})", hint="a compiled network gives one result for one input"
        )
    if any(word in name for word in DYNAMIC):
        return call.refuse(
            f"a scale that is measured at run time ({name})",
            hint="quantise activations statically, with calibration",
        )
    line = f"`{call.step.text}`" if call.step.text else ""
    hint = "docs/from-pytorch.md lists what is"
    return call.refuse(f"operator is not supported ({name})", found=line, hint=hint)
