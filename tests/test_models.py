"""The published networks, compiled and executed, bit for bit.

`prove` runs every network in NumPy, as C on this machine under sanitizers with dead bytes
poisoned, and as C on emulated cores, and compares every tensor.  The rows below say which
cores and how many inputs; each has random inputs and corners (all lowest, all highest).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from tests.samples import random_array
from tests.test_oracle import FOLDERS, HEAVY, shared_models

from lilliput.devices.device import load
from lilliput.emu.machine import Command, emulation_device, run_emulated
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import find, host_compilers
from lilliput.frontends import load_model
from lilliput.ir import Array, Module
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.objective import Optimize

TINY = ("ad01_int8", "ic_resnet8_int8", "kws_ref_model_int8", "vww_96_int8")
"""The four of MLPerf Tiny."""

ARENA_BYTES = {"vww_96_int8": 28_672, "ic_resnet8_int8": 16_384, "ad01_int8": 768}
"""Activation RAM that these may need at most where little is wanted: all buffers of the default
memory."""

INPUTS = 16
CORRECT = (901, 902)
"""Of 1000 keywords: the first largest score is the right one; the right one is a largest."""
SAMPLED = ("resnet_layer0", "vww_layer3", "toycar_layer1", "aww_layer0")


def model(path: Path) -> Module:
    return Canonicalize()(load_model(path))


def paths(names: tuple[str, ...] = ()) -> list[object]:
    every = [p for p in shared_models() if not names or p.stem in names]
    return [pytest.param(p, id=p.stem) for p in every]


def calls(module: Module, count: int) -> list[Call]:
    """Both corners, then random data; the reset between builds makes them independent."""
    rng = np.random.default_rng(0)
    found: list[Call] = []
    for k in range(count):
        data: dict[str, Array] = {}
        for value in module.inputs("infer"):
            array = random_array(rng, value.type, -1.0, 1.0)
            if k < 2 and array.dtype.kind == "i":
                array = np.full_like(array, value.type.dtype.bounds[k])
            data[value.name] = array
        found.append(Call("infer", data))
    return found


def prove_on(path: Path, cores: tuple[str, ...], count: int, *, host: bool = True) -> None:
    module = model(path)
    given = calls(module, count)
    for core in cores:
        started = time.monotonic()
        device = emulation_device(load(core).core)
        program = plan(module, device)
        target = (find(device.core), device)
        hosts = list(host_compilers()[:1]) if host and core == cores[0] else []
        proof = prove(module, program, given, hosts=hosts, target=target)
        assert proof.exact, str(proof.difference)
        print(f"{path.stem} on {core}: {count} inputs, {time.monotonic() - started:.1f} s")  # noqa: T201


def inputs_for(path: Path) -> int:
    if path.stem in HEAVY:
        return 2
    return INPUTS


@pytest.mark.models
@pytest.mark.shared
@pytest.mark.unicorn
@pytest.mark.parametrize("path", paths())
def test_every_published_network(path: Path) -> None:
    prove_on(path, ("cortex-m4", "cortex-m7"), inputs_for(path))


@pytest.mark.models
@pytest.mark.shared
@pytest.mark.qemu
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m33", "cortex-m55", "rv32imc"])
@pytest.mark.parametrize("path", paths(TINY))
def test_mlperf_tiny_on_the_other_cores(path: Path, core: str) -> None:
    prove_on(path, (core,), 4, host=False)


@pytest.mark.shared
@pytest.mark.unicorn
@pytest.mark.parametrize("path", paths((*TINY, *SAMPLED)))
def test_a_sample_on_the_cortex_m4(path: Path) -> None:
    prove_on(path, ("cortex-m4",), 3)


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(ARENA_BYTES))
def test_activation_ram(name: str, shared: Path) -> None:
    device = load("cortex-m4")
    module = model(shared / "models" / "mlperf_tiny" / f"{name}.tflite")
    program = plan(module, device, PlanOptions(optimize=Optimize.RAM))
    assert program.arenas[device.ram.name] <= ARENA_BYTES[name]


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(ARENA_BYTES))
def test_published_networks_are_placed_optimally(name: str, shared: Path) -> None:
    """Proven without the solver: the arena is what no placement does with less than."""
    module = model(shared / "models" / "mlperf_tiny" / f"{name}.tflite")
    for optimize in (Optimize.SPEED, Optimize.RAM):
        program = plan(module, load("cortex-m4"), PlanOptions(optimize=optimize))
        assert program.arenas["ram"] == program.lower_bound("ram")


@pytest.mark.models
@pytest.mark.shared
@pytest.mark.unicorn
def test_keyword_accuracy_on_the_core(shared: Path, tmp_path: Path) -> None:
    """The evaluation set of MLPerf Tiny, all 1000 inputs on the emulated core."""
    module = model(shared / "models" / "mlperf_tiny" / "kws_ref_model_int8.tflite")
    archive = np.load(shared / "data" / "mlperf_tiny" / "kws01_eval.npz")
    data, labels = archive["x"], archive["y"]
    device = load("cortex-m4")
    program = plan(module, device)
    (value,) = module.inputs("infer")
    some = [Call("infer", {value.name: data[0].reshape(value.type.shape)})]
    target = (find(device.core), device)
    proof = prove(module, program, some, target=target, workdir=tmp_path)
    assert proof.exact
    assert proof.image is not None
    commands = [Command("run", 0, (x.tobytes(),)) for x in data]
    runs = run_emulated(proof.image, device, commands, timeout=1200)
    scores = [np.frombuffer(r.outputs[0], np.int8) for r in runs]
    first = sum(int(s.argmax()) == int(y) for s, y in zip(scores, labels, strict=True))
    best = sum(int(s[int(y)]) == int(s.max()) for s, y in zip(scores, labels, strict=True))
    assert (first, best) == CORRECT


def test_every_folder_has_models() -> None:
    found = {p.parent.name for p in shared_models()}
    assert found in (set(), set(FOLDERS))
