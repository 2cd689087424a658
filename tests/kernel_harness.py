"""A harness that holds one C kernel against the meaning of its operator, on the host.

`program` builds every sample of an operator on every kernel that takes it, under the
address and undefined-behaviour sanitizers; `run_kernel` calls one of them on random boxes
that cover the result once, from and to views with padded strides, rings and guard bytes.
Knows no operator; kernels are called without an epilogue behind their own `finish`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

import lilliput
from lilliput.ir.build import Builder
from lilliput.ir.graph import Node
from lilliput.ir.op import Kernel, Op, Sample
from lilliput.ir.region import Whole
from lilliput.ir.types import Array, DType, TensorType

CSRC = Path(lilliput.__file__).parent / "codegen" / "csrc"
GUARD = 0xA5


def build(op: Op, sample: Sample) -> Node:
    b = Builder()
    inputs = [b.input(f"x{i}", t) for i, t in enumerate(sample.inputs)]
    b.add_multi(op, inputs, sample.attrs, types=sample.outputs or None, name="y")
    return b.nodes[0]


def random_array(rng: np.random.Generator, t: TensorType, sample: Sample) -> Array:
    if t.dtype.is_float:
        return rng.uniform(sample.low or -1.0, sample.high or 1.0, t.shape).astype(np.float32)
    low, high = t.dtype.bounds
    data = rng.integers(low, high, t.shape, endpoint=True)
    # extreme values are where rounding and saturation go wrong
    data = np.where(rng.random(t.shape) < 0.1, rng.choice([low, high], t.shape), data)
    return data.astype(t.dtype.numpy)


def data_of(sample: Sample, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [random_array(rng, t, sample) for t in sample.inputs]


KERNEL_C = """
#define LL_NAME(x) LL_CAT(x, {tag})
{defines}
static LL_R store_{tag}(const ll_at *at, LL_ACC acc)
{{
    (void)at;
    return (LL_R)({store});
}}
#include "kernels/{source}"
static void run_{tag}(const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{{
    static const ll_{name}_params p = {{{fields}}};
    LL_NAME({name})(&p, in, out, r, scratch, 0, 0, store_{tag});
}}
#undef LL_NAME
{undefines}
"""

MAIN_C = """
#include <stdio.h>
#include <stdlib.h>
static int32_t word(FILE *f)
{
    int32_t v = 0;
    if (fread(&v, 4, 1, f) != 1) {
        abort();
    }
    return v;
}
static void *blob(FILE *f, int32_t *view)
{
    int32_t bytes = word(f);
    void *p = malloc((size_t)bytes);
    for (int k = 0; k < 4; ++k) {
        view[k] = word(f);
    }
    if (!p || fread(p, 1, (size_t)bytes, f) != (size_t)bytes) {
        abort();
    }
    return p;
}
int main(int argc, char **argv)
{
    FILE *f = argc == 3 ? fopen(argv[1], "rb") : 0;
    if (!f) {
        return 2;
    }
    int32_t which = word(f), operands = word(f), bytes = word(f), regions = word(f), v[4];
    ll_in in[LL_AT_MAX];
    void *held[LL_AT_MAX + 1];
    for (int32_t i = 0; i < operands; ++i) {
        held[i] = blob(f, v);
        in[i] = (ll_in){held[i], v[0], v[1], v[2], v[3]};
    }
    int32_t size = word(f);
    fseek(f, -4, SEEK_CUR);
    held[operands] = blob(f, v);
    ll_out out = {held[operands], v[0], v[1], v[2], v[3]};
    void *scratch = malloc((size_t)bytes);
    for (int32_t i = 0; i < regions; ++i) {
        ll_region r = {word(f), 0, 0, 0, 0, 0};
        r.y1 = word(f);
        r.x0 = word(f);
        r.x1 = word(f);
        r.c0 = word(f);
        r.c1 = word(f);
        RUN[which](in, &out, &r, scratch);
    }
    fclose(f);
    f = fopen(argv[2], "wb");
    fwrite(held[operands], 1, (size_t)size, f);
    fclose(f);
    for (int32_t i = 0; i <= operands; ++i) {
        free(held[i]);
    }
    free(scratch);
    return 0;
}
"""

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-unused-function"]


@dataclass(frozen=True)
class Case:
    """One sample on one kernel that takes it, and the kernel's operands in a builder."""

    node: Node
    sample: Sample
    kernel: Kernel
    builder: Builder


def kernel_cases(op: Op) -> Iterator[Case]:
    for sample in op.samples:
        node = build(op, sample)
        for kernel in op.kernels:
            if kernel.accepts(node) is None:
                yield Case(node, sample, kernel, Builder(names={"y", "x0", "x1", "x2"}))


def instance(case: Case, tag: int) -> str:
    kernel, node = case.kernel, case.node
    y = node.output.type.dtype
    c_y = "float" if y.is_float else f"int{8 * y.itemsize}_t"
    types = {"LL_Y": c_y, "LL_R": "float" if y.is_float else "int32_t", **kernel.types(node)}
    store = "acc"
    if kernel.finish is not None:
        store = kernel.finish(case.builder, node).c("acc", lambda value: value.name)
    fields = ", ".join(
        f".{k} = {v!r}f" if isinstance(v, float) else f".{k} = {v}"
        for k, v in kernel.params(node).items()
    )
    return KERNEL_C.format(
        tag=tag,
        defines="\n".join(f"#define {k} {v}" for k, v in types.items()),
        undefines="\n".join(f"#undef {k}" for k in types),
        store=store,
        source=kernel.source,
        name=kernel.name,
        fields=fields,
    )


def program(op: Op, compiler: str, folder: Path) -> tuple[Path, tuple[Case, ...]]:
    """A host program with every case of an operator, under the sanitizers."""
    every = tuple(kernel_cases(op))
    text = ["#define LL_ROWS 64", '#include "ll.h"', '#include "isa/generic.h"']
    text += [instance(case, tag) for tag, case in enumerate(every)]
    run = ", ".join(f"run_{tag}" for tag in range(len(every)))
    kind = "(*RUN[])(const ll_in *, const ll_out *, const ll_region *, void *)"
    text += [f"static void {kind} = {{{run}}};", MAIN_C]
    source, binary = folder / f"{op.name}.c", folder / f"{op.name}-{compiler}"
    source.write_text("\n".join(text))
    flags = ["-O1", "-g", "-ffp-contract=off", f"-I{CSRC}", "-fno-sanitize-recover=all"]
    sanitizers = "-fsanitize=address,undefined"
    command = [compiler, *WARNINGS, *flags, sanitizers, str(source), "-o", str(binary)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return binary, every


def laid_out(
    data: Array, rng: np.random.Generator, dense: bool, ring: bool
) -> tuple[bytes, list[int], Callable[[bytes], Array]]:
    """(bytes, [row, pixel, ring, first], how to read them back) of one view of `data`."""
    rows, pixels, channels = TensorType(data.shape, DType.of(data.dtype)).frame
    size = data.dtype.itemsize
    pixel = size * (channels + (0 if dense else int(rng.integers(0, 3))))
    row = pixel * pixels + (0 if dense else size * int(rng.integers(0, 4)))
    first = int(rng.integers(0, rows)) if ring else 0
    memory = np.full(rows * row, GUARD, np.uint8)
    place = np.zeros(rows * row, bool)
    index = (
        ((np.arange(rows) + first) % rows * row)[:, None, None, None]
        + (np.arange(pixels) * pixel)[:, None, None]
        + (np.arange(channels) * size)[:, None]
        + np.arange(size)
    ).ravel()
    place[index] = True
    memory[index] = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)

    def read(found: bytes) -> Array:
        array = np.frombuffer(found, np.uint8)
        assert (array[~place] == GUARD).all(), "wrote outside of its elements"
        return np.frombuffer(array[index].tobytes(), data.dtype).reshape(data.shape)

    return memory.tobytes(), [row, pixel, rows if ring else 2**31 - 1, first], read


def cuts(rng: np.random.Generator, extent: int, cut: bool) -> list[tuple[int, int]]:
    inner = [int(v) for v in rng.integers(1, extent + 1, 2)] if cut else []
    return list(pairwise(sorted({0, extent, *inner})))


def regions(case: Case, rng: np.random.Generator, cut: bool) -> list[list[int]]:
    """Boxes that cover the result once; rows of the input where a kernel carries sums."""
    rows, pixels, channels = case.node.output.type.frame
    carries = case.kernel.carry(case.node) > 0
    if carries:
        rows = case.node.inputs[0].type.frame[0]
    split = cut and not carries
    assert case.node.op.regions is not None
    whole_pixels = isinstance(case.node.op.regions(case.node)[0][-1], Whole)
    boxes = [
        [*y, *x, *c]
        for y in cuts(rng, rows, cut)
        for x in cuts(rng, pixels, split)
        for c in cuts(rng, channels, split and not whole_pixels)
    ]
    if not carries:
        rng.shuffle(boxes)
    return boxes


def run_kernel(binary: Path, case: Case, which: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    given = data_of(case.sample, seed)
    values = {v.name: d for v, d in zip(case.node.inputs, given, strict=True)}
    (expected,) = case.node.op.ref(case.node, given)
    operands = case.kernel.operands(case.builder, case.node)
    boxes = regions(case, rng, seed > 0)
    bytes_needed = case.kernel.scratch(case.node) + case.kernel.carry(case.node)
    words = [which, len(operands), bytes_needed, len(boxes)]
    blob = np.array(words, np.int32).tobytes()
    for operand in operands:
        constant = operand.value.name not in values
        data = case.builder.params[operand.value.name].data if constant else None
        data = values[operand.value.name] if data is None else data
        dense = constant or case.kernel.dense
        memory, view, _ = laid_out(data, rng, dense, not dense and seed == 2)
        blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    empty = np.frombuffer(bytes([GUARD]) * expected.nbytes, expected.dtype).reshape(expected.shape)
    memory, view, read = laid_out(empty, rng, False, seed == 2)
    blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    blob += np.array(boxes, np.int32).tobytes()
    given_file, found_file = folder / "given.bin", folder / "found.bin"
    given_file.write_bytes(blob)
    command = [str(binary), str(given_file), str(found_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    np.testing.assert_array_equal(read(found_file.read_bytes()), expected)
