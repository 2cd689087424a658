"""demo and run: what runs a compiled program.

Thin over `lilliput.demo` and `lilliput.compiler.run`; only reading and writing .npy is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lilliput.cli import common
from lilliput.errors import UsageError

if TYPE_CHECKING:
    from lilliput.compiler import FolderRun
    from lilliput.ir.types import Array


@click.command(epilog=common.example("lilliput demo"))
@click.option("-o", "out", metavar="DIR", help="Keep the C in this folder.")
@click.option("--force", is_flag=True, help="Replace a folder that Lilliput wrote.")
@common.json
def demo(out: str | None, force: bool, as_json: bool) -> int:
    """Compiles a digit reader and proves it on 540 real digits."""
    from lilliput import demo as story

    result = story.run(out=out, force=force, log=common.log)
    kept = f"\n\nThe C is in {out}." if out else ""
    value = {**result.to_json(), "out": out}
    common.show(as_json, value, story.text(result) + kept)
    return 0 if result.ok else 1


@click.command(epilog=common.example("lilliput run firmware --input x.npy --output y.npy"))
@click.argument("folder", metavar="DIR")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="[NAME=]FILE.npy",
    help="An input; with its name where there are several.",
)
@click.option("--output", metavar="FILE.npy", help="Write the first output here.")
@click.option("--entry", metavar="NAME", help="The entry to run; the first where not given.")
@common.compiler()
@common.emulator
@common.json
def run(
    folder: str,
    inputs: tuple[str, ...],
    output: str | None,
    entry: str | None,
    compiler: str,
    emulator: str,
    as_json: bool,
) -> None:
    """Runs the C that `compile` wrote on the emulated core."""
    from lilliput import compiler as pipeline

    arrays = dict(_named(text) for text in inputs)
    only = arrays[""] if list(arrays) == [""] else arrays
    result = pipeline.run(
        folder, only, entry=entry, compiler=compiler, emulator=emulator, log=common.log
    )
    if output is not None:
        _save(Path(output), next(iter(result.outputs.values())))
    common.show(as_json, _run_json(result), _run_text(result))


def _named(text: str) -> tuple[str, Array]:
    """`NAME=FILE.npy` or `FILE.npy` -> (name or "", array)."""
    import numpy as np

    name, path = ("", text) if Path(text).exists() or "=" not in text else text.rsplit("=", 1)
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            "cannot read the input",
            where=path,
            expected="a .npy file of numbers",
            found=getattr(error, "strerror", None) or str(error),
        ) from error
    if isinstance(array, np.lib.npyio.NpzFile):
        array.close()
        raise UsageError("cannot read the input", where=path, expected=".npy", found=".npz")
    return name, array


def _save(path: Path, array: Array) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _run_json(result: FolderRun) -> dict[str, object]:
    """JSON has no NaN and no infinity: they become null."""
    import numpy as np

    return {
        "outputs": {
            name: {
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "scale": result.ports[name].scale,
                "zero_point": result.ports[name].zero_point,
                "values": [v if np.isfinite(v) else None for v in array.reshape(-1).tolist()],
            }
            for name, array in result.outputs.items()
        },
        "core": result.core,
        "compiler": result.compiler,
        "instructions": result.instructions,
    }


def _run_text(result: FolderRun) -> str:
    import numpy as np

    lines: list[str] = []
    for name, array in result.outputs.items():
        port = result.ports[name]
        lines += [f"{name}: {port}", np.array2string(array, threshold=64)]
        if port.scale is not None:
            reals = np.array2string(port.reals(array), threshold=64, precision=4)
            lines += ["as real numbers:", reals]
    count = "not counted" if result.instructions is None else f"{result.instructions:,}"
    lines.append(f"instructions: {count} on {result.core}, {result.compiler}")
    return "\n".join(lines)
