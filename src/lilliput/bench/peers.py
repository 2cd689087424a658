"""What other engines take for the same networks: facts of `peers.toml`, each with its conditions.

One idea: a figure belongs to the exact bytes of a file, so it stands beside ours only where we
measured that file.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Conditions:
    """How figures were taken."""

    name: str
    title: str
    core: str
    compiler: str
    when: str
    instructions: str
    cycles: str
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """One engine on one network; None where nothing is known."""

    engine: str
    conditions: str
    note: str = ""
    instructions: int | None = None
    cycles: int | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None


@functools.cache
def _tables() -> tuple[Mapping[str, Conditions], Mapping[str, tuple[str, tuple[Figures, ...]]]]:
    text = (resources.files("lilliput.bench") / "peers.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    stated = {name: Conditions(name, **c) for name, c in tables.pop("conditions").items()}
    by_file = {
        t["sha256"]: (name, tuple(Figures(**f) for f in t["figures"])) for name, t in tables.items()
    }
    return stated, by_file


def conditions() -> Mapping[str, Conditions]:
    """All conditions, by the name that figures use."""
    return _tables()[0]


def peers_of(sha256: str, core: str) -> tuple[Figures, ...]:
    """What is known of a file on a core; empty where nothing is."""
    stated, by_file = _tables()
    _, figures = by_file.get(sha256, ("", ()))
    return tuple(f for f in figures if stated[f.conditions].core == core)


def named(network: str, conditions: str, engine: str) -> Figures:
    """The figures of an engine on a network of `peers.toml`, by name; raises KeyError."""
    for name, figures in _tables()[1].values():
        for f in figures:
            if (name, f.conditions, f.engine) == (network, conditions, engine):
                return f
    raise KeyError((network, conditions, engine))
