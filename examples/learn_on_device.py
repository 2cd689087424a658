"""A device that learns what it sees, loses power while it saves, and goes on from what it kept.

python examples/learn_on_device.py                    # digits in a mirror, on an emulated core
python examples/learn_on_device.py --scheme head --steps 400 --device stm32f405

The network has learned digits as people write them; the device sees them mirrored, one after the
other, with a new head.  After every step its loss, at every row all its states and what it says of
the test pictures are compared with the host's simulation, to the bit.
"""

from __future__ import annotations

import argparse

import numpy as np

import lilliput
from lilliput import compiler, devices
from lilliput.demo_data import digits_model, load_digits_split
from lilliput.emu.live import Board
from lilliput.train.simulate import Simulator


def mirrored(x: np.ndarray) -> np.ndarray:
    """Pictures (n, 8, 8, 1) of 0 to 16 as the network's int8, left and right exchanged."""
    return np.ascontiguousarray(np.rint(x / 16 * 255 - 128).astype(np.int8)[:, :, ::-1])


def logits(board: Board, pictures: np.ndarray) -> np.ndarray:
    """(n, classes), picture by picture on the device."""
    (x, _) = board.program.entries[0].inputs[0]
    calls = (board.call("infer", {x.name: p[None]}).outputs for p in pictures)
    return np.concatenate([next(iter(outputs.values())) for outputs in calls])


def same(board: Board, host: Simulator) -> bool:
    """Whether the device holds what the host has calculated, every byte of every state."""
    found = board.states()
    return all(found[n].tobytes() == s.tobytes() for n, s in host.states.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--every", type=int, default=200, help="steps between two saves")
    parser.add_argument("--test", type=int, default=540, help="pictures to test with")
    parser.add_argument("--scheme", default="last=2")
    parser.add_argument("--device", default="stm32f746")
    chosen = parser.parse_args()
    network, device = lilliput.load(digits_model()), devices.load(chosen.device)
    how = compiler.Optimiser(rate=0.02)
    found = compiler.learner(network, device, chosen.scheme, how, classes=10)
    digits, host = load_digits_split(), Simulator(found.training)
    x, y = mirrored(digits.x_train), digits.y_train.astype(np.int32)
    shown, labels = mirrored(digits.x_test[: chosen.test]), digits.y_test[: chosen.test]
    learn, test = host.learning(x, y), host.testing(shown, labels)
    name = found.training.module.inputs("train_step")[0].name
    order = np.random.default_rng(0).integers(0, len(x), chosen.steps)
    kept, exact, cut_at = 0, True, chosen.steps // 2 // chosen.every * chosen.every
    print(f"{chosen.device}: RAM {found.compiled.summary.ram_bytes.total} B")
    print(f"{'step':>5} {'on the device':>14} {'on the host':>12} {'equal':>6}  flash")

    with compiler.emulated(found.compiled) as board:

        def row(step: int, equal: bool, flash: str) -> bool:
            answers = logits(board, shown)
            equal &= same(board, host) and np.array_equal(answers, host.logits(test))
            right = np.mean(answers.argmax(1) == labels)
            print(f"{step:>5} {right:>14.1%} {host.accuracy(test):>12.1%} {equal!s:>6}  {flash}")
            return equal

        exact &= row(0, True, f"load: {board.load()}")
        states, losses = dict(host.states), True
        for step, i in enumerate(order, 1):
            given = {name: x[i : i + 1], "label": y[i : i + 1]}
            loss = board.call("train_step", given).outputs["loss"]
            losses &= float(loss[0]) == host.step(learn, int(i))[0]
            if step == cut_at:  # one slot is erased, and a thousand bytes of it are written
                board.save(cut=len(board.flash) // 2 + 1000)
                board.on()
                print(f"{step:>5} power fails in the middle of a save; back to step {kept}")
                host.states, cut_at = dict(states), 0
                exact &= row(kept, losses, f"load: {board.load()}")
            elif step % chosen.every == 0:
                exact &= row(step, losses, f"save: {board.save()}")
                kept, states = step, dict(host.states)
    if not exact:
        raise SystemExit("not exact")


if __name__ == "__main__":
    main()
