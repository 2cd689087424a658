"""Random networks over the whole operator table: files, other implementations, C.

Each node is held against the implementation that its operator names for its type.  For that
a network is cut into files of one implementation each, and what the others make is given.
So is a float that others may round otherwise, wherever something is calculated from it:
then the bound of one operator holds for all of them, and no rounding is decided twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.grower import SCALED
from tests.network_steps import STEPS
from tests.networks import Network, networks
from tests.tflm import Tflm, isolated, run_litert
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput.devices.device import Device, load
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find
from lilliput.frontends.tflite import read, write
from lilliput.frontends.tflite.flatbuf import decode, encode
from lilliput.frontends.tflite.operators import WRITE
from lilliput.frontends.tflite.schema import IDENTIFIER, Model
from lilliput.ir import (
    Array,
    Builder,
    DType,
    Graph,
    Module,
    Node,
    Quant,
    Session,
    Value,
    verify,
)
from lilliput.ir.types import f32, s8
from lilliput.ops.compare import comparisons
from lilliput.ops.elementwise import Clamp, clamp
from lilliput.ops.registry import get
from lilliput.ops.unary import Gelu
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan

M4 = load("cortex-m4")
CHECKS = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.function_scoped_fixture,
]

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def examples(share: float) -> settings:
    """A share of the profile's number of examples; those that compile are not shrunk."""
    count = max(2, int(settings().max_examples * share))
    phases = [p for p in Phase if p is not Phase.explain and (share > 0.2 or p is not Phase.shrink)]
    return settings(max_examples=count, suppress_health_check=CHECKS, phases=phases)


def test_every_operator_of_the_format_has_a_step() -> None:
    assert set(STEPS) == set(WRITE)


# Files ------------------------------------------------------------------------------------


def unnamed(data: bytes) -> bytes:
    """The file without names of tensors: what one operator is written as, several are read as."""
    model = decode(data, IDENTIFIER, Model)
    (graph,) = model.subgraphs
    tensors = tuple(replace(t, name="") for t in graph.tensors)
    return encode(replace(model, subgraphs=(replace(graph, tensors=tensors),)), IDENTIFIER)


def check_file(network: Network) -> None:
    """The file of the first entry gives what the module does; reading and writing it settles."""
    module = network.module
    entry = next(iter(module.graphs))
    first = write(module, entry)
    back = read(first, io="float")
    second = write(Canonicalize()(back))
    assert unnamed(write(Canonicalize()(read(second, io="float")))) == unnamed(second)
    for call in network.calls:
        ours = Session(module).run(call.inputs, entry).values
        names = (v.name for v in back.inputs("infer"))
        theirs = Session(back).run(dict(zip(names, call.inputs.values(), strict=True))).outputs
        for value, found in zip(module.outputs(entry), theirs.values(), strict=True):
            assert ours[value.name].tobytes() == found.tobytes(), value.name


@examples(3)
@given(network=networks())
def test_written_and_read_it_is_the_same(network: Network) -> None:
    verify(network.module)
    check_file(network)


# Other implementations --------------------------------------------------------------------

RUNNERS: dict[str, Callable[[bytes], Callable[[Sequence[Array]], list[Array]]]] = {
    "TFLM": lambda data: (
        lambda inputs: isolated(lambda: Tflm(data, arena=1 << 20).run(inputs).outputs)
    ),
    "LiteRT": lambda data: (
        lambda inputs: isolated(lambda: run_litert(data, inputs, reference=True))
    ),
}
EXACT = (
    *("add", "sub", "mul", "div", "squared_difference", "square", "abs", "neg", "sign"),
    *("minimum", "maximum", "select", "clamp", "relu", "relu6", "relu_n1_to_1", "relu_0_to_1"),
    *("floor", "ceil", "round", "sqrt", "dequantize", "cast", "add_n"),
)
"""Operators of elements whose floats are those of IEEE operations: nobody rounds otherwise."""
MOVES = (
    *("broadcast", "concat", "depth_to_space", "gather", "gather_nd", "mirror_pad", "one_hot"),
    *("pad", "reshape", "resize_nearest", "reverse", "reverse_sequence", "slice", "tile"),
    *("space_to_depth", "strided_slice", "transpose", "update_slice"),
)
"""Operators that give the elements that they get."""


def oracle_of(node: Node, values: Mapping[str, Array]) -> str:
    """TFLM, LiteRT, or "" for what only this project defines."""
    named = node.op.held_against(node.inputs[0].type.dtype).split(" ")[0]
    if node.op.name == "clamp":
        named = "TFLM"  # written as an activation by itself
    odd = any(node.op.name in names and is_odd(node, values) for names, is_odd in ODD)
    return named if named in RUNNERS and not odd else ""


