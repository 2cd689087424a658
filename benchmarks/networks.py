"""Which networks are measured, and in which ways: one table.

The network of the demo and the front end of sound are always there; the published ones where
LILLIPUT_SHARED names the folder that holds `models/`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import architectures
from lilliput import audio
from lilliput.compiler import Options
from lilliput.demo_data import digits_model
from lilliput.ir.text import save
from lilliput.ir.types import s8
from lilliput.plan.objective import STACK_ROOM, Optimize

DEVICE = "cortex-m4"
TOOLCHAINS = ("gcc", "zig")
CALLBACK = "callback"
"""As for RAM, and the input's rows are asked for one by one."""
TWICE = "twice"
"""As by callback, and up to a fifth of the multiply-accumulates may be computed again."""
WITHIN = "goal"
"""The fastest plan within the arena that is aimed at with the input in memory."""
MODES = (*(mode.value for mode in Optimize), WITHIN, CALLBACK, TWICE)

SPEED, MEMORY = Optimize.SPEED.value, Optimize.RAM.value
GOALS = {
    "vww": {MEMORY: 31, CALLBACK: 11},
    "ic": {MEMORY: 13, CALLBACK: 12},
    "kws": {MEMORY: 5, CALLBACK: 5},
    "tinyengine-vww": {MEMORY: 23, CALLBACK: 14},
    "mcunet-320kb": {MEMORY: 103, CALLBACK: 50},
    "mcunetv2-large": {MEMORY: 230, TWICE: 105},
    "mbv2-w0.35": {MEMORY: 64, CALLBACK: 20},
}
"""Arenas that are aimed at, in kB of 1,024 B."""


def goal(name: str, mode: str) -> int | None:
    """Bytes of the arena that are aimed at, where they are."""
    kilobytes = GOALS.get(name, {}).get(MEMORY if mode == WITHIN else mode)
    return None if kilobytes is None else kilobytes * 1024


@dataclass(frozen=True)
class Way:
    """A C compiler, and what the plan is chosen for, or how its input comes."""

    toolchain: str
    mode: str

    def options(self, network: str) -> Options:
        """For a network by its name."""
        made = Options(compiler=self.toolchain)
        if self.mode == WITHIN:
            arena = goal(network, self.mode)
            return made if arena is None else replace(made, ram=arena + STACK_ROOM)
        if self.mode not in (CALLBACK, TWICE):
            return replace(made, optimize=Optimize(self.mode))
        plan = replace(made.plan, extra_macs=0.2) if self.mode == TWICE else made.plan
        return replace(made, optimize=Optimize.RAM, feed="callback", plan=plan)


WAYS = tuple(
    Way(toolchain, mode)
    for toolchain in TOOLCHAINS
    for mode in MODES
    if mode not in (WITHIN, TWICE)
)
FIRST = WAYS[:1]
"""GCC for speed, which the goals are for."""
LEAN = tuple(way for way in WAYS if way.toolchain == "gcc" and way.mode != "size")
"""Of a network that is here for its RAM."""
FEW = tuple(way for way in WAYS if way.toolchain == "gcc" and way.mode in ("speed", "ram"))
"""Of a network that takes minutes."""
PASSES = (*FEW, Way("gcc", TWICE))
"""And whose blocks of squeeze-and-excite need two passes to need less."""


@dataclass(frozen=True)
class Network:
    """A file below `models/`; None is the demo's.

    own : the file lies beside this one
    drawn : the file is an architecture, and the weights are drawn
    ways : what is measured but for plans within a goal
    minutes : of one measurement on two cores of today, to begin with the longest
    """

    name: str
    file: str | None
    ways: tuple[Way, ...] = WAYS
    minutes: float = 0.1
    own: bool = False
    drawn: bool = False

    def measured(self) -> tuple[Way, ...]:
        """What is measured when nothing is asked for."""
        within = (Way(TOOLCHAINS[0], WITHIN),) if self.name in GOALS else ()
        return (*self.ways, *within)

    def path(self) -> Path | None:
        """Where it is; None where it is not on this machine."""
        if self.file is None:
            return digits_model()
        if self.own:
            return Path(__file__).parent / self.file
        shared = os.environ.get("LILLIPUT_SHARED")
        path = Path(shared) / "models" / self.file if shared else None
        if path is None or not path.is_file():
            return None
        return _drawn(path) if self.drawn else path


@cache
def _drawn(path: Path) -> Path:
    """The network of an architecture, in a file that goes when the process ends."""
    place = TemporaryDirectory(prefix="lilliput-")
    atexit.register(place.cleanup)
    file = Path(place.name) / f"{path.stem}.lilliput"
    file.write_bytes(save(architectures.integers(path.read_bytes(), path.stem)))
    return file


FRONT_END_FILE = "mfcc_16k.lilliput"
FRONT_END = audio.Mfcc(audio.LogMel(window=480, fft=512))
"""That of the keyword network of MLPerf Tiny: 49 frames of 30 ms, 20 ms apart, of a second."""


def front_end() -> bytes:
    """`FRONT_END` with the features of the keyword network, as a file."""
    return save(audio.module(FRONT_END, 49, s8(1, scale=0.5847029, zero_point=83)))


NETWORKS = (
    Network("digits", None),
    Network("mfcc-16k", FRONT_END_FILE, FEW, minutes=0.2, own=True),
    Network("kws", "mlperf_tiny/kws_ref_model_int8.tflite"),
    Network("ic", "mlperf_tiny/ic_resnet8_int8.tflite", minutes=0.3),
    Network("vww", "mlperf_tiny/vww_96_int8.tflite", minutes=0.3),
    Network("ad", "mlperf_tiny/ad01_int8.tflite"),
    Network("tinyengine-vww", "tinyengine/vww.tflite", minutes=0.5),
    Network("mcunetv2-large", "tinyengine/mcunetv2_large.tflite", PASSES, minutes=3),
    Network("mcunet-320kb", "mcunet/mcunet-320kb-1mb_imagenet.tflite", minutes=0.8),
    Network("mbv2-w0.35", "mcunet/configs/mbv2-w0.35-r144_imagenet.json", LEAN, 0.8, drawn=True),
)


def present() -> Iterator[tuple[Network, Path]]:
    """Every network that is on this machine."""
    for network in NETWORKS:
        if path := network.path():
            yield network, path
