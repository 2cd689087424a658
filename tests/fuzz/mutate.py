"""Sound .tflite bytes with something odd in the model: the mutator that knows the structure.

One idea: a change is a function of a decoded `Model`, and most changes keep what they do not
mean to break (a constant stays as long as its type, a new extent is one everywhere), so that
damage reaches the code behind the first check.  It reads the declarations of the schema: a
table or an operator that is added there is changed here.  All depends on the seed alone.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from typing import TypeVar, cast

from tests.fuzz import text
from tests.fuzz.seeds import text_seeds, tflite_seeds
from tests.tflite_fuzz_cases import mutate as damaged

from lilliput.errors import FormatError
from lilliput.frontends.tflite.flatbuf import Slot, decode, encode
from lilliput.frontends.tflite.schema import (
    BUILTIN,
    DTYPES,
    IDENTIFIER,
    OPTIONS,
    TENSOR_TYPES,
    Buffer,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    SubGraph,
    Tensor,
)

T = TypeVar("T")
Change = Callable[[Model, random.Random], Model]

MAX_BYTES = 1 << 14
MAX_CHANGES = 4
RAW, SPLICED = 0.1, 0.3
"""The share of inputs whose bytes are damaged without a look at what they mean; of crossings
that cross anything."""

EXTENTS = (1, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, 255, 1 << 16, 1 << 20, 2**31 - 1, 0, -1, -(2**31))
INTEGERS = (0, 1, -1, 2, 3, 4, 5, 8, 127, 128, -128, 255, 65535, 2**31 - 1, -(2**31), 1 << 20)
REALS = (0.0, -0.0, 1.0, -1.0, 0.1, 6.0, 1e-30, 1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan)
SCALES = (1.0, 0.1, 1 / 256, 1e-7, 1e-30, 1e-45, 1e30, 3e38, 1.0000001, 0.0, -0.1, math.nan)
NAMES = ("", "x", "y", "a/b:0", '"\n%', "é" * 40, "__metadata__", "*/#evil", "*\\\n/#evil", "\0")
TYPES = tuple(code for code, name in TENSOR_TYPES.items() if name in DTYPES)
SIZES = {code: DTYPES[TENSOR_TYPES[code]].itemsize for code in TYPES}


def mutate(data: bytes, seed: int) -> bytes:
    """`data` with one to four changes; bytes that are no model give way to a seed's."""
    rng = random.Random(seed)
    if rng.random() < RAW and len(data) > 8:
        return damaged(data, seed)[:MAX_BYTES]
    if data[4:8] != IDENTIFIER:
        return text.mutate(data, rng) or rng.choice(text_seeds())
    try:
        model = decode(data, IDENTIFIER, Model)
    except FormatError:
        model = decode(rng.choice(tflite_seeds()), IDENTIFIER, Model)
    for _ in range(rng.randint(1, MAX_CHANGES)):
        model = _any_graph(rng.choice(CHANGES))(model, rng)
    try:
        out = encode(model, IDENTIFIER)
    except (struct.error, OverflowError):
        return damaged(data, seed)[:MAX_BYTES]
    return out if len(out) <= MAX_BYTES else data


def cross(one: bytes, other: bytes, seed: int) -> bytes:
    """`one` with operators of `other`, now and then; mostly it is mutated, or all would grow."""
    rng = random.Random(seed)
    if rng.random() > SPLICED or one[4:8] != IDENTIFIER or other[4:8] != IDENTIFIER:
        return mutate(one, seed)
    try:
        left, right = (decode(d, IDENTIFIER, Model) for d in (one, other))
        out = encode(spliced(left, right, rng), IDENTIFIER)
    except (FormatError, struct.error, OverflowError):
        return mutate(one, seed)
    return out if len(out) <= MAX_BYTES else one


# Parts ------------------------------------------------------------------------------------


def _any_graph(change: Change) -> Change:
    """`change`, which changes the first subgraph, of any."""

    def changed(model: Model, rng: random.Random) -> Model:
        count = len(model.subgraphs)
        k = rng.randrange(count) if count and rng.random() < 0.5 else 0
        turned = replace(model, subgraphs=(*model.subgraphs[k:], *model.subgraphs[:k]))
        done = change(turned, rng)
        if len(done.subgraphs) != count:
            return done
        return replace(done, subgraphs=(*done.subgraphs[count - k :], *done.subgraphs[: count - k]))

    return changed


