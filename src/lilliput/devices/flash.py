"""How long a flash lets the core wait, as a board file says it.

The idea: a flash is read in lines; a line that is not in a cache, or not fetched ahead, costs its
wait states.  Caches are taken as fully associative with the least recently used line going first.
This module is not a simulation (`emu.flash` is): only the numbers and their checks are here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, cast

from lilliput import errors

# Key -> (type, its name in messages, required), as for the other tables of a board file.
FLASH_KEYS: Final[Mapping[str, tuple[type, str, bool]]] = {
    "wait_states": (int, "a whole number", True),
    "line": (int, "a whole number", True),
    "prefetch": (bool, "true or false", False),
    "code_cache": (int, "a whole number", False),
    "data_cache": (int, "a whole number", False),
    "shared_cache": (int, "a whole number", False),
}


@dataclasses.dataclass(frozen=True)
class FlashTiming:
    """Waiting for a flash, at the clock of the board.

    wait_states  : cycles that a line costs which is nowhere nearer
    line         : bytes that come with one read, and that a cache keeps together
    prefetch     : the line behind the one that is executed is read meanwhile
    code_cache, data_cache : bytes of each cache; a line is kept even without one
    shared_cache : bytes of one cache for both
    """

    wait_states: int
    line: int
    prefetch: bool = False
    code_cache: int = 0
    data_cache: int = 0
    shared_cache: int = 0

    def __str__(self) -> str:
        caches = {
            "code": self.code_cache, "data": self.data_cache, "code and data": self.shared_cache,
        }  # fmt: skip
        parts = [f"{self.wait_states} wait states", f"lines of {self.line} B"]
        parts += ["prefetch"] if self.prefetch else []
        parts += [f"{size:,} B of cache for {what}" for what, size in caches.items() if size]
        return ", ".join(parts)


def read_flash(table: Mapping[str, object]) -> FlashTiming:
    """The value of a table without problems."""
    return FlashTiming(**cast(dict[str, Any], dict(table)))


def flash_problems(where: str, table: Mapping[str, object]) -> list[errors.Problem]:
    """What is wrong with the values of a table whose keys and types are right."""
    found: list[errors.Problem] = []
    line = cast(int, table["line"])
    if line < 4 or line & (line - 1):
        found.append(
            errors.Problem("bad value", f"{where}.line", "a power of two, 4 or more", str(line))
        )
    found += [
        errors.Problem("bad value", f"{where}.{key}", "0 or more", repr(table[key]))
        for key in ("wait_states", "code_cache", "data_cache", "shared_cache")
        if cast(int, table.get(key, 0)) < 0
    ]
    if table.get("shared_cache") and (table.get("code_cache") or table.get("data_cache")):
        expected = "shared_cache, or code_cache and data_cache"
        found.append(errors.Problem("two kinds of cache", where, expected, "both"))
    return found
