"""What is trained: biases of the last layers, weights of some layers, a share of their channels.

    head                     the last layer alone (TinyOL: Ren et al. 2021)
    biases=20                and the biases of the 20 layers before it
    biases=20,24:1/4,27      and a quarter of the input channels of layer 24, all of layer 27
    biases                   all biases (TinyTL: Cai et al. 2020, without its lite residuals)
    last=6                   weights and biases of the 6 layers before the head
    lite                     all biases, and lite residual modules past all blocks (TinyTL)
    biases=20,lite=3         and past the last 3 blocks
    norm                     scales and shifts of normalisations that are operators of their own
    full                     everything
    published:mcunet-49kb    a scheme of MCUNetV3 (Lin et al. 2022; their mcu_ir_gen.py)

Layers count from 0 as they run; the head is the last of them and always trained.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from lilliput.errors import UsageError
from lilliput.train.layers import Layer
from lilliput.train.lite import ALL_BLOCKS


@dataclass(frozen=True)
class UpdateScheme:
    """biases : how many layers before the head have their bias trained, the last ones
    weights : layer -> share of its channels whose weights are trained, in (0, 1]
    name : what the user called it
    lite : past how many blocks, the last ones, there is a lite residual module; `ALL_BLOCKS`
    norms : whether scales and shifts of normalisations are trained
    """

    biases: int = 0
    weights: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""
    lite: int = 0
    norms: bool = False

    def __str__(self) -> str:
        more = self.biases or self.weights or self.lite or self.norms
        parts = [] if more else ["head"]
        parts += [f"biases={self.biases}"] if self.biases else []
        parts += [f"lite={'all' if self.lite == ALL_BLOCKS else self.lite}"] if self.lite else []
        parts += ["norm"] if self.norms else []
        for index, share in sorted(self.weights.items()):
            parts.append(str(index) if share == 1 else f"{index}:{_share(share)}")
        return ",".join(parts)

    def to_json(self) -> dict[str, Any]:
        weights = {str(i): share for i, share in sorted(self.weights.items())}
        found = {"biases": self.biases, "weights": weights, "name": self.name}
        return {**found, "lite": self.lite, "norms": self.norms}

    @staticmethod
    def from_json(text: str) -> UpdateScheme:
        """Raises UsageError for what `to_json` could not have written."""
        try:
            data = json.loads(text)
            weights = {int(i): float(share) for i, share in data.get("weights", {}).items()}
            return UpdateScheme(
                int(data.get("biases", 0)),
                weights,
                str(data.get("name", "")),
                int(data.get("lite", 0)),
                bool(data.get("norms", False)),
            )
        except (ValueError, TypeError, AttributeError) as e:
            raise UsageError(
                "no update scheme",
                expected='{"biases": 20, "weights": {"24": 0.25}}',
                found=text[:80],
            ) from e


def _share(share: float) -> str:
    return str(Fraction(share).limit_denominator(64))


def parse(text: str, layers: Sequence[Layer]) -> UpdateScheme:
    """The scheme that `text` describes, for a network of these layers, the head the last of them.

    Raises UsageError for words that are none, and for layers that are not there.
    """
    text = text.strip()
    before = max(len(layers) - 1, 0)
    if text.startswith("{"):
        return checked(UpdateScheme.from_json(text), layers)
    if text.startswith("published:"):
        return checked(published(text.removeprefix("published:")), layers)
    biases, weights, lite, norms = 0, dict[int, float](), 0, False
    for word in filter(None, (w.strip() for w in text.split(","))):
        key, _, value = word.partition("=")
        if word == "head":
            continue
        if word == "full":
            biases, weights = before, dict.fromkeys(range(before), 1.0)
        elif key == "biases":
            biases = before if not value else _count(value, word, before)
        elif word == "norm":
            norms = True
        elif key == "lite":
            biases = max(biases, 0 if value else before)
            lite = ALL_BLOCKS if value in ("", "all") else _count(value, word, before)
        elif key == "last":
            biases = _count(value, word, before)
            weights |= last(biases, layers).weights
        else:
            index, _, share = word.partition(":")
            weights[_layer(index, word, layers)] = _ratio(share, word) if share else 1.0
    return checked(UpdateScheme(biases, weights, text, lite, norms), layers)


def checked(scheme: UpdateScheme, layers: Sequence[Layer]) -> UpdateScheme:
    """`scheme` itself; raises UsageError where it names what the network does not have."""
    before = max(len(layers) - 1, 0)
    wrong = [i for i in scheme.weights if not 0 <= i < before]
    if wrong or not 0 <= scheme.biases <= before:
        raise UsageError(
            "the scheme is for another network",
            where=scheme.name or str(scheme),
            expected=f"layers 0 to {before - 1}, at most {before} biases",
            found=f"layers {wrong}" if wrong else f"{scheme.biases} biases",
        )
    return scheme


def _count(text: str, word: str, most: int) -> int:
    if not text.isdigit() or int(text) > most:
        raise UsageError("update scheme", where=word, expected=f"a number up to {most}", found=text)
    return int(text)


def _layer(text: str, word: str, layers: Sequence[Layer]) -> int:
    if text.isdigit():
        return int(text)
    named = [layer.index for layer in layers if layer.name == text]
    if not named:
        raise UsageError(
            "update scheme",
            where=word,
            expected="head, full, biases[=N], last=N, lite[=N], norm, LAYER[:SHARE], "
            "published:NAME",
            found=text,
            hint="layers are numbers or names: lilliput inspect lists them",
        )
    return named[0]


def _ratio(text: str, word: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = math.nan
    if not 0 < share <= 1:
        raise UsageError("share of channels", where=word, expected="in (0, 1]", found=text)
    return share


# Published --------------------------------------------------------------------------------


@cache
def _published() -> Mapping[str, tuple[int, UpdateScheme]]:
    """Name -> how many layers its network has, and the scheme."""
    text = resources.files("lilliput.train").joinpath("published.toml").read_text("utf-8")
    found: dict[str, tuple[int, UpdateScheme]] = {}
    for name, row in tomllib.loads(text).items():
        weights = {int(i): r for i, r in row["weights"].items()}
        found[name] = row["layers"], UpdateScheme(row["biases"], weights, f"published:{name}")
    return found


def published(name: str) -> UpdateScheme:
    """The published scheme of that name; raises UsageError with the names there are."""
    if name not in _published():
        raise UsageError(
            "no published scheme of this name", expected=", ".join(_published()), found=name
        )
    return _published()[name][1]


def published_of(layers: Sequence[Layer]) -> tuple[UpdateScheme, ...]:
    """The published schemes of networks with so many layers, the head included."""
    return tuple(scheme for count, scheme in _published().values() if count == len(layers))


def last(count: int, layers: Sequence[Layer]) -> UpdateScheme:
    """Weights and biases of the last `count` layers before the head."""
    before = len(layers) - 1
    return UpdateScheme(count, dict.fromkeys(range(before - count, before), 1.0), f"last={count}")