def _swap(items: tuple[T, ...], k: int, item: T) -> tuple[T, ...]:
    return (*items[:k], item, *items[k + 1 :])


def _in_graph(change: Callable[[SubGraph, Model, random.Random], SubGraph]) -> Change:
    def changed(model: Model, rng: random.Random) -> Model:
        if not model.subgraphs:
            return model
        graph = change(model.subgraphs[0], model, rng)
        return replace(model, subgraphs=(graph, *model.subgraphs[1:]))

    return changed


def _in_tensor(change: Callable[[Tensor, random.Random], Tensor]) -> Change:
    """Changes one tensor; half of the time its constant is made as long as it then is."""

    def changed(model: Model, rng: random.Random) -> Model:
        if not model.subgraphs or not model.subgraphs[0].tensors:
            return model
        tensors = model.subgraphs[0].tensors
        k = rng.randrange(len(tensors))
        tensor = change(tensors[k], rng)
        graph = replace(model.subgraphs[0], tensors=_swap(tensors, k, tensor))
        model = replace(model, subgraphs=(graph, *model.subgraphs[1:]))
        return _fitted(model, tensor, rng) if rng.random() < 0.5 else model

    return changed


def _in_operator(change: Callable[[Operator, SubGraph, random.Random], Operator]) -> Change:
    def changed(graph: SubGraph, model: Model, rng: random.Random) -> SubGraph:
        if not graph.operators:
            return graph
        k = rng.randrange(len(graph.operators))
        operator = change(graph.operators[k], graph, rng)
        return replace(graph, operators=_swap(graph.operators, k, operator))

    return _in_graph(changed)


