"""Extents that a file leaves open: 1 is stated, and what they are follows from the operands.

One idea: a file in which every result is open must be read as the same network as the file that
states them all.  It is tried with every sample of every operator that the format can hold.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.test_control import list_of_squares
from tests.test_oracle import written
from tests.tflite_files import TYPES, File, Graph
from tests.tflm import run_litert

from lilliput.emu import oracle
from lilliput.errors import EmulationError, UnsupportedError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.operators import READ
from lilliput.frontends.tflite.options import (
    AddOptions,
    Conv2DOptions,
    PackOptions,
    ReducerOptions,
    ReshapeOptions,
    ShapeOptions,
)
from lilliput.frontends.tflite.options import StridedSliceOptions as Ranges
from lilliput.frontends.tflite.schema import IDENTIFIER, Model, Padding
from lilliput.frontends.tflite.shapes import RULES
from lilliput.ir import Op, Session
from lilliput.ir.text import print_module
from lilliput.ops import all_ops


def opened(data: bytes) -> bytes:
    """The file with every result of an operator open in all of its extents."""
    model = decode(data, IDENTIFIER, Model)
    (graph,) = model.subgraphs
    results = {k for op in graph.operators for k in op.outputs}
    tensors = tuple(
        replace(t, shape=(1,) * len(t.shape), shape_signature=(-1,) * len(t.shape))
        if k in results
        else t
        for k, t in enumerate(graph.tensors)
    )
    return encode(replace(model, subgraphs=(replace(graph, tensors=tensors),)), IDENTIFIER)


@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_an_open_file_is_the_network_that_states_its_shapes(op: Op) -> None:
    for name, _, _, data in written(op):
        stated, found = (print_module(read(d, io="float")) for d in (data, opened(data)))
        assert found == stated, name


def test_rules_name_operators_that_are_read() -> None:
    assert RULES.keys() <= READ.keys()


# Chains that converters write ---------------------------------------------------------------


def blocks_of_a_batch() -> bytes:
    """A dilated convolution as it is written for any batch: in SPACE_TO_BATCH_ND brackets."""
    file = File()
    g = Graph(file, "g")
    rng = np.random.default_rng(3)

    def ints(*values: int, shape: tuple[int, ...] = ()) -> int:
        data = np.array(values, np.int32)
        return g.tensor(shape or (len(values),), "INT32", data)

    x = g.tensor((1, 9, 10, 3), signature=(-1, 9, 10, 3))
    cut = g.tensor((1, 5, 5, 3), signature=(-1, 5, 5, 3))
    made = g.tensor((1, 3, 3, 4), signature=(-1, 3, 3, 4))
    y = g.tensor((1, 5, 6, 4), signature=(-1, 5, 6, 4))
    w = g.tensor((4, 3, 3, 3), "FLOAT32", rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    bias = g.tensor((4,), "FLOAT32", np.ones(4, np.float32))
    g.inputs = (x,)
    g.add("SPACE_TO_BATCH_ND", (x, ints(2, 2), ints(0, 1, 0, 0, shape=(2, 2))), (cut,))
    g.add("CONV_2D", (cut, w, bias), (made,), Conv2DOptions(int(Padding.VALID), 1, 1))
    g.add("BATCH_TO_SPACE_ND", (made, ints(2, 2), ints(0, 1, 0, 0, shape=(2, 2))), (y,))
    return file.write(g.done(y))


def rows_of_any_batch() -> bytes:
    """RESHAPE to a shape that SHAPE, STRIDED_SLICE and PACK compute; the file states (1, 1)."""
    file = File()
    g = Graph(file, "g")

    def ints(*values: int) -> int:
        return g.tensor((len(values),), "INT32", np.array(values, np.int32))

    x = g.tensor((1, 4, 6), signature=(-1, 4, 6))
    shape, count = g.tensor((3,), "INT32"), g.tensor((), "INT32")
    wanted, y = g.tensor((2,), "INT32"), g.tensor((1, 1), signature=(-1, -1))
    rest = g.tensor((), "INT32", np.array(-1, np.int32))
    g.inputs = (x,)
    g.add("SHAPE", (x,), (shape,), ShapeOptions(TYPES["INT32"]))
    ranges = Ranges(shrink_axis_mask=1)
    g.add("STRIDED_SLICE", (shape, ints(2), ints(3), ints(1)), (count,), ranges)
    g.add("PACK", (count, rest), (wanted,), PackOptions(2, 0))
    g.add("RESHAPE", (x, wanted), (y,), ReshapeOptions())
    return file.write(g.done(y))


CHAINS = {
    "blocks": (blocks_of_a_batch, (1, 9, 10, 3), (1, 5, 6, 4)),
    "rows": (rows_of_any_batch, (1, 4, 6), (6, 4)),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_those_of_litert(name: str) -> None:
    make, given, shape = CHAINS[name]
    x = np.random.default_rng(1).normal(size=given).astype(np.float32)
    (ours,) = Session(read(make())).run({"g/0": x}).outputs.values()
    (theirs,) = run_litert(make(), [x], reference=True)
    assert ours.shape == theirs.shape == shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
def test_tflm_is_not_asked_about_a_file_that_it_misreads() -> None:
    data = blocks_of_a_batch()
    module = read(data)
    sizes = {v.name: v.type.size for v in module.graphs["infer"].values()}
    types, x = [v.type for v in module.inputs("infer")], np.zeros((1, 9, 10, 3), np.float32)
    run = oracle.run(data, types, [[x]], floats=True, sizes=sizes)
    assert run.name == "LiteRT"
    with pytest.raises(EmulationError, match="leaves extents open"):
        oracle.run(data, types, [[x]], floats=False, sizes=sizes)


@pytest.mark.oracle
def test_nor_about_one_whose_loops_hold_lists_that_grow() -> None:
    data = list_of_squares(4)
    module, x = read(data), np.ones((4, 3), np.float32)
    types = [v.type for v in module.inputs("infer")]
    run = oracle.run(data, types, [[x]], floats=True)
    assert run.name == "LiteRT"
    assert np.array_equal(run.outputs[0][0], x)


@pytest.mark.oracle
def test_litert_stands_in_with_other_kernels_where_it_has_no_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ELU has none; the reference of an int8 SUM leaves the scale out."""
    file = File()
    g = Graph(file, "g")
    x, y = g.tensor((1, 4), "INT8", scale=0.5), g.tensor((1,), "INT8", scale=1.0)
    real, made = g.tensor((1,)), g.tensor((1,))
    axis = g.tensor((1,), "INT32", np.array([1], np.int32))
    g.inputs = (x,)
    g.add("SUM", (x, axis), (y,), ReducerOptions())
    g.add("DEQUANTIZE", (y,), (real,))
    g.add("ELU", (real,), (made,))
    data, numbers = file.write(g.done(made)), np.array([[1, -7, 9, 30]], np.int8)
    module = read(data, io="float")
    types = [v.type for v in module.inputs("infer")]
    absent = {"TFLite Micro": "no_such_package_here", "LiteRT": "ai_edge_litert"}
    monkeypatch.setattr(oracle, "_MODULES", absent)
    theirs = oracle.run(data, types, [[numbers]], floats=True)
    assert theirs.name == "LiteRT"
    (found,) = theirs.outputs
    (ours,) = Session(module).run({"g/0": numbers}).outputs.values()
    np.testing.assert_allclose(found[0], ours, rtol=1e-6)


