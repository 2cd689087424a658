"""What decides which nodes there are, and what lives across calls.

WHILE is unrolled: its condition has to follow from constants.  So does IF where it can be;
else both branches are computed and one is chosen, element by element.  A variable is known by
its name; `variables` says what it is at each point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.frontends.tflite.options import (
    CallOnceOptions,
    IfOptions,
    VarHandleOptions,
    WhileOptions,
)
from lilliput.frontends.tflite.tensors import Operand, Variable
from lilliput.ir import Value
from lilliput.ops.compare import select
from lilliput.ops.shape import Reshape, reshape

MAX_TRIPS = 4096
_HINT = "export the model with loops and conditions that depend on shapes and constants alone"


def _known(call: Call, value: Operand) -> bool | None:
    """A condition, where constants determine it."""
    data = call.tensors.folding.array(value) if isinstance(value, Value) else None
    return None if data is None or data.size != 1 else bool(np.asarray(data).reshape(()))


def _condition(call: Call, value: Operand) -> bool:
    known = _known(call, value)
    if known is None:
        found = f'"{value.name}", {value.type}' if isinstance(value, Value) else value
        raise call.refuse("condition is computed at run time", found=found, hint=_HINT)
    return known


def _operands(call: Call, first: int) -> list[Operand]:
    return [call.operand(k) for k in range(first, len(call.inputs))]


def _if(call: Call) -> Sequence[Operand]:
    o, condition, operands = call.options(IfOptions), call.operand(0), _operands(call, 1)
    known = _known(call, condition)
    if known is not None or not isinstance(condition, Value):
        branch = o.then_graph if _condition(call, condition) else o.else_graph
        return call.scope.inline(branch, operands, call.where)
    with call.scope.variables.unchanged(call.where):
        branches = [
            call.scope.inline(graph, operands, call.where) for graph in (o.then_graph, o.else_graph)
        ]
    counts = [len(branch) for branch in branches]
    if counts[0] != counts[1]:
        raise FormatError(
            "branches give different numbers of results",
            where=call.where,
            expected=counts[0],
            found=counts[1],
        )
    pairs = enumerate(zip(*branches, strict=True))
    return [_chosen(call, condition, pair, k) for k, pair in pairs]


def _chosen(call: Call, condition: Value, pair: Sequence[Operand], k: int) -> Operand:
    """Result `k` of the branch that holds: both are computed, which nobody can tell."""
    a, b = pair
    if not isinstance(a, Value) or not isinstance(b, Value) or a.type != b.type:
        if a == b:
            return a
        raise call.refuse(
            "branches differ in what they give, and which holds is known at run time only",
            expected=f"results of one type, result {k}",
            found=f"{a} and {b}",
            hint=_HINT,
        )
    call.tensors.settle(call.outputs[k], a.type.shape)
    flag = call.between(reshape, (condition,), Reshape((1,) * len(a.type.shape)), f"/flag{k}")
    return call.emit(select, (flag, a, b), None, type=a.type, result=k)


def _while(call: Call) -> Sequence[Operand]:
    o, values = call.options(WhileOptions), _operands(call, 0)
    for _ in range(MAX_TRIPS):
        answer = call.scope.inline(o.condition_graph, values, call.where)
        if len(answer) != 1:
            raise FormatError(
                "condition of a loop", where=call.where, expected="one result", found=len(answer)
            )
        if not _condition(call, answer[0]):
            return values
        values = call.scope.inline(o.body_graph, values, call.where)
    raise call.refuse("loop does not end", expected=f"at most {MAX_TRIPS} trips", hint=_HINT)


def _call_once(call: Call) -> Sequence[Operand]:
    variables = call.scope.variables
    variables.starting = True
    try:
        call.scope.inline(call.options(CallOnceOptions).init_graph, (), call.where)
    finally:
        variables.starting = False
    return ()


def _var_handle(call: Call) -> Sequence[Operand]:
    o = call.options(VarHandleOptions)
    name = "/".join(part for part in (o.container, o.shared_name) if part)
    return (Variable(name or call.origin),)


def _variable(call: Call) -> str:
    operand = call.operand(0)
    if not isinstance(operand, Variable):
        raise FormatError("operand is not a variable", where=call.where, found=operand)
    return operand.name


def _read_variable(call: Call) -> Value:
    return call.scope.variables.read(_variable(call), call.out, call.where)


def _assign_variable(call: Call) -> Sequence[Operand]:
    call.scope.variables.assign(_variable(call), call.value(1))
    return ()


_NOTHING = (0, 0)
_MANY = (0, 4096)

READ = {
    "ASSIGN_VARIABLE": Row(_assign_variable, (2, 2), frozenset(), (), _NOTHING),
    "CALL_ONCE": Row(_call_once, _NOTHING, frozenset(), (), _NOTHING),
    "IF": Row(_if, (1, 4096), frozenset(), (), _MANY),
    "READ_VARIABLE": Row(_read_variable, (1, 1), frozenset(), ()),
    "VAR_HANDLE": Row(_var_handle, _NOTHING, frozenset(), ()),
    "WHILE": Row(_while, _MANY, frozenset(), (), _MANY),
}

WRITE: dict[str, Rule] = {}
