"""Where the networks and data sets of the benchmarks are: LILLIPUT_SHARED."""

from __future__ import annotations

import os
from pathlib import Path

from lilliput.errors import UsageError


def shared() -> Path:
    """The folder of LILLIPUT_SHARED; raises UsageError where there is none."""
    folder = Path(os.environ.get("LILLIPUT_SHARED", ""))
    if not os.environ.get("LILLIPUT_SHARED") or not folder.is_dir():
        raise UsageError(
            "the pictures are not here", expected="LILLIPUT_SHARED=FOLDER", found=str(folder)
        )
    return folder
