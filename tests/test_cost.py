"""The cost model: what a prediction is made of, how it is fitted, and how wrong it may be."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib import resources

import pytest
from benchmarks import fit, grid

from lilliput.devices.device import cores, load
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import find, host_compilers
from lilliput.ir import Builder, Node
from lilliput.ir.op import Kernel, Sample, Work
from lilliput.ir.types import s8
from lilliput.ops import all_ops, get
from lilliput.ops.conv import Conv2d
from lilliput.plan import cost
from lilliput.plan.build import plan
from lilliput.plan.cost import Coefficients, predict, prediction_error, read_tables, row_name

HELD_OUT = (
    Conv2d(pad=(1, 1, 1, 1)),
    Conv2d(),
    Conv2d(stride=(2, 2), pad=(1, 1, 1, 1), groups=24),
)
"""Convolutions of shapes that are not in the grid, with `_held_out`'s weights."""


def conv_node(kernel: str = "conv2d", size: int = 6) -> tuple[Kernel, Node]:
    op = get("conv2d")
    case = grid.Case(op, _conv(Conv2d(), (1, size, size, 8), (16, 1, 1, 8)))
    node = grid.module([case]).graphs["case0"].nodes[0]
    return next(k for k in op.kernels if k.name == kernel), node


def _conv(attrs: Conv2d, x: tuple[int, ...], w: tuple[int, ...]) -> Sample:
    out = tuple(
        (x[1 + i] + sum(attrs.pad[2 * i : 2 * i + 2]) - w[1 + i]) // attrs.stride[i] + 1
        for i in (0, 1)
    )
    types = (s8(*x, scale=0.02), s8(*w, scale=0.01))
    return Sample(types, attrs, (s8(1, *out, w[0], scale=0.1),), params=(1,))


# the prediction ---------------------------------------------------------------------------


def test_a_prediction_is_linear_in_the_work() -> None:
    kernel, node = conv_node()
    table = cost.tables()["cortex-m4"].row("conv2d/s8")
    work = kernel.work(node)
    expected = table.call + table.inner * work.inner
    expected += table.element * work.elements + table.setup * work.setups
    assert predict(kernel, node, "cortex-m4") == pytest.approx(expected)


@pytest.mark.parametrize("core", sorted(cores()))
def test_every_kernel_of_every_sample_has_a_prediction(core: str) -> None:
    for op in all_ops():
        if not op.kernels:
            continue
        for case in grid.cases_of(op):
            node = grid.module([case]).graphs["case0"].nodes[0]
            assert predict(case.op.kernels[0], node, core) > 0


def test_a_fused_node_costs_what_its_own_loop_costs_an_element() -> None:
    kernel, node = conv_node()
    b = Builder({}, set())
    x = b.input("x", node.output.type)
    b.add(get("relu"), [x], type=x.type)
    more = predict(kernel, node, "cortex-m4", b.nodes) - predict(kernel, node, "cortex-m4")
    row = cost.tables()["cortex-m4"].row("map.relu/s8")
    assert more == pytest.approx(row.element * node.output.type.size)


def test_a_kernel_without_a_row_takes_the_default_row() -> None:
    kernel, node = conv_node()
    stranger = replace(kernel, name="stranger")
    row = cost.tables()["cortex-m4"].rows[cost.DEFAULT]
    work = kernel.work(node)
    expected = row.call + row.inner * work.inner + row.element * work.elements
    assert predict(stranger, node, "cortex-m4") == pytest.approx(expected + row.setup * work.setups)


@pytest.mark.parametrize(
    ("dtype", "row"),
    [("s8", "s8"), ("bool", "s8"), ("u32", "f32"), ("s64", "f32"), ("s16", cost.DEFAULT)],
)
def test_an_element_type_without_a_row_takes_that_of_a_like_one(dtype: str, row: str) -> None:
    rows = {"move/s8": (1, 0, 0, 0), "move/f32": (2, 0, 0, 0), cost.DEFAULT: (3, 0, 0, 0)}
    table = cost.CostTable("cycles", {k: Coefficients(*v) for k, v in rows.items()}, None)
    assert table.row(f"move/{dtype}") is table.rows[row if row in rows else f"move/{row}"]


