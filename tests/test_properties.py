"""Properties of random networks: what holds for every graph, not only for those we thought of.

Several random graphs are entries of one module, so that one compilation tests them all.
The planner checks each program that it returns, so a plan that comes back is a certificate;
here it is also executed, with dead bytes poisoned, and the checker itself is tested by
programs that were changed to be wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.strategies import calls_of, chains, modules

from lilliput.codegen.emit import emit
from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.errors import PlanError, UnsupportedError
from lilliput.frontends.tflite import read, write
from lilliput.ir import Module, Session, verify
from lilliput.ir.text import load as load_file
from lilliput.ir.text import parse_module, print_module, save
from lilliput.ops.registry import get
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import PlanOptions, plan

M4 = load("cortex-m4")
SLOW_START = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


# A module's repr is long; a failure shows its text instead.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def examples(share: float) -> settings:
    """A share of the profile's number of examples; fixtures are the same for all of them.

    Where few examples are run, each of them compiles: a failure is shown as it was found.
    """
    count = max(2, int(settings().max_examples * share))
    checks = [*SLOW_START, HealthCheck.function_scoped_fixture]
    phases = [p for p in Phase if p is not Phase.explain and (share > 0.2 or p is not Phase.shrink)]
    return settings(
        max_examples=count, suppress_health_check=checks, phases=phases, print_blob=True
    )


@examples(0.1)
@given(module=modules(graphs=8), seed=st.integers(0, 2**16))
def test_c_on_the_host_is_numpy(host_compiler: Toolchain, module: Module, seed: int) -> None:
    canonical = Canonicalize()(module)
    verify(canonical)
    program = plan(canonical, M4)
    note(print_module(canonical))
    proof = prove(canonical, program, calls_of(module, seed), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@pytest.mark.unicorn
@examples(0.05)
@given(module=modules(graphs=8), seed=st.integers(0, 2**16))
def test_c_on_the_core_is_numpy(module: Module, seed: int) -> None:
    canonical = Canonicalize()(module)
    program = plan(canonical, M4)
    target = (find(M4.core), M4)
    note(print_module(canonical))
    proof = prove(canonical, program, calls_of(module, seed), target=target)
    assert proof.exact, str(proof.difference)


@examples(0.5)
@given(module=modules(graphs=1))
def test_canonical_form_means_the_same(module: Module) -> None:
    canonical = Canonicalize()(module)
    again = Canonicalize()(canonical)
    assert print_module(again) == print_module(canonical)
    for call in calls_of(module, 3):
        ours = Session(canonical).run(call.inputs, call.entry).outputs
        theirs = Session(module).run(call.inputs, call.entry).values
        wanted = [theirs[v.name] for v in module.outputs(call.entry)]
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours.values(), wanted, strict=True))


@examples(1)
@given(module=modules(graphs=2))
def test_text_and_file_round_trip(module: Module) -> None:
    text = print_module(module)
    data = {n: p.data for n, p in module.params.items() if p.data is not None}
    assert print_module(parse_module(text, data, get)) == text
    packed = save(module)
    assert save(load_file(packed, get)) == packed


@examples(1)
@given(module=modules(graphs=1, rigid=True), seed=st.integers(0, 2**16))
def test_tflite_round_trip(module: Module, seed: int) -> None:
    try:
        first = write(module, module.entry)
    except UnsupportedError:
        return
    back = read(first, io="float")
    second = write(back)
    assert write(read(second, io="float")) == second
    for call in calls_of(module, seed):
        ours = Session(module).run(call.inputs).values
        named = dict(zip((v.name for v in back.inputs("infer")), call.inputs.values(), strict=True))
        theirs = Session(back).run(named).outputs
        wanted = [ours[v.name] for v in module.outputs(module.entry)]
        assert all(a.tobytes() == b.tobytes() for a, b in zip(wanted, theirs.values(), strict=True))


@examples(0.5)
@given(module=modules(graphs=3))
def test_the_same_module_gives_the_same_files(module: Module) -> None:
    canonical = Canonicalize()(module)
    files = emit(plan(canonical, M4))
    again = load_file(save(canonical), get)
    assert emit(plan(again, M4)) == files


# Streaming --------------------------------------------------------------------------------


def streamed(module: Module, groups: Mapping[str, tuple[str, ...]]) -> tuple[Module, PlanOptions]:
    """The canonical module with every group that can stream; rates may not fit one another."""
    canonical = Canonicalize()(module)
    able: list[tuple[str, ...]] = []
    for entry, names in groups.items():
        graph = canonical.graphs[entry]
        made = {v.name for v in graph.values()}
        group = tuple(n for n in names if n in made)
        alone = Module({entry: graph}, canonical.params, {}, "one")
        try:
            plan(alone, M4, PlanOptions(streams=(task_values(alone, group),)))
        except PlanError:
            continue
        able.append(task_values(alone, group))
    return canonical, PlanOptions(streams=tuple(able))


def task_values(module: Module, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` that a kernel stores: others are fused into what follows."""
    program = plan(module, M4)
    stored = {c.value.name for e in program.entries for c in e.calls()}
    return tuple(n for n in names if n in stored)


