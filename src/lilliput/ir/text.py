"""Modules as text and as files: `parse(print(m)) == m`, and the same bytes every time.

    lilliput 1
    module "model"
    param %w : s8[16,3,3,3] q(0.1, 0)
    state %h : f32[4] saved
    state %n : s32[1] saved settable (2, 10)
    entry infer
      input %x : s8[1,8,8,3] q(0.5, -3)
      use %w
      %y = conv2d(%x, %w) {stride=(1, 1)} : s8[1,6,6,16] q(0.1, -3) @"model/conv"
      return %y
      update %h = %g
      guard %y (-100, 100)
      guard %label (0, 9) below %n

One node a line; names that are not plain words are quoted as in JSON; every attribute is
written, floats so that they read back exactly.  A file is a safetensors container with the
text in its metadata.  Parameters without data are in the text and not among the tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from enum import Enum
from typing import cast, get_type_hints

from lilliput.errors import FormatError, GraphError, ModelError
from lilliput.ir.container import pack, unpack
from lilliput.ir.fields import Literal, fits, resolve
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.module import Guard, Module, Param, State
from lilliput.ir.op import Attrs, Op
from lilliput.ir.types import Array, DType, Quant, TensorType
from lilliput.ir.verify import check_node, verify

VERSION = 1
KEY = "lilliput"
MARK = b'{"__metadata__":{"lilliput":"lilliput '
"""What a module file has from its byte 8 on."""

_WORD = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./:-]*[A-Za-z0-9_])?")
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<name>%[A-Za-z0-9_](?:[A-Za-z0-9_./:-]*[A-Za-z0-9_])?|%(?=\"))"
    r"|(?P<number>-?(?:inf|nan|\d+(?:\.\d*)?(?:e[+-]?\d+)?)\b)"
    r"|(?P<word>\.?[A-Za-z_]\w*)"
    r"|(?P<mark>[()\[\]{},:=@])"
)
MAX_DEPTH = 8
_MARKS = ("saved", "settable")
"""What may stand behind a state's type."""

# Files ------------------------------------------------------------------------------------


def save(module: Module) -> bytes:
    """The file of a module."""
    arrays = {p.name: p.data for p in module.params.values() if p.data is not None}
    arrays |= {s.name: s.init for s in module.states.values()}
    return pack(KEY, print_module(module), arrays)


def load(data: bytes, ops: Callable[[str], Op]) -> Module:
    """The module of a file; raises FormatError or GraphError for anything else."""
    text, arrays = unpack(KEY, data)
    return parse_module(text, arrays, ops)


# Printing ---------------------------------------------------------------------------------


def print_module(module: Module) -> str:
    lines = [f"lilliput {VERSION}", f"module {json.dumps(module.name)}"]
    lines += [f"param {_typed(p.value)}" for p in module.params.values()]
    lines += [f"state {_typed(s.value)}{_marks(s)}" for s in module.states.values()]
    for entry, graph in module.graphs.items():
        lines.append(f"entry {_word(entry)}")
        lines += [f"  {line}" for line in _graph_lines(module, entry, graph)]
    return "\n".join(lines) + "\n"


def _graph_lines(module: Module, entry: str, graph: Graph) -> list[str]:
    lines = [f"input {_typed(v)}" for v in graph.inputs]
    if graph.params:
        lines.append(f"use {_names(graph.params)}")
    lines += [print_node(n) for n in graph.nodes]
    lines.append(f"return {_names(module.outputs(entry))}".rstrip())
    updates = module.updates(entry)
    lines += [f"update %{_word(name)} = {_name(v)}" for name, v in updates.items()]
    guards = module.guards.get(entry, ())
    return lines + [f"guard {_guard(g)}" for g in guards]


def _guard(guard: Guard) -> str:
    below = f" below %{_word(guard.below)}" if guard.below else ""
    return f"%{_word(guard.name)} {_literal((guard.low, guard.high))}{below}"


def _marks(state: State) -> str:
    bounds = f" {_literal(state.bounds)}" if state.bounds else ""
    return "".join(f" {mark}" for mark in _MARKS if getattr(state, mark)) + bounds


