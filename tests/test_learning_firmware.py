"""Firmware that learns: whole images that boot, save and load; rounds that go back."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.cli_case import Run, runner
from tests.learner import HARNESS

import boot
from lilliput import compiler, devices
from lilliput.codegen.emit import emit
from lilliput.demo_data import digits_model
from lilliput.devices.device import Device
from lilliput.emu.machine import Command, emulation_device, run_emulated, run_host
from lilliput.emu.toolchain import Toolchain, build_firmware, build_host, find
from lilliput.ir import Array, Session
from lilliput.plan.build import plan
from lilliput.plan.program import Program
from lilliput.project import learning_files, require_start
from lilliput.train.build import ENTRY, EVALUATE, Training, trainable
from lilliput.train.optimisers import Optimiser
from lilliput.train.schemes import UpdateScheme

BOARD, CLASSES = "mps2-an386", 4
SCHEME = UpdateScheme(biases=1, weights={3: 1.0})


def written(
    folder: Path, optimiser: Optimiser | None = None, feed: compiler.Feed = "memory"
) -> Path:
    """A project that learns, in `folder`."""
    options = compiler.Options("none", feed=feed)
    found = compiler.learner(
        compiler.load(digits_model()),
        devices.load(BOARD),
        SCHEME,
        optimiser or Optimiser(momentum=0.9),
        classes=CLASSES,
        max_classes=6,
        evaluate=True,
        options=options,
    )
    files = compiler.project_files(found.compiled, "bare-metal", options)
    compiler.write(found.compiled, folder, files=files)
    return folder


def said(folder: Path, *more: str, toolchain: str = "gcc") -> str:
    """The verdict of the image that the project's Makefile builds."""
    machine = require_start(devices.load(BOARD)).qemu
    return boot.listen(machine, boot.make(folder, toolchain, *more))[-1]


# Booting ----------------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.parametrize(
    "toolchain",
    [pytest.param("gcc", marks=pytest.mark.gcc), pytest.param("zig", marks=pytest.mark.zig)],
)
def test_an_image_learns_saves_and_loads(toolchain: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "project")
    assert said(folder, toolchain=toolchain) == "lilliput digits: exact"


@pytest.mark.qemu
@pytest.mark.gcc
def test_an_image_learns_from_a_picture_that_is_never_in_memory(tmp_path: Path) -> None:
    folder = written(tmp_path / "project", feed="callback")
    header = (folder / "digits.h").read_text(encoding="utf-8")
    given = "digits_train_step_rows0_fn rows0, void *ctx0, int32_t label, float *loss"
    assert f"digits_status digits_train_step({given});" in header
    assert not (folder / "digits_learning.c").exists()
    assert said(folder) == "lilliput digits: exact"


@pytest.mark.qemu
@pytest.mark.gcc
def test_a_save_between_the_examples_of_a_step_leaves_out_their_sums(tmp_path: Path) -> None:
    folder = written(tmp_path / "project", Optimiser("adam", 0.003, accumulate=3))
    assert said(folder) == "lilliput digits: exact"


@pytest.mark.qemu
@pytest.mark.gcc
def test_an_image_that_learns_otherwise_says_so(tmp_path: Path) -> None:
    folder = written(tmp_path / "project")
    path = folder / "firmware" / "learn_test.c"
    right = path.read_text(encoding="utf-8")
    last = right.split("losses[6] = {")[1].split("u};")[0].split(", ")[-1]
    path.write_text(right.replace(last, f"{int(last, 16) ^ 1:#010x}"), encoding="utf-8")
    assert said(folder) == "lilliput digits: learning differs"


OWN = """\
#include "flash.h"
static uint8_t mine[2u * LL_FLASH_SLOT_BYTES];
int ll_flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes) {
    (void)ctx;
    __builtin_memcpy(data, &mine[offset], bytes);
    return 0;
}
int ll_flash_erase(void *ctx, uint32_t offset, uint32_t bytes) {
    (void)ctx;
    __builtin_memset(&mine[offset], 0xFF, bytes);
    return 0;
}
int ll_flash_write(void *ctx, uint32_t offset, const void *data, uint32_t bytes) {
    (void)ctx;
    __builtin_memcpy(&mine[offset], data, bytes);
    return FAILS;
}
"""


@pytest.mark.qemu
@pytest.mark.gcc
def test_a_driver_of_the_boards_own_takes_the_place_of_the_template(tmp_path: Path) -> None:
    """And its failure is the verdict."""
    folder = written(tmp_path / "project")
    own = folder / "firmware" / "own.c"
    makefile = folder / "Makefile"
    text = makefile.read_text(encoding="utf-8")
    makefile.write_text(text.replace("SOURCES := ", "SOURCES := firmware/own.c "), "utf-8")
    own.write_text(OWN.replace("FAILS", "0"), encoding="utf-8")
    assert said(folder) == "lilliput digits: exact"
    own.write_text(OWN.replace("FAILS", "-1"), encoding="utf-8")
    assert said(folder) == "lilliput digits: learning differs"


