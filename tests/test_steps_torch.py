"""Ten steps of whole float networks against PyTorch: every loss, gradient and updated tensor.

The gradients are those of `train.autodiff` at the states of that step, the updates those of the
entry `train_step`; torch goes its own way from the same start with the same optimiser.
"""

# torch comes as `Any`, for it is not installed everywhere.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lilliput
from lilliput.ir import Array, Builder, Module, Session
from lilliput.ir.types import s32
from lilliput.ops.shape import copy
from lilliput.tolerances import BOUNDS
from lilliput.train.autodiff import gradients
from lilliput.train.build import ENTRY, Training, trainable
from lilliput.train.heads import with_head
from lilliput.train.layers import layers
from lilliput.train.losses import cross_entropy
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import parse

torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
nn = torch.nn
STEPS, CLASSES, FLAT = 10, 4, 12
BOUND = BOUNDS["PyTorch gradients"]


class Residual(nn.Module):
    """An inverted bottleneck, whose sum is the network's features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 24, 1)
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.narrow = nn.Conv2d(24, 8, 1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.stem(x))
        y = nn.functional.relu6(self.deep(nn.functional.relu6(self.wide(x))))
        return self.head((x + self.narrow(y)).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.RNN(6, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x)[0][:, -1])


def digits() -> Any:
    """Convolutions, pools and a hidden layer, as for pictures of 8x8."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, FLAT, 3, padding=1), nn.GELU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(4 * FLAT, 16), nn.Tanh(), nn.Linear(16, CLASSES)),
    )


def normed() -> Any:
    return nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 4, 3)),
        *(nn.Flatten(), nn.LayerNorm(64), nn.Linear(64, CLASSES)),
    )


NETWORKS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "digits": (digits, (1, 1, 8, 8)),
    "bottleneck": (Residual, (1, 2, 8, 8)),
    "norms": (normed, (1, 2, 8, 8)),
    "recurrent": (Recurrent, (1, 5, 6)),
}
OPTIMISERS = {
    "sgd": Optimiser(rate=0.05, weight_decay=0.01),
    "momentum": Optimiser(rate=0.01, momentum=0.9),
    "adam": Optimiser("adam", 0.01),
    "lion": Optimiser("lion", 0.002),
}


class Lion:
    """Chen et al. 2023, algorithm 2, without weight decay."""

    def __init__(self, parameters: list[Any], of: Optimiser):
        self.of, self.moments = of, [(p, torch.zeros_like(p)) for p in parameters]

    def step(self) -> None:
        one, two = self.of.beta1, self.of.beta2
        with torch.no_grad():
            for p, m in self.moments:
                p -= self.of.rate * torch.sign(one * m + (1 - one) * p.grad)
                m.copy_(two * m + (1 - two) * p.grad)


def twin(network: Any, of: Optimiser) -> Any:
    """The same optimiser in torch; weights decay, biases do not."""
    every = list(network.named_parameters())
    if of.kind == "adam":
        betas = (of.beta1, of.beta2)
        return torch.optim.Adam(network.parameters(), of.rate, betas, of.epsilon)
    if of.kind == "lion":
        return Lion([p for _, p in every], of)
    groups = [
        {"params": [p for _, p in every if (p.dim() > 1) is weights], "weight_decay": decay}
        for weights, decay in ((True, of.weight_decay), (False, 0.0))
    ]
    return torch.optim.SGD(groups, of.rate, of.momentum)


@dataclass
class Step:
    """What each side has found, by torch's names of the tensors."""

    loss: tuple[float, float]
    gradients: dict[str, tuple[Array, Array]]
    tensors: dict[str, tuple[Array, Array]]


