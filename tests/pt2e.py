"""Programs as PT2E's convert makes them, from float modules: a quantiser small enough to read.

Where torch no longer has PT2E itself and torchao is not installed, tests still need its output.
As there, every activation is quantised behind the operator that makes it (behind the activation
that cuts it off), dequantised once more for each reader, and weights are stored integers; what
only moves elements keeps the scale.  The program computes in floats: it is the reference.
"""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lilliput.ir import Array

torch: Any = pytest.importorskip("torch", reason="torch is not installed: make setup-torch")
pytest.importorskip(
    "torch.ao.quantization.fx._decomposed", reason="this torch declares no quantize operators"
)
nn: Any = torch.nn
OPS: Any = torch.ops.quantized_decomposed

DTYPES = {"int8": (-128, 127), "uint8": (0, 255)}
WEIGHTED = ("conv1d", "conv2d", "linear")
COMPUTED = ("placeholder", "call_function")
SUMS = ("add", "mul")
CUTS = ("relu", "relu_", "hardtanh", "hardtanh_")
MOVES = ("view", "flatten", "permute", "max_pool2d", "max_pool1d", "reshape", "squeeze")
MOST = 127


@dataclass(frozen=True)
class Recipe:
    """exact : scales are powers of two and biases whole steps, so that floats do not round
    bias : "float", or "int32" for biases that are stored in steps
    folded : weights are stored integers, as by default; False: quantised in the program
    skip : names of operators whose results stay floats
    """

    dtype: str = "int8"
    per_channel: bool = True
    exact: bool = False
    bias: str = "float"
    folded: bool = True
    skip: tuple[str, ...] = ()
    narrow: bool = False


def quantised(module: Any, given: Any, recipe: Recipe) -> Any:
    """The ExportedProgram of `module` quantised by the ranges that `given` shows."""
    graph = torch.export.export(module.eval(), (given,)).module()
    return torch.export.export(_Converter(graph, given, recipe).run(), (given,))


def _name(node: Any) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


