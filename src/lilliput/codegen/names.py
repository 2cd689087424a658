"""The names of the emitted functions, and the numbering of steps."""

from __future__ import annotations

from collections.abc import Iterator

from lilliput.codegen.c import identifier
from lilliput.plan.program import Entry, Leaf, Loop, Program


def entry_function(prefix: str, program: Program, entry: Entry) -> str:
    """The first entry is `<name>_run`, the others `<name>_<entry>`; with `push` in place of
    `run`, or behind the entry, where rows are pushed."""
    if entry.name == program.entries[0].name:
        return f"{prefix}_push" if entry.push else f"{prefix}_run"
    return f"{prefix}_{identifier(entry.name)}{'_push' if entry.push else ''}"


def port_function(prefix: str, program: Program, entry: Entry, kind: str, k: int) -> str:
    """`<name>_input`, with the entry where it is not the first and a number where several."""
    ports = entry.outputs if kind == "output" else entry.inputs
    middle = "" if entry.name == program.entries[0].name else f"{identifier(entry.name)}_"
    return f"{prefix}_{middle}{kind}{k if len(ports) > 1 else ''}"


def leaf_steps(entry: Entry) -> Iterator[Leaf]:
    """The steps of an entry as the hook counts them: loops entered, in order."""
    for step in entry.steps:
        if isinstance(step, Loop):
            yield from (t.step for t in step.body)
        else:
            yield step


def step_ids(program: Program) -> dict[tuple[str, int], int]:
    """(entry, index of a leaf step) -> the number that the hook is called with."""
    ids: dict[tuple[str, int], int] = {}
    for entry in program.entries:
        for index, _ in enumerate(leaf_steps(entry)):
            ids[entry.name, index] = len(ids)
    return ids
