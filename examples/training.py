"""What the examples have in common: a training loop, and what to print of a firmware."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import lilliput


def train(net: nn.Module, x: Any, y: Any, *, epochs: int, seed: int = 0, rate: float = 5e-3) -> Any:
    """Trains classes `y` (n) of examples `x` (n,...) with AdamW; `net` comes back in eval mode."""
    torch.manual_seed(seed)
    order, batch = np.random.default_rng(seed), 64
    steps = epochs * -(-len(x) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    inputs, labels = torch.as_tensor(np.asarray(x, np.float32)), torch.as_tensor(np.asarray(y))
    net.train()
    for epoch in range(epochs):
        total = 0.0
        for part in np.array_split(order.permutation(len(x)), -(-len(x) // batch)):
            loss = nn.functional.cross_entropy(net(inputs[part]), labels[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(part)
        print(f"epoch {epoch + 1:3} of {epochs}: loss {total / len(x):.3f}")
    return net.eval()


def firmware(model: lilliput.Model, device: str, out: str | None, samples: int = 2) -> bool:
    """Compiles, proves on the emulated core, and writes a folder where one is named."""
    board = lilliput.devices.load(device)
    compiled = lilliput.compile(model, board)
    summary = compiled.summary
    print(f"RAM {summary.ram_bytes.total} B, flash {summary.flash_bytes.total} B on {device}")
    checked = lilliput.check(model, board, samples=samples)
    print(f"exact on {', '.join(way.name for way in checked.ways)}: {checked.exact}")
    if out is not None:
        lilliput.write(compiled, out, force=True)
    return bool(checked.exact)
