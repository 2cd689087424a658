"""bench: networks measured, beside the figures of other engines.

Thin over `lilliput.bench`; only the choice of networks and the files are here.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilliput.cli import common
from lilliput.errors import LilliputError


@click.command(epilog=common.example("lilliput bench model.tflite --html bench.html"))
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--device",
    "-d",
    default="cortex-m4",
    show_default=True,
    metavar="NAME",
    help="A board or core: `lilliput devices`.",
)
@click.option(
    "--samples", default=4, show_default=True, help="Inputs of the check; 0 leaves it out."
)
@click.option("--html", metavar="FILE", help="Write a page with charts, too.")
@common.compiler()
@common.optimize
@common.json
def bench(
    models: tuple[str, ...],
    device: str,
    samples: int,
    html: str | None,
    compiler: str,
    optimize: str,
    as_json: bool,
) -> int:
    """Measures networks beside the figures of other engines.

    Without MODEL: the demo's network, and the public ones that `lilliput pull` has fetched.
    """
    from lilliput import bench as benchmark
    from lilliput.devices import load

    board = load(device)
    chosen = [(Path(m).stem, Path(m)) for m in models] or list(benchmark.networks())
    options = common.options(compiler, optimize)
    found: list[benchmark.Measurement] = []
    failed: dict[str, str] = {}
    for name, path in chosen:
        common.log(f"measuring {name}")
        try:
            found.append(benchmark.measure(name, path, board, options=options, samples=samples))
        except LilliputError as error:
            failed[name] = str(error)
            click.echo(f"{name}: {error}", err=True)
    core = board.core.name
    goals = {m.name: benchmark.goal_of(m.sha256, core) for m in found}
    value = {
        "device": board.name,
        "core": core,
        "how": benchmark.how_estimated(core),
        "networks": [m.to_json() for m in found],
        "failed": failed,
        "peers": {m.name: [vars(f) for f in benchmark.peers_of(m.sha256, core)] for m in found},
        "goals": {name: vars(goal) for name, goal in goals.items() if goal},
        "conditions": {name: vars(c) for name, c in benchmark.conditions().items()},
    }
    parts = [
        benchmark.table(found, core),
        benchmark.peers_table(found, core),
        benchmark.bars(found, core),
    ]
    if html is not None:
        Path(html).write_text(
            benchmark.page(found, board.name, core), encoding="utf-8", newline="\n"
        )
        parts.append(f"The page is {html}.")
    common.show(as_json, value, "\n\n".join(p for p in parts if p) if found else "nothing measured")
    return 0 if found and not failed and all(m.exact is not False for m in found) else 1
