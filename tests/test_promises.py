"""What the emitted C promises: no heap, no library but memcpy and memset, no recursion, and
the same bits at every optimisation level."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from tests.learner import learner
from tests.test_programs import (
    STREAM,
    inverted_residual,
    pictures,
    stream_with_memory,
    trainable,
    training_calls,
)

from lilliput.codegen.emit import emit
from lilliput.devices.device import cores, load
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import find
from lilliput.ir import Module
from lilliput.plan.build import PlanOptions, plan

LIBRARY = {"memcpy", "memset"}
LEVELS = ("-O1", "-O2", "-O3", "-Os")


def symbols_of(target: Path) -> list[Any]:
    with target.open("rb") as file:
        elf: Any = ELFFile(file)
        return list(elf.get_section_by_name(".symtab").iter_symbols())


@pytest.mark.parametrize("build", [inverted_residual, trainable, stream_with_memory, learner])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_nothing_is_needed_from_a_library_but_memcpy_and_memset(
    build: object, core: str, tmp_path: Path
) -> None:
    """What the object leaves undefined: the compiler's own support functions (`__...`) aside."""
    assert callable(build)
    module = build()
    assert isinstance(module, Module)
    for path, text in emit(plan(module, load(core))).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    target = tmp_path / "model.o"
    source = tmp_path / f"{module.name}.c"
    command = [*find(cores()[core]).command, "-std=c11", "-O2", "-ffreestanding", "-c"]
    subprocess.run([*command, str(source), "-o", str(target)], check=True, timeout=120)
    symbols = symbols_of(target)
    missing = {s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s.name}
    assert {m for m in missing if not m.startswith("__")} <= LIBRARY
    public = {
        s.name
        for s in symbols
        if s["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK") and s["st_shndx"] != "SHN_UNDEF"
    }
    assert public
    assert all(name.startswith(module.name) for name in public)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
@pytest.mark.slow
def test_every_optimisation_level_gives_the_same_bits(core: str, level: str) -> None:
    device = emulation_device(cores()[core])
    cases = (
        (inverted_residual(), STREAM, None),
        (trainable(), PlanOptions(), training_calls(2)),
    )
    for module, options, calls in cases:
        program = plan(module, device, options)
        target = (find(device.core), device)
        proof = prove(module, program, calls or pictures(module, 2), target=target, optimize=level)
        assert proof.exact, str(proof.difference)
