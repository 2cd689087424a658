"""Published float networks quantised here, beside their published int8 files, on real data.

    LILLIPUT_SHARED=folder python -m benchmarks.quantised [--network NAME] [--choose] [recipe ...]

One idea: the examples are halved, and each half is answered by the network that the other half has
calibrated: every example counts once, and none was calibrated on.  Accuracy on 1,000 pictures tells
two networks apart only where their answers differ in many more pictures one way than the other,
which `chance` says (McNemar 1947, exact); the signal-to-noise ratio of the outputs tells earlier.
By that recipes are chosen: `--choose` compares them on the first half alone, without a class, so
that the second has had no part in what it is answered by.  Answers are those of the integer
network, every one equal to the device's (`quant.batch`); the float network is summed in another
order.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.shared import shared
from lilliput.compiler import Model, Quantization, load, quantize
from lilliput.ir.types import Array
from lilliput.optional import need

MOST = 2000
"""Examples of one data set."""
AT_ONCE = 50
RECOMMENDED = Quantization(ranges="mse", adaptive_rounding=True, bias_correction=True)
RECIPES: Mapping[str, Quantization] = {
    "plain": Quantization(),
    "mse": Quantization(ranges="mse"),
    "bias": Quantization(bias_correction=True),
    "mse, bias": Quantization(ranges="mse", bias_correction=True),
    "rounding, bias": Quantization(adaptive_rounding=True, bias_correction=True),
    "recommended": RECOMMENDED,
    "distilled": replace(RECOMMENDED, distill=4),
    "int16 classifier": replace(RECOMMENDED, int16_layers=("classifier",)),
    "int16 sums": replace(RECOMMENDED, int16_layers=("classifier", "*.sum")),
    "int16": replace(RECOMMENDED, int16_layers=("*",)),
}


@dataclass(frozen=True)
class Case:
    """A float network, its published integers, and its data, below LILLIPUT_SHARED.

    scale, offset : real = scale * byte + offset
    recipes : what it is quantised by where none is named
    """

    real: str
    published: str
    data: str
    scale: float
    offset: float = 0.0
    recipes: tuple[str, ...] = ("plain", "recommended")


CASES: Mapping[str, Case] = {
    "ds-cnn": Case(
        "models/mlperf_tiny/kws_ref_model_float32.tflite",
        "models/mlperf_tiny/kws_ref_model_int8.tflite",
        "data/mlperf_tiny/kws01_eval.npz",
        scale=0.5847029,
        offset=-83 * 0.5847029,
    ),
    "resnet-8": Case(
        "models/mlperf_tiny/ic_resnet8_float.tflite",
        "models/mlperf_tiny/ic_resnet8_int8.tflite",
        "data/cifar10/cifar10_test_jpeg.npz",
        scale=1.0,
    ),
    "mobilenet-v1": Case(
        "models/mlperf_tiny/vww_96_float.tflite",
        "models/mlperf_tiny/vww_96_int8.tflite",
        "data/camvid/camvid_person96.npz",
        scale=1 / 255,
    ),
    "mcunet": Case(
        "models/mcunet/mcunet-320kb-1mb_imagenet.pth",
        "models/mcunet/mcunet-320kb-1mb_imagenet.tflite",
        "data/imagenet_sample/imagenet1000_224.npz",
        scale=1 / 127.5,
        offset=-1.0,
        recipes=("recommended",),
    ),
}


@dataclass(frozen=True)
class Row:
    """What a network answers beside the float network on the same pictures.

    count : examples; right : of them, top 1; same : equal answers
    gained, lost : right in one of the two alone
    noise_db : energy of the float outputs over that of the difference, means over classes aside
    """

    name: str
    count: int
    right: int
    gained: int
    lost: int
    same: int
    noise_db: float

    @property
    def chance(self) -> float:
        """Of so many more, or more, changes one way than the other where neither is likelier."""
        n, k = self.gained + self.lost, min(self.gained, self.lost)
        return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)

    def __str__(self) -> str:
        share = f"{self.right:>5} of {self.count} right, {self.gained} gained, {self.lost} lost"
        told = f"{share} (chance {self.chance:.2f})"
        return f"{self.name:<16}{told}, {self.same} as the float, {self.noise_db:.1f} dB"


@dataclass(frozen=True)
class Choice:
    """What a recipe can be chosen by without a class: of `count` examples."""

    name: str
    count: int
    same: int
    noise_db: float

    def __str__(self) -> str:
        return f"{self.name:<16}{self.same} of {self.count} as the float, {self.noise_db:.1f} dB"


def examples(case: Case, path: Path, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """((N, *shape) float32, (N) classes): the first of a file of packed pictures, or of features.

    All splits count: they are not those that the networks were trained with.
    """
    with np.load(path, allow_pickle=False) as data:
        classes = data["y"][:MOST].astype(np.int64)
        if "jpeg" in data.files:
            packed, ends = data["jpeg"], data["offs"]
            each = range(len(classes))
            found = np.stack([_picture(packed[ends[k] : ends[k + 1]], shape[0]) for k in each])
        else:
            found = data["x"][:MOST].reshape(-1, *shape)
    return (found.astype(np.float64) * case.scale + case.offset).astype(np.float32), classes


def _picture(jpeg: Array, size: int) -> Array:
    """(size, size, 3) uint8"""
    image = need("PIL.Image", "data", "pictures")
    found = image.open(io.BytesIO(jpeg.tobytes())).convert("RGB")
    if found.size != (size, size):
        found = found.resize((size, size), image.Resampling.BILINEAR)
    return np.asarray(found)


def answers(model: Model, x: Array) -> Array:
    """(N, classes): outputs less their mean over the classes."""
    parts = [model.answers(x[k : k + AT_ONCE]) for k in range(0, len(x), AT_ONCE)]
    found = np.concatenate(parts).reshape(len(x), -1).astype(np.float64)
    return found - found.mean(1, keepdims=True)


def noise_db(real: Array, found: Array) -> float:
    noise = float(((real - found) ** 2).sum())
    return 10 * float(np.log10(float((real**2).sum()) / noise)) if noise else np.inf


def row(name: str, real: Array, found: Array, classes: Array) -> Row:
    a, b = real.argmax(1), found.argmax(1)
    return Row(
        name,
        len(classes),
        int((b == classes).sum()),
        int(((b == classes) & (a != classes)).sum()),
        int(((a == classes) & (b != classes)).sum()),
        int((a == b).sum()),
        noise_db(real, found),
    )


def halves(count: int) -> tuple[Array, Array]:
    """Places of the examples of each half."""
    return np.arange(0, count, 2), np.arange(1, count, 2)


def choose(model: Model, x: Array, recipes: Iterable[str]) -> Iterator[Choice]:
    """What each of `recipes` leaves of the float network, on the first half of the examples alone:
    calibrated on three quarters of it, and compared on the fourth."""
    first = halves(len(x))[0]
    held = first[3::4]
    seen = np.setdiff1d(first, held)
    real = answers(model, x[held])
    for name in recipes:
        found = answers(quantize(model, x[seen], RECIPES[name], test=x[held[:1]]).model, x[held])
        same = int((real.argmax(1) == found.argmax(1)).sum())
        yield Choice(name, len(held), same, noise_db(real, found))


def crossed(model: Model, x: Array, options: Quantization) -> Array:
    """Answers to all pictures, of two networks, each calibrated on the half it does not answer."""
    found: dict[int, Array] = {}
    for seen, held in (halves(len(x)), halves(len(x))[::-1]):
        made = quantize(model, x[seen], options, test=x[held[:1]]).model
        found |= dict(zip(held.tolist(), answers(made, x[held]), strict=True))
    return np.stack([found[k] for k in range(len(x))])


def opened(case: Case, folder: Path) -> tuple[Model, Array, Array]:
    """The float network, its examples, and their classes."""
    model = load(folder / case.real)
    shape = model.module.inputs(model.module.entry)[0].type.shape[1:]
    return model, *examples(case, folder / case.data, shape)


def measure(case: Case, folder: Path, recipes: Iterable[str]) -> Iterator[Row]:
    """The float network, the published integers, and those that each of `recipes` gives."""
    model, x, classes = opened(case, folder)
    real = answers(model, x)
    yield row("float", real, real, classes)
    yield row("published", real, answers(load(folder / case.published), x), classes)
    for name in recipes:
        yield row(name, real, crossed(model, x, RECIPES[name]), classes)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", choices=list(CASES), help="all where none is named")
    parser.add_argument("--choose", action="store_true", help="compare recipes on one half alone")
    parser.add_argument("recipes", nargs="*", help=", ".join(RECIPES))
    chosen = parser.parse_args(arguments)
    for name in [chosen.network] if chosen.network else CASES:
        case = CASES[name]
        print(name, flush=True)
        if chosen.choose:
            model, x, _ = opened(case, shared())
            told: Iterator[Choice] | Iterator[Row]
            told = choose(model, x, chosen.recipes or RECIPES)
        else:
            told = measure(case, shared(), chosen.recipes or case.recipes)
        for found in told:
            print(found, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
