"""What a front end computes, said once: dataclasses that the graph and the reference read."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lilliput.audio.tables import Reals, triangles
from lilliput.errors import FormatError, UsageError
from lilliput.ops.fourier import LARGEST, SMALLEST

Kind = Literal["magnitude", "power"]
Scale = Literal["natural", "db"]
Q15 = 32768
WINDOW = 32767
"""What a window function of 1 is stored as."""
BAND_FRACTION = 7
"""Fraction bits of a band of magnitudes; powers have none."""


def _require(ok: bool, what: str, where: str, expected: object, found: object) -> None:
    if not ok:
        raise UsageError(what, where=where, expected=str(expected), found=str(found))


def offsets(front: LogMel | Spectra) -> tuple[float, float]:
    """The smallest and the largest offset of the logarithm that is stored as an integer."""
    return front.unit, front.unit * (2**31 - 1)


def _require_windows(where: str, window: int, stride: int, fft: int) -> None:
    power = fft & (fft - 1) == 0 and SMALLEST <= fft <= LARGEST
    _require(power, "fft", where, f"a power of two, {SMALLEST} to {LARGEST}", fft)
    _require(1 <= window <= fft, "window", where, f"1 to fft ({fft})", window)
    _require(stride >= 1, "stride", where, ">= 1", stride)


@dataclass(frozen=True)
class LogMel:
    """Logarithms of bands on the mel scale: features (frames, mels).

    sample_rate, low, high : Hz
    window, stride, fft : samples of a frame, between the starts of two, and of the transform
    spectrum : what a band sums
    log_offset : added to a band, of sound in [-1, 1), before the logarithm
    log : natural, or decibels
    """

    sample_rate: int = 16000
    window: int = 640
    stride: int = 320
    fft: int = 1024
    mels: int = 40
    low: float = 20.0
    high: float = 4000.0
    spectrum: Kind = "magnitude"
    log_offset: float = 1e-6
    log: Scale = "natural"

    def __post_init__(self) -> None:
        where = type(self).__name__
        _require_windows(where, self.window, self.stride, self.fft)
        _require(self.sample_rate >= 1, "sample_rate", where, ">= 1", self.sample_rate)
        _require(self.mels >= 1, "mels", where, ">= 1", self.mels)
        band = 0 <= self.low < self.high <= self.sample_rate / 2
        limits = f"0 <= low < high <= {self.sample_rate / 2}"
        _require(band, "low and high", where, limits, (self.low, self.high))
        kinds, scales = ("magnitude", "power"), ("natural", "db")
        _require(self.spectrum in kinds, "spectrum", where, kinds, self.spectrum)
        _require(self.log in scales, "log", where, scales, self.log)
        least, most = offsets(self)
        limits = f"{least:.3g} to {most:.3g}, one step of a band to 2^31 of them"
        _require(least <= self.log_offset <= most, "log_offset", where, limits, self.log_offset)
        empty = [int(m) for m in np.flatnonzero(self.weights().sum(1) == 0)]
        _require(not empty, "mels", where, "a bin in each band: fewer mels, or a longer fft",
                 f"bands without any: {empty}")  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of a frame."""
        return (self.mels,)

    @property
    def axes(self) -> int:
        """Of the sensor: samples that come together."""
        return 1

    @property
    def unit(self) -> float:
        """What a step of a band is, of sound in [-1, 1): the transform is divided by its length."""
        step = self.fft / (Q15 * WINDOW)
        return step**2 if self.spectrum == "power" else step / (1 << BAND_FRACTION)

    def weights(self) -> Reals:
        """(mels, fft/2 + 1)"""
        return triangles(self.sample_rate, self.fft, self.mels, self.low, self.high)


@dataclass(frozen=True)
class Mfcc:
    """The first coefficients of the cosine transform of `mel`: features (frames, coefficients)."""

    mel: LogMel = field(default_factory=LogMel)
    coefficients: int = 10

    def __post_init__(self) -> None:
        limits = f"1 to mels ({self.mel.mels})"
        ok = 1 <= self.coefficients <= self.mel.mels
        _require(ok, "coefficients", "Mfcc", limits, self.coefficients)

    @property
    def window(self) -> int:
        return self.mel.window

    @property
    def stride(self) -> int:
        return self.mel.stride

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of a frame."""
        return (self.coefficients,)

    @property
    def axes(self) -> int:
        return 1


@dataclass(frozen=True)
class Spectra:
    """Logarithms of the magnitudes of a sensor of several axes: features (frames, axes, bins).

    window, stride, fft : as in `LogMel`; bins: fft/2 + 1
    log_offset : added to a magnitude, of samples in [-1, 1), before the natural logarithm
    """

    axes: int = 3
    window: int = 128
    stride: int = 64
    fft: int = 128
    log_offset: float = 1e-4

    def __post_init__(self) -> None:
        _require_windows("Spectra", self.window, self.stride, self.fft)
        _require(self.axes >= 1, "axes", "Spectra", ">= 1", self.axes)
        least, most = offsets(self)
        limits = f"{least:.3g} to {most:.3g}"
        ok = least <= self.log_offset <= most
        _require(ok, "log_offset", "Spectra", limits, self.log_offset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of a frame."""
        return (self.axes, self.fft // 2 + 1)

    @property
    def unit(self) -> float:
        """What a step of a magnitude is, of samples in [-1, 1)."""
        return self.fft / (Q15 * WINDOW)


FrontEnd = LogMel | Mfcc | Spectra


# From a file ------------------------------------------------------------------------------

KINDS: Mapping[str, type[LogMel] | type[Mfcc] | type[Spectra]] = {
    "log_mel": LogMel,
    "mfcc": Mfcc,
    "spectra": Spectra,
}


def read(path: str | Path) -> FrontEnd:
    """A front end from a TOML file: `kind`, one of `KINDS`, and the fields that are not as usual.

    Raises FormatError, or UsageError for a value that cannot be.
    """
    where = str(path)
    try:
        given: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise FormatError("cannot read it", where=where, found=e.strerror or str(e)) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise FormatError("not a TOML file", where=where, found=str(e)) from e
    kind = given.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        names = " or ".join(KINDS)
        raise FormatError("kind of front end", where=where, expected=names, found=str(kind))
    outer = {"coefficients": given.pop("coefficients", 10)} if kind == "mfcc" else {}
    plain = LogMel if kind == "mfcc" else KINDS[kind]
    for name, value in (given | outer).items():
        wanted = _type_of(plain if name in given else Mfcc, name)
        right = isinstance(value, wanted) and not isinstance(value, bool) if wanted else False
        if not right:
            fields = ", ".join(f.name for f in dataclasses.fields(plain))
            expected = " or ".join(t.__name__ for t in wanted) if wanted else fields
            raise FormatError(f"field {name}", where=where, expected=expected, found=repr(value))
    made = plain(**given)
    return Mfcc(made, **outer) if isinstance(made, LogMel) and kind == "mfcc" else made


def _type_of(kind: type[FrontEnd], name: str) -> tuple[type, ...]:
    """The types that a field takes, none where there is no such field."""
    named = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    kinds: Mapping[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "Kind": (str,),
        "Scale": (str,),
    }
    return kinds.get(named.get(name, ""), ())
