"""TFLite Micro as oracle: every sample that a .tflite file can hold, and every shared file.

Samples of one operator are written with our own writer, run in TFLite Micro's reference
kernels, and equal the reference at 0 LSB; floats within the bounds of `tolerances`.  The
published networks are compared tensor by tensor, not only at their outputs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import shared_folder
from tests.samples import random_array, sample_module
from tests.tflm import Tflm, run_litert
from tests.tolerances import ONE_OPERATOR, WHOLE_NETWORK, check_near

from lilliput.errors import LilliputError, UnsupportedError
from lilliput.frontends.tflite import read, write
from lilliput.ir import Array, DType, Module, Op, Session
from lilliput.ir.op import Sample
from lilliput.ops import all_ops
from lilliput.ops.numeric import Rounding

FOLDERS = ("mlperf_tiny", "mcunet", "tinyengine", "layers", "tflm")
HEAVY = ("mcunetv2_large",)
HYBRID = ("kws_ref_model_float32",)
"""Float activations with int8 weights: TFLite Micro has no kernels for that, LiteRT has."""


def shared_models() -> list[Path]:
    folder = shared_folder()
    if folder is None:
        return []
    return [p for f in FOLDERS for p in sorted((folder / "models" / f).glob("*.tflite"))]


MODELS = [
    pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in HEAVY else [])
    for p in shared_models()
    if p.stem not in HYBRID
]


def written(op: Op) -> Iterator[tuple[str, Sample, Module, bytes]]:
    """(name, sample, its module, its file) of every sample that the format can hold."""
    for k, sample in enumerate(op.samples):
        if getattr(sample.attrs, "rounding", Rounding.DOUBLE) is not Rounding.DOUBLE:
            continue
        module, _ = sample_module(op, (sample,), seed=k)
        try:
            data = write(module, "case0")
            read(data, io="float")
        except (UnsupportedError, LilliputError):
            continue
        yield f"{op.name}[{k}]", sample, module, data


RUNNERS: dict[str, Callable[[bytes], Callable[[Sequence[Array]], list[Array]]]] = {
    "TFLM": lambda data: lambda inputs: Tflm(data, arena=1 << 20).run(inputs).outputs,
    "LiteRT": lambda data: lambda inputs: run_litert(data, inputs, reference=True),
}
"""First word of `Op.oracle` -> (file -> (inputs -> outputs))."""


@pytest.mark.oracle
@pytest.mark.parametrize("op", all_ops(), ids=lambda op: op.name)
def test_samples_equal_the_oracle_that_is_named(op: Op) -> None:
    """Each type is compared at least once with the implementation that the operator names."""
    compared, refused = Counter[DType](), dict[DType, str]()
    for name, sample, module, data in written(op):
        dtype = sample.inputs[0].dtype
        runner = RUNNERS.get(op.held_against(dtype).split(" ")[0])
        if runner is None:
            continue
        rng = np.random.default_rng(sum(compared.values()))
        for _ in range(3):
            given = {
                v.name: random_array(rng, v.type, sample.low, sample.high)
                for v in module.inputs("case0")
            }
            try:
                theirs = runner(data)(list(given.values()))
            except (RuntimeError, ValueError) as e:
                refused[dtype] = f"{name}: {e}"
                break
            ours = Session(module).run(given, "case0").outputs
            for mine, other in zip(ours.values(), theirs, strict=True):
                check_near(mine, other, ONE_OPERATOR, name)
            compared[dtype] += 1
    missing = {d: why for d, why in refused.items() if not compared[d]}
    assert not missing, f"named as equal to an implementation that refuses them: {missing}"
    if not compared:
        pytest.skip("no sample is a .tflite of an operator that another implementation has")


def inputs_of(module: Module, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {v.name: random_array(rng, v.type, -1.0, 1.0) for v in module.inputs("infer")}


@pytest.mark.shared
@pytest.mark.oracle
@pytest.mark.parametrize("path", MODELS)
def test_published_networks_equal_tflite_micro(path: Path) -> None:
    """Outputs and every tensor between: the first that differs is named, in the file's order."""
    data = path.read_bytes()
    module = read(data, io="float")
    started = time.monotonic()
    arena = (96 if path.stem in HEAVY else 24) << 20
    tflm = Tflm(data, arena=arena, keep=True)
    session = Session(module)
    for seed in range(1 if path.stem in HEAVY else 3):
        given = inputs_of(module, seed)
        ours = session.run(given)
        theirs = tflm.run(list(given.values()))
        compared = 0
        for name, tensor in theirs.tensors.items():
            if name in ours.values and ours.values[name].size == tensor.size:
                check_near(ours.values[name], tensor, WHOLE_NETWORK, f"{path.stem}, {name}")
                compared += 1
        assert compared >= len(theirs.tensors) * 3 // 4
        for (name, mine), other in zip(ours.outputs.items(), theirs.outputs, strict=True):
            check_near(mine, other, WHOLE_NETWORK, f"{path.stem}, output {name}")
    print(f"{path.stem}: {time.monotonic() - started:.1f} s")  # noqa: T201


@pytest.mark.shared
@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_networks_are_near_litert(name: str, shared: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    data = (shared / "models" / "mlperf_tiny" / f"{name}.tflite").read_bytes()
    module = read(data, io="float")
    for seed in range(3):
        given = inputs_of(module, seed)
        ours = list(Session(module).run(given).outputs.values())
        theirs = run_litert(data, list(given.values()))
        # LiteRT quantises the activations of hybrid layers on the way: 8 bits of precision
        assert float(np.abs(ours[0] - theirs[0].reshape(ours[0].shape)).max()) <= 0.05
