"""shrink: the same network, smaller, for any engine that reads .tflite files.

Thin over `lilliput.compiler.shrinking`; only the words are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lilliput.cli import common

if TYPE_CHECKING:
    from lilliput.compiler import SmallerFile


@click.command(epilog=common.example("lilliput shrink model.tflite -o smaller.tflite"))
@common.model
@click.option("-o", "out", required=True, metavar="FILE", help="The .tflite file to write.")
@click.option("--force", is_flag=True, help="Replace a file.")
@common.json
def shrink(model: str, out: str, force: bool, as_json: bool) -> None:
    """Writes a smaller .tflite file with the same outputs, bit for bit.

    Channels that are constant, or that no output depends on, are left out, with a proof of each;
    nothing is approximated. What compile does by itself is here for users of other engines.
    """
    from lilliput import compiler as pipeline

    pipeline.require_free_file(out, force=force)
    found = pipeline.shrink_file(model, common.log)
    pipeline.write_file(found.data, out, force=force)
    common.show(
        as_json, {**found.to_json(), "out": out}, f"{_text(found)}\n{'written to':<16}{out}"
    )


def _text(found: SmallerFile) -> str:
    from lilliput import report

    if found.shrinking is None:
        why = (
            "it computes with floats, of which no ranges are known"
            if found.floats
            else ("every channel can vary, and something depends on it")
        )
        return f"nothing to leave out: {why}; the file is as it was"
    size = f"{found.before:,} B became {len(found.data):,} B"
    return f"{report.removed_text(found.shrinking)}\n\n{'file':<16}{size}"