@pytest.mark.qemu
@pytest.mark.gcc
def test_without_room_for_slots_only_learning_is_tested(tmp_path: Path) -> None:
    folder = written(tmp_path / "project")
    header = (folder / "firmware" / "flash.h").read_text(encoding="utf-8")
    assert "#define LL_FLASH_IN_RAM 1" in header
    assert said(folder, "EXTRA=-Werror -DLL_FLASH_IN_RAM=0") == "lilliput digits: exact"


@pytest.mark.parametrize("kind", ["arduino", "zephyr"])
def test_other_build_systems_have_the_rounds_as_well(kind: str, tmp_path: Path) -> None:
    found = program(training())
    assert sorted(learning_files(found)) == ["digits_learning.c", "digits_learning.h"]
    options = compiler.Options("none")
    compiled = compiler.compile(
        compiler.from_module(training().module), devices.load(BOARD), options
    )
    files = compiler.project_files(compiled, "zephyr" if kind == "zephyr" else "arduino", options)
    assert {"src/digits_learning.c", "src/digits_learning.h"} <= files.keys()
    if kind == "zephyr":
        assert "src/digits.c src/digits_learning.c" in files["CMakeLists.txt"]
    plain = compiler.output_files(compiled)
    assert "/digits_learning.c)" in plain["CMakeLists.txt"]
    assert not learning_files(program(training(evaluate=False)))


