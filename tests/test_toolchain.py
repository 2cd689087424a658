"""Images: what the linker placed where, what the code needs, how deep its stack gets."""

from __future__ import annotations

import sys
import time
from importlib import resources
from pathlib import Path

import pytest

import tiny_firmware as tiny
from lilliput import devices, errors
from lilliput.emu import toolchain
from lilliput.emu.analysis import check_instructions, stack_bound
from lilliput.emu.toolchain import Image, Kind

KINDS: tuple[Kind, ...] = ("gcc", "clang", "zig")


def build(board: str, folder: Path, sources: dict[str, str], kind: Kind = "gcc") -> Image:
    """An image for a board; skips when the compiler is missing."""
    device = devices.load(board)
    try:
        compiler = toolchain.find(device.core, kind)
    except errors.MissingTool as error:
        pytest.skip(str(error))
    return toolchain.build_firmware(compiler, device, sources, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_add_up(kind: Kind, tmp_path: Path) -> None:
    image = build("stm32f746", tmp_path, tiny.sources(), kind)
    assert image.flash_bytes == image.text_bytes + image.rodata_bytes + image.data_bytes
    assert image.ram_static_bytes == image.data_bytes + image.bss_bytes
    assert image.symbols["tiny_arena"].size == 160
    assert 0x20000000 <= image.symbols["tiny_arena"].address < 0x20050000
    assert image.symbols["__stack_top"].address == 0x20050000
    assert image.locate(image.symbols["tiny_run"].address).startswith("tiny_run (")


def test_sections_choose_memories(tmp_path: Path) -> None:
    place = '__attribute__((section(".ll_arena_dtcm"))) int32_t tiny_arena'
    model = tiny.MODEL.replace("int32_t tiny_arena", place, 1)
    image = build("stm32h743", tmp_path, tiny.sources(model=model))
    assert image.symbols["tiny_arena"].address == 0x20000000
    assert image.sections[".ll_arena_dtcm"] == 160


def test_the_image_is_the_same_every_time(tmp_path: Path) -> None:
    first = build("cortex-m4", tmp_path / "a", tiny.sources())
    second = build("cortex-m4", tmp_path / "b", tiny.sources())
    assert first.sections == second.sections
    assert first.symbols == second.symbols


def test_a_refused_source_shows_the_compilers_words(tmp_path: Path) -> None:
    with pytest.raises(errors.BuildError, match=r"compiling model.c failed[\s\S]*undeclared"):
        build("cortex-m4", tmp_path, tiny.sources("undeclared = 1;"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks the process up in /proc")
def test_a_compiler_past_its_time_ends_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gcc runs cc1, which compiles on if gcc alone is killed."""
    slow, child = tmp_path / "slow", tmp_path / "child"
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {child}\nwait\n", encoding="utf-8")
    slow.chmod(0o755)
    monkeypatch.setattr(toolchain, "TIMEOUT_SECONDS", 2)
    compiler = toolchain.Toolchain("gcc", (str(slow),), "slow", (str(slow),))
    with pytest.raises(errors.BuildError, match=r"compiling model.c took more than 2 s"):
        toolchain.build_host(compiler, tiny.sources(), tmp_path / "built")
    assert _dead(int(child.read_text(encoding="utf-8")))


def _dead(process: int) -> bool:
    """Whether a process has ended, or does within two seconds."""
    state = Path(f"/proc/{process}/stat")
    for _ in range(20):
        if (
            not state.exists()
            or state.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z"
        ):
            return True
        time.sleep(0.1)
    return False


def test_kernels_are_inlined_unless_sanitizers_check_every_copy(tmp_path: Path) -> None:
    compiler = toolchain.host_compilers()[0]
    kernel = "LL_INLINE int32_t kernel(int32_t x) { return x + 1; }\n"
    said = '#ifdef LL_INLINE\n#error "a function"\n#endif\n#include "lilliput/ll.h"\n'
    sources = {**tiny.sources(model=said + kernel + tiny.MODEL), "lilliput/ll.h": LL}
    with pytest.raises(errors.BuildError, match="a function"):
        toolchain.build_host(compiler, sources, tmp_path / "checked")
    assert "__attribute__((always_inline))" in LL
    toolchain.build_host(compiler, sources, tmp_path / "plain", sanitizers=())


LL = (resources.files("lilliput.codegen") / "csrc" / "ll.h").read_text(encoding="utf-8")


def test_an_image_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = tiny.MODEL.replace("3 * 8 + 16", "1 << 20")
    with pytest.raises(errors.BuildError, match=r"region .?\w+.? overflowed"):
        build("stm32g0b1", tmp_path, tiny.sources(model=model))


def test_a_missing_compiler_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    toolchain.forget()
    try:
        with pytest.raises(errors.MissingTool, match="apt-get install gcc-arm-none-eabi"):
            toolchain.find(devices.load("cortex-m4").core, "gcc")
    finally:
        toolchain.forget()


FOREIGN = {
    "cortex-m3": (".inst.w 0xfb21f002", "smuad"),
    "cortex-m0plus": (".inst.w 0xfb90f0f1", "sdiv"),
    "cortex-m4": (".inst.w 0xee310b02", "vadd.f64"),
    "rv32imc": (".insn r 0x53, 0, 0, x10, x10, x11", "fadd.s"),
}


@pytest.mark.parametrize("core", list(FOREIGN))
def test_instructions_that_the_core_lacks_are_found(core: str, tmp_path: Path) -> None:
    text, mnemonic = FOREIGN[core]
    image = build(core, tmp_path, tiny.sources(f'__asm__ volatile("{text}" ::: "memory");'))
    found = check_instructions(image, devices.load(core).core)
    assert found.checked
    assert [v.function for v in found.violations] == ["tiny_run"]
    assert mnemonic == "fadd.s" or found.violations[0].mnemonic == mnemonic


def test_helium_is_said_not_to_be_checked(tmp_path: Path) -> None:
    image = build("cortex-m55", tmp_path, tiny.sources())
    assert not check_instructions(image, devices.load("cortex-m55").core).checked


FLOATS = """{
    volatile double q = (double)tiny_state;
    volatile int64_t w = tiny_state;
    q = q / 3.0 + 1.0;
    w = w / 3;
    tiny_state += (int32_t)((float)q * 0.0f) + (int32_t)(w * 0);
}"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("core", list(devices.cores()))
def test_library_code_has_a_bound_and_belongs_to_the_core(
    core: str, kind: Kind, tmp_path: Path
) -> None:
    image = build(core, tmp_path, tiny.sources(FLOATS), kind)
    assert 32 <= stack_bound(image, "tiny_run") < 1024
    assert check_instructions(image, devices.load(core).core).violations == ()


def helper(body: str) -> dict[str, str]:
    """The model with a second function that `tiny_run` calls."""
    text = tiny.MODEL.replace("void tiny_run", f"{body}\n\nvoid tiny_run", 1)
    return tiny.sources("tiny_state += deep(tiny_state);", model=text)


def test_large_frames_count(tmp_path: Path) -> None:
    deep = """__attribute__((noinline)) static int32_t deep(int32_t n)
{
    volatile int32_t local[1500];
    local[n & 1023] = n;
    return local[(n + 1) & 1023] * 0;
}"""
    for core in ("cortex-m0plus", "cortex-m4", "rv32imc"):
        image = build(core, tmp_path / core, helper(deep))
        assert 6000 <= stack_bound(image, "tiny_run") < 6200


def test_recursion_has_no_bound(tmp_path: Path) -> None:
    deep = """__attribute__((noinline)) static int32_t deep(int32_t n)
{
    volatile int32_t keep = n;
    return n < 1 ? 0 : deep(n - 1) + keep * deep(n - 2);
}"""
    for core in ("cortex-m4", "rv32imc"):
        image = build(core, tmp_path / core, helper(deep))
        with pytest.raises(errors.AnalysisError, match="recursion") as caught:
            stack_bound(image, "tiny_run")
        assert "deep -> deep" in str(caught.value)


def test_a_call_through_a_pointer_has_no_bound(tmp_path: Path) -> None:
    deep = """typedef int32_t (*hook)(int32_t);
extern hook volatile tiny_hook;
hook volatile tiny_hook;
__attribute__((noinline)) static int32_t deep(int32_t n)
{
    return tiny_hook(n) + 1;
}"""
    for core in ("cortex-m0plus", "cortex-m4", "rv32imc"):
        image = build(core, tmp_path / core, helper(deep))
        with pytest.raises(errors.AnalysisError, match="through a pointer") as caught:
            stack_bound(image, "tiny_run")
        assert "deep (model.c:" in str(caught.value)


def test_an_array_of_variable_length_has_no_bound(tmp_path: Path) -> None:
    deep = """__attribute__((noinline)) static int32_t deep(int32_t n)
{
    volatile int32_t local[(n & 7) + 1];
    local[n & 7] = n;
    return local[n & 7] * 0;
}"""
    for core in ("cortex-m0plus", "cortex-m4", "rv32imc"):
        image = build(core, tmp_path / core, helper(deep))
        with pytest.raises(errors.AnalysisError, match="unknown size"):
            stack_bound(image, "tiny_run")


def test_a_switch_keeps_every_case(tmp_path: Path) -> None:
    cases = "\n".join(f"    case {n}: return n * {n + 3} + leaf{n % 2}(n);" for n in range(12))
    leaves = "\n".join(
        f"__attribute__((noinline)) static int32_t leaf{n}(int32_t x)\n"
        f"{{\n    volatile int32_t a[{size}];\n    a[x & 7] = x;\n    return a[x & 7];\n}}"
        for n, size in ((0, 8), (1, 600))
    )
    deep = f"""{leaves}
__attribute__((noinline)) static int32_t deep(int32_t n)
{{
    switch (n) {{
{cases}
    default: return 0;
    }}
}}"""
    for core in ("cortex-m0plus", "cortex-m4", "rv32imc"):
        image = build(core, tmp_path / core, helper(deep))
        assert 2400 <= stack_bound(image, "tiny_run") < 2600
    device = devices.load("cortex-m0plus")
    compiler = toolchain.find(device.core)
    small = toolchain.build_firmware(
        compiler, device, helper(deep), tmp_path / "small", optimize="-Os"
    )
    assert 2400 <= stack_bound(small, "tiny_run") < 2600
