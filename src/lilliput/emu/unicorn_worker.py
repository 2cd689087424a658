"""A child process that runs one image under Unicorn: `python -m lilliput.emu.unicorn_worker DIR`.

The idea: Unicorn (GPL-2) stays in a process of its own and is spoken to through files.  DIR holds
`job.json` (core model, memories, segments, marks), `request.bin` and the segments; this program
leaves `response.bin` and `result.json` (fault and raw block counts) there.  It knows addresses
only: names, lines, cycles and the protocol's meaning belong to `machine` and `cycles`.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypedDict, cast

# Unicorn's own annotations are incomplete.
unicorn: Any = importlib.import_module("unicorn")
arm_const: Any = importlib.import_module("unicorn.arm_const")
riscv_const: Any = importlib.import_module("unicorn.riscv_const")

WINDOW: Final = 4096
_PAGE: Final = 0x1000
_SYS_OPEN, _SYS_CLOSE, _SYS_WRITE, _SYS_READ = 0x01, 0x02, 0x05, 0x06
_SYS_EXIT, _SYS_EXIT_EXTENDED = 0x18, 0x20
# slli zero, zero, 0x1f; ebreak
_RISCV_CALL: Final = bytes.fromhex("1310f00173001000")
_ALL_ONES: Final = 0xFFFFFFFF
_ARM_FAULTS: Final = {
    1: "undefined instruction",
    3: "instruction fetch abort",
    4: "data abort",
    7: "breakpoint (a fault handler ran)",
    17: "undefined instruction or no coprocessor",
    18: "invalid execution state",
}
_RISCV_FAULTS: Final = {
    0: "instruction address misaligned",
    1: "instruction access fault",
    2: "illegal instruction",
    3: "breakpoint (a trap handler ran)",
    4: "load address misaligned",
    5: "load access fault",
    6: "store address misaligned",
    7: "store access fault",
}
_ERRORS: Final = {
    unicorn.UC_ERR_READ_UNMAPPED: "read from an address without memory",
    unicorn.UC_ERR_WRITE_UNMAPPED: "write to an address without memory",
    unicorn.UC_ERR_FETCH_UNMAPPED: "jump to an address without memory",
    unicorn.UC_ERR_WRITE_PROT: "write to flash",
    unicorn.UC_ERR_INSN_INVALID: "undefined instruction",
}


class Job(TypedDict):
    """The content of `job.json`; written by `machine`."""

    arch: str
    model: str
    memories: list[tuple[int, int, bool]]
    segments: list[tuple[int, str]]
    entry: int
    stack: int
    counted: list[bool]
    marks: dict[str, int]
    harness: tuple[int, int]
    aligned: bool
    traced: list[tuple[int, int]]


class Stopped(Exception):
    """The firmware cannot go on."""


class Worker:
    """One emulated core, its two files, and the counts of the runs."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job = job
        self.folder = folder
        self.arm = job["arch"] == "arm"
        self.request: bytes = (folder / "request.bin").read_bytes()
        self.read_at = 0
        self.response = bytearray()
        self.files: list[str] = []
        self.exited = False
        self.fault = ""
        self.runs: list[list[tuple[int, list[list[int]]]] | None] = []
        self.traces: list[list[tuple[int, str]] | None] = []
        self.fault_pc: int | None = None
        self.awaited = 0
        self.uc = self._core()
        if self.arm:
            self.pc, self.argument = arm_const.UC_ARM_REG_PC, arm_const.UC_ARM_REG_R0
            self.block = arm_const.UC_ARM_REG_R1
        else:
            self.pc, self.argument = riscv_const.UC_RISCV_REG_PC, riscv_const.UC_RISCV_REG_A0
            self.block = riscv_const.UC_RISCV_REG_A1

    def _core(self) -> Any:
        if self.arm:
            uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
            uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_{self.job['model']}"))
        else:
            uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
            uc.ctl_set_cpu_model(getattr(riscv_const, f"UC_CPU_{self.job['model']}"))
        for origin, size, writable in self.job["memories"]:
            start, end = origin & -_PAGE, (origin + size + _PAGE - 1) & -_PAGE
            uc.mem_map(start, end - start, unicorn.UC_PROT_ALL if writable else 5)
        if self.arm:
            uc.mem_map(0xE000E000, _PAGE)
        for address, name in self.job["segments"]:
            uc.mem_write(address, (self.folder / name).read_bytes())
        if self.arm:
            uc.reg_write(arm_const.UC_ARM_REG_SP, self.job["stack"])
        uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        if self.job["aligned"]:
            accesses = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
            uc.hook_add(accesses, self._access)
        for name in ("ll_run_begin", "ll_run_end"):
            mark = self.job["marks"][name]
            uc.hook_add(unicorn.UC_HOOK_CODE, self._mark, begin=mark, end=mark)
        return uc

    def run(self) -> None:
        """Runs to the exit call, counting inside the runs that were asked for."""
        begin, end = self.job["marks"]["ll_run_begin"], self.job["marks"]["ll_run_end"]
        try:
            pc = self._go(self.job["entry"], begin)
            for counted in self.job["counted"]:
                if self.exited:
                    break
                self._expect(pc, begin)
                count = Counter(self) if counted else None
                pc = self._go(pc, end)
                if count is not None:
                    count.stop()
                if not self.exited:
                    self._expect(pc, end)
                    self.runs.append(count.result() if count is not None else None)
                    self.traces.append(count.traces(self.folder) if count is not None else None)
                    pc = self._go(pc, begin)
        except Stopped as error:
            self.fault = str(error)
        self._write()

    def _expect(self, pc: int, address: int) -> None:
        if pc & ~1 != address & ~1:
            raise Stopped(f"left the harness at {pc:#010x}")

    def _access(self, uc: Any, kind: int, address: int, size: int, *_: object) -> None:
        del kind
        if address & (size - 1) and not self.fault:
            self.fault = f"unaligned access of {size} bytes at {address:#010x}"
            self.fault_pc = cast(int, uc.reg_read(self.pc))
            uc.emu_stop()

    def _mark(self, uc: Any, address: int, size: int, _: object) -> None:
        del size
        if address == self.awaited:
            uc.emu_stop()

    def _go(self, pc: int, mark: int) -> int:
        """Runs from `pc` up to `mark`, the exit call, or a fault (then raises)."""
        self.awaited = mark
        while True:
            try:
                self.uc.emu_start((pc | 1) if self.arm else pc, _ALL_ONES - 1)
            except unicorn.UcError as error:
                pc = cast(int, self.uc.reg_read(self.pc))
                if not self._riscv_semihost(pc):
                    raise Stopped(_ERRORS.get(error.errno, str(error))) from error
                pc += 4
                if not self.exited:
                    continue
            if self.fault:
                raise Stopped(self.fault)
            return cast(int, self.uc.reg_read(self.pc))

    def _riscv_semihost(self, pc: int) -> bool:
        """Serves the call at `pc` if one is there.  Unicorn ends at an ebreak with an error."""
        if self.arm or self.job["harness"][0] > pc or pc >= self.job["harness"][1]:
            return False
        if bytes(self.uc.mem_read(pc - 4, 8)) != _RISCV_CALL:
            return False
        self._semihost()
        return True

    def _interrupt(self, uc: Any, number: int, _: object) -> None:
        pc = cast(int, uc.reg_read(self.pc))
        if self.arm and number == 7 and bytes(uc.mem_read(pc, 2)) == b"\xab\xbe":
            self._semihost()
            uc.reg_write(self.pc, (pc + 2) | 1)
            return
        table = _ARM_FAULTS if self.arm else _RISCV_FAULTS
        self.fault = table.get(number, f"exception {number}")
        uc.emu_stop()

    def _semihost(self) -> None:
        op = cast(int, self.uc.reg_read(self.argument))
        block = cast(int, self.uc.reg_read(self.block))
        if op in (_SYS_EXIT, _SYS_EXIT_EXTENDED):
            self.exited = True
            self.uc.emu_stop()
            return
        service: Callable[[int, int, int], int] | None = {
            _SYS_OPEN: self._open,
            _SYS_READ: self._read,
            _SYS_WRITE: self._write_out,
            _SYS_CLOSE: self._close,
        }.get(op)
        words = struct.unpack("<3I", bytes(self.uc.mem_read(block, 12)))
        self.uc.reg_write(self.argument, _ALL_ONES if service is None else service(*words))

    def _open(self, address: int, mode: int, length: int) -> int:
        del mode
        self.files.append(bytes(self.uc.mem_read(address, length)).decode("ascii", "replace"))
        return len(self.files)

    def _close(self, file: int, address: int, size: int) -> int:
        del file, address, size
        return 0

    def _read(self, file: int, address: int, size: int) -> int:
        """Bytes that were not read, as the call defines it."""
        if not self._is(file, "request.bin"):
            return size
        data = self.request[self.read_at : self.read_at + size]
        self.read_at += len(data)
        self.uc.mem_write(address, data)
        return size - len(data)

    def _write_out(self, file: int, address: int, size: int) -> int:
        if not self._is(file, "response.bin"):
            return size
        self.response += self.uc.mem_read(address, size)
        return 0

    def _is(self, file: int, name: str) -> bool:
        return 0 < file <= len(self.files) and self.files[file - 1] == name

    def _write(self) -> None:
        (self.folder / "response.bin").write_bytes(bytes(self.response))
        result = {
            "fault": self.fault,
            "pc": self.uc.reg_read(self.pc) if self.fault_pc is None else self.fault_pc,
            "runs": self.runs,
            "traces": self.traces,
        }
        (self.folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


class Counter:
    """Counts blocks of one run, in a bucket for each step; the harness's own code is left out.

    A block is (end of the block before, address, size): whether a branch was taken follows.
    Where a flash is traced, `WINDOW` blocks are written down from every one that is new to its
    step, with what they read from it.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.low, self.high = (a & ~1 for a in worker.job["harness"])
        self.step_mark = worker.job["marks"]["ll_step_begin"]
        self.buckets: list[tuple[int, dict[tuple[int, int, int], int]]] = []
        self.bucket: dict[tuple[int, int, int], int] = defaultdict(int)
        self.last_end = 0
        self.pieces: list[tuple[int, array[int]]] = []
        self.piece: array[int] = array("q")
        self.seen: set[int] = set()
        self.left = 0
        self.reads: list[Any] = []
        worker.uc.ctl_flush_tb()
        traced = worker.job["traced"]
        hook = self._traced_block if traced else self._block
        self.hooks = [worker.uc.hook_add(unicorn.UC_HOOK_BLOCK, hook)]
        if traced:
            # Code is only made to look for such hooks while there is one; this one never fires.
            never = worker.uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, None, 1, 1)
            self.hooks.append(never)

    def _block(self, uc: Any, address: int, size: int, _: object) -> None:
        if self.low <= address < self.high:
            if address == self.step_mark:
                step = cast(int, uc.reg_read(self.worker.argument))
                self.buckets.append((step, self.bucket))
                self.bucket = defaultdict(int)
                if self.worker.job["traced"]:
                    self._next_piece(step)
            self.last_end = 0
            return
        self.bucket[self.last_end, address, size] += 1
        self.last_end = address + size

    def _traced_block(self, uc: Any, address: int, size: int, data: object) -> None:
        self._block(uc, address, size, data)
        if self.last_end == 0:
            return
        if address not in self.seen:
            self.seen.add(address)
            self.left = WINDOW
            if not self.reads:
                kind = unicorn.UC_HOOK_MEM_READ
                self.reads = [
                    uc.hook_add(kind, self._read, None, low, high - 1)
                    for low, high in self.worker.job["traced"]
                ]
        if self.left:
            self.left -= 1
            self.piece.append(address)
            if self.left == 0:
                self._stop_reads()

    def _read(self, uc: Any, kind: int, address: int, *_: object) -> None:
        del uc, kind
        self.piece.append(~address)

    def _stop_reads(self) -> None:
        for hook in self.reads:
            self.worker.uc.hook_del(hook)
        self.reads = []

    def _next_piece(self, step: int) -> None:
        self.pieces.append((step, self.piece))
        self.piece, self.left = array("q"), 0
        self.seen.clear()
        self._stop_reads()

    def stop(self) -> None:
        """Takes the hooks out, so that what follows runs at full speed."""
        self._stop_reads()
        for hook in self.hooks:
            self.worker.uc.hook_del(hook)
        self.worker.uc.ctl_flush_tb()

    def result(self) -> list[tuple[int, list[list[int]]]]:
        """(step, rows of previous end, address, size, times) in order; -1 = after the last."""
        buckets = [*self.buckets, (-1, self.bucket)]
        return [(step, [[*key, times] for key, times in b.items()]) for step, b in buckets]

    def traces(self, folder: Path) -> list[tuple[int, str]] | None:
        """(step, file) of what was written down; None where nothing is traced."""
        if not self.worker.job["traced"]:
            return None
        found: list[tuple[int, str]] = []
        for number, (step, piece) in enumerate(self.pieces):
            name = f"trace{len(self.worker.traces)}-{number}.bin"
            (folder / name).write_bytes(piece.tobytes())
            found.append((step, name))
        return found


def main() -> int:
    """Runs the job in the folder named on the command line; the exit code is 0 for faults too."""
    folder = Path(sys.argv[1])
    job = cast(Job, json.loads((folder / "job.json").read_text(encoding="utf-8")))
    Worker(job, folder).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
