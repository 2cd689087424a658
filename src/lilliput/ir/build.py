"""Building graphs by hand: what frontends, passes, gradients and tests use.

    b = Builder()
    x = b.input("x", s8(1, 8, 8, 3, scale=0.1))
    w = b.param("w", weights, quant)
    y = b.add(conv2d, (x, w), Conv2dAttrs(...), type=s8(1, 8, 8, 16, scale=0.2))
    graph = b.graph(outputs=(y,))

Types are checked as nodes are added: `Op.infer` gives the shape and dtype, and the type
that the caller states must agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lilliput.errors import TypeMismatch
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Module, Param, State
from lilliput.ir.op import Attrs, Op
from lilliput.ir.types import Array, DType, Quant, TensorType
from lilliput.ir.verify import check_node


def fresh_name(taken: set[str], stem: str) -> str:
    """`stem` if it is not `taken`, else `stem.1`, `stem.2` ...; it is taken from now on.

    The number is searched for by halves: a file may give one name to everything.
    """
    name = stem
    if stem in taken:
        low, high = 0, 1
        while f"{stem}.{high}" in taken:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if f"{stem}.{middle}" in taken else (low, middle)
        name = f"{stem}.{high}"
    taken.add(name)
    return name


class Builder:
    """Collects values and nodes; `names` may be shared between the entries of a module.

    magnitudes : of states that are known to stay small, by name: the largest
    """

    def __init__(
        self,
        params: dict[str, Param] | None = None,
        names: set[str] | None = None,
        magnitudes: Mapping[str, Array] | None = None,
    ):
        self.magnitudes: Mapping[str, Array] = magnitudes or {}
        self.params: dict[str, Param] = {} if params is None else params
        self.states: dict[str, State] = {}
        self.nodes: list[Node] = []
        self.unrounded: list[str] = []
        self._inputs: list[Value] = []
        self._used: dict[str, None] = {}
        self._names: set[str] = set() if names is None else names

    def fresh(self, stem: str) -> str:
        """A name that nobody has yet."""
        return fresh_name(self._names, stem)

    def input(self, name: str, type: TensorType) -> Value:
        value = Value(self.fresh(name), type)
        self._inputs.append(value)
        return value

    def param(
        self,
        name: str,
        data: Array,
        quant: Quant | None = None,
        dtype: DType | None = None,
    ) -> Value:
        """A constant; `dtype` only where the array's own type does not say it (S4)."""
        type = TensorType(tuple(data.shape), dtype or DType.of(data.dtype), quant)
        return self.use(Param(Value(self.fresh(name), type), data))

    def use(self, param: Param) -> Value:
        """Reads a parameter that exists already (shared with another entry)."""
        self.params[param.name] = param
        self._names.add(param.name)
        self._used[param.name] = None
        return param.value

    def state(self, name: str, type: TensorType, init: Array) -> Value:
        """A value that lives across calls and enters this graph."""
        value = self.input(name, type)
        self.states[value.name] = State(value, init)
        return value

    def read(self, state: State) -> Value:
        """Reads a state that another entry has declared."""
        self._names.add(state.name)
        self._inputs.append(state.value)
        return state.value

    def add(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        *,
        type: TensorType | None = None,
        name: str = "",
        origin: str = "",
    ) -> Value:
        """Adds a node with one output and returns it."""
        return self.add_multi(
            op, inputs, attrs, types=(type,) if type else None, name=name, origin=origin
        )[0]

    def add_multi(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs | None = None,
        *,
        types: Sequence[TensorType] | None = None,
        name: str = "",
        origin: str = "",
    ) -> tuple[Value, ...]:
        attrs = op.attrs() if attrs is None else attrs
        if not isinstance(attrs, op.attrs):
            raise TypeMismatch(
                "wrong attributes",
                where=op.name,
                expected=op.attrs.__name__,
                found=attrs.__class__.__name__,
            )
        where = origin or name or op.name
        types = types or infer(op, attrs, [v.type for v in inputs], where)
        stem = name or op.name
        outputs = tuple(
            Value(self.fresh(stem if i == 0 else f"{stem}:{i}"), t) for i, t in enumerate(types)
        )
        node = Node(op, tuple(inputs), outputs, attrs, origin)
        check_node(node)
        self.nodes.append(node)
        return outputs

    def graph(self, outputs: Sequence[Value]) -> Graph:
        params = tuple(self.params[name].value for name in self._used)
        return Graph(tuple(self._inputs), params, tuple(self.nodes), tuple(outputs))

    def freeze(self, state: str) -> None:
        """Makes a parameter of a state that nothing updates."""
        frozen = self.states.pop(state)
        self._inputs.remove(frozen.value)
        self.use(Param(frozen.value, frozen.init))

    def module(
        self,
        outputs: Sequence[Value],
        *,
        name: str = "model",
        updates: Mapping[str, Value] | None = None,
    ) -> Module:
        """A module of one entry, `infer`; `updates`: state -> what a call leaves in it."""
        entry = "infer"
        states = {
            n: replace(s, updates={entry: updates[n]} if updates and n in updates else {})
            for n, s in self.states.items()
        }
        left = [v for s in states.values() for v in s.updates.values()]
        graph = self.graph([*outputs, *left])
        unrounded = tuple(dict.fromkeys(self.unrounded))
        return Module({entry: graph}, dict(self.params), states, name, unrounded=unrounded)


def infer(op: Op, attrs: Attrs, types: Sequence[TensorType], where: str) -> tuple[TensorType, ...]:
    """`op.infer`, with `where` added to the error it raises."""
    try:
        return op.infer(attrs, types)
    except TypeMismatch as e:
        raise e if e.problems[0].where else _located(e, f"{op.name} {where!r}") from None


def _located(error: TypeMismatch, where: str) -> TypeMismatch:
    p = error.problems[0]
    return TypeMismatch(p.what, where=where, expected=p.expected, found=p.found, hint=p.hint)
