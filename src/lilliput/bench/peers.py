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
    """One engine on one network; None where nothing is known, the reason in `note` where it
    cannot run it."""

    engine: str
    conditions: str
    note: str = ""
    instructions: int | None = None
    cycles: int | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None


@dataclass(frozen=True)
class Goal:
    """How many instructions this project set itself for a network, and with what compiled."""

    core: str
    toolchain: str
    optimize: str
    instructions: int


@dataclass(frozen=True)
class _Network:
    sha256: str
    figures: tuple[Figures, ...]
    goal: Goal | None


@functools.cache
def _tables() -> tuple[Mapping[str, Conditions], Mapping[str, _Network]]:
    text = (resources.files("lilliput.bench") / "peers.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    stated = {name: Conditions(name, **c) for name, c in tables.pop("conditions").items()}
    return stated, {name: _network(table) for name, table in tables.items()}


def _network(table: Mapping[str, Any]) -> _Network:
    goal = Goal(**table["goal"]) if "goal" in table else None
    return _Network(table["sha256"], tuple(Figures(**f) for f in table["figures"]), goal)


def conditions() -> Mapping[str, Conditions]:
    """All conditions, by the name that figures use."""
    return _tables()[0]


def peers_of(sha256: str, core: str) -> tuple[Figures, ...]:
    """What is known of a file on a core; empty where nothing is."""
    stated, networks = _tables()
    known = (f for n in networks.values() if n.sha256 == sha256 for f in n.figures)
    return tuple(f for f in known if stated[f.conditions].core == core)


def goal_of(sha256: str, core: str) -> Goal | None:
    """What was set as the goal for a file on a core, if anything."""
    goals = (n.goal for n in _tables()[1].values() if n.sha256 == sha256)
    return next((g for g in goals if g and g.core == core), None)


def named(network: str, conditions: str, engine: str) -> Figures:
    """The figures of an engine on a network of `peers.toml`, by name; raises KeyError."""
    for f in _tables()[1][network].figures:
        if (f.conditions, f.engine) == (conditions, engine):
            return f
    raise KeyError((network, conditions, engine))
