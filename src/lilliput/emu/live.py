"""A program on an emulated core that stays powered between calls, with a flash that outlives it.

    with Board(program, files, device) as board:
        board.call("train_step", {"x": picture, "label": label}).outputs["loss"]
        board.save(cut=100)         # power fails at byte 100 that is stored in the flash
        board.on()                  # RAM is noise, states are the factory's
        board.load()

The idea: the harness of all proofs, asked one thing after the other instead of all at once, with
the operations of `codegen.operations` beside the entries.  The emulator's process is the power:
when it ends, all that is left is what it hands back of the flash.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from lilliput.codegen.harness import extract, harness
from lilliput.codegen.keep import STATUS
from lilliput.codegen.operations import STATES, STORAGE, storage_bytes
from lilliput.devices import Device, Memory
from lilliput.emu.elf import Image
from lilliput.emu.live_worker import ANSWER, FAULT
from lilliput.emu.live_worker import STORAGE as CONTENT
from lilliput.emu.machine import (
    Command,
    EntryRun,
    decode_run,
    emulation_device,
    encode_command,
    fault_error,
    request_start,
    write_job,
)
from lilliput.emu.toolchain import build_firmware, find
from lilliput.errors import EmulationError, UsageError
from lilliput.ir.types import Array
from lilliput.plan.memories import used_beside
from lilliput.plan.program import Program

_ORIGIN: Final = 0x9000_0000
_CODES: Final = {code & 0xFFFFFFFF: name for name, code, _ in STATUS}
DARK: Final = "DARK"
"""The status of a call during which the power failed."""


@dataclass(frozen=True, eq=False)
class Answer:
    """status : as `NAME_status` has it, without the prefix, `OK` of entries that cannot refuse;
    outputs : by name, of a refused call undefined and left out"""

    status: str
    outputs: Mapping[str, Array]


class Board:
    """An emulated core with a firmware of one program.  Off at first; `with` switches it on.

    flash : what is in the flash of two slots, known while it is off
    """

    def __init__(
        self,
        program: Program,
        files: Mapping[str, str],
        device: Device,
        *,
        compiler: str = "auto",
        optimize: str = "-O2",
        timeout: float = 120,
    ) -> None:
        """Compiles `files`, which `codegen.emit` gives for the program, for the device's core.

        timeout : seconds that a call may take
        Raises MissingTool, BuildError; UsageError for a core that Unicorn has no model of.
        """
        self.program, self.timeout = program, timeout
        self._marks = harness(program, operations=True)
        nbytes = storage_bytes(program)
        beside = used_beside(program, device)
        if nbytes:
            beside = (*beside, Memory(STORAGE, "ram", _ORIGIN, nbytes))
        self._device = emulation_device(device.core, "unicorn", beside=beside)
        self._place = tempfile.TemporaryDirectory(prefix="lilliput-")
        folder = Path(self._place.name)
        sources = {**files, "harness_model.h": self._marks.header}
        self._image = build_firmware(
            find(device.core, compiler),
            self._device,
            sources,
            folder,
            defines=self._marks.defines,
            optimize=optimize,
        )
        self.flash = b"\xff" * nbytes
        self._core: _Core | None = None

    # power

    @property
    def powered(self) -> bool:
        return self._core is not None

    def on(self) -> None:
        """Switches the power on: states are the factory's, all other RAM is noise.  Off before."""
        self.off()
        self._core = _Core(self._image, self._device, self.flash, Path(self._place.name))
        self._core.ask(request_start(secrets.randbits(32)), -1, self.timeout)

    def off(self) -> None:
        """Cuts the power between two calls."""
        if self._core is not None:
            core, self._core = self._core, None
            self.flash = core.off(self.timeout)

    def __enter__(self) -> Board:
        self.on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        del kind, e, t
        self.off()
        self._place.cleanup()

    # calls

    def call(self, entry: str, inputs: Mapping[str, Array] | None = None) -> Answer:
        """One call of an entry.

        inputs : stored elements by name, as `ir.Session` takes them
        Raises UsageError for inputs that are not those of the entry, EmulationError for a fault.
        """
        found = next((e for e in self.program.entries if e.name == entry), None)
        if found is None:
            names = " or ".join(e.name for e in self.program.entries)
            raise UsageError("no such entry", expected=names, found=entry)
        given, data = inputs or {}, list[bytes]()
        for value, _ in found.inputs:
            array = given.get(value.name)
            fits = array is not None and tuple(array.shape) == value.type.shape
            if array is None or not fits or array.dtype != value.type.dtype.numpy:
                what = "none" if array is None else f"{array.dtype}{list(array.shape)}"
                raise UsageError("input", where=value.name, expected=str(value.type), found=what)
            data.append(np.ascontiguousarray(array).tobytes())
        run = self._run(entry, data, -1)
        if run is None:
            return Answer(DARK, {})
        status = _status(run.outputs[-1]) if found.guarded else "OK"
        pairs = zip(found.outputs, run.outputs, strict=False)
        outputs = {v.name: _array(extract(view, raw), v.type.shape) for (v, view), raw in pairs}
        return Answer(status, outputs if status == "OK" else {})

    def reset(self) -> None:
        """`NAME_reset`: every state to the factory's value; the flash stays as it is."""
        self._ask(Command("reset"), -1)

    def save(self, *, cut: int | None = None) -> str:
        """`NAME_save` to the flash: its status.

        cut : power fails at the byte of this number, from 0, that is erased or written: some of
            its bits are stored, the status is `DARK`, and the board is off
        """
        return self._operation("save", cut=-1 if cut is None else cut)

    def load(self) -> str:
        """`NAME_load` from the flash: its status."""
        return self._operation("load")

    def set(self, state: str, value: float) -> str:
        """`NAME_set_STATE`: its status."""
        slot = self._setting(state)
        return self._operation(f"set {state}", np.full(1, value, slot).tobytes())

    def get(self, state: str) -> float:
        """`NAME_get_STATE`."""
        slot = self._setting(state)
        run = self._run(f"get {state}", [], -1)
        assert run is not None
        return float(np.frombuffer(run.outputs[0], slot)[0])

    def states(self) -> dict[str, Array]:
        """Every state as it lies in RAM."""
        run = self._run(STATES, [], -1)
        assert run is not None
        pairs = zip(self.program.states, run.outputs, strict=True)
        return {s.name: _array(extract(s.view, raw), s.init.shape) for s, raw in pairs}

    def _setting(self, state: str) -> np.dtype[np.generic]:
        found = [s for s in self.program.states if s.name == state and s.settable]
        if not found:
            names = ", ".join(s.name for s in self.program.states if s.settable)
            raise UsageError("no such setting", expected=names or "none", found=state)
        return np.dtype(found[0].view.dtype.numpy)

    def _operation(self, name: str, data: bytes | None = None, *, cut: int = -1) -> str:
        run = self._run(name, [] if data is None else [data], cut)
        return DARK if run is None else _status(run.outputs[-1])

    def _run(self, name: str, data: Sequence[bytes], budget: int) -> EntryRun | None:
        """None where power failed."""
        if name not in self._marks.names:
            raise UsageError("the program has no such function", found=name)
        answer = self._ask(Command("run", self._marks.names.index(name), tuple(data)), budget)
        return None if answer is None else decode_run(answer)

    def _ask(self, command: Command, budget: int) -> bytes | None:
        if self._core is None:
            raise UsageError("the board is off", hint="switch it on: on()")
        try:
            answer = self._core.ask(encode_command(command), budget, self.timeout)
        except EmulationError:
            self._core = None
            raise
        if answer is None:
            self.off()
        return answer


