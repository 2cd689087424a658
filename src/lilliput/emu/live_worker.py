"""A child process that keeps one core powered: `python -m lilliput.emu.live_worker DIR`.

The idea: the core of `unicorn_worker`, whose request is a pipe instead of a file: where the
harness has read all of it, what it has answered is sent, and the core waits for more.  One range
of memory is a flash: its content is given at the start and handed back at the end, and the power
may fail at any byte that is stored there.  Everything else is RAM, which begins as noise.

All numbers are little-endian.  To the child: {budget, bytes, request}: the stores to flash until
the power fails, -1: it does not.  From it: {kind, bytes, payload}: 0 what the harness has
answered, 1 the flash, last of all where the power is off, 2 a fault as JSON, last of all.
"""

from __future__ import annotations

import json
import os
import queue
import struct
import sys
import threading
from pathlib import Path
from typing import Any, Final, cast

from lilliput.emu.unicorn_worker import Job, Stopped, Worker, unicorn

ANSWER, STORAGE, FAULT = range(3)
TORN: Final = 0x55
"""Of the byte at which power fails, the bits that are still stored."""
PATIENCE_SECONDS: Final = 10


class LiveJob(Job):
    """storage : address and bytes of the flash; 0 bytes where there is none"""

    storage: tuple[int, int]


class LiveWorker(Worker):
    """A core that waits for requests, with its flash."""

    def __init__(self, job: LiveJob, folder: Path) -> None:
        (folder / "request.bin").write_bytes(b"")
        super().__init__(job, folder)
        self.requests: queue.Queue[tuple[int, bytes] | None] = queue.Queue()
        self.budget = -1
        self.switched_off = False
        self.left_behind: tuple[int, bytes] | None = None
        self.at, self.size = job["storage"]
        if self.size:
            self.uc.mem_write(self.at, (folder / "storage.bin").read_bytes())
            self.uc.hook_add(
                unicorn.UC_HOOK_MEM_WRITE, self._store, begin=self.at, end=self.at + self.size - 1
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _core(self) -> Any:
        uc = super()._core()
        for origin, size, writable in self.job["memories"]:
            if writable:
                uc.mem_write(origin, b"\xa5\x3c\x99\x0f" * (size // 4))
        for address, name in self.job["segments"]:
            uc.mem_write(address, (self.folder / name).read_bytes())
        return uc

    def run(self) -> None:
        """Runs until the power fails, is switched off, or the firmware faults."""
        try:
            pc = self._go(self.job["entry"], 0)
            if self.exited and not self.switched_off:
                self.fault, self.fault_pc = "the harness ended", pc
        except Stopped as error:
            self.fault = str(error)
        if self.left_behind is not None:
            self.uc.mem_write(*self.left_behind)
        if self.fault:
            pc = self.uc.reg_read(self.pc) if self.fault_pc is None else self.fault_pc
            send(FAULT, json.dumps({"fault": self.fault, "pc": pc}).encode())
        else:
            send(STORAGE, bytes(self.uc.mem_read(self.at, self.size)) if self.size else b"")

    def _listen(self) -> None:
        """Requests as they come.  A core that does not look at its last one in time is gone."""
        pipe = sys.stdin.buffer
        while len(head := pipe.read(8)) == 8:
            budget, size = struct.unpack("<iI", head)
            self.requests.put((budget, pipe.read(size)))
        self.requests.put(None)
        threading.Event().wait(PATIENCE_SECONDS)
        os._exit(1)

    def _read(self, file: int, address: int, size: int) -> int:
        if self.read_at == len(self.request):
            if self.request:
                send(ANSWER, bytes(self.response))
                self.response.clear()
            given = self.requests.get()
            if given is None:
                self.switched_off = True
                return size
            self.budget, self.request = given
            self.read_at = 0
        return super()._read(file, address, size)

    def _store(self, uc: Any, kind: int, address: int, size: int, value: int, _: object) -> None:
        del kind
        if self.left_behind is not None:
            return
        if 0 <= self.budget < size:
            old, new = uc.mem_read(address, size), value & ((1 << (8 * size)) - 1)
            bits = zip(old, new.to_bytes(size, "little"), strict=True)
            self.left_behind = address, bytes((a & ~TORN & 0xFF) | (b & TORN) for a, b in bits)
            uc.emu_stop()
        elif self.budget > 0:
            self.budget -= size


def send(kind: int, payload: bytes) -> None:
    sys.stdout.buffer.write(struct.pack("<2I", kind, len(payload)) + payload)
    sys.stdout.buffer.flush()


def main() -> int:
    """Serves the job in the folder named on the command line."""
    folder = Path(sys.argv[1])
    job = cast(LiveJob, json.loads((folder / "job.json").read_text(encoding="utf-8")))
    LiveWorker(job, folder).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
