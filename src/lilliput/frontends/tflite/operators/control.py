"""What decides which nodes there are, and what lives across calls.

IF and WHILE are unrolled: their conditions have to follow from constants.  A variable is
known by its name; `variables` says what it is at each point.
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

MAX_TRIPS = 4096
_HINT = "export the model with loops and conditions that depend on shapes and constants alone"


def _condition(call: Call, value: Operand) -> bool:
    data = call.tensors.folding.array(value) if isinstance(value, Value) else None
    if data is None or data.size != 1:
        raise call.refuse("condition is computed at run time", found=value, hint=_HINT)
    return bool(np.asarray(data).reshape(()))


def _operands(call: Call, first: int) -> list[Operand]:
    return [call.operand(k) for k in range(first, len(call.inputs))]


def _if(call: Call) -> Sequence[Operand]:
    o = call.options(IfOptions)
    branch = o.then_graph if _condition(call, call.operand(0)) else o.else_graph
    return call.scope.inline(branch, _operands(call, 1), call.where)


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
