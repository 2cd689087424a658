"""Modules as text and files: what is printed reads back equal, what is damaged is refused.

Hypothesis draws modules over two operators made here, so that the text is tested without
any real operator; one real network stands at the end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tflite_fuzz_cases import MODULES, mutate

from lilliput.errors import FormatError, GraphError, ModelError
from lilliput.ir import Array, Attrs, Builder, DType, Module, Op, Param, Quant, TensorType
from lilliput.ir.container import pack, unpack
from lilliput.ir.graph import Node
from lilliput.ir.module import State
from lilliput.ir.text import MARK, load, parse_module, print_module, save
from lilliput.ir.types import f32, s8
from lilliput.ops import registry


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


@dataclass(frozen=True)
class Every(Attrs):
    """One field of each kind."""

    count: int
    ratio: float = 0.5
    flag: bool = False
    text: str = ""
    mood: Mood = Mood.CALM
    pair: tuple[int, int] = (1, 2)
    many: tuple[float, ...] = ()
    moods: tuple[Mood, ...] = ()
    maybe: int | None = None
    nested: tuple[tuple[int, ...], ...] = ()


def _same(_: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    return tuple(types)


def _ref(_: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(operands)


EVERY = Op("every", "y = x", _same, _ref, attrs=Every)
NOTHING = Op("nothing", "ys = xs", _same, _ref)


def find(name: str) -> Op:
    if name not in ("every", "nothing"):
        raise GraphError("unknown operator", found=name)
    return EVERY if name == "every" else NOTHING


INT = st.integers(-(2**40), 2**40)
FLOAT = st.floats(allow_nan=False)
NAME = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)
ATTRS = st.builds(
    Every,
    count=INT,
    ratio=FLOAT,
    flag=st.booleans(),
    text=NAME,
    mood=st.sampled_from(Mood),
    pair=st.tuples(INT, INT),
    many=st.lists(FLOAT, max_size=3).map(tuple),
    moods=st.lists(st.sampled_from(Mood), max_size=3).map(tuple),
    maybe=st.none() | INT,
    nested=st.lists(st.lists(INT, max_size=2).map(tuple), max_size=2).map(tuple),
)


@st.composite
def types(draw: st.DrawFn) -> TensorType:
    shape = draw(st.lists(st.integers(1, 4), max_size=3).map(tuple))
    dtype = draw(st.sampled_from([DType.F32, DType.S8, DType.S16, DType.S32, DType.BOOL]))
    if not dtype.is_integer or draw(st.booleans()):
        return TensorType(shape, dtype)
    axis = draw(st.sampled_from([None, *range(len(shape))]))
    count = 1 if axis is None else shape[axis]
    scale = draw(st.lists(st.floats(2.0**-99, 2.0**99, width=32), min_size=count, max_size=count))
    points = draw(st.lists(st.integers(-128, 127), min_size=count, max_size=count))
    return TensorType(shape, dtype, Quant(tuple(scale), tuple(points), axis))


def data(type: TensorType) -> Array:
    return np.arange(type.size).reshape(type.shape).astype(type.dtype.numpy)


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """Two entries over shared parameters and a state; some parameters lack data."""
    b = Builder()
    x = b.input(draw(NAME), draw(types()))
    w = b.param(draw(NAME), np.zeros(2, np.float32))
    held = draw(types())
    h = b.state(draw(NAME), held, data(held))
    values = [x, w, h]
    for _ in range(draw(st.integers(0, 3))):
        source = draw(st.sampled_from(values))
        origin, name = draw(NAME | st.just("")), draw(NAME)
        values.append(b.add(EVERY, (source,), draw(ATTRS), name=name, origin=origin))
    pair = b.add_multi(NOTHING, (values[-1], x), name=draw(NAME))
    after = b.add(NOTHING, (h,), name="after")
    state = State(h, b.states[h.name].init, {"infer": after})
    other = Builder(b.params, {v.name for v in values} | {"after"})
    other.use(b.params[w.name])
    graphs = {"infer": b.graph((*pair, after)), "peek at": other.graph((other.read(state),))}
    params = dict(b.params)
    if draw(st.booleans()):
        params[w.name] = Param(w, None)
    return Module(graphs, params, {h.name: state}, draw(NAME))


def assert_equal(a: Module, b: Module) -> None:
    assert dict(a.graphs) == dict(b.graphs)
    assert list(a.graphs) == list(b.graphs)
    assert a.name == b.name
    assert list(a.params) == list(b.params)
    assert list(a.states) == list(b.states)
    for name, param in a.params.items():
        assert b.params[name].value == param.value
        assert (param.data is None) == (b.params[name].data is None)
        if param.data is not None:
            np.testing.assert_array_equal(param.data, b.params[name].data)
    for name, state in a.states.items():
        assert b.states[name].value == state.value
        assert dict(b.states[name].updates) == dict(state.updates)
        np.testing.assert_array_equal(b.states[name].init, state.init)


@given(modules())
def test_files_read_back_equal(module: Module) -> None:
    file = save(module)
    back = load(file, find)
    assert_equal(module, back)
    assert save(back) == file
    assert print_module(back) == print_module(module)


@pytest.mark.parametrize("name", MODULES)
def test_real_operators_read_back_equal(name: str) -> None:
    module = MODULES[name]()
    assert_equal(module, load(save(module), registry.get))


def small() -> Module:
    b = Builder()
    x = b.input("x", s8(1, 4, scale=0.5, zero_point=-3))
    w = b.param("odd name; w", np.zeros((2, 2), np.float32))
    attrs = Every(7, math.inf, True, 'say "hi"', Mood.WILD, (3, 4), (1.0, 1e-30), (Mood.CALM,))
    y = b.add(EVERY, (x,), attrs, name="model/y:0", origin="layer 1")
    z = b.add_multi(NOTHING, (y, w), name="z")
    return b.module(z, name="small")


NODE = (
    r"""%model/y:0 = every(%x) {count=7, ratio=inf, flag=true, text="say \"hi\"", mood=.WILD, """
    r"""pair=(3, 4), many=(1.0, 1e-30), moods=(.CALM,), maybe=none, nested=()} : """
    r"""s8[1,4] q(0.5, -3) @"layer 1" """.rstrip()
)
TEXT = f"""lilliput 1
module "small"
param %"odd name; w" : f32[2,2]
entry infer
  input %x : s8[1,4] q(0.5, -3)
  use %"odd name; w"
  {NODE}
  %z, %z:1 = nothing(%model/y:0, %"odd name; w") : s8[1,4] q(0.5, -3), f32[2,2]
  return %z, %z:1
