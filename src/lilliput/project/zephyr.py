"""A program as a Zephyr module: CMake and Kconfig around the emitted C, and one sample.

One idea: the module is switched on by one symbol and brings one library; nothing of it depends on
the board, which is the application's choice.
"""

from __future__ import annotations

from lilliput import __version__
from lilliput.codegen.c import identifier
from lilliput.devices import Device
from lilliput.plan.program import Program
from lilliput.project.learning import library_sources
from lilliput.project.self_test import SelfTest, self_test_call, self_test_files
from lilliput.project.template import fill


def zephyr(program: Program, device: Device, test: SelfTest) -> dict[str, str]:
    """The files beside the emitted C, which goes into `src/`."""
    prefix = identifier(program.name)
    upper, name, sample = prefix.upper(), program.name, f"samples/{prefix}"
    about = {"name": name, "prefix": prefix, "PREFIX": upper, "version": __version__}
    return {
        "zephyr/module.yml": fill("module.yml", prefix=prefix),
        "CMakeLists.txt": fill(
            "zephyr.cmake",
            name=name,
            prefix=prefix,
            PREFIX=upper,
            sources=" ".join(f"src/{n}" for n in library_sources(program)),
        ),
        "Kconfig": fill("Kconfig", **about),
        "README.md": fill("zephyr.md", device=device.name, **about),
        f"{sample}/CMakeLists.txt": fill("sample.cmake", prefix=prefix),
        f"{sample}/prj.conf": fill("prj.conf", PREFIX=upper),
        f"{sample}/sample.yaml": fill("sample.yaml", prefix=prefix),
        f"{sample}/src/main.c": fill(
            "zephyr_main.c", name=name, prefix=prefix, call=self_test_call(program)
        ),
        **{f"{sample}/src/{n}": text for n, text in self_test_files(program, test).items()},
    }
