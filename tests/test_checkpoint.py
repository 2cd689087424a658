"""Checkpoints of what has been learned: power that fails at any byte, damage to any byte, other
programs; and the calls around them, on the host and on an emulated core."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.learner import CLASSES, FEATURES, core, drive_core, drive_host, learner, program

from lilliput.emu.toolchain import Toolchain, host_compilers
from lilliput.ir import Session
from lilliput.ir.types import Array

INVALID, DIVERGED, NO_CHECKPOINT, FOREIGN = (code & 0xFFFFFFFF for code in (-1, -2, -3, -6))


def driven(i: int) -> Mapping[str, Array]:
    """Example i of tests/flash/states.h."""
    row = [1.0 if k == i % CLASSES else 0.25 * (k + i % 5) for k in range(FEATURES)]
    return {"image": np.array([row], np.float32), "label": np.full(1, i % CLASSES, np.int32)}


def sum_of(session: Session) -> int:
    saved = [s.name for s in session.module.states.values() if s.saved]
    return zlib.crc32(b"".join(session.states[name].tobytes() for name in saved))


def expected_trip() -> dict[int, int]:
    """What tests/flash/trip.c reports, word by word."""
    session, words = Session(learner()), {0: 0, 2: NO_CHECKPOINT, 3: 0}
    words[1] = sum_of(session)
    for i in range(5):
        loss = session.run(driven(i), "train_step").outputs["loss"]
        words[3] ^= int(loss.view(np.uint32)[0, 0])
    session.states["learning_rate"] = np.full(1, 0.125, np.float32)
    words[4] = words[6] = words[7] = words[11] = sum_of(session)
    for i in range(5, 10):
        session.run(driven(i), "train_step")
    words[5] = sum_of(session)
    return words | {8: INVALID, 9: INVALID, 10: DIVERGED, 12: 1, 13: INVALID}


def check_trip(report: Sequence[int]) -> None:
    words = expected_trip()
    assert {k: report[k] for k in words} == words
    assert len({report[1], report[4], report[5]}) == 3, "it has learned in between"


def test_what_was_learned_is_saved_and_loaded_on_the_host(
    host_compiler: Toolchain, tmp_path: Path
) -> None:
    check_trip(drive_host("trip", [program()], host_compiler, tmp_path))


@pytest.mark.parametrize("name", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_what_was_learned_is_saved_and_loaded_on_the_core(name: str, tmp_path: Path) -> None:
    device = core(name)
    check_trip(drive_core("trip", [program(device=device)], device, tmp_path))


def test_a_checkpoint_of_another_program_is_refused(
    host_compiler: Toolchain, tmp_path: Path
) -> None:
    programs = [program(), program("other")]
    assert programs[0].identity != programs[1].identity
    report = drive_host("foreign", programs, host_compiler, tmp_path)
    assert report[:10] == [1, 1, FOREIGN, 1, 1, 1, 1, 1, FOREIGN, 0]


@pytest.fixture
def sanitized() -> Toolchain:
    """A compiler with an address sanitizer, if there is one: Zig has none."""
    found = host_compilers()
    if not found:
        pytest.skip("no C compiler for this machine")
    return next((t for t in found if t.kind != "zig"), found[0])


def test_power_may_fail_at_every_byte_and_every_byte_may_be_damaged(
    sanitized: Toolchain, tmp_path: Path
) -> None:
    units = (1, 8, 128)
    check_cuts(drive_host("cuts", [program()], sanitized, tmp_path, units), len(units))


def test_power_may_fail_at_every_byte_on_the_core(tmp_path: Path) -> None:
    check_cuts(drive_core("cuts", [program(device=core())], core(), tmp_path), 1)


def check_cuts(report: Sequence[int], flashes: int) -> None:
    """What tests/flash/cuts.c reports: failures by kind, and how much it has tried."""
    assert dict(enumerate(report[:10])) == dict.fromkeys(range(10), 0)
    assert report[14] == 0, "what is not used of a unit stays erased"
    kept_old, kept_new, damaged, failed_reads = report[10:14]
    # 4 histories x 2 kinds of cut: each erases 256 bytes and writes at least 100
    assert kept_old >= 8 * 356 * flashes
    assert kept_new >= 8 * flashes
    assert damaged == 2 * 9 * (32 + 68) * flashes
    assert failed_reads >= 2 * 4 * flashes
