"""Kernel instances: which C functions a program needs.

A kernel's source is included once for each combination of element types (a signature).
Each instance is a function of its own around it, with parameters, strides and regions fixed at
compile time; steps that agree in those share it.  What is fixed leaves no data behind and no code
for other cases: such functions are smaller than one that serves several layers, not only faster.
A step hands over the rest: a constant struct of addresses, and as arguments what moves in a loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lilliput.codegen.c import Text, number
from lilliput.ir.types import DType
from lilliput.ops.common import c_type
from lilliput.plan.program import Call, View


@dataclass(frozen=True)
class Signature:
    """`types` are the macros that `kernel.source` is included with."""

    kernel: str
    source: str
    types: tuple[tuple[str, str], ...]

    @property
    def suffix(self) -> str:
        kinds = [v for k, v in self.types if k not in ("LL_ADD", "LL_DOT", "LL_R")]
        return "_".join(re.sub(r"_t$", "", kind) for kind in kinds)


@dataclass(frozen=True)
class Field:
    """What an instance is given of a call: a member of its struct, or where it is `moving` in a
    loop an argument."""

    name: str
    type: str
    moving: bool = False

    @property
    def c(self) -> str:
        """Its value in the instance."""
        return self.name if self.moving else f"a->{self.name}"

    @property
    def declaration(self) -> str:
        return f"{self.type}{'' if self.type.endswith('*') else ' '}{self.name}"


@dataclass(frozen=True)
class Instance:
    """`params`: C values of the kernel's parameters; `store` is the body of the epilogue;
    `operands` how many of the inputs belong to it; `known` the C values of views and region;
    `fields` what it is given."""

    signature: Signature
    params: tuple[tuple[str, str], ...]
    store: tuple[str, ...]
    own: int
    operands: int
    known: Known
    fields: tuple[Field, ...]


@dataclass
class Instances:
    """Numbers signatures and instances in order of first use."""

    found: dict[Instance, int] = field(default_factory=dict[Instance, int])
    steps: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def add(
        self, call: Call, step: int, tables: Mapping[View, str], *, looped: bool, strips: bool
    ) -> tuple[int, Instance]:
        """The instance that executes `call`, which may be within a loop, and there strip by strip,
        and its number."""
        params, fixed = call.kernel.params(call.node), call.kernel.specialise
        operands = len(call.store.operands) if call.store else 0
        found, fields = known(call, looped=looped, strips=strips)
        more = {
            n: Field(n, "float" if isinstance(v, float) else "int32_t")
            for n, v in params.items()
            if n not in fixed
        }
        instance = Instance(
            self.signature(call, params),
            tuple((n, more[n].c if n in more else number(v)) for n, v in params.items()),
            tuple(store_lines(call, tables)),
            len(call.inputs) - operands,
            operands,
            found,
            (*fields, *more.values()),
        )
        n = self.found.setdefault(instance, len(self.found))
        self.steps.setdefault(n, []).append(step)
        return n, instance

    def signatures_in_order(self) -> list[Signature]:
        return list(dict.fromkeys(i.signature for i in self.found))

    def signature(self, call: Call, params: Mapping[str, int | float]) -> Signature:
        types = dict(call.kernel.types(call.node))
        types.setdefault("LL_ACC", "int32_t")
        types["LL_Y"] = c_type(call.output.dtype)
        types["LL_R"] = result_type(call.output.dtype)
        if "kh" in params and "kw" in params:
            types["LL_ROWS"] = str(params["kh"])
            types["LL_TAPS"] = str(int(params["kh"]) * int(params["kw"]))
        return Signature(call.kernel.function, call.kernel.source, tuple(sorted(types.items())))


@dataclass(frozen=True)
class Strides:
    """What a view is in C but for its address: `ll_in` without the base.  `first` is None where
    it is known at run time only; `table`: a table says where rows begin, in units of `row`."""

    row: int
    pixel: int
    ring: int | None
    first: int | None
    plane: int
    table: bool = False

    def c(self, base: str, first: str, rows: str) -> str:
        """The C value of the view at `base`; `first` is used where it is not known here, and the
        table `rows` where there is one."""
        ring = "LL_WHOLE" if self.ring is None else str(self.ring)
        known = first if self.first is None else str(self.first)
        table = rows if self.table else "0"
        return f"{{{base}, {self.row}, {self.pixel}, {ring}, {known}, {self.plane}, {table}}}"


def strides(call: Call) -> tuple[list[Strides], list[Strides]]:
    """Those of a call's inputs and results.

    What has one row is repeated along the rows of the output (stride 0), and what the epilogue
    reads and has one pixel along its pixels.
    """
    out = call.output
    own = len(call.inputs) - (len(call.store.operands) if call.store else 0)
    inputs = [
        _strides(
            v,
            row=0 if v.rows == 1 and out.rows > 1 else v.row,
            pixel=0 if i >= own and v.pixels == 1 and out.pixels > 1 else v.pixel,
        )
        for i, v in enumerate(call.inputs)
    ]
    return inputs, [_strides(v, row=v.row, pixel=v.pixel) for _, v in call.results()]


def _strides(view: View, row: int, pixel: int) -> Strides:
    moves = view.counter is not None or view.block is not None
    first, tabled = None if moves else view.shift, view.places is not None
    row = view.unit if tabled else row
    return Strides(row, pixel, view.ring, first, view.channel, tabled)


@dataclass(frozen=True)
class Known:
    """C values of the views, the region and the scratch of a call within its instance: numbers, and
    what it is given."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    region: str
    scratch: str