def test_no_firmware_of_the_fit_holds_two_cases_of_one_row() -> None:
    cases = grid.cases_of(get("gather")) + grid.cases_of(get("gather_nd"))
    rows = [[row_name(c.op.kernels[0], c.node()) for c in group] for group in fit.dealt(cases)]
    assert sum(map(len, rows)) == len(cases)
    assert all(len(set(group)) == len(group) <= fit.ENTRIES for group in rows)


def test_a_grown_sample_keeps_all_but_its_extents() -> None:
    op = get("conv2d")
    like = next(s for s in op.samples if len(s.inputs) == 3 and s.outputs)
    shapes = ((1, 9, 9, 4), (6, 3, 3, 4))
    made = grid.grown(op, like, Conv2d(), shapes)
    assert tuple(t.shape for t in made.inputs) == shapes
    assert made.outputs[0].shape == (1, 7, 7, 6)
    assert made.outputs[0].quant == like.outputs[0].quant
    assert [t.dtype for t in made.inputs] == [t.dtype for t in like.inputs[:2]]
    weights = made.inputs[1].quant
    assert weights is not None
    assert weights.axis is None or len(weights.scale) == 6


def test_a_core_without_a_table_ranks_kernels_as_its_stand_in_does() -> None:
    kernel, node = conv_node()
    assert predict(kernel, node, "no-such-core") == predict(kernel, node, cost.STAND_IN)
    assert prediction_error("no-such-core") is None


def test_an_empty_table_falls_back_to_constants() -> None:
    table = read_tables('[core]\nunit = "cycles"\n[core.rows]\n')["core"]
    assert table.row("anything") == cost.FALLBACK
    assert table.error is None


def test_the_pointwise_kernel_is_predicted_to_beat_the_general_one() -> None:
    linear, node = conv_node("linear")
    conv, _ = conv_node("conv2d")
    for core in fit.CORES:
        assert predict(linear, node, core) < predict(conv, node, core)


# the committed table ----------------------------------------------------------------------