def is_scaled(node: Node) -> bool:
    return node.inputs[0].type.dtype in SCALED


def compares_large_scales(node: Node, _: Mapping[str, Array]) -> bool:
    return is_scaled(node) and max(v.type.scale for v in node.inputs) >= 1


def leaps(node: Node, _: Mapping[str, Array]) -> bool:
    """Whether neighbours in an int16 function's table of 513 are more than an int16 apart, or
    the table leaves float32."""
    x = node.inputs[0].type
    if x.dtype is not DType.S16:
        return False
    places = np.append(np.arange(-32768, 32768, 128), 32767).astype(np.int16)
    (y,) = node.op.ref(node, (places,))
    apart = int(np.max(np.abs(np.diff(y.astype(np.int64)))))
    return apart > 32000 or (node.op.name == "exp" and x.scale * 32768 > 88)


def calls_tanh(node: Node, _: Mapping[str, Array]) -> bool:
    """Whether a table is made with the C library's tanh, which is not always the nearest."""
    return is_scaled(node) and isinstance(node.attrs, Gelu) and node.attrs.approximate


def divides_to_nothing(node: Node, values: Mapping[str, Array]) -> bool:
    """Whether a quotient is below half a step."""
    if not is_scaled(node):
        return False
    a, b = (v.type.scale * (values[v.name] - float(v.type.zero_point)) for v in node.inputs)
    return bool(np.any(np.abs(a / b) < 0.6 * node.output.type.scale))


def negates_the_lowest(node: Node, values: Mapping[str, Array]) -> bool:
    """Whether the lowest integer is divided by -1."""
    a, b = (values[v.name] for v in node.inputs)
    return is_scaled(node) and bool(np.any((a == np.iinfo(a.dtype).min) & (b == -1)))


def has_six_axes(node: Node, _: Mapping[str, Array]) -> bool:
    return len(node.output.type.shape) > 5


def leaves_int32(node: Node, values: Mapping[str, Array]) -> bool:
    return bool(np.max(np.abs(values[node.inputs[0].name])) / node.output.type.scale >= 2**31)


ODD: tuple[tuple[tuple[str, ...], Callable[[Node, Mapping[str, Array]], bool]], ...] = (
    (tuple(comparisons), compares_large_scales),
    (("gelu",), calls_tanh),
    (("div",), divides_to_nothing),
    (("floor_div",), negates_the_lowest),
    (("quantize",), leaves_int32),
    (("slice",), has_six_axes),
    (("exp", "log", "gelu"), leaps),
)
"""Operators, and where others stop the process or give what docs/numerics.md does not follow."""


def parts(graph: Graph, values: Mapping[str, Array]) -> dict[tuple[str, int], list[Node]]:
    """(implementation, how often floats were given anew) -> nodes that make one file."""
    level: dict[str, int] = {}
    rough: set[str] = set()
    found: dict[tuple[str, int], list[Node]] = {}
    for node in graph.nodes:
        names = [v.name for v in node.inputs]
        moves, y = node.op.name in MOVES, node.output
        at = max((level.get(n, 0) + (n in rough and not moves) for n in names), default=0)
        level[y.name] = at
        exact = (moves and not rough.intersection(names)) or node.op.name in EXACT
        if y.type.dtype.is_float and not exact:
            rough.add(y.name)
        oracle = oracle_of(node, values)
        if oracle:
            found.setdefault((oracle, at), []).append(node)
    return found


def cut(module: Module, nodes: Sequence[Node]) -> Module:
    """A module of these nodes: it is given what they read of others, and gives all they make."""
    made = {n.output.name for n in nodes}
    reads = {v.name: v for n in nodes for v in n.inputs if v.name not in made}
    params = {n: module.params[n] for n in reads if n in module.params}
    inputs = tuple(v for v in reads.values() if v.name not in params)
    graph = Graph(
        inputs,
        tuple(p.value for p in params.values()),
        tuple(nodes),
        tuple(n.output for n in nodes),
    )
    return Module({"infer": graph}, params, {}, "part")


def accepted(oracle: str, part: Module, values: Mapping[str, Array]) -> bool:
    """Whether it runs there; raises AssertionError where it gives anything else."""
    graph = part.graphs["infer"]
    try:
        theirs = RUNNERS[oracle](write(part))([values[v.name] for v in graph.inputs])
    except (ValueError, RuntimeError):
        return False
    for value, other in zip(graph.outputs, theirs, strict=True):
        maker = graph.producers()[value.name]
        what = f"{oracle}, {maker.op.name} {', '.join(str(v.type) for v in maker.inputs)}"
        check_near(values[value.name], other, ONE_OPERATOR, f"{what}: {value.name}")
    return True


