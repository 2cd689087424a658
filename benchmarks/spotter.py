"""The keyword spotter of `benchmarks.keywords`: its network, its sounds, and how it learns them.

One idea: so few speakers are heard that a network learns their voices by heart.  No epoch hears a
sound as it was recorded: it is moved in time, higher or lower, louder or quieter, with noise behind
it, and a few frames and bands are hidden (SpecAugment, Park et al. 2019).  What is kept is the mean
of the weights of the last steps (Polyak and Juditsky 1992).

Changed sounds are learnt by the features of the float64 definition, which are within 0.003 of the
device's (sounds spread by 2.4); what is validated and tested is what the device hears.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput import audio
from lilliput.ir.types import Array
from lilliput.optional import need

RATE = 16_000
CHANNELS, BLOCKS = 64, 5
BATCH, LEARNING_RATE, DECAY, SMOOTHING = 64, 1e-2, 2e-2, 0.1
AVERAGED = 0.99
"""How much of the mean of the weights a step leaves."""
VALIDATED = 6
"""One of so many speakers of the train split is not learnt from."""
FRESH = 3
"""Epochs that hear the same changed sounds, with other frames and bands hidden."""
MOVED, OCTAVES, LOUDER, QUIETER = RATE // 10, 0.1, 5.0, 10.0
"""At most: samples in time, octaves in pitch either way, decibels."""
NOISY, NOISE = 0.5, 600.0
"""Share of the words that get noise behind them, and its largest root mean square."""
FRAMES, BANDS = 7, 5
"""One more than are hidden at most."""
JOINED = 16
SILENCE = 0
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sounds:
    """x (N, 16000) int16; classes (N); test (N): in the test split, of speakers of its own;
    speakers (N)"""

    x: npt.NDArray[np.int16]
    classes: Ints
    test: npt.NDArray[np.bool_]
    speakers: list[str]

    def parts(self) -> tuple[Ints, Ints, Ints]:
        """Indices to learn from, to validate with and to test with: no speaker is in two."""
        held = np.array([zlib.crc32(s.encode()) % VALIDATED == 0 for s in self.speakers])
        parts = ~self.test & ~held, ~self.test & held, self.test
        learn, validate, test = (np.flatnonzero(part) for part in parts)
        return learn, validate, test


def recordings(path: Path) -> Sounds:
    """The packed sounds of a file; what is shorter than a second ends in silence."""
    soundfile: Any = need("soundfile", "data", "reading of sounds")
    with np.load(path, allow_pickle=False) as data:
        flac, ends, classes, split, names = (
            data[k] for k in ("flac", "offs", "y", "split", "names")
        )
    found = np.zeros((len(classes), RATE), np.int16)
    for k, row in enumerate(found):
        part = io.BytesIO(flac[ends[k] : ends[k + 1]].tobytes())
        sound = soundfile.read(part, dtype="int16")[0][:RATE]
        row[: len(sound)] = sound
    speakers = [Path(str(name)).stem.split("_")[0] for name in names]
    return Sounds(found, classes.astype(np.int64), split == "test", speakers)


def network(classes: int) -> Any:
    """A DS-CNN (Zhang et al. 2017) of (n, 1, frames, mels), in torch."""
    nn: Any = need("torch", "torch", "training on the host").nn

    def block(layer: Any) -> list[Any]:
        return [layer, nn.BatchNorm2d(CHANNELS), nn.ReLU()]

    first = nn.Conv2d(1, CHANNELS, (10, 4), 2, (5, 1), bias=False)
    found: list[Any] = [nn.BatchNorm2d(1), *block(first)]
    for k in range(BLOCKS):
        stride = 2 if k == 1 else 1
        deep = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, 1, groups=CHANNELS, bias=False)
        found += block(deep) + block(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False))
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, classes)]
    return nn.Sequential(*found, *end)


def train(front: audio.LogMel, x: Array, classes: Ints, *, epochs: int, seed: int) -> Any:
    """A network that has learnt `classes` (N) of sounds x (N, 16000) int16, in eval mode."""
    torch: Any = need("torch", "torch", "training on the host")
    torch.manual_seed(seed)
    rng, labels = np.random.default_rng(seed), torch.from_numpy(classes)
    net = network(int(classes.max()) + 1).to(memory_format=torch.channels_last)
    count = len(x) // BATCH
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * count, pct_start=0.15
    )
    swa = torch.optim.swa_utils
    mean = swa.AveragedModel(net, multi_avg_fn=swa.get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    heard = np.zeros(0)
    for epoch in range(epochs):
        if epoch % FRESH == 0:
            heard = features(front, changed(x, classes, rng))
        given, total = torch.from_numpy(hidden(heard, rng)), 0.0
        for part in rng.permutation(len(x))[: count * BATCH].reshape(count, BATCH):
            loss = torch.nn.functional.cross_entropy(
                net(given[part].contiguous(memory_format=torch.channels_last)),
                labels[part],
                label_smoothing=SMOOTHING,
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            mean.update_parameters(net)
            total += float(loss.detach())
        print(f"epoch {epoch + 1:3} of {epochs}: loss {total / count:.3f}", flush=True)
    return mean.module.to(memory_format=torch.contiguous_format).eval()


def features(front: audio.LogMel, x: Array) -> Array:
    """(n, samples) int16 -> (n, 1, frames, mels) float32 of the float64 definition.

    Some sounds are joined, and the frames over their seams left out: one transform for many.
    """
    blocks = x.shape[1] // front.stride
    seam = -(-front.window // front.stride) - 1
    found: list[Array] = []
    for k in range(0, len(x), JOINED):
        part = x[k : k + JOINED, : blocks * front.stride]
        rows = audio.reference(front, part.reshape(-1))
        rows = np.pad(rows, ((0, seam), (0, 0))).reshape(len(part), blocks, -1)
        found.append(rows[:, : blocks - seam])
    return np.concatenate(found)[:, None].astype(np.float32)


# What no recording has --------------------------------------------------------------------


def changed(x: Array, classes: Ints, rng: np.random.Generator) -> Array:
    """(N, samples) int16, each sound as another might have been."""
    noise = x[classes == SILENCE].astype(np.float64)
    return np.stack(
        [_changed(s, noise if c != SILENCE else None, rng) for s, c in zip(x, classes, strict=True)]
    )


def _changed(sound: Array, noise: Array | None, rng: np.random.Generator) -> Array:
    """noise : of which some is put behind the sound; None where the sound is noise itself"""
    n = len(sound)
    found: Array = sound.astype(np.float64)
    if noise is not None:
        pitch = 2.0 ** rng.uniform(-OCTAVES, OCTAVES)
        at = (np.arange(n) - n / 2) * pitch + n / 2
        found = np.asarray(np.interp(at, np.arange(n), found, left=0.0, right=0.0), np.float64)
    move = int(rng.integers(-MOVED, MOVED + 1))
    found = np.pad(found, (max(move, 0), max(-move, 0)))[max(-move, 0) :][:n]
    found *= 10 ** (rng.uniform(-QUIETER, LOUDER) / 20)
    if noise is not None and len(noise) and rng.random() < NOISY:
        behind = np.roll(noise[rng.integers(len(noise))], int(rng.integers(n)))
        found += behind * rng.uniform() ** 2 * NOISE / (behind.std() + 1)
    return np.clip(np.rint(found), -32768, 32767).astype(np.int16)


def hidden(x: Array, rng: np.random.Generator) -> Array:
    """(n, 1, frames, mels), a few neighbouring frames and bands of each at the mean of all."""
    found, mean = x.copy(), x.mean()
    for k in range(len(found)):
        for axis, most in ((2, FRAMES), (3, BANDS)):
            width = int(rng.integers(0, most))
            first = int(rng.integers(0, int(x.shape[axis]) - width))
            np.moveaxis(found, axis, 1)[k, first : first + width] = mean
    return found
