"""Training an integer network towards the float network that it came from, without labels.

One idea: the float network is the teacher (Hinton et al. 2015), on the data that ranges came from.
The integers, whose forward values are the device's to the bit (`qat`), learn its answers, by the
divergence of the distributions, and its values at the cuts of the network, where a single value
holds all that the rest sees (the blocks of Li et al. 2021, BRECQ), by noise over signal: a picture
that has one answer has thousands of values, so that some hundred pictures do.

Weights move in steps of their channel, biases in steps of the result, whatever their scale.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from lilliput.errors import Problem, UnsupportedError, UsageError
from lilliput.ir import Array, Graph, Module
from lilliput.ir.batch import batched
from lilliput.optional import need
from lilliput.train.qat import GRAPHS, Qat, logits
from lilliput.train.surrogates import TWINS, Tensor

torch = need("torch", "torch", "training on the host")
F = torch.nn.functional

RATE, BATCH, INNER = 0.02, 16, 1.0
"""Steps that Adam takes at first, of a weight's scale; samples a step; weight of the cuts."""


class Teacher:
    """A float network in torch, by the smooth twins of its operators.

    Raises UnsupportedError listing operators without one.
    """

    def __init__(self, network: Module):
        self.network = network
        graph = network.graphs[network.entry]
        missing = [
            Problem("no smooth twin of this operator", node.describe())
            for node in graph.nodes
            if node.op.name not in TWINS
        ]
        if missing:
            raise UnsupportedError(missing)
        self.cuts, self.result = cuts(graph), logits(graph)
        self._batched = lru_cache(GRAPHS)(self._for)

    def _for(self, n: int) -> Graph:
        return batched(self.network, n).graphs[self.network.entry]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """All values by name for x (n,...) float32, parameters among them."""
        graph: Graph = self._batched(len(x))
        found: dict[str, Tensor] = {graph.inputs[0].name: x}
        for v in graph.params:
            data = self.network.params[v.name].data
            assert data is not None
            found[v.name] = torch.from_numpy(data)
        with torch.no_grad():
            for node in graph.nodes:
                operands = [found[v.name] for v in node.inputs]
                found[node.output.name] = TWINS[node.op.name](node.attrs, node, operands)
        return found


def cuts(graph: Graph) -> tuple[str, ...]:
    """Results of nodes, in order, that are all that is alive behind their node."""
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    constant = {p.name for p in graph.params}
    alive = {v.name for v in graph.inputs if left[v.name]}
    found: list[str] = []
    for node in graph.nodes:
        for name in {v.name for v in node.inputs} - constant:
            left[name] -= sum(v.name == name for v in node.inputs)
            if left[name] <= 0:
                alive.discard(name)
        alive |= {v.name for v in node.outputs if left[v.name]}
        if alive == {node.output.name}:
            found.append(node.output.name)
    return tuple(found)


def distill(
    network: Qat,
    teacher: Teacher,
    x: Array,
    *,
    epochs: int,
    rate: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> list[float]:
    """Trains on x (n,...) float32: Adam, cosine decay.  Gives the mean loss of each epoch.

    In one thread, so that the same seed gives the same integers on any number of processors.
    Raises UsageError without examples or epochs.
    """
    if not len(x) or epochs < 1 or batch < 1:
        raise UsageError("examples and epochs", expected="at least one of each", found=len(x))
    with _one_thread():
        return _distilled(network, teacher, x, epochs, rate, batch, seed, log)


@contextmanager
def _one_thread() -> Generator[None]:
    """torch splits the sums of weights' gradients among its threads: with another number of them
    the last bits differ, and after some steps of Adam the integers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _distilled(
    network: Qat,
    teacher: Teacher,
    x: Array,
    epochs: int,
    rate: float,
    batch: int,
    seed: int,
    log: Callable[[str], None],
) -> list[float]:
    steps = _Steps(network)
    count = -(-len(x) // batch)
    optimiser = torch.optim.Adam(steps.leaves, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * count)
    order, losses = np.random.default_rng(seed), list[float]()
    for epoch in range(epochs):
        total = 0.0
        for part in np.array_split(order.permutation(len(x)), count):
            inputs = torch.from_numpy(np.ascontiguousarray(x[part], np.float32))
            loss = _loss(network, teacher, inputs)
            network.zero_grad()
            loss.backward()
            steps.pull()
            optimiser.step()
            schedule.step()
            steps.push()
            total += float(loss.detach()) * len(part)
        losses.append(total / len(x))
        log(f"epoch {epoch + 1} of {epochs}: {losses[-1]:.4f} from the float network")
    return losses


def _loss(network: Qat, teacher: Teacher, x: Tensor) -> Tensor:
    wanted, found = teacher.values(x), network.values(x)
    result = teacher.result if teacher.result in found else network.result
    real, whole = wanted[teacher.result].flatten(1), found[result].flatten(1)
    inner = [n for n in teacher.cuts if n in found and n != result]
    noise = [_noise(wanted[n], found[n]) for n in inner if found[n].requires_grad]
    total = _divergence(real, whole) if real.shape[1] > 1 else _noise(real, whole)
    return total + INNER * torch.stack(noise).mean() if noise else total


def _noise(wanted: Tensor, found: Tensor) -> Tensor:
    """Energy of the difference over that of what is wanted."""
    energy = wanted.square().mean().clamp_min(1e-12)
    return (found - wanted).square().mean() / energy


def _divergence(real: Tensor, whole: Tensor) -> Tensor:
    return F.kl_div(
        F.log_softmax(whole, 1), F.log_softmax(real, 1), log_target=True, reduction="batchmean"
    )


class _Steps:
    """The trained parameters of a network, in steps that Adam can take alike."""

    def __init__(self, network: Qat):
        graph = network.network.graphs[network.network.entry]
        users = graph.consumers()
        self._real: list[Tensor] = []
        self._unit: list[Tensor] = []
        for name, of in network.steps.items():
            (node,) = users[name]
            bias = node.inputs[1].name != name
            unit = np.float64(node.output.type.scale) if bias else of.scale
            self._real.append(network.trained(name))
            self._unit.append(torch.from_numpy(np.asarray(unit, np.float32)))
        parts = zip(self._real, self._unit, strict=True)
        self.leaves = [torch.nn.Parameter(p.detach() / unit) for p, unit in parts]

    def pull(self) -> None:
        for leaf, p, unit in zip(self.leaves, self._real, self._unit, strict=True):
            leaf.grad = None if p.grad is None else p.grad * unit

    def push(self) -> None:
        with torch.no_grad():
            for leaf, p, unit in zip(self.leaves, self._real, self._unit, strict=True):
                p.copy_(leaf * unit)
