"""Streaming over time: a step on the newest frames gives what the whole window gives.

One idea: a stream is longer than the window, and every step of it is held against the network
of the window, run on the frames that it has seen last.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.time_networks import Frames, grow, wake_word

from lilliput.errors import UnsupportedError, UsageError
from lilliput.ir import DType, Module, verify
from lilliput.ir.interp import Session
from lilliput.ir.types import Array
from lilliput.passes.streaming import Stream, Streamed, stream


def assert_equals_the_window(found: Streamed, frames: list[Array]) -> None:
    verify(found.module)
    session, whole = Session(found.module), Session(found.source)
    (x,), (given,) = found.source.inputs("infer"), found.module.inputs("step")
    for new, window in zip(frames, found.windows(frames), strict=True):
        got = session.run({given.name: new}).outputs
        want = found.given(list(whole.run({x.name: window}).outputs.values()))
        for a, b in zip(got.values(), want, strict=True):
            np.testing.assert_array_equal(a, b)


def streamed(f: Frames, module: Module, hop: int | None = None) -> Streamed | None:
    """None where the network is refused because nothing would be saved."""
    try:
        return stream(module, Stream(f.time, hop))
    except UnsupportedError as e:
        assert "saves nothing" in str(e)
        return None


@given(st.integers(0, 1 << 32))
def test_any_network_over_time_gives_what_its_window_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def choose(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    dtype = (DType.S8, DType.S8, DType.S16, DType.F32)[choose(0, 3)]
    f = Frames(rng, dtype, choose(1, 2))
    module = grow(f, choose, choose(1, 5), padding=choose(0, 2) > 0)
    found = streamed(f, module)
    if found is None:
        return
    if 2 * found.hop <= found.window and choose(0, 1):
        found = streamed(f, module, 2 * found.hop) or found
    steps = 2 * found.window // found.hop + 2
    assert_equals_the_window(found, f.frames(module, steps, found.hop))


def test_wake_word() -> None:
    module = wake_word()
    found = stream(module)
    assert found.ring_bytes == 3960
