"""Every operator, driven by its own samples: no operator has a test file that must be written.

type rule = shape of the reference, C on the host under sanitizers = reference, C on an
emulated core = reference, random partitions of the rows = whole, text round trip.
"""

from __future__ import annotations

import pytest

from lilliput.devices.device import load
from lilliput.emu.prove import prove
from lilliput.emu.toolchain import Toolchain
from lilliput.ir import Op, verify
from lilliput.ops import all_ops
from lilliput.plan.build import plan
from tests.samples import sample_module


@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_every_operator_has_what_others_derive_from(op: Op) -> None:
    assert op.doc and op.dtypes and op.oracle
    assert len(op.samples) >= 3
    assert op.scalar or op.kernels or op.view or op.regions
    for sample in op.samples:
        assert isinstance(sample.attrs, op.attrs)


@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_c_on_the_host_equals_the_reference(op: Op, host_compiler: Toolchain) -> None:
    module, calls = sample_module(op, op.samples)
    verify(module)
    program = plan(module, load("cortex-m4"))
    proof = prove(module, program, calls, hosts=[host_compiler])
    assert proof.exact, str(proof.difference)
