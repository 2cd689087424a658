"""Primitives of instruction sets that are written in C: each equals its definition, on the host."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
from tests.kernel_harness import CSRC, WARNINGS

from lilliput.emu.toolchain import Toolchain
from lilliput.ops.numeric import scale_even

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


SCALES = """
#include <stdio.h>
#include "isa/generic.h"
int main(void)
{
    struct { int32_t a; float scale; } v;
    while (fread(&v, 8, 1, stdin) == 1) {
        const int32_t found[2] = {
            ll_scale_float(v.a, v.scale, -100, 155), ll_scale_exact(v.a, v.scale, -100, 155)};
        fwrite(found, 4, 2, stdout);
    }
    return 0;
}
"""


def test_scaling_to_even_without_an_fpu_is_exact(host_compiler: Toolchain, tmp_path: Path) -> None:
    """Random sums and scales, and such whose products lie at or next to the middle of two
    integers: both forms give what NumPy's float32 does."""
    rng = np.random.default_rng(5)
    n = 200_000
    a = rng.integers(-(2**31), 2**31, n) >> rng.integers(0, 31, n)
    scale = np.exp2(rng.uniform(-34, 1, n)).astype(np.float32)
    middle = (rng.integers(-300, 300, n) + 0.5) / np.where(a == 0, 1, a)
    middle = np.abs(middle.astype(np.float32))
    for _ in range(2):
        middle = np.where(rng.random(n) < 0.5, middle, np.nextafter(middle, np.float32(1)))
    given = np.zeros(2 * n, [("a", "<i4"), ("scale", "<f4")])
    given["a"] = np.concatenate((a, a))
    given["scale"] = np.concatenate((scale, np.maximum(middle, np.float32(2.0**-40))))
    source, binary = tmp_path / "scale.c", tmp_path / "scale"
    source.write_text(SCALES)
    flags = ["-O2", "-ffp-contract=off", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    command = [*host_compiler.command, *WARNINGS, *flags, f"-I{CSRC}", str(source)]
    subprocess.run([*command, "-o", str(binary)], check=True, timeout=120)
    done = subprocess.run(
        [str(binary)], input=given.tobytes(), capture_output=True, check=True, timeout=60
    )
    found = np.frombuffer(done.stdout, "<i4").reshape(-1, 2)
    want = scale_even(given["a"], given["scale"], 0, (-100, 155))
    for column in found.T:
        np.testing.assert_array_equal(column, want)
