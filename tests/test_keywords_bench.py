"""benchmarks.keywords and its spotter: splits, sounds as they are changed, and what is printed."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import keywords, spotter
from benchmarks.quantised import Row

from lilliput import audio

FRONT = audio.LogMel(window=480, stride=320, fft=512, mels=40, low=20.0, high=7600.0)


def sounds(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Tones of one pitch a class, and quiet noise for class 0."""
    rng, time = np.random.default_rng(3), np.arange(spotter.RATE) / spotter.RATE
    classes = np.arange(count) % 3
    tones = [
        rng.normal(0, 100, len(time)) + (3000 * np.sin(2 * np.pi * 700 * c * time) if c else 0)
        for c in classes
    ]
    return np.stack(tones).astype(np.int16), classes


def test_no_speaker_is_in_two_parts() -> None:
    speakers = [f"speaker{k // 3}" for k in range(300)]
    test = np.array([k // 3 % 4 == 0 for k in range(300)])
    data = spotter.Sounds(np.zeros((300, 1), np.int16), np.zeros(300, np.int64), test, speakers)
    parts = data.parts()
    indices: list[list[int]] = [part.tolist() for part in parts]
    named = [{speakers[k] for k in part} for part in indices]
    assert sorted(k for part in indices for k in part) == list(range(300))
    assert all(len(part) > 20 for part in parts)
    assert not named[0] & named[1]
    assert not (named[0] | named[1]) & named[2]


def test_features_of_joined_sounds_are_those_of_each() -> None:
    x, _ = sounds(spotter.JOINED + 3)
    found = spotter.features(FRONT, x)
    wanted = np.stack([audio.reference(FRONT, s) for s in x])[:, None]
    assert found.shape == wanted.shape == (len(x), 1, 49, 40)
    assert np.abs(found - wanted).max() < 1e-5


def test_changed_sounds_are_seeded_and_keep_their_pitch_roughly() -> None:
    x, classes = sounds(12)
    first, second, other = (
        spotter.changed(x, classes, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first.dtype == np.int16
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    for sound, kind in zip(first, classes, strict=True):
        loudest = int(np.abs(np.fft.rfft(sound.astype(np.float64))).argmax())
        octaves = np.log2(loudest / (700 * kind)) if kind else 0.0
        assert abs(octaves) < spotter.OCTAVES + 0.01


def test_silence_is_only_moved_and_scaled() -> None:
    x, _ = sounds(1)
    made = spotter.changed(x, np.zeros(1, np.int64), np.random.default_rng(0))[0].astype(float)
    whole = x[0].astype(float)
    best = max(
        np.corrcoef(made[k:], whole[: len(whole) - k])[0, 1]
        if k >= 0
        else np.corrcoef(made[:k], whole[-k:])[0, 1]
        for k in range(-spotter.MOVED, spotter.MOVED + 1)
    )
    assert best > 0.99


def test_few_frames_and_bands_are_hidden() -> None:
    x = np.random.default_rng(0).normal(size=(50, 1, 49, 40)).astype(np.float32)
    made = spotter.hidden(x, np.random.default_rng(1))
    changed = made != x
    assert (made[changed] == x.mean()).all()
    frames, bands = changed.all(3).sum(2), changed.all(2).sum(2)
    assert 0 < frames.max() < spotter.FRAMES
    assert 0 < bands.max() < spotter.BANDS
    whole = changed.all(3)[..., None] | changed.all(2)[:, :, None]
    assert np.array_equal(changed, whole)


def test_the_same_seed_gives_the_same_network() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra torch)")
    x, classes = sounds(spotter.BATCH)
    first, second = (spotter.train(FRONT, x, classes, epochs=2, seed=5) for _ in range(2))
    held = torch.from_numpy(spotter.features(FRONT, x[:3]))
    with torch.no_grad():
        found = first(held)
        assert torch.equal(found, second(held))
    assert found.shape == (3, 3)


def test_what_is_printed_of_the_core() -> None:
    row = Row("name", 900, 722, 4, 6, 880, 30.0)
    lines = keywords.report(row, 724, True).splitlines()
    assert lines[0].endswith("80.44%, 724 of 900")
    assert lines[1].endswith("80.22% from raw sound, 722; exact: True")
    # -2 of 900, and 1.96 sqrt(10 - 4/900) of 900 either way
    assert "-0.22%, 95 % between -0.91% and +0.47%; 4 gained, 6 lost, chance 0.75" in lines[2]
    assert lines[3].endswith("97.78%, 880")