def held(module: Module, values: Mapping[str, Array], tally: Counter[str]) -> None:
    """Compares every node that can be; counts operators compared, refused and our own."""
    (graph,) = module.graphs.values()
    for (oracle, _), nodes in parts(graph, values).items():
        if accepted(oracle, cut(module, nodes), values):
            tally.update(f"compared {n.op.name}" for n in nodes)
            continue
        for node in nodes:
            alone = cut(module, (node,))
            found = any(accepted(name, alone, values) for name in dict.fromkeys((oracle, "LiteRT")))
            tally[f"{'compared' if found else 'refused'} {node.op.name}"] += 1
    tally.update(f"own {n.op.name}" for n in graph.nodes if not oracle_of(n, values))


@pytest.mark.slow
@pytest.mark.oracle
def test_it_equals_other_implementations() -> None:
    tally = Counter[str]()

    @examples(5)
    @given(network=networks())
    def look(network: Network) -> None:
        for call in network.calls:
            values = Session(network.module).run(call.inputs, call.entry).values
            held(network.module, values, tally)

    look()
    counts = Counter[str]()
    for key, count in tally.items():
        counts[key.split(" ")[0]] += count
    assert counts["compared"] >= 0.85 * (counts["compared"] + counts["refused"]), tally
    assert counts["compared"] >= 0.6 * counts.total(), tally
    seen = {key.split(" ")[1] for key in tally}
    assert len(seen) >= 0.9 * len(STEPS), set(STEPS) - seen


# C ----------------------------------------------------------------------------------------


def check_c(
    network: Network,
    hosts: Sequence[Toolchain] = (),
    target: tuple[Toolchain, Device] | None = None,
) -> None:
    module = Canonicalize()(network.module)
    verify(module)
    proof = prove(module, plan(module, M4), network.calls, hosts=hosts, target=target)
    assert proof.exact, str(proof.difference)


@examples(0.1)
@given(network=networks(graphs=8))
def test_c_on_the_host_is_numpy(host_compiler: Toolchain, network: Network) -> None:
    check_c(network, hosts=[host_compiler])


@pytest.mark.unicorn
@examples(0.06)
@given(network=networks(graphs=8))
def test_c_on_the_core_is_numpy(network: Network) -> None:
    check_c(network, target=(find(M4.core), M4))


# Found by these networks ------------------------------------------------------------------


def _of_an_enormous_scale(b: Builder, name: str, quant: Quant) -> list[Value]:
    x = b.input("x", s8(1, 5, scale=4017.9, zero_point=127))
    return [b.add(get(name), (x,), type=replace(x.type, quant=quant))]


def _limited_to_one(b: Builder) -> list[Value]:
    return [b.add(clamp, (b.input("x", f32(3, 2)),), Clamp(0.0, 1.0))]


def _returned_as_it_is(b: Builder) -> list[Value]:
    y = b.add(get("abs"), (b.input("x", s8(2, 3)),))
    return [y, b.add(clamp, (y,), Clamp())]


def _written_as_two(b: Builder) -> list[Value]:
    return [b.add(get("arg_min"), (b.input("x", f32(2, 3, 5)),))]


def _compared_with_itself(b: Builder) -> list[Value]:
    y = b.add(get("abs"), (b.input("x", s8(2, 3, scale=0.5)),))
    return [b.add(comparisons["greater_equal"], (y, y))]


FOUND: dict[str, Callable[[Builder], list[Value]]] = {
    "logistic of an enormous scale": lambda b: _of_an_enormous_scale(
        b, "logistic", Quant.per_tensor(2.0**-8, -128)
    ),
    "tanh of an enormous scale": lambda b: _of_an_enormous_scale(
        b, "tanh", Quant.per_tensor(2.0**-7)
    ),
    "a clamp to 0..1": _limited_to_one,
    "a clamp to everything, returned with its operand": _returned_as_it_is,
    "an operator that is written as two": _written_as_two,
    "a value that is compared with itself": _compared_with_itself,
}


def found(name: str) -> Network:
    b = Builder()
    module = b.module(FOUND[name](b))
    (x,) = module.inputs("infer")
    data = np.linspace(-128, 127, x.type.size).astype(x.type.dtype.numpy).reshape(x.type.shape)
    data.flat[-1] = x.type.zero_point
    return Network(module, (Call("infer", {x.name: data}),))


@pytest.mark.oracle
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name: str, host_compiler: Toolchain) -> None:
    network = found(name)
    check_file(network)
    check_c(network, hosts=[host_compiler])
    tally = Counter[str]()
    for call in network.calls:
        held(network.module, Session(network.module).run(call.inputs).values, tally)
    assert all(key.startswith("compared") for key in tally), tally
