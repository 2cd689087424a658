"""Measurements made up for tests."""

from __future__ import annotations

from lilliput import pull
from lilliput.bench import Measurement, Share
from lilliput.report import FlashBytes, RamBytes

KWS, VWW = (pull.models()[f"mlperf-tiny-{name}"].sha256 for name in ("kws", "vww"))


def measurement(
    name: str,
    sha256: str = "",
    *,
    optimize: str = "speed",
    toolchain: str = "gcc",
    compiler: str = "",
    macs: int = 1000,
    instructions: int = 5000,
    ram: int = 500,
    flash: int = 1000,
) -> Measurement:
    """Four fifths of the instructions are pointwise; shrinking left four fifths of the MACs."""
    left, most = macs * 4 // 5, instructions * 4 // 5
    return Measurement(
        name,
        sha256,
        optimize,
        toolchain,
        compiler or f"{toolchain} 12",
        macs,
        left,
        RamBytes(ram - 100, 0, 20, 0, 80, ram),
        FlashBytes(flash - 100, 100, flash, ()),
        instructions,
        7000.0,
        6900.0,
        (Share("pointwise", macs, left, most), Share("other", 0, 0, instructions - most)),
        True,
        ("emulated cortex-m4",),
    )
