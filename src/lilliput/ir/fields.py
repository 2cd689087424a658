"""Whether a value read from text fits the declared type of a dataclass field.

Attributes are scalars, enumerations and tuples of them; `Literal` is what text can say.
"""

from __future__ import annotations

from enum import Enum
from types import UnionType
from typing import Union, cast, get_args, get_origin

Scalar = int | float | bool | str | None
Literal = Scalar | Enum | tuple["Literal", ...]


def _enums(hint: object) -> list[type[Enum]]:
    """The enumerations that a field's type mentions."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [hint]
    return [e for arg in get_args(hint) for e in _enums(arg)]


def resolve(value: Literal, hint: object) -> Literal:
    """`value` with `.NAME` replaced by the member of an enumeration of that field."""
    if isinstance(value, tuple):
        return tuple(resolve(v, hint) for v in value)
    if isinstance(value, str) and value.startswith("."):
        return next((e[value[1:]] for e in _enums(hint) if value[1:] in e.__members__), value)
    return value


def fits(value: object, hint: object) -> bool:
    """Whether a parsed value is of a field's type: scalars, enumerations, tuples, unions."""
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, arg) for arg in get_args(hint))
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        items, kinds = cast("tuple[object, ...]", value), get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return all(fits(v, kinds[0]) for v in items)
        return len(items) == len(kinds) and all(map(fits, items, kinds))
    if hint is float:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not (isinstance(value, int) and abs(value) > 2**63)
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**63
    if hint in (None, type(None)):
        return value is None
    return isinstance(hint, type) and isinstance(value, hint)