def print_node(node: Node) -> str:
    """One line: results, operator, operands, attributes, types, origin."""
    attrs = ", ".join(
        f"{f.name}={_literal(getattr(node.attrs, f.name))}" for f in fields(node.attrs)
    )
    types = ", ".join(_type(v.type) for v in node.outputs)
    origin = f" @{json.dumps(node.origin)}" if node.origin else ""
    braces = f" {{{attrs}}}" if attrs else ""
    return (
        f"{_names(node.outputs)} = {node.op.name}({_names(node.inputs)}){braces} : {types}{origin}"
    )


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else json.dumps(text)


def _name(value: Value) -> str:
    return f"%{_word(value.name)}"


def _names(values: tuple[Value, ...]) -> str:
    return ", ".join(map(_name, values))


def _typed(value: Value) -> str:
    return f"{_name(value)} : {_type(value.type)}"


def _type(type: TensorType) -> str:
    q = type.quant
    if q is None:
        return str(type)
    if q.axis is None and len(q.scale) == len(q.zero_point) == 1:
        return f"{type} q({_literal(q.scale[0])}, {q.zero_point[0]})"
    return f"{type} q({_literal(q.scale)}, {_literal(q.zero_point)}, {_literal(q.axis)})"


def _literal(value: object) -> str:
    if isinstance(value, Enum):
        return f".{value.name}"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        items = [_literal(v) for v in cast("tuple[object, ...]", value)]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    raise GraphError("an attribute cannot be written", found=repr(value))


# Parsing ----------------------------------------------------------------------------------


def parse_module(text: str, params: Mapping[str, Array], ops: Callable[[str], Op]) -> Module:
    """The module of `text`, with data by name from `params`; `ops` finds operators.

    Raises FormatError with line and column where the text is wrong, GraphError where the
    module breaks a rule of the IR.
    """
    module = _Parser(text, params, ops).module()
    verify(module)
    return module


