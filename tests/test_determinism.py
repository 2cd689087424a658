"""The same model gives the same bytes: C sources, module files, and the linked image.

Random networks are in `test_properties`; here one network of every kind of step goes all
the way, in another process with another hash seed and from another folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.strategies import calls_of
from tests.test_planner import STREAMED, network

from lilliput.codegen.emit import EmitOptions, emit
from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import find
from lilliput.ir.text import save
from lilliput.plan.build import PlanOptions, plan

M4 = load("cortex-m4")


@pytest.mark.parametrize("options", [PlanOptions(), STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize("small", [True, False])
def test_sources_are_the_same_every_time(options: PlanOptions, small: bool) -> None:
    first, second = (emit(plan(network(), M4, options), EmitOptions(small=small)) for _ in range(2))
    assert list(first.items()) == list(second.items())
    assert all(text.endswith("\n") and "\r" not in text for text in first.values())
    assert not any(str(Path.cwd()) in text for text in first.values())


def test_files_are_the_same_in_another_process(tmp_path: Path) -> None:
    script = "from tests.test_planner import network; from lilliput.ir.text import save; "
    script += "import sys; sys.stdout.buffer.write(save(network()))"
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert run.stdout == save(network())


@pytest.mark.unicorn
def test_the_image_is_the_same_from_another_folder(tmp_path: Path) -> None:
    module = network()
    program = plan(module, M4)
    images: list[bytes] = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        target = (find(M4.core), M4)
        proof = prove(module, program, calls_of(module, 1), target=target, workdir=folder)
        assert proof.exact
        images.append(next(folder.rglob("firmware.elf")).read_bytes())
    assert images[0] == images[1]
