"""A `Summary` from the JSON of `Summary.to_json`.

One idea: the types of the dataclasses are the schema.  A value of another type raises TypeError
or ValueError, a missing one KeyError; whoever read the file says which file it was.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from lilliput.report.summary import Summary


def from_json(value: object) -> Summary:
    """The summary that `to_json` turned into plain values.

    Raises KeyError, TypeError or ValueError for what is not one.
    """
    return cast(Summary, _decode(Summary, value))


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _decode(hint: Any, value: object) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value)
    if origin is UnionType:
        if value is None and type(None) in arguments:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        items = cast("list[object]", _checked(value, list, tuple))
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        return tuple(_decode(k, v) for k, v in zip(kinds, items, strict=True))
    if origin is not None:
        table = cast("dict[str, object]", _checked(value, dict))
        return {str(key): _decode(arguments[1], v) for key, v in table.items()}
    if hint is float:
        return float(cast(float, _checked(value, float, int)))
    return _checked(value, cast(type, hint))


def _record(kind: type, value: object) -> object:
    table = cast("dict[str, object]", _checked(value, dict))
    hints = _hints(kind)
    return kind(
        **{
            f.name: _decode(hints[f.name], table[f.name])
            for f in fields(cast(Any, kind))
            if f.name in table or f.default is MISSING
        }
    )


def _checked(value: object, *kinds: type) -> object:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{kinds[0].__name__} expected, {type(value).__name__} found")
    return value
