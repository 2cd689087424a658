"""From raw sound to firmware: features, network and front end as one program.

    python examples/keywords.py                                  # four kinds of made-up sounds
    python examples/keywords.py --data words/ --epochs 60        # words/train/yes/*.wav, ...

The network learns from exactly the integers that the device will compute: `audio.features` is the
front end's meaning, and `audio.prepend` puts the same front end before the network.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from training import firmware, train

import lilliput
from lilliput import audio
from lilliput.data import DataSet, Reading, Split

FRONT = audio.LogMel(window=480, stride=320, fft=512, mels=40, low=20.0, high=7600.0)


def made_up(count: int = 60, rate: int = 16_000) -> DataSet:
    """Rising, falling and steady tones in noise, and noise alone: half a second each."""
    rng, time = np.random.default_rng(0), np.arange(rate // 2) / rate
    names = ("falling", "noise", "rising", "steady")
    x, y = [], []
    for label, sweep in enumerate((-1500.0, None, 1500.0, 0.0)):
        for _ in range(count):
            noise = rng.normal(0, 300, len(time))
            if sweep is not None:
                start = rng.uniform(1600, 2400)
                phase = 2 * np.pi * (start * time + sweep * time**2)
                noise += rng.uniform(1000, 6000) * np.sin(phase + rng.uniform(0, 6))
            x.append(np.clip(noise, -32768, 32767).astype(np.int16))
            y.append(label)
    sounds, labels = np.stack(x), np.array(y)
    test = np.arange(len(labels)) % 4 == 0
    splits = {
        "train": Split(sounds[~test], labels[~test]),
        "test": Split(sounds[test], labels[test]),
    }
    return DataSet(splits, names)


def network(classes: int, width: int) -> nn.Module:
    def layer(stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )

    first = nn.Conv2d(1, width, (10, 4), 2, (5, 1), bias=False)
    body = (layer(1), layer(2), layer(1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(
        nn.BatchNorm2d(1), first, nn.BatchNorm2d(width), nn.ReLU(), *body, nn.Linear(width, classes)
    )


def features(sounds: np.ndarray) -> np.ndarray:
    """(n, samples) int16 -> (n, 1, frames, mels) real logarithms, each a multiple of one step."""
    step = audio.module(FRONT, 1).outputs("infer")[0].type
    found = [audio.features(FRONT, s) for s in sounds]
    return ((np.stack(found)[:, None] - step.zero_point) * step.scale).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="a folder of sounds or an .npz; see docs/data.md")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=24, help="channels")
    parser.add_argument("--device", default="stm32f446")
    parser.add_argument("--out", help="folder to write the firmware to")
    chosen = parser.parse_args()
    data = lilliput.data.read(chosen.data, Reading(window=16_000)) if chosen.data else made_up()
    part, test = data["train"], data["test"]
    x, held = features(part.x), features(test.x)
    net = train(network(len(set(part.y)), chosen.width), x, part.y, epochs=chosen.epochs)
    model = lilliput.from_torch(net, torch.zeros(1, *x.shape[1:]), name="keywords")
    made = lilliput.quantize(model, x[:: len(x) // 256 + 1], test=held, labels=test.y)
    found = made.outcome.evaluated
    print(f"accuracy: float {found.float_accuracy:.1%}, int8 {found.integer_accuracy:.1%}")
    joined = lilliput.compiler.from_module(audio.prepend(FRONT, made.model.module))
    sound = audio.blocks(FRONT, test.x[0])
    answer = next(iter(joined.run(sound).outputs.values())).argmax()
    print(f"the first test sound: {data.classes[test.y[0]]}, heard as {data.classes[answer]}")
    if not firmware(joined, chosen.device, chosen.out, samples=1):
        raise SystemExit("not exact")


if __name__ == "__main__":
    main()
