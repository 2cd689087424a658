"""Finding compilers, and turning C sources into an image or a host program.

The idea: a `Toolchain` is a value (which command, which flags a core needs comes from
`cores.toml`), and building is one straight line: write the sources, compile each, link.  Start-up
code, harness and linker script are ours, so that GCC, Clang and Zig link the same image without
a C library.  It does not run anything (see `machine`) and does not know what the C computes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Final, Literal

from lilliput import errors
from lilliput.devices import Core, Device
from lilliput.emu.elf import Image, read_image

Kind = Literal["gcc", "clang", "zig"]
KINDS: Final[tuple[Kind, ...]] = ("gcc", "clang", "zig")

TIMEOUT_SECONDS: Final = 300
_ERROR_LINES: Final = 24

_STRICT: Final = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")
_SECTIONS: Final = ("-ffunction-sections", "-fdata-sections", "-g")
_BARE: Final = ("-ffreestanding", "-fno-common", "-fno-pic")
# The runtime's loops must stay loops: memcpy must not call memcpy, the harness must not add
# library code to what is counted.
RUNTIME_FLAGS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "gcc": ("-fno-strict-aliasing", "-fno-tree-loop-distribute-patterns"),
    "clang": ("-fno-strict-aliasing", "-fno-builtin"),
    "zig": ("-fno-strict-aliasing", "-fno-builtin"),
}
# Sanitizers instrument every copy of a kernel that is compiled into a layer: GCC takes minutes of
# processor time for a network of fifty of them, and seconds where each kernel is one function.
_SANITIZED: Final = ("-DLL_INLINE=static inline",)
# Zig turns undefined-behaviour traps on by default; firmware is measured without them.
_KIND_FLAGS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "gcc": ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    "clang": ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    "zig": ("-fno-sanitize=undefined", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
}
_INSTALL: Final[Mapping[Kind, str]] = {
    "gcc": "apt-get install {prefix_package}",
    "clang": "apt-get install clang, and either {prefix_package} or `pip install ziglang` to link",
    "zig": "pip install ziglang",
}
_PACKAGES: Final[Mapping[str, str]] = {
    "arm-none-eabi": "gcc-arm-none-eabi",
    "riscv64-unknown-elf": "gcc-riscv64-unknown-elf",
}


@dataclass(frozen=True)
class Toolchain:
    """A C compiler: its command line so far, its version, and what links its objects."""

    kind: Kind
    command: tuple[str, ...]
    version: str
    link: tuple[str, ...]


def find(core: Core, prefer: str = "auto") -> Toolchain:
    """A compiler for `core`.  "auto" takes GCC, else Clang, else Zig.

    Raises `MissingTool` with what was looked for and the command that installs it, and
    `UsageError` for a compiler that is not known.
    """
    order: list[Kind] = [kind for kind in KINDS if prefer in ("auto", kind)]
    if not order:
        expected = ", ".join(("auto", *KINDS))
        raise errors.UsageError("unknown compiler", expected=expected, found=prefer)
    for kind in order:
        found = _find(core, kind)
        if found is not None:
            return found
    package = _PACKAGES[core.gcc_prefix]
    raise errors.MissingTool(
        f"no C compiler for {core.name}",
        expected=" or ".join(_looked_for(core, kind) for kind in order),
        found="none of them",
        hint="; or ".join(_INSTALL[kind].format(prefix_package=package) for kind in order),
    )


def _looked_for(core: Core, kind: Kind) -> str:
    return {
        "gcc": f"{core.gcc_prefix}-gcc on PATH",
        "clang": f"clang on PATH that can target and link for {core.name}",
        "zig": f"the Python package ziglang in {sys.executable}",
    }[kind]


@functools.cache
def _zig() -> tuple[str, ...] | None:
    return (sys.executable, "-m", "ziglang") if util.find_spec("ziglang") else None


@functools.cache
def _find(core: Core, kind: Kind) -> Toolchain | None:
    gcc, clang, zig = shutil.which(f"{core.gcc_prefix}-gcc"), shutil.which("clang"), _zig()
    gcc_link = (gcc, *core.gcc_flags, "-nostdlib") if gcc else None
    zig_link = (*zig, "cc", *core.zig_flags, "-nodefaultlibs") if zig else None
    if kind == "gcc" and gcc and gcc_link:
        return Toolchain("gcc", (gcc, *core.gcc_flags), _version(gcc), gcc_link)
    if kind == "zig" and zig and zig_link:
        version = "zig " + _version(*zig, argument="version")
        return Toolchain("zig", (*zig, "cc", *core.zig_flags), version, zig_link)
    link = gcc_link or zig_link
    if kind == "clang" and clang and link:
        found = Toolchain("clang", (clang, *core.clang_flags), _version(clang), link)
        return found if _works(found) else None
    return None


def _version(*command: str, argument: str = "--version") -> str:
    run = subprocess.run(
        [*command, argument], capture_output=True, text=True, timeout=60, check=False
    )
    return run.stdout.split("\n", 1)[0].strip()


def _works(toolchain: Toolchain) -> bool:
    """Whether it compiles and links one function for its target: Clang often lacks half of that."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "probe.c"), Path(folder, "probe.o")
        source.write_text("int probe(void);\nint probe(void) { return 0; }\n", encoding="utf-8")
        compile_it = [*toolchain.command, "-c", str(source), "-o", str(target)]
        link_it = [*toolchain.link, str(target), "-Wl,-e,probe", "-o", str(Path(folder, "probe"))]
        return all(
            subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
            for command in (compile_it, link_it)
        )


