"""Optimisers as graph nodes: from a gradient in real units to the tensor that a step leaves.

SGD with momentum and weight decay; Adam (Kingma and Ba 2015); Lion (Chen et al. 2023).  A float
tensor moves by the step; an integer tensor moves by the step over the size of one of its own
steps, which is quantisation-aware scaling (Lin et al. 2022, 3.1) for every optimiser, by one of
three rules:

    nearest    round(w - step): steps under half are lost
    dither     floor(w - step + u), u from a seeded generator: right on average
    residual   an int8 rest for each weight carries what rounding leaves: 16 bits in effect

Moments are float32 states, or int8 ones of weights: a block is what belongs to one output channel,
its scale the largest of the block over 127 (8-bit optimisers: Dettmers et al. 2022, with linear
steps), rounded by `dither`: to the nearest, a mean would stop where its changes are under half a
step.  Of Adam's second moment it is the root that is stored, and read as half a step at least.

With `accumulate` examples to a step, float32 sums of gradients are states as well.  Every call adds
to them; what a call is not the last of its step leaves all else as it was: its rate is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.errors import UsageError
from lilliput.ir import Builder, DType, TensorType, Value
from lilliput.ir.types import Array
from lilliput.ops import registry
from lilliput.ops.gradient import call
from lilliput.train.slices import Part, joined

RULES = ("nearest", "dither", "residual")
RATE = "learning_rate"
"""The state that a firmware may set."""
KINDS = ("sgd", "adam", "lion")
MOMENTS = ("float32", "int8")
EXAMPLES = "examples"
"""The state that counts the examples of a step that is not complete."""
_SHARED = ("seed", "beta1", "beta2", EXAMPLES)
"""States of all tensors."""
SUM, MOMENT, REST = "sums", "moments", "rests"
"""What belongs to a trained tensor."""

GRADIENTS = ("fixed", "float")


@dataclass(frozen=True)
class Optimiser:
    """kind : one of `KINDS`; rule : of `RULES`, for int8 weights
    rate : what the learning rate is at power-on
    momentum : of SGD; beta1, beta2, epsilon : of Adam and Lion
    weight_decay : share of the rate by which weights, not biases, shrink in every step
    gradients : of `GRADIENTS`; fixed: what passes back through 1x1 convolutions of int8 weights is
        rounded to 16-bit numbers, in steps of its own for each pixel, and summed exactly
    accumulate : examples whose mean gradient is one step
    moments : how those of weights are stored, one of `MOMENTS`
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
    accumulate: int = 1
    moments: str = "float32"

    def __post_init__(self) -> None:
        """Raises UsageError for an unknown kind or rule, and for numbers out of range."""
        for what, value, known in (
            ("optimiser", self.kind, KINDS),
            ("rule", self.rule, RULES),
            ("form of gradients", self.gradients, GRADIENTS),
            ("moments", self.moments, MOMENTS),
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
        if not 1 <= self.accumulate < 1 << 24:
            raise UsageError("examples of a step", expected="1 to 2^24", found=self.accumulate)
        if not (self.rate > 0 and self.weight_decay >= 0 and self.epsilon > 0):
            found = f"{self.rate}, {self.weight_decay}, {self.epsilon}"
            raise UsageError("rate, weight decay, epsilon", expected="> 0, >= 0, > 0", found=found)


@dataclass(frozen=True)
class Tensor:
    """What is trained.

    state : its value as it enters a step
    steps : real size of one integer step, of a shape that broadcasts to the state's, infinite
        where it stays as it is; None of a float tensor
    decays : whether weight decay applies
    """

    state: Value
    steps: Array | None
    decays: bool


@dataclass(frozen=True)
class _Moment:
    """value : adds it as it enters a step; keep : leaves what it becomes."""

    value: Callable[[], Value]
    keep: Callable[[Value], None]


class Updates:
    """Adds the update of one tensor after the other to `b`.

    left : state -> what a step leaves in it
    owner : state -> the trained tensor, or part of one, that it belongs to; those of all tensors
        have none, nor have tensors that are moved part by part
    moved : what is left in such a part -> the part
    kinds : state beside a trained tensor -> `SUM`, `MOMENT` or `REST`
    """

    def __init__(self, b: Builder, optimiser: Optimiser):
        self.b, self.of = b, optimiser
        self.left: dict[str, Value] = {}
        self.owner: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.moved: dict[str, str] = {}
        self.rate = self._state(RATE, np.full(1, optimiser.rate, np.float32))
        self._shared: dict[str, Value] = {}
        self._due: Value | None = None
        if optimiser.accumulate > 1:
            self._due = self._last()
            self.rate = self._op("mul", self.rate, call(b, "cast", self._due, dtype=DType.F32))

    def update(self, tensor: Tensor, gradient: Value) -> None:
        """Adds what `tensor` becomes."""
        before = set(self.left)
        if self._due is not None:
            gradient = self._summed(tensor, gradient, self._due)
        if self.of.weight_decay and tensor.decays:
            real = self._real(tensor)
            gradient = self._add(gradient, self._scaled(real, self.of.weight_decay))
        towards = getattr(self, f"_{self.of.kind}")(tensor, gradient)
        self._move(tensor, towards)
        for name in (n for n in self.left if n not in before and n not in _SHARED):
            self.owner[name] = tensor.state.name

    def update_parts(self, tensor: Tensor, parts: Sequence[Part]) -> None:
        """The same of a tensor whose gradient is made part after part, along axis 0: each part is
        moved for itself, and has sums, moments and rests of its own."""
        for part in parts:
            end = part.begin + part.state.type.shape[0]
            steps = tensor.steps
            if steps is not None and steps.shape[0] > 1:
                steps = steps[part.begin : end]
            self.update(Tensor(part.state, steps, tensor.decays), part.gradient)
        moved = [self.left.pop(part.state.name) for part in parts]
        for part, new in zip(parts, moved, strict=True):
            self.moved[new.name] = part.state.name
            self.owner.pop(part.state.name)
        self.left[tensor.state.name] = joined(self.b, tensor.state, moved)

    # several examples

    def _last(self) -> Value:
        """bool[1]: whether this example completes a step."""
        count = self._state(EXAMPLES, np.zeros(1, np.int32))
        most = np.full(1, self.of.accumulate - 1, np.int32)
        last = self._op("equal", count, self.b.param("examples/last", most))
        one, none = (self.b.param(f"examples/{n}", np.full(1, n, np.int32)) for n in (1, 0))
        self.left[count.name] = self._op("select", last, none, self._op("add", count, one))
        return last

    def _summed(self, tensor: Tensor, g: Value, due: Value) -> Value:
        """The mean gradient so far; an element that is no number is left out."""
        total = self._beside(tensor, "sum", SUM)
        more = self._op("finite_or", self._add(total, g), total)
        self.left[total.name] = self._op("select", due, self._constant(0.0), more)
        return self._scaled(more, 1 / self.of.accumulate)

    def _keep(self, state: Value, new: Value) -> None:
        """Leaves `new` in a state, in a call that completes a step."""
        due = self._due
        self.left[state.name] = new if due is None else self._op("select", due, new, state)

    # directions

    def _sgd(self, tensor: Tensor, g: Value) -> Value:
        if not self.of.momentum:
            return g
        moment = self._moment(tensor, "momentum")
        old = self._scaled(moment.value(), self.of.momentum)
        return self._becomes(moment, self._add(old, g))

    def _adam(self, tensor: Tensor, g: Value) -> Value:
        one, two = self.of.beta1, self.of.beta2
        first = self._moment(tensor, "moment1")
        m = self._becomes(first, self._mixed(first.value(), one, g))
        second = self._moment(tensor, "moment2", root=True)
        v = self._becomes(second, self._mixed(second.value(), two, self._op("square", g)))
        root = self._op("sqrt", self._op("mul", v, self._correction("beta2", two)))
        root = self._add(root, self._constant(self.of.epsilon))
        m = self._op("mul", m, self._correction("beta1", one))
        return self._op("div", m, root)

    def _lion(self, tensor: Tensor, g: Value) -> Value:
        moment = self._moment(tensor, "momentum")
        towards = self._mixed(moment.value(), self.of.beta1, g)
        self._becomes(moment, self._mixed(moment.value(), self.of.beta2, g))
        return self._op("sign", towards)

    def _mixed(self, m: Value, beta: float, g: Value) -> Value:
        return self._add(self._scaled(m, beta), self._scaled(g, 1 - beta))

    def _correction(self, what: str, beta: float) -> Value:
        """1 / (1 - beta^t), once for all tensors."""
        if what not in self._shared:
            power = self._state(what, np.ones(1, np.float32))
            now = self._scaled(power, beta)
            self._keep(power, now)
            rest = self._op("sub", self._constant(1.0), now)
            self._shared[what] = self._op("div", self._constant(1.0), rest)
        return self._shared[what]

    # moments

    def _moment(self, tensor: Tensor, what: str, root: bool = False) -> _Moment:
        """root : never negative, and stored as its root where it is stored in int8"""
        small = self.of.moments == "int8" and len(tensor.state.type.shape) > 1
        if not small:
            m = self._beside(tensor, what, MOMENT)
            return _Moment(lambda: m, lambda new: self._keep(m, new))
        return self._blocks(tensor, what, root)

    def _becomes(self, moment: _Moment, new: Value) -> Value:
        """`new`, or what it was where that is no number: a moment would never be one again."""
        new = self._op("finite_or", new, moment.value())
        moment.keep(new)
        return new

    def _blocks(self, tensor: Tensor, what: str, root: bool) -> _Moment:
        """A moment in int8, with a scale for each index of axis 0.  What reads the stored numbers
        converts them for itself: no map of their floats is kept between."""
        shape = tensor.state.type.shape
        q = self._beside(tensor, what, MOMENT, np.int8)
        column = (shape[0], *(1,) * (len(shape) - 1))
        scale = self._beside(tensor, f"{what}/scale", MOMENT, shape=column)

        def number() -> Value:
            return call(self.b, "cast", q, dtype=DType.F32)

        def value() -> Value:
            if not root:
                return self._op("mul", number(), scale)
            size = self._op("maximum", number(), self._constant(0.5))
            return self._op("square", self._op("mul", size, scale))

        def keep(new: Value) -> None:
            v = self._op("sqrt", new) if root else new
            peak = self._rows("reduce_max", v)
            if not root:
                peak = self._op("maximum", peak, self._op("neg", self._rows("reduce_min", v)))
            left = self._scaled(peak, 1 / 127)
            self._keep(scale, left)
            back = self._op("sub", number(), self._op("div", v, left))
            moved = self.b.add(registry.get("sgd_dither"), (q, self._seed(), back), type=q.type)
            self._keep(q, moved)

        return _Moment(value, keep)

    def _rows(self, op: str, v: Value) -> Value:
        """Over all but axis 0."""
        return call(self.b, op, v, axes=tuple(range(1, len(v.type.shape))), keepdims=True)

    def _seed(self) -> Value:
        """Another one in every call."""
        if "seed" not in self._shared:
            seed = self._state("seed", np.full(1, self.of.seed, np.int32))
            golden = self.b.param("seed/next", np.full(1, -1640531527, np.int32))
            self.left[seed.name] = self._op("add", seed, golden)
            self._shared["seed"] = seed
        return self._shared["seed"]

    # moves

    def _move(self, tensor: Tensor, towards: Value) -> None:
        state = tensor.state
        if tensor.steps is None:
            step = self._op("mul", towards, self.rate)
            moved = self._op("sub", state, step)
            self.left[state.name] = self._op("finite_or", moved, state)
            return
        per_step = (1 / tensor.steps.astype(np.float64)).astype(np.float32)
        inverse = self.b.param(f"{state.name}/per_step", per_step)
        step = self._op("mul", self._op("mul", towards, inverse), self.rate)
        rule = self.of.rule if state.type.dtype is DType.S8 else "nearest"
        self.left |= getattr(self, f"_{rule}")(state, step)

    def _nearest(self, w: Value, step: Value) -> dict[str, Value]:
        return {w.name: self._typed("sgd", w, step)}

    def _dither(self, w: Value, step: Value) -> dict[str, Value]:
        return {w.name: self._typed("sgd_dither", w, self._seed(), step)}

    def _residual(self, w: Value, step: Value) -> dict[str, Value]:
        rest = self._state(f"{w.name}/rest", np.zeros(w.type.shape, np.int8))
        self.kinds[rest.name] = REST
        left = self._op("sgd_rest", rest, step)
        return {rest.name: left, w.name: self._typed("sgd_carry", w, left, step)}

    # nodes

    def _state(self, name: str, init: Array) -> Value:
        type = TensorType(tuple(init.shape), DType.of(init.dtype))
        return self.b.state(name, type, init)

    def _beside(
        self,
        tensor: Tensor,
        what: str,
        kind: str,
        dtype: type[np.generic] = np.float32,
        shape: tuple[int, ...] | None = None,
    ) -> Value:
        """A state that belongs to a tensor, of its shape where no other is given; zeros."""
        init: Array = np.zeros(shape or tensor.state.type.shape, dtype)
        value = self._state(f"{tensor.state.name}/{what}", init)
        self.kinds[value.name] = kind
        return value

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
        size = np.where(np.isfinite(tensor.steps), tensor.steps, 0).astype(np.float32)
        return self._op("mul", number, self.b.param("steps", size))

    def _op(self, name: str, *inputs: Value) -> Value:
        return self.b.add(registry.get(name), inputs, name=f"train/{name}")

    def _typed(self, name: str, w: Value, *rest: Value) -> Value:
        return self.b.add(registry.get(name), (w, *rest), type=w.type, name=f"{w.name}/new")
