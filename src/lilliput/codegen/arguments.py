"""Entries that may refuse a call: what they are called with, and what they answer.

One idea: such an entry is used from a loop that trains, so everything that a call needs is at one
place: whole inputs by pointer (null: the caller has written them where `<name>_input` says),
numbers by value, and results of one element through pointers (null: not wanted).

    NAME_status NAME_train_step(const int8_t *image, int32_t label, float *loss);
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lilliput.codegen.c import Text, identifier, number
from lilliput.ir.graph import Value
from lilliput.ops.common import c_type
from lilliput.plan.program import Entry, Stop, View

_RESERVED = """alignas alignof and asm auto bitand bitor bool break case catch char class compl
const constexpr continue default delete do double else enum explicit export extern false float for
friend goto if inline int long mutable namespace new not nullptr operator or private protected
public register restrict return short signed sizeof static struct switch template this throw true
try typedef typeid typename union unsigned using virtual void volatile while xor NULL EOF"""
_WORDS = frozenset(_RESERVED.split())
"""Of C and C++: a name may be none of them."""


@dataclass(frozen=True)
class Argument:
    """`result` : written by the call, through a pointer; else read, through a pointer unless it
    is one element."""

    name: str
    value: Value
    view: View
    result: bool

    @property
    def type(self) -> str:
        return c_type(self.value.type.dtype)

    @property
    def by_value(self) -> bool:
        return not self.result and self.value.type.size == 1

    @property
    def declaration(self) -> str:
        star = "" if self.by_value else "*"
        const = "" if self.by_value or self.result else "const "
        return f"{const}{self.type} {star}{self.name}"


def arguments(entry: Entry) -> dict[str, Argument]:
    """Value -> the argument that stands for it: the inputs in memory, results of one element."""
    taken: set[str] = set()
    placed = [(v, view, False) for v, view in entry.placed()]
    placed += [(v, view, True) for v, view in entry.outputs if v.type.size == 1]
    names = ((v, v.name.removeprefix(f"{entry.name}/")) for v, _, _ in placed)
    called = {v.name: _name(name, taken) for v, name in names}
    return {v.name: Argument(called[v.name], v, view, result) for v, view, result in placed}


def _name(text: str, taken: set[str]) -> str:
    name = identifier(text)
    while name in _WORDS or name in taken:
        name += "_"
    taken.add(name)
    return name


def take(text: Text, argument: Argument, place: str) -> None:
    """Puts what the caller gives to `place`."""
    name, target = argument.name, f"(void *)({place})"
    if argument.by_value:
        text.add(f"*({argument.type} *){target} = {name};")
        return
    with text.block(f"if ({name} != 0 && (const void *){name} != (const void *)({place}))"):
        text.add(f"__builtin_memcpy({place}, {name}, {argument.value.type.nbytes}u);")


def give(text: Text, argument: Argument, place: str) -> None:
    """Gives the caller the result at `place`."""
    with text.block(f"if ({argument.name} != 0)"):
        text.add(f"*{argument.name} = *(const {argument.type} *)(const void *)({place});")


def halt(
    text: Text, stop: Stop, place: str, below: str, prefix: str, before: Sequence[str]
) -> None:
    """Returns from the entry where an element at `place` is not within the bounds.

    below : the place of the state that it has to be less than, or nothing
    before : what has to be done then, such as to wait for copies that would go on
    """
    dtype, size = stop.value.type.dtype, stop.value.type.size
    low, high = stop.low, stop.high
    if not dtype.is_float:
        least, most = dtype.bounds
        low, high = max(math.ceil(max(low, least)), least), min(math.floor(min(high, most)), most)
    test = "ll_is_within_f32" if dtype.is_float else "ll_is_within"
    c, code = c_type(dtype), "INVALID" if stop.given else "DIVERGED"
    element = f"((const {c} *)(const void *)({place}))[i]"
    refused = f"!{test}({element}, {number(low)}, {number(high)})"
    if stop.below is not None:
        limit = f"*(const {c_type(stop.below.dtype)} *)(const void *)({below})"
        refused += f" || {element} >= {limit}"
    with (
        text.block(f"for (int32_t i = 0; i < {size}; ++i)"),
        text.block(f"if ({refused})"),
    ):
        text.add(*before, f"return {prefix.upper()}_{code};")


def explain(prefix: str, entry: Entry) -> Iterator[str]:
    """What the header says of such an entry's function."""
    given = arguments(entry).values()
    upper = prefix.upper()
    if any(not a.result and not a.by_value for a in given):
        yield "A null pointer stands for an input that has been written to its place already."
    if any(a.result for a in given):
        yield "Results are written through pointers that are not null, where the call succeeds."
    yield f"{upper}_INVALID, {upper}_DIVERGED: the call is refused, and every state as it was."
