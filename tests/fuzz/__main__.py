"""`python -m tests.fuzz`: the fuzzer for as long as it is told, guided by coverage.

One idea: Atheris (libFuzzer) decides which inputs are worth changing again, `mutate` how, and
`judge` whether the package kept its promise.  It has to be imported before the package, whose
branches it counts as they are imported.  `--blind` does without it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

LATE = 30.0


def main() -> int:
    args = _arguments().parse_args()
    if args.inputs:
        return _replay(args.inputs)
    return _blind(args) if args.blind else _guided(args)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("inputs", nargs="*", type=Path, help="files to try, instead of a run")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="no coverage; needs no Atheris")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="faults and corpus")
    return parser


def _replay(paths: list[Path]) -> int:
    """Says what each file comes to; a fault is a traceback."""
    from tests.fuzz.judge import judge
    from tests.fuzz.limits import limited

    for path in paths:
        with limited():
            verdict = judge(path.read_bytes())
        print(f"{path}: {verdict.stage}\n{verdict.words}")  # noqa: T201
    return 0


def _blind(args: argparse.Namespace) -> int:
    from tests.fuzz.session import Session, blind, to_stderr

    session = Session(args.keep / "faults", to_stderr)
    blind(session, seconds=args.seconds, seed=args.seed)
    to_stderr(session.summary())
    return bool(session.faults)


def _guided(args: argparse.Namespace) -> int:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print('Atheris is not installed: pip install "lilliput[fuzz]", or --blind')  # noqa: T201
        return 2
    with atheris.instrument_imports(include=["lilliput"]):
        from tests.fuzz.limits import HARD, SECONDS
        from tests.fuzz.mutate import MAX_BYTES, cross, mutate
        from tests.fuzz.seeds import published_seeds, text_seeds, tflite_seeds
        from tests.fuzz.session import Session, to_stderr
    corpus = args.keep / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate((*tflite_seeds(), *text_seeds(), *published_seeds())):
        (corpus / f"seed{number:03}").write_bytes(data)
    session = Session(args.keep / "faults", to_stderr)
    end = time.monotonic() + args.seconds

    def changed(data: bytes, size: int, seed: int) -> bytes:
        return mutate(data, seed)[:size]

    def crossed(data: bytes, other: bytes, size: int, seed: int) -> bytes:
        return cross(data, other, seed)[:size]

    def one(data: bytes) -> None:
        session.attempt(data)
        if time.monotonic() > end:
            to_stderr(f"done: {session.summary()}")
            os._exit(bool(session.faults))  # libFuzzer never returns

    options = [
        f"-seed={args.seed}",
        f"-max_len={MAX_BYTES}",
        f"-max_total_time={args.seconds + LATE:.0f}",
        "-len_control=0",
        f"-timeout={SECONDS * HARD:.0f}",
        "-rss_limit_mb=0",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=changed, custom_crossover=crossed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
