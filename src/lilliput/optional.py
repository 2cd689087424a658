"""Libraries that not every installation has: imported where they are used, or asked for.

They come as `Any`: types have to be clean where such a library is not installed.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from lilliput.errors import MissingTool


def need(module: str, extra: str, use: str) -> Any:
    """The module, for example `need("PIL.Image", "data", "pictures")`.

    Raises MissingTool saying which extra of lilliput brings it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library deprecates is its own business
            return importlib.import_module(module)
    except ImportError as e:
        raise MissingTool(
            f"{module.split('.')[0]} is not installed, which {use} need",
            found=str(e)[:200],
            hint=f'pip install "lilliput[{extra}]"',
        ) from None
