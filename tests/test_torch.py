"""PyTorch modules against PyTorch: every operator, small networks, states, and what is refused."""

# torch comes as `Any`, for it is not installed everywhere; so lambdas and bases are unknown.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lilliput
from lilliput import devices
from lilliput.compiler import Model, Options, compile, from_torch
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import LilliputError, UnsupportedError, UsageError
from lilliput.ir import Array, Session
from lilliput.ir.types import DType
from lilliput.tolerances import BOUNDS, EXACT

torch: Any = pytest.importorskip("torch", reason="torch is not installed: make setup-torch")
nn: Any = torch.nn
F: Any = torch.nn.functional

BOUND = BOUNDS["PyTorch"]


class Fn(nn.Module):
    """A function as a module, with what it holds."""

    def __init__(self, function: Callable[..., Any], **parts: Any):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any) -> Any:
        parts = [*self.children(), *self.parameters(recurse=False)]
        return self.function(*parts, *args)


def ready(module: Any, seed: int = 3) -> Any:
    """In evaluation mode, its parameters and statistics drawn anew."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point():
                continue
            p.copy_(torch.randn(p.shape, generator=source) * 0.4)
            if name.endswith("running_var"):
                p.abs_().add_(0.5)
    return module.eval()


def normal(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def leaves(value: Any) -> list[Any]:
    return [v for v in torch.utils._pytree.tree_leaves(value) if isinstance(v, torch.Tensor)]


def compare(model: Model, session: Session, module: Any, given: tuple[Any, ...]) -> None:
    """One call of both: integers and bools alike, floats within the bound."""
    names = [v.name for v in model.module.inputs("infer")]
    inputs = {n: g.numpy() for n, g in zip(names, given, strict=True)}
    with torch.no_grad():
        expected = leaves(module(*given))
    found = list(session.run(inputs).outputs.items())
    assert len(found) == len(expected)
    for (name, ours), theirs in zip(found, expected, strict=True):
        bound = BOUND if theirs.is_floating_point() else EXACT
        assert name.startswith("output") or ours.dtype == theirs.numpy().dtype, name
        assert ours.shape == tuple(theirs.shape), name
        assert not bound.broken(theirs.numpy(), ours).any(), (
            f"{name}: {np.abs(ours - theirs.numpy()).max()}"
        )


def check(module: Any, *given: Any) -> Model:
    model = from_torch(module, given, batch=given[0].shape[0])
    compare(model, Session(model.module), module, given)
    return model


# Operators --------------------------------------------------------------------------------

X, Y = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
MAP, LINE, ROWS = normal(1, 4, 9, 7), normal(1, 4, 11), normal(1, 6, 8)
INTS = torch.tensor([[3, -7, 0, 12]])
BOOLS = torch.tensor([[True, False, True]])

FUNCTIONS: dict[str, tuple[Callable[..., Any], Any]] = (
    {
        name: (getattr(torch, name), (X,))
        for name in [
            "abs",
            "ceil",
            "cos",
            "exp",
            "expm1",
            "floor",
            "neg",
            "reciprocal",
            "relu",
            "round",
            "sigmoid",
            "sign",
            "sin",
            "square",
            "tanh",
            "trunc",
            "isnan",
            "isinf",
            "logical_not",
        ]
    }
    | {
        name: (getattr(F, name), (4 * X,))
        for name in [
            "celu",
            "elu",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "leaky_relu",
            "logsigmoid",
            "mish",
            "relu6",
            "selu",
            "silu",
            "softplus",
            "softsign",
            "tanhshrink",
            "hardshrink",
            "softshrink",
        ]
    }
    | {
        name: (getattr(torch, name), (X.abs() + 0.1,))
        for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt")
    }
    | {
        name: (getattr(torch, name), (X, Y[:, :1]))
        for name in [
            "add",
            "sub",
            "mul",
            "div",
            "maximum",
            "minimum",
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "fmod",
            "remainder",
        ]
    }
)

MORE: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (X,)),
    "softplus_beta": (lambda x: F.softplus(x, beta=2.5), (9 * X,)),
    "elu_alpha": (lambda x: F.elu(x, 0.3), (X,)),
    "glu": (lambda x: F.glu(x, 2), (X,)),
    "sub_alpha": (lambda x, y: torch.sub(x, y, alpha=0.3), (X, Y)),
    "rsub": (lambda x: 1 - x, (X,)),
    "div_floor": (lambda x, y: torch.div(x, y, rounding_mode="floor"), (X, Y)),
    "div_trunc": (lambda x, y: torch.div(x, y, rounding_mode="trunc"), (X, Y)),
    "powers": (lambda x: (x**2, x**3, x.abs() ** 0.5, 2**x), (X,)),
    "scalars": (lambda x: (x * 2 + 1) / 3 - 0.5, (X,)),
    "integers": (lambda i: (i + 3, i * 2, i - 1, i / 4, i > 0, i.float() * 0.5), (INTS,)),
    "remainder_int": (lambda i: i % 5, (INTS,)),
    "promotion": (lambda x, i: x[..., :4] * i, (X, INTS)),
    "compared": (lambda x: (x > 0, x >= 0.5, x.ge(1) & (x < 2) | ~(x > -1)), (X,)),
    "where": (lambda x, y: torch.where(x > y, x, y * 2), (X, Y)),
    "masked": (lambda x: x.masked_fill(x > 0, -1.0), (X,)),
    "clamps": (lambda x: (x.clamp(-1, 1), x.clamp(min=0.2), x.clamp_max(0.1)), (X,)),
    "clamp_tensor": (lambda x, y: torch.clamp(x, min=y), (X, Y)),
    "clamp_int": (lambda i: i.clamp(-2, 5), (INTS,)),
    "types": (lambda x: (x.to(torch.int32), x.bool(), x.long()), (3 * X,)),
    "bools": (lambda b: (b.float(), b.logical_not(), b ^ True, b.any(), b.all(1)), (BOOLS,)),
    "inplace": (lambda x: (x * 1).add_(2).mul_(x).relu_(), (X,)),
    "view": (lambda x: (x.view(6, 20), x.flatten(1), x.reshape(-1)), (X,)),
    "axes": (lambda x: (x.permute(3, 0, 2, 1), x.transpose(1, 2), x.movedim(0, -1)), (X,)),
    "squeeze": (lambda x: x[:, :1].squeeze(1).unsqueeze(-1), (X,)),
    "expand": (lambda x: x[:, :1].expand(-1, 6, -1, -1), (X,)),
    "repeat": (lambda x: (x.repeat(2, 1, 3, 1), x.tile(2)), (X,)),
    "interleave": (lambda x: x.repeat_interleave(2, 1), (X,)),
    "cat": (lambda x, y: (torch.cat((x, y, x), 2), torch.stack((x, y), 1)), (X, Y)),
    "slices": (lambda x: (x[:, 1:], x[..., ::2], x[:, -2:-1], x[1, :, 2]), (X,)),
    "split": (lambda x: (x.split(2, 3), x.chunk(3, 1), x.unbind(2)), (X,)),
    "scattered": (lambda x, y: torch.slice_scatter(x, y[:, :, 1:3] * 2, 2, 1, 3), (X, Y)),
    "assigned": (lambda x: torch.select_scatter(x * 2, x[:, 0] + 1, 1, 2), (X,)),
    "flip": (lambda x: (x.flip(-1), x.flip(1, 2), x.roll(2, 3), x.roll((1, -1), (0, 2))), (X,)),
    "pad": (lambda x: (F.pad(x, (1, 2, 0, 3), value=0.7), F.pad(x, (-1, 1))), (X,)),
    "mirror": (lambda x: F.pad(x, (2, 1, 1, 2), "reflect"), (X,)),
    "mirror1d": (lambda x: F.pad(x, (3, 2), "reflect"), (LINE,)),
    "edges": (lambda x: F.pad(x, (2, 1, 0, 2), "replicate"), (X,)),
    "shuffle": (lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x[..., :8, :6], 2)), (MAP,)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (MAP,)),
    "triangle": (lambda x: (x.tril(), x.triu(1)), (X,)),
    "means": (lambda x: (x.mean(), x.mean((2, 3)), x.mean(1, keepdim=True), x.mean(-1)), (X,)),
    "sums": (lambda x: (x.sum(), x.sum(2), x.prod(3), x.amax((1, 2)), x.amin(0)), (X,)),
    "spread": (lambda x: (x.var(), x.var(1), x.std((2, 3)), x.var(1, correction=0)), (X,)),
    "norms": (lambda x: (x.norm(dim=1), F.normalize(x, dim=1), x.norm(1, 2)), (X,)),
    "extremes": (lambda x: (x.max(1), x.min(2, keepdim=True), x.max(), x.argmax()), (X,)),
    "places": (lambda x: (x.argmax(1), x.argmin(3), x.argmax(2, keepdim=True)), (X,)),
    "topk": (lambda x: x.topk(3), (X,)),
    "cumsum": (lambda x: (x.cumsum(1), x.cumsum(3)), (X,)),
    "softmax": (lambda x: (x.softmax(-1), x.softmax(1), x.log_softmax(2)), (X,)),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), (X,)),
    "matmul": (lambda x, y: (x @ y.mT, x[0, 0] @ y[0, 0].T, x @ y[0, 0, 0]), (X, Y)),
    "matmul_broadcast": (lambda x, y: x @ y[:1, :1].mT, (X, Y)),
    "bmm": (lambda x: torch.bmm(x[0], x[0].mT), (X,)),
    "addmm": (lambda x: torch.addmm(x[0, 0, 0], x[0, 0], x[0, 0].T @ x[0, 0], beta=0.5), (X,)),
    "einsum": (lambda x, y: torch.einsum("bchw,bdhw->bcd", x, y), (X, Y)),
    "einsum_outer": (lambda x: torch.einsum("i,j->ij", x[0, 0, 0], x[0, 0, 1]), (X,)),
    "attended": (lambda q: F.scaled_dot_product_attention(q, q, q), (X,)),
    "causal": (lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), (X,)),
    "attention_mask": (
        lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(4, 4).tril() > 0),
        (X,),
    ),
    "index": (lambda x: (x[:, [2, 0]], x.index_select(3, torch.tensor([1, 1, 4]))), (X,)),
    "windows": (
        lambda x: (F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 2), F.avg_pool2d(x, 3, 2, 1)),
        (MAP,),
    ),
    "ceiled": (
        lambda x: (F.max_pool2d(x, 2, ceil_mode=True), F.avg_pool2d(x, 2, 2, 1, True, False)),
        (MAP,),
    ),
    "windows1d": (lambda x: (F.max_pool1d(x, 3, 2), F.avg_pool1d(x, 4, 3, 2)), (LINE,)),
    "adaptive": (lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (3, 7))), (MAP,)),
    "adaptive_uneven": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), (MAP,)),
    "adaptive1d": (lambda x: (F.adaptive_avg_pool1d(x, 1), F.adaptive_avg_pool1d(x, 4)), (LINE,)),
    "nearest": (lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, (5, 11))), (MAP,)),
    "nearest1d": (lambda x: F.interpolate(x, 17), (LINE,)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (MAP,)),
    "bilinear_corners": (
        lambda x: F.interpolate(x, (12, 5), mode="bilinear", align_corners=True),
        (MAP,),
    ),
    "linear1d": (lambda x: F.interpolate(x, 22, mode="linear"), (LINE,)),
    "rms_norm": (lambda x: F.rms_norm(x, (5,)), (X,)),
    "made": (lambda x: x + torch.arange(5) + torch.ones(4, 1) - torch.full((5,), 0.5), (X,)),
    "made_like": (lambda x: torch.zeros_like(x) + torch.ones_like(x) * x, (X,)),
}

LAYERS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "conv": (nn.Conv2d(4, 6, 3, 2, 1), (MAP,)),
    "conv_same": (nn.Conv2d(4, 6, (4, 3), padding="same", dilation=2), (MAP,)),
    "conv_grouped": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (MAP,)),
    "depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), (MAP,)),
    "conv_no_batch": (nn.Conv2d(4, 6, 3), (MAP[0],)),
    "conv1d": (nn.Conv1d(4, 5, 3, 2, 2, dilation=2), (LINE,)),
    "conv1d_same": (nn.Conv1d(4, 4, 4, padding="same", groups=4), (LINE,)),
    "transposed": (nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1), (MAP,)),
    "transposed_grouped": (nn.ConvTranspose2d(4, 6, 2, 2, groups=2), (MAP,)),
    "transposed1d": (nn.ConvTranspose1d(4, 3, 4, 2, 1), (LINE,)),
    "linear": (nn.Linear(8, 5), (ROWS,)),
    "linear_no_bias": (nn.Linear(8, 5, bias=False), (ROWS,)),
    "batch_norm": (nn.BatchNorm2d(4), (MAP,)),
    "batch_norm1d": (nn.BatchNorm1d(4), (LINE,)),
    "batch_norm_plain": (nn.BatchNorm2d(4, affine=False), (MAP,)),
    "conv_batch_norm": (nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), (MAP,)),
    "layer_norm": (nn.LayerNorm(8), (ROWS,)),
    "layer_norm_two": (nn.LayerNorm((6, 8), elementwise_affine=False), (ROWS,)),
    "group_norm": (nn.GroupNorm(2, 4), (MAP,)),
    "instance_norm": (nn.InstanceNorm2d(4, affine=True), (MAP,)),
    "instance_norm1d": (nn.InstanceNorm1d(4), (LINE,)),
    "prelu": (nn.PReLU(4), (MAP,)),
    "prelu_one": (nn.PReLU(), (MAP,)),
    "dropout": (nn.Dropout(0.5), (MAP,)),
    "embedding": (nn.Embedding(13, 4), (torch.tensor([[0, 12, 5]]),)),
    "gru": (nn.GRU(8, 5, batch_first=True), (ROWS,)),
    "gru_deep": (nn.GRU(8, 5, 2, bidirectional=True), (ROWS,)),
    "gru_state": (nn.GRU(8, 5, bias=False), (ROWS, normal(1, 6, 5))),
    "gru_cell": (nn.GRUCell(8, 5), (ROWS[0], normal(6, 5))),
    "lstm": (nn.LSTM(8, 5, batch_first=True), (ROWS,)),
    "lstm_deep": (nn.LSTM(8, 5, 2, bidirectional=True, batch_first=True), (ROWS,)),
    "lstm_no_batch": (nn.LSTM(8, 5), (ROWS[0],)),
    "rnn": (nn.RNN(8, 5, batch_first=True), (ROWS,)),
    "attention": (Fn(lambda m, x: m(x, x, x)[0], m=nn.MultiheadAttention(8, 2)), (ROWS,)),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (ROWS,)),
    "weight_norm": (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3)), (MAP,)),
    "unflatten": (nn.Sequential(nn.Flatten(), nn.Unflatten(1, (6, 8))), (ROWS,)),
}


Case = tuple[Callable[..., Any], tuple[Any, ...]]
CASES: dict[str, Case] = {**FUNCTIONS, **MORE, **LAYERS}
EACH = 12
"""Cases that are captured together: a capture takes a second, whatever it captures."""


class Many(nn.Module):
    """Each case on inputs of its own; its results go by its name."""

    def __init__(self, cases: dict[str, Case]):
        super().__init__()
        self.names = list(cases)
        self.parts = nn.ModuleList(
            f if isinstance(f, nn.Module) else Fn(f) for f, _ in cases.values()
        )
        self.counts = [len(given) for _, given in cases.values()]

    def forward(self, *given: Any) -> Any:
        found: dict[str, Any] = {}
        for name, part, count in zip(self.names, self.parts, self.counts, strict=True):
            found[name], given = part(*given[:count]), given[count:]
        return found


SLOW_OPERATORS = ("hardtanh", "matmul_broadcast", "gru")
"""First cases of what costs much and has relatives among the other cases and the networks."""


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(k, marks=pytest.mark.slow if [*CASES][k] in SLOW_OPERATORS else ())
        for k in range(0, len(CASES), EACH)
    ],
    ids=lambda k: [*CASES][k],
)
def test_operators(first: int) -> None:
    cases = {name: CASES[name] for name in [*CASES][first : first + EACH]}
    check(ready(Many(cases)), *(x for _, given in cases.values() for x in given))


# Networks ---------------------------------------------------------------------------------


def conv_bn(i: int, o: int, k: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU) -> Any:
    layers = [nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, act()) if act else nn.Sequential(*layers)


class Squeeze(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Any) -> Any:
        weights = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1))))
        return x * F.hardsigmoid(weights)


class Inverted(nn.Module):
    """A block of MobileNetV3: expand, depthwise, squeeze and excite, project, add."""

    def __init__(self, channels: int):
        super().__init__()
        wide = 2 * channels
        self.layers = nn.Sequential(
            conv_bn(channels, wide, 1, act=nn.Hardswish),
            conv_bn(wide, wide, 3, groups=wide, act=nn.Hardswish),
            Squeeze(wide),
            conv_bn(wide, channels, 1, act=None),
        )

    def forward(self, x: Any) -> Any:
        return x + self.layers(x)


class Residual(nn.Module):
    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.first, self.second = conv_bn(i, o, 3, stride), conv_bn(o, o, 3, act=None)
        self.skip = conv_bn(i, o, 1, stride, act=None) if stride > 1 else nn.Identity()

    def forward(self, x: Any) -> Any:
        return F.relu(self.second(self.first(x)) + self.skip(x))


class Encoder(nn.Module):
    """A transformer on a short sequence of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(17, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Any) -> Any:
        x = self.block(self.words(tokens) + self.places)
        return {"classes": self.head(x.mean(1)), "tokens": x}


