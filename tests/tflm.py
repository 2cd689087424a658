"""Running .tflite files in other implementations: TFLite Micro, tensor by tensor, and LiteRT.

Both are used as black boxes, and both are optional (see the `oracle` marker).
"""

# tflite_micro and ai_edge_litert ship without types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import faulthandler
import importlib.util
import os
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from lilliput.frontends.tflite.flatbuf import decode
from lilliput.frontends.tflite.schema import IDENTIFIER, Model
from lilliput.ir import Array

T = TypeVar("T")


def isolated(work: Callable[[], T]) -> T:
    """What `work` gives, computed in a child process: others abort on some files that are sound.

    Raises what it raises, RuntimeError where the child ends before it answers.
    """
    if not hasattr(os, "fork"):
        return work()
    for name in ("tflite_micro", "ai_edge_litert.interpreter"):
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)  # once here, or every child imports it again
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        os.close(answer)
        try:
            said: tuple[bool, object] = True, work()
        except (ValueError, RuntimeError) as error:
            said = False, str(error)
        with os.fdopen(told, "wb") as out:
            pickle.dump(said, out)
        os._exit(0)
    os.close(told)
    with os.fdopen(answer, "rb") as heard:
        data = heard.read()
    os.waitpid(child, 0)
    if not data:
        raise RuntimeError("the other implementation ended its process")
    fine, result = cast("tuple[bool, T]", pickle.loads(data))
    if not fine:
        raise RuntimeError(result)
    return result


@dataclass(frozen=True, eq=False)
class Runs:
    """`outputs` in the file's order; `tensors`: name -> data of what nodes have made."""

    outputs: list[Array]
    tensors: dict[str, Array]


class Tflm:
    """A model in the tflite-micro wheel's reference kernels; `keep` preserves all tensors."""

    def __init__(self, data: bytes, *, arena: int = 8 << 20, keep: bool = False):
        from tflite_micro import runtime

        kind = runtime.InterpreterConfig
        config = kind.kPreserveAllTensors if keep else kind.kAllocationRecording
        self.interpreter = runtime.Interpreter.from_bytes(
            data, arena_size=arena, intrepreter_config=config
        )
        graph = decode(data, IDENTIFIER, Model).subgraphs[0]
        self.inputs = [graph.tensors[i] for i in graph.inputs]
        self.count = len(graph.outputs)
        seen = Counter(t.name for t in graph.tensors)
        names = (
            t.name if t.name and seen[t.name] == 1 else f"{t.name or 'tensor'}:{i}"
            for i, t in enumerate(graph.tensors)
        )  # as the reader names what has no name of its own
        named = dict(enumerate(names))
        self.made = {i: named[i] for op in graph.operators for i in op.outputs}
        if not keep:
            self.made = {}

    def run(self, inputs: Sequence[Array]) -> Runs:
        for k, (array, tensor) in enumerate(zip(inputs, self.inputs, strict=True)):
            self.interpreter.set_input(array.reshape(tensor.shape), k)
        self.interpreter.invoke()
        tensors = {
            name: np.array(self.interpreter.GetTensor(i, 0)["tensor_data"])
            for i, name in self.made.items()
        }
        outputs = [np.array(self.interpreter.get_output(k)) for k in range(self.count)]
        return Runs(outputs, tensors)


def run_litert(data: bytes, inputs: Sequence[Array], *, reference: bool = False) -> list[Array]:
    """The outputs of LiteRT's interpreter, of its reference kernels where that is asked for."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    for array, detail in zip(inputs, interpreter.get_input_details(), strict=True):
        shape = np.asarray(detail["shape"]).tolist()
        interpreter.set_tensor(detail["index"], np.reshape(array, shape))
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]
