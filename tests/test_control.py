"""Subgraphs and variables of .tflite files: what is unrolled, what lives across calls.

Files are written table by table, for the writer of the project has no words for them, and
are held against TFLite Micro over several calls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tflite_files import File, Graph
from tests.tflm import Tflm, run_litert

from lilliput import devices
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain
from lilliput.errors import FormatError, UnsupportedError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.options import (
    AddOptions,
    CallOnceOptions,
    ConcatenationOptions,
    GatherOptions,
    IfOptions,
    MulOptions,
    PackOptions,
    ReshapeOptions,
    VarHandleOptions,
    WhileOptions,
)
from lilliput.frontends.tflite.schema import Operator
from lilliput.ir import Array, Session
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan

WHILE = WhileOptions(1, 2)


def counted_loop(trips: int) -> bytes:
    """for (i = 0; i < trips; i += 1) x = x + x * 0.5, as a WHILE over (i, x)."""
    file = File()
    main, test, body = (Graph(file, n) for n in ("main", "test", "body"))
    x = main.tensor((1, 3))
    zero = main.tensor((), "INT32", np.zeros((), np.int32))
    after, y = main.tensor((), "INT32"), main.tensor((1, 3))
    main.inputs = (x,)
    main.add("WHILE", (zero, x), (after, y), WhileOptions(1, 2))
    test.inputs = (test.tensor((), "INT32"), test.tensor((1, 3)))
    limit = test.tensor((), "INT32", np.array(trips, np.int32))
    answer = test.tensor((), "BOOL")
    test.add("LESS", (0, limit), (answer,))
    body.inputs = (body.tensor((), "INT32"), body.tensor((1, 3)))
    one = body.tensor((), "INT32", np.array(1, np.int32))
    half = body.tensor((1,), "FLOAT32", np.array([0.5], np.float32))
    i, scaled, more = body.tensor((), "INT32"), body.tensor((1, 3)), body.tensor((1, 3))
    body.add("ADD", (0, one), (i,), AddOptions())
    body.add("MUL", (1, half), (scaled,), MulOptions())
    body.add("ADD", (1, scaled), (more,), AddOptions())
    return file.write(main.done(y), test.done(answer), body.done(i, more))


def gathering_loop() -> bytes:
    """for (i = 0; i < 3; i += 1) x = x * row i of a table: the body slices by its counter."""
    file = File()
    main, test, body = (Graph(file, n) for n in ("main", "test", "body"))
    x = main.tensor((1, 4))
    zero = main.tensor((), "INT32", np.zeros((), np.int32))
    after, y = main.tensor((), "INT32"), main.tensor((1, 4))
    main.inputs = (x,)
    main.add("WHILE", (zero, x), (after, y), WhileOptions(1, 2))
    test.inputs = (test.tensor((), "INT32"), test.tensor((1, 4)))
    limit, answer = test.tensor((), "INT32", np.array(3, np.int32)), test.tensor((), "BOOL")
    test.add("LESS", (0, limit), (answer,))
    body.inputs = (body.tensor((), "INT32"), body.tensor((1, 4)))
    table = body.tensor((3, 4), "FLOAT32", np.arange(12, dtype=np.float32).reshape(3, 4))
    column = body.tensor((), "INT32", np.zeros((), np.int32))
    size = body.tensor((2,), "INT32", np.array([1, 4], np.int32))
    one = body.tensor((), "INT32", np.array(1, np.int32))
    begin, row = body.tensor((2,), "INT32"), body.tensor((1, 4))
    i, more = body.tensor((), "INT32"), body.tensor((1, 4))
    body.add("PACK", (0, column), (begin,), PackOptions(2, 0))
    body.add("SLICE", (table, begin, size), (row,))
    body.add("MUL", (1, row), (more,), MulOptions())
    body.add("ADD", (0, one), (i,), AddOptions())
    return file.write(main.done(y), test.done(answer), body.done(i, more))


def branches(condition: bool | None) -> bytes:
    """x + x where the condition is true, else -x; None: the condition is an input."""
    file = File()
    main, then, other = (Graph(file, n) for n in ("main", "then", "other"))
    data = None if condition is None else np.array([condition])
    c, x, y = main.tensor((1,), "BOOL", data), main.tensor((2, 2)), main.tensor((2, 2))
    main.inputs = (c, x) if condition is None else (x,)
    main.add("IF", (c, x), (y,), IfOptions(1, 2))
    for graph in (then, other):
        graph.inputs = (graph.tensor((2, 2)),)
        graph.tensor((2, 2))
    then.add("ADD", (0, 0), (1,), AddOptions())
    other.add("NEG", (0,), (1,))
    return file.write(main.done(y), then.done(1), other.done(1))


def accumulator(start: Array | None = None) -> bytes:
    """total += x; y = total, with a variable; `start`: what CALL_ONCE puts into it."""
    file = File()
    main, init = Graph(file, "main"), Graph(file, "init")
    x = main.tensor((1, 4))
    main.inputs = (x,)
    handle = main.tensor((1,), "RESOURCE")
    before, total, y = (main.tensor((1, 4)) for _ in range(3))
    if start is not None:
        main.add("CALL_ONCE", (), (), CallOnceOptions(1))
    main.add("VAR_HANDLE", (), (handle,), VarHandleOptions("", "total"))
    main.add("READ_VARIABLE", (handle,), (before,))
    main.add("ADD", (before, x), (total,), AddOptions())
    main.add("ASSIGN_VARIABLE", (handle, total), ())
    main.add("READ_VARIABLE", (handle,), (y,))
    own = init.tensor((1,), "RESOURCE")
    value = init.tensor((1, 4), "FLOAT32", np.zeros((1, 4), np.float32) if start is None else start)
    init.add("VAR_HANDLE", (), (own,), VarHandleOptions("", "total"))
    init.add("ASSIGN_VARIABLE", (own, value), ())
    return file.write(main.done(y), init.done())


@pytest.mark.oracle
@pytest.mark.parametrize("trips", [0, 1, 5])
def test_a_counted_loop_is_unrolled(trips: int) -> None:
    data = counted_loop(trips)
    x = np.array([[1.0, -2.0, 0.25]], np.float32)
    (ours,) = Session(read(data)).run({"main/0": x}).outputs.values()
    assert np.array_equal(ours, x * np.float32(1.5) ** trips)
    assert np.array_equal(ours, Tflm(data).run([x]).outputs[0])


def test_what_a_loop_counts_is_known_in_its_body() -> None:
    x = np.array([[1.0, -2.0, 0.25, 3.0]], np.float32)
    (ours,) = Session(read(gathering_loop())).run({"main/0": x}).outputs.values()
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(ours, x * table[0] * table[1] * table[2])


@pytest.mark.oracle
@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_is_taken_is_the_network(condition: bool) -> None:
    data = branches(condition)
    x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    module = read(data)
    (ours,) = Session(module).run({"main/1": x}).outputs.values()
    assert np.array_equal(ours, Tflm(data).run([x]).outputs[0])
    assert len(Canonicalize()(module).graphs["infer"].nodes) == 1


@pytest.mark.oracle
@pytest.mark.parametrize("condition", [True, False])
def test_a_condition_of_run_time_chooses_between_both_branches(condition: bool) -> None:
    data = branches(None)
    x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    (ours,) = (
        Session(read(data)).run({"main/0": np.array([condition]), "main/1": x}).outputs.values()
    )
    assert np.array_equal(ours, Tflm(data).run([np.array([condition]), x]).outputs[0])


def test_a_branch_of_run_time_may_not_assign() -> None:
    file = File()
    main, then, other = (Graph(file, n) for n in ("main", "then", "other"))
    c, x, y = main.tensor((), "BOOL"), main.tensor((2,)), main.tensor((2,))
    main.inputs = (c, x)
    main.add("IF", (c, x), (y,), IfOptions(1, 2))
    for graph in (then, other):
        graph.inputs = (graph.tensor((2,)),)
    handle = then.tensor((), "RESOURCE")
    then.add("VAR_HANDLE", (), (handle,), VarHandleOptions("", "total"))
    then.add("ASSIGN_VARIABLE", (handle, 0), ())
    with pytest.raises(UnsupportedError, match="assigns variables"):
        read(file.write(main.done(y), then.done(0), other.done(0)))


def test_a_loop_that_ends_at_run_time_is_refused() -> None:
    file = File()
    main, test, body = (Graph(file, n) for n in ("main", "test", "body"))
    x, y = main.tensor((1,)), main.tensor((1,))
    main.inputs = (x,)
    main.add("WHILE", (x,), (y,), WhileOptions(1, 2))
    for graph in (test, body):
        graph.inputs = (graph.tensor((1,)),)
    limit, answer = test.tensor((1,), "FLOAT32", np.ones(1, np.float32)), test.tensor((1,), "BOOL")
    test.add("LESS", (0, limit), (answer,))
    with pytest.raises(UnsupportedError, match="condition is computed at run time") as caught:
        read(file.write(main.done(y), test.done(answer), body.done(0)))
    assert '"test/2", bool[1]' in str(caught.value)


def list_of_squares(trips: int) -> bytes:
    """list[i] = x[i] * x[i] for each i, as converters write a list: the rows before, one, those
    behind; both ends of the list have nothing on one side."""
    file = File()
    main, test, body = (Graph(file, n) for n in ("main", "test", "body"))
    shape = (trips, 3)
    x, y = main.tensor(shape), main.tensor(shape)
    zero = main.tensor((), "INT32", np.zeros((), np.int32))
    start = main.tensor(shape, "FLOAT32", np.zeros(shape, np.float32))
    main.inputs = (x,)
    main.add("WHILE", (zero, start, x), (main.tensor((), "INT32"), y, main.tensor(shape)), WHILE)
    for graph in (test, body):
        graph.inputs = graph.tensor((), "INT32"), graph.tensor(shape), graph.tensor(shape)
    limit, answer = test.tensor((), "INT32", np.array(trips, np.int32)), test.tensor((), "BOOL")
    test.add("LESS", (0, limit), (answer,))

    def ints(*values: int) -> int:
        return body.tensor((len(values),), "INT32", np.array(values, np.int32))

    one = body.tensor((), "INT32", np.array(1, np.int32))
    now, after = body.tensor((1,), "INT32"), body.tensor((1,), "INT32")
    following, size, begin = body.tensor((), "INT32"), *(body.tensor((2,), "INT32") for _ in "ab")
    before, behind = (body.tensor((1, 3), signature=(-1, 3)) for _ in "ab")
    row, square, made = body.tensor((1, 3)), body.tensor((1, 3)), body.tensor(shape)
    body.add("ADD", (0, one), (following,), AddOptions())
    body.add("RESHAPE", (0, ints(1)), (now,), ReshapeOptions())
    body.add("RESHAPE", (following, ints(1)), (after,), ReshapeOptions())
    body.add("CONCATENATION", (now, ints(-1)), (size,), ConcatenationOptions(0))
    body.add("CONCATENATION", (after, ints(0)), (begin,), ConcatenationOptions(0))
    body.add("SLICE", (1, ints(0, 0), size), (before,))
    body.add("SLICE", (1, begin, ints(-1, -1)), (behind,))
    body.add("GATHER", (2, now), (row,), GatherOptions(0))
    body.add("MUL", (row, row), (square,), MulOptions())
    body.add("CONCATENATION", (before, square, behind), (made,), ConcatenationOptions(0))
    return file.write(main.done(y), test.done(answer), body.done(following, made, 2))


def test_lists_grow_without_a_trace_of_their_empty_ends() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    (ours,) = Session(read(list_of_squares(4))).run({"main/0": x}).outputs.values()
    assert np.array_equal(ours, x * x)


@pytest.mark.oracle
def test_lists_are_those_of_litert() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    (theirs,) = run_litert(list_of_squares(4), [x], reference=True)
    assert np.array_equal(theirs, x * x)


def test_a_variable_holds_numbers_whatever_scale_they_are_read_with() -> None:
    """Converters calibrate each read on its own; the stored integers are the same."""
    file = File()
    main = Graph(file, "main")
    x, y = (main.tensor((1, 4), "INT8", scale=s) for s in (0.5, 0.25))
    handle = main.tensor((), "RESOURCE")
    main.inputs = (x,)
    main.add("VAR_HANDLE", (), (handle,), VarHandleOptions("", "last"))
    main.add("READ_VARIABLE", (handle,), (y,))
    main.add("ASSIGN_VARIABLE", (handle, x), ())
    session = Session(Canonicalize()(read(file.write(main.done(y)))))
    numbers = np.array([[1, -2, 127, -128]], np.int8)
    session.run({"main/0": numbers})
    (ours,) = session.run({"main/0": numbers}).outputs.values()
    assert np.array_equal(ours, numbers)


def test_a_loop_that_does_not_end_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="loop does not end"):
        read(counted_loop(1 << 30))


def test_a_subgraph_that_calls_itself_is_refused() -> None:
    file = File()
    main, body = Graph(file, "main"), Graph(file, "body")
    for graph in (main, body):
        graph.inputs = (graph.tensor((1,)),)
        c, y = graph.tensor((1,), "BOOL", np.array([True])), graph.tensor((1,))
        graph.add("IF", (c, 0), (y,), IfOptions(1, 1))
    with pytest.raises(FormatError, match="calls itself"):
        read(file.write(main.done(2), body.done(2)))


@pytest.mark.oracle
@pytest.mark.parametrize("start", [None, np.array([[1, 2, 3, 4]], np.float32)])
def test_a_variable_lives_across_calls(start: Array | None, host_compiler: Toolchain) -> None:
    data = accumulator(start)
    module = Canonicalize()(read(data))
    assert list(module.states) == ["total"]
    rng = np.random.default_rng(1)
    xs = [rng.uniform(-1, 1, (1, 4)).astype(np.float32) for _ in range(3)]
    session, theirs = Session(module), Tflm(data)
    for x in xs:
        (ours,) = session.run({"main/0": x}).outputs.values()
        if start is not None:  # what is in a variable before CALL_ONCE is not defined there
            assert np.array_equal(ours, theirs.run([x]).outputs[0])
    calls = [Call("infer", {"main/0": x}) for x in xs]
    proof = prove(module, plan(module, devices.load("cortex-m4")), calls, hosts=[host_compiler])
    assert proof.exact, proof.difference


def test_a_variable_that_nothing_assigns_is_a_constant() -> None:
    data = accumulator(np.ones((1, 4), np.float32))
    module = read(data)
    assert module.states
    file = File()
    main, init = Graph(file, "main"), Graph(file, "init")
    x, handle = main.tensor((1, 4)), main.tensor((1,), "RESOURCE")
    w, y = main.tensor((1, 4)), main.tensor((1, 4))
    main.inputs = (x,)
    main.add("CALL_ONCE", (), (), CallOnceOptions(1))
    main.add("VAR_HANDLE", (), (handle,), VarHandleOptions("", "w"))
    main.add("READ_VARIABLE", (handle,), (w,))
    main.add("MUL", (x, w), (y,), MulOptions())
    own = init.tensor((1,), "RESOURCE")
    value = init.tensor((1, 4), "FLOAT32", np.arange(4, dtype=np.float32))
    init.add("VAR_HANDLE", (), (own,), VarHandleOptions("", "w"))
    init.add("ASSIGN_VARIABLE", (own, value), ())
    constant = Canonicalize()(read(file.write(main.done(y), init.done())))
    assert not constant.states
    assert [p.name for p in constant.params.values()] == ["w"]


def test_a_variable_without_any_value_is_refused() -> None:
    """Converters leave weights out where they were given a function alone."""
    file = File()
    g = Graph(file, "g")
    x, y = g.tensor((1, 4)), g.tensor((1, 4))
    g.inputs, made = (x,), x
    for name in ("kernel", "bias"):
        handle, value, y = g.tensor((), "RESOURCE"), g.tensor((1, 4)), g.tensor((1, 4))
        g.add("VAR_HANDLE", (), (handle,), VarHandleOptions("", name))
        g.add("READ_VARIABLE", (handle,), (value,))
        g.add("MUL", (made, value), (y,), MulOptions())
        made = y
    with pytest.raises(FormatError, match="nothing gives them a value") as caught:
        read(file.write(g.done(y)))
    assert caught.value.problems[0].found == "bias, kernel"


def test_damaged_subgraphs_are_refused_with_their_place() -> None:
    file = File()
    main, body = Graph(file, "main"), Graph(file, "body")
    x, c = main.tensor((2,)), main.tensor((1,), "BOOL", np.array([True]))
    main.inputs = (x,)
    y = main.tensor((2,))
    main.add("IF", (c, x), (y,), IfOptions(1, 1))
    body.inputs = (body.tensor((2,)),)
    body.tensor((2,))
    body.add("NEG", (7,), (1,))
    with pytest.raises(FormatError, match="node 0 of subgraph 1, inputs"):
        read(file.write(main.done(y), body.done(1)))
    wrong = replace(body.done(1), operators=(Operator(0, (), (), IfOptions(0, 0)),))
    with pytest.raises(FormatError, match="wrong number of operands"):
        read(file.write(main.done(y), wrong))
