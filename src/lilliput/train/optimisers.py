"""Optimisers as graph nodes: from a gradient in real units to the tensor that a step leaves.

SGD with momentum and weight decay; Adam (Kingma and Ba 2015); Lion (Chen et al. 2023).  Moments
are float32 states.  A float tensor moves by the step; an integer tensor moves by the step over
the size of one of its own steps, which is quantisation-aware scaling (Lin et al. 2022, 3.1) for
every optimiser, by one of three rules:

    nearest    round(w - step): steps under half are lost
    dither     floor(w - step + u), u from a seeded generator: right on average
    residual   an int8 rest for each weight carries what rounding leaves: 16 bits in effect
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir import Builder, DType, TensorType, Value
from lilliput.ir.types import Array
from lilliput.ops import registry
from lilliput.ops.gradient import call

RULES = ("nearest", "dither", "residual")
RATE = "learning_rate"
"""The state that a firmware may set."""
KINDS = ("sgd", "adam", "lion")
_SHARED = ("seed", "beta1", "beta2")
"""States of all tensors."""


GRADIENTS = ("fixed", "float")


@dataclass(frozen=True)
class Optimiser:
    """kind : one of `KINDS`; rule : of `RULES`, for int8 weights
    rate : what the learning rate is at power-on
    momentum : of SGD; beta1, beta2, epsilon : of Adam and Lion
    weight_decay : share of the rate by which weights, not biases, shrink in every step
    gradients : of `GRADIENTS`; fixed: what passes back through 1x1 convolutions of int8 weights is
        rounded to 16-bit numbers, in steps of its own for each pixel, and summed exactly
    """

    kind: str = "sgd"
    rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    rule: str = "residual"
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    seed: int = 1
    gradients: str = "fixed"

    def __post_init__(self) -> None:
        """Raises UsageError for an unknown kind or rule, and for numbers out of range."""
        for what, value, known in (
            ("optimiser", self.kind, KINDS),
            ("rule", self.rule, RULES),
            ("form of gradients", self.gradients, GRADIENTS),
        ):
            if value not in known:
                raise UsageError(f"unknown {what}", expected=" or ".join(known), found=value)
        for what, value in (
            ("momentum", self.momentum),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
        ):
            if not 0 <= value < 1:
                raise UsageError(what, expected="in [0, 1)", found=value)
        if not (self.rate > 0 and self.weight_decay >= 0 and self.epsilon > 0):
            found = f"{self.rate}, {self.weight_decay}, {self.epsilon}"
            raise UsageError("rate, weight decay, epsilon", expected="> 0, >= 0, > 0", found=found)


@dataclass(frozen=True)
class Tensor:
    """What is trained.

    state : its value as it enters a step
    steps : real size of one integer step, of a shape that broadcasts to the state's; None of
        a float tensor
    decays : whether weight decay applies
    """

    state: Value
    steps: Array | None
    decays: bool


class Updates:
    """Adds the update of one tensor after the other to `b`.

    left : state -> what a step leaves in it
    owner : state -> the trained tensor that it belongs to; those of all tensors have none
    """

    def __init__(self, b: Builder, optimiser: Optimiser):
        self.b, self.of = b, optimiser
        self.left: dict[str, Value] = {}
        self.owner: dict[str, str] = {}
        self.rate = self._state(RATE, np.full(1, optimiser.rate, np.float32))
        self._shared: dict[str, Value] = {}

    def update(self, tensor: Tensor, gradient: Value) -> None:
        """Adds what `tensor` becomes."""
        if self.of.weight_decay and tensor.decays:
            real = self._real(tensor)
            gradient = self._add(gradient, self._scaled(real, self.of.weight_decay))
        towards = getattr(self, f"_{self.of.kind}")(tensor, gradient)
        self._move(tensor, towards)
        for name in (n for n in self.left if n not in self.owner and n not in _SHARED):
            self.owner[name] = tensor.state.name

    # directions

    def _sgd(self, tensor: Tensor, g: Value) -> Value:
        if not self.of.momentum:
            return g
        return self._moment(tensor, "momentum", self.of.momentum, g, 1.0)

    def _adam(self, tensor: Tensor, g: Value) -> Value:
        one, two = self.of.beta1, self.of.beta2
        m = self._moment(tensor, "moment1", one, g, 1 - one)
        v = self._moment(tensor, "moment2", two, self._op("square", g), 1 - two)
        root = self._op("sqrt", self._op("mul", v, self._correction("beta2", two)))
        root = self._add(root, self._constant(self.of.epsilon))
        m = self._op("mul", m, self._correction("beta1", one))
        return self._op("div", m, root)

    def _lion(self, tensor: Tensor, g: Value) -> Value:
        one, two = self.of.beta1, self.of.beta2
        m = self._moments(tensor, "momentum")
        towards = self._add(self._scaled(m, one), self._scaled(g, 1 - one))
        self.left[m.name] = self._add(self._scaled(m, two), self._scaled(g, 1 - two))
        return self._op("sign", towards)

    def _moments(self, tensor: Tensor, what: str) -> Value:
        name = f"{tensor.state.name}/{what}"
        return self._state(name, np.zeros(tensor.state.type.shape, np.float32))

    def _moment(self, tensor: Tensor, what: str, keep: float, g: Value, take: float) -> Value:
        m = self._moments(tensor, what)
        new = g if take == 1.0 else self._scaled(g, take)
        self.left[m.name] = self._add(self._scaled(m, keep), new)
        return self.left[m.name]

    def _correction(self, what: str, beta: float) -> Value:
        """1 / (1 - beta^t), once for all tensors."""
        if what not in self._shared:
            power = self._state(what, np.ones(1, np.float32))
            self.left[power.name] = self._scaled(power, beta)
            rest = self._op("sub", self._constant(1.0), self.left[power.name])
            self._shared[what] = self._op("div", self._constant(1.0), rest)
        return self._shared[what]

    # moves

    def _move(self, tensor: Tensor, towards: Value) -> None:
        state = tensor.state
        if tensor.steps is None:
            step = self._op("mul", towards, self.rate)
            moved = self._op("sub", state, step)
            self.left[state.name] = self._op("finite_or", moved, state)
            return
        inverse = self.b.param(
            f"{state.name}/per_step", (1 / tensor.steps.astype(np.float64)).astype(np.float32)
        )
        step = self._op("mul", self._op("mul", towards, inverse), self.rate)
        rule = self.of.rule if state.type.dtype is DType.S8 else "nearest"
        self.left |= getattr(self, f"_{rule}")(state, step)

    def _nearest(self, w: Value, step: Value) -> dict[str, Value]:
        return {w.name: self._typed("sgd", w, step)}

    def _dither(self, w: Value, step: Value) -> dict[str, Value]:
        if "seed" not in self._shared:
            seed = self._state("seed", np.full(1, self.of.seed, np.int32))
            golden = self.b.param("seed/next", np.full(1, -1640531527, np.int32))
            self.left[seed.name] = self._op("add", seed, golden)
            self._shared["seed"] = seed
        return {w.name: self._typed("sgd_dither", w, self._shared["seed"], step)}

    def _residual(self, w: Value, step: Value) -> dict[str, Value]:
        rest = self._state(f"{w.name}/rest", np.zeros(w.type.shape, np.int8))
        left = self._op("sgd_rest", rest, step)
        return {rest.name: left, w.name: self._typed("sgd_carry", w, left, step)}

    # nodes

    def _state(self, name: str, init: Array) -> Value:
        type = TensorType(tuple(init.shape), DType.of(init.dtype))
        return self.b.state(name, type, init)

    def _constant(self, value: float) -> Value:
        return self.b.param("constant", np.full(1, value, np.float32))

    def _scaled(self, v: Value, by: float) -> Value:
        return self._op("mul", v, self._constant(by))

    def _add(self, one: Value, other: Value) -> Value:
        return self._op("add", one, other)

    def _real(self, tensor: Tensor) -> Value:
        if tensor.steps is None:
            return tensor.state
        number = call(self.b, "cast", tensor.state, dtype=DType.F32)
        return self._op("mul", number, self.b.param("steps", tensor.steps.astype(np.float32)))

    def _op(self, name: str, *inputs: Value) -> Value:
        return self.b.add(registry.get(name), inputs, name=f"train/{name}")

    def _typed(self, name: str, w: Value, *rest: Value) -> Value:
        return self.b.add(registry.get(name), (w, *rest), type=w.type, name=f"{w.name}/new")
