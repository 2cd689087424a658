"""Pages of words in which figures stand between `<!-- NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """`text` with each part that it names written anew; the words around them stay.

    Raises KeyError for a part that is not known.
    """

    def part(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{parts[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", part, text, flags=re.DOTALL)
