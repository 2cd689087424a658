"""Reads a captured module: `Traced` in, verified module out, or one error with every reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lilliput.errors import ModelError, Problem, UnsupportedError
from lilliput.frontends.torch.call import Call, Folding, Unavailable, describe
from lilliput.frontends.torch.capture import capture
from lilliput.frontends.torch.operators import IGNORED, READ
from lilliput.frontends.torch.program import Ref, Spec, Step, Traced
from lilliput.ir import Module, Value, verify

MAX_STEPS = 50_000
MAX_PROBLEMS = 100
RANDOM = ("rand", "bernoulli", "dropout", "normal", "multinomial")


def read(module: Any, example: Any, *, name: str = "model", batch: int = 1) -> Module:
    """The module of one entry, `infer`, that computes what `module` does for inputs like `example`.

    Shapes are those of the example.  Buffers that forward changes become states; values of plain
    Python, and inputs changed in place, are not looked at again.
    Raises UsageError, or UnsupportedError with every problem found.
    """
    return _Reader(capture(module, example, READ.keys(), batch), name).run()


class _Reader:
    def __init__(self, traced: Traced, name: str):
        self.traced = traced
        self.name = name
        self.builder = Folding()
        self.values: dict[Ref, Value | None] = {}
        self.problems: list[Problem] = []
        self.wanted = {ref: name for name, ref in reversed(traced.outputs)}

    def run(self) -> Module:
        traced, builder = self.traced, self.builder
        if len(traced.steps) > MAX_STEPS:
            raise UnsupportedError(
                "too many operators", expected=MAX_STEPS, found=len(traced.steps)
            )
        for name, spec in traced.inputs.items():
            type = self._bare(name).typed(spec)
            self.values[Ref(name)] = builder.input(name, type)
        self._hold()
        for step in traced.steps:
            self._step(step)
        if not self.problems and not traced.outputs:
            self.problems.append(Problem("the module returns no tensor"))
        if self.problems:
            left = len(self.problems) - MAX_PROBLEMS
            more = [Problem(f"... and {left} more")] if left > 0 else []
            raise UnsupportedError([*self.problems[:MAX_PROBLEMS], *more])
        outputs = [self._value(ref) for _, ref in traced.outputs]
        updates = {
            self._value(Ref(name)).name: self._value(left)
            for name, (_, left) in traced.states.items()
        }
        module = builder.module(outputs, name=self.name, updates=updates)
        verify(module)
        return module

    def _bare(self, name: str) -> Call:
        """A call that stands for an input or a buffer, to check and to report with."""
        return Call(self.builder, self.values, Step(name, "input", {}, (), name), name)

    def _hold(self) -> None:
        """Parameters and states.  What nothing reads may be of any type."""
        read = {a for s in self.traced.steps for a in _refs(s.arguments.values())}
        read |= {ref for _, ref in self.traced.outputs}
        states = {name: held for name, (held, _) in self.traced.states.items()}
        for name, held in {**self.traced.constants, **states}.items():
            if Ref(name) not in read and name not in states:
                continue
            spec = Spec(held.data.shape, str(held.data.dtype))
            try:
                type = self._bare(held.path).typed(spec)
            except ModelError as e:
                self.problems += e.problems
                self.values[Ref(name)] = None
                continue
            if name in states:
                self.values[Ref(name)] = self.builder.state(held.path, type, held.data)
            else:
                self.values[Ref(name)] = self.builder.param(held.path, held.data)

    def _value(self, ref: Ref) -> Value:
        value = self.values[ref]
        assert value is not None, ref
        return value

    def _step(self, step: Step) -> None:
        if step.operator in IGNORED:
            return
        results = [Ref(step.name, k) for k in range(len(step.results))]
        self.values.update(dict.fromkeys(results))
        label = next((self.wanted[r] for r in results if r in self.wanted), step.label)
        name = label if label not in self.builder.params else f"{label}/{step.name}"
        try:
            made = self._build(Call(self.builder, self.values, step, name))
        except Unavailable:
            return
        except ModelError as e:
            where = describe(step)
            self.problems += [
                p if p.where.startswith(where) else replace(p, where=where) for p in e.problems
            ]
            return
        self.values.update(zip(results, made, strict=False))

    def _build(self, call: Call) -> list[Value]:
        build = READ.get(call.step.operator)
        if build is None:
            raise _unknown(call)
        made = build(call)
        made = [made] if isinstance(made, Value) else list(made)
        for k, value in enumerate(made):
            type = call.result(k)
            found = (value.type.shape, value.type.dtype)
            if found != (type.shape, type.dtype):
                raise call.refuse(
                    "result of another type: a defect of this reader, report it",
                    expected=str(type),
                    found=str(value.type),
                )
        return made


def _refs(arguments: Any) -> list[Ref]:
    found: list[Ref] = []
    for a in arguments:
        found += [a] if isinstance(a, Ref) else _refs(a) if isinstance(a, tuple) else []
    return found


def _unknown(call: Call) -> UnsupportedError:
    name = call.step.operator.removesuffix(".default")
    if "cond" in name or "while_loop" in name or "scan" in name:
        return call.refuse(f"control flow ({name})", hint="compute both, choose by torch.where")
    if any(word in name for word in RANDOM):
        return call.refuse(
            f"random numbers ({name})", hint="a compiled network gives one result for one input"
        )
    line = f"`{call.step.text}`" if call.step.text else ""
    hint = "docs/from-pytorch.md lists what is"
    return call.refuse(f"operator is not supported ({name})", found=line, hint=hint)
