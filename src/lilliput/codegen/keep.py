"""What a firmware does with states: status codes, settings, and checkpoints in flash.

One idea: all of it is a thin layer over the places of the states, the same C for every network
(`csrc/checkpoint.h`); what is written here is a table of these places, and the header's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lilliput.codegen.c import Text, comment, identifier, number
from lilliput.ir.types import DType
from lilliput.ops.common import c_type
from lilliput.plan.program import Program, StateSlot

HEADER = "checkpoint.h"
BLOCK = 256
"""LL_CHECKPOINT_BLOCK of csrc/checkpoint.h: no header, and no padding, takes more."""

NAMED = 4
"""Saved tensors that the header lists."""

STATUS = (
    ("OK", 0, "done"),
    ("INVALID", -1, "an argument is out of range; nothing has been done"),
    ("DIVERGED", -2, "what was computed is no finite number; states are as they were"),
    ("NO_CHECKPOINT", -3, "both slots are blank"),
    ("CORRUPT", -4, "what the slots hold is damaged, or was never finished"),
    ("FLASH_FAILED", -5, "the flash has refused, or does not hold what was written"),
    ("FOREIGN", -6, "the checkpoint is one of another program, or of another format"),
)


def answers(program: Program) -> bool:
    """Whether some function of the program has a status to return."""
    settable = any(s.settable for s in program.states)
    return bool(program.saved) or settable or any(e.guarded for e in program.entries)


def functions(program: Program, prefix: str) -> tuple[str, ...]:
    """Those that work on a flash, which take nothing but that."""
    return tuple(f"{prefix}_{name}" for name in _FUNCTIONS) if program.saved else ()


def saved_bytes(program: Program) -> int:
    return sum(program.buffers[s.name].nbytes for s in program.saved)


def declare_status(text: Text, program: Program, prefix: str) -> None:
    """The codes that functions return, before the first of these."""
    if not answers(program):
        return
    with text.block("typedef enum", f"}} {prefix}_status;"):
        for name, code, meaning in STATUS:
            text.add(f"{prefix.upper()}_{name} = {code}, {comment(meaning)}")
    text.add("")


def declare(text: Text, program: Program, prefix: str) -> None:
    """Settings and checkpoints, as the header has them."""
    for name, slot in settings(program).items():
        c, kind = c_type(slot.view.dtype), slot.view.dtype.value
        refused = "; what is not finite is refused" if slot.view.dtype is DType.F32 else ""
        if slot.bounds:
            refused = f"; from {slot.bounds[0]} to {slot.bounds[1]}, else it is refused"
        text.add(
            comment(f"state {slot.name}: {kind}{refused}"),
            f"{c} {prefix}_get_{name}(void);",
            f"{prefix}_status {prefix}_set_{name}({c} value);",
            "",
        )
    if program.saved:
        text.extend(comment(line) for line in _about(program))
        text.add(
            f"#define {prefix.upper()}_SAVED_BYTES {saved_bytes(program)}",
            f"#define {prefix.upper()}_SLOT_BYTES {slot_bytes(program)}",
            f"#define {prefix.upper()}_IDENTITY {program.identity:#018x}ULL",
        )
        _flash(text, prefix)
        text.add("")
        for function, lines in _FUNCTIONS.items():
            text.extend(comment(line) for line in lines)
            text.add(f"{prefix}_status {prefix}_{function}(const {prefix}_flash *flash);")
        text.add("")


def _about(program: Program) -> Iterator[str]:
    names = [s.name for s in program.saved]
    more = ", ..." if len(names) > NAMED else ""
    yield f"Checkpoints hold {len(names)} tensors: {', '.join(names[:NAMED])}{more}"
    yield "SLOT_BYTES: what each of the two slots needs, whatever the flash writes at once."
    yield "IDENTITY: of the network and of what is saved; other checkpoints are refused."


_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "save": (
        "Writes a checkpoint to the slot that does not hold the newest one.  If power fails on",
        "the way, at whatever byte, the newest one is still there.",
    ),
    "load": (
        "Brings the newest whole checkpoint back.  Call reset before it at power-on: where it",
        "answers other than OK, states are as they were, or reset if the flash failed midway.",
    ),
}


def _flash(text: Text, prefix: str) -> None:
    text.add(
        comment("A flash as two slots, at offsets 0 and slot_bytes.  Its functions return 0 if"),
        comment("they have done it.  erase: a whole slot, which it makes pages of, to 0xFF;"),
        comment("write: at multiples of write_size, in multiples of it, each place once."),
    )
    with text.block("typedef struct", f"}} {prefix}_flash;"):
        text.add(
            "int (*read)(void *ctx, uint32_t offset, void *data, uint32_t bytes);",
            "int (*erase)(void *ctx, uint32_t offset, uint32_t bytes);",
            "int (*write)(void *ctx, uint32_t offset, const void *data, uint32_t bytes);",
            f"void *ctx; {comment('given to all of them')}",
            f"uint32_t slot_bytes; {comment('whole pages')}",
            f"uint32_t write_size; {comment(f'a power of two, at most {BLOCK}')}",
        )


def slot_bytes(program: Program) -> int:
    """What a slot needs, whatever the flash writes at once."""
    return BLOCK + -(-saved_bytes(program) // BLOCK) * BLOCK


def settings(program: Program) -> dict[str, StateSlot]:
    """Name in C -> the state that may be set."""
    found: dict[str, StateSlot] = {}
    for slot in program.states:
        if slot.settable:
            name = identifier(slot.name)
            while name in found:
                name += "_"
            found[name] = slot
    return found


def include(text: Text, program: Program, prefix: str, folder: str) -> None:
    """What the source takes in before anything of this is defined."""
    if program.saved:
        text.add(
            f"#define LL_CHECKPOINT(name) {prefix}_##name",
            f"#define LL_STATUS(NAME) {prefix.upper()}_##NAME",
            f'#include "{folder}/{HEADER}"',
            "",
        )


def define(text: Text, program: Program, prefix: str, places: Mapping[str, str]) -> None:
    """The functions that `declare` declares; `places`: state -> its address in C."""
    upper = prefix.upper()
    for name, slot in settings(program).items():
        c, place = c_type(slot.view.dtype), f"(void *)({places[slot.name]})"
        with text.function(f"{c} {prefix}_get_{name}(void)"):
            text.add(f"return *(const {c} *){place};")
        with text.function(f"{prefix}_status {prefix}_set_{name}({c} value)"):
            if slot.view.dtype is DType.F32:
                with text.block("if (!ll_is_finite(value))"):
                    text.add(f"return {upper}_INVALID;")
            elif slot.bounds:
                low, high = map(number, slot.bounds)
                with text.block(f"if (!ll_is_within(value, {low}, {high}))"):
                    text.add(f"return {upper}_INVALID;")
            text.add(f"*({c} *){place} = value;", f"return {upper}_OK;")
    if program.saved:
        _checkpoint(text, program, prefix, places)


def _checkpoint(text: Text, program: Program, prefix: str, places: Mapping[str, str]) -> None:
    saved = program.saved
    with text.block(f"static const ll_saved {prefix}_saved[{len(saved)}] =", "};"):
        for slot in saved:
            nbytes = program.buffers[slot.name].nbytes
            text.add(f"{{{places[slot.name]}, {nbytes}u}}, {comment(slot.name)}")
    words = [f"{program.identity >> shift & 0xFFFFFFFF:#010x}u" for shift in (0, 32)]
    identity = "{" + ", ".join(words) + "}"
    what = f"{identity}, {saved_bytes(program)}u, {len(saved)}u, {prefix}_saved"
    text.add(f"static const ll_checkpoint {prefix}_checkpoint = {{{what}}};", "")
    with text.function(f"{prefix}_status {prefix}_save(const {prefix}_flash *flash)"):
        text.add(f"return ll_save(flash, &{prefix}_checkpoint);")
    with text.function(f"{prefix}_status {prefix}_load(const {prefix}_flash *flash)"):
        text.add("int touched;")
        text.add(f"const {prefix}_status status = ll_load(flash, &{prefix}_checkpoint, &touched);")
        with text.block("if (touched != 0)"):
            text.add(f"{prefix}_reset();")
        text.add("return status;")
