"""A PyTorch module and an example become a `Traced`, through `torch.export`.

The only file that talks to torch.  Composite operators that `operators.READ` has a builder for
are kept whole; all others are taken apart by torch's own decompositions.  Whatever torch raises
leaves as one error that names the line of the user's code.
"""

from __future__ import annotations

import logging
import sysconfig
import traceback
import warnings
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lilliput.errors import LilliputError, Problem, UnsupportedError, UsageError
from lilliput.frontends.torch.program import Argument, Held, Ref, Spec, Step, Traced
from lilliput.optional import need

ELEMENTS = ("float32", "int32", "int64", "bool")
"""Of the inputs of a network."""
REASONS = (
    (
        "data-dependent",
        "a branch, a loop or a Python number depends on the data: choose by torch.where instead",
    ),
    ("numpy", "NumPy is not captured: compute with torch's functions"),
    ("must be registered as buffer", "make it a state: self.register_buffer(name, tensor)"),
    ("positional argument", "an example of several arguments is a tuple, by name it is a dict"),
    ("unexpected keyword", "an example of several arguments is a tuple, by name it is a dict"),
)
OTHER_REASON = "the module has to run on this example by itself: module(example)"
MAX_REASON = 500
ASSIGNED = r"(?!.*\._flat_weights).*must be registered as buffer"
"""What torch warns of where forward keeps a tensor in an attribute; its own RNNs list weights."""


def capture(module: Any, example: Any, kept: Collection[str], batch: int = 1) -> Traced:
    """What `module` computes for inputs like `example`; a program that torch.export made has its
    shapes already, and no example.

    kept : names of operators that are not taken apart
    Raises UsageError for a module or an example of another kind, UnsupportedError for what
    cannot be captured.
    """
    torch = need("torch", "torch", "PyTorch modules")
    given: tuple[Any, Any] = ((), {})
    ready = isinstance(module, torch.export.ExportedProgram)
    if ready:
        _check_program(torch, module, example)
    else:
        _check_module(torch, module)
        given = _arguments(torch, example)
    with quiet(), torch.no_grad():
        try:
            program = module if ready else torch.export.export(module, *given)
            table = torch.export.default_decompositions()
            for op in [op for op in table if _operator(op) in kept]:
                table.pop(op)
            program = program.run_decompositions(table)
        except Exception as e:
            raise _uncaptured(torch, e) from None
    traced = _Reading(torch, program).traced()
    _check_batch(traced, _leading(traced, torch, program), batch)
    return traced