"""


def test_text() -> None:
    assert print_module(small()) == TEXT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lilliput 1", "lilliput 2", r"line 1, column \d+: version of the module format"),
        ("lilliput 1", "TVM", "line 1, column 1: unexpected text"),
        ("count=7", "count=1.5", r"line 7, column \d+: value of attribute count"),
        ("count=7, ", "", r"line 7, column \d+: every lacks attributes"),
        ("count=7", "size=7", r"no such attribute"),
        ("mood=.WILD", "mood=.SAD", r"value of attribute mood"),
        ("mood=.WILD", 'mood="WILD"', r"value of attribute mood"),
        ("flag=true", "flag=1", r"value of attribute flag"),
        ("pair=(3, 4)", "pair=(3, 4, 5)", r"value of attribute pair"),
        ("nested=()", "nested=" + "(" * 99, r"nested too deeply"),
        ("every(", "evry(", r"line 7, column 15: unknown operator"),
        ("every(%x)", "every(%q)", r"value is not defined before it is read"),
        ("every(%x)", "every(%x", r"unexpected text"),
        ("s8[1,4] q(0.5, -3) @", "s9[1,4] @", r"no such element type"),
        ("q(0.5, -3)\n  use", "q(0.5, 0.1)\n  use", r"line 5, column \d+: not a quantisation"),
        ('use %"odd name; w"', "use %nobody", r"line 6, column \d+: no such parameter"),
        ("%z, %z:1 = nothing", "%z = nothing", r"number of types"),
        ("%z, %z:1 = nothing", "%x, %z:1 = nothing", r"name is defined twice"),
        ("return %z, %z:1\n", "return %z, %z:1\nmore", r"line 10, column 1: unexpected text"),
        ("return %z, %z:1\n", "", r"line 9, column 3: unexpected text"),
        ("@", "@ ~", r"no such token"),
    ],
)
def test_damaged_text(old: str, new: str, message: str) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(FormatError, match=message):
        parse_module(TEXT.replace(old, new, 1), {}, find)


def test_types_are_checked_after_parsing() -> None:
    with pytest.raises(GraphError, match="output type differs"):
        parse_module(TEXT.replace("s8[1,4] q(0.5, -3) @", "s8[1,5] q(0.5, -3) @"), {}, find)


def test_a_state_needs_its_data() -> None:
    with pytest.raises(FormatError, match=r"line 3, column \d+: state has no data"):
        parse_module('lilliput 1\nmodule "m"\nstate %h : f32[1]\n', {}, find)


def test_the_container_is_safetensors() -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    module = MODULES["convolutional"]()
    file = save(module)
    assert file[8 : 8 + len(MARK)] == MARK
    arrays = numpy.load(file)
    assert arrays.keys() == module.params.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, module.params[name].data)
    other = numpy.save(arrays, metadata={"lilliput": print_module(module)})
    assert_equal(load(other, registry.get), module)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed: int) -> None:
    file = save(replace(small(), name="m" * (seed + 1)))
    for k in range(250):
        damaged = mutate(file, 1000 * seed + k)
        try:
            load(damaged, find)
        except ModelError:
            continue


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "F16"}, "element type"),
        ({"shape": [2, 3]}, "not where the header says"),
        ({"shape": [2**40, 2**40]}, "shape or offsets"),
        ({"shape": "22"}, "shape or offsets"),
        ({"data_offsets": [0, 1 << 30]}, "not where the header says"),
        ({"data_offsets": [True, 16]}, "shape or offsets"),
    ],
)
def test_damaged_container(change: dict[str, object], message: str) -> None:
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **change}
    head = json.dumps({"__metadata__": {"lilliput": TEXT}, "w": entry}).encode()
    with pytest.raises(FormatError, match=message):
        unpack("lilliput", len(head).to_bytes(8, "little") + head + bytes(16))


@pytest.mark.parametrize(
    ("head", "message"),
    [(b"{", "not JSON"), (b"[]", "not an object"), (b"{}", "not a Lilliput module")],
)
def test_damaged_header(head: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        unpack("lilliput", len(head).to_bytes(8, "little") + head)


def test_a_deep_header_is_refused() -> None:
    head = b"[" * 200_000
    with pytest.raises(FormatError, match="not JSON"):
        unpack("lilliput", len(head).to_bytes(8, "little") + head)


def test_bytes_depend_on_contents_alone() -> None:
    a, b = np.ones(3, np.int8), np.zeros(2, np.float32)
    assert pack("k", "t", {"a": a, "b": b}) == pack("k", "t", {"b": b, "a": a})


def test_every_dtype_is_kept() -> None:
    arrays = {d.value: np.ones(3, d.numpy) for d in DType}
    text, back = unpack("k", pack("k", "t", arrays))
    assert text == "t"
    assert {n: a.dtype for n, a in back.items()} == {n: a.dtype for n, a in arrays.items()}
    assert str(f32(2)) == "f32[2]"
