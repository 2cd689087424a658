"""C expressions of element-wise operators, held against NumPy and TFLite Micro, value by value.

`compare_c` compiles the expressions of many cases into one program under sanitizers and
runs it over whole arrays; `exact` runs one node in TFLite Micro.  Knows no operator by
name, and neither loops nor layouts: those are `kernel_harness`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
from tests.tflite_ops import Options, one_op_model, run_tflm

from lilliput.codegen.instances import result_type
from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Op, Sample
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.common import c_type

CSRC = Path(__file__).parents[1] / "src/lilliput/codegen/csrc"
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")

ALL_S8 = np.arange(-128, 128).astype(np.int8)
PAIRS_S8 = [a.ravel() for a in np.meshgrid(ALL_S8, ALL_S8)]
ALL_S16 = np.arange(-32768, 32768).astype(np.int16)
FLOATS = np.concatenate(
    [
        np.linspace(-110, 100, 20001, dtype=np.float32),
        np.linspace(-1, 1, 5001, dtype=np.float32),
        np.geomspace(1e-45, 3e38, 4001).astype(np.float32),
        -np.geomspace(1e-45, 3e38, 4001).astype(np.float32),
        np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 0.625, -0.625], np.float32),
    ]
)


def node_of(op: Op, attrs: Attrs, inputs: Sequence[TensorType], output: TensorType | None) -> Node:
    b = Builder()
    values = [b.input(f"x{i}", t) for i, t in enumerate(inputs)]
    b.add(op, values, attrs, type=output)
    return b.nodes[0]


def ref(node: Node, *operands: Array) -> Array:
    return np.asarray(node.op.ref(node, operands)[0])


def options(name: str) -> Options:
    """An options table of default values: its code in BuiltinOptions and its builder."""

    def build(b: flatbuffers.Builder) -> tuple[int, int]:
        getattr(tflite, f"{name}Start")(b)
        if name == "LeakyReluOptions":
            getattr(tflite, f"{name}AddAlpha")(b, 0.3)
        return getattr(tflite.BuiltinOptions, name), getattr(tflite, f"{name}End")(b)

    return build


def exact(node: Node, builtin: int, option: str | None, *operands: Array, version: int = 1) -> None:
    model = one_op_model(
        builtin,
        [v.type for v in node.inputs],
        [node.output.type],
        options(option) if option else None,
        version=version,
    )
    expected = run_tflm(model, operands)[0]
    found = ref(node, *operands)
    wrong = np.flatnonzero(found.ravel() != expected.ravel())
    assert not wrong.size, (
        f"{node.describe()}: {wrong.size} of {found.size} differ, first at {wrong[0]}: "
        f"{[x.ravel()[wrong[0]] for x in operands if x.size == found.size]} -> "
        f"{found.ravel()[wrong[0]]}, TFLM {expected.ravel()[wrong[0]]}"
    )


def every(t: TensorType) -> Array:
    """Every value of a type of 16 bits at most; else random ones and the extremes."""
    low, high = t.dtype.bounds
    if t.dtype.itemsize <= 2:
        return np.arange(low, high + 1).astype(t.dtype.numpy)
    values = np.random.default_rng(3).integers(low, high + 1, t.size, np.int64)
    values[:3] = low, high, 0
    return values.astype(t.dtype.numpy)


@dataclass(frozen=True)
class Case:
    node: Node
    operands: tuple[Array, ...]


def filled(t: TensorType, sample: Sample, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if t.dtype.is_float:
        low, high = sample.low or -1.0, sample.high or 1.0
        return rng.uniform(low, high, t.shape).astype(np.float32)
    low, high = (0, 1) if t.dtype is DType.BOOL else t.dtype.bounds
    return rng.integers(low, high + 1, t.shape, np.int64).astype(t.dtype.numpy)


def c_of(case: Case, k: int) -> str:
    """Functions that read the operands of case k from stdin and write its results."""
    node, y = case.node, case.node.output.type
    n = y.size
    types = [v.type.dtype for v in node.inputs]
    args = [f"({result_type(d)})x{i}[i]" for i, d in enumerate(types)]
    assert node.op.scalar is not None
    text = node.op.scalar.c(node, args)
    lines: list[str] = []
    for name, data in node.op.scalar.tables(node).items():
        values = ", ".join(map(str, data.tolist()))
        lines.append(f"static const {c_type(DType.of(data.dtype))} t{k}_{name}[] = {{{values}}};")
        text = text.replace("{" + name + "}", f"t{k}_{name}")
    for i, d in enumerate(types):
        lines.append(f"static {c_type(d)} k{k}_x{i}[{n}];")
    lines.append(f"static {c_type(y.dtype)} k{k}_y[{n}];")
    lines.append(f"static void case_{k}(void)\n{{")
    for i, d in enumerate(types):
        lines.append(f"    {c_type(d)} *x{i} = k{k}_x{i};")
        lines.append(f"    if (fread(x{i}, sizeof *x{i}, {n}, stdin) != {n}) exit(3);")
    kind = result_type(y.dtype)
    lines.append(f"    for (int i = 0; i < {n}; ++i) {{")
    lines.append(f"        const {kind} v = {text};")
    lines.append(f"        k{k}_y[i] = ({c_type(y.dtype)})v;")
    if y.dtype.is_integer:
        lines.append(f"        if (({kind})k{k}_y[i] != v) exit(4);")
    lines.append(f"    }}\n    fwrite(k{k}_y, sizeof k{k}_y[0], {n}, stdout);\n}}")
    return "\n".join(lines)


def compare_c(cases: Sequence[Case], folder: Path) -> None:
    """Compiles the expressions of all cases, runs them, and compares with `Op.ref`."""
    source = folder / "cases.c"
    includes = "".join(f'#include "{h}"\n' for h in ("isa/generic.h", "elementwise.h", "float.h"))
    body = "\n".join(c_of(case, k) for k, case in enumerate(cases))
    calls = "".join(f"    case_{k}();\n" for k in range(len(cases)))
    source.write_text(
        f"#include <stdio.h>\n#include <stdlib.h>\n{includes}{body}\n"
        f"int main(void)\n{{\n{calls}    return 0;\n}}\n"
    )
    flags = [*FLAGS, "-O1"]
    flags += ["-fsanitize=undefined,address", "-fno-sanitize-recover=all", f"-I{CSRC}"]
    program = folder / "cases"
    subprocess.run(["gcc", *flags, str(source), "-o", str(program)], check=True, timeout=300)
    data = b"".join(
        np.ascontiguousarray(np.broadcast_to(x, case.node.output.type.shape)).tobytes()
        for case in cases
        for x in case.operands
    )
    run = subprocess.run([str(program)], input=data, capture_output=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    at = 0
    for case in cases:
        y = case.node.output.type
        found = np.frombuffer(run.stdout, y.dtype.numpy, y.size, at)
        at += y.nbytes
        with np.errstate(all="ignore"):
            expected = ref(case.node, *case.operands)
        assert (expected.dtype, expected.shape) == (y.dtype.numpy, y.shape), case.node.describe()
        bits = f"u{y.dtype.itemsize}"
        same = found.view(bits) == expected.ravel().view(bits)
        if y.dtype.is_float:
            same |= np.isnan(found) & np.isnan(expected.ravel())
        bad = np.flatnonzero(~same)
        assert not bad.size, (
            f"{case.node.describe()} {case.node.inputs}: {bad.size} differ, first "
            f"{[np.broadcast_to(x, y.shape).ravel()[bad[0]] for x in case.operands]}: "
            f"C {found[bad[0]]}, NumPy {expected.ravel()[bad[0]]}"
        )
    assert at == len(run.stdout)


needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this host")
