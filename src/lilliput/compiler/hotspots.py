"""Where the time goes: the most expensive basic blocks of a run, with their source lines.

One idea: a block is shown as its author knows it, by function, lines and layer, and as the core
sees it, by instructions with the cycles of each.  The image has to exist while this runs; what it
gives does not need it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lilliput.emu.cycles import CountedBlock
from lilliput.emu.elf import Image


@dataclass(frozen=True)
class HotInstruction:
    """One instruction; `estimated_cycles` of running it once, waiting for flash left out."""

    address: int
    text: str
    line: int | None
    estimated_cycles: float


@dataclass(frozen=True)
class HotBlock:
    """A basic block that costs much.

    function, file, lines : of its code; file "" and lines None without debug information
    layer            : the layer in which it costs most; "" outside of all
    times            : how often it ran
    estimated_cycles : of all times together; `flash_waits` is the part that waits for flash
    share            : of the cycles of the whole run, 0 to 1
    """

    function: str
    file: str
    lines: tuple[int, int] | None
    layer: str
    times: int
    estimated_cycles: float
    flash_waits: float
    share: float
    disassembly: tuple[HotInstruction, ...]

    @property
    def place(self) -> str:
        """`file:first-last`, as far as it is known."""
        if self.lines is None:
            return self.file
        first, last = self.lines
        return f"{self.file}:{first}" if first == last else f"{self.file}:{first}-{last}"

    def to_json(self) -> dict[str, object]:
        return {
            **asdict(self),
            "lines": self.lines and list(self.lines),
            "instructions": len(self.disassembly),
            "disassembly": [asdict(i) for i in self.disassembly],
        }


def hot_blocks(
    image: Image, blocks: Sequence[CountedBlock], layers: Mapping[int, str], count: int
) -> tuple[HotBlock, ...]:
    """The first `count` of `blocks`; `layers` names the steps.

    Raises OSError when the image's file is gone.
    """
    total = sum(b.cycles for b in blocks) or 1.0
    return tuple(_shown(image, block, layers, total) for block in blocks[:count])


def _shown(image: Image, block: CountedBlock, layers: Mapping[int, str], total: float) -> HotBlock:
    places = [image.line(i.address) for i in block.instructions]
    files = Counter(place[0] for place in places if place)
    file = files.most_common(1)[0][0] if files else ""
    numbers = [place[1] for place in places if place and place[0] == file and place[1]]
    step = max(block.step_cycles, key=lambda s: block.step_cycles[s])
    return HotBlock(
        image.function_at(block.address) or f"{block.address:#010x}",
        file,
        (min(numbers), max(numbers)) if numbers else None,
        layers.get(step, ""),
        block.times,
        block.cycles,
        block.waits,
        block.cycles / total,
        tuple(
            HotInstruction(
                i.address,
                f"{i.mnemonic} {i.operands}".rstrip(),
                place[1] if place and place[0] == file else None,
                round(cycles, 3),
            )
            for i, place, cycles in zip(block.instructions, places, block.each, strict=True)
        ),
    )
