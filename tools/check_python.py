"""Says in plain words why an interpreter cannot make `.venv`; silent when it can.

One idea: this runs before anything is installed, so it must parse on any Python 3.
"""

import importlib.util
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the reader of this message has an older one
    sys.exit(
        f"lilliput needs Python 3.11 or later; this is {sys.version.split()[0]}"
        f" ({sys.executable})\n"
        "  help: make setup PYTHON=/path/to/python3.11"
    )
for module in ("venv", "ensurepip"):
    if importlib.util.find_spec(module) is None:
        sys.exit(
            f"this Python has no {module} ({sys.executable})\n"
            "  help: on Debian and Ubuntu: apt install python3-venv"
        )