@pytest.mark.zig
def test_the_command_writes_a_project(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run: Run = runner(capsys)
    out = tmp_path / "out"
    given = ("train", digits_model(), "--classes", "4", "--max-classes", "6", "--project")
    result = run(*given, "-d", BOARD, "--compiler", "zig", "-o", out)
    assert result.code == 0, result.err
    assert "the whole firmware: " in result.err
    assert (out / "firmware" / "learn_test.c").is_file()
    assert not (out / "digits_learning.c").exists(), "without --evaluate there are no rounds"
    refused = run(*given, "-d", "rp2040", "-o", tmp_path / "no")
    assert refused.code == 1
    assert "no whole firmware can be written for this device" in refused.err


# Rounds -----------------------------------------------------------------------------------

SAMPLES, HELD = 6, 5


def training(*, evaluate: bool = True) -> Training:
    network = compiler.load(digits_model()).module
    how = Optimiser(rate=0.01, momentum=0.9)
    return trainable(network, SCHEME, how, classes=CLASSES, max_classes=6, evaluate=evaluate)


def core() -> Device:
    return emulation_device(devices.load("cortex-m4").core)


def program(found: Training, device: Device | None = None) -> Program:
    return plan(compiler.from_module(found.module).module, device or core())


DRIVER = """\
#include "driver.h"
#include "digits_learning.h"

uint32_t driver_report[REPORT];
uint8_t driver_arena[64];
static uint8_t slots[2u * DIGITS_SLOT_BYTES];
static int broken;

static int flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes) {
    __builtin_memcpy(data, (uint8_t *)ctx + offset, bytes);
    return 0;
}

static int flash_erase(void *ctx, uint32_t offset, uint32_t bytes) {
    __builtin_memset((uint8_t *)ctx + offset, 0xFF, bytes);
    return 0;
}

static int flash_write(void *ctx, uint32_t offset, const void *data, uint32_t bytes) {
    __builtin_memcpy((uint8_t *)ctx + offset, data, bytes);
    return broken;
}

static const digits_flash flash = {flash_read, flash_erase, flash_write, slots,
                                   DIGITS_SLOT_BYTES, 8u};

/* `sample` of the test: a bar at a place that depends on the class. */
static int32_t give(void *ctx, uint32_t index, int8_t *x) {
    const uint32_t seen = *(const uint32_t *)ctx + index;
    const int32_t label = (int32_t)(seen % 4u);
    for (int32_t i = 0; i < 64; ++i) {
        const int32_t noise = (int32_t)((seen * 37u + (uint32_t)i * 11u) % 23u);
        x[i] = (int8_t)(i / 16 == label ? 90 + noise : -128 + noise);
    }
    return index == WRONG ? 9 : label;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4u);
    return bits;
}

void driver_run(void) {
    static const float rates[ROUNDS] = RATES;
    uint32_t first = 0u, apart = 1000u;
    const digits_samples held = {give, &apart, HELD};
    digits_round round;
    uint32_t at = 0u;
    broken = 0;
    __builtin_memset(slots, 0, sizeof slots);
    digits_reset();
    for (uint32_t r = 0; r < ROUNDS; ++r, first += SAMPLES) {
        const digits_samples learn = {give, &first, r == ROUNDS - 1u ? 12u : SAMPLES};
        digits_set_learning_rate(rates[r]);
        driver_report[at++] = (uint32_t)digits_improve(&flash, &learn, &held, &round);
        driver_report[at++] = bits_of(round.before);
        driver_report[at++] = bits_of(round.after);
        driver_report[at++] = round.steps;
        driver_report[at++] = (uint32_t)round.kept;
        digits_save(&flash);
        driver_report[at++] = ((const uint32_t *)(const void *)slots)[6];
        driver_report[at++] = ((const uint32_t *)(const void *)(slots + DIGITS_SLOT_BYTES))[6];
    }
    const digits_samples none = {give, &first, 0u};
    driver_report[at++] = (uint32_t)digits_improve(&flash, &none, &none, &round);
    broken = -1;
    const digits_samples learn = {give, &first, SAMPLES};
    driver_report[at++] = (uint32_t)digits_improve(&flash, &learn, &held, &round);
    driver_report[at++] = round.steps;
}
"""
RATES = (0.01, 1e37, 0.005, 8.0, 0.01)
"""Of five rounds: the second diverges, the fourth makes it worse, the last has a wrong label."""
WRONG = 7
REPORT = 7 * len(RATES) + 3


def sample(seen: int) -> tuple[Array, int]:
    i = np.arange(64)
    noise = (seen * 37 + i * 11) % 23
    label = seen % 4
    x = np.where(i // 16 == label, 90 + noise, -128 + noise)
    return x.astype(np.int8).reshape(1, 8, 8, 1), label


def mean_loss(session: Session) -> np.float32:
    total = np.float32(0)
    for k in range(HELD):
        x, label = sample(1000 + k)
        given = {f"{EVALUATE}/pixels": x, f"{EVALUATE}/label": np.full(1, label, np.int32)}
        total += session.run(given, EVALUATE).outputs[f"{EVALUATE}/loss"][0]
    return np.float32(total / np.float32(HELD))


def checksum(session: Session) -> int:
    saved = [n for n, s in session.module.states.items() if s.saved]
    return zlib.crc32(b"".join(session.states[n].tobytes() for n in saved))


def expected_rounds(found: Training) -> list[int]:
    """What the driver reports, but for the checksum of the slot that holds an older save."""
    session, words, first = Session(found.module), list[int](), 0
    saved = [n for n, s in found.module.states.items() if s.saved]
    for r, rate in enumerate(RATES):
        session.states["learning_rate"] = np.full(1, rate, np.float32)
        before, kept = mean_loss(session), dict(session.states)
        after, steps, status = before, 0, 0
        for k in range(12 if r == len(RATES) - 1 else SAMPLES):
            x, label = sample(first + k)
            label = 9 if k == WRONG else label
            given = {f"{ENTRY}/pixels": x, "label": np.full(1, label, np.int32)}
            refused = session.run(given, ENTRY).refused
            if refused:
                status = {"label": -1, "loss": -2}[refused]
                break
            steps += 1
        else:
            after = mean_loss(session)
        good = status == 0 and bool(after <= before)
        if not good:
            session.states |= {n: kept[n] for n in saved}
        bits = [int(v.view(np.uint32)) for v in (before, after)]
        words += [status & 0xFFFFFFFF, *bits, steps, int(good), checksum(session)]
        first += SAMPLES
    return words


def sources(found: Program) -> Mapping[str, str]:
    rates = ", ".join(f"{np.float32(r)!s}f" for r in RATES)
    header = f"""\
#include <stdint.h>
#define REPORT {REPORT}
#define ROUNDS {len(RATES)}u
#define RATES {{{rates}}}
#define SAMPLES {SAMPLES}u
#define HELD {HELD}u
#define WRONG {WRONG}u
extern uint32_t driver_report[REPORT];
extern uint8_t driver_arena[64];
void driver_run(void);
void driver_on_step(uint32_t step);
"""
    return {
        **emit(found),
        **learning_files(found),
        "driver.h": header,
        "driver.c": DRIVER,
        "harness_model.h": HARNESS,
    }


def check_rounds(report: bytes, found: Training) -> None:
    words = [int(w) for w in np.frombuffer(report, "<u4")]
    expected = expected_rounds(found)
    rounds = [words[7 * r : 7 * r + 7] for r in range(len(RATES))]
    wanted = [expected[6 * r : 6 * r + 6] for r in range(len(RATES))]
    for round, want in zip(rounds, wanted, strict=True):
        assert round[:5] == want[:5]
        assert want[5] in round[5:], "what is saved then is what is left"
    assert [w[0] for w in wanted] == [0, 0xFFFFFFFE, 0, 0, 0xFFFFFFFF]
    assert [w[4] for w in wanted] == [1, 0, 1, 0, 0]
    assert words[-3:] == [0xFFFFFFFF, 0xFFFFFFFB, 0], "no samples; a flash that fails"


def test_rounds_go_back_where_they_made_it_worse_on_the_host(
    host_compiler: Toolchain, tmp_path: Path
) -> None:
    found = training()
    binary = build_host(host_compiler, sources(program(found)), tmp_path)
    check_rounds(run_host(binary, [Command("run", 0, ())], 300)[0].outputs[0], found)


@pytest.mark.unicorn
def test_rounds_go_back_where_they_made_it_worse_on_the_core(tmp_path: Path) -> None:
    found, device = training(), core()
    image = build_firmware(find(device.core), device, sources(program(found, device)), tmp_path)
    runs = run_emulated(image, device, [Command("run", 0, ())], count=False)
    check_rounds(runs[0].outputs[0], found)
