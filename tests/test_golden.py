"""The emitted C as text: a change of it shows in review.  `--update-golden` writes it anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.learner import learner
from tests.test_programs import (
    STREAM,
    inverted_residual,
    stream_with_memory,
    trainable,
    two_layers,
    two_memories,
)

from lilliput.codegen.emit import EmitOptions, emit
from lilliput.devices.device import Device, load
from lilliput.ir import Module
from lilliput.plan.build import PlanOptions, plan

CORE = load("cortex-m4")
FAR = PlanOptions(homes={"y": "far", "w2": "store"}, blocks={"w2": 4})


@pytest.mark.parametrize(
    ("module", "device", "options", "small"),
    [
        (inverted_residual(), CORE, STREAM, False),
        (trainable(), CORE, PlanOptions(), True),
        (stream_with_memory(), CORE, PlanOptions(), False),
        (two_layers(), two_memories(), FAR, False),
        (learner(), CORE, PlanOptions(), False),
    ],
    ids=["streamed", "trainable", "remembers", "staged", "learner"],
)
def test_the_emitted_c_is_the_reviewed_one(
    module: Module,
    device: Device,
    options: PlanOptions,
    small: bool,
    golden: Callable[[str, str], None],
) -> None:
    files = emit(plan(module, device, options), EmitOptions(small=small))
    for suffix in (".c", ".h"):
        golden(files[f"{module.name}{suffix}"], f"{module.name}{suffix}")
