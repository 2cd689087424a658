"""What the published networks are made of: convolutions, inverted bottlenecks, a classifier.

The files say it in two forms: the architecture of once-for-all in JSON beside a state_dict of
floats (`architecture`), and a dictionary of int8 layers (`training`).  Both become these layers,
and one walk over them becomes the graph: channels last, one picture, (1,H,W,3) -> (1,classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lilliput.errors import FormatError
from lilliput.ir import Array, DType, Module, Param, Quant, TensorType, Value
from lilliput.ir.build import Builder
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import Clamp, add, clamp
from lilliput.ops.pool import Pool, avg_pool2d
from lilliput.ops.shape import Reshape, reshape


@dataclass(frozen=True)
class Element:
    """How the elements of a map are stored: float32, or int8 with a scale and a zero point."""

    dtype: DType = DType.F32
    quant: Quant | None = None


FLOAT = Element()


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution; `pad` of kernel // 2 on every side, as PyTorch has it.

    name : of the layer in the file
    shape : (O,I/groups,KH,KW); weights and bias as in the file, None where it has none
    scales : of the weights, one an output channel; none where they are floats
    x, y : how what goes in and what comes out is stored
    low, high : what an activation behind it limits the elements to, if anything
    """

    name: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    groups: int = 1
    weights: Array | None = None
    bias: Array | None = None
    scales: tuple[float, ...] = ()
    x: Element = FLOAT
    y: Element = FLOAT
    activation: Clamp | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Layers one after the other; `sum`: what is stored of the sum of the block's input and
    their result, where there is a shortcut."""

    name: str
    layers: tuple[Layer, ...]
    sum: Element | None = None


def build(
    name: str, resolution: int, blocks: Sequence[Block], classifier: Layer, *, known: bool = True
) -> Module:
    """The module of one entry, `infer`; `known`: the layers have their weights.

    Raises FormatError where layers do not fit together.
    """
    if not blocks or not blocks[0].layers:
        raise FormatError("the network has no layers")
    net = _Net(known)
    first = blocks[0].layers[0].x
    x = net.b.input("input", TensorType((1, resolution, resolution, 3), first.dtype, first.quant))
    for block in blocks:
        start = x
        for layer in block.layers:
            x = net.conv(x, layer)
        if block.sum is not None:
            x = net.sum(start, x, block)
    rows, columns = x.type.shape[1:3]
    x = net.b.add(avg_pool2d, (x,), Pool((rows, columns)), name="pool", origin="global average")
    x = net.conv(x, classifier)
    attrs = Reshape((1, x.type.shape[3]))
    x = net.b.add(reshape, (x,), attrs, name="logits", origin=classifier.name)
    return net.b.module((x,), name=name)


class _Net:
    def __init__(self, known: bool):
        self.b, self.known = Builder(), known

    def conv(self, x: Value, layer: Layer) -> Value:
        """Raises FormatError where `x` is not what the layer takes."""
        outputs, inputs, rows, columns = layer.shape
        _agree(layer.name, "channels of its input", inputs * layer.groups, x.type.shape[3])
        _agree(layer.name, "element type of its input", layer.x.dtype, x.type.dtype)
        _agree(layer.name, "scale and zero point of its input", layer.x.quant, x.type.quant)
        quant = Quant(layer.scales, (0,) * outputs, axis=0) if layer.scales else None
        integers = x.type.dtype is DType.S8
        w = self._param(
            f"{layer.name}.weight",
            TensorType((outputs, rows, columns, inputs), x.type.dtype, quant),
            layer.weights if layer.weights is None else layer.weights.transpose(0, 2, 3, 1),
        )
        bias = self._param(
            f"{layer.name}.bias",
            TensorType((outputs,), DType.S32 if integers else DType.F32),
            layer.bias,
        )
        pad = (rows // 2, rows // 2, columns // 2, columns // 2)
        attrs = Conv2d((layer.stride, layer.stride), (1, 1), pad, layer.groups)
        sides = [
            (x.type.shape[1 + k] + 2 * (layer.shape[2 + k] // 2) - layer.shape[2 + k])
            // layer.stride
            + 1
            for k in (0, 1)
        ]
        type = TensorType((1, *sides, outputs), layer.y.dtype, layer.y.quant)
        y = self.b.add(conv2d, (x, w, bias), attrs, type=type, name=layer.name, origin=layer.name)
        if layer.activation is None:
            return y
        name = f"{layer.name}.act"
        return self.b.add(clamp, (y,), layer.activation, type=type, name=name, origin=layer.name)

    def sum(self, a: Value, b: Value, block: Block) -> Value:
        _agree(block.name, "shape of the shortcut", a.type.shape, b.type.shape)
        assert block.sum is not None
        type = TensorType(a.type.shape, block.sum.dtype, block.sum.quant)
        return self.b.add(add, (a, b), type=type, name=f"{block.name}.sum", origin=block.name)

    def _param(self, name: str, type: TensorType, data: Array | None) -> Value:
        if not self.known:
            return self.b.use(Param(Value(self.b.fresh(name), type), None))
        if data is None or data.shape != type.shape or data.dtype != type.dtype.numpy:
            found = "nothing" if data is None else f"{data.dtype}{list(data.shape)}"
            raise FormatError("numbers of another form", where=name, expected=type, found=found)
        return self.b.param(name, data, type.quant)


def _agree(where: str, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise FormatError(what, where=where, expected=expected, found=found)
