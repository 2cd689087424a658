"""The tables and pictures of docs/training-results.md, from `training.json` and `schemes.json`.

One idea: figures stand where `benchmarks.marked` says, and are written there by
`python -m benchmarks.training --page`; the words around them are not.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.marked import filled
from benchmarks.training import OPTIMISERS, OURS, RESULTS, read
from benchmarks.training_page import OURS as SEARCHED
from benchmarks.training_page import PICTURES, PUBLISHED, SIZES, WORDS
from benchmarks.training_picture import Line, chart
from benchmarks.training_tasks import TASKS
from lilliput.train.heads import HEADS

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "training-results.md", DOCS / "training-results.svg"
SCHEMES = Path(__file__).parent / "schemes.json"
FIRST = PUBLISHED[0]
RULES = ("nearest", "dither", "residual", "real", "float", "plain", "plain=1e6")
RATE = 0.004
"""What is not said."""


@dataclass(frozen=True)
class Way:
    """What runs are compared by; `residual` of a float head is `nearest`, which is the same."""

    scheme: str
    rule: str = "residual"
    optimiser: str = "sgd"
    head: str = "float"


@dataclass(frozen=True)
class Claim:
    """That `one` reaches more than `other` on some tasks."""

    text: str
    one: Way
    other: Way
    tasks: tuple[str, ...]


def _claims() -> list[Claim]:
    def more(text: str, one: str, other: str, tasks: tuple[str, ...] = PICTURES) -> Claim:
        return Claim(text, Way(one), Way(other), tasks)

    def rules(text: str, one: str, other: str) -> list[Claim]:
        found = [Claim(text, Way(FIRST, one), Way(FIRST, other), PICTURES)]
        for scheme in (WORDS, "full"):
            where = f"{text}, `{scheme}`"
            found.append(Claim(where, Way(scheme, one), Way(scheme, other), ("words",)))
        return found

    words = ("words",)
    return [
        *rules("QAS > plain int8", "residual", "plain"),
        *rules("QAS > plain int8, steps times 10^6", "residual", "plain=1e6"),
        *rules("our rule > int8 rounded to the nearest", "residual", "nearest"),
        *rules("int8 with our rule > real weights, rounded for use", "residual", "real"),
        *rules("int8 with our rule > float32", "residual", "float"),
        more("biases > head", "biases=20", "head"),
        more("biases > head", "biases", "head", words),
        more("published 49 kB > biases", FIRST, "biases=20"),
        more("published 99 kB > 49 kB", PUBLISHED[1], FIRST),
        more("published 148 kB > 99 kB", PUBLISHED[2], PUBLISHED[1]),
        *(
            more(f"published {w} kB > last 6", f"published:mcunet-{w}kb", "last=6")
            for w in (49, 99)
        ),
        more("ours in 150 kB > published 49 kB", "ours:150kB", FIRST),
        more("ours in 256 kB > published 99 kB", "ours:256kB", PUBLISHED[1]),
        *(more(f"ours in {s} > biases", f"ours:{s}", "biases=20") for s in SIZES[1:]),
        *(more(f"ours in {s} > biases", f"ours:{s}", "biases", words) for s in SIZES),
        *(more(f"ours in {s} > last 4", f"ours:{s}", WORDS, words) for s in SIZES),
        more("full > ours in 256 kB", "full", "ours:256kB", words),
    ]


Rows = Sequence[Mapping[str, Any]]


def _of_one_backbone(rows: Rows) -> list[Mapping[str, Any]]:
    """Of each task those of the backbone with the most runs: another machine's is another network,
    and no pair of a claim is of two."""
    counts = Counter((row["task"], row.get("backbone")) for row in rows)
    most = {task: own for (task, own), _ in reversed(counts.most_common())}
    return [row for row in rows if row.get("backbone") == most[row["task"]]]


def _runs(rows: Rows, task: str, way: Way) -> list[Mapping[str, Any]]:
    """Runs of 3 epochs of 500 examples that reached an end, at the rate that was taken: the one
    of most seeds."""
    alike = way.scheme == "head" and way.head == "float" and task != "words"
    rule = "nearest" if alike else way.rule
    wanted = (task, way.scheme, rule, way.optimiser, way.head, 3, 500)
    names = ("task", "scheme", "rule", "optimiser", "head", "epochs", "learn")
    by_rate: dict[float, list[Mapping[str, Any]]] = {}
    for row in rows:
        same = tuple(row.get(n, NOT_SAID.get(n)) for n in names) == wanted
        if same and row["accuracy"] is not None:
            by_rate.setdefault(row["rate"], []).append(row)
    return max(by_rate.values(), key=_most) if by_rate else []


NOT_SAID = {"optimiser": Way.optimiser, "head": Way.head}
"""What rows that do not name it are of."""


def _most(runs: Rows) -> tuple[int, float]:
    return len(runs), statistics.mean(r["accuracy"] for r in runs)


def _found(rows: Rows, task: str, way: Way) -> dict[int, float]:
    """Seed -> accuracy in percent."""
    return {r["seed"]: 100 * r["accuracy"] for r in _runs(rows, task, way)}


def _reached(rows: Rows, task: str, way: Way) -> str:
    """Mean and deviation over the seeds, their number, and the rate where it is no 0.004."""
    runs = _runs(rows, task, way)
    if not runs:
        return ""
    values = [100 * r["accuracy"] for r in runs]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    rate = runs[0]["rate"]
    at = "" if rate == RATE else f", {rate}"
    return f"{statistics.mean(values):.1f}{spread} ({len(values)}{at})"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    shown = [line for line in lines if any(line[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *shown))


def _rules(rows: Rows) -> str:
    def line(rule: str) -> list[str]:
        ways = [(t, Way(FIRST, rule)) for t in PICTURES]
        ways += [("words", Way(scheme, rule)) for scheme in (WORDS, "full")]
        return [f"`{rule}`", *(_reached(rows, t, way) for t, way in ways)]

    return _table(["rule", *PICTURES, f"words, `{WORDS}`", "words, `full`"], map(line, RULES))


def _heads(rows: Rows) -> str:
    def line(rule: str, head: str) -> list[str]:
        ways = [(t, FIRST) for t in PICTURES] + [("words", WORDS)]
        reached = [_reached(rows, t, Way(scheme, rule, head=head)) for t, scheme in ways]
        return [f"`{rule}`, {head}", *reached]

    lines = [line(rule, head) for rule in ("nearest", "residual") for head in HEADS]
    return _table(["rule, head", *PICTURES, f"words, `{WORDS}`"], lines)


def _optimisers(rows: Rows) -> str:
    lines = [[name, _reached(rows, "words", Way(WORDS, optimiser=name))] for name in OPTIMISERS]
    return _table(["optimiser", "words"], lines)


def _needs(case: str) -> dict[str, tuple[str, str]]:
    """Scheme as `training.json` names it -> what it is, and RAM, where it was planned."""
    found: dict[str, tuple[str, str]] = {}
    for row in json.loads(SCHEMES.read_text("utf-8")):
        if row["case"] != case or row["ram"] is None:
            continue
        ours = "size" in row
        beside = ", by callback" if row.get("input") == "callback" else ""
        name = f"{OURS}{row['size']}" if ours else row["how"]
        found[name] = f"`{row['scheme']}`" if ours else "", f"{row['ram']:,.0f} B{beside}"
    return found


def _schemes(rows: Rows, case: str, tasks: Sequence[str], names: Sequence[str]) -> str:
    needs = _needs(case)

    def line(name: str) -> list[str]:
        what, ram = needs.get(name, ("", ""))
        cells = [_reached(rows, t, Way(name)) for t in tasks]
        return [f"`{name}`", *cells, ram, what]

    shown = [cells for cells in map(line, names) if any(cells[1 : 1 + len(tasks)])]
    head = ["scheme", *tasks, "RAM of the step", "which is"]
    kept = [k for k in range(len(head)) if any(cells[k] for cells in shown)]
    return _table([head[k] for k in kept], [[cells[k] for k in kept] for cells in shown])


def _gaps(rows: Rows, task: str, one: Way, other: Way) -> list[float]:
    """Points that one way is ahead of another, of each seed that both have."""
    a, b = (_found(rows, task, way) for way in (one, other))
    return [a[s] - b[s] for s in sorted(a.keys() & b.keys())]


def _error(gaps: Sequence[float]) -> float:
    """The standard error of their mean."""
    return statistics.stdev(gaps) / math.sqrt(len(gaps))


def _floats(rows: Rows) -> str:
    """int8 steps against float ones, task by task and on average."""
    lines: list[list[str]] = []
    found: list[tuple[float, float]] = []
    for task, scheme in [*((t, FIRST) for t in PICTURES), ("words", WORDS)]:
        one, other = Way(scheme, "residual"), Way(scheme, "float")
        gaps = _gaps(rows, task, one, other)
        if len(gaps) < 2:
            continue
        found.append((statistics.mean(gaps), _error(gaps)))
        reached = [_reached(rows, task, way) for way in (one, other)]
        lines.append([f"{task}, `{scheme}`", *reached, "{:+.1f} ± {:.1f}".format(*found[-1])])
    if found:
        mean = statistics.mean(gap for gap, _ in found)
        error = math.hypot(*(error for _, error in found)) / len(found)
        lines.append([f"mean of {len(found)} tasks", "", "", f"{mean:+.1f} ± {error:.1f}"])
    return _table(["task, scheme", "int8, `residual`", "`float`", "points"], lines)


def _orders(rows: Rows) -> str:
    lines: list[list[str]] = []
    for claim in _claims():
        by_task = {t: _gaps(rows, t, claim.one, claim.other) for t in claim.tasks}
        by_task = {t: gaps for t, gaps in by_task.items() if gaps}
        gaps = [gap for some in by_task.values() for gap in some]
        if len(gaps) < 2:
            continue
        mean, error = statistics.mean(gaps), _error(gaps)
        signs = [sum(test(g) for g in gaps) for test in _SIGNS]
        tasks = "pictures" if tuple(by_task) == PICTURES else ", ".join(by_task)
        counts = ", ".join(map(str, signs))
        points = f"{mean:+.1f} ± {error:.1f}"
        lines.append([claim.text, tasks, points, str(len(gaps)), counts, _verdict(mean, error)])
    head = ["claim", "on", "points", "pairs", "ahead, equal, behind", "so it is"]
    return _table(head, lines)


_SIGNS: Sequence[Callable[[float], bool]] = (
    lambda g: g > 0,
    lambda g: g == 0,
    lambda g: g < 0,
)


def _verdict(mean: float, error: float) -> str:
    """By two standard errors."""
    if abs(mean) <= 2 * error:
        return "open"
    return "confirmed" if mean > 0 else "contradicted"


PARTS: Mapping[str, Callable[[Rows], str]] = {
    "rules": _rules,
    "floats": _floats,
    "pictures": lambda rows: _schemes(
        rows,
        "flowers",
        PICTURES,
        ("head", "biases=20", "last=6", *PUBLISHED, *SEARCHED, "full"),
    ),
    "words": lambda rows: _schemes(
        rows, "words", ("words",), ("head", "biases", "last=2", "last=4", *SEARCHED, "full")
    ),
    "optimisers": _optimisers,
    "heads": _heads,
    "orders": _orders,
}


def page(text: str, rows: Rows) -> str:
    """`text` with every part written anew."""
    rows = _of_one_backbone(rows)
    return filled(text, {name: partial(write, rows) for name, write in PARTS.items()})


def lines(rows: Rows) -> dict[str, list[Line]]:
    """Task -> mean curves over the seeds, of runs with a point each epoch."""
    names = (
        "head",
        "biases",
        "biases=20",
        "last=2",
        WORDS,
        "last=6",
        *PUBLISHED,
        *SEARCHED,
        "full",
    )
    rows = _of_one_backbone(rows)
    found = {task: [_line(rows, task, name) for name in names] for task in TASKS}
    return {t: shown for t, some in found.items() if (shown := [li for li in some if li.points])}


def _line(rows: Rows, task: str, name: str) -> Line:
    """Means at the steps that all runs of a scheme have."""
    curves: list[dict[int, float]] = []
    for row in _runs(rows, task, Way(name)):
        points: list[dict[str, Any]] = row.get("curve", [])
        if len(points) > 1:
            curves.append({int(p["step"]): 100 * float(p["accuracy"]) for p in points})
    steps = sorted(s for s in (curves[0] if curves else ()) if all(s in c for c in curves))
    label = name.replace("published:mcunet-", "published ")
    return Line(label, [(s, statistics.mean(c[s] for c in curves)) for s in steps])


def write() -> None:
    """The page's tables and its picture."""
    rows = read(RESULTS)
    PAGE.write_text(page(PAGE.read_text("utf-8"), rows), "utf-8")
    PICTURE.write_text(f"{chart(lines(rows))}\n", "utf-8")
