"""Every operator, driven by its own samples: no operator has a test file that must be written.

type rule = shape of the reference, C on the host under sanitizers = reference, C on the
emulated cores = reference, text round trip, cost.  Partitions are in `test_regions`, other
implementations in `test_oracle`.  All samples of an operator are entries of one module.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from tests.samples import sample_module

from lilliput.devices.device import cores, load
from lilliput.emu.machine import emulation_device
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import Toolchain, find, host_compilers
from lilliput.ir import Builder, Op, Session, verify
from lilliput.ir.text import load as load_module
from lilliput.ir.text import parse_module, print_module, save
from lilliput.ir.types import DType, s8
from lilliput.ops import all_ops
from lilliput.ops.conv import Conv2d, conv2d, linear
from lilliput.ops.registry import get
from lilliput.passes.canonicalize import Canonicalize
from lilliput.plan.build import plan

EVERY = pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
OTHER_CORES = ("cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33", "rv32imc")


def another_core(op: Op) -> str:
    """One core besides the M4 for each operator, always the same one."""
    return OTHER_CORES[zlib.crc32(op.name.encode()) % len(OTHER_CORES)]


@EVERY
def test_every_operator_has_what_others_derive_from(op: Op) -> None:
    assert all((op.doc, op.dtypes, op.oracle))
    assert len(op.samples) >= 3
    assert op.scalar or op.kernels or op.view or op.regions
    for sample in op.samples:
        assert isinstance(sample.attrs, op.attrs)


@EVERY
def test_every_dtype_that_is_promised_has_a_sample(op: Op) -> None:
    module, _ = sample_module(op, op.samples)
    shown = {v.type.dtype for graph in module.graphs.values() for v in graph.values()}
    assert {d for d in op.dtypes if d in (DType.S8, DType.S16, DType.F32)} <= shown


@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("bias", [2**31 - 1, -(2**31)])
def test_sums_wrap_where_a_bias_is_as_large_as_it_can_be(
    bias: int, groups: int, host_compiler: Toolchain
) -> None:
    """NumPy and C agree, and the sanitizer sees no overflow."""
    b = Builder(names=set())
    x = b.input("x", s8(1, 4, 4, 6, scale=0.1, zero_point=-128))
    w = b.param("w", np.full((6, 3, 3, 6 // groups), 127, np.int8), s8(scale=0.01).quant)
    biases = b.param("b", np.full(6, bias, np.int32))
    y = b.add(conv2d, (x, w, biases), Conv2d(groups=groups), type=s8(1, 2, 2, 6, scale=9.0))
    flat = b.add(
        linear,
        (x, b.param("v", np.full((6, 6), 127, np.int8), s8(scale=0.01).quant), biases),
        type=s8(1, 4, 4, 6, scale=9.0),
    )
    module = b.module([y, flat])
    picture = np.full((1, 4, 4, 6), 127, np.int8)
    program = plan(module, load("cortex-m4"))
    proof = prove(module, program, [Call("infer", {"x": picture})], hosts=[host_compiler])
    assert proof.exact, str(proof.difference)


@EVERY
def test_the_type_rule_gives_the_shape_of_the_reference(op: Op) -> None:
    module, calls = sample_module(op, op.samples)
    verify(module)
    for call in calls:
        graph = module.graphs[call.entry]
        node = graph.nodes[0]
        given = [
            call.inputs[v.name] if v.name in call.inputs else module.params[v.name].data
            for v in node.inputs
        ]
        results = op.ref(node, [a for a in given if a is not None])
        assert [(r.shape, r.dtype) for r in results] == [
            (v.type.shape, v.type.dtype.numpy) for v in node.outputs
        ]
        assert op.cost(node).macs + op.cost(node).ops >= 0


@EVERY
def test_text_and_file_read_back_the_same(op: Op) -> None:
    module, calls = sample_module(op, op.samples)
    text = print_module(module)
    data = {n: p.data for n, p in module.params.items() if p.data is not None}
    again = parse_module(text, data, get)
    assert print_module(again) == text
    filed = load_module(save(module), get)
    assert save(filed) == save(module)
    ours, theirs = Session(module), Session(filed)
    for call in calls[:3]:
        a, b = (s.run(call.inputs, call.entry).outputs for s in (ours, theirs))
        assert all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)


def prove_samples(op: Op, hosts: list[Toolchain], core: str | None, emulator: str = "auto") -> None:
    module, calls = sample_module(op, op.samples, seed=zlib.crc32(op.name.encode()))
    module = Canonicalize()(module)
    device = emulation_device(load(core or "cortex-m4").core, emulator)
    program = plan(module, device)
    target = (find(device.core), device) if core else None
    proof = prove(module, program, calls, hosts=hosts, target=target, emulator=emulator)
    assert proof.exact, str(proof.difference)
    assert all(way.tensors >= len(calls) for way in proof.ways)


@EVERY
def test_c_on_the_host_equals_the_reference(op: Op, host_compiler: Toolchain) -> None:
    prove_samples(op, [host_compiler], None)


@pytest.mark.slow
@EVERY
def test_c_of_every_host_compiler_equals_the_reference(op: Op) -> None:
    prove_samples(op, list(host_compilers()), None)


@pytest.mark.unicorn
@EVERY
def test_c_on_the_cortex_m4_equals_the_reference(op: Op) -> None:
    prove_samples(op, [], "cortex-m4")


@pytest.mark.unicorn
@EVERY
def test_c_on_another_core_equals_the_reference(op: Op) -> None:
    prove_samples(op, [], another_core(op))


@pytest.mark.slow
@pytest.mark.unicorn
@pytest.mark.parametrize("core", OTHER_CORES)
@EVERY
def test_c_on_every_core_equals_the_reference(op: Op, core: str) -> None:
    prove_samples(op, [], core)


@pytest.mark.slow
@pytest.mark.qemu
@EVERY
def test_c_on_the_cortex_m55_equals_the_reference(op: Op) -> None:
    prove_samples(op, [], "cortex-m55", "qemu")


def test_every_core_is_tested() -> None:
    assert set(cores()) == {"cortex-m4", "cortex-m55", *OTHER_CORES}
