"""Values of a file that were not looked at yet, taken out by name and kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from lilliput.errors import FormatError
from lilliput.frontends.checkpoints.pickles import array
from lilliput.ir import Array


@dataclass(frozen=True)
class Fields:
    """A dictionary of a file; `where` is its place.

    Every method raises FormatError where the value is missing or of another kind.
    """

    where: str
    values: dict[Any, Any]

    @staticmethod
    def of(where: str, value: object) -> Fields:
        if not isinstance(value, dict):
            raise FormatError("a dictionary", where=where, found=type(value).__name__)
        return Fields(where, cast("dict[Any, Any]", value))

    def has(self, key: str) -> bool:
        """Whether there is such a value, and it is not None."""
        return self.values.get(key) is not None

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _take(self, key: str, kind: str) -> Any:
        if not self.has(key):
            raise FormatError(f"{kind} is missing", where=self._at(key))
        return self.values[key]

    def fields(self, key: str) -> Fields:
        return Fields.of(self._at(key), self._take(key, "a dictionary"))

    def items(self, key: str) -> Iterator[Fields]:
        value = self._take(key, "a list")
        if not isinstance(value, list):
            raise self.wrong(key, "a list")
        for k, item in enumerate(cast("list[object]", value)):
            yield Fields.of(f"{self._at(key)}.{k}", item)

    def whole(self, key: str, least: int = 1, most: int = 1 << 16) -> int:
        value = self._take(key, "a whole number")
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return value

    def real(self, key: str) -> float:
        value = self._take(key, "a number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        return float(value)

    def text(self, key: str) -> str:
        value = self._take(key, "a text")
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def array(self, key: str) -> Array:
        found = array(self._take(key, "an array"))
        if found is None:
            raise self.wrong(key, "an array")
        return found

    def wrong(self, key: str, expected: str) -> FormatError:
        """The error, to be raised, for a value that cannot be used."""
        return FormatError(
            "a value of the file",
            where=self._at(key),
            expected=expected,
            found=f"{self.values.get(key)!r:.60}",
        )
