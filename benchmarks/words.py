"""The keyword backbone of the benchmark of training, and the words that it has never heard.

A DS-CNN (Zhang et al. 2017, the small one) learns six words, other words and silence here, from the
speakers of the split `train`, and is quantised; what it learns on the device are four other words.
Nobody who is tested with has been heard, neither by the backbone nor on the device.

Words are those of Speech Commands below `data/` of LILLIPUT_SHARED, their features the int8 MFCC of
`lilliput.audio`, 49 x 10.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from benchmarks.shared import shared
from lilliput import audio, compiler
from lilliput.ir import Module, TensorType
from lilliput.ir.text import save
from lilliput.ir.types import Array, DType, Quant
from lilliput.optional import need

WORDS = "data/speech_commands/speech_commands_v002_12class_flac.npz"
HEARD = ("_silence_", "_unknown_", "yes", "no", "up", "down", "left", "right")
NEW = ("on", "off", "stop", "go")
FRONT = audio.Mfcc(audio.LogMel(window=480, fft=512), coefficients=10)
SCALE, ZERO = 0.585, 83
"""Of the features that are kept; the network's own follow from what it is calibrated with."""
CHANNELS, BLOCKS = 64, 4
EPOCHS, BATCH, RATE = 40, 32, 2e-3
SHIFT = 4
"""Frames by which an example is moved at most, either way, while the backbone learns."""
CACHE = Path("build/training")


def examples(words: tuple[str, ...], split: str) -> tuple[Array, Array]:
    """Real features (n,49,10,1) float32 and classes (n) int32, in the order of the file."""
    x, y, splits, names = _features()
    index = {names.index(word): k for k, word in enumerate(words)}
    chosen = [i for i, label in enumerate(y) if int(label) in index and splits[i] == split]
    labels = np.array([index[int(y[i])] for i in chosen], np.int32)
    real = (x[chosen].astype(np.float32) - ZERO) * np.float32(SCALE)
    return real[..., None], labels


def _features() -> tuple[Array, Array, list[str], list[str]]:
    """int8 (n,49,10), classes, splits and the names of the classes; calculated once."""
    path = CACHE / "words.npz"
    with np.load(shared() / WORDS) as packed:
        y, names = packed["y"], [str(v) for v in packed["classes"]]
        splits = [str(v) for v in packed["split"]]
        if not path.is_file():
            print(f"words: the features of {len(y)} recordings", flush=True)
            sound: Any = need("soundfile", "data", "sound")
            data, offs = packed["flac"].tobytes(), packed["offs"]
            type = TensorType((1, 49, 10, 1), DType.S8, Quant((SCALE,), (ZERO,)))
            found = [
                audio.features(FRONT, _second(sound, data[offs[k] : offs[k + 1]]), type)
                for k in range(len(y))
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                np.savez(file, x=np.stack(found))
    with np.load(path) as kept:
        return kept["x"], y, splits, names


def _second(sound: Any, flac: bytes) -> Any:
    """16000 samples: what is shorter ends in silence."""
    samples = sound.read(io.BytesIO(flac), dtype="int16")[0]
    return np.pad(samples[:16000], (0, max(0, 16000 - len(samples))))


def backbone() -> Module:
    """The quantised network of the words in `HEARD`; trained once, then read."""
    path = CACHE / "words.lilliput"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save(_trained()))
    return lilliput.load(path).module


def digest() -> str:
    """Which backbone this machine has made: its last bits, and then its weights, are its own."""
    backbone()
    return hashlib.sha256((CACHE / "words.lilliput").read_bytes()).hexdigest()[:16]


def _trained() -> Module:
    torch: Any = need("torch", "torch", "the keyword backbone")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (x, y), (x_test, y_test) = (examples(HEARD, split) for split in ("train", "test"))
    network = _network(torch)
    _learn(torch, network, x, y)
    given, network = torch.from_numpy(x[:1].transpose(0, 3, 1, 2)), network.eval()
    model = compiler.from_torch(network, given, name="words")
    made = compiler.quantize(model, x.transpose(0, 3, 1, 2)[:400]).model
    answers = made.answers(x_test.transpose(0, 3, 1, 2)).reshape(len(x_test), -1)
    right = float((answers.argmax(1) == y_test).mean())
    print(f"words: the backbone knows {right:.1%} of {len(HEARD)} classes", flush=True)
    return made.module


def _network(torch: Any) -> Any:
    """(n,1,49,10) -> (n,8)."""
    nn = torch.nn

    def block(layer: Any) -> list[Any]:
        return [layer, nn.BatchNorm2d(CHANNELS), nn.ReLU()]

    found = block(nn.Conv2d(1, CHANNELS, (10, 4), 2, (4, 1), bias=False))
    for _ in range(BLOCKS):
        found += block(nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1, groups=CHANNELS, bias=False))
        found += block(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False))
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, len(HEARD))]
    return nn.Sequential(*found, *end)


def _learn(torch: Any, network: Any, x: Array, y: Array) -> None:
    """Adam, the rate falling by half a cosine; examples are moved over time by a few frames."""
    rng = np.random.default_rng(0)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for epoch in range(EPOCHS):
        losses: list[float] = []
        for some in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            moved = [np.roll(x[i], int(rng.integers(-SHIFT, SHIFT + 1)), 0) for i in some]
            given = torch.from_numpy(np.stack(moved).transpose(0, 3, 1, 2))
            loss = torch.nn.functional.cross_entropy(
                network(given), torch.from_numpy(y[some].astype(np.int64))
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss))
        schedule.step()
        print(f"words: epoch {epoch + 1} of {EPOCHS}, loss {np.mean(losses):.3f}", flush=True)
