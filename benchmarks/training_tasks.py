"""What the benchmark of training learns, and the networks that it learns with: examples that the
backbone was not trained on.

Packed pictures below `data/` of LILLIPUT_SHARED: `jpeg` joined, `offs`, `y`, maybe `split`.  Their
backbone, the published MCUNet-5fps, takes 128 x 128 pixels as int8, real = pixel / 127.5 - 1 =
0.00784 q.  That of words is made by `benchmarks.words`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import lilliput
from benchmarks import words
from benchmarks.shared import shared
from lilliput.ir import Module
from lilliput.optional import need

SIZE = 128
PUBLISHED = "models/tiny_training/mcunet-5fps.pkl"
FLOWERS, PERSON = "transfer/flowers5_128.npz", "camvid/camvid_person96.npz"
CIFAR, CIFAR_TEST = "cifar10/cifar10_train20k_jpeg.npz", "cifar10/cifar10_test_jpeg.npz"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Backbone:
    """layers : how many, the head included
    front, kept : origin of a node, and how many layers end with it, whose result is calculated
        once a task; None, 0: nothing is
    """

    layers: int
    front: str | None
    kept: int


MCUNET, KEYWORDS = Backbone(43, "blocks.5.pointwise2", 18), Backbone(10, None, 0)


@dataclass(frozen=True)
class Task:
    """files : of the pictures to learn from and of those to test with, which may be one with a
    `split`; None: words; classes : how many; learn, test : most examples that are taken"""

    files: tuple[str, str] | None
    classes: int
    learn: int
    test: int
    backbone: Backbone = MCUNET


TASKS: Mapping[str, Task] = {
    "flowers": Task((FLOWERS, FLOWERS), 5, 1000, 600),
    "cifar": Task((CIFAR, CIFAR_TEST), 10, 1000, 600),
    "person": Task((PERSON, PERSON), 2, 1000, 600),
    "words": Task(None, len(words.NEW), 600, 600, KEYWORDS),
}


@dataclass(frozen=True, eq=False)
class Data:
    """x (n,128,128,3) or (n,49,10,1) int8, y (n) int32, of both halves."""

    x: npt.NDArray[np.int8]
    y: npt.NDArray[np.int32]
    x_test: npt.NDArray[np.int8]
    y_test: npt.NDArray[np.int32]


def load(name: str) -> Data:
    """A task's examples: the same ones in the same order whenever it is called."""
    task = TASKS[name]
    if task.files is None:
        return Data(*_words("train", task.learn), *_words("test", task.test))
    x, y = _half(task.files[0], "train", task.learn)
    x_test, y_test = _half(task.files[1], "test", task.test)
    return Data(x, y, x_test, y_test)


@cache
def network(name: str) -> Module:
    """What a task learns with."""
    if TASKS[name].backbone is KEYWORDS:
        return words.backbone()
    return lilliput.load(shared() / PUBLISHED).module


@cache
def backbone(name: str) -> str | None:
    """Which network a task has, where each machine trains its own; None of a published one."""
    return words.digest() if TASKS[name].backbone is KEYWORDS else None


def _words(split: str, most: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    """Words that the backbone does not know, as it takes them."""
    real, y = words.examples(words.NEW, split)
    module = network("words")
    (value,) = module.inputs(module.entry)
    type = value.type
    stored = np.clip(np.rint(real / np.float32(type.scale)) + type.zero_point, -128, 127)
    chosen = np.random.default_rng(0).permutation(len(y))[:most]
    return stored[chosen].astype(np.int8).reshape(-1, *type.shape[1:]), y[chosen]


def _half(file: str, split: str, most: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]:
    with np.load(shared() / "data" / file) as packed:
        jpeg, offs, y = packed["jpeg"], packed["offs"], packed["y"]
        own = packed["split"] == split if "split" in packed.files else np.ones(len(y), bool)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(own))[:most]
    pictures = [_picture(jpeg[offs[k] : offs[k + 1]].tobytes()) for k in chosen]
    return np.stack(pictures), y[chosen].astype(np.int32)


def _picture(jpeg: bytes) -> npt.NDArray[np.int8]:
    pil: Any = need("PIL.Image", "data", "pictures")
    picture = pil.open(io.BytesIO(jpeg)).convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = picture.resize((SIZE, SIZE), pil.Resampling.BILINEAR)
    return (np.asarray(picture).astype(np.int16) - 128).astype(np.int8)
