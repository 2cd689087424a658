"""A program as an Arduino library: `src/` with the emitted C, and one example that tests it.

One idea: an Arduino build compiles every `.c` under `src/` with flags of its own, so what the
emitted C needs of the compiler has to be said in the C itself.
"""

from __future__ import annotations

from lilliput import __version__
from lilliput.codegen.c import identifier
from lilliput.codegen.names import entry_function, port_function
from lilliput.devices import Device
from lilliput.plan.program import Program
from lilliput.project.self_test import SelfTest, self_test_call, self_test_files
from lilliput.project.template import fill

UNCONTRACTED = """\
/* Multiplications and additions must not be fused: the results are defined to the bit. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

"""
"""Stands before everything else in the emitted `NAME.c`."""


def arduino(program: Program, device: Device, test: SelfTest) -> dict[str, str]:
    """The files beside the emitted C, which goes into `src/`."""
    prefix, entry = identifier(program.name), program.entries[0]
    sketch = f"examples/{prefix}"
    return {
        "library.properties": fill(
            "library.properties",
            name=program.name,
            prefix=prefix,
            version=__version__,
            author="lilliput",
            url="https://example.com/",
        ),
        "README.md": fill(
            "arduino.md",
            name=program.name,
            prefix=prefix,
            device=device.name,
            version=__version__,
        ),
        f"{sketch}/{prefix}.ino": fill(
            "example.ino",
            name=program.name,
            prefix=prefix,
            call=self_test_call(program),
            use=_use(program),
            output=port_function(prefix, program, entry, "output", 0),
        ),
        **{f"{sketch}/{n}": text for n, text in self_test_files(program, test).items()},
    }


def _use(program: Program) -> str:
    """How a sketch brings an input to the first entry, in words."""
    prefix, entry = identifier(program.name), program.entries[0]
    run = entry_function(prefix, program, entry)
    if entry.push:
        return f"call {run}() with each row"
    if any(entry.pulled()):
        return f"call {run}() with a function that fills rows"
    return f"fill {port_function(prefix, program, entry, 'input', 0)}(), call {run}()"
