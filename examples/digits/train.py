"""Trains the network of `lilliput demo`, quantises it to int8 and writes it.

One idea: three steps, each a function of the one before: floats by `train`, integers by
`quantise`, a file by `to_module`.  One seed fixes the pictures, the first weights and their order;
the last bits of float training still depend on the BLAS, so the written file is committed.
Not a training library: the network is the table in network.py, and nothing else trains here.

    python examples/digits/train.py [--out FILE] [--seed N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from integers import INPUT, PIXEL_MAX, PROBABILITY, QuantLayer, quantise
from lilliput.demo_data import SEED, load_digits_split
from lilliput.frontends import load_model
from lilliput.frontends.tflite import write
from lilliput.ir import Builder, DType, Module, Quant, Session, TensorType, Value
from lilliput.ir.types import s8
from lilliput.ops.conv import Conv2d, Linear, conv2d, linear, same_pad
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.shape import Reshape, reshape
from lilliput.ops.softmax import Softmax, softmax
from network import F32, LAYERS, Layer, Weights, backward, forward

EPOCHS, BATCH, RATE = 60, 32, 4e-3


def train(x: F32, y: NDArray[np.int64], seed: int) -> Weights:
    """Adam with a cosine rate on softmax cross-entropy; x (N,8,8,1) in pixels 0..16, y (N,)."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for layer in LAYERS:
        if layer.shape:
            fan_in = layer.size**2 if layer.kind == "depthwise" else np.prod(layer.shape[1:])
            weights[layer.name] = rng.normal(0, np.sqrt(2 / fan_in), layer.shape).astype("f4")
            outputs = layer.shape[3 if layer.kind == "depthwise" else 0]
            weights[layer.name + "/bias"] = np.zeros(outputs, np.float32)
    mean = {key: np.zeros_like(w) for key, w in weights.items()}
    square = {key: np.zeros_like(w) for key, w in weights.items()}
    per_epoch, order = len(x) // BATCH, np.arange(len(x))
    for step in range(EPOCHS * per_epoch):
        order = rng.permutation(len(x)) if step % per_epoch == 0 else order
        batch = order[step % per_epoch * BATCH :][:BATCH]
        rate = RATE / 2 * (1 + np.cos(np.pi * step / (EPOCHS * per_epoch)))
        for key, grad in gradients(weights, x[batch] / np.float32(PIXEL_MAX), y[batch]).items():
            mean[key] += np.float32(0.1) * (grad - mean[key])
            square[key] += np.float32(0.001) * (grad**2 - square[key])
            move = mean[key] / (1 - 0.9 ** (step + 1))
            size = np.sqrt(square[key] / (1 - 0.999 ** (step + 1))) + 1e-8
            weights[key] -= (rate * move / size).astype(np.float32)
    weights["stem"] /= PIXEL_MAX
    return weights


def gradients(weights: Weights, x: F32, y: NDArray[np.int64]) -> Weights:
    """The gradient of the mean cross-entropy of a batch, keyed as `weights`."""
    tensors = forward(weights, x)
    p = np.exp(tensors[-1] - tensors[-1].max(1, keepdims=True))
    dy = (p / p.sum(1, keepdims=True) - np.eye(10, dtype=np.float32)[y]) / np.float32(len(x))
    grads: Weights = {}
    for index, layer in reversed(list(enumerate(LAYERS))):
        if not layer.shape:
            dy = dy.reshape(tensors[index].shape)
            continue
        dy = dy * (tensors[index + 1] > 0) if layer.relu else dy
        grads[layer.name + "/bias"] = dy.sum(tuple(range(dy.ndim - 1)))
        dy, grads[layer.name] = backward(layer, weights[layer.name], tensors[index], dy)
    return grads


def to_module(layers: tuple[QuantLayer, ...]) -> Module:
    """The network, int8 (1,8,8,1) in and int8 probabilities (1,10) out."""
    b = Builder()
    x = b.input("pixels", s8(1, 8, 8, 1, scale=INPUT.scale, zero_point=INPUT.zero_point))
    for row in layers:
        name, zero = row.layer.name, row.result.zero_point
        result = Quant.per_tensor(row.result.scale, zero)
        if not row.layer.shape:
            x = b.add(reshape, (x,), Reshape((1, x.type.size)), name=name, origin=name)
            continue
        op, attrs = (
            (linear, Linear()) if row.layer.kind == "dense" else (conv2d, window(row.layer, x))
        )
        depthwise = row.layer.kind == "depthwise"
        data = row.weight.transpose(3, 1, 2, 0) if depthwise else row.weight
        scale = tuple(float(s) for s in row.weight_scale)
        quant = Quant(scale, (0,) * len(scale), 0 if row.layer.relu else None)
        operands = (
            x,
            b.param(f"{name}/weight", np.ascontiguousarray(data), quant),
            b.param(f"{name}/bias", row.bias),
        )
        shape = op.infer(attrs, [v.type for v in operands])[0].shape
        type = TensorType(shape, DType.S8, result)
        x = b.add(op, operands, attrs, type=type, name=name, origin=name)
        if row.layer.relu:
            x = b.add(clamp, (x,), Clamp(low=zero), type=type, name=f"{name}/relu", origin=name)
    scores = s8(*x.type.shape, scale=PROBABILITY.scale, zero_point=PROBABILITY.zero_point)
    x = b.add(softmax, (x,), Softmax(), type=scores, name="probabilities", origin="probabilities")
    return b.module((x,), name="digits")


def window(layer: Layer, x: Value) -> Conv2d:
    """The attributes of a convolution of x (1,H,W,C), padded SAME."""
    (top, bottom), (left, right) = (
        same_pad(n, layer.size, layer.stride, 1) for n in x.type.shape[1:3]
    )
    groups = x.type.shape[3] if layer.kind == "depthwise" else 1
    stride, pad = (layer.stride, layer.stride), (top, bottom, left, right)
    return Conv2d(stride, pad=pad, groups=groups)


def accuracy(module: Module, x: F32, y: NDArray[np.int64]) -> float:
    """The share of pictures that the integers themselves get right."""
    session, entry = Session(module), module.entry
    name, out = module.inputs(entry)[0].name, module.outputs(entry)[0].name
    scores = [session.run({name: q[None]}).outputs[out] for q in INPUT.store(x)]
    return float((np.concatenate(scores).argmax(1) == y).mean())


def main() -> None:
    """Trains, prints both accuracies on the test part, and writes the network."""
    parser = argparse.ArgumentParser(description="train the digits network")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("digits.tflite"))
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    digits = load_digits_split(options.seed)
    weights = train(digits.x_train, digits.y_train, options.seed)
    module = to_module(quantise(weights, digits.x_train))
    exact = (forward(weights, digits.x_test)[-1].argmax(1) == digits.y_test).mean()
    options.out.write_bytes(write(module))
    small = accuracy(load_model(options.out), digits.x_test, digits.y_test)
    print(f"float {exact:.2%}, int8 {small:.2%} of {len(digits.y_test)} test digits: {options.out}")


if __name__ == "__main__":
    main()
