"""Keywords from raw sound: trained in PyTorch, quantised, and run on the emulated core.

    LILLIPUT_SHARED=folder python -m benchmarks.keywords [--epochs N] [--sounds N]

One idea: the front end is that of `examples/keywords.py`; what is counted here is what it cannot
show in seconds: the answers of the firmware to every test sound, one second of samples a call,
beside those of PyTorch on the same features.  No speaker is in two splits.  The recipe of the
integers is the one that leaves least noise in the answers to the validation split; the test split
is looked at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from benchmarks.quantised import RECIPES, Row, answers, row
from benchmarks.shared import shared
from benchmarks.spotter import Sounds, recordings, train
from lilliput import audio
from lilliput.compiler import Quantized, from_module
from lilliput.emu.machine import Command, run_emulated
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import find
from lilliput.ir.types import Array
from lilliput.optional import need

SOUNDS = "data/speech_commands/speech_commands_v002_12class_flac.npz"
DEVICE = "cortex-m4"
TRIED = ("plain", "no training", "best")
CALIBRATED = 512
"""Sounds that the integers are made with, at most."""


def centred(scores: Array) -> Array:
    """(N, classes) float64, less their mean over the classes."""
    found = scores.reshape(len(scores), -1).astype(np.float64)
    return found - found.mean(1, keepdims=True)


def quantised(
    net: Any, seen: Array, held: Array, classes: Array
) -> Mapping[str, tuple[Row, Quantized]]:
    """What each recipe makes of `net` with features `seen`, and how it answers those `held`."""
    torch: Any = need("torch", "torch", "training on the host")
    model = lilliput.from_torch(net, torch.zeros(1, *seen.shape[1:]), name="keywords")
    real, found = answers(model, held), dict[str, tuple[Row, Quantized]]()
    for name in TRIED:
        made = lilliput.quantize(model, seen, RECIPES[name], test=held)
        found[name] = row(name, real, answers(made.model, held), classes), made
        print(found[name][0], flush=True)
    return found


def on_the_core(model: lilliput.Model, sounds: list[Array]) -> tuple[Array, bool]:
    """((N, classes) reals of the firmware's int8 on an emulated core, whether two are exact)."""
    device = lilliput.devices.load(DEVICE)
    compiled = lilliput.compile(model, device, lilliput.Options(shrink=False))
    (name,) = (v.name for v in model.module.inputs("infer"))
    calls = [Call("infer", {name: s}) for s in sounds[:2]]
    with tempfile.TemporaryDirectory() as folder:
        target = (find(device.core), device)
        proof = prove(model.module, compiled.program, calls, target=target, workdir=Path(folder))
        assert proof.image is not None
        commands = [Command("run", 0, (np.ascontiguousarray(s).tobytes(),)) for s in sounds]
        runs = run_emulated(proof.image, device, commands, timeout=3600)
    stored = np.stack([np.frombuffer(r.outputs[0], np.int8) for r in runs]).astype(np.int64)
    (type,) = (v.type for v in model.module.outputs("infer"))
    return (stored - type.zero_point) * type.scale, proof.exact


def report(found: Row, before: int, exact: bool) -> str:
    """before : right answers of PyTorch.  The interval is of the paired difference, normal."""
    n, changes, more = found.count, found.gained + found.lost, found.gained - found.lost
    spread = 1.96 * float(np.sqrt(changes - more**2 / n)) / n
    between = f"{more / n - spread:+.2%} and {more / n + spread:+.2%}"
    counted = f"{found.gained} gained, {found.lost} lost, chance {found.chance:.2f}"
    lines = (
        f"PyTorch         {before / n:.2%}, {before} of {n}",
        f"emulated core   {found.right / n:.2%} from raw sound, {found.right}; exact: {exact}",
        f"difference      {more / n:+.2%}, 95 % between {between}; {counted}",
        f"same answers    {found.same / n:.2%}, {found.same}",
    )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sounds", type=int, default=0, help="of the test split; 0 for all")
    chosen = parser.parse_args(arguments)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    example = __import__("keywords")
    torch: Any = need("torch", "torch", "training on the host")
    sounds: Sounds = recordings(shared() / SOUNDS)
    learn, validate, test = sounds.parts()
    if chosen.sounds:
        test = test[:: max(1, len(test) // chosen.sounds)]
    net = train(
        example.FRONT,
        sounds.x[learn],
        sounds.classes[learn],
        epochs=chosen.epochs,
        seed=chosen.seed,
    )
    seen = example.features(sounds.x[learn[:: -(-len(learn) // CALIBRATED)]])
    print(f"{len(learn)} sounds learnt from; of {len(validate)} of other speakers:")
    held = example.features(sounds.x[validate])
    made = quantised(net, seen, held, sounds.classes[validate])
    best = max(made, key=lambda name: made[name][0].noise_db)
    joined = from_module(audio.prepend(example.FRONT, made[best][1].model.module))
    scores, exact = on_the_core(joined, [audio.blocks(example.FRONT, s) for s in sounds.x[test]])
    with torch.no_grad():
        real = net(torch.from_numpy(example.features(sounds.x[test]))).numpy()
    classes = sounds.classes[test]
    found = row(best, centred(real), centred(scores), classes)
    print(f"{len(test)} of speakers that nobody has heard, {best!r}:")
    print(report(found, int((real.argmax(1) == classes).sum()), exact))


if __name__ == "__main__":
    main(sys.argv[1:])