class _Parser:
    def __init__(self, text: str, params: Mapping[str, Array], ops: Callable[[str], Op]):
        self.lines = text.split("\n")
        self.data = params
        self.ops = ops
        self.row = 0
        self.column = 0
        self.params: dict[str, Param] = {}
        self.states: dict[str, State] = {}
        self.updates: dict[str, dict[str, Value]] = {}
        self.guards: dict[str, tuple[Guard, ...]] = {}

    # Tokens ---------------------------------------------------------------------------

    def error(self, what: str, expected: str = "", found: str = "") -> FormatError:
        where = f"line {self.row + 1}, column {self.column + 1}"
        return FormatError(what, where=where, expected=expected, found=found)

    @property
    def line(self) -> str:
        return self.lines[self.row] if self.row < len(self.lines) else ""

    def skip(self) -> None:
        while self.column < len(self.line) and self.line[self.column] == " ":
            self.column += 1

    def peek(self) -> str:
        """The next token of this line, "" at its end."""
        self.skip()
        if self.column == len(self.line):
            return ""
        match = _TOKEN.match(self.line, self.column)
        if match is None:
            raise self.error("no such token", found=self.line[self.column : self.column + 20])
        return match[0]

    def take(self, *wanted: str) -> str:
        token = self.peek()
        if not token or (wanted and token not in wanted):
            expected = " or ".join(wanted) or "more on this line"
            raise self.error("unexpected text", expected, token or "the end of the line")
        self.column += len(token)
        return token

    def accept(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.column += len(token)
        return True

    def end(self) -> None:
        if self.peek():
            raise self.error("more on the line than belongs there", found=self.peek())
        self.row, self.column = self.row + 1, 0

    def string(self) -> str:
        token = self.peek()
        if not token.startswith('"'):
            raise self.error("not a quoted text", '"..."', token)
        try:
            value = str(json.loads(token))
            value.encode()  # fails for halves of surrogate pairs
        except ValueError:
            raise self.error("damaged text", found=token) from None
        self.column += len(token)
        return value

    def name(self) -> str:
        """A value's name, plain or quoted."""
        token = self.peek()
        if not token.startswith("%"):
            raise self.error("not a value", "%name", token or "the end of the line")
        self.column += len(token)
        return token[1:] or self.string()

    def names(self) -> list[str]:
        found = [self.name()]
        while self.accept(","):
            found.append(self.name())
        return found

    # Literals and types -----------------------------------------------------------------

    def literal(self, depth: int = 0) -> Literal:
        """A number, text, true, false, none, tuple; `.NAME` of an enumeration stays text."""
        token = self.peek()
        if token.startswith('"'):
            return self.string()
        if token == "(":
            return self.tuple(depth)
        words: dict[str, Literal] = {"true": True, "false": False, "none": None}
        if token in words:
            self.take()
            return words[token]
        if token.startswith("."):
            return self.take()
        return self.number()

    def tuple(self, depth: int) -> tuple[Literal, ...]:
        if depth >= MAX_DEPTH:
            raise self.error("nested too deeply")
        self.take("(")
        items: list[Literal] = []
        while not self.accept(")"):
            items.append(self.literal(depth + 1))
            if not self.accept(","):
                self.take(")")
                break
        return tuple(items)

    def number(self) -> int | float:
        token = self.take()
        try:
            return int(token) if re.fullmatch(r"-?\d{1,40}", token) else float(token)
        except ValueError:
            raise self.error("not a value of an attribute", found=token) from None

    def integer(self) -> int:
        value = self.number()
        if not isinstance(value, int):
            raise self.error("not an integer", found=str(value))
        return value

    def type(self) -> TensorType:
        token = self.take()
        try:
            dtype = DType(token)
        except ValueError:
            raise self.error("no such element type", found=token) from None
        shape: list[int] = []
        self.take("[")
        while not self.accept("]"):
            shape.append(self.integer())
            if not self.accept(","):
                self.take("]")
                break
        if len(shape) > 32:
            raise self.error("too many axes", "at most 32", str(len(shape)))
        return TensorType(tuple(shape), dtype, self.quant())

    def quant(self) -> Quant | None:
        if not self.accept("q"):
            return None
        self.take("(")
        scale = self.literal()
        self.take(",")
        zero_point = self.literal()
        axis = self.literal() if self.accept(",") else None
        self.take(")")
        scales = scale if isinstance(scale, tuple) else (scale,)
        points = zero_point if isinstance(zero_point, tuple) else (zero_point,)
        sound = fits(scales, tuple[float, ...]) and fits(points, tuple[int, ...])
        if not sound or not fits(axis, int | None):
            raise self.error("not a quantisation", "q(scale, zero point[, axis])")
        return Quant(
            tuple(float(cast(float, s)) for s in scales),
            cast("tuple[int, ...]", points),
            cast("int | None", axis),
        )

    def typed(self) -> Value:
        name = self.name()
        self.take(":")
        return Value(name, self.type())

    # Lines ------------------------------------------------------------------------------

    def module(self) -> Module:
        self.take("lilliput")
        version = self.integer()
        if version != VERSION:
            raise self.error("version of the module format", str(VERSION), str(version))
        self.end()
        self.take("module")
        name = self.string()
        self.end()
        while self.peek() in ("param", "state"):
            self.declaration(self.take() == "state")
        graphs: dict[str, Graph] = {}
        while self.accept("entry"):
            entry = self.string() if self.peek().startswith('"') else self.take()
            if entry in graphs:
                raise self.error("entry is defined twice", found=entry)
            self.end()
            graphs[entry] = self.graph(entry)
        if self.line or self.row < len(self.lines) - 1:
            raise self.error("unexpected text", "param, state or entry", self.peek())
        if not graphs:
            raise self.error("the module has no entry")
        states = {n: replace(s, updates=self.updates[n]) for n, s in self.states.items()}
        return Module(graphs, self.params, states, name, self.guards)

    def declaration(self, state: bool) -> None:
        value = self.typed()
        if value.name in self.params or value.name in self.states:
            raise self.error("name is defined twice", found=value.name)
        data = self.data.get(value.name)
        if not state:
            self.params[value.name] = Param(value, data)
        elif data is None:
            raise self.error("state has no data", "a tensor of this name", value.name)
        else:
            saved, settable = (self.accept(mark) for mark in _MARKS)
            bounds = self.bounds() if self.peek() == "(" else None
            self.states[value.name] = State(value, data, {}, saved, settable, bounds)
            self.updates[value.name] = {}
        self.end()

    def bounds(self) -> tuple[int, int]:
        found = self.literal()
        if not fits(found, tuple[int, int]):
            raise self.error("not the bounds of a setting", "(low, high)", str(found))
        return cast("tuple[int, int]", found)

    def graph(self, entry: str) -> Graph:
        scope: dict[str, Value] = {}
        inputs: list[Value] = []
        params: list[Value] = []
        nodes: list[Node] = []
        while self.accept("input"):
            inputs.append(self.define(self.typed(), scope))
            self.end()
        if self.accept("use"):
            for name in self.names():
                if name not in self.params:
                    raise self.error("no such parameter", found=name)
                params.append(self.define(self.params[name].value, scope))
            self.end()
        while self.peek().startswith("%"):
            nodes.append(self.node(scope))
            self.end()
        self.take("return")
        outputs = [self.known(n, scope) for n in (self.names() if self.peek() else [])]
        self.end()
        while self.accept("update"):
            outputs.append(self.update(entry, scope))
            self.end()
        while self.accept("guard"):
            self.guards[entry] = (*self.guards.get(entry, ()), self.guard(scope))
            self.end()
        return Graph(tuple(inputs), tuple(params), tuple(nodes), tuple(outputs))

    def define(self, value: Value, scope: dict[str, Value]) -> Value:
        if value.name in scope:
            raise self.error("name is defined twice", found=value.name)
        scope[value.name] = value
        return value

    def known(self, name: str, scope: dict[str, Value]) -> Value:
        if name not in scope:
            raise self.error("value is not defined before it is read", found=name)
        return scope[name]

    def update(self, entry: str, scope: dict[str, Value]) -> Value:
        state = self.name()
        if state not in self.states:
            raise self.error("no such state", found=state)
        self.take("=")
        value = self.known(self.name(), scope)
        self.updates[state][entry] = value
        return value

    def guard(self, scope: dict[str, Value]) -> Guard:
        name = self.known(self.name(), scope).name
        bounds = self.literal()
        if not fits(bounds, tuple[float, float]):
            raise self.error("not the bounds of a guard", "(low, high)", str(bounds))
        low, high = cast("tuple[float, float]", bounds)
        return Guard(name, low, high, self.name() if self.accept("below") else "")

    def node(self, scope: dict[str, Value]) -> Node:
        names = self.names()
        self.take("=")
        start = self.column
        try:
            op = self.ops(self.take())
        except GraphError as e:
            self.column = start
            raise self.error(e.problems[0].what, found=e.problems[0].found) from None
        self.take("(")
        inputs = () if self.peek() == ")" else [self.known(n, scope) for n in self.names()]
        self.take(")")
        attrs = self.attrs(op)
        self.take(":")
        types = [self.type()]
        while self.accept(","):
            types.append(self.type())
        if len(types) != len(names):
            raise self.error("number of types", str(len(names)), str(len(types)))
        origin = self.string() if self.accept("@") else ""
        outputs = tuple(self.define(Value(n, t), scope) for n, t in zip(names, types, strict=True))
        node = Node(op, tuple(inputs), outputs, attrs, origin)
        try:
            check_node(node)
        except ModelError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError, AssertionError) as e:
            raise self.error(f"{op.name} cannot take these attributes", found=str(e)) from None
        return node

    def attrs(self, op: Op) -> Attrs:
        """The attributes in braces as `op.attrs`, each checked against its field's type."""
        given: dict[str, object] = {}
        if self.accept("{"):
            while not self.accept("}"):
                self.attr(op, given)
                if not self.accept(","):
                    self.take("}")
                    break
        missing = [
            f.name
            for f in fields(op.attrs)
            if f.name not in given and f.default is MISSING and f.default_factory is MISSING
        ]
        if missing:
            raise self.error(f"{op.name} lacks attributes", ", ".join(missing))
        return op.attrs(**given)

    def attr(self, op: Op, given: dict[str, object]) -> None:
        hints = get_type_hints(op.attrs)
        name = self.take()
        if name not in hints or name in given:
            expected = ", ".join(hints) or "none"
            raise self.error(f"{op.name} has no such attribute, or has it twice", expected, name)
        self.take("=")
        value = resolve(self.literal(), hints[name])
        if not fits(value, hints[name]):
            raise self.error(f"value of attribute {name}", str(hints[name]), str(value))
        given[name] = value