# Refusals -----------------------------------------------------------------------------------


def test_nothing_is_said_about_what_lies_behind_an_operator_that_is_refused() -> None:
    file = File()
    g = Graph(file, "g")
    x, y = g.tensor((1, 4)), g.tensor((1, 1), signature=(-1, -1))
    made = g.tensor((1,), "VARIANT", signature=(-1,))
    g.inputs = (x,)
    g.add("FlexTensorListStack", (x,), (made,))
    wanted = g.tensor((2,), "INT32", np.array([2, 2], np.int32))
    g.add("RESHAPE", (made, wanted), (y,), ReshapeOptions())
    with pytest.raises(UnsupportedError) as caught:
        read(file.write(g.done(y)))
    (problem,) = caught.value.problems
    assert problem.what == "operator of TensorFlow that TFLite does not have (TensorListStack)"
    assert "SELECT_TF_OPS" in problem.hint


def test_a_tensor_without_elements_is_refused_where_it_is_computed_with() -> None:
    file = File()
    g = Graph(file, "g")
    x, part = g.tensor((4, 3)), g.tensor((1, 3), signature=(-1, 3))
    y = g.tensor((1, 3), signature=(-1, 3))
    g.inputs = (x,)
    begin, size = (g.tensor((2,), "INT32", np.array(v, np.int32)) for v in ((1, 0), (0, 3)))
    g.add("SLICE", (x, begin, size), (part,))
    g.add("NEG", (part,), (y,))
    with pytest.raises(UnsupportedError, match="no elements"):
        read(file.write(g.done(y)))


# What converters write for nothing ------------------------------------------------------------


def test_a_scale_of_0_stands_for_zeros() -> None:
    """FILL of a state that starts with zeros, as 16-bit converters calibrate it."""
    file = File()
    g = Graph(file, "g")
    x = g.tensor((1, 4), "INT16", scale=0.01)
    shape = g.tensor((2,), "INT32", np.array([1, 4], np.int32))
    zero = g.tensor((), "INT16", np.zeros((), np.int16), scale=0.0)
    state, y = g.tensor((1, 4), "INT16", scale=0.0), g.tensor((1, 4), "INT16", scale=0.01)
    g.inputs = (x,)
    g.add("FILL", (shape, zero), (state,))
    g.add("ADD", (x, state), (y,), AddOptions())
    numbers = np.array([[-32768, -1, 7, 32767]], np.int16)
    (ours,) = Session(read(file.write(g.done(y)))).run({"g/0": numbers}).outputs.values()
    assert np.array_equal(ours, numbers)


def test_a_list_without_numbers_is_a_constant() -> None:
    file = File()
    g = Graph(file, "g")
    x, y = g.tensor((1, 1)), g.tensor(())
    nothing = g.tensor((0,), "INT32")
    g.inputs = (x,)
    g.add("RESHAPE", (x, nothing), (y,), ReshapeOptions())
    (out,) = read(file.write(g.done(y))).outputs("infer")
    assert out.type.shape == ()
