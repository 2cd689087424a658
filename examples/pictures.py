"""From pictures to firmware: train in PyTorch, quantise, compile, prove.

python examples/pictures.py                                # scikit-learn's digits
python examples/pictures.py --data photos/ --size 48       # photos/train/CLASS/*.jpg, ...
python examples/pictures.py --data cifar10.npz             # x_train, y_train, x_test, y_test
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from training import firmware, train

import lilliput
from lilliput.data import DataSet, Reading, Split


def digits() -> DataSet:
    """8x8 digits, every fifth for testing."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = (found.images[..., None] * 15.9).astype(np.uint8), found.target
    test = np.arange(len(x)) % 5 == 0
    splits = {"train": Split(x[~test], y[~test]), "test": Split(x[test], y[test])}
    return DataSet(splits, tuple("0123456789"))


def layer(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Depthwise, then pointwise: what microcontrollers are fast at."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def network(channels: int, side: int, classes: int, width: int) -> nn.Module:
    first = 2 if side > 16 else 1
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, first, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        layer(width, 2 * width, 2),
        layer(2 * width, 2 * width),
        layer(2 * width, 4 * width, 2),
        layer(4 * width, 4 * width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def reals(x: np.ndarray) -> np.ndarray:
    """(n,H,W,C) bytes as PyTorch takes them: (n,C,H,W), -1 to 1."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="a folder or an .npz; see docs/data.md")
    parser.add_argument("--size", type=int, default=32, help="pixels of a side, of a folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=int, default=16, help="channels of the first layer")
    parser.add_argument("--device", default="stm32f446")
    parser.add_argument("--out", help="folder to write the firmware to")
    chosen = parser.parse_args()
    size = (chosen.size, chosen.size)
    data = lilliput.data.read(chosen.data, Reading(size=size)) if chosen.data else digits()
    part, test = data["train"], data["test"]
    x, (_, side, _, channels) = reals(part.x), part.x.shape
    net = network(channels, side, int(part.y.max()) + 1, chosen.width)
    net = train(net, x, part.y, epochs=chosen.epochs)
    model = lilliput.from_torch(net, torch.zeros(1, *x.shape[1:]), name="pictures")
    made = lilliput.quantize(model, x[:: len(x) // 256 + 1], test=reals(test.x), labels=test.y)
    found = made.outcome.evaluated
    print(f"accuracy: float {found.float_accuracy:.1%}, int8 {found.integer_accuracy:.1%}")
    if not firmware(made.model, chosen.device, chosen.out):
        raise SystemExit("not exact")


if __name__ == "__main__":
    main()
