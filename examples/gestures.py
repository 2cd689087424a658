"""From an accelerometer to firmware: windows of three axes, a convolution over time.

python examples/gestures.py                               # made-up gestures
python examples/gestures.py --data moves/ --epochs 40     # moves/train/walk/*.csv, columns x y z
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from training import firmware, train

import lilliput
from lilliput.data import DataSet, Reading, Split

WINDOW = 64


def made_up(count: int = 160) -> DataSet:
    """Circles, shakes and taps of a hand, and rest, in units of g."""
    rng, time = np.random.default_rng(0), np.arange(WINDOW) / WINDOW
    names = ("circle", "rest", "shake", "tap")
    x, y = [], []
    for label in range(len(names)):
        for _ in range(count):
            move = rng.normal(0, 0.08, (WINDOW, 3)) + np.array([0, 0, 1.0])
            size, phase = rng.uniform(0.4, 1.2), rng.uniform(0, 6)
            if label == 0:
                turn = 2 * np.pi * rng.uniform(1.5, 2.5) * time + phase
                move[:, 0] += size * np.cos(turn)
                move[:, 1] += size * np.sin(turn)
            elif label == 2:
                move[:, 0] += size * np.sign(np.sin(2 * np.pi * rng.uniform(5, 8) * time + phase))
            elif label == 3:
                at = rng.integers(8, WINDOW - 8)
                move[at : at + 4, 2] += 3 * size
            x.append(move.astype(np.float32))
            y.append(label)
    moves, labels = np.stack(x), np.array(y)
    test = np.arange(len(labels)) % 4 == 0
    splits = {"train": Split(moves[~test], labels[~test]), "test": Split(moves[test], labels[test])}
    return DataSet(splits, names)


def network(axes: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(axes, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv1d(16, 24, 5, 2, 2),
        nn.ReLU(),
        nn.Conv1d(24, 32, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="a folder of recordings or an .npz; see docs/data.md")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="nrf52840")
    parser.add_argument("--out", help="folder to write the firmware to")
    chosen = parser.parse_args()
    reading = Reading(window=WINDOW, stride=WINDOW // 2)
    data = lilliput.data.read(chosen.data, reading) if chosen.data else made_up()
    part, test = data["train"], data["test"]
    x, held = (np.ascontiguousarray(s.x.transpose(0, 2, 1)) for s in (part, test))
    net = train(network(x.shape[1], len(set(part.y))), x, part.y, epochs=chosen.epochs)
    model = lilliput.from_torch(net, torch.zeros(1, *x.shape[1:]), name="gestures")
    made = lilliput.quantize(model, x, test=held, labels=test.y)
    found = made.outcome.evaluated
    print(f"accuracy: float {found.float_accuracy:.1%}, int8 {found.integer_accuracy:.1%}")
    if not firmware(made.model, chosen.device, chosen.out):
        raise SystemExit("not exact")


if __name__ == "__main__":
    main()
