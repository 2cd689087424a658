"""A small network of MobileNetV3's kind on the digits, trained in seconds, with channels apart.

One idea: it trains with factors for each channel that are multiplied in before an activation and
divided out behind it, and these are folded into the weights at the end: what was trained is what
is quantised, though neither hard-swish nor a clamp to 6 is homogeneous.  Not a test module.
"""

# torch comes as `Any`, for it is not installed everywhere; so bases are unknown.
# pyright: reportUnknownMemberType=false, reportUntypedBaseClass=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lilliput.ir import Array

torch: Any = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
nn: Any = torch.nn
F: Any = torch.nn.functional

WIDE, NARROW, DECADES, EPOCHS = 32, 16, 2.0, 14


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(WIDE, 8, 1), nn.Conv2d(8, WIDE, 1)

    def forward(self, x: Any) -> Any:
        mean = F.adaptive_avg_pool2d(x, 1)
        return F.hardsigmoid(self.excite(F.relu(self.squeeze(mean))))


class Network(nn.Module):
    """A stem, one inverted residual with relu6, hard-swish and a gate, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, NARROW, 3, padding=1, bias=False)
        self.expand = nn.Conv2d(NARROW, WIDE, 1, bias=False)
        self.depth = nn.Conv2d(WIDE, WIDE, 3, padding=1, groups=WIDE, bias=False)
        self.project = nn.Conv2d(WIDE, NARROW, 1, bias=False)
        norms = (nn.BatchNorm2d(n) for n in (NARROW, WIDE, WIDE, NARROW))
        self.norm0, self.norm1, self.norm2, self.norm3 = norms
        self.gate = Gate()
        self.hidden, self.scores = nn.Linear(NARROW, WIDE), nn.Linear(WIDE, 10)

    def forward(self, x: Any) -> Any:
        return self.apart(x, None, None)

    def apart(self, x: Any, f1: Any, f2: Any) -> Any:
        """With channels of the two wide values multiplied by f1, f2 where they are stored."""
        x = F.hardswish(self.norm0(self.stem(x)))
        y = _between(F.relu6, self.norm1(self.expand(x)), f1)
        y = _between(F.hardswish, self.norm2(self.depth(y)), f2)
        x = x + self.norm3(self.project(y * self.gate(y)))
        return self.scores(F.hardswish(self.hidden(x.mean((2, 3)))))

    def fold(self, f1: Any, f2: Any) -> None:
        """`forward` becomes what `apart` was with these factors."""
        _multiply(self.norm1, f1)
        _multiply(self.norm2, f2)
        self.depth.weight /= f1.reshape(-1, 1, 1, 1)
        for reader in (self.project, self.gate.squeeze):
            reader.weight /= f2.reshape(1, -1, 1, 1)


def _between(activation: Any, x: Any, factor: Any) -> Any:
    if factor is None:
        return activation(x)
    along = factor.reshape(1, -1, 1, 1)
    return activation(x * along) / along


def _multiply(norm: Any, factor: Any) -> None:
    norm.weight *= factor
    norm.bias *= factor


@dataclass(frozen=True, eq=False)
class Trained:
    """module : in evaluation mode; x (n,1,8,8) float32 in 0..1 and y (n) of both splits."""

    module: Any
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def trained(seed: int = 0) -> Trained:
    """The network, its channels some hundred times apart."""
    datasets = pytest.importorskip("sklearn.datasets")
    found, rng = datasets.load_digits(), np.random.default_rng(seed)
    order = rng.permutation(len(found.images))
    x = (found.images[order, None] / 16).astype(np.float32)
    y = found.target[order].astype(np.int64)
    torch.manual_seed(seed)
    network, split = Network(), 1200
    f1, f2 = (
        torch.tensor(10 ** rng.uniform(-DECADES, 0.3, WIDE), dtype=torch.float32) for _ in range(2)
    )
    steps = torch.optim.Adam(network.parameters(), 3e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # how sums are split among threads decides what is learned
    for _ in range(EPOCHS):
        for part in torch.randperm(split).split(64):
            scores = network.apart(torch.from_numpy(x[part]), f1, f2)
            loss = F.cross_entropy(scores, torch.from_numpy(y[part]))
            steps.zero_grad()
            loss.backward()
            steps.step()
    torch.set_num_threads(threads)
    with torch.no_grad():
        network.fold(f1, f2)
    return Trained(network.eval(), x[:split], y[:split], x[split:], y[split:])