class _Converter:
    def __init__(self, graph: Any, given: Any, recipe: Recipe):
        self.graph, self.recipe = graph, recipe
        self.dtype = getattr(torch, recipe.dtype)
        low, high = DTYPES[recipe.dtype]
        self.bounds = (low, (low + high) // 2) if recipe.narrow else (low, high)
        self.scales: dict[Any, tuple[float, int]] = {}
        self.ranges = self._observed(given)

    def _observed(self, given: Any) -> dict[str, tuple[float, float]]:
        ranges: dict[str, tuple[float, float]] = {}

        class Observer(torch.fx.Interpreter):
            def run_node(self, n: Any) -> Any:
                value = super().run_node(n)
                if hasattr(value, "is_floating_point") and value.is_floating_point():
                    ranges[n.name] = float(value.min()), float(value.max())
                return value

        with torch.no_grad():
            Observer(self.graph).run(given)
        return ranges

    def run(self) -> Any:
        for node in list(self.graph.graph.nodes):
            self._node(node)
        self.graph.graph.lint()
        self.graph.recompile()
        return self.graph

    def _node(self, node: Any) -> None:
        kind, users = _name(node), list(node.users)
        scalar = node.op == "get_attr" and any(_name(u) in SUMS for u in users)
        if node.name not in self.ranges or not (scalar or node.op in COMPUTED):
            return
        if node.op == "call_function" and kind in WEIGHTED:
            self._weights(node)
        users = [u for u in users if u.op == "output" or u.name in self.ranges]
        cut = len(users) == 1 and users[0].op == "call_function" and _name(users[0]) in CUTS
        if users and not cut and kind not in self.recipe.skip:
            self._activation(node, kind, users)

    # Activations ----------------------------------------------------------------------

    def _scale(self, node: Any, kind: str) -> tuple[float, int]:
        if kind in MOVES and node.args[0] in self.scales:
            return self.scales[node.args[0]]
        low, high = self.bounds
        if kind in ("sigmoid", "softmax"):
            return 1 / 256, low
        least, most = (f(0.0, v) for f, v in zip((min, max), self.ranges[node.name], strict=True))
        scale = max((most - least) / (high - low), 1e-6)
        scale = 2.0 ** math.ceil(math.log2(scale)) if self.recipe.exact else scale
        return scale, int(np.clip(low - round(least / scale), low, high))

    def _activation(self, node: Any, kind: str, users: list[Any]) -> None:
        scale, zero = self._scale(node, kind)
        graph, ends = self.graph.graph, (scale, zero, *self.bounds, self.dtype)
        with graph.inserting_after(node):
            stored = graph.call_function(OPS.quantize_per_tensor.default, (node, *ends))
        for user in users:
            with graph.inserting_before(user):
                real = graph.call_function(OPS.dequantize_per_tensor.default, (stored, *ends))
            user.replace_input_with(node, real)
            self.scales[real] = (scale, zero)

    # Weights --------------------------------------------------------------------------

    def _weights(self, node: Any) -> None:
        graph, source = self.graph.graph, node.args[1]
        data = _attribute(self.graph, source.target).detach()
        axes = tuple(range(1, data.dim()))
        peak = data.abs().amax(axes) if self.recipe.per_channel else data.abs().max().reshape(1)
        scales = (peak / MOST).clamp(min=1e-6).to(torch.float32)
        if self.recipe.exact:
            scales = 2.0 ** torch.ceil(torch.log2(scales))
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        ends = (-MOST, MOST, torch.int8)
        with graph.inserting_before(node):
            real = self._stored(node, data, scales, zeros, ends)
        node.update_arg(1, real)
        if len(node.args) > 2 and node.args[2] is not None:
            self._bias(node, scales)

    def _stored(self, node: Any, data: Any, scales: Any, zeros: Any, ends: Any) -> Any:
        """Weights as a dequantize of integers, or of a quantize of floats."""
        graph = self.graph.graph
        if self.recipe.per_channel:
            steps = (scales, zeros, 0)
            kinds = OPS.quantize_per_channel.default, OPS.dequantize_per_channel.default
        else:
            steps = (float(scales), 0)
            kinds = OPS.quantize_per_tensor.default, OPS.dequantize_per_tensor.default
        said = tuple(self._held(node, f"step{k}", v) for k, v in enumerate(steps))
        if self.recipe.folded:
            whole = self._held(node, "weights", kinds[0](data, *steps, *ends))
        else:
            whole = graph.call_function(kinds[0], (node.args[1], *said, *ends))
        return graph.call_function(kinds[1], (whole, *said, *ends))

    def _bias(self, node: Any, scales: Any) -> None:
        source = node.args[2]
        data = _attribute(self.graph, source.target).detach()
        steps = (scales * self.scales[node.args[0]][0]).expand(len(data)).contiguous()
        whole = torch.round(data / steps).to(torch.int32)
        with self.graph.graph.inserting_before(node):
            if self.recipe.bias == "float":
                if self.recipe.exact:
                    node.update_arg(2, self._held(node, "bias", whole * steps))
                return
            ends = (-(2**31) + 1, 2**31 - 1, torch.int32)
            zeros = torch.zeros(len(data), dtype=torch.int64)
            held = [self._held(node, n, v) for n, v in (("b", whole), ("bs", steps), ("bz", zeros))]
            op = OPS.dequantize_per_channel.default
            node.update_arg(2, self.graph.graph.call_function(op, (*held, 0, *ends)))

    def _held(self, node: Any, name: str, value: Any) -> Any:
        """A buffer's node; numbers are themselves."""
        if not isinstance(value, torch.Tensor):
            return value
        path = f"{node.name}_{name}"
        self.graph.register_buffer(path, value)
        return self.graph.graph.get_attr(path)


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def ends_of(program: Any) -> tuple[tuple[float, int], tuple[float, int]]:
    """(scale, zero point) of what quantizes the input and of the last dequantize, as int8."""
    nodes = [n for n in program.graph.nodes if n.op == "call_function"]
    (given,) = program.graph_signature.user_inputs
    first = next(n for n in nodes if n.args[0].name == given)
    last = [n for n in nodes if "dequantize_per_tensor" in str(n.target)][-1]

    def said(node: Any) -> tuple[float, int]:
        shift = 128 if str(node.args[5]) == "torch.uint8" else 0
        return float(node.args[1]), int(node.args[2]) - shift

    return said(first), said(last)


def as_integers(real: Array, end: tuple[float, int], low: int = -128, high: int = 127) -> Array:
    """The int8 that reals of a program stand for: torch's product with the inverse, ties even."""
    scale, zero = end
    steps = np.rint(real.astype(np.float32) * np.float32(1.0 / scale)) + zero
    return np.clip(steps, low, high).astype(np.int8)


# Networks ---------------------------------------------------------------------------------


def conv_bn(i: int, o: int, k: int, stride: int = 1, groups: int = 1) -> list[Any]:
    """A convolution with its batch norm in the weights, as PT2E has folded it, and relu."""
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups)
    norm = nn.BatchNorm2d(o)
    with torch.no_grad():
        norm.running_var.uniform_(0.5, 1.5)
        norm.running_mean.normal_(0.0, 0.2)
    return [torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval()), nn.ReLU()]


