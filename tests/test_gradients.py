"""Gradient rules, operator by operator, held against differences and against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from tests.gradient_cases import by_differences, by_rules, make_case

from lilliput.ir import Op
from lilliput.ir.op import Sample
from lilliput.ops import all_ops


def float_samples(op: Op) -> tuple[Sample, ...]:
    return tuple(s for s in op.samples if any(t.dtype.is_float for t in s.inputs))

RULED = [op for op in all_ops() if any(op.grads) and float_samples(op)]


@pytest.mark.parametrize("op", RULED, ids=lambda op: op.name)
def test_a_rule_is_the_derivative(op: Op) -> None:
    for sample in float_samples(op):
        case = make_case(op, sample)
        found = by_rules(case)
        for i in case.wanted:
            expected, ok = by_differences(case, i)
            err = np.abs(found[i]-expected)[ok].max() / (np.abs(expected).max()+1e-9)
            if ok.mean()<1: print("KEPT", ok.mean())
            print(op.name, i, [str(t) for t in sample.inputs], sample.attrs, err)
            assert err < 2e-3