def _status(raw: bytes) -> str:
    code = int.from_bytes(raw, "little")
    return _CODES.get(code, f"status {code:#x}")


def _array(elements: Array, shape: tuple[int, ...]) -> Array:
    return elements.reshape(shape).copy()


class _Core:
    """The child process: one power cycle."""

    def __init__(self, image: Image, device: Device, flash: bytes, folder: Path) -> None:
        self.image, self.device = image, device
        write_job(image, device, folder)
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        at = image.symbols["ll_storage"].address if flash else 0
        (folder / "job.json").write_text(
            json.dumps({**job, "storage": (at, len(flash))}), encoding="utf-8"
        )
        (folder / "storage.bin").write_bytes(flash)
        path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
        self.child = subprocess.Popen(
            [sys.executable, "-m", "lilliput.emu.live_worker", str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.frames: queue.Queue[tuple[int, bytes] | None] = queue.Queue()
        self.flash: bytes | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Frames as they come; None where the child has ended."""
        pipe = self.child.stdout
        assert pipe is not None
        while len(head := pipe.read(8)) == 8:
            kind, size = struct.unpack("<2I", head)
            self.frames.put((kind, pipe.read(size)))
        self.frames.put(None)

    def ask(self, request: bytes, budget: int, timeout: float) -> bytes | None:
        """What the harness answers before it waits again; None where power failed.

        budget : bytes that may be stored in the flash until then; -1: any number
        Raises EmulationError for a fault or a hang; the core is gone then.
        """
        pipe = self.child.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):  # it has ended, which the next frame says
            pipe.write(struct.pack("<iI", budget, len(request)) + request)
            pipe.flush()
        kind, payload = self._frame(timeout)
        if kind == ANSWER:
            return payload
        self.flash = payload
        return None

    def off(self, timeout: float) -> bytes:
        """What is left in the flash."""
        if self.flash is None and self.child.stdin is not None:
            with contextlib.suppress(OSError):
                self.child.stdin.close()
        while self.flash is None:
            kind, payload = self._frame(timeout)
            if kind == CONTENT:
                self.flash = payload
        self._end()
        return self.flash

    def _frame(self, timeout: float) -> tuple[int, bytes]:
        try:
            frame = self.frames.get(timeout=timeout)
        except queue.Empty:
            self._end()
            what = f"an answer within {timeout:g} s"
            raise EmulationError(
                "the core does not answer", expected=what, found="a hang"
            ) from None
        if frame is None:
            words = self.child.stderr.read().decode("utf-8", "replace") if self.child.stderr else ""
            self._end()
            raise EmulationError("the emulator failed", found=words.strip()[-1000:])
        if frame[0] == FAULT:
            self._end()
            found = json.loads(frame[1])
            raise fault_error(found["fault"], self.image, found["pc"], self.device)
        return frame

    def _end(self) -> None:
        self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()
