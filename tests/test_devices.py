"""Boards load, say where their numbers come from, and wrong files are described completely."""

from __future__ import annotations

from pathlib import Path

import pytest

from lilliput import devices, errors

BOARDS = (
    *("stm32f412", "stm32f446", "stm32f746", "stm32f765", "stm32h743", "stm32l4r5"),
    *("stm32u575", "stm32g0b1", "nrf52840", "rp2040", "esp32-c3", "corstone-300"),
    *("stm32f405", "mps2-an386", "mps2-an500", "mps3-an547"),
    *("stm32f746g-disco", "stm32h750b-dk"),
)

GOOD = """
title = "Own board"
core = "cortex-m4"
clock_hz = 48_000_000
[sources]
clock_hz = "manual 1"
flash = "manual 2"
sram = "manual 3"
[memory.flash]
kind = "flash"
origin = 0x0
size = 0x10000
default = true
[memory.sram]
kind = "ram"
origin = 0x20000000
size = 0x8000
default = true
"""


@pytest.mark.parametrize("name", devices.names())
def test_every_device_loads(name: str) -> None:
    device = devices.load(name)
    assert device.name == name
    assert device.limits == (name in BOARDS)
    assert (device.clock_hz is None) != device.limits
    if device.limits:
        start = {"start"} if device.start else set[str]()
        timing = {"timing"} if device.flash.timing else set[str]()
        memories = {m.name for m in device.memories}
        assert set(device.sources) == {"clock_hz", *memories, *start, *timing}
        assert all(len(text) > 10 for text in device.sources.values())


def test_names_are_boards_and_cores() -> None:
    assert set(devices.names()) == {*BOARDS, *devices.cores()}


def test_sizes() -> None:
    device = devices.load("STM32F746")
    assert (device.ram_bytes, device.flash_bytes) == (320 * 1024, 1024 * 1024)
    assert device.memory("itcm").size == 16 * 1024


def test_unknown_device_lists_the_nearest() -> None:
    with pytest.raises(errors.UnknownDevice, match="stm32f746"):
        devices.load("stm32f747")


def test_a_folder_adds_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    assert "mine" in devices.names([tmp_path])
    assert devices.load("mine", [tmp_path]).ram_bytes == 0x8000
    assert devices.load(tmp_path / "mine.toml").title == "Own board"
    monkeypatch.setenv("LILLIPUT_BOARDS", str(tmp_path))
    assert devices.load("mine").flash_bytes == 0x10000


# What is wrong -> (text to replace, by what, words of the message).
WRONG = {
    "bad type": ("clock_hz = 48_000_000", 'clock_hz = "fast"', "expected: a whole number"),
    "unknown key": ('title = "Own', 'titel = "x"\ntitle = "Own', "did you mean 'title'"),
    "missing key": ('core = "cortex-m4"', "", "core: missing key"),
    "unknown core": ("cortex-m4", "cortex-m9", "expected: one of cortex-m0plus"),
    "overlap": ("0x20000000", "0x8000", "memories flash and sram overlap"),
    "defaults": ("size = 0x8000\ndefault = true", "size = 0x8000", "not exactly one default ram"),
    "kind": ('kind = "ram"', 'kind = "rom"', "expected: ram or flash"),
    "region": ("size = 0x8000", "size = 0", "region outside 32 bits"),
    "cost": ("size = 0x8000", "size = 0x8000\nread = -0.5", "memory.sram.read: bad value"),
    "cost type": ("size = 0x8000", 'size = 0x8000\nwrite = "slow"', "expected: a number"),
    "external without an address": (
        "[memory.sram]",
        '[memory.sdram]\nkind = "ram"\nsize = 0x1000\n[memory.sram]',
        "memory.sdram.origin: missing key",
    ),
    "source": ('sram = "manual 3"', "", "sources.sram: missing source"),
    "syntax": ("[sources]", "[sources", "not TOML"),
    "timing without source": (
        "[memory.sram]",
        "[memory.flash.timing]\nwait_states = 5\nline = 16\n[memory.sram]",
        "sources.timing: missing source",
    ),
    "timing key": (
        "[memory.sram]",
        "[memory.flash.timing]\nwait_state = 5\nline = 16\n[memory.sram]",
        "did you mean 'wait_states'",
    ),
    "timing line": (
        "[memory.sram]",
        "[memory.flash.timing]\nwait_states = 5\nline = 12\n[memory.sram]",
        "expected: a power of two, 4 or more",
    ),
    "timing caches": (
        "[memory.sram]",
        "[memory.flash.timing]\nwait_states=1\nline=16\nshared_cache=8\ncode_cache=8\n[memory.sram]",
        "two kinds of cache",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_said(case: str, tmp_path: Path) -> None:
    old, new, words = WRONG[case]
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(errors.UsageError) as caught:
        devices.load(path)
    assert words in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_flash_says_how_it_waits(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    timing = (
        "[memory.flash.timing]\nwait_states = 5\nline = 16\nprefetch = true\ncode_cache = 1024\n"
    )
    text = GOOD.replace("[sources]", '[sources]\ntiming = "manual 4"')
    path.write_text(text.replace("[memory.sram]", timing + "[memory.sram]"), encoding="utf-8")
    found = devices.load(path).flash.timing
    assert found == devices.FlashTiming(5, 16, prefetch=True, code_cache=1024)
    assert str(found) == "5 wait states, lines of 16 B, prefetch, 1,024 B of cache for code"
    path.write_text(path.read_text().replace("memory.flash.timing", "memory.sram.timing"))
    with pytest.raises(errors.UsageError, match="only a flash waits"):
        devices.load(path)


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = GOOD.replace("cortex-m4", "cortex-m9").replace("48_000_000", "true")
    path.write_text(text.replace('kind = "ram"', 'kind = "rom"'), encoding="utf-8")
    with pytest.raises(errors.UsageError) as caught:
        devices.load(path)
    assert len(caught.value.problems) == 3
