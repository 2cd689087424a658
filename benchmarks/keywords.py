"""Keywords from raw sound: trained in PyTorch, quantised, and run on the emulated core.

    LILLIPUT_SHARED=folder python -m benchmarks.keywords [--epochs N] [--sounds N]

One idea: the network and the front end are those of `examples/keywords.py`; what is counted here is
what it cannot show in seconds: the answers of the firmware to every test sound, one second of
samples a call, beside those of PyTorch on the same features.  No speaker is in both splits.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import lilliput
from lilliput import audio
from lilliput.emu.machine import Command, run_emulated
from lilliput.emu.prove import Call, prove
from lilliput.emu.toolchain import find
from lilliput.ir.types import Array
from lilliput.optional import need

SOUNDS = "data/speech_commands/speech_commands_v002_12class_flac.npz"
RECIPE = lilliput.Quantization(ranges="mse", adaptive_rounding=True, bias_correction=True)
DEVICE, RATE = "cortex-m4", 16_000


def recordings(path: Path) -> tuple[Array, Array, Array]:
    """((N, 16000) int16, (N) classes, (N) whether it is in the test split)."""
    soundfile = need("soundfile", "data", "reading of sounds")
    with np.load(path, allow_pickle=False) as data:
        flac, ends, classes, split = (data[k] for k in ("flac", "offs", "y", "split"))
    found = np.zeros((len(classes), RATE), np.int16)
    for k, row in enumerate(found):
        part = io.BytesIO(flac[ends[k] : ends[k + 1]].tobytes())
        sound = soundfile.read(part, dtype="int16")[0][:RATE]
        row[: len(sound)] = sound
    return found, classes.astype(np.int64), split == "test"


def on_the_core(model: lilliput.Model, sounds: list[Array]) -> tuple[Array, bool]:
    """((N, classes) int8 of the firmware on an emulated core, whether two of them are exact)."""
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
    return np.stack([np.frombuffer(r.outputs[0], np.int8) for r in runs]), proof.exact


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--width", type=int, default=32, help="channels")
    parser.add_argument("--sounds", type=int, default=0, help="of the test split; 0 for all")
    chosen = parser.parse_args(arguments)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    example, training = (__import__(name) for name in ("keywords", "training"))
    torch: Any = need("torch", "torch", "training on the host")
    sounds, classes, test = recordings(Path(os.environ["LILLIPUT_SHARED"]) / SOUNDS)
    held = np.flatnonzero(test)
    if chosen.sounds:
        held = held[:: max(1, len(held) // chosen.sounds)]
    x, seen = example.features(sounds[~test]), example.features(sounds[held])
    torch.manual_seed(0)
    network = example.network(int(classes.max()) + 1, chosen.width)
    net = training.train(network, x, classes[~test], epochs=chosen.epochs)
    with torch.no_grad():
        real = net(torch.from_numpy(seen)).numpy().argmax(1)
    model = lilliput.from_torch(net, torch.zeros(1, *x.shape[1:]), name="keywords")
    made = lilliput.quantize(model, x[:: len(x) // 512 + 1], RECIPE).model
    joined = lilliput.compiler.from_module(audio.prepend(example.FRONT, made.module))
    blocks = [audio.blocks(example.FRONT, s) for s in sounds[held]]
    scores, exact = on_the_core(joined, blocks)
    whole, truth = scores.reshape(len(held), -1).argmax(1), classes[held]
    print(f"{len(x)} sounds learnt from, {len(held)} of other speakers")
    print(f"PyTorch         {(real == truth).mean():.2%}")
    print(f"emulated core   {(whole == truth).mean():.2%} from raw sound; exact: {exact}")
    print(f"same answers    {(real == whole).mean():.2%}")


if __name__ == "__main__":
    main(sys.argv[1:])
