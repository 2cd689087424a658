"""The intermediate representation: types, graphs, modules, operators' shape, and tools.

It knows no operator by name and imports nothing of the rest of the package but `errors`.
"""

from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.interp import Run, Session, evaluate
from lilliput.ir.module import Guard, Module, Param, State, finite
from lilliput.ir.op import Attrs, Cost, NoAttrs, Op
from lilliput.ir.types import Array, DType, Quant, TensorType
from lilliput.ir.verify import verify, verify_graph

__all__ = [
    "Array",
    "Attrs",
    "Builder",
    "Cost",
    "DType",
    "Graph",
    "Guard",
    "Module",
    "NoAttrs",
    "Node",
    "Op",
    "Param",
    "Quant",
    "Run",
    "Session",
    "State",
    "TensorType",
    "Value",
    "evaluate",
    "finite",
    "verify",
    "verify_graph",
]
