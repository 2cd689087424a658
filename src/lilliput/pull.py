"""Public models by name: fetched once, checked by size and sha256, kept in a cache folder.

One idea: a name means exact bytes (`models.toml`).  Whatever else arrives is refused and leaves
no file behind.  To add a model, add a table there.  Not a model zoo: these are the networks that
the project measures itself with, under their own licences.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import secrets
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lilliput.errors import LilliputError, Problem, UsageError

CACHE_VARIABLE = "LILLIPUT_CACHE"
SHARED_VARIABLE = "LILLIPUT_SHARED"
HOST = "https://raw.githubusercontent.com"
TIMEOUT_SECONDS = 30
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Entry:
    """One table of `models.toml`; the keys are explained there."""

    name: str
    title: str
    repo: str
    commit: str
    path: str
    bytes: int
    sha256: str
    licence: str
    shared: str

    @property
    def url(self) -> str:
        return f"{HOST}/{self.repo}/{self.commit}/{self.path}"


@functools.cache
def models() -> Mapping[str, Entry]:
    """Every model that can be fetched, by name."""
    text = (resources.files("lilliput") / "models.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    return {name: Entry(name, **table) for name, table in tables.items()}


def cache_folder() -> Path:
    """Where fetched models are kept: LILLIPUT_CACHE, or the system's place for caches."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lilliput"


def pull(name: str, log: Callable[[str], None] = lambda _: None) -> Path:
    """The file of that model, fetched if it is not in the cache.

    Where LILLIPUT_SHARED names a folder that has the model, it is taken from there and the
    network is left alone.  Raises UsageError for an unknown name, LilliputError where the bytes
    are not those that are pinned or cannot be had.
    """
    entry = _find(name)
    target = cache_folder() / f"{entry.name}.tflite"
    if target.is_file():
        if _wrong(entry, target.read_bytes()) is None:
            return target
        log("the cached file was changed: fetching it again")
    data = _shared(entry, log) or _download(entry, log)
    problem = _wrong(entry, data)
    if problem is not None:
        raise LilliputError(problem)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        new.write_bytes(data)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    return target


def _find(name: str) -> Entry:
    known = models()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise UsageError(
        f"there is no model {name!r}",
        expected=" or ".join(near) if near else "one of " + ", ".join(known),
        found=name,
        hint="`lilliput pull` lists all",
    )


def _wrong(entry: Entry, data: bytes) -> Problem | None:
    found = hashlib.sha256(data).hexdigest()
    if len(data) == entry.bytes and found == entry.sha256:
        return None
    return Problem(
        "the model is not what was pinned; nothing was kept",
        entry.name,
        f"{entry.bytes:,} bytes, sha256 {entry.sha256}",
        f"{len(data):,} bytes, sha256 {found}",
        f"its source may have changed: {entry.url}",
    )


def _shared(entry: Entry, log: Callable[[str], None]) -> bytes | None:
    folder = os.environ.get(SHARED_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / "models" / entry.shared
    if not path.is_file() or path.stat().st_size > 2 * entry.bytes:
        return None
    log(f"from {path}")
    return path.read_bytes()


def _download(entry: Entry, log: Callable[[str], None]) -> bytes:
    """At most one byte more than is expected; that is enough to see that it is wrong."""
    log(f"fetching {entry.url}")
    parts: list[bytes] = []
    left = entry.bytes + 1
    try:
        with urllib.request.urlopen(entry.url, timeout=TIMEOUT_SECONDS) as response:
            while left > 0 and (part := response.read(min(left, _CHUNK))):
                parts.append(part)
                left -= len(part)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise LilliputError(
            "the model could not be fetched",
            where=entry.url,
            found=str(reason) or type(error).__name__,
            hint=f"check the connection, or put the file at {cache_folder()}"
            f"{os.sep}{entry.name}.tflite yourself",
        ) from error
    return b"".join(parts)
