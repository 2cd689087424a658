"""MCUNet quantised from its checkpoint, beside the published int8 file, on pictures of ImageNet.

    LILLIPUT_SHARED=folder python -m benchmarks.quantised [recipe ...]

One idea: the 1,000 pictures of the sample are halved, and each half is answered by the network that
the other half has calibrated: every picture counts once, and none was calibrated on.  Accuracy on
1,000 pictures tells two networks apart only where their answers differ in many more pictures one
way than the other, which `chance` says (McNemar 1947, exact); the signal-to-noise ratio of the
outputs tells earlier, and chooses recipes.  Answers are those of the integer network, every one
equal to the device's (`quant.batch`); the float network is summed in another order.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from lilliput.compiler import Model, Quantization, load, quantize
from lilliput.ir.types import Array
from lilliput.optional import need

FLOAT = "models/mcunet/mcunet-320kb-1mb_imagenet.pth"
PUBLISHED = "models/mcunet/mcunet-320kb-1mb_imagenet.tflite"
PICTURES = "data/imagenet_sample/imagenet1000_224.npz"
AT_ONCE = 50
BEST = Quantization(ranges="mse", adaptive_rounding=True, bias_correction=True)
RECIPES: Mapping[str, Quantization] = {
    "plain": Quantization(),
    "mse": Quantization(ranges="mse"),
    "bias": Quantization(bias_correction=True),
    "mse, bias": Quantization(ranges="mse", bias_correction=True),
    "rounding, bias": Quantization(adaptive_rounding=True, bias_correction=True),
    "best": replace(BEST, distill=4),
    "no training": BEST,
    "int16 sums": replace(BEST, int16_layers=("*.sum",)),
}


@dataclass(frozen=True)
class Row:
    """What a network answers beside the float network on the same pictures.

    right : pictures, top 1; gained, lost : right in one of the two alone; same : equal answers
    noise_db : energy of the float outputs over that of the difference, means over classes aside
    """

    name: str
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
        share = f"{self.right:>5} right, {self.gained} gained, {self.lost} lost"
        told = f"{share} (chance {self.chance:.2f})"
        return f"{self.name:<16}{told}, {self.same} as the float, {self.noise_db:.1f} dB"


def pictures(path: Path, size: int) -> tuple[Array, Array]:
    """((N, size, size, 3) float32 in -1 ... 1, (N) classes) of the sample."""
    image = need("PIL.Image", "data", "pictures")
    with np.load(path, allow_pickle=False) as data:
        packed, ends, classes = data["jpeg"], data["offs"], data["y"]
    found = [
        image.open(io.BytesIO(packed[a:b].tobytes())).convert("RGB") for a, b in pairwise(ends)
    ]
    small = [np.asarray(p.resize((size, size), image.Resampling.BILINEAR)) for p in found]
    return (np.stack(small) / 127.5 - 1).astype(np.float32), classes.astype(np.int64)


def answers(model: Model, x: Array) -> Array:
    """(N, classes): outputs less their mean over the classes."""
    parts = [model.answers(x[k : k + AT_ONCE]) for k in range(0, len(x), AT_ONCE)]
    found = np.concatenate(parts).reshape(len(x), -1).astype(np.float64)
    return found - found.mean(1, keepdims=True)


def row(name: str, real: Array, found: Array, classes: Array) -> Row:
    a, b = real.argmax(1), found.argmax(1)
    noise = float(((real - found) ** 2).sum())
    return Row(
        name,
        int((b == classes).sum()),
        int(((b == classes) & (a != classes)).sum()),
        int(((a == classes) & (b != classes)).sum()),
        int((a == b).sum()),
        10 * float(np.log10(float((real**2).sum()) / noise)) if noise else np.inf,
    )


def crossed(model: Model, x: Array, options: Quantization) -> Array:
    """Answers to all pictures, of two networks, each calibrated on the half it does not answer."""
    halves = np.arange(0, len(x), 2), np.arange(1, len(x), 2)
    found: dict[int, Array] = {}
    for seen, held in (halves, halves[::-1]):
        made = quantize(model, x[seen], options, test=x[held[:1]]).model
        found |= dict(zip(held.tolist(), answers(made, x[held]), strict=True))
    return np.stack([found[k] for k in range(len(x))])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipes", nargs="*", help=", ".join(RECIPES))
    names: list[str] = parser.parse_args(arguments).recipes or ["best"]
    shared = Path(os.environ["LILLIPUT_SHARED"])
    model = load(shared / FLOAT)
    size = model.module.inputs(model.module.entry)[0].type.shape[1]
    x, classes = pictures(shared / PICTURES, size)
    real = answers(model, x)
    print(row("float", real, real, classes), flush=True)
    print(row("published", real, answers(load(shared / PUBLISHED), x), classes), flush=True)
    for name in names:
        print(row(name, real, crossed(model, x, RECIPES[name]), classes), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
