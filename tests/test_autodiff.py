"""The driver of gradients: what it builds, what it does not build, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from lilliput.errors import GraphError
from lilliput.ir import Builder, Session, Value
from lilliput.ir.types import Array, f32, s8
from lilliput.ops.elementwise import Clamp
from lilliput.ops.gradient import call, constant, mul
from lilliput.ops.registry import get
from lilliput.train.autodiff import gradients


def differentiate(b: Builder, output: Value, *wanted: Value) -> dict[str, Value]:
    """Gradients of the sum of `output`."""
    seed = constant(b, np.ones(output.type.shape))
    return gradients(b, tuple(b.nodes), {output.name: seed}, [v.name for v in wanted])


def value_of(b: Builder, of: Value, **inputs: Array) -> Array:
    return Session(b.module((call(b, "neg", of),))).run(inputs).values[of.name]


def test_what_is_used_twice_gets_the_sum() -> None:
    b = Builder()
    x = b.input("x", f32(3))
    y = mul(b, mul(b, x, x), x)
    found = differentiate(b, y, x)
    data = np.array([1, -2, 3], np.float32)
    assert value_of(b, found["x"], x=data).tolist() == [3, 12, 27]


def test_a_gradient_that_nobody_asked_for_is_not_built() -> None:
    """Two layers: towards the second weight there is no gradient of the first layer."""
    b = Builder()
    x, first, second = (b.input(n, f32(1, 4)) for n in ("x", "first", "second"))
    hidden = call(b, "exp", mul(b, x, first))
    y = mul(b, hidden, second)
    forward = len(b.nodes)
    found = differentiate(b, y, second)
    assert found.keys() == {"second"}
    assert [n.op.name for n in b.nodes[forward:]] == ["mul"]


def test_what_the_loss_does_not_depend_on_has_none() -> None:
    b = Builder()
    x, apart = b.input("x", f32(3)), b.input("apart", f32(3))
    y = call(b, "add", call(b, "floor", x), apart)
    assert differentiate(b, y, x, apart).keys() == {"apart"}


def test_every_operator_without_a_rule_is_named() -> None:
    b = Builder()
    x = b.input("x", f32(2, 3, 4))
    update = b.input("update", f32(1, 1, 1))
    start = b.param("start", np.zeros(3, np.int32))
    put = b.add(get("update_slice"), (x, update, start), origin="first")
    again = b.add(get("update_slice"), (call(b, "exp", put), update, start), origin="second")
    with pytest.raises(GraphError, match=r'"first"[\s\S]*"second"[\s\S]*adding-an-operator'):
        differentiate(b, again, x)


def test_an_operator_without_a_rule_may_stand_beside_the_way() -> None:
    b = Builder()
    x, w = b.input("x", f32(2, 3, 4)), b.input("w", f32(2, 3, 4))
    update, start = b.input("update", f32(1, 1, 1)), b.param("start", np.zeros(3, np.int32))
    put = b.add(get("update_slice"), (x, update, start))
    assert differentiate(b, mul(b, put, w), w).keys() == {"w"}


def test_nothing_passes_what_saturated() -> None:
    """In real units, whatever the scales are."""
    b = Builder()
    x = b.input("x", s8(5, scale=0.5))
    quarter = s8(5, scale=0.125, zero_point=3)
    y = b.add(get("requantize"), (x,), type=quarter)
    found = differentiate(b, y, x)
    data = np.array([-128, -5, 0, 20, 127], np.int8)
    assert value_of(b, found["x"], x=data).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(("low", "high"), [(-7, 90), (-128, 5)])
def test_a_clamp_of_integers_is_one_mask(low: int, high: int) -> None:
    """Which holds for the operator before it as well."""
    b = Builder()
    x, y = (b.input(n, s8(9, scale=0.5)) for n in ("x", "y"))
    both = b.add(get("add"), (x, y), type=s8(9, scale=0.5))
    limited = b.add(get("clamp"), (both,), Clamp(low, high))
    forward = len(b.nodes)
    found = differentiate(b, limited, x)
    assert [n.op.name for n in b.nodes[forward:]] == ["inside"]
    data = np.array([-128, -8, -7, -6, 0, 4, 5, 89, 90], np.int8)
    slope = value_of(b, found["x"], x=data, y=np.zeros(9, np.int8))
    assert slope.tolist() == ((data > low) & (data < high)).astype(float).tolist()
