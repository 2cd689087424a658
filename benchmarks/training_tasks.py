"""What the benchmark of training learns: pictures that the backbone was not trained on.

Packed pictures below `data/` of LILLIPUT_SHARED: `jpeg` joined, `offs`, `y`, maybe `split`.  The
backbone takes 128 x 128 pixels as int8, real = pixel / 127.5 - 1 = 0.00784 q.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.errors import UsageError
from lilliput.optional import need

SIZE = 128
FLOWERS, PERSON = "transfer/flowers5_128.npz", "camvid/camvid_person96.npz"
CIFAR, CIFAR_TEST = "cifar10/cifar10_train20k_jpeg.npz", "cifar10/cifar10_test_jpeg.npz"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """files : of the examples to learn from and of those to test with, which may be one with a
    `split`; classes : how many; learn, test : most examples that are taken"""

    files: tuple[str, str]
    classes: int
    learn: int
    test: int


TASKS: Mapping[str, Task] = {
    "flowers": Task((FLOWERS, FLOWERS), 5, 1000, 600),
    "cifar": Task((CIFAR, CIFAR_TEST), 10, 1000, 600),
    "person": Task((PERSON, PERSON), 2, 1000, 600),
}


@dataclass(frozen=True, eq=False)
class Data:
    """x (n,128,128,3) int8, y (n) int32, of both halves."""

    x: npt.NDArray[np.int8]
    y: npt.NDArray[np.int32]
    x_test: npt.NDArray[np.int8]
    y_test: npt.NDArray[np.int32]


def shared() -> Path:
    """The folder of LILLIPUT_SHARED; raises UsageError where there is none."""
    folder = Path(os.environ.get("LILLIPUT_SHARED", ""))
    if not os.environ.get("LILLIPUT_SHARED") or not folder.is_dir():
        raise UsageError(
            "the pictures are not here", expected="LILLIPUT_SHARED=FOLDER", found=str(folder)
        )
    return folder


def load(name: str) -> Data:
    """A task's pictures: the same ones in the same order whenever it is called."""
    task = TASKS[name]
    x, y = _half(task.files[0], "train", task.learn)
    x_test, y_test = _half(task.files[1], "test", task.test)
    return Data(x, y, x_test, y_test)


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