class Block(nn.Module):
    """ResNet's: two convolutions beside a third, added and cut off; behind a first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8, 3))
        self.main = nn.Sequential(*conv_bn(8, 12, 3, 2), *conv_bn(12, 12, 3)[:1])
        self.side = conv_bn(8, 12, 1, 2)[0]

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        return torch.relu(self.main(x) + self.side(x))


class Gated(nn.Module):
    """MobileNetV3's block: hard-swish, depthwise, squeeze and excite, a scalar that is a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.less, self.more = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
        self.thin, self.third = nn.Conv2d(8, 4, 1), nn.Buffer(torch.tensor(0.3))

    def forward(self, x: Any) -> Any:
        y = nn.functional.hardswish(self.deep(nn.functional.hardswish(self.wide(x))))
        gate = self.more(torch.relu(self.less(y.mean((2, 3), keepdim=True))))
        y = y * nn.functional.hardsigmoid(gate)
        return self.thin(y) * self.third


class Branches(nn.Module):
    """Concat, product with a gate, average of windows, one dimension behind two."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.gate = nn.Conv2d(4, 12, 1)
        self.line = nn.Conv1d(12, 7, 3, padding=1)

    def forward(self, x: Any) -> Any:
        both = torch.cat([self.left(x), self.right(x)], 1) * torch.sigmoid(self.gate(x))
        pooled = nn.functional.avg_pool2d(both, 2)
        return self.line(pooled.flatten(2))


NETWORKS: Mapping[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 9), nn.ReLU6()),
        (1, 20),
    ),
    "block": (Block, (1, 3, 8, 8)),
    "residual": (
        lambda: nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)),
        (1, 3, 10, 10),
    ),
    "separable": (
        lambda: nn.Sequential(
            *conv_bn(1, 8, 3, 2), *conv_bn(8, 8, 3, groups=8), *conv_bn(8, 12, 1),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 9, 6), nn.Softmax(-1),
        ),
        (1, 1, 12, 13),
    ),
    "gated": (Gated, (1, 4, 8, 6)),
    "branches": (Branches, (1, 4, 8, 6)),
}  # fmt: skip
RECIPES = {
    "per channel": Recipe(),
    "per tensor": Recipe(per_channel=False),
    "uint8, stored biases": Recipe("uint8", bias="int32"),
    "weights quantised in the program": Recipe(folded=False),
    "half of the range": Recipe("uint8", narrow=True),
}


def drawn(shape: tuple[int, ...], seed: int = 1, count: int = 1) -> Any:
    source = torch.Generator().manual_seed(seed)
    return torch.randn((count, *shape[1:]), generator=source)


def program_of(name: str, recipe: Recipe) -> Any:
    torch.manual_seed(7)
    make, shape = NETWORKS[name]
    return quantised(make(), drawn(shape), recipe)


def samples(name: str) -> list[Any]:
    return [drawn(NETWORKS[name][1], seed) for seed in range(4)]
