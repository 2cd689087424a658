"""Running the harness: on the host, under Unicorn, under QEMU, with exact counts.

The idea: one request, one response, three places to run.  A response counts only when its last
record holds the request's nonce mixed with a digest of everything before it, so a run that never
started, stopped early or answered another request cannot look green.  Every emulator runs in a
child process that dies with this one.  It does not know what the bytes mean.
"""

from __future__ import annotations

import array
import json
import os
import re
import secrets
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypedDict, cast

from lilliput import errors
from lilliput.devices import Core, Device, FlashTiming, Memory
from lilliput.emu.cycles import CountedBlock, Profile, step_profiles
from lilliput.emu.elf import Image, load_segments
from lilliput.emu.flash import Trace, step_traces

Op = Literal["reset", "run"]

_OPS: Final[Mapping[Op, int]] = {"reset": 1, "run": 2}
_TRACE, _POISON, _MEASURE = 1, 2, 4
_REQUEST, _RESPONSE = b"LLRQ", b"LLRS"


@dataclass(frozen=True)
class Command:
    """One thing to ask of a model.

    `reset` puts its states back; `run` runs entry number `entry` on `inputs`, one bytes object
    for each of its input spans.  `trace` reports intermediate spans, `poison` overwrites memory
    that a step leaves dead, `measure` reports high-water marks and starts from reset states.
    """

    op: Op
    entry: int = 0
    inputs: tuple[bytes, ...] = ()
    trace: bool = False
    poison: bool = False
    measure: bool = False


@dataclass(frozen=True)
class EntryRun:
    """What one `run` gave.

    `trace` holds (step, bytes of its spans) in order of execution.  `stack_bytes` and
    `arena_bytes` are 0 unless measured (and `stack_bytes` always on a host).  Counts are None or
    empty unless counted; steps are global step ids, and code after the last step belongs to none.
    `step_cycles` is an estimate, empty for a core without a cycle table; so are `blocks`, all
    basic blocks that ran, the most expensive first.
    """

    outputs: tuple[bytes, ...]
    trace: tuple[tuple[int, bytes], ...]
    stack_bytes: int
    arena_bytes: tuple[int, ...]
    guard_intact: bool
    instructions: int | None
    step_instructions: Mapping[int, int]
    step_cycles: Mapping[int, float]
    blocks: tuple[CountedBlock, ...] = ()


def encode_request(commands: Sequence[Command], nonce: int) -> bytes:
    """The request's bytes; the format is described in `csrc/harness.c`."""
    end = struct.pack("<3I", 0, 0, 0)
    return b"".join([request_start(nonce), *map(encode_command, commands), end])


def request_start(nonce: int) -> bytes:
    return _REQUEST + struct.pack("<I", nonce)


def encode_command(command: Command) -> bytes:
    flags = _TRACE * command.trace | _POISON * command.poison | _MEASURE * command.measure
    return struct.pack("<3I", _OPS[command.op], command.entry, flags) + b"".join(command.inputs)


def decode_response(response: bytes, commands: Sequence[Command], nonce: int) -> list[EntryRun]:
    """The runs of a sealed response.  Raises `EmulationError` when the seal is missing or wrong."""
    runs: list[EntryRun] = []
    run = _EMPTY
    expected = sum(command.op == "run" for command in commands)
    if response[:4] != _RESPONSE:
        raise _unsealed("the firmware never started", f"{len(response)} bytes", f"{expected} runs")
    at = 4
    for kind, number, payload in _records(response, at):
        end = at + 12 + len(payload)
        if kind == 5:
            if payload != struct.pack("<I", _fnv1a(response[: at + 12]) ^ nonce):
                raise _unsealed(
                    "the response answers another request", "another seal", "this request's nonce"
                )
            if len(runs) != expected or end != len(response):
                raise _unsealed("wrong number of runs", len(runs), str(expected))
            return runs
        if kind == 4:
            runs.append(run)
            run = _EMPTY
        else:
            run = _with_record(run, kind, number, payload)
        at = end
    raise _unsealed(
        "the run ended early", f"{len(runs)} runs and no seal", f"{expected} runs, a seal"
    )


def decode_run(response: bytes) -> EntryRun:
    """One run of a harness that goes on: no seal yet.  Raises `EmulationError` where it is not
    whole."""
    run = _EMPTY
    for kind, number, payload in _records(response, 0):
        if kind == 4:
            return run
        run = _with_record(run, kind, number, payload)
    raise _unsealed("the run ended early", f"{len(response)} bytes", "a run")


