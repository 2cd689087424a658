"""Primitives of instruction sets that are written in C: each equals its definition, on the host."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
from tests.kernel_harness import CSRC, WARNINGS

from lilliput.emu.toolchain import Toolchain

SOURCE = """
#include <stdio.h>
#include "isa/{header}"
int main(void)
{{
    int32_t v[3];
    while (fread(v, 4, 3, stdin) == 3) {{
        const int32_t high = ll_mulh_add(v[0], v[1], v[2]), near = ll_mulh_near(v[0], v[1]);
        const int32_t found[3] = {{high, near, ll_sat8(v[2])}};
        fwrite(found, 4, 3, stdout);
    }}
    return 0;
}}
"""
EDGES = (0, 1, -1, 127, 128, -128, -129, 0x7FFF, 0x8000, 0xFFFF, -0x8000, -0x8001, 0x3FFFFFFF)
ENDS = (2**31 - 1, 2**31 - 0x8000, -(2**31) + 1, -(2**31))


def operands() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(n, 3): every three of the edges, and random numbers of every size."""
    edges = (*EDGES, *ENDS)
    rng = np.random.default_rng(3)
    random = rng.integers(-(2**31), 2**31, (20_000, 3)) >> rng.integers(0, 31, (20_000, 3))
    return np.concatenate((list(itertools.product(edges, repeat=3)), random))


def wrapped(v: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[int]:
    return v.astype(np.uint64).astype(np.uint32).astype(np.int32).tolist()


def test_requantisation_without_long_products_is_exact(
    host_compiler: Toolchain, tmp_path: Path
) -> None:
    """Products of 16-bit halves round as the whole product does; no step overflows."""
    given = operands()
    source, binary = tmp_path / "isa.c", tmp_path / "isa"
    source.write_text(SOURCE.format(header="v6m.h"))
    flags = ["-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all", f"-I{CSRC}"]
    command = [*host_compiler.command, *WARNINGS, *flags, str(source), "-o", str(binary)]
    subprocess.run(command, check=True, timeout=120)
    text = given.astype("<i4").tobytes()
    done = subprocess.run([str(binary)], input=text, capture_output=True, check=True, timeout=60)
    found = np.frombuffer(done.stdout, "<i4").reshape(-1, 3)
    a, b, c = given.T
    assert found[:, 0].tolist() == wrapped(((a * b + 2**31) >> 32) + c)
    # -2^31 * -2^31 is 2^62, and its sum with the half of a unit fits
    assert found[:, 1].tolist() == wrapped((a * b + 2**30) >> 31)
    assert found[:, 2].tolist() == np.clip(c, -128, 127).tolist()