def _fitted(model: Model, tensor: Tensor, rng: random.Random) -> Model:
    """The constant of a tensor cut or repeated until it is as long as its type."""
    if not 0 < tensor.buffer < len(model.buffers) or any(d < 0 for d in tensor.shape):
        return model
    buffer = model.buffers[tensor.buffer]
    count = math.prod(tensor.shape)
    size = -(-count // 2) if TENSOR_TYPES.get(tensor.type) == "INT4" else None
    size = size if size is not None else count * SIZES.get(tensor.type, 1)
    if not buffer.data or size > MAX_BYTES:
        return model
    data = (buffer.data.tobytes() * (size // len(buffer.data) + 1))[:size]
    new = replace(buffer, data=memoryview(data))
    return replace(model, buffers=_swap(model.buffers, tensor.buffer, new))


# Tensors ----------------------------------------------------------------------------------


def _shape(tensor: Tensor, rng: random.Random) -> Tensor:
    shape = list(tensor.shape)
    how = rng.randrange(5)
    if how == 0 or not shape:
        shape.insert(rng.randint(0, len(shape)), rng.choice((1, 1, *EXTENTS)))
    elif how == 1:
        shape.pop(rng.randrange(len(shape)))
    elif how == 2:
        rng.shuffle(shape)
    else:
        shape[rng.randrange(len(shape))] = rng.choice(EXTENTS)
    return replace(tensor, shape=tuple(shape))


def _signature(tensor: Tensor, rng: random.Random) -> Tensor:
    stated = tuple(-1 if rng.random() < 0.5 else d for d in tensor.shape)
    return replace(tensor, shape_signature=stated[: rng.randint(0, len(stated))] or stated)


def _type(tensor: Tensor, rng: random.Random) -> Tensor:
    return replace(tensor, type=rng.choice((*TYPES, *TYPES, *TENSOR_TYPES, 127)))


def _quantisation(tensor: Tensor, rng: random.Random) -> Tensor:
    how = rng.randrange(6)
    if how == 0:
        return replace(tensor, quantization=None)
    q = tensor.quantization or Quantization((0.1,), (0,))
    if how == 1 and tensor.shape:
        axis = rng.randrange(len(tensor.shape))
        count = min(max(tensor.shape[axis], 0), 64)
        scales = tuple(rng.choice(SCALES[:4]) for _ in range(count))
        return replace(tensor, quantization=Quantization(scales, (0,) * count, 0, axis))
    if how == 2:
        q = replace(q, zero_point=tuple(rng.choice(INTEGERS) for _ in q.zero_point))
    elif how == 3:
        q = replace(q, scale=tuple(rng.choice(SCALES) for _ in q.scale))
    elif how == 4:
        q = replace(q, dimension=rng.choice((-1, 0, 1, 2, 3, 99)))
    else:
        q = cast(Quantization, _altered(q, rng))
    return replace(tensor, quantization=q)


def _buffer_index(model: Model, rng: random.Random) -> Model:
    def change(tensor: Tensor, rng: random.Random) -> Tensor:
        return replace(tensor, buffer=rng.choice((0, rng.randrange(len(model.buffers) + 1))))

    return _in_tensor(change)(model, rng)


def _buffer_data(model: Model, rng: random.Random) -> Model:
    """Words of a constant replaced, a part left out, or all of it one number."""
    k = rng.randrange(len(model.buffers)) if model.buffers else 0
    data = bytearray(model.buffers[k].data) if model.buffers else bytearray()
    if not data:
        return model
    how = rng.randrange(4)
    if how == 0:
        del data[rng.randrange(len(data)) :]
    elif how == 1:
        data = bytearray([rng.choice((0, 1, 127, 128, 255))]) * len(data)
    else:
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(0, max(1, len(data) - 3), 4)
            word = struct.pack("<q", rng.choice(INTEGERS)) if how == 2 else _real(rng)
            data[at : at + 4] = word[: min(4, len(data) - at)]
    new = replace(model.buffers[k], data=memoryview(bytes(data)))
    return replace(model, buffers=_swap(model.buffers, k, new))


def _real(rng: random.Random) -> bytes:
    return struct.pack("<f", rng.choice(REALS))


# All tensors at once: what stays consistent gets further ----------------------------------


def _extent_everywhere(model: Model, rng: random.Random) -> Model:
    """One extent becomes another wherever it is, in shapes and in constants' lengths."""
    if not model.subgraphs:
        return model
    graph = model.subgraphs[0]
    known = sorted({d for t in graph.tensors for d in t.shape})
    if not known:
        return model
    old, new = rng.choice(known), rng.choice((1, 1, 2, 3, 5, 6, 9, 17, 33, 300))
    return _each_tensor(
        model, rng, lambda t: replace(t, shape=tuple(new if d == old else d for d in t.shape))
    )


def _type_everywhere(model: Model, rng: random.Random) -> Model:
    if not model.subgraphs or not model.subgraphs[0].tensors:
        return model
    old, new = rng.choice(model.subgraphs[0].tensors).type, rng.choice(TYPES)
    return _each_tensor(model, rng, lambda t: replace(t, type=new) if t.type == old else t)


def _leading_axis(model: Model, rng: random.Random) -> Model:
    """Every activation gets one more axis in front, or loses it, or another batch."""
    how, batch = rng.randrange(3), rng.choice((1, 2, 3))

    def change(tensor: Tensor) -> Tensor:
        if tensor.buffer or not tensor.shape:
            return tensor
        rest = (tensor.shape, tensor.shape[1:], (batch, *tensor.shape[1:]))[how]
        return replace(tensor, shape=(1, *rest) if how == 0 else rest)

    return _each_tensor(model, rng, change)


def _each_tensor(model: Model, rng: random.Random, change: Callable[[Tensor], Tensor]) -> Model:
    if not model.subgraphs:
        return model
    graph = model.subgraphs[0]
    tensors = tuple(map(change, graph.tensors))
    model = replace(model, subgraphs=(replace(graph, tensors=tensors), *model.subgraphs[1:]))
    for old, tensor in zip(graph.tensors, tensors, strict=True):
        if tensor != old:
            model = _fitted(model, tensor, rng)
    return model


# Operators --------------------------------------------------------------------------------


def _operands(op: Operator, graph: SubGraph, rng: random.Random) -> Operator:
    name = rng.choice(("inputs", "inputs", "outputs"))
    indices = list(op.inputs if name == "inputs" else op.outputs)
    how, count = rng.randrange(5), len(graph.tensors)
    some = rng.choice((-1, count, rng.randrange(count), rng.randrange(count))) if count else -1
    if how == 0 or not indices:
        indices.insert(rng.randint(0, len(indices)), some)
    elif how == 1:
        indices.pop(rng.randrange(len(indices)))
    elif how == 2:
        rng.shuffle(indices)
    else:
        indices[rng.randrange(len(indices))] = some
    changed = tuple(indices)
    return (
        replace(op, inputs=changed)
        if name == "inputs"
        else replace(op, outputs=tuple(max(i, 0) for i in changed))
    )


def _options(op: Operator, graph: SubGraph, rng: random.Random) -> Operator:
    if op.options is None or rng.random() < 0.1:
        return replace(op, options=rng.choice([_no_options, *OPTIONS.values()])())
    return replace(op, options=_altered(op.options, rng))


def _code(model: Model, rng: random.Random) -> Model:
    """One operator becomes another, with options as the other has them."""
    if not model.subgraphs or not model.subgraphs[0].operators:
        return model
    graph = model.subgraphs[0]
    code = rng.choice((*BUILTIN, *BUILTIN, 999))
    k = rng.randrange(len(graph.operators))
    options = graph.operators[k].options if rng.random() < 0.3 else _options_of(code, rng)
    new = replace(graph.operators[k], opcode=len(model.codes), options=options)
    graph = replace(graph, operators=_swap(graph.operators, k, new))
    codes = (*model.codes, OperatorCode(min(code, 127), "", rng.randint(1, 4), code))
    return replace(model, codes=codes, subgraphs=(graph, *model.subgraphs[1:]))


def _options_of(code: int, rng: random.Random) -> object | None:
    """Options by the operator's name, or any; a few of their fields not as they are by default."""
    name = BUILTIN.get(code, "").replace("_", "").lower()
    named = [c for c in OPTIONS.values() if name and c.__name__.lower().startswith(name)]
    cls = rng.choice(named) if named else rng.choice([*OPTIONS.values(), None])
    options = cls() if cls else None
    for _ in range(rng.randint(0, 3)):
        options = _altered(options, rng) if options is not None else None
    return options


def _order(graph: SubGraph, model: Model, rng: random.Random) -> SubGraph:
    """One operator is left out, twice there, or at another place."""
    ops = list(graph.operators)
    if not ops:
        return graph
    op = ops[rng.randrange(len(ops))]
    if rng.random() < 0.7:
        ops.remove(op)
    if rng.random() < 0.7:
        ops.insert(rng.randint(0, len(ops)), op)
    return replace(graph, operators=tuple(ops))


def _ends(graph: SubGraph, model: Model, rng: random.Random) -> SubGraph:
    name = rng.choice(("inputs", "outputs"))
    indices = list(graph.inputs if name == "inputs" else graph.outputs)
    if indices and rng.random() < 0.5:
        indices.pop(rng.randrange(len(indices)))
    if graph.tensors and rng.random() < 0.7:
        indices.insert(rng.randint(0, len(indices)), rng.randrange(len(graph.tensors)))
    return (
        replace(graph, inputs=tuple(indices))
        if name == "inputs"
        else replace(graph, outputs=tuple(indices))
    )


def _splice(model: Model, rng: random.Random) -> Model:
    return spliced(model, decode(rng.choice(tflite_seeds()), IDENTIFIER, Model), rng)


def spliced(model: Model, other: Model, rng: random.Random) -> Model:
    """The operators of `other` behind those of `model`, reading one of its results."""
    if not (model.subgraphs and other.subgraphs and model.subgraphs[0].tensors):
        return model
    a, b = model.subgraphs[0], other.subgraphs[0]
    tensors, codes, buffers = len(a.tensors), len(model.codes), len(model.buffers)
    joint = rng.randrange(tensors)

    def index(i: int) -> int:
        return i if i < 0 else joint if i in b.inputs[:1] else i + tensors

    moved = tuple(
        replace(
            op,
            opcode=op.opcode + codes,
            inputs=tuple(map(index, op.inputs)),
            outputs=tuple(map(index, op.outputs)),
        )
        for op in b.operators
    )
    renamed = tuple(replace(t, buffer=t.buffer + buffers) for t in b.tensors)
    if b.inputs[:1] and b.inputs[0] < len(b.tensors) and rng.random() < 0.7:
        like = b.tensors[b.inputs[0]]
        kept = replace(like, name=a.tensors[joint].name, buffer=a.tensors[joint].buffer)
        a = replace(a, tensors=_swap(a.tensors, joint, kept))
    graph = replace(
        a,
        tensors=(*a.tensors, *renamed),
        operators=(*a.operators, *moved),
        inputs=(*a.inputs, *map(index, b.inputs[1:])),
        outputs=(*a.outputs, *map(index, b.outputs)),
    )
    return replace(
        model,
        codes=(*model.codes, *other.codes),
        buffers=(*model.buffers, *(other.buffers or (Buffer(),))),
        subgraphs=(graph, *model.subgraphs[1:]),
    )


# Anything ---------------------------------------------------------------------------------


def _no_options() -> None:
    return None


def _anything(model: Model, rng: random.Random) -> Model:
    return cast(Model, _altered(model, rng))


@cache
def _declared(cls: type) -> tuple[tuple[str, Slot], ...]:
    found = cast("tuple[Field[object], ...]", fields(cls))
    return tuple((f.name, cast(Slot, f.metadata["slot"])) for f in found)


def _altered(table: object, rng: random.Random) -> object:
    """A table with one of its fields, or one of theirs, changed within what it can store."""
    if not is_dataclass(table) or isinstance(table, type) or not _declared(type(table)):
        return table
    name, slot = rng.choice(_declared(type(table)))
    value: object = getattr(table, name)
    return replace(table, **{name: _other(value, slot, rng)})


def _other(value: object, slot: Slot, rng: random.Random) -> object:
    if slot.many:
        return _other_vector(value, slot, rng)
    if slot.code in "tu":
        made = [slot.table] if slot.table else [*(slot.union or {}).values()]
        if value is None or rng.random() < 0.2:
            return rng.choice([*made, _no_options])()
        return _altered(value, rng)
    if slot.code == "s":
        return rng.choice(NAMES)
    return _number(slot, rng) if slot.code != "p" else value


def _number(slot: Slot, rng: random.Random) -> int | float | bool:
    if slot.code == "?":
        return rng.random() < 0.5
    if slot.code == "f":
        return rng.choice(REALS)
    bits = 8 * struct.calcsize(slot.code)
    low, high = (
        (0, 2**bits - 1) if slot.code.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    return min(max(rng.choice(INTEGERS), low), high)


def _other_vector(value: object, slot: Slot, rng: random.Random) -> object:
    if isinstance(value, memoryview):
        data = value.tobytes()
        return memoryview(data[: rng.randint(0, len(data))])
    items = list(cast("Sequence[object]", value))
    how = rng.randrange(4)
    if slot.table is not None:
        fresh: object = slot.table()
        changed = [_altered(v, rng) for v in items]
    else:
        fresh = _number(slot, rng)
        changed = [_number(slot, rng) for _ in items]
    k = rng.randrange(len(items)) if items else 0
    if how == 0 or not items:
        items.insert(k, fresh)
    elif how == 1:
        items.pop(k)
    elif how == 2:
        items.insert(k, items[k])
    else:
        items[k] = changed[k]
    return tuple(items)


CHANGES: tuple[Change, ...] = (
    _in_tensor(_shape),
    _in_tensor(_shape),
    _in_tensor(_signature),
    _in_tensor(_type),
    _in_tensor(_quantisation),
    _in_tensor(_quantisation),
    _buffer_index,
    _buffer_data,
    _buffer_data,
    _extent_everywhere,
    _extent_everywhere,
    _type_everywhere,
    _leading_axis,
    _in_operator(_operands),
    _in_operator(_options),
    _in_operator(_options),
    _code,
    _code,
    _in_graph(_order),
    _in_graph(_ends),
    _splice,
    _anything,
)
