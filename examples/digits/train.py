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
from tempfile import gettempdir

import numpy as np
from numpy.typing import NDArray

from integers import PIXEL_MAX, QuantLayer, predict, quantise
from lilliput.demo_data import SEED, load_digits_split
from network import F32, LAYERS, Weights, backward, forward

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


def to_module(layers: tuple[QuantLayer, ...], out: Path) -> None:
    """Writes the arrays and scales of every layer as one .npz file."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for row in layers:
        name = row.layer.name
        arrays[name + "/weight"], arrays[name + "/bias"] = row.weight, row.bias
        arrays[name + "/weight_scale"] = row.weight_scale
        arrays[name + "/scales"] = np.array([row.source.scale, row.result.scale], np.float32)
        arrays[name + "/zeros"] = np.array([row.source.zero_point, row.result.zero_point])
    np.savez(out, allow_pickle=False, **arrays)


def main() -> None:
    """Trains, prints both accuracies on the test part, and writes the network."""
    parser = argparse.ArgumentParser(description="train the digits network")
    parser.add_argument("--out", type=Path, default=Path(gettempdir()) / "digits.npz")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    digits = load_digits_split(options.seed)
    weights = train(digits.x_train, digits.y_train, options.seed)
    layers = quantise(weights, digits.x_train)
    exact = (forward(weights, digits.x_test)[-1].argmax(1) == digits.y_test).mean()
    small = (predict(layers, digits.x_test) == digits.y_test).mean()
    to_module(layers, options.out)
    print(f"float {exact:.2%}, int8 {small:.2%} of {len(digits.y_test)} test digits: {options.out}")


if __name__ == "__main__":
    main()
