"""Kernel instances: which C functions a program needs.

A kernel's source is included once for each combination of element types (a signature).
Each instance is a function of its own around it, with parameters, strides and regions fixed at
compile time; steps that agree in those share it and pass addresses.  What is fixed leaves no
data behind and no code for other cases: such functions are smaller than one that serves
several layers, not only faster.
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
class Instance:
    """`store` is the body of the epilogue; `operands` how many of the inputs belong to it;
    `known` what is fixed of views and region."""

    signature: Signature
    fixed: tuple[tuple[str, int | float], ...]
    store: tuple[str, ...]
    own: int
    operands: int
    known: Known


@dataclass
class Instances:
    """Numbers signatures and instances in order of first use."""

    found: dict[Instance, int] = field(default_factory=dict[Instance, int])
    steps: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def add(
        self, call: Call, step: int, tables: Mapping[View, str], *, looped: bool, strips: bool
    ) -> int:
        """The number of the instance that executes `call`, which may be within a loop, and there
        strip by strip."""
        params = call.kernel.params(call.node)
        operands = len(call.store.operands) if call.store else 0
        instance = Instance(
            self.signature(call, params),
            tuple((n, params[n]) for n in call.kernel.specialise),
            tuple(store_lines(call, tables)),
            len(call.inputs) - operands,
            operands,
            known(call, looped=looped, strips=strips),
        )
        number = self.found.setdefault(instance, len(self.found))
        self.steps.setdefault(number, []).append(step)
        return number

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
    """What an instance fixes of its call besides parameters: C values of the views and the
    region, over its arguments `in`, `out` and `r`."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    region: str


def known(call: Call, *, looped: bool, strips: bool) -> Known:
    """Strides of every view, and the bounds of every axis that a loop does not step along; with
    `strips` it does so along pixels."""
    inputs, outputs = strides(call)
    region = call.region
    bounds: list[str] = []
    for axis, reach in (("y", region.y), ("x", region.x), ("c", region.c)):
        moves = (looped and reach.step != 0) or (strips and axis == "x")
        low, high = reach.at(0)
        bounds += [f"r->{axis}0", f"r->{axis}1"] if moves else [str(low), str(high)]
    return Known(
        tuple(
            v.c(f"in[{i}].base", f"in[{i}].first", f"in[{i}].rows") for i, v in enumerate(inputs)
        ),
        tuple(
            v.c(f"out[{i}].base", f"out[{i}].first", f"out[{i}].rows")
            for i, v in enumerate(outputs)
        ),
        f"{{{', '.join(bounds)}}}",
    )


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
    arguments = (
        f"const ll_{kernel}_params *p, const ll_in *in, const ll_out *out, "
        "const ll_region *r, void *scratch"
    )
    with text.function(f"LL_NOINLINE void {prefix}_{kernel}{n}({arguments})"):
        text.add(f"ll_{kernel}_params q = *p;")
        text.extend(f"q.{name} = {number(value)};" for name, value in instance.fixed)
        inputs = instance.known.inputs or ("{0, 0, 0, LL_WHOLE, 0, 0, 0}",)
        given = (("from", "ll_in", inputs), ("to", "ll_out", instance.known.outputs))
        for name, type, views in given:
            with text.block(f"const {type} {name}[{len(views)}] =", "};"):
                text.extend(f"{view}," for view in views)
        text.add("(void)in;", "(void)r;", f"const ll_region s = {instance.known.region};")
        text.add(
            f"ll_{kernel}_{instance.signature.suffix}(&q, from, to, &s, scratch, "
            f"from + {instance.own}, {instance.operands}, {store});"
        )
        text.add("LL_STEP_END();")