_EMPTY: Final = EntryRun((), (), 0, (), True, None, {}, {})


def _records(response: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """(kind, id, payload) of every record that is whole."""
    while at + 12 <= len(response):
        kind, number, size = struct.unpack_from("<3I", response, at)
        payload = response[at + 12 : at + 12 + size]
        if len(payload) != size:
            return
        yield kind, number, payload
        at += 12 + size


def _with_record(run: EntryRun, kind: int, number: int, payload: bytes) -> EntryRun:
    if kind == 1:
        return replace(run, trace=(*run.trace, (number, payload)))
    if kind == 2:
        return replace(run, outputs=(*run.outputs, payload))
    if kind != 3:
        raise _unsealed(f"record of unknown kind {kind}", number, "kinds 1 to 5")
    words = struct.unpack(f"<{len(payload) // 4}I", payload)
    return replace(run, stack_bytes=words[0], arena_bytes=words[1:-1], guard_intact=words[-1] == 1)


def _unsealed(what: str, found: object, expected: str) -> errors.EmulationError:
    return errors.EmulationError(what, where="harness", expected=expected, found=str(found))


def _fnv1a(data: bytes) -> int:
    digest = 2166136261
    for byte in data:
        digest = (digest ^ byte) * 16777619 & 0xFFFFFFFF
    return digest


def run_host(binary: Path, commands: Sequence[Command], timeout: float = 60) -> list[EntryRun]:
    """Runs a program of `build_host`.  A sanitizer's report is the error's text."""
    nonce = secrets.randbits(32)
    try:
        run = subprocess.run(
            [str(binary)],
            input=encode_request(commands, nonce),
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise _hang(str(binary), timeout) from error
    if run.returncode != 0:
        report = run.stderr.decode("utf-8", "replace").strip()
        raise errors.EmulationError(
            "the host program failed",
            where=str(binary),
            expected="exit code 0",
            found=f"exit code {run.returncode}\n{report[:4000]}",
        )
    return decode_response(run.stdout, commands, nonce)


def _hang(where: str, timeout: float) -> errors.EmulationError:
    return errors.EmulationError(
        "the run did not end", where=where, expected=f"an end within {timeout:g} s", found="a hang"
    )


ROOM: Final = 1 << 20
"""Bytes that an emulated memory has beyond the board's, for guards behind arenas."""


def emulation_device(
    core: Core,
    emulator: str = "auto",
    flash: FlashTiming | None = None,
    beside: Sequence[Memory] = (),
) -> Device:
    """A device to link for when only the core matters and `emulator` runs the image.

    flash : of the board that cycles are estimated for; None: memory never waits
    beside : of the board's memories those that a program uses beyond the defaults; under their
        names, with more room than they have, and where they are unless something is there
    """
    if _choose(core, emulator) == "unicorn":
        memories = (
            Memory("flash", "flash", 0x0800_0000, 16 << 20, default=True, timing=flash),
            Memory("ram", "ram", 0x2000_0000, 16 << 20, default=True),
        )
    else:
        memories = (
            Memory("flash", "flash", *core.qemu.flash, default=True, timing=flash),
            Memory("ram", "ram", *core.qemu.ram, default=True),
        )
        if core.qemu.vectors:
            memories += (Memory("vectors", "flash", *core.qemu.vectors),)
    if beside:
        memories = _with(memories, beside, carve=_choose(core, emulator) == "qemu")
    title = f"{core.title}, emulated"
    return Device(core.name, title, core, None, memories, False, {"memories": "the emulator's"})


def _with(
    memories: Sequence[Memory], beside: Sequence[Memory], *, carve: bool
) -> tuple[Memory, ...]:
    """Further memories; `carve`: out of the ends of the default ones, where a machine is as it is.

    Raises EmulationError where there is no room for them.
    """
    taken = {m.name for m in beside}
    placed = [replace(m, name=f"{m.name}_0") if m.name in taken else m for m in memories]
    for memory in beside:
        if carve:
            k = next(i for i, m in enumerate(placed) if m.default and m.kind == memory.kind)
            whole, size = placed[k], _pages(memory.size)
            if size > whole.size // 2:
                raise errors.EmulationError(
                    "the emulated machine has no room for a memory of the board",
                    where=memory.name,
                    expected=f"at most {whole.size // 2:,} bytes",
                    found=f"{memory.size:,} bytes",
                    hint="check for a core that is emulated with any memory, or without this one",
                )
            placed[k] = replace(whole, size=whole.size - size)
            placed.append(replace(memory, origin=placed[k].end, size=size, default=False))
        else:
            size = _pages(memory.size) + ROOM
            around = [(m.origin, m.end) for m in placed]
            starts = [memory.origin, *sorted(_pages(end) for _, end in around)]
            origin = next(
                at
                for at in starts
                if at + size <= 1 << 32 and all(at + size <= a or at >= b for a, b in around)
            )
            placed.append(replace(memory, origin=origin, size=size, default=False))
    return tuple(placed)


def _pages(nbytes: int) -> int:
    """Bytes, or an address, rounded up to whole pages, which are what emulators map."""
    return -(-nbytes // 4096) * 4096


def _choose(core: Core, emulator: str) -> str:
    """Which of unicorn and qemu; raises UsageError for others and for cores without a model."""
    if emulator not in ("auto", "unicorn", "qemu"):
        raise errors.UsageError(
            "unknown emulator", expected="auto, unicorn or qemu", found=emulator
        )
    if emulator == "auto":
        return "unicorn" if core.unicorn else "qemu"
    if emulator == "unicorn" and not core.unicorn:
        raise errors.UsageError(
            "Unicorn has no model of this core", where=core.name, hint="use emulator='qemu'"
        )
    return emulator


def run_emulated(
    image: Image,
    device: Device,
    commands: Sequence[Command],
    *,
    emulator: str = "auto",
    count: bool | Sequence[bool] = True,
    aligned: bool = False,
    timeout: float = 120,
) -> list[EntryRun]:
    """Runs an image of `build_firmware` on an emulated core; one `EntryRun` for each "run".

    `count` chooses the commands whose instructions are counted (a flag for each command, or one
    for the first run).  Counting is exact and needs Unicorn; QEMU leaves the counts None.
    `aligned` makes every unaligned access a fault, as on Armv6-M; no emulator does so by itself,
    it needs Unicorn, and it is slow: about a second for a million accesses.
    Raises `EmulationError` for a fault (with function and line), a hang, or a missing seal.
    """
    nonce = secrets.randbits(32)
    request = encode_request(commands, nonce)
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        folder = Path(name)
        (folder / "request.bin").write_bytes(request)
        if _choose(device.core, emulator) == "qemu":
            response = _qemu(image, device, folder, timeout)
            return decode_response(response, commands, nonce)
        result = _unicorn(image, device, _counted(commands, count), aligned, folder, timeout)
        runs = decode_response((folder / "response.bin").read_bytes(), commands, nonce)
        traces = _traces(folder, result)
    profiles = step_profiles(image, device.core, result["runs"], device.flash.timing, traces)
    return [_with_profile(run, profile) for run, profile in zip(runs, profiles, strict=True)]


def _counted(commands: Sequence[Command], count: bool | Sequence[bool]) -> list[bool]:
    """For each "run" command, whether to count it."""
    if isinstance(count, bool):
        runs = sum(c.op == "run" for c in commands)
        return [count and i == 0 for i in range(runs)]
    return [flag for c, flag in zip(commands, count, strict=True) if c.op == "run"]


def _with_profile(run: EntryRun, profile: Profile | None) -> EntryRun:
    if profile is None:
        return run
    return replace(
        run,
        instructions=profile.instructions,
        step_instructions=profile.step_instructions,
        step_cycles=profile.step_cycles,
        blocks=profile.blocks,
    )


def _traces(folder: Path, result: WorkerResult) -> list[Mapping[int, Trace] | None]:
    """What the worker traced of each run, by step."""
    found: list[Mapping[int, Trace] | None] = []
    for steps in result["traces"]:
        if steps is None:
            found.append(None)
            continue
        pieces: list[tuple[int, Trace]] = []
        for step, name in steps:
            items = array.array("q")
            items.frombytes((folder / name).read_bytes())
            pieces.append((step, items))
        found.append(step_traces(pieces))
    return found


class WorkerResult(TypedDict):
    """What `unicorn_worker` writes into `result.json`.

    `runs` has, for each run, null or a list of [step, [[previous end, address, size, times]...]];
    step -1 is what follows the last step.  `traces` has, for each run, null or a list of [step,
    file]: 64-bit addresses of blocks, and the complement of addresses that they read from flash.
    """

    fault: str
    pc: int
    runs: list[list[tuple[int, list[list[int]]]] | None]
    traces: list[list[tuple[int, str]] | None]


def write_job(
    image: Image,
    device: Device,
    folder: Path,
    *,
    counted: Sequence[bool] = (),
    aligned: bool = False,
) -> None:
    """Leaves in `folder` what `unicorn_worker` needs to run an image, but for the request."""
    segments: list[tuple[int, str]] = []
    for number, (address, data) in enumerate(load_segments(image.elf)):
        (folder / f"segment{number}.bin").write_bytes(data)
        segments.append((address, f"segment{number}.bin"))
    job = {
        "arch": device.core.arch,
        "model": device.core.unicorn,
        "memories": [(m.origin, m.size, m.kind == "ram") for m in device.memories],
        "segments": segments,
        "entry": image.symbols["ll_start"].address,
        "stack": image.symbols["ll_stack_top"].address,
        "counted": list(counted),
        "aligned": aligned,
        "traced": [(m.origin, m.end) for m in device.memories if m.timing is not None],
        "marks": {
            name: image.symbols[name].address if name in image.symbols else 0
            for name in ("ll_run_begin", "ll_run_end", "ll_step_begin", "ll_step_end")
        },
        "harness": [image.symbols[n].address for n in ("ll_harness_start", "ll_harness_end")],
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _unicorn(
    image: Image,
    device: Device,
    counted: Sequence[bool],
    aligned: bool,
    folder: Path,
    timeout: float,
) -> WorkerResult:
    write_job(image, device, folder, counted=counted, aligned=aligned)
    command = [sys.executable, "-m", "lilliput.emu.unicorn_worker", str(folder)]
    _child(command, folder, timeout, image.elf.name)
    result = cast(WorkerResult, json.loads((folder / "result.json").read_text(encoding="utf-8")))
    if result["fault"]:
        raise fault_error(result["fault"], image, result["pc"], device)
    return result


def fault_error(what: str, image: Image, pc: int, device: Device) -> errors.EmulationError:
    return errors.EmulationError(
        f"the firmware stopped: {what}",
        where=f"{device.name}, {image.locate(pc)}",
        found=f"pc {pc:#010x}",
    )


def _child(
    command: Sequence[str], folder: Path, timeout: float, where: str, *, strict: bool = True
) -> str:
    """Runs a child to its end; it is killed on a timeout and on Ctrl-C.  Its error output.

    `strict=False` leaves the judgement of a bad exit code to the caller, who reads the response.
    """
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    try:
        run = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise _hang(where, timeout) from error
    text = run.stderr.decode("utf-8", "replace").strip()
    if strict and run.returncode != 0:
        raise errors.EmulationError(
            "the emulator failed",
            where=where,
            expected="exit code 0",
            found=f"exit code {run.returncode}\n{text[-2000:]}",
        )
    return text


_QEMU: Final[Mapping[str, tuple[str, str]]] = {
    "arm": ("qemu-system-arm", "apt-get install qemu-system-arm"),
    "riscv": ("qemu-system-riscv32", "apt-get install qemu-system-misc"),
}


def _qemu(image: Image, device: Device, folder: Path, timeout: float) -> bytes:
    program, install = _QEMU[device.core.arch]
    found = shutil.which(program)
    if found is None:
        raise errors.MissingTool(f"{program} is not on PATH", where=device.core.name, hint=install)
    machine = device.core.qemu
    command = [
        *(found, "-M", machine.machine, "-nographic", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native", "-kernel", str(image.elf.resolve())),
        *(("-cpu", machine.cpu) if machine.cpu else ()),
        *(("-bios", "none") if device.core.arch == "riscv" else ()),
    ]
    text = _child(command, folder, timeout, f"{program} -M {machine.machine}", strict=False)
    fault = re.search(r"fatal: (.*)", text)
    if fault:
        raise fault_error(fault.group(1), image, _qemu_pc(text, image), device)
    response = folder / "response.bin"
    return response.read_bytes() if response.exists() else b""


def _qemu_pc(dump: str, image: Image) -> int:
    """Where a register dump says the firmware was; `ll_fault` keeps the faulting address in r4."""
    registers = {int(n): int(v, 16) for n, v in re.findall(r"R(\d\d)=([0-9a-f]{8})", dump)}
    pc = registers.get(15, 0)
    return registers.get(4, pc) if image.function_at(pc) == "ll_fault" else pc
