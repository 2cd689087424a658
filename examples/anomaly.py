"""A machine that sounds odd: an autoencoder learns what is normal, its error says what is not.

python examples/anomaly.py                    # a made-up motor, healthy and with a worn bearing
python examples/anomaly.py --data motor.npz   # x_train: normal sounds; x_test, y_test: 1 = odd
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from training import firmware

import lilliput
from lilliput import audio
from lilliput.data import DataSet, Split

FRONT = audio.LogMel(window=512, stride=512, fft=512, mels=32, low=50.0, high=7000.0)


def made_up(count: int = 120, rate: int = 16_000) -> DataSet:
    """Quarter seconds of a motor's hum and its harmonics; a worn bearing clicks."""
    rng, time = np.random.default_rng(0), np.arange(rate // 4) / rate

    def sound(worn: bool) -> np.ndarray:
        base = rng.uniform(95, 105)
        parts = [np.sin(2 * np.pi * k * base * time + rng.uniform(0, 6)) / k for k in range(1, 8)]
        hum = rng.uniform(1500, 2500) * sum(parts) + rng.normal(0, 200, len(time))
        if worn:
            clicks = rng.random(len(time)) < 0.01
            hum += np.convolve(clicks * rng.normal(0, 4000, len(time)), np.hanning(9), "same")
        return np.clip(hum, -32768, 32767).astype(np.int16)

    normal = np.stack([sound(worn=False) for _ in range(count)])
    y = np.arange(count // 2) % 2
    return DataSet(
        {"train": Split(normal), "test": Split(np.stack([sound(bool(k)) for k in y]), y)}
    )


def frames(sounds: np.ndarray) -> np.ndarray:
    """(n, samples) int16 -> (n, frames, mels) real logarithms."""
    step = audio.module(FRONT, 1).outputs("infer")[0].type
    found = np.stack([audio.features(FRONT, s) for s in sounds])
    return ((found - step.zero_point) * step.scale).astype(np.float32)


def autoencoder(size: int) -> nn.Module:
    layers = (nn.Linear(size, 48), nn.ReLU(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 48))
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(48, size))


def learn(net: nn.Module, x: np.ndarray, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    optimiser, inputs = torch.optim.Adam(net.parameters(), 3e-3), torch.from_numpy(x)
    for _ in range(epochs):
        for part in torch.randperm(len(inputs)).split(64):
            loss = nn.functional.mse_loss(net(inputs[part]), inputs[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def ranking(errors: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve: how often an odd sound has a larger error than a normal one."""
    more = errors[y == 1][:, None] - errors[y == 0]
    return float((np.sign(more).mean() + 1) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="an .npz of int16 sounds; see docs/data.md")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="stm32l4r5")
    parser.add_argument("--out", help="folder to write the firmware to")
    chosen = parser.parse_args()
    data = lilliput.data.read(chosen.data) if chosen.data else made_up()
    x, test = (frames(data[name].x) for name in ("train", "test"))
    mean, spread = x.mean((0, 1)), x.std((0, 1)) + 1e-3
    flat, held = (((v - mean) / spread).reshape(-1, v.shape[2]) for v in (x, test))
    net = learn(autoencoder(flat.shape[1]), flat, chosen.epochs)
    model = lilliput.from_torch(net, torch.zeros(1, flat.shape[1]), name="anomaly")
    made = lilliput.quantize(model, flat[:512])
    for name, outputs in (
        ("float", net(torch.from_numpy(held)).detach().numpy()),
        ("int8", made.model.answers(held)),
    ):
        errors = np.square(outputs - held).reshape(len(test), -1).mean(1)
        print(f"{name}: AUC {ranking(errors, data['test'].y):.3f}")
    if not firmware(made.model, chosen.device, chosen.out):
        raise SystemExit("not exact")


if __name__ == "__main__":
    main()