class Spotter(nn.Module):
    def __init__(self, kind: Any):
        super().__init__()
        self.cells, self.head = kind(4, 6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.cells(x)[0][:, -1]).softmax(-1)


NETWORKS: dict[str, tuple[Callable[[], Any], Any]] = {
    "ds_cnn": (
        lambda: nn.Sequential(
            conv_bn(1, 8, 3, 2),
            conv_bn(8, 8, 3, groups=8),
            conv_bn(8, 8, 1),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * 6 * 3, 5),
        ),
        normal(1, 1, 25, 12),
    ),
    "mobilenet_v3": (
        lambda: nn.Sequential(conv_bn(3, 6, 3, 2, act=nn.Hardswish), Inverted(6), Inverted(6)),
        normal(1, 3, 12, 12),
    ),
    "resnet8": (
        lambda: nn.Sequential(
            conv_bn(3, 6, 3),
            Residual(6, 6, 1),
            Residual(6, 8, 2),
            Residual(8, 12, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 4),
        ),
        normal(1, 3, 16, 16),
    ),
    "transformer": (Encoder, torch.tensor([[3, 16, 0, 7, 7, 1]])),
    "gru": (lambda: Spotter(nn.GRU), normal(1, 5, 4)),
    "lstm": (lambda: Spotter(nn.LSTM), normal(1, 5, 4)),
}
SLOW = ("mobilenet_v3", "resnet8", "lstm", "transformer")
"""To compile: a network of convolutions and a recurrent one are left."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "resnet8" else ()) for n in NETWORKS]
)
def test_networks_equal_pytorch(name: str) -> None:
    build, given = NETWORKS[name]
    module = ready(build())
    model = check(module, given)
    first = [n.op.name for n in model.module.graphs["infer"].nodes]
    if name in ("ds_cnn", "mobilenet_v3", "resnet8"):
        assert first.count("transpose") <= 2  # of the input, and of a map that is the output
        assert "sub" not in first  # batch norms went into the weights


@pytest.mark.gcc
@pytest.mark.unicorn
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NETWORKS]
)
def test_compiled_networks_are_exact(name: str, host_compiler: Toolchain) -> None:
    build, given = NETWORKS[name]
    model = from_torch(ready(build()), given)
    device = devices.load("cortex-m4")
    program = compile(model, device, Options(compiler="none")).program
    (entry,) = model.module.inputs("infer")
    calls = [Call("infer", {entry.name: given.numpy()})]
    target = (find(device.core), device)
    proof = prove(model.shrunk.module, program, calls, hosts=[host_compiler], target=target)
    assert proof.exact, proof.difference


# States, names ----------------------------------------------------------------------------


class Stream(nn.Module):
    """Keeps the last frames and counts the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.zeros(1, 4, 3))
        self.register_buffer("calls", torch.zeros(1))
        self.conv = nn.Conv1d(4, 2, 3)

    def forward(self, frame: Any) -> Any:
        self.window.copy_(torch.cat((self.window[:, :, 1:], frame), 2))
        self.calls += 1
        return self.conv(self.window), self.calls * 1


