"""Sound .lilliput bytes with something odd in the text or the arrays.

One idea: the text is changed token by token, with tokens of other modules of the same kind,
so that most of what comes out still parses.  As in `mutate`, all depends on the generator.
"""

from __future__ import annotations

import random
import re
from functools import cache

import numpy as np
from tests.fuzz.seeds import text_seeds

from lilliput.errors import FormatError
from lilliput.ir.container import pack, unpack
from lilliput.ir.text import KEY
from lilliput.ir.types import Array
from lilliput.ops import registry

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|%[\w./:-]+|-?\d[\w.+-]*|\.?\w+|[^\s\w]')
_PLAIN = "0 1 -1 2 3 4 7 8 16 127 -128 255 65536 2147483647 -2147483649 0.5 1e-30 1e40 inf nan -0.0"
NUMBERS = (*_PLAIN.split(" "), "true", "none", "9" * 50, "()", "(1,)", "((((1,),),),)")
STRINGS = ('""', '"x"', '"\\ud800"', '"*/#evil"', '"*\\\\\\n/#evil"', '"__metadata__"')
TYPES = ("f32", "s4", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "bool")
ARRAYS = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")


def mutate(data: bytes, rng: random.Random) -> bytes | None:
    """`data` with one to three changes; None where it is no module's file."""
    try:
        text, arrays = unpack(KEY, data)
    except FormatError:
        return None
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.8:
            text = _text(text, rng)
        else:
            arrays = _arrays(arrays, rng)
    return pack(KEY, text, arrays)


@cache
def _lines() -> tuple[str, ...]:
    """Every line of every seed, once."""
    texts = [unpack(KEY, data)[0] for data in text_seeds()]
    return tuple(dict.fromkeys(line for text in texts for line in text.splitlines()))


def _text(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    k, how = rng.randrange(len(lines)), rng.randrange(6)
    if how == 0:
        lines.pop(k)
    elif how == 1:
        lines.insert(rng.randrange(len(lines)), lines[k])
    elif how == 2:
        lines.insert(k, rng.choice(_lines()))
    else:
        lines[k] = _line(lines[k], text, rng)
    return "\n".join(lines)


def _line(line: str, text: str, rng: random.Random) -> str:
    """One token becomes another of its kind, or goes."""
    tokens = list(_TOKEN.finditer(line))
    if not tokens:
        return line
    at = rng.choice(tokens)
    token = at[0]
    if rng.random() < 0.1:
        new = ""
    elif token.startswith('"'):
        new = rng.choice(STRINGS)
    elif token.startswith("%"):
        new = rng.choice(re.findall(r"%[\w./:-]+", text))
    elif token[-1].isdigit() and not token[0].isalpha():
        new = rng.choice(NUMBERS)
    elif token in TYPES:
        new = rng.choice(TYPES)
    elif token.isidentifier():
        new = rng.choice(registry.all_ops()).name
    else:
        new = rng.choice(("(", ")", "[", "]", ",", ":", "{", "}", '"', "@", "%", "="))
    return line[: at.start()] + new + line[at.end() :]


def _arrays(arrays: dict[str, Array], rng: random.Random) -> dict[str, Array]:
    if not arrays:
        return arrays
    name = rng.choice(sorted(arrays))
    array, how = arrays[name], rng.randrange(4)
    if how == 0:
        return {k: v for k, v in arrays.items() if k != name}
    if how == 1:
        array = array.reshape(-1)[: rng.randint(0, array.size)]
    elif how == 2:
        array = np.zeros(array.shape, rng.choice(ARRAYS))
    elif array.size:
        array = array.copy()
        extremes = np.array([0, 1, -1, 127, 2**31 - 1, -(2**31), 2**62], np.int64)
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice(
            list(extremes.astype(array.dtype))
        )
    return {**arrays, name: array}
