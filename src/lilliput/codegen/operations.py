"""What a firmware does with a program beside its entries, as further entries of the test harness.

One idea: saving, loading, settings and a look at the states are functions without parameters over
fixed places, as the harness knows entries, so that one protocol serves them on the host and on a
core.  The flash is an array in a memory `STORAGE`, written byte by byte as NOR flash is: an
emulator may watch it, keep it, and cut the power at any of its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lilliput.codegen.c import Text
from lilliput.codegen.keep import settings, slot_bytes
from lilliput.ops.common import c_type
from lilliput.plan.program import Program

STORAGE = "storage"
"""The memory that the flash of two slots lies in; on a host it is nothing special."""
STATUS = "ll_status"
"""Where the answer of a function lies: an array of one."""
STATES = "states"
WRITE_SIZE = 8

Span = tuple[str, int, int]
"""(C array, offset in it, bytes)"""

_FLASH = """\
static int ll_flash_read(void *ctx, uint32_t offset, void *data, uint32_t bytes)
{
    volatile uint8_t *target = (volatile uint8_t *)data;
    for (uint32_t i = 0; i < bytes; i++) {
        target[i] = ((const volatile uint8_t *)ctx)[offset + i];
    }
    return 0;
}

static int ll_flash_erase(void *ctx, uint32_t offset, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        ((volatile uint8_t *)ctx)[offset + i] = 0xFFu;
    }
    return 0;
}

static int ll_flash_write(void *ctx, uint32_t offset, const void *data, uint32_t bytes)
{
    volatile uint8_t *target = (volatile uint8_t *)ctx + offset;
    for (uint32_t i = 0; i < bytes; i++) {
        target[i] = (uint8_t)(target[i] & ((const uint8_t *)data)[i]);
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Operation:
    """`function` runs it; inputs, outputs : where what it takes and gives lies."""

    name: str
    function: str
    inputs: tuple[Span, ...]
    outputs: tuple[Span, ...]


def storage_bytes(program: Program) -> int:
    """Of the flash, both slots; 0 where nothing is saved."""
    return 2 * slot_bytes(program) if program.saved else 0


def operations(program: Program, places: Sequence[Span]) -> list[Operation]:
    """`save`, `load`, `get NAME`, `set NAME` as far as the program has them, and `states`.

    places : where the states are, in order
    """
    answer = ((STATUS, 0, 4),)
    found = [Operation(STATES, "ll_no_operation", (), tuple(places))]
    if program.saved:
        found += [Operation(n, f"ll_{n}_states", (), answer) for n in ("save", "load")]
    for name, slot in settings(program).items():
        held = ((f"ll_setting_{name}", 0, slot.view.dtype.itemsize),)
        found.append(Operation(f"get {slot.name}", f"ll_get_{name}", (), held))
        found.append(Operation(f"set {slot.name}", f"ll_set_{name}", held, answer))
    return found


def define(text: Text, program: Program, prefix: str) -> None:
    """The functions that `operations` names."""
    _function(text, "ll_no_operation", ())
    if program.saved:
        section = f'__attribute__((section(".ll_arena_{STORAGE}")))'
        text.add(
            "#if defined(__arm__) || defined(__riscv)",
            f"{section} static uint8_t ll_storage[{storage_bytes(program)}];",
            "#else",
            f"static uint8_t ll_storage[{storage_bytes(program)}];",
            "#endif",
            *_FLASH.splitlines(),
            f"static const {prefix}_flash ll_flash = {{ll_flash_read, ll_flash_erase,",
            f"    ll_flash_write, ll_storage, {slot_bytes(program)}u, {WRITE_SIZE}u}};",
            "",
        )
        for name in ("save", "load"):
            _function(
                text,
                f"ll_{name}_states",
                [f"{STATUS}[0] = (uint32_t){prefix}_{name}(&ll_flash);"],
            )
    for name, slot in settings(program).items():
        text.add(f"static {c_type(slot.view.dtype)} ll_setting_{name}[1];")
        _function(text, f"ll_get_{name}", [f"ll_setting_{name}[0] = {prefix}_get_{name}();"])
        _function(
            text,
            f"ll_set_{name}",
            [f"{STATUS}[0] = (uint32_t){prefix}_set_{name}(ll_setting_{name}[0]);"],
        )


def _function(text: Text, name: str, body: Sequence[str]) -> None:
    text.add(f"void {name}(void);")
    with text.function(f"LL_NOINLINE void {name}(void)"):
        text.extend(body)
