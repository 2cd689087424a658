"""Texts with holes: `@name@` in a file under `templates/` is replaced by a value.

One idea: a hole without a value is an error, so that no text leaves with a hole.  Makefiles and
CMake are full of `$` and `{`, so neither can mark one; `@` is free.
"""

from __future__ import annotations

import re
from importlib import resources

_HOLE = re.compile(r"@([A-Za-z_]+)@")


def resource(folder: str, name: str, package: str = "lilliput.project") -> str:
    """The text of a file of a package."""
    return (resources.files(package) / folder / name).read_text(encoding="utf-8")


def fill(template: str, /, **values: str) -> str:
    """`templates/<template>` with every hole filled.  Raises KeyError where a value is missing."""
    return _HOLE.sub(lambda hole: values[hole.group(1)], resource("templates", template))
