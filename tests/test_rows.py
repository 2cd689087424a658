"""Inputs row by row: asked for by the network, or pushed into it.

One idea: where rows come from must not matter to a single bit, so networks that differ in how
they take rows in are the entries of one module, and run from memory, by callback and by push.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli_case import Run, runner
from tests.samples import random_array
from tests.test_programs import SMALL, bias, inverted_residual, prove_everywhere, weights

import boot
from lilliput import compiler
from lilliput.codegen.emit import emit
from lilliput.demo_data import digits_model
from lilliput.devices.device import load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import CertificateError, PlanError
from lilliput.ir import Builder, Graph, Module, Param, Value
from lilliput.ir.types import f32, s8
from lilliput.ops.conv import Conv2d, conv2d
from lilliput.ops.elementwise import add, mul
from lilliput.ops.pool import Pool, max_pool2d
from lilliput.plan.build import PlanOptions, plan
from lilliput.plan.check import check
from lilliput.plan.program import Loop, Program, Pull, Timed
from lilliput.report.firmware import example

CORE = load("cortex-m4")
DIRECT = {"ram": True, "flash": True}
STREAM = replace(SMALL, streams=(("x", "a", "s", "d", "y"),), pull=frozenset({"x"}))
DIGITS = str(digits_model())


def convolved(b: Builder, x: Value, name: str, kernel: int, channels: int, attrs: Conv2d) -> Value:
    """A convolution; the parameters are named after it."""
    _, h, w, c = x.type.shape
    (sy, sx), (dy, dx), pad = attrs.stride, attrs.dilation, attrs.pad
    rows = (h + pad[0] + pad[1] - (kernel - 1) * dy - 1) // sy + 1
    pixels = (w + pad[2] + pad[3] - (kernel - 1) * dx - 1) // sx + 1
    w_ = weights(b, f"{name}/w", channels, kernel, kernel, c)
    type = s8(1, rows, pixels, channels, scale=0.11, zero_point=-7)
    return b.add(conv2d, (x, w_, bias(b, f"{name}/b", channels)), attrs, type=type, name=name)


def around(n: int) -> Conv2d:
    return Conv2d(pad=(n, n, n, n))


FIRST = {
    "halved": (3, 12, Conv2d(stride=(2, 2), pad=(0, 1, 0, 1))),
    "valid": (3, 12, Conv2d(stride=(2, 2))),  # nobody reads the last row
    "thirds": (2, 11, Conv2d(stride=(3, 2))),
    "five": (5, 9, around(2)),
    "seven": (7, 13, Conv2d(stride=(2, 2), pad=(3, 3, 3, 3))),
    "holes": (3, 9, Conv2d(dilation=(3, 2), pad=(3, 3, 2, 2))),
    "point": (1, 7, Conv2d()),
}
"""Entry -> kernel, rows of the picture, and attributes of its first layer."""


def networks(first: Sequence[str] = tuple(FIRST)) -> Module:
    """One entry for each first layer, a 3x3 behind it; and some whose inputs are no pictures."""
    params: dict[str, Param] = {}
    names: set[str] = set()
    graphs: dict[str, Graph] = {}

    for entry in first:
        kernel, rows, attrs = FIRST[entry]
        b = Builder(params, names)
        x = b.input(f"{entry}/x", s8(1, rows, 10, 3, scale=0.05, zero_point=4))
        a = convolved(b, x, f"{entry}/a", kernel, 4, attrs)
        graphs[entry] = b.graph([convolved(b, a, f"{entry}/y", 3, 2, around(1))])

    b = Builder(params, names)
    x = b.input("pooled/x", s8(1, 10, 6, 2, scale=0.05))
    a = b.add(max_pool2d, (x,), Pool((2, 2), (2, 2)), name="pooled/a")
    graphs["pooled"] = b.graph([convolved(b, a, "pooled/y", 3, 2, around(1))])

    b = Builder(params, names)  # rows of floats; read again when the group is over
    x = b.input("floats/x", f32(7, 6, 5))
    y = b.add(add, (x, x), name="floats/y")
    graphs["floats"] = b.graph([y, b.add(mul, (x, y), name="floats/z")])

    b = Builder(params, names)  # one row is all there is
    x = b.input("flat/x", f32(30))
    graphs["flat"] = b.graph([b.add(add, (x, x), name="flat/y")])
    return Module(graphs, params, {}, "rows")


GROUPS = (
    *((f"{entry}/x", f"{entry}/a", f"{entry}/y") for entry in (*FIRST, "pooled")),
    ("floats/x", "floats/y"),
)


def calls(module: Module, seed: int = 0) -> list[Call]:
    rng = np.random.default_rng(seed)
    return [
        Call(entry, {v.name: random_array(rng, v.type) for v in module.inputs(entry)})
        for _ in range(2)
        for entry in module.graphs
    ]


def inputs(module: Module) -> frozenset[str]:
    return frozenset(v.name for entry in module.graphs for v in module.inputs(entry))


@pytest.mark.parametrize("push", [False, True], ids=["callback", "push"])
def test_rows_by_callback_and_by_push_give_the_bits_of_the_whole(
    push: bool, host_compiler: Toolchain
) -> None:
    """The harness hands rows over in order and ends where a row is asked for twice or never."""
    module = networks()
    options = replace(SMALL, streams=GROUPS, pull=inputs(module), push=push)
    prove_everywhere(module, plan(module, CORE, options), calls(module), host_compiler)


@pytest.mark.parametrize("push", [False, True], ids=["callback", "push"])
def test_what_does_not_stream_takes_all_rows_in_first(push: bool, host_compiler: Toolchain) -> None:
    module = networks(("valid",))
    program = plan(module, CORE, replace(SMALL, pull=inputs(module), push=push))
    assert all(pull.rows == pull.view.rows for pull in pulls(program))
    proof = prove(module, program, calls(module), hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


def test_a_line_buffer_has_the_rows_that_its_window_needs() -> None:
    module = networks()
    program = plan(module, CORE, replace(SMALL, streams=GROUPS, pull=inputs(module)))
    rings = {pull.value.name: pull.view.ring for pull in pulls(program)}
    assert {n.removesuffix("/x"): ring for n, ring in rings.items()} == {
        "halved": 3,
        "valid": 3,
        "thirds": 2,
        "five": 5,
        "seven": 7,
        "holes": 7,
        "point": 1,
        "pooled": 2,
        "floats": None,
        "flat": None,
    }


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pads=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    spare=st.integers(0, 9),
    rows=st.integers(1, 3),
)
def test_any_first_window_streams_its_input(
    kernel: int, stride: int, dilation: int, pads: tuple[int, int], spare: int, rows: int
) -> None:
    """The plan is certified: every row is there in time, and asked for once."""
    height = max((kernel - 1) * dilation + 1 - sum(pads), 1) + (rows - 1) * stride + spare
    b = Builder(names=set())
    x = b.input("x", s8(1, height, 14, 1, scale=0.05))
    attrs = Conv2d((stride, 1), (dilation, 1), (*pads, 0, 0))
    y = convolved(b, convolved(b, x, "a", kernel, 1, attrs), "y", 1, 1, Conv2d())
    options = replace(SMALL, streams=(("x", "a", "y"),), pull=frozenset("x"))
    (pull,) = pulls(plan(b.module([y], name="window"), CORE, options))
    reach = (kernel - 1) * dilation + 1
    assert pull.view.ring is not None
    assert pull.view.ring <= min(height, max(reach, stride, sum(pads) + 1))


def pulls(program: Program) -> list[Pull]:
    steps = [s for e in program.entries for s in e.steps]
    leaves = [t.step for s in steps if isinstance(s, Loop) for t in s.body] + steps
    return [s for s in leaves if isinstance(s, Pull)]


def test_the_picture_is_not_in_memory() -> None:
    module = inverted_residual()
    whole = replace(STREAM, streams=(STREAM.streams[0][1:],), pull=frozenset())
    picture = module.inputs("infer")[0]
    held, pulled = plan(module, CORE, whole), plan(module, CORE, STREAM)
    assert held.buffers[f"infer/{picture.name}"].nbytes == picture.type.nbytes
    (pull,) = pulls(pulled)
    assert pull.view.ring == 3  # three rows are left of it, among those of other layers
    assert pull.view.places is not None
    assert len(pull.view.places) == picture.type.frame[0]
    assert pulled.arenas["ram"] < held.arenas["ram"]


def test_several_inputs_are_numbered_and_one_of_them_can_be_pushed(
    host_compiler: Toolchain,
) -> None:
    b = Builder(names=set())
    p, q = (b.input(name, s8(1, 6, 5, 2, scale=0.1)) for name in "pq")
    s = b.add(add, (p, q), type=s8(1, 6, 5, 2, scale=0.2), name="s")
    module = b.module([convolved(b, s, "t", 3, 3, around(1))], name="two")
    both = replace(SMALL, streams=(("p", "q", "s", "t"),), pull=frozenset("pq"))
    program = plan(module, CORE, both)
    assert prove(module, program, calls(module), hosts=[host_compiler]).exact
    header = emit(program)["two.h"]
    assert "void two_run(two_rows0_fn rows0, void *ctx0, two_rows1_fn rows1, void *ctx1);" in header
    one = replace(SMALL, streams=(("q", "s", "t"),), pull=frozenset("q"), push=True)
    program = plan(module, CORE, one)
    assert prove(module, program, calls(module), hosts=[host_compiler]).exact
    header = emit(program)["two.h"]
    assert "int8_t *two_input0(void);" in header
    assert "two_input1" not in header
    with pytest.raises(PlanError, match="rows of several inputs cannot be pushed"):
        plan(module, CORE, replace(both, push=True))


def test_only_inputs_are_pulled() -> None:
    with pytest.raises(PlanError, match="no inputs cannot be asked"):
        plan(inverted_residual(), CORE, PlanOptions(pull=frozenset({"a"})))


# The certificate --------------------------------------------------------------------------


def mutated(change: Callable[[Timed], Timed]) -> Program:
    """The streamed program with its pull changed."""
    program = plan(inverted_residual(), CORE, STREAM)
    (loop,) = program.entries[0].steps
    assert isinstance(loop, Loop)
    body = tuple(change(t) if isinstance(t.step, Pull) else t for t in loop.body)
    entry = replace(program.entries[0], steps=(replace(loop, body=body),))
    return replace(program, entries=(entry,))


def narrow(timed: Timed) -> Timed:
    assert isinstance(timed.step, Pull)
    view = timed.step.view
    assert view.places is not None
    two = tuple(view.places[row % 2] for row in range(view.rows))
    return replace(timed, step=replace(timed.step, view=replace(view, places=two)))


def late(timed: Timed) -> Timed:
    return replace(timed, phase=timed.phase + 1)


def short(timed: Timed) -> Timed:
    return replace(timed, count=timed.count - 1)


def wrapping(timed: Timed) -> Timed:
    assert isinstance(timed.step, Pull)
    return replace(timed, step=replace(timed.step, rows=2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (late, "do not hold what they should"),
        (narrow, "do not hold what they should"),
        (short, "do not hold what they should"),
        (wrapping, "no block"),
    ],
)
def test_rows_that_come_wrongly_are_refused(change: Callable[[Timed], Timed], words: str) -> None:
    with pytest.raises(CertificateError, match=words):
        check(mutated(change), DIRECT)


def test_rows_are_asked_for_once_and_all_of_them() -> None:
    module = networks()
    program = plan(module, CORE, replace(SMALL, streams=GROUPS, pull=inputs(module)))
    (entry,) = (e for e in program.entries if e.name == "valid")
    loop = entry.steps[0]
    assert isinstance(loop, Loop)
    first, *others = loop.body
    assert isinstance(first.step, Pull)
    fewer = replace(loop, body=(replace(first, count=first.count - 1), *others))
    with pytest.raises(CertificateError, match="never asked for"):
        check(replace(program, entries=(replace(entry, steps=(fewer,)),)), DIRECT)
    twice = replace(entry, steps=(*entry.steps, *entry.steps))
    with pytest.raises(CertificateError, match="out of order"):
        check(replace(program, entries=(twice,)), DIRECT)


# The C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pulled", "pushed"])
def test_the_c_is_the_reviewed_one(name: str, golden: Callable[[str, str], None]) -> None:
    module = replace(inverted_residual(), name=name)
    files = emit(plan(module, CORE, replace(STREAM, push=name == "pushed")))
    golden(files[f"{name}.h"], f"{name}.h")
    golden(files[f"{name}.c"], f"{name}.c")


@pytest.mark.gcc
@pytest.mark.parametrize("feed", ["callback", "push"])
def test_the_c_of_the_report_compiles_without_a_warning(
    feed: compiler.Feed, tmp_path: Path
) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    options = compiler.Options(compiler="none", feed=feed)
    compiled = compiler.compile(compiler.load(DIGITS), CORE, options)
    compiler.write(compiled, tmp_path / "out")
    (tmp_path / "main.c").write_text(example(compiled.summary), encoding="utf-8")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", "-Iout"]
    subprocess.run(["gcc", *flags, "main.c"], cwd=tmp_path, check=True, timeout=60)


# Commands and projects --------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_check_asks_for_rows(run: Run) -> None:
    given = ("--device", "cortex-m4", "--input", "callback")
    result = run("check", DIGITS, *given, "--samples", "3", "--json")
    assert result.code == 0, result.text
    assert result.json["exact"] is True
    assert result.json["stack_bytes"]["measured"] <= result.json["stack_bytes"]["bound"]


def test_a_compiled_folder_is_run_with_rows_pushed(run: Run, tmp_path: Path) -> None:
    out, x = tmp_path / "out", tmp_path / "x.npy"
    given = ("--device", "cortex-m4", "--input", "push", "-o", out)
    assert run("compile", DIGITS, *given).code == 0
    module = compiler.load(DIGITS).module
    (value,) = module.inputs(module.entry)
    data = random_array(np.random.default_rng(3), value.type)
    np.save(x, data)
    found = run("run", out, "--input", x, "--output", tmp_path / "y.npy")
    assert found.code == 0, found.text
    expected = compiler.load(DIGITS).run(data).outputs
    assert np.array_equal(np.load(tmp_path / "y.npy"), next(iter(expected.values())))


def test_handing_rows_over_is_not_counted() -> None:
    model = compiler.load(DIGITS)
    whole, pulled = (
        compiler.profile(model, CORE, blocks=0, options=compiler.Options(feed=feed))
        for feed in ("memory", "callback")
    )
    counts = [[p.instructions for p in profile.layers] for profile in (whole, pulled)]
    assert counts[0][1:] == counts[1][1:]
    assert abs(counts[0][0] - counts[1][0]) < 10  # the first one has the entry's prologue
    assert 0 < pulled.instructions - whole.instructions < 40  # the call and its hook


@pytest.mark.qemu
@pytest.mark.gcc
@pytest.mark.parametrize("feed", ["callback", "push"])
def test_an_image_that_feeds_itself_row_by_row_boots(feed: compiler.Feed, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    boot.write(inverted_residual(), "mps2-an386", folder, feed=feed)
    said = boot.listen("mps2-an386", boot.make(folder))
    assert said[-1] == "lilliput streamed: exact"
