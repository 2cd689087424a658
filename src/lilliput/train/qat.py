"""Quantisation-aware training with the device's own arithmetic.

An integer network is trained as it is: every forward value is what `Op.ref` computes, bit for bit
what the device will compute, and gradients go through smooth twins of the operators as if nothing
had been rounded (straight-through estimator, Bengio et al. 2013), except where a result
saturates.  Weights and biases are real numbers that are rounded on their way into the network, to
steps that stay as they were chosen.  So what is trained needs no conversion that could change it:
`module()` is the integer network with the rounded weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lilliput.errors import GraphError, Problem, UnsupportedError, UsageError
from lilliput.ir import Array, Graph, Module, Node, Param, TensorType, Value
from lilliput.ir.batch import batched
from lilliput.optional import need
from lilliput.train.exact import Product, is_sum
from lilliput.train.surrogates import TWINS, Tensor

torch = need("torch", "torch", "training on the host")
nn = torch.nn

WEIGHED = ("conv2d", "linear")
"""Operators whose second operand, and third, are trained."""
GRAPHS = 4
"""Batch sizes for which the network is kept."""


class _Straight(torch.autograd.Function):
    """The exact value forwards; backwards the gradient of its twin, where that is not saturated."""

    @staticmethod
    def forward(ctx: Any, twin: Tensor, exact: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((twin >= low) & (twin <= high))
        return exact

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None


def _straight(twin: Tensor, exact: Tensor, low: float, high: float) -> Tensor:
    """`exact`, whose gradient is that of `twin` between `low` and `high`."""
    return _Straight.apply(twin, exact, low, high)


@dataclass(frozen=True)
class Steps:
    """How real numbers become the integers of a parameter: `round(real / scale)`, within bounds.

    scale : (...) of the parameter's shape, or one that broadcasts to it
    """

    scale: Array
    low: int
    high: int

    def stored(self, real: Tensor) -> Array:
        q = np.rint(real.detach().numpy().astype(np.float64) / self.scale)
        return np.clip(q, self.low, self.high).astype(np.int64)

    def real(self, stored: Array) -> Tensor:
        return torch.from_numpy((stored * self.scale).astype(np.float32))


class Qat(nn.Module):
    """An integer network as a torch module: real inputs (n,...) in, real outputs out.

    Where the network ends in a softmax, the result is what goes into it: losses of torch take
    logits.  Raises GraphError where nothing can be trained, UnsupportedError listing operators
    that no gradient passes.
    """

    def __init__(self, network: Module):
        nn.Module.__init__(self)
        self.network = network
        graph = network.graphs[network.entry]
        if len(graph.inputs) != 1:
            raise UnsupportedError("networks of one input", found=len(graph.inputs))
        self.steps = _trained(network, graph)
        if not self.steps:
            raise GraphError(
                "no tensor can be trained",
                where=network.name,
                expected=f"constant int8 weights of {' or '.join(WEIGHED)}",
                hint="quantise the network first: lilliput.quantize",
            )
        _check_twins(graph, self.steps)
        self.result = logits(graph)
        self.real = nn.ParameterDict(
            {
                _key(name): nn.Parameter(steps.real(_data(network.params[name])))
                for name, steps in self.steps.items()
            }
        )
        self._batched = lru_cache(GRAPHS)(self._for)

    def forward(self, x: Tensor) -> Tensor:
        """x (n,...) real numbers of the network's input; raises UsageError for another shape."""
        return self.values(x)[self.result]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Every value by name, in real numbers; x and errors as for `forward`."""
        graph: Graph = self._batched(len(x))
        source = graph.inputs[0]
        if tuple(x.shape) != source.type.shape:
            raise UsageError("input", expected=list(source.type.shape), found=list(x.shape))
        values = {source.name: _entered(source.type, x)}
        values |= {v.name: self._param(v) for v in graph.params}
        for node in graph.nodes:
            values |= _executed(node, values)
        return {name: both.real for name, both in values.items()}

    def trained(self, name: str) -> Tensor:
        """The real numbers of a trained parameter."""
        return self.real[_key(name)]

    def stored(self, name: str) -> Array:
        """The integers that a trained parameter is rounded to, int64."""
        return self.steps[name].stored(self.trained(name))

    def _for(self, n: int) -> Graph:
        return batched(self.network, n).graphs[self.network.entry]

    def module(self) -> Module:
        """The integer network with the weights as they are now."""
        params = dict(self.network.params)
        for name in self.steps:
            old = params[name]
            params[name] = Param(old.value, self.stored(name).astype(_data(old).dtype))
        return replace(self.network, params=params)

    def _param(self, value: Value) -> _Both:
        steps = self.steps.get(value.name)
        if steps is None:
            return _known(value.type, _data(self.network.params[value.name]))
        shadow = self.trained(value.name)
        stored = steps.stored(shadow)
        exact = steps.real(stored)
        real = _straight(shadow, exact, -np.inf, np.inf)
        return _Both(stored.astype(value.type.dtype.numpy), real)


@dataclass(frozen=True, eq=False)
class _Both:
    """A value as it is stored, and as the real number that stands for, with its gradient."""

    stored: Array
    real: Tensor


def _executed(node: Node, values: Mapping[str, _Both]) -> dict[str, _Both]:
    operands = [values[v.name] for v in node.inputs]
    if is_sum(node):
        real = [o.real for o in operands] + [None] * (3 - len(operands))
        result, kept = Product.apply(node, [o.stored for o in operands], *real)
        return {node.output.name: _Both(kept.numpy(), result)}
    with np.errstate(all="ignore"):
        results = node.op.ref(node, [o.stored for o in operands])
    both = [
        _known(v.type, np.asarray(r).astype(v.type.dtype.numpy, copy=False).reshape(v.type.shape))
        for v, r in zip(node.outputs, results, strict=True)
    ]
    twin = TWINS.get(node.op.name)
    if twin is not None and any(o.real.requires_grad for o in operands):
        smooth = twin(node.attrs, node, [o.real for o in operands])
        exact = both[0]
        real = _straight(smooth, exact.real, *_limits(node.output.type))
        both[0] = _Both(exact.stored, real)
    return {v.name: b for v, b in zip(node.outputs, both, strict=True)}


def _known(type: TensorType, stored: Array) -> _Both:
    """A value without a gradient."""
    if type.quant is None:
        return _Both(stored, torch.from_numpy(np.ascontiguousarray(stored, np.float32)))
    shape = [1] * len(type.shape)
    if type.quant.axis is not None:
        shape[type.quant.axis] = -1
    scale = np.array(type.quant.scale).reshape(shape)
    zero = np.array(type.quant.zero_point).reshape(shape)
    real = (stored.astype(np.int64) - zero) * scale
    return _Both(stored, torch.from_numpy(real.astype(np.float32)))


def _entered(type: TensorType, x: Tensor) -> _Both:
    """Real inputs as the network stores them: to the nearest step, ties to even."""
    real = x.detach().numpy().astype(np.float64)
    if type.quant is None:
        return _known(type, real.astype(type.dtype.numpy))
    q = np.rint(real / type.scale) + type.zero_point
    return _known(type, np.clip(q, *type.dtype.bounds).astype(type.dtype.numpy))


def _limits(type: TensorType) -> tuple[float, float]:
    """Between which real numbers a result is not saturated, half a step beyond the last."""
    if type.quant is None:
        return -np.inf, np.inf
    low, high = ((b - type.zero_point) * type.scale for b in type.dtype.bounds)
    return low - type.scale / 2, high + type.scale / 2


def _trained(network: Module, graph: Graph) -> dict[str, Steps]:
    """The parameters that are trained: weights and biases of layers, each with its steps."""
    users = graph.consumers()
    found = dict[str, Steps]()
    for node in graph.nodes:
        if node.op.name not in WEIGHED or not node.inputs[0].type.dtype.is_integer:
            continue
        for k, value in enumerate(node.inputs[1:3], start=1):
            param = network.params.get(value.name)
            if param is not None and param.data is not None and users[value.name] == [node]:
                found[value.name] = _steps(node, k, param.data)
    return found


def _steps(node: Node, operand: int, data: Array) -> Steps:
    x, w = node.inputs[0].type, node.inputs[1].type
    assert w.quant is not None
    scale = np.array(w.quant.scale)
    if operand == 2:
        low, high = node.inputs[2].type.dtype.bounds
        return Steps(scale * x.scale, low, high)
    low, high = w.dtype.bounds
    if not any(w.quant.zero_point):  # symmetric, unless the file says otherwise
        low = min(-high, int(data.min()))
    else:
        raise UnsupportedError("weights with a zero point", where=node.describe())
    shape = (-1, *[1] * (len(w.shape) - 1)) if len(scale) > 1 else ()
    return Steps(scale.reshape(shape), low, high)


def _check_twins(graph: Graph, trained: Mapping[str, Steps]) -> None:
    reached = set(trained)
    missing: list[Problem] = []
    for node in graph.nodes:
        if any(v.name in reached for v in node.inputs):
            reached |= {v.name for v in node.outputs}
            if node.op.name not in TWINS:
                missing.append(Problem("no gradient passes this operator", node.describe()))
    if missing:
        raise UnsupportedError(missing)


def logits(graph: Graph) -> str:
    """What a loss is computed from: the first output, or what a last softmax takes."""
    last = graph.producers().get(graph.outputs[0].name)
    softmax = last is not None and last.op.name == "softmax"
    return last.inputs[0].name if softmax and last is not None else graph.outputs[0].name


def _key(name: str) -> str:
    """Names in a ParameterDict may hold no dot."""
    return name.replace(".", "\u2024")


def _data(param: Param) -> Array:
    if param.data is None:
        raise UsageError("parameter has no data", where=param.name)
    return param.data


def finetune(
    network: Qat,
    x: Array,
    y: Array,
    *,
    epochs: int = 1,
    rate: float = 1e-4,
    batch: int = 32,
    seed: int = 0,
    frozen: Sequence[str] = (),
) -> list[float]:
    """Trains on classes y (n) of examples x (n,...): Adam, cosine decay, cross-entropy.

    Gives the mean loss of each epoch.  frozen: names of parameters that stay as they are.
    """
    if len(x) != len(y) or not len(x) or epochs < 1 or batch < 1:
        raise UsageError("examples and classes", expected="as many, at least one", found=len(y))
    order = np.random.default_rng(seed)
    chosen = [p for n, p in network.real.items() if n not in {_key(f) for f in frozen}]
    optimiser = torch.optim.Adam(chosen, rate)
    count = -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * count)
    losses = list[float]()
    for _ in range(epochs):
        total = 0.0
        for part in np.array_split(order.permutation(len(x)), count):
            inputs = torch.from_numpy(np.ascontiguousarray(x[part], np.float32))
            logits = network(inputs).reshape(len(part), -1)
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(y[part].astype(np.int64)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(part)
        losses.append(total / len(x))
    return losses
