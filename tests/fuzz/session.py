"""A run of the fuzzer: what was tried, what went wrong, kept as files, one line a minute.

One idea: a fault does not end a run.  Each is kept once, by where it was raised, as the bytes
and a traceback beside them; the run goes on.  The input under way is a file too, so that one
which ends the process is not lost.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.judge import Verdict, judge, short_name, signature
from tests.fuzz.limits import limited
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import text_seeds, tflite_seeds

from lilliput.errors import LilliputError

EVERY = 60.0


class Session:
    """Tries inputs; `faults` maps the signature of a defect to how often it was met."""

    def __init__(self, folder: Path, log: Callable[[str], None] = lambda line: None):
        self.folder = folder
        self.log = log
        self.stages = Counter[str]()
        self.faults = Counter[str]()
        self.slowest = 0.0
        self._start = self._told = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def attempt(self, data: bytes) -> Verdict | None:
        """How far `data` gets; None where it is a fault, which is kept."""
        current = self.folder / "current"
        current.write_bytes(data)
        begin = time.process_time()
        verdict = None
        try:
            with limited():
                verdict = judge(data)
            self.stages[verdict.stage] += 1
        except Exception as e:
            self._keep(data, e)
        self.slowest = max(self.slowest, time.process_time() - begin)
        if time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            self.log(self.summary())
        return verdict

    def _keep(self, data: bytes, error: Exception) -> None:
        name = signature(error)
        self.faults[name] += 1
        if self.faults[name] > 1:
            return
        path = self.folder / short_name(name)
        path.with_suffix(".bin").write_bytes(data)
        kind = "" if isinstance(error, LilliputError) else "no error of the package\n"
        trace = "".join(traceback.format_exception(error))
        path.with_suffix(".txt").write_text(f"{name}\n{kind}\n{trace}", encoding="utf-8")
        self.log(f"FAULT {path.name} {name}")

    def summary(self) -> str:
        tried = self.stages.total() + self.faults.total()
        stages = ", ".join(f"{self.stages[s]} {s}" for s in sorted(self.stages))
        return (
            f"{time.monotonic() - self._start:.0f} s: {tried} inputs, {stages}; "
            f"{len(self.faults)} faults met {self.faults.total()} times; "
            f"slowest input {self.slowest:.1f} s"
        )


def blind(session: Session, *, seconds: float, seed: int) -> None:
    """Mutations of the seeds and of what was taken, without coverage; inputs follow from `seed`."""
    rng = random.Random(seed)
    pool = [*tflite_seeds(), *tflite_seeds(), *text_seeds()]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutate(rng.choice(pool), rng.getrandbits(63))
        verdict = session.attempt(data)
        if verdict is not None and verdict.stage == "compiled" and rng.random() < 0.2:
            if len(pool) < 1000:
                pool.append(data)
            else:
                pool[rng.randrange(500, 1000)] = data


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