@contextmanager
def quiet() -> Generator[None]:
    """Without what torch warns of and logs: its errors say it, and ours in the user's words."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=ASSIGNED)
            yield
    finally:
        logger.setLevel(level)


# What is given ----------------------------------------------------------------------------


def _check_module(torch: Any, module: Any) -> None:
    if not isinstance(module, torch.nn.Module):
        kind = type(module).__name__
        expected = "torch.nn.Module or torch.export.ExportedProgram"
        raise UsageError("not a PyTorch module", expected=expected, found=kind)
    training = [name or "the module" for name, m in _parts(torch, module) if m.training]
    if training:
        raise UsageError(
            "module is in training mode: dropout and batch norm would do something else",
            found=_few(training),
            hint="call module.eval() first",
        )
    held = [*module.named_parameters(), *module.named_buffers()]
    other = [
        f"{name} {_dtype(t)}"
        for name, t in held
        if (t.is_floating_point() or t.is_complex()) and t.dtype is not torch.float32
    ]
    if other:
        raise UnsupportedError(
            "parameters of this type", expected="float32", found=_few(other), hint="module.float()"
        )
    _check_held(torch, held)


def _parts(torch: Any, module: Any) -> list[tuple[str, Any]]:
    """The modules that would do something else after eval().  A graph, as torch.export and PT2E
    make them, has that written into its operators, and only calls what it has left whole."""
    if not isinstance(module, torch.fx.GraphModule):
        return list(module.named_modules())
    called = [str(n.target) for n in module.graph.nodes if n.op == "call_module"]
    found = [(name, module.get_submodule(name)) for name in called]
    return [(n, m) for n, m in found if not type(m).__module__.startswith("torch.export")]


def _check_program(torch: Any, program: Any, example: Any) -> None:
    if example is not None:
        raise UsageError("a program has its shapes already", expected="no example")
    nodes = [n for n in program.graph.nodes if n.op == "placeholder"]
    shapes = {n.name: getattr(n.meta.get("val"), "shape", ()) for n in nodes}
    open = [n for n, s in shapes.items() if not all(isinstance(d, int) for d in s)]
    if open:
        raise UnsupportedError(
            "the program has inputs of a dynamic shape",
            found=_few(open),
            hint="export it without dynamic_shapes, for one sample",
        )
    _check_held(torch, [*program.state_dict.items(), *program.constants.items()])


def _check_held(torch: Any, held: Sequence[tuple[str, Any]]) -> None:
    """Raises UsageError or UnsupportedError for parameters and buffers that cannot be read."""
    held = [(name, t) for name, t in held if isinstance(t, torch.Tensor)]
    away = [f"{name} on {t.device}" for name, t in held if t.device.type != "cpu"]
    if away:
        raise UsageError("module is on another device", found=_few(away), hint="module.cpu()")
    broken = [n for n, t in held if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if broken:
        raise UsageError("parameters hold NaN or infinity", found=_few(broken))


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _arguments(torch: Any, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """(args, kwargs) of forward, arrays as tensors; raises UsageError with all that is wrong."""
    tree = torch.utils._pytree
    single = isinstance(example, torch.Tensor | np.ndarray)
    args = (example,) if single else example
    if not isinstance(args, tuple | dict):
        raise UsageError(
            "not an example",
            expected="a tensor, a tuple of arguments, or a dict of them by name",
            found=type(example).__name__,
        )
    leaves, spec = tree.tree_flatten(args)
    problems, tensors = list[Problem](), list[Any]()
    for k, leaf in enumerate(leaves):
        where = f"example, input {k}"
        found, problem = _tensor(torch, leaf, where)
        tensors.append(found)
        problems += [problem] if problem else []
    if not any(isinstance(t, torch.Tensor) for t in tensors) and not problems:
        problems.append(Problem("the example has no tensor", "example"))
    if problems:
        raise UsageError(problems)
    given: Any = tree.tree_unflatten(tensors, spec)
    return (given, {}) if isinstance(args, tuple) else ((), given)


def _tensor(torch: Any, leaf: Any, where: str) -> tuple[Any, Problem | None]:
    """`leaf` as a tensor, or what is wrong with it.  Plain Python values stay: they are fixed."""
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf, None
    if _is_array(leaf):
        leaf = torch.from_numpy(np.array(leaf))
    if not isinstance(leaf, torch.Tensor):
        return None, Problem("not a tensor", where, "torch.Tensor", type(leaf).__name__)
    dtype = _dtype(leaf)
    if dtype not in ELEMENTS:
        hint = "example.float()" if leaf.is_floating_point() else ""
        return None, Problem("element type", where, ", ".join(ELEMENTS), dtype, hint)
    if leaf.device.type != "cpu":
        return None, Problem("on another device", where, "cpu", str(leaf.device), "example.cpu()")
    if leaf.layout is not torch.strided:
        return None, Problem("not a dense tensor", where, found=str(leaf.layout))
    if leaf.numel() == 0:
        return None, Problem("no elements", where, found=str(tuple(leaf.shape)))
    if leaf.is_floating_point() and not bool(torch.isfinite(leaf).all()):
        return None, Problem("holds NaN or infinity", where)
    return leaf.detach(), None


def _leading(traced: Traced, torch: Any, program: Any) -> set[int | None]:
    """The first extents of every input and every output; None of one without axes."""
    values: dict[str, Any] = {n.name: n.meta.get("val") for n in program.graph.nodes}
    shapes = [spec.shape for spec in traced.inputs.values()]
    for _, ref in traced.outputs:
        value: Any = values.get(ref.name)
        value = value if isinstance(value, torch.Tensor) else value[ref.index]
        shapes.append(_spec(torch, value).shape)
    return {shape[0] if shape else None for shape in shapes}


def _check_batch(traced: Traced, leading: set[int | None], batch: int) -> None:
    """Refuses what looks like several samples: one extent in front of everything."""
    ranks = [len(s.shape or ()) for s in traced.inputs.values()]
    if len(leading) != 1 or min(ranks, default=0) < 2:
        return
    (found,) = leading
    if found not in (None, 1, batch):
        raise UnsupportedError(
            f"the example seems to be a batch of {found}: firmware sees one sample a call",
            hint=f"give one, example[:1]; or say batch={found} if a call shall take them all",
        )


# What torch says --------------------------------------------------------------------------


def _uncaptured(torch: Any, error: Exception) -> LilliputError:
    """The error to raise for one of torch.export."""
    home = str(Path(torch.__file__).parent)
    where, seen, cause = "", set[int](), error
    while id(cause) not in seen:
        seen.add(id(cause))
        frames = [f for f in traceback.extract_tb(cause.__traceback__) if _is_users(f, home)]
        if frames:
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
            where += f" `{frames[-1].line}`" if frames[-1].line else ""
        cause = cause.__cause__ or cause.__context__ or cause
    text = f"{type(error).__name__}: {error}"
    hint = next((h for mark, h in REASONS if mark in text.lower()), OTHER_REASON)
    reason = text.split("\n\n")[0][:MAX_REASON]
    return UnsupportedError(
        "torch.export cannot capture the module", where=where, found=reason, hint=hint
    )


def _is_users(frame: traceback.FrameSummary, home: str) -> bool:
    ours, library = str(Path(__file__).parents[2]), sysconfig.get_paths()["stdlib"]
    name = frame.filename
    if name.startswith(library) and "site-packages" not in name:
        return False
    return not name.startswith((home, ours, "<")) and "/torch/" not in name.replace("\\", "/")


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _operator(target: Any) -> str:
    """The name in the table: aten.conv2d.default is "conv2d.default"; other namespaces stay."""
    return str(target).removeprefix("aten.")


# The graph --------------------------------------------------------------------------------


class _Reading:
    """The graph of an ExportedProgram on its way into plain data."""

    def __init__(self, torch: Any, program: Any):
        self.torch = torch
        self.program = program
        self.signature = program.graph_signature
        self.home = str(Path(torch.__file__).parent)
        self.refs: dict[str, Ref] = {}

    def traced(self) -> Traced:
        nodes = list(self.program.graph.nodes)
        placeholders = {n.name: n for n in nodes if n.op == "placeholder"}
        steps: list[Step] = []
        for node in nodes:
            if node.op in ("placeholder", "output"):
                self.refs.setdefault(node.name, Ref(node.name))
            elif node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
                source, index = node.args
                self.refs[node.name] = Ref(source.name, index)
            else:
                self.refs[node.name] = Ref(node.name)
                steps.append(self._step(node))
        inputs, held = self._held(placeholders)
        updates = self._updates()
        states = {n: (h, updates[h.path]) for n, h in held.items() if h.path in updates}
        constants = {n: h for n, h in held.items() if n not in states}
        return Traced(inputs, constants, states, tuple(steps), self._outputs())

    def _held(self, placeholders: Mapping[str, Any]) -> tuple[dict[str, Spec], dict[str, Held]]:
        inputs, held = dict[str, Spec](), dict[str, Held]()
        program = self.program
        for spec in self.signature.input_specs:
            name = getattr(spec.arg, "name", "")
            value = placeholders[name].meta.get("val") if name in placeholders else None
            if spec.kind.name == "USER_INPUT":
                if isinstance(value, self.torch.Tensor):
                    inputs[name] = _spec(self.torch, value)
                continue
            data = program.state_dict.get(spec.target, program.constants.get(spec.target))
            if isinstance(data, self.torch.Tensor):
                array = data.detach().contiguous().numpy().copy()
                held[name] = Held(spec.target, array)
        return inputs, held

    def _updates(self) -> dict[str, Ref]:
        """Path of a buffer -> what a call leaves in it."""
        return {
            spec.target: self.refs[spec.arg.name]
            for spec in self.signature.output_specs
            if spec.kind.name == "BUFFER_MUTATION"
        }

    def _outputs(self) -> tuple[tuple[str, Ref], ...]:
        """Inputs that the module changes in place stay what they are: they are no outputs."""
        tree = self.torch.utils._pytree
        specs = [s for s in self.signature.output_specs if s.kind.name == "USER_OUTPUT"]
        shape = self.program.call_spec.out_spec
        paths, _ = tree.tree_flatten_with_path(tree.tree_unflatten(list(range(len(specs))), shape))
        found: list[tuple[str, Ref]] = []
        for (path, _), spec in zip(paths, specs, strict=True):
            name = getattr(spec.arg, "name", None)
            if name in self.refs:
                found.append((_path_name(path), self.refs[name]))
        return tuple(found)

    def _step(self, node: Any) -> Step:
        target = node.target
        schema = getattr(target, "_schema", None)
        arguments: dict[str, Argument] = {}
        if schema is not None:
            for k, a in enumerate(schema.arguments):
                default = a.default_value if a.has_default_value() else None
                given = node.args[k] if k < len(node.args) else node.kwargs.get(a.name, default)
                arguments[a.name] = self._argument(given)
        value: Any = node.meta.get("val")
        values: list[Any] = list(value) if _is_many(value) else [value]
        source, text = self._source(node.meta.get("stack_trace") or "")
        name = str(target) if node.op != "call_function" else _operator(target)
        results = tuple(_spec(self.torch, v) for v in values)
        return Step(node.name, name, arguments, results, self._label(node), source, text)

    def _argument(self, a: Any) -> Argument:
        if hasattr(a, "op") and hasattr(a, "target"):
            return self.refs.get(a.name, Ref(a.name))
        if _is_many(a):
            return tuple(self._argument(x) for x in a)
        if isinstance(a, self.torch.dtype):
            return str(a).removeprefix("torch.")
        return a if isinstance(a, bool | int | float | str) else None

    def _label(self, node: Any) -> str:
        """The path of a layer of torch.nn, or that of the user's module and the operator."""
        layers: Any = node.meta.get("nn_module_stack") or {}
        stack: list[Any] = list(layers.values())
        if not stack:
            return node.name
        path, kind = stack[-1][0], str(stack[-1][1])
        if kind.startswith("torch.nn.modules") and path:
            return path
        return f"{path}.{node.name}" if path else node.name

    def _source(self, trace: str) -> tuple[str, str]:
        """("net.py:41", "return self.conv(x)") of the innermost line that is the user's."""
        lines = trace.splitlines()
        for k in range(len(lines) - 1, -1, -1):
            line = lines[k].strip()
            if not line.startswith('File "') or self.home in line or "/torch/nn/" in line:
                continue
            file, _, rest = line[6:].partition('"')
            number = rest.partition("line ")[2].partition(",")[0]
            text = lines[k + 1].strip() if k + 1 < len(lines) else ""
            return f"{Path(file).name}:{number}", text
        return "", ""


def _is_many(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _is_array(value: Any) -> bool:
    """An array that torch has elements for."""
    kind: Any = getattr(value, "dtype", None)
    return isinstance(value, np.ndarray) and kind.kind in "fiub"


def _spec(torch: Any, value: Any) -> Spec:
    if not isinstance(value, torch.Tensor):
        return Spec(None, type(value).__name__)
    fixed = all(isinstance(d, int) for d in value.shape)
    return Spec(tuple(int(d) for d in value.shape) if fixed else None, _dtype(value))


def _path_name(path: Sequence[Any]) -> str:
    """Of a single result "output", of a tuple "output0" ..., else the keys of dicts and fields."""
    parts: list[str] = []
    for key in path:
        for field in ("key", "name", "idx"):
            if hasattr(key, field):
                parts.append(str(getattr(key, field)))
                break
    name = "_".join(parts)
    return f"output{name}" if not name or name[0].isdigit() else name