def known(call: Call, *, looped: bool, strips: bool) -> tuple[Known, tuple[Field, ...]]:
    """What an instance knows of its call besides parameters, and what it is given: addresses, and
    the bounds of every axis that a loop steps along; with `strips` it does so along pixels."""
    fields: list[Field] = []

    def given(name: str, type: str, *, moving: bool = False) -> str:
        fields.append(Field(name, type, moving))
        return fields[-1].c

    def view(name: str, type: str, view: View, known: Strides) -> str:
        base = given(name, type, moving=view.block is not None)
        first = given(f"{name}_first", "int32_t", moving=True) if known.first is None else ""
        rows = given(f"{name}_rows", "const uint16_t *") if known.table else ""
        return known.c(base, first, rows)

    into, made = strides(call)
    results = (v for _, v in call.results())
    inputs = tuple(
        view(f"in{i}", "const void *", *pair)
        for i, pair in enumerate(zip(call.inputs, into, strict=True))
    )
    outputs = tuple(
        view(f"out{i}", "void *", *pair) for i, pair in enumerate(zip(results, made, strict=True))
    )
    bounds: list[str] = []
    region = call.region
    for axis, reach in (("y", region.y), ("x", region.x), ("c", region.c)):
        if (looped and reach.step != 0) or (strips and axis == "x"):
            bounds += [given(f"{axis}{end}", "int32_t", moving=True) for end in (0, 1)]
        else:
            bounds += map(str, reach.at(0))
    scratch = "0"
    if call.scratch is not None:
        scratch = given("scratch", "void *", moving=call.scratch.places is not None)
    return Known(inputs, outputs, f"{{{', '.join(bounds)}}}", scratch), tuple(fields)


def result_type(dtype: DType) -> str:
    return c_type(dtype) if dtype in (DType.F32, DType.S64) else "int32_t"


def store_lines(call: Call, tables: Mapping[View, str]) -> list[str]:
    """The body of the function from accumulator to element."""
    if call.store is None:
        return ["(void)at;", f"return ({result_type(call.output.dtype)})acc;"]
    store = call.store
    lines: list[str] = []
    text = " ".join(t for _, t in store.statements)
    if "@acc@" not in text:
        lines.append("(void)acc;")
    if not re.search(r"@\d+@", text):
        lines.append("(void)at;")

    def token(match: re.Match[str]) -> str:
        kind, index = match.group(1), int(match.group(2))
        if kind == "t":
            return tables[store.tables[index]]
        return f"v{index}" if kind == "v" else load(call, index)

    for i, (kind, expression) in enumerate(store.statements):
        c = re.sub(r"@([vt]?)(\d+)@", token, expression.replace("@acc@", "acc"))
        lines.append(f"const {kind} v{i} = {c};")
    lines.append(f"return v{len(store.statements) - 1};")
    return lines


def load(call: Call, index: int) -> str:
    """The C expression of epilogue operand `index` at the current place."""
    assert call.store is not None
    view, out = call.store.operands[index], call.output
    pixel = 0 if view.pixels == 1 and out.pixels > 1 else view.pixel // view.dtype.itemsize
    x = f"at->x * {pixel}" if pixel and out.pixels > 1 else ""
    c = ""
    if view.channels > 1:
        step = view.channel // view.dtype.itemsize
        channel = "at->c" if view.channels == out.channels else "(at->c >> 3)"  # bits of bytes
        c = channel if step == 1 else f"{channel} * {step}"
    where = " + ".join(part for part in (x, c) if part) or "0"
    return f"((const {c_type(view.dtype)} *)(const void *)at->row[{index}])[{where}]"


def kernel_path(source: str) -> str:
    """Where a kernel's source lies in the output: no `.c`, for it is included, not compiled."""
    return f"kernels/{source.removesuffix('.c')}.inc"


def write_signature(text: Text, signature: Signature, folder: str) -> None:
    """Includes a kernel's source for one combination of types."""
    text.add(f"#define LL_NAME(kernel) ll_##kernel##_{signature.suffix}")
    text.extend(f"#define {name} {value}" for name, value in signature.types)
    text.add(f'#include "{folder}/{kernel_path(signature.source)}"')
    text.extend(f"#undef {name}" for name, _ in (("LL_NAME", ""), *signature.types))
    text.add("")


def write_instance(text: Text, prefix: str, number_: int, instance: Instance) -> None:
    """The epilogue and the function of one instance."""
    types = dict(instance.signature.types)
    kernel, n = instance.signature.kernel, number_
    store, head = f"{prefix}_store{n}", f"{types['LL_R']}"
    with text.function(f"LL_INLINE {head} {store}(const ll_at *at, {types['LL_ACC']} acc)"):
        text.extend(instance.store)
    still = [f for f in instance.fields if not f.moving]
    with text.block("typedef struct", f"}} {prefix}_call{n};"):
        text.extend(f"{f.declaration};" for f in still)
    moving = "".join(f", {f.declaration}" for f in instance.fields if f.moving)
    with text.function(f"LL_NOINLINE void {prefix}_{kernel}{n}(const {prefix}_call{n} *a{moving})"):
        params = ", ".join(f".{name} = {value}" for name, value in instance.params)
        text.add(f"const ll_{kernel}_params p = {{{params}}};")
        known = instance.known
        inputs = known.inputs or ("{0, 0, 0, LL_WHOLE, 0, 0, 0}",)
        given = (("in", "ll_in", inputs), ("out", "ll_out", known.outputs))
        for name, type, views in given:
            with text.block(f"const {type} {name}[{len(views)}] =", "};"):
                text.extend(f"{view}," for view in views)
        text.add(f"const ll_region r = {known.region};")
        text.add(
            f"ll_{kernel}_{instance.signature.suffix}(&p, in, out, &r, {known.scratch}, "
            f"in + {instance.own}, {instance.operands}, {store});"
        )
        text.add("LL_STEP_END();")
