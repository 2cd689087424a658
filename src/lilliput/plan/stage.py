"""Staging: bringing what lies in a memory that kernels cannot reach to where they can, and
parameters from where reading them again and again is slow.

constant, in slices   a loop over slices of output channels: while one slice is used, the
                      next one is copied into the other half of a small buffer
constant, whole       Copy, Wait, then the call
activation            the call works on a copy: in before it, out after it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from lilliput.errors import PlanError
from lilliput.ir.graph import Value
from lilliput.ir.region import Pointwise
from lilliput.plan.lifetimes import leaves, reads_of, writes_of
from lilliput.plan.program import (
    Buffer,
    Call,
    Copy,
    Entry,
    Kind,
    Loop,
    Pull,
    Range,
    Step,
    Stop,
    Timed,
    View,
    Wait,
)


def stage(
    entry: Entry,
    buffers: dict[str, Buffer],
    direct: set[str],
    ram: str,
    blocks: Mapping[str, int],
) -> Entry:
    """`entry` with copies for every operand in a memory outside `direct`, or named in `blocks`.

    buffers : gets the buffers that are copied into, in memory `ram`
    Raises PlanError for a loop over memories that kernels cannot reach, and for an input that
    is asked for into one.
    """
    stager = _Stager(entry.name, buffers, direct, ram, blocks)
    steps: list[Step] = []
    for step in entry.steps:
        far = [v for v in (*reads_of(step), *writes_of(step)) if stager.is_far(v)]
        if not far:
            steps.append(step)
        elif isinstance(step, Call):
            steps += stager.call(step)
        else:
            what = "a streaming loop works"
            if isinstance(step, Pull | Stop):
                lies = "an input by callback" if isinstance(step, Pull) else "a guarded value"
                what = f"{lies} lies"
            raise PlanError(
                f"{what} in a memory that kernels cannot reach",
                where=f"entry {entry.name}",
                found=", ".join(v.root for v in far),
                hint="keep these values in a directly readable memory",
            )
    return replace(entry, steps=tuple(steps))


def staged(entry: Entry) -> Iterator[View]:
    """What copies move from and to, but for what a whole copy moves from."""
    for leaf in (leaf for step in entry.steps for leaf in leaves(step)):
        if isinstance(leaf, Copy):
            yield leaf.target
            if leaf.rows is not None:
                yield leaf.source


class _Stager:
    def __init__(
        self,
        entry: str,
        buffers: dict[str, Buffer],
        direct: set[str],
        ram: str,
        blocks: Mapping[str, int],
    ):
        self.entry, self.buffers, self.direct = entry, buffers, direct
        self.ram, self.blocks = ram, blocks

    def is_far(self, view: View) -> bool:
        buffer = self.buffers[view.buffer]
        sliced = buffer.kind is Kind.CONST and view.root in self.blocks
        return sliced or buffer.memory not in self.direct

    def call(self, call: Call) -> list[Step]:
        before: list[Step] = []
        after: list[Step] = []
        sliced: list[Copy] = []
        inputs = list(call.inputs)
        for i, view in enumerate(call.inputs):
            if not self.is_far(view):
                continue
            block = self.blocks.get(view.root)
            sliceable = call.rules[i].x == Pointwise(2)
            if block is not None and sliceable:
                inputs[i] = self.near(view, block)
                sliced.append(Copy(view, inputs[i], call.node.origin))
            else:
                inputs[i] = self.near(view)
                before.append(Copy(view, inputs[i], call.node.origin))
        near_results: list[tuple[Value, View]] = []
        for value, view in call.results():
            here = self.near(view) if self.is_far(view) else view
            near_results.append((value, here))
            if here is not view:
                after += [Copy(here, view, call.node.origin), Wait()]
        (_, output), *byproducts = near_results
        store = call.store and replace(
            call.store, operands=tuple(inputs[len(inputs) - len(call.store.operands) :])
        )
        near = replace(
            call,
            inputs=tuple(inputs),
            output=output,
            store=store,
            byproducts=tuple(byproducts),
        )
        waits: list[Step] = [Wait()] if before else []
        body: list[Step] = [self.sliced(near, sliced)] if sliced else [near]
        return [*before, *waits, *body, *after]

    def near(self, view: View, block: int | None = None) -> View:
        """A buffer in RAM for a dense copy of `view`, or for two slices of it."""
        name, k = f"{self.entry}/{view.root}/near", 0
        while name in self.buffers:
            k += 1
            name = f"{self.entry}/{view.root}/near.{k}"
        size = view.dtype.itemsize
        pixel = view.channels * size
        pixels = view.pixels if block is None else 2 * block
        nbytes = view.rows * pixels * pixel
        self.buffers[name] = Buffer(name, self.ram, nbytes, Kind.ARENA, max(size, 4))
        row = view.pixels * pixel
        near = replace(view, buffer=name, root=name, row=row, pixel=pixel, start=0, ring=None)
        return near if block is None else replace(near, block=block, slots=2)

    def sliced(self, call: Call, copies: list[Copy]) -> Loop:
        """Iteration t: wait for slice t-1, start to bring slice t, compute with slice t-1."""
        block = copies[0].target.block
        assert block is not None
        if any(c.target.block != block for c in copies):
            raise PlanError(
                "parameters of one call are sliced differently", where=call.node.describe()
            )
        channels = call.region.c.extent
        count = -(-channels // block)
        part = replace(call, region=replace(call.region, c=Range(0, block, channels, block)))
        return Loop(
            count + 1,
            (
                Timed(Wait(), 1, 1, count),
                *(Timed(c, 1, 0, count) for c in copies),
                Timed(part, 1, 1, count),
            ),
        )