@examples(0.1)
@given(drawn=chains(graphs=5), seed=st.integers(0, 2**16))
def test_streaming_is_the_whole_network(
    host_compiler: Toolchain, drawn: tuple[Module, Mapping[str, tuple[str, ...]]], seed: int
) -> None:
    module, options = streamed(*drawn)
    program = plan(module, M4, options)
    note(print_module(module))
    proof = prove(module, program, calls_of(module, seed), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_some_chains_do_stream() -> None:
    found = 0

    @settings(max_examples=8, database=None, suppress_health_check=SLOW_START)
    @given(drawn=chains(graphs=3))
    def look(drawn: tuple[Module, Mapping[str, tuple[str, ...]]]) -> None:
        nonlocal found
        _, options = streamed(*drawn)
        found += len(options.streams)

    look()
    assert found >= 8


# Hash seeds -------------------------------------------------------------------------------

SCRIPT = """
import hashlib, sys
from pathlib import Path
from lilliput.codegen.emit import emit
from lilliput.devices.device import load
from lilliput.ir.text import load as load_file
from lilliput.ops.registry import get
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan
module = Canonicalize()(load_file(Path(sys.argv[1]).read_bytes(), get))
files = emit(plan(module, load("cortex-m4")))
print(hashlib.sha256(repr(list(files.items())).encode()).hexdigest())
"""


@examples(0.04)
@given(module=modules(graphs=6))
def test_the_hash_seed_changes_nothing(module: Module, tmp_path: Path) -> None:
    path = tmp_path / "random.lilliput"
    path.write_bytes(save(module))
    digests: set[str] = set()
    for seed in ("0", "1", "77"):
        run = subprocess.run(
            [sys.executable, "-c", "import lilliput.ops\n" + SCRIPT, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def test_random_networks_cover_the_operators() -> None:
    """The strategy reaches what it names; without this, the other tests could be hollow."""
    seen: set[str] = set()
    shapes: set[int] = set()

    @settings(max_examples=150, derandomize=True, database=None, suppress_health_check=SLOW_START)
    @given(module=modules(graphs=2))
    def look(module: Module) -> None:
        for graph in module.graphs.values():
            seen.update(n.op.name for n in graph.nodes)
            shapes.update(len(v.type.shape) for v in graph.values())

    look()
    assert {"conv2d", "linear", "add", "mul", "concat", "slice", "reshape", "pad"} <= seen
    assert {"max_pool2d", "avg_pool2d", "mean", "softmax", "clamp", "transpose"} <= seen
    assert {1, 2, 4} <= shapes
    assert np.size(list(seen)) >= 20
