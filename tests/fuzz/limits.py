"""The time and memory that one input may take.

One idea: limits that raise, so that what takes too much has a traceback.  Seconds are
processor time, so a busy machine changes nothing; bytes are counted from what the process
has when an input begins.  What blocks inside of a library, where no handler runs, is ended
from outside: after `HARD` times as long the process prints where it is and exits.
"""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType

SECONDS = 5.0
BYTES = 512 << 20
HARD = 12  # 60 s: libFuzzer is told the same
_STATM = Path("/proc/self/statm")


class TooSlow(Exception):
    """An input took longer than its processor time."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextlib.contextmanager
def limited(seconds: float = SECONDS, size: int = BYTES) -> Generator[None]:
    """Raises TooSlow or MemoryError where the block takes more.

    Address space is limited on Linux only; elsewhere the memory is not.
    """
    before = signal.signal(signal.SIGPROF, _stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    faulthandler.dump_traceback_later(seconds * HARD, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        if _STATM.is_file():
            pages = int(_STATM.read_text(encoding="ascii").split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, hard))
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, before)
