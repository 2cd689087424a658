"""The real data of the built-in demo: 1,797 hand-written digits and the network trained on them.

One idea: the split is a pure function of a seed, so the training script, the demo command and
the tests all mean the same pictures by "the test part".  Not a data-set library: nothing is
downloaded (the pictures come with scikit-learn) and nothing here trains.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lilliput.errors import MissingTool

SEED = 0
"""The seed whose split the committed `digits.tflite` was trained with."""

TEST_ITEMS = 540
"""Pictures in the test part; the other 1,257 are the training part."""


@dataclass(frozen=True)
class Digits:
    """The two parts of the data set.

    `x_*` are float32 (N, 8, 8, 1) with whole values 0..16; `y_*` are int64 (N,) with 0..9.
    `test_index` holds the positions of the test pictures in scikit-learn's own order.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    test_index: NDArray[np.int64]


class _Datasets(Protocol):
    def load_digits(self, *, return_X_y: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...


def split_indices(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which pictures belong to the test part: bool (N,), `TEST_ITEMS` of them true.

    Stratified: within each class the pictures are shuffled and given evenly spaced ranks in
    [0, 1); the test part is the lowest ranks over all classes, so each class has its share.
    """
    rng = np.random.default_rng(seed)
    rank = np.empty(len(labels))
    for digit in np.unique(labels):
        members = np.flatnonzero(labels == digit)
        rank[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    test = np.zeros(len(labels), dtype=np.bool_)
    test[np.argsort(rank, kind="stable")[:TEST_ITEMS]] = True
    return test


def load_digits_split(seed: int = SEED) -> Digits:
    """The digits, split into training and test parts by `seed` alone.

    Raises `MissingTool` when scikit-learn, which carries the pictures, is not installed.
    """
    try:
        datasets = cast(_Datasets, importlib.import_module("sklearn.datasets"))
    except ImportError as error:
        raise MissingTool(
            "the digit pictures come with scikit-learn, which is not installed",
            where="sklearn.datasets",
            expected="an importable scikit-learn",
            found=str(error),
            hint='pip install "lilliput[demo]"',
        ) from error
    pixels, y = datasets.load_digits(return_X_y=True)
    x = pixels.reshape(-1, 8, 8, 1).astype(np.float32)
    labels = y.astype(np.int64)
    test = split_indices(labels, seed)
    return Digits(x[~test], labels[~test], x[test], labels[test], np.flatnonzero(test))


def digits_model() -> Path:
    """The committed `digits.tflite`: in the wheel as package data, in a checkout under `examples/`.

    Raises `MissingTool` when neither is there.
    """
    package = Path(__file__).resolve().parent
    places = (
        package / "data" / "digits.tflite",
        package.parents[1] / "examples" / "digits" / "digits.tflite",
    )
    for place in places:
        if place.is_file():
            return place
    raise MissingTool(
        "the demo's network is missing from this installation",
        where="digits.tflite",
        expected=" or ".join(str(place) for place in places),
        found="neither file",
        hint="reinstall lilliput, or run examples/digits/train.py in a checkout",
    )