@functools.cache
def host_compilers() -> tuple[Toolchain, ...]:
    """The compilers for this machine: those of GCC, Clang and Zig that are installed."""
    found: list[Toolchain] = []
    kinds: tuple[Kind, ...] = ("gcc", "clang")
    for kind in kinds:
        path = shutil.which(kind)
        if path:
            found.append(Toolchain(kind, (path,), _version(path), (path,)))
    zig = _zig()
    if zig:
        version = "zig " + _version(*zig, argument="version")
        found.append(Toolchain("zig", (*zig, "cc"), version, (*zig, "cc")))
    return tuple(found)


def forget() -> None:
    """Looks for compilers anew at the next call: after PATH has changed."""
    for cached in (_find, _zig, host_compilers):
        cached.cache_clear()


def firmware_flags(kind: Kind) -> tuple[str, ...]:
    """What every file of an image is compiled with, but for the core and the optimisation."""
    return (*_STRICT, *_SECTIONS, *_BARE, *_KIND_FLAGS[kind])


def link_flags(script: str) -> tuple[str, ...]:
    """What an image is linked with, but for the core and the compiler's own library."""
    where = (f"-Wl,-T,{script}", "-Wl,--gc-sections", "-Wl,--entry=ll_start")
    return (*where, "-Wl,--build-id=none", "-g")


_HARNESS_TEXT: Final = """        ll_harness_start = .;
        *ll_rt_harness.o(.text .text.*)
        *ll_rt_port_target.o(.text .text.*)
        *ll_rt_startup_*.o(.text .text.*)
        ll_harness_end = .;
"""


def linker_script(device: Device, *, harness: bool = True) -> str:
    """The script that places an image in the device's memories.

    With `harness`, the harness's code lies together, so that its instructions can be told apart.
    `.ll_const_<memory>` and `.ll_arena_<memory>` go where they say.  The stack takes what is left
    at the end of the default RAM.  A flash memory named `vectors` receives the vector table.
    """
    flash, ram = device.flash.name, device.ram.name
    vectors = "vectors" if any(m.name == "vectors" for m in device.memories) else flash
    regions = "\n".join(
        f"    {m.name} ({'rx' if m.kind == 'flash' else 'rwx'}) : "
        f"ORIGIN = {m.origin:#010x}, LENGTH = {m.size:#x}"
        for m in device.memories
    )
    other = [m for m in device.memories if m.name not in (flash, ram, "vectors")]
    consts = "\n".join(
        f"    .ll_const_{m.name} : {{ *(.ll_const_{m.name} .ll_const_{m.name}.*) }} > {m.name}"
        for m in other
        if m.kind == "flash"
    )
    arenas = "\n".join(
        f"    .ll_arena_{m.name} (NOLOAD) : ALIGN(16) "
        f"{{ *(.ll_arena_{m.name} .ll_arena_{m.name}.*) }} > {m.name}"
        for m in other
        if m.kind == "ram"
    )
    return f"""ENTRY(ll_start)
MEMORY
{{
{regions}
}}
SECTIONS
{{
    .vectors : {{ KEEP(*(.vectors)) }} > {vectors}
    .text : ALIGN(16)
    {{
{_HARNESS_TEXT if harness else ""}        *(.text .text.*)
    }} > {flash}
    .rodata : ALIGN(16)
    {{
        *(.rodata .rodata.* .srodata .srodata.*)
        *(.ll_const_{flash} .ll_const_{flash}.*)
        . = ALIGN(4);
    }} > {flash}
{consts}
    .data : ALIGN(8)
    {{
        ll_data_start = .;
        *(.data .data.* .sdata .sdata.*)
        . = ALIGN(4);
        ll_data_end = .;
    }} > {ram} AT > {flash}
    ll_data_load = LOADADDR(.data);
    .bss (NOLOAD) : ALIGN(8)
    {{
        ll_bss_start = .;
        *(.bss .bss.* .sbss .sbss.* COMMON)
        . = ALIGN(4);
        ll_bss_end = .;
    }} > {ram}
    .ll_arena_{ram} (NOLOAD) : ALIGN(16)
    {{
        *(.ll_arena_{ram} .ll_arena_{ram}.*)
        . = ALIGN(8);
        ll_stack_limit = .;
    }} > {ram}
{arenas}
    __stack_limit = ll_stack_limit;
    ll_stack_top = ORIGIN({ram}) + LENGTH({ram});
    __stack_top = ll_stack_top;
    /DISCARD/ : {{ *(.ARM.exidx .ARM.exidx.* .ARM.extab .ARM.extab.* .eh_frame .eh_frame.*) }}
}}
"""