def run(name: str, of: Optimiser) -> Iterator[Step]:
    torch.manual_seed(7)
    make, shape = NETWORKS[name]
    network = make()
    module = lilliput.from_torch(network.eval(), torch.randn(shape)).module
    scheme = parse("full,norm" if name == "norms" else "full", layers(with_head(module)))
    found = trainable(module, scheme, of)
    names = ours(found, network)
    sources = [found.module.inputs(entry)[0].name for entry in (module.entry, ENTRY)]
    slopes = Session(slope(with_head(module), list(names.values())))
    session, optimiser = Session(found.module), twin(network, of)
    for k in range(STEPS):
        x, label = torch.randn(shape), k % CLASSES
        calls = [{s: x.numpy(), "label": np.array([label], np.int32)} for s in sources]
        given = {n: session.states[n] for n in names.values()}
        moved = slopes.run({**calls[0], **given}).outputs
        loss = session.run(calls[1], ENTRY).outputs["loss"]
        for p in network.parameters():
            p.grad = None
        theirs = nn.functional.cross_entropy(network(x), torch.tensor([label]))
        theirs.backward()
        every = [(n, names[n], p) for n, p in network.named_parameters()]
        grads = {n: (rows(p.grad, own), moved[f"d/{own}"]) for n, own, p in every}
        optimiser.step()
        after = {n: (rows(p, own), session.states[own]) for n, own, p in every}
        yield Step((theirs.item(), float(loss[0])), grads, after)


def rows(tensor: Any, own: str) -> Array:
    """Weights as ours of the name `own` are: (O,I,KH,KW) as (O,KH,KW,I), and those behind a
    flattened map of `FLAT` channels in the order of its pixels."""
    data = tensor.detach().clone()
    if own.endswith("/moved"):
        return data.reshape(len(data), FLAT, -1).permute(0, 2, 1).reshape(data.shape).numpy()
    return (data.permute(0, 2, 3, 1) if data.dim() == 4 else data).numpy()


def ours(found: Training, network: Any) -> dict[str, str]:
    """torch's name of each tensor -> that of the state."""
    states = list(found.module.states)
    names: dict[str, str] = {}
    for name, _ in network.named_parameters():
        layer, _, what = name.rpartition(".")
        options = [name, f"{name}/moved", f"{layer}/w" if what == "weight" else ""]
        names[name] = next((s for s in states if s in options), f"head/{what}")
    assert len({*names.values()}) == len(names), "each is trained"
    return names


def slope(module: Module, wanted: list[str]) -> Module:
    """Entry (input, label, tensors) -> their gradients, `d/` and the name."""
    graph = module.graphs[module.entry]
    b = Builder()
    known = {v.name: b.input(v.name, v.type) for v in graph.inputs}
    label = b.input("label", s32(1))
    for v in graph.params:
        known[v.name] = (
            b.input(v.name, v.type) if v.name in wanted else b.use(module.params[v.name])
        )
    for n in graph.nodes:
        types = [v.type for v in n.outputs]
        made = b.add_multi(n.op, [known[v.name] for v in n.inputs], n.attrs, types=types)
        known |= {v.name: m for v, m in zip(n.outputs, made, strict=True)}
    loss = cross_entropy(b, known[graph.outputs[0].name], label)
    one = b.param("one", np.ones(1, np.float32))
    found = gradients(b, tuple(b.nodes), {loss.name: one}, wanted)
    return b.module([b.add(copy, (found[name],), name=f"d/{name}") for name in wanted])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_ten_steps_are_those_of_torch(network: str, optimiser: str) -> None:
    for k, step in enumerate(run(network, OPTIMISERS[optimiser])):
        theirs, found = (np.array(v) for v in step.loss)
        assert not BOUND.broken(theirs, found).any(), f"loss of step {k}: {theirs} {found}"
        for what, pairs in (("gradient", step.gradients), ("tensor", step.tensors)):
            for name, (expected, actual) in pairs.items():
                apart = np.abs(expected - actual).max()
                assert not BOUND.broken(expected, actual).any(), f"{what} {name}, {k}: {apart}"


def test_what_only_training_needs_costs_inference_nothing() -> None:
    """A recurrence begins with zeros: their product with the weights is a constant."""
    model = lilliput.from_torch(Recurrent().eval(), torch.randn(1, 5, 6))
    left = [m.graphs["infer"].nodes for m in (model.module, model.shrunk.module)]
    kept, fewer = ([n.op.name for n in nodes].count("linear") for nodes in left)
    assert (kept, fewer) == (7, 6)