def test_buffers_that_change_are_states() -> None:
    module = Stream().eval()
    model = from_torch(module, normal(1, 4, 1))
    assert sorted(model.module.states) == ["calls", "window"]
    session = Session(model.module)
    for k in range(5):
        compare(model, session, module, (normal(1, 4, 1, seed=k),))
    session.reset()
    assert session.states["calls"] == [0]


def test_capturing_leaves_the_module_as_it_was() -> None:
    module = Stream().eval()
    from_torch(module, normal(1, 4, 1))
    assert module.calls == 0
    assert not module.training


def test_names_are_those_of_the_user() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

        def forward(self, left: Any, right: Any) -> Any:
            y = self.body(left) + right
            return {"sum": y, "pair": (y * 2, left)}

    model = from_torch(Two().eval(), {"left": normal(1, 3), "right": normal(1, 4)})
    assert [v.name for v in model.module.inputs("infer")] == ["left", "right"]
    names = [v.name for v in model.module.outputs("infer")]
    assert names[:2] == ["sum", "pair_0"]
    assert {"body.0.weight", "body.0.bias"} <= set(model.module.params)
    origins = [n.origin for n in model.module.graphs["infer"].nodes]
    assert any(re.fullmatch(r"body\.0 \(test_torch\.py:\d+\)", o) for o in origins)