def build_firmware(
    toolchain: Toolchain,
    device: Device,
    sources: Mapping[str, str],
    workdir: Path,
    *,
    defines: Sequence[str] = (),
    optimize: str = "-O2",
    include_harness: bool = True,
) -> Image:
    """Compiles and links `sources` (relative path -> text) into `workdir/firmware.elf`.

    With the harness, `sources` must hold `harness_model.h` at the top; without it, a `main`.
    Raises `BuildError` with the compiler's first lines.
    """
    runtime = [f"startup_{device.core.arch}.c", "freestanding.c"]
    if include_harness:
        runtime += ["harness.c", "port_target.c"]
    base = (*firmware_flags(toolchain.kind), optimize)
    objects = _compile(toolchain, sources, runtime, workdir, (*base, *_defines(defines)))
    script, elf = workdir / "firmware.ld", workdir / "firmware.elf"
    script.write_text(linker_script(device), encoding="utf-8")
    libraries = ("-lgcc",) if "-nostdlib" in toolchain.link else ()
    _run(
        [
            *(*toolchain.link, *map(str, objects), *link_flags(str(script))),
            *(*libraries, "-o", str(elf)),
        ],
        f"linking for {device.name}",
    )
    return read_image(elf, device)


def build_host(
    toolchain: Toolchain,
    sources: Mapping[str, str],
    workdir: Path,
    *,
    sanitizers: Sequence[str] = ("undefined", "address"),
    defines: Sequence[str] = (),
    optimize: str = "-O1",
) -> Path:
    """Compiles `sources` and the harness for this machine; the program's path.

    Zig has no address sanitizer of its own: it is left out there.  Every sanitizer report ends
    the program with a non-zero exit code.
    """
    usable = [s for s in sanitizers if toolchain.kind != "zig" or s == "undefined"]
    if usable:
        sanitize = (f"-fsanitize={','.join(usable)}", "-fno-sanitize-recover=all", *_SANITIZED)
    else:
        sanitize = ("-fno-sanitize=undefined",) if toolchain.kind == "zig" else ()
    base = (*_STRICT, *_SECTIONS, *sanitize, optimize)
    runtime = ["harness.c", "port_host.c"]
    objects = _compile(toolchain, sources, runtime, workdir, (*base, *_defines(defines)))
    program = workdir / ("program.exe" if sys.platform == "win32" else "program")
    _run(
        [*toolchain.link, *sanitize, *map(str, objects), "-g", "-o", str(program)],
        "linking for the host",
    )
    return program


def _defines(defines: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"-D{define}" for define in defines)


def _compile(
    toolchain: Toolchain,
    sources: Mapping[str, str],
    runtime: Sequence[str],
    workdir: Path,
    flags: Sequence[str],
) -> list[Path]:
    """Writes sources and runtime below `workdir` and compiles each C file; the objects in order."""
    model, own, out = workdir / "src", workdir / "runtime", workdir / "obj"
    for folder in (model, own, out):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(sources.items()):
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    csrc = resources.files("lilliput.emu") / "csrc"
    for name in (*runtime, "harness.h", "port.h"):
        text = (csrc / name).read_text(encoding="utf-8")
        (own / name).write_text(text, encoding="utf-8", newline="\n")
    includes = (f"-I{model}", f"-I{own}", f"-ffile-prefix-map={workdir}=.")
    jobs = [
        (model / name, out / (name.replace("/", "_")[:-2] + ".o"), ())
        for name in sorted(sources)
        if name.endswith(".c")
    ]
    jobs += [(own / n, out / f"ll_rt_{n[:-2]}.o", RUNTIME_FLAGS[toolchain.kind]) for n in runtime]
    for source, target, extra in jobs:
        command = [*toolchain.command, *flags, *extra, *includes, "-c", str(source)]
        _run([*command, "-o", str(target)], f"compiling {source.name}")
    return [target for _, target, _ in jobs]


def _run(command: Sequence[str], what: str) -> None:
    try:
        run = _ended(command, TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise errors.BuildError(
            f"{what} took more than {TIMEOUT_SECONDS} s", found=" ".join(command)
        ) from error
    if run.returncode != 0:
        lines = (run.stderr or run.stdout).strip().split("\n")
        raise errors.BuildError(
            f"{what} failed",
            where=Path(command[0]).name,
            found="\n".join(lines[:_ERROR_LINES]),
            hint="the command was: " + " ".join(command),
        )


def _ended(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` that ends with all that the command has started: gcc is what runs cc1."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, told = process.communicate(timeout=seconds)
        except BaseException:  # the limit, or Ctrl-C, which a session of its own does not hear
            _kill(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, told)


def _kill(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
