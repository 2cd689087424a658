"""Projects for other build systems: the rules of Arduino libraries and of Zephyr modules.

One idea: neither system is here, so each is stood in for by the least that it promises: its
specification's rules, its compilers' standards, the few CMake functions that a module calls.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import boot
from lilliput import compiler, devices
from lilliput.ir import Builder, Module
from lilliput.ir.types import f32
from lilliput.ops.conv import linear

ARDUINO_H = """\
#pragma once
#include <stddef.h>
#include <stdint.h>
unsigned long millis();
unsigned long micros();
struct Port {
    void begin(unsigned long);
    explicit operator bool();
    void print(const char *);
    void print(unsigned long);
    void println(const char *);
    void println(unsigned long);
};
extern Port Serial;
"""
CATEGORIES = (
    *("Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing"),
    *("Data Storage", "Data Processing", "Other"),
)


def test_the_arduino_library_follows_the_specification(tmp_path: Path) -> None:
    """The rules of the Arduino library specification, revision 2.2, and of its linter."""
    out = tmp_path / "tiny"
    boot.write(boot.tiny(), "nrf52840", out, "arduino")
    text = (out / "library.properties").read_text(encoding="utf-8")
    properties = dict(line.split("=", 1) for line in text.splitlines())
    required = ("name", "version", "author", "maintainer", "sentence", "paragraph", "url")
    assert all(properties[key] for key in (*required, "category", "architectures"))
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", properties["name"])
    assert not properties["name"].lower().startswith("arduino")
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["category"] in CATEGORIES
    assert not properties["paragraph"].startswith(properties["sentence"])
    assert properties["architectures"] == "*"
    assert all((out / "src" / name).is_file() for name in properties["includes"].split(","))
    sketches = list((out / "examples").rglob("*.ino"))
    assert [sketch.stem for sketch in sketches] == [s.parent.name for s in sketches] == ["tiny"]
    assert (out / "README.md").is_file()
    assert not [p for p in out.rglob("*") if p.is_symlink() or p.name.startswith(".")]


@pytest.mark.parametrize("feed", ["memory", "callback", "push"])
def test_the_arduino_sources_compile_as_arduino_compiles_them(
    feed: compiler.Feed, tmp_path: Path
) -> None:
    """Every .c below src/ as C, the sketch as C++ behind Arduino.h, with Arduino's standards."""
    out = tmp_path / "tiny"
    boot.write(boot.accumulator(), "nrf52840", out, "arduino", feed)
    (tmp_path / "Arduino.h").write_text(ARDUINO_H, encoding="utf-8")
    cc, cxx = boot.tool("gcc"), boot.tool("g++")
    sketch = out / "examples" / "sums"
    for source in (*(out / "src").rglob("*.c"), *sketch.glob("*.c")):
        flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{out / 'src'}"]
        boot.call([cc, *flags, "-c", source, "-o", tmp_path / "checked.o"])
    main = tmp_path / "sketch.cpp"
    body = (sketch / "sums.ino").read_text(encoding="utf-8")
    main.write_text(f"#include <Arduino.h>\n{body}", encoding="utf-8")
    includes = [f"-I{place}" for place in (tmp_path, out / "src", sketch)]
    boot.call(
        [cxx, "-std=gnu++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *includes, main]
    )


FUSED = r"vfn?m[as]\.f32"


@pytest.mark.gcc
def test_arduino_code_does_not_fuse(tmp_path: Path) -> None:
    """GCC fuses by default; the pragma in the source keeps every rounding."""
    out = tmp_path / "sums"
    boot.write(fused(), "nrf52840", out, "arduino")
    source = out / "src" / "fused.c"
    core = devices.load("nrf52840").core
    with_pragma = listing(source, core.gcc_flags, tmp_path)
    assert re.search(r"vm(ul|la)\.f32", with_pragma)
    assert not re.search(FUSED, with_pragma)
    bare = source.read_text(encoding="utf-8").replace("#pragma GCC optimize", "// ")
    source.write_text(bare, encoding="utf-8")
    assert re.search(FUSED, listing(source, core.gcc_flags, tmp_path))


def fused() -> Module:
    """A float layer: products that are added."""
    b = Builder()
    x = b.input("x", f32(1, 8))
    w = b.param("w", np.ones((4, 8), np.float32))
    bias = b.param("bias", np.zeros(4, np.float32))
    return b.module((b.add(linear, (x, w, bias)),), name="fused")


def listing(source: Path, flags: tuple[str, ...], place: Path) -> str:
    target = place / "fused.s"
    boot.call(["arm-none-eabi-gcc", *flags, "-std=gnu11", "-Os", "-S", source, "-o", target])
    return target.read_text(encoding="utf-8")


ZEPHYR_CONFIG = """\
add_executable(app)
target_include_directories(app PRIVATE ${CMAKE_CURRENT_LIST_DIR})
file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/prj.conf lines)
foreach(line ${lines})
  if(line MATCHES "^(CONFIG_[A-Z0-9_]+)=(.*)$")
    set(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
  endif()
endforeach()
macro(zephyr_library_named name)
  set(LIBRARY ${name})
  add_library(${name} STATIC)
  target_link_libraries(app PRIVATE ${name})
endmacro()
macro(zephyr_library_sources)
  target_sources(${LIBRARY} PRIVATE ${ARGN})
endmacro()
macro(zephyr_library_compile_options)
  target_compile_options(${LIBRARY} PRIVATE ${ARGN})
endmacro()
macro(zephyr_include_directories)
  foreach(folder ${ARGN})
    get_filename_component(place ${folder} ABSOLUTE)
    target_include_directories(${LIBRARY} PRIVATE ${place})
    target_include_directories(app PRIVATE ${place})
  endforeach()
endmacro()
enable_language(C)
foreach(module ${ZEPHYR_EXTRA_MODULES})
  add_subdirectory(${module} module)
endforeach()
set(Zephyr_FOUND TRUE)
"""


@pytest.mark.parametrize("feed", ["memory", "callback", "push"])
def test_the_zephyr_module_builds_in_a_stand_in_of_zephyr(
    feed: compiler.Feed, tmp_path: Path
) -> None:
    """The module's files against the few functions of Zephyr that they call, on this machine."""
    cmake = boot.tool("cmake")
    boot.tool("make")
    boot.tool("cc")
    out, place = tmp_path / "module", tmp_path / "share"
    boot.write(boot.accumulator(), "stm32f746", out, "zephyr", feed)
    (place / "zephyr" / "sys").mkdir(parents=True)
    (place / "ZephyrConfig.cmake").write_text(ZEPHYR_CONFIG, encoding="utf-8")
    kernel = "#pragma once\n#include <stdint.h>\nstatic inline uint32_t k_cycle_get_32(void)\n"
    (place / "zephyr" / "kernel.h").write_text(f"{kernel}{{ return 0; }}\n", encoding="utf-8")
    printk = "#pragma once\n#include <stdio.h>\n#define printk printf\n"
    (place / "zephyr" / "sys" / "printk.h").write_text(printk, encoding="utf-8")
    build = tmp_path / "build"
    sample = out / "samples" / "sums"
    boot.call([cmake, "-S", sample, "-B", build, f"-DZephyr_DIR={place}"])
    boot.call([cmake, "--build", build])
    assert boot.call([build / "app"]).endswith("lilliput sums: exact\n")


def test_the_zephyr_module_is_described(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    out = tmp_path / "module"
    boot.write(boot.tiny(), "stm32f746", out, "zephyr")
    module = yaml.safe_load((out / "zephyr" / "module.yml").read_text(encoding="utf-8"))
    assert module["build"] == {"cmake": ".", "kconfig": "Kconfig"}
    assert all((out / place).is_dir() for place in module["samples"])
    about = yaml.safe_load((out / "samples/tiny/sample.yaml").read_text(encoding="utf-8"))
    (test,) = about["tests"].values()
    (expected,) = test["harness_config"]["regex"]
    assert re.search(expected, "lilliput tiny: exact")
    symbols = re.findall(r"^config (\w+)$", (out / "Kconfig").read_text(encoding="utf-8"), re.M)
    assert symbols == ["LILLIPUT_TINY"]
    assert "CONFIG_LILLIPUT_TINY=y" in (out / "samples/tiny/prj.conf").read_text(encoding="utf-8")


def test_the_manifest_tells_the_project(tmp_path: Path) -> None:
    boot.write(boot.tiny(), "nrf52840", tmp_path / "out", "zephyr")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert told["base"] == "src"
    assert told["project"] == {"kind": "zephyr", "device": "nrf52840", "pyocd": "nrf52840"}
