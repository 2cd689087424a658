"""The outputs of a network under the names that its file gives them."""

from __future__ import annotations

from dataclasses import replace

from lilliput.ir import Builder, Value
from lilliput.ops.shape import copy


def named(builder: Builder, outputs: list[Value], names: list[str]) -> list[Value]:
    """The outputs under these names: what makes them is renamed; inputs, parameters and what is
    given twice are copied."""
    makers = {v.name: k for k, n in enumerate(builder.nodes) for v in n.outputs}
    taken = {v.name for n in builder.nodes for v in (*n.inputs, *n.outputs)}
    new: dict[str, Value] = {}
    found: list[Value] = []
    for value, name in zip(outputs, names, strict=True):
        if value.name != name and name in taken:
            name = builder.fresh(name)
        if value.name not in makers or value.name in new or value in found:
            found.append(builder.add(copy, (value,), type=value.type, name=name, origin=name))
            continue
        new[value.name] = replace(value, name=name)
        found.append(new[value.name])

    def seen(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(new.get(v.name, v) for v in values)

    builder.nodes[:] = [
        replace(n, inputs=seen(n.inputs), outputs=seen(n.outputs)) for n in builder.nodes
    ]
    return found