def test_the_same_module_gives_the_same_bytes() -> None:
    module, given = ready(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), normal(1, 3)
    device = devices.load("cortex-m4")
    made = [
        compile(from_torch(module, given), device, Options(compiler="none")).files for _ in "12"
    ]
    assert made[0] == made[1]


# What is refused --------------------------------------------------------------------------


def branch(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def loops(x: Any) -> Any:
    return x * int(x.sum().item())


def keeps(m: Any, x: Any) -> Any:
    m.last = x
    return x + 1


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "training": (nn.Dropout(), normal(1, 3), r"training mode[\s\S]*module\.eval\(\)"),
    "not_a_module": (lambda x: x, normal(1, 3), r"not a PyTorch module[\s\S]*found: function"),
    "double": (nn.Linear(3, 3).double().eval(), normal(1, 3), r"weight float64[\s\S]*float\(\)"),
    "half": (nn.Linear(3, 3).half().eval(), normal(1, 3), r"weight float16"),
    "device": (nn.Linear(3, 3, device="meta").eval(), normal(1, 3), r"weight on meta[\s\S]*cpu"),
    "example_list": (Fn(abs).eval(), [1.0], r"not an example[\s\S]*found: list"),
    "example_text": (Fn(abs).eval(), (object(),), r"input 0: not a tensor"),
    "example_empty": (Fn(abs).eval(), (), r"the example has no tensor"),
    "example_no_elements": (Fn(abs).eval(), normal(1, 0), r"no elements"),
    "example_nan": (Fn(abs).eval(), normal(1, 3) * math.nan, r"holds NaN or infinity"),
    "example_double": (Fn(abs).eval(), np.zeros(3), r"float32, [\s\S]*float64[\s\S]*float\(\)"),
    "example_complex": (Fn(abs).eval(), normal(1, 3) * 1j, r"complex64"),
    "batch": (nn.Linear(3, 3).eval(), normal(8, 3), r"batch of 8[\s\S]*example\[:1\]"),
    "shape": (nn.Linear(4, 3).eval(), normal(1, 3), r"cannot capture[\s\S]*run on this example"),
    "arguments": (nn.Linear(3, 3).eval(), (normal(1, 3),) * 2, r"cannot capture[\s\S]*tuple"),
    "branch": (
        Fn(branch).eval(),
        normal(1, 3),
        r"test_torch\.py:\d+ `return x if x\.sum\(\) > 0 else -x`: [\s\S]*torch\.where",
    ),
    "item": (Fn(loops).eval(), normal(1, 3), r"test_torch\.py:\d+ `return x \* int"),
    "numpy": (Fn(lambda x: torch.tensor(x.numpy())).eval(), normal(1, 3), r"NumPy is not captured"),
    "kept": (Fn(keeps, m=nn.Identity()).eval(), normal(1, 3), r"register_buffer"),
    "dynamic": (Fn(lambda x: x[x > 0]).eval(), normal(1, 3), r"depends on the data"),
    "random": (Fn(torch.rand_like).eval(), normal(1, 3), r"random numbers \(rand_like\)"),
    "complex": (Fn(lambda x: torch.fft.rfft(x).abs()).eval(), normal(1, 8), r"fft_r2c"),
    "nothing": (Fn(lambda x: None).eval(), normal(1, 3), r"returns no tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name: str) -> None:
    module, example, message = REFUSED[name]
    with pytest.raises(LilliputError, match=message) as found:
        from_torch(module, example)
    assert isinstance(found.value, UsageError | UnsupportedError)


def test_unsupported_operators_are_listed_at_once_with_their_lines() -> None:
    class Three(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.sort(x).values
            z = torch.atan2(y, x)
            return torch.linalg.det(z) + y.sum()

    with pytest.raises(UnsupportedError) as found:
        from_torch(Three().eval(), normal(3, 3), batch=3)
    text = str(found.value)
    for operator, line in (("sort", "torch.sort(x)"), ("atan2", "torch.atan2(y, x)")):
        assert re.search(rf"{operator} .*\(test_torch\.py:\d+\): operator is not supported", text)
        assert f"`y = {line}" in text or f"`z = {line}" in text
    assert "det" in text


def test_public_name_and_arrays() -> None:
    given = np.ones((1, 3), np.float32)
    model = lilliput.from_torch(nn.ReLU().eval(), given)
    (y,) = model.run(given).outputs.values()
    assert isinstance(y, np.ndarray)
    assert DType.of(y.dtype) is DType.F32


def test_a_batch_that_is_meant() -> None:
    array: Array = np.ones((4, 3), np.float32)
    model = from_torch(nn.Linear(3, 2).eval(), array, batch=4)
    assert model.module.outputs("infer")[0].type.shape == (4, 2)
