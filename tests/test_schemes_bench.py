"""The benchmark of searched schemes: its table, and that what is known is not measured again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra torch)")

from benchmarks import schemes


def row(how: str, **more: Any) -> dict[str, Any]:
    return {"case": "turned", "how": how, "scheme": how, "ram": 17_000, "accuracy": [0.5], **more}


def test_the_table_has_a_line_for_each_scheme() -> None:
    found = row("ilp, 1 B", gain=0.25, measured=0.125, bound=0.5, accuracy=[0.5, 0.7])
    lines = schemes.table([row("head"), found]).splitlines()
    assert lines[2] == "| turned | head | `head` | 17,000 |  |  |  | 50.0 |"
    assert lines[3].endswith("| 17,000 | 0.250 | 0.125 | 0.500 | 60.0 ± 14.1 |")
    assert len({line.count("|") for line in lines}) == 1


def test_what_is_known_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "schemes.json"
    monkeypatch.setattr(schemes, "RESULTS", results)
    asked: list[str] = []

    def named(name: str, text: str) -> dict[str, Any]:
        asked.append(text)
        return {"scheme": text, "ram": 1}

    def found(name: str, ram: int, method: str, _: object) -> dict[str, Any]:
        asked.append(f"{method} {ram}")
        return {"scheme": "head", "ram": ram, "gain": 0.0, "measured": 0.0, "bound": 0.0}

    def measured(name: str, row: dict[str, Any], seeds: object) -> dict[str, Any]:
        return {**row, "accuracy": [0.5]}

    monkeypatch.setattr(schemes, "named", named)
    monkeypatch.setattr(schemes, "chosen", found)
    monkeypatch.setattr(schemes, "measured", measured)
    first = [row("head")]
    results.write_text(json.dumps(first))
    assert schemes.main(["--method", "ilp"]) == 0
    case = schemes.CASES["turned"]
    assert asked == [*case.others[1:], *(f"ilp {ram}" for ram in case.budgets)]
    asked.clear()
    assert schemes.main(["--method", "ilp"]) == 0
    assert asked == []
    assert json.loads(results.read_text())[0] == first[0]
    assert "| turned | head |" in capsys.readouterr().out
