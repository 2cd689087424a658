"""A harness that holds one C kernel against the meaning of its operator, on the host.

`program` builds every sample of an operator on every kernel that takes it, under the
address and undefined-behaviour sanitizers; `run_kernel` calls one of them on random boxes
that cover the result once, from and to views with padded strides, rings and guard bytes.
Knows no operator; kernels are called with their own `finish` and nothing fused behind it,
element-wise operators are the `finish` of the kernel that loops.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

import lilliput
from lilliput.codegen.c import number
from lilliput.ir.build import Builder
from lilliput.ir.graph import Graph, Node, Value
from lilliput.ir.interp import evaluate
from lilliput.ir.module import Param
from lilliput.ir.op import PLAIN, Finish, Kernel, Layout, Op, Operand, Sample
from lilliput.ir.region import Pointwise, Reduce, Whole
from lilliput.ir.types import Array, DType, TensorType
from lilliput.ops.common import c_type
from lilliput.plan.frames import ALL, frame_rule
from lilliput.plan.select import MAP

CSRC = Path(lilliput.__file__).parent / "codegen" / "csrc"
GUARD = 0xA5
S32_RANGE = 100_000


def build(op: Op, sample: Sample) -> Node:
    b = Builder()
    inputs = [b.input(f"x{i}", t) for i, t in enumerate(sample.inputs)]
    b.add_multi(op, inputs, sample.attrs, types=sample.outputs or None, name="y")
    return b.nodes[0]


def random_array(rng: np.random.Generator, t: TensorType, sample: Sample) -> Array:
    if t.dtype.is_float:
        return rng.uniform(sample.low or -1.0, sample.high or 1.0, t.shape).astype(np.float32)
    if t.dtype is DType.BOOL:
        return rng.integers(0, 2, t.shape).astype(bool)
    # sums of a convolution start from int32 values: they must not overflow
    low, high = t.dtype.bounds if t.dtype.itemsize < 4 else (-S32_RANGE, S32_RANGE)
    data = rng.integers(low, high, t.shape, endpoint=True)
    # extreme values are where rounding and saturation go wrong
    data = np.where(rng.random(t.shape) < 0.1, rng.choice([low, high], t.shape), data)
    return data.astype(t.dtype.numpy)


def data_of(sample: Sample, seed: int = 0) -> list[Array]:
    """Random operands; the constants are the same for every seed, as in a network."""
    drawn = [
        random_array(np.random.default_rng([seed, i]), t, sample) for i, t in _numbered(sample)
    ]
    return [constants_of(sample).get(i, data) for i, data in enumerate(drawn)]


def constants_of(sample: Sample) -> dict[int, Array]:
    """Index -> data of the operands that are constants.  int8 weights with a scale for each
    channel are symmetric, as the TFLite specification has them."""
    found: dict[int, Array] = {}
    for i, t in _numbered(sample):
        if i in sample.params:
            data = random_array(np.random.default_rng([0, i]), t, sample)
            symmetric = t.dtype is DType.S8 and t.quant is not None and not t.quant.is_per_tensor
            found[i] = np.maximum(data, -127) if symmetric else data
    return found


def _numbered(sample: Sample) -> list[tuple[int, TensorType]]:
    return list(enumerate(sample.inputs))


KERNEL_C = """
#define LL_NAME(x) LL_CAT(x, {tag})
{defines}
{tables}
static LL_R store_{tag}(const ll_at *at, LL_ACC acc)
{{
    (void)at;
    (void)acc;
    return (LL_R)({store});
}}
#include "kernels/{source}"
static void run_{tag}(const ll_in *in, const ll_out *out, const ll_region *r, void *scratch)
{{
    static const ll_{name}_params p = {{{fields}}};
    LL_NAME({name})(&p, in, out, r, scratch, in + {own}, {count}, store_{tag});
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
    for (int k = 0; k < 5; ++k) {
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
    int32_t which = word(f), operands = word(f), bytes = word(f), regions = word(f), v[5];
    ll_in in[OPERANDS];
    void *held[OPERANDS + 1];
    for (int32_t i = 0; i < operands; ++i) {
        held[i] = blob(f, v);
        in[i] = (ll_in){held[i], v[0], v[1], v[2], v[3], v[4], 0};
        PIXEL[i] = v[1];
    }
    int32_t size = word(f);
    fseek(f, -4, SEEK_CUR);
    held[operands] = blob(f, v);
    ll_out out = {held[operands], v[0], v[1], v[2], v[3], v[4], 0};
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
    """One sample on one kernel that takes it, and what the kernel is called with.

    values : (operand, follows a region) of the kernel, then those of its `finish`
    constants : data of the operands that are not inputs of the node
    """

    node: Node
    sample: Sample
    kernel: Kernel
    operands: tuple[Operand, ...]
    finish: Finish | None
    nodes: tuple[Node, ...]
    constants: dict[str, Array]

    @property
    def values(self) -> tuple[Operand, ...]:
        """All operands in the order of the C array."""
        return (*self.operands, *(Operand(v) for v in (self.finish or NOTHING).operands))

    def given(self, data: list[Array]) -> list[Array]:
        """Data of `values`, packed, for data of the node's inputs."""
        known = {v.name: d for v, d in zip(self.node.inputs, data, strict=True)}
        known = evaluate(Graph((), (), self.nodes, ()), {**self.constants, **known})
        return [operand.packing.pack(known[operand.value.name]) for operand in self.values]


NOTHING = Finish(lambda acc, load: acc)


def kernel_cases(op: Op) -> Iterator[Case]:
    for sample in op.samples:
        node = build(op, sample)
        known = {node.inputs[i].name: data for i, data in constants_of(sample).items()}
        for kernel in (MAP,) if op.scalar else op.kernels:
            if kernel.accepts(node) is None and not (kernel.proof and kernel.proof(node, known)):
                b = Builder(names={"y", *(v.name for v in node.inputs)})
                for value in (v for v in node.inputs if v.name in known):
                    b.use(Param(value, known[value.name]))
                operands = kernel.operands(b, node)
                finish = scalar(node) if op.scalar else kernel.finish and kernel.finish(b, node)
                constants = {n: p.data for n, p in b.params.items() if p.data is not None}
                yield Case(node, sample, kernel, operands, finish, tuple(b.nodes), constants)


def scalar(node: Node) -> Finish:
    """An element-wise operator as the `finish` of a kernel that has no accumulator."""
    rule, inputs = node.op.scalar, tuple(dict.fromkeys(node.inputs))
    assert rule is not None

    def c(acc: str, load: Callable[[Value], str]) -> str:
        text = rule.c(node, [load(v) for v in node.inputs])
        for name in rule.tables(node):
            text = text.replace("{" + name + "}", f"{name}_{{tag}}")
        return text

    return Finish(c, inputs)


def tables(node: Node, tag: int) -> Iterator[str]:
    if node.op.scalar is None:
        return
    for name, data in node.op.scalar.tables(node).items():
        items = ", ".join(map(str, data.reshape(-1).tolist()))
        kind = c_type(DType.of(data.dtype))
        yield f"static const {kind} {name}_{tag}[] = {{{items}}};"


def load(case: Case, value: Value) -> str:
    """The C expression of an operand's element at the current place; strides at run time."""
    assert case.finish is not None
    index = case.finish.operands.index(value)
    (_, pixels, channels), out = value.type.frame, case.node.output.type.frame
    kind = c_type(value.type.dtype)
    x = f"at->x * (PIXEL[{len(case.operands) + index}] / (int32_t)sizeof({kind}))"
    channel = "at->c" if channels in (1, out[2]) else "(at->c >> 3)"  # bits of bytes
    where = [x] * (pixels > 1) + [channel] * (channels > 1 or out[2] == 1)
    return f"((const {kind} *)(const void *)at->row[{index}])[{' + '.join(where) or 0}]"


def instance(case: Case, tag: int) -> str:
    kernel, node = case.kernel, case.node
    y = node.output.type.dtype
    c_y, wide = c_type(y), y in (DType.F32, DType.S64)
    types = {"LL_Y": c_y, "LL_R": c_y if wide else "int32_t", **kernel.types(node)}
    types.setdefault("LL_ACC", "int32_t")
    params = kernel.params(node)
    types["LL_ROWS"] = str(params.get("kh", 64))
    types["LL_TAPS"] = str(int(params.get("kh", 1)) * int(params.get("kw", 1)))
    finish = case.finish or NOTHING
    store = finish.c("acc", lambda value: load(case, value)).replace("{tag}", str(tag))
    fields = ", ".join(f".{k} = {number(v)}" for k, v in params.items())
    return KERNEL_C.format(
        tag=tag,
        defines="\n".join(f"#define {k} {v}" for k, v in types.items()),
        undefines="\n".join(f"#undef {k}" for k in types),
        tables="\n".join(tables(node, tag)),
        store=store,
        source=kernel.source,
        name=kernel.function,
        fields=fields,
        own=len(case.operands),
        count=len(finish.operands),
    )


def some(cases: Sequence[Case], count: int) -> tuple[Case, ...]:
    """At most `count` cases of each kernel, from the whole length of the list."""
    chosen: list[Case] = []
    for kernel in dict.fromkeys(c.kernel.name for c in cases):
        mine = [c for c in cases if c.kernel.name == kernel]
        chosen += mine[:: -(-len(mine) // count)]
    return tuple(chosen)


def program(
    op: Op, compiler: str, folder: Path, at_most: int | None = None
) -> tuple[Path, tuple[Case, ...]]:
    """A host program with every case of an operator, or some of each kernel's, under the
    sanitizers."""
    every = tuple(kernel_cases(op))
    every = every if at_most is None else some(every, at_most)
    text = ['#include "ll.h"', '#include "isa/generic.h"']
    text += ['#include "elementwise.h"', '#include "float.h"', "#define OPERANDS 16"]
    text += ["static int32_t PIXEL[OPERANDS];"]
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
    data: Array, rng: np.random.Generator, dense: bool, ring: bool, layout: Layout = Layout.ROWS
) -> tuple[bytes, list[int], Callable[[bytes], Array]]:
    """(bytes, [row, pixel, ring, first, plane], how to read them back) of one view of `data`."""
    rows, pixels, channels = TensorType(data.shape, DType.of(data.dtype)).frame
    size = data.dtype.itemsize
    gap = 0 if dense else size
    plane, pixel = size, size
    if layout is Layout.PLANES:
        row = size * pixels + gap * int(rng.integers(0, 4))
        plane = row * rows + gap * int(rng.integers(0, 3))
        total = plane * channels
    else:
        pixel = size * channels + gap * int(rng.integers(0, 3))
        row = pixel * pixels + gap * int(rng.integers(0, 4))
        total = rows * row
    first = int(rng.integers(0, rows)) if ring else 0
    memory = np.full(total, GUARD, np.uint8)
    place = np.zeros(total, bool)
    index = (
        ((np.arange(rows) + first) % rows * row)[:, None, None, None]
        + (np.arange(pixels) * pixel)[:, None, None]
        + (np.arange(channels) * plane)[:, None]
        + np.arange(size)
    ).ravel()
    place[index] = True
    memory[index] = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)

    def read(found: bytes) -> Array:
        array = np.frombuffer(found, np.uint8)
        assert (array[~place] == GUARD).all(), "wrote outside of its elements"
        return np.frombuffer(array[index].tobytes(), data.dtype).reshape(data.shape)

    return memory.tobytes(), [row, pixel, rows if ring else 2**31 - 1, first, plane], read


def cuts(rng: np.random.Generator, extent: int, cut: bool) -> list[tuple[int, int]]:
    inner = [int(v) for v in rng.integers(1, extent + 1, 2)] if cut else []
    return list(pairwise(sorted({0, extent, *inner})))


def regions(case: Case, rng: np.random.Generator, cut: bool) -> list[list[int]]:
    """Boxes that cover the result once; rows of the input where a kernel carries sums."""
    rows, pixels, channels = case.node.output.type.frame
    carries = case.kernel.carry(case.node) > 0
    if carries:
        rows = reduced_rows(case)
    split = cut and not carries
    boxes = [
        [*y, *x, *c]
        for y in cuts(rng, rows, cut)
        for x in cuts(rng, pixels, split)
        for c in cuts(rng, channels, split and not whole_channels(case))
    ]
    if not carries:
        rng.shuffle(boxes)
    return boxes


def reduced_rows(case: Case) -> int:
    """Rows that a reduction takes in, one piece after the other."""
    out = case.node.output.type
    rules = case.node.op.regions(case.node) if case.node.op.regions else ()
    for rule, value in zip(rules, case.node.inputs, strict=True):
        y = frame_rule(rule, value.type, out).y
        if isinstance(y, Reduce) and isinstance(y.inner, Pointwise):
            return value.type.frame[0]
    return case.node.inputs[0].type.frame[0]


def whole_channels(case: Case) -> bool:
    """Whether the kernel makes all channels of a pixel at once: it has no `finish`, and its
    operand is read whole along them."""
    assert case.node.op.regions is not None
    return case.finish is None and isinstance(case.node.op.regions(case.node)[0][-1], Whole)


def follows_rows(case: Case, operand: Operand) -> bool:
    """Whether an operand is a map, that may lie in a ring or between other data."""
    if operand.packing is not PLAIN or case.kernel.dense:
        return False
    if case.node.op.scalar:
        return operand.value.type.frame[0] == case.node.output.type.frame[0]
    if operand.source is None or case.node.op.regions is None:
        return False
    rule = case.node.op.regions(case.node)[operand.source]
    framed = frame_rule(rule, operand.value.type, case.node.output.type)
    return framed != replace(ALL, x=framed.x)


def proven(case: Case, data: list[Array]) -> list[Array]:
    """`data` with weights that are small enough for the kernel's proof."""
    for scale in (1, 2, 16):
        small = data if scale == 1 else [data[0], *((d // scale).astype(d.dtype) for d in data[1:])]
        known = {v.name: d for v, d in zip(case.node.inputs, small, strict=True)}
        if case.kernel.proof is None or case.kernel.proof(case.node, known) is None:
            return small
    raise AssertionError(f"{case.kernel.name}: nothing can be proven of {case.sample}")


def run_kernel(binary: Path, case: Case, which: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    given = proven(case, data_of(case.sample, seed))
    with np.errstate(over="ignore"):
        (expected,) = case.node.op.ref(case.node, given)
    boxes = regions(case, rng, seed > 0)
    bytes_needed = case.kernel.scratch(case.node) + case.kernel.carry(case.node)
    words = [which, len(case.values), bytes_needed, len(boxes)]
    blob = np.array(words, np.int32).tobytes()
    rows = case.node.output.type.frame[0]
    reads, writes = (c[seed % len(c)] for c in (case.kernel.reads, case.kernel.writes))
    for k, (operand, data) in enumerate(zip(case.values, case.given(given), strict=True)):
        map_like = follows_rows(case, operand)
        layout = reads if k == 0 and case.operands else Layout.ROWS
        memory, view, _ = laid_out(data, rng, not map_like, map_like and seed == 2, layout)
        if operand.value.type.frame[0] == 1 and rows > 1 and (operand.source is None):
            view[0] = 0
        blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    empty = np.frombuffer(bytes([GUARD]) * expected.nbytes, expected.dtype).reshape(expected.shape)
    dense = case.kernel.dense
    memory, view, read = laid_out(empty, rng, dense, not dense and seed == 2, writes)
    blob += np.array([len(memory), *view], np.int32).tobytes() + memory
    blob += np.array(boxes, np.int32).tobytes()
    given_file, found_file = folder / "given.bin", folder / "found.bin"
    given_file.write_bytes(blob)
    command = [str(binary), str(given_file), str(found_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    found = read(found_file.read_bytes())
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes(), (case.kernel.name, which)