def test_the_committed_table_has_the_shape_that_is_documented() -> None:
    text = (resources.files("lilliput.plan") / "cycles.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    uncounted = tables.pop(fit.UNCOUNTED)
    assert set(uncounted["rows"]) == {*tables[fit.LIKE]["rows"], *fit.LANES}
    assert (uncounted["observations"], "error" in uncounted) == (0, False)
    assert list(tables) == list(fit.CORES)
    for core, table in tables.items():
        assert core in cores()
        assert set(table) == {"unit", "compiler", "error", "observations", "rows"}
        assert table["unit"] in ("estimated cycles", "instructions")
        assert 0 < table["error"]["median"] < 0.1
        assert table["error"]["median"] < table["error"]["worst"]
        assert list(table["rows"]) == [cost.DEFAULT, *sorted(set(table["rows"]) - {cost.DEFAULT})]
        for row in table["rows"].values():
            assert len(row) == 4
            assert all(c >= 0 for c in row)
            assert sum(row) > 0


def test_every_kernel_has_a_row_on_every_fitted_core() -> None:
    kernels = [k for op in all_ops() for k in op.kernels]
    for core in (*fit.CORES, fit.UNCOUNTED):
        features = cores()[core].features
        names = {k.name for k in kernels if not k.feature or k.feature in features}
        assert names <= {row.split("/")[0] for row in cost.tables()[core].rows}


# the fit ----------------------------------------------------------------------------------


def observations(row: tuple[float, ...]) -> list[fit.Observation]:
    works = [Work(i * i * 97, 13 * i, 7 * (i % 3) + i) for i in range(4, 14)]
    return [fit.Observation("k/s8", w, fit.predicted(row, w)) for w in works]


@pytest.mark.parametrize(
    "row", [(100.0, 5.0, 30.0, 12.0), (0.0, 8.0, 0.0, 20.0), (2000.0, 0.0, 45.0, 0.0)]
)
def test_a_fit_finds_the_coefficients_that_made_the_data(row: tuple[float, ...]) -> None:
    assert fit.fit(observations(row)) == pytest.approx(row, rel=2e-3, abs=0.5)


def test_coefficients_are_never_negative() -> None:
    falling = [replace(o, cycles=5000 / (1 + o.work.elements)) for o in observations((1, 1, 1, 1))]
    assert min(fit.fit(falling)) >= 0


def test_an_outlier_shows_in_the_stated_error() -> None:
    data = observations((100.0, 5.0, 30.0, 12.0))
    assert max(fit.left_out_errors(data)) < 0.01
    data[3] = replace(data[3], cycles=data[3].cycles * 4)
    assert max(fit.left_out_errors(data)) > 0.5


def test_a_table_is_written_and_read_back() -> None:
    table = fit.table(observations((100.0, 5.0, 30.0, 12.0)), "estimated cycles", "a compiler")
    text = fit.render({"cortex-m4": table})
    assert text == fit.render({"cortex-m4": table})
    back = read_tables(text)["cortex-m4"]
    assert back.rows["k/s8"] == Coefficients(*table.rows["k/s8"])
    assert back.error is not None
    assert back.error.median == pytest.approx(table.median, abs=1e-4)


@pytest.mark.unicorn
def test_the_fit_is_reproducible() -> None:
    core = cores()["cortex-m4"]
    chosen = grid.cases_of(get("softmax_cross_entropy"))
    first, second = (list(fit.observe(core, find(core), chosen)) for _ in range(2))
    assert first == second
    assert len(first) == len(chosen)
    texts = {fit.render({"cortex-m4": fit.table(o, "cycles", "c")}) for o in (first, second)}
    assert len(texts) == 1


@pytest.mark.slow
def test_every_forced_kernel_is_exact_on_shapes_that_are_measured() -> None:
    """Two shapes of each: with sanitizers the whole grid compiles for a quarter of an hour."""
    room = emulation_device(cores()["cortex-m4"])
    measured = [case for case in grid.cases() if grid.runs_on(room.core, case)]
    by_kernel: dict[tuple[str, ...], list[grid.Case]] = {}
    for case in measured:
        key = (case.op.name, *(k.name for k in case.op.kernels))
        by_kernel.setdefault(key, []).append(case)
    cases = [case for mine in by_kernel.values() for case in mine[:: -(-len(mine) // 2)]]
    for at in range(0, len(cases), fit.ENTRIES):
        chosen = cases[at : at + fit.ENTRIES]
        module = grid.module(chosen)
        calls = [
            Call(f"case{k}", grid.inputs(module, f"case{k}", case)) for k, case in enumerate(chosen)
        ]
        proof = prove(module, plan(module, room), calls, hosts=host_compilers()[:1])
        assert proof.difference is None, str(proof.difference)


@pytest.mark.gcc
@pytest.mark.unicorn
def test_layers_outside_the_grid_are_predicted_within_the_stated_error() -> None:
    core = cores()["cortex-m4"]
    stated = prediction_error(core.name)
    assert stated is not None
    shapes = (
        ((1, 10, 10, 6), (20, 3, 3, 6)),
        ((1, 7, 7, 40), (24, 1, 1, 40)),
        ((1, 14, 14, 24), (24, 3, 3, 1)),
    )
    samples = [_conv(a, x, w) for a, (x, w) in zip(HELD_OUT, shapes, strict=True)]
    cases = [
        grid.Case(replace(get("conv2d"), kernels=(k,)), s)
        for s in samples
        for k in get("conv2d").kernels
        if grid.takes(replace(get("conv2d"), kernels=(k,)), s)
    ]
    cases = [case for case in cases if grid.runs_on(core, case)]
    toolchain = find(core, "gcc")
    found = [o for o in fit.observe(core, toolchain, cases) if not o.row.startswith("map")]
    rows = cost.tables()[core.name]
    errors: list[float] = []
    for o in found:
        c = rows.row(o.row)
        value = fit.predicted((c.call, c.inner, c.element, c.setup), o.work)
        errors.append(abs(value / o.cycles - 1))
    assert len(errors) >= len(cases)
    assert max(errors) <= stated.worst
    assert sorted(errors)[len(errors) // 2] < 0.25


def test_selection_takes_the_kernel_with_the_lowest_prediction_and_says_why() -> None:
    case = grid.Case(get("conv2d"), _conv(Conv2d(), (1, 6, 6, 8), (16, 1, 1, 8)))
    program = plan(grid.module([case]), load("cortex-m4"))
    (call,) = program.entries[0].calls()
    assert call.kernel.name == "gemm_wide"
    assert any("times the predicted cycles" in reason for _, reason in call.rejected)
