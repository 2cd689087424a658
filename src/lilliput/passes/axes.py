"""Permutations of axes, and how they pass a reshape.

`perm` as in `transpose`: axis k of the result is axis perm[k] of the operand.
"""

from __future__ import annotations

from collections.abc import Sequence

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def is_identity(perm: Perm) -> bool:
    return perm == identity(len(perm))


def inverse(perm: Perm) -> Perm:
    return tuple(perm.index(k) for k in range(len(perm)))


def compose(first: Perm, then: Perm) -> Perm:
    """One permutation for two transposes, one after the other."""
    return tuple(first[k] for k in then)


def is_view(shape: Sequence[int], perm: Perm) -> bool:
    """Whether a transpose leaves the elements where they are: only axes of extent 1 move."""
    left = [k for k in perm if shape[k] != 1]
    return left == sorted(left)


def _blocks(a: Sequence[int], b: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """Axes (none of extent 1) of two shapes in the smallest groups of equal products."""
    blocks: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) and j < len(b):
        left, right, m, n = [i], [j], a[i], b[j]
        i, j = i + 1, j + 1
        while m != n:
            if m < n and i < len(a):
                m *= a[i]
                left.append(i)
                i += 1
            elif n < m and j < len(b):
                n *= b[j]
                right.append(j)
                j += 1
            else:
                return None
        blocks.append((left, right))
    return blocks if i == len(a) and j == len(b) else None


def through_reshape(
    source: Sequence[int], perm: Perm, shape: Sequence[int]
) -> tuple[tuple[int, ...], Perm] | None:
    """(S, q) with reshape(transpose(x, perm), shape) = transpose(reshape(x, S), q), x of
    `source`; None where the reshape joins axes that are not neighbours in x.

    Leading axes of extent 1 stay in front; others stay behind the axis that they follow.
    """
    axes = [k for k in perm if source[k] != 1]
    wide = [k for k, n in enumerate(shape) if n != 1]
    blocks = _blocks([source[k] for k in axes], [shape[k] for k in wide])
    if blocks is None:
        return None
    rank = {k: i for i, k in enumerate(sorted(axes))}
    for left, _ in blocks:
        places = [rank[axes[i]] for i in left]
        if places != list(range(places[0], places[0] + len(places))):
            return None
    lead = wide[0] if wide else len(shape)
    order = list(range(lead))
    for _, right in sorted(blocks, key=lambda block: rank[axes[block[0][0]]]):
        for j in right:
            end = wide[j + 1] if j + 1 < len(wide) else len(shape)
            order += range(wide[j], end)
    return tuple(shape[k] for k in order), inverse(tuple(order))


def joining(source: Sequence[int], perm: Perm, shape: Sequence[int]) -> Perm | None:
    """The transpose of x, of `source`, that puts next to one another what a reshape to `shape`
    behind `perm` joins, and leaves all else in its order; None where that is `perm` itself."""
    axes = [k for k in perm if source[k] != 1]
    wide = [n for n in shape if n != 1]
    blocks = _blocks([source[k] for k in axes], wide)
    if blocks is None:
        return None
    groups = sorted(([axes[i] for i in left] for left, _ in blocks), key=min)
    ones = [k for k in range(len(source)) if source[k] == 1]
    found = (*ones, *(k for group in groups for k in group))
    return None if [k for k in found if source[k] != 1] == axes else found
