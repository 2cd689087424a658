"""What an operator is: one `Op` value holds everything that anybody needs to know of it.

The interpreter, the verifier, autodiff, the planner, the emitter, the report, the
operator table and the tests are written over these fields and know no operator by name.
The values live in `lilliput.ops`, one file a family.

    Op       doc, attrs, infer, ref, grads, regions, bounds, cost, kernels | scalar, samples
    Kernel   one C implementation: what it accepts, reads, writes, specialises on
    Scalar   the C expression of an element-wise operator: it fuses
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from lilliput.ir.graph import Node, Value
from lilliput.ir.range import Range
from lilliput.ir.region import OperandRule
from lilliput.ir.types import Array, DType, TensorType

if TYPE_CHECKING:
    from lilliput.ir.build import Builder


@dataclass(frozen=True)
class Attrs:
    """Base of every operator's attributes: a frozen dataclass of scalars and tuples."""


@dataclass(frozen=True)
class NoAttrs(Attrs):
    """Of an operator that has none."""


Infer = Callable[[Any, Sequence[TensorType]], tuple[TensorType, ...]]
"""(attrs, operand types) -> the output types that the operator would choose.

Only shape and dtype are binding: the quantisation of an output is the model's choice.
Raises TypeMismatch with what was expected and found.
"""

Ref = Callable[[Node, Sequence[Array]], tuple[Array, ...]]
"""(node, operands) -> results: the NumPy meaning, bit exact for integers and for floats."""

Grad = Callable[["Builder", Node, Sequence[Value]], Value]
"""(builder, node, gradients of the outputs) -> gradient of one operand, as new nodes."""

Proof = Callable[[Node, Mapping[str, Array]], str | None]
"""(node, data of its constant operands by name) -> None, or what cannot be proven of them."""

Regions = Callable[[Node], tuple[OperandRule, ...]]
"""node -> one rule for each operand, one entry for each axis of the operand."""

Bounds = Callable[[Node, Sequence[Range]], Range | None]
"""(node, ranges of the operands) -> what the (first) result can hold, or None: anything.

Sound for every element that lies within its range, whichever those of other elements are.
Only called where all operands are integers; what wraps has to be seen and answered with None.
"""

Indices = tuple[Array, ...]
"""For each axis of a value the indices, ascending, that are left of it."""

Narrow = Callable[[Node, Sequence[Indices], Indices], Attrs]
"""(node, what is left of the operands, and of the result) -> the attributes it then has."""

Slide = Callable[[Node, int, tuple[int, int]], Attrs | None]
"""(node, axis of the result, indices read before and behind the operand) -> the attributes with
which the operator computes an interval of that axis from no more of its operands than that reads;
None along an axis where that is `narrow`'s business.
"""


@dataclass(frozen=True)
class Contraction:
    """An axis that operands 0 and 1 share and that the result sums over, one product
    (x - its zero point) * (w - its zero point) for each index; operand 2, if any, is added.

    data, weights : the axis of operand 0, and of operand 1, whose axis 0 follows the last
        axis of the result
    everywhere : whether each element of the result sums over all weights, so that a constant
        operand adds a constant: no tap lies in padding
    bias : element type that operand 2 has or would have
    """

    data: int
    weights: int
    everywhere: bool
    bias: DType


@dataclass(frozen=True)
class Cost:
    """Device-independent work: multiply-accumulates, and other element operations."""

    macs: int = 0
    ops: int = 0


class Work(NamedTuple):
    """What a kernel does for a whole node: the amounts that its predicted cycles are linear in.

    inner : passes of the innermost loop (multiply-accumulates, taps, exponentials)
    elements : elements stored
    setups : times that the innermost loop is set up (windows, dot products, pixels or rows)
    """

    inner: int
    elements: int
    setups: int


@dataclass(frozen=True)
class Scalar:
    """The C expression of an element-wise operator, one element at a time.

    `c(node, args)` returns an expression over the C expressions `args` of its operands;
    integers arrive as int32_t and leave within the range of the output's dtype, floats
    arrive and leave as float.  `tables(node)` are constant arrays that the expression may
    index as `{name}[...]`; they become constants of the program.  Of the operands `packed` eight
    channels are bits of one byte, which is what arrives: that of channel at->c is bit at->c & 7.
    """

    c: Callable[[Node, Sequence[str]], str]
    tables: Callable[[Node], Mapping[str, Array]] = lambda node: {}
    packed: tuple[int, ...] = ()
    packs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Packing:
    """How a kernel wants a parameter laid out.

    pack : array of the parameter's shape -> array of the packed shape
    unpack : packed array, original type -> array (pack's inverse)
    block_axis : axis of the packed array that follows the output channels, along which it
        may be brought in slices; None when it has to come whole
    """

    name: str
    pack: Callable[[Array], Array]
    unpack: Callable[[Array, TensorType], Array]
    block_axis: int | None = None


PLAIN = Packing("plain", lambda a: a, lambda a, t: a.reshape(t.shape), 0)


@dataclass(frozen=True)
class Operand:
    """One operand of a kernel as it is called.

    value : the graph value (an input of the node, or derived from one by graph nodes)
    source : index of the node input whose region rule it follows, or None when the whole
        of it is read for any region
    packing : layout of a parameter operand
    """

    value: Value
    source: int | None = None
    packing: Packing = PLAIN


@dataclass(frozen=True)
class Finish:
    """How a kernel's accumulator becomes the element that is stored.

    `c(acc, load)` is a C expression over the accumulator; `load(value)` gives the C
    expression of the element of a per-channel operand at the current channel.
    """

    c: Callable[[str, Callable[[Value], str]], str]
    operands: tuple[Value, ...] = ()


class Layout(Enum):
    """How a buffer holds a value: channels of a pixel together, or pixels of a channel.

    A layout belongs to a buffer, not to a type: a kernel states what it reads and writes,
    and the planner chooses.
    """

    ROWS = "rows"
    PLANES = "planes"

    __hash__ = object.__hash__  # of Enum it is slow, and kinds of layers are looked up by it


EITHER = (Layout.ROWS, Layout.PLANES)


@dataclass(frozen=True)
class Kernel:
    """One C implementation of an operator, in `codegen/csrc/kernels/<source>`.

    accepts : node -> None, or why not (the reason is shown in the report)
    types : node -> the C type macros that the source is instantiated with
    params : node -> the scalar fields of its parameter struct
    specialise : fields worth making compile-time constants, most valuable first
    operands : (builder, node) -> what the C function gets, in order; may add graph nodes
        that derive one value from another (a folded bias); they are folded when constant
    finish : (builder, node) -> how the accumulator becomes an element; None = the kernel
        stores by itself and takes no epilogue
    overlap : how far the output may run over the input it consumes:
        "element" reads element i before it writes element i and never reads it again
        "row" needs no input row again that precedes the window of the current row
        "none" the output must not touch an input
    tile : node -> pixels of a row that it makes together, where with "row" it goes through the
        tiles of a row in order, and needs no pixel again that precedes the windows of the current
        tile; 1 also where it reads the windows of a few pixels before it stores these.  0 where
        that does not hold
    in_place : it has read a channel of its first operand, whole, before it writes that channel, and
        needs no other, so that the output may take the very place of the operand
    gathers : each element is stored once, and what the epilogue adds to it is a sum so far, that is
        best in its very place
    ahead : node -> by how many pixels, in the order of rows, an element may be stored before one
        of an earlier pixel has gone through the epilogue; 0 stores in the order rows, pixels,
        channels.  An operand of the epilogue in the output's bytes lies that far behind.
    quantum : output rows that are computed together
    align : bytes that the buffers of its operands and output are aligned to, beyond a word
    scratch : node -> bytes of scratch, dead outside a call
    carry : node -> bytes of accumulators that live across the pieces of a reduction
    work : node -> the amounts of work that `plan.cost` predicts cycles from, for each core
    dense : reads its operands by linear address (no rings, no strides between pixels)
    packed : node inputs that it wants packed, which therefore have to be constant
    packs : node inputs that each call packs, which therefore must not be
    growth : bytes of its packed inputs for each byte of the plain ones
    again : inputs which, where they are constant, it has in flash beside the packed ones of the
        operator that reads them first
    code : bytes of its code, about, where it is not specialised
    proof : what has to hold of the constants for its arithmetic to be exact
    feature : of the core that it is written for (`devices/cores.toml`), "" for every core
    reads, writes : layouts that it takes for its first operand and gives its output
    by_planes : it goes through the rows of one channel after the other
    strips : it does some pixels of a row by themselves, and reads none but those of their windows
    """

    name: str
    source: str
    accepts: Callable[[Node], str | None]
    types: Callable[[Node], Mapping[str, str]]
    params: Callable[[Node], Mapping[str, int | float]]
    operands: Callable[[Builder, Node], tuple[Operand, ...]]
    work: Callable[[Node], Work]
    finish: Callable[[Builder, Node], Finish] | None = None
    specialise: tuple[str, ...] = ()
    overlap: str = "none"
    tile: Callable[[Node], int] = lambda node: 0
    in_place: bool = False
    gathers: bool = False
    ahead: Callable[[Node], int] = lambda node: 0
    quantum: int = 1
    align: int = 1
    scratch: Callable[[Node], int] = lambda node: 0
    carry: Callable[[Node], int] = lambda node: 0
    dense: bool = False
    packed: tuple[int, ...] = ()
    packs: tuple[int, ...] = ()
    growth: float = 1.0
    again: tuple[int, ...] = ()
    code: int = 500
    proof: Proof | None = None
    feature: str = ""
    reads: tuple[Layout, ...] = (Layout.ROWS,)
    writes: tuple[Layout, ...] = (Layout.ROWS,)
    by_planes: bool = False
    strips: bool = False

    @property
    def function(self) -> str:
        """The name of the C function in `source`; kernels of one source differ in its macros."""
        return self.source.removesuffix(".c")

    def tiles(self, node: Node, rows: int) -> int:
        """`tile` of a call that makes so many rows; 0 of pixels that may lie in two of them."""
        pixels = self.tile(node)
        apart = rows == 1 or (pixels and node.output.type.frame[1] % pixels == 0)
        return pixels if apart else 0


@dataclass(frozen=True)
class Sample:
    """One case that drives every test of an operator.

    inputs : operand types; `params` are the indices of operands that are constants;
    output : type of the output when the quantisation matters, else inferred.
    """

    inputs: tuple[TensorType, ...]
    attrs: Attrs = NoAttrs()
    outputs: tuple[TensorType, ...] = ()
    params: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Op:
    """An operator.  Compared by identity; found by name in `lilliput.ops.registry`.

    oracle : whose kernel it equals, by the dtype of its first operand or for all of them:
        "TFLM NAME", "LiteRT NAME", or the page that defines it
    view : the result is the operand's bytes in the same order under another shape
    grads : one rule for each operand (more where an operator takes any number of them), None
        where no gradient passes; empty where nobody has written them, which autodiff reports
    bounds : what the result can hold; not needed by element-wise operators of one int8 or int16
        operand, whose meaning is a table; others without one give anything
    contraction : the axis that a weighted sum sums over, None where there is none
    narrow : node -> how its attributes follow when of axes that its region rules map one to one
        (Pointwise, Shift, Contraction) only some indices are left; None where that has no
        meaning.  Element-wise operators need none: their attributes stay
    slide : of operators for which an element depends on what its region rules name, Windows too,
        and not on where it is; None where that does not hold or `narrow` is enough.  Element-wise
        operators need none
    limits : (least, most) that a result of integers can hold whatever the operands are, where that
        is less than its type can
    constants : computes what the meaning takes from the types of a whole node, output
        included, and raises TypeMismatch where nothing follows (scales too far apart); the
        verifier calls it.  Not needed where `scalar` writes these constants.
    """

    name: str
    doc: str
    infer: Infer
    ref: Ref
    attrs: type[Attrs] = NoAttrs
    grads: tuple[Grad | None, ...] = ()
    regions: Regions | None = None
    cost: Callable[[Node], Cost] = lambda node: Cost(ops=node.output.type.size)
    kernels: tuple[Kernel, ...] = ()
    scalar: Scalar | None = None
    samples: tuple[Sample, ...] = ()
    dtypes: tuple[DType, ...] = ()
    oracle: str | Mapping[DType, str] = ""
    view: bool = False
    constants: Callable[[Node], object] | None = None
    bounds: Bounds | None = None
    contraction: Callable[[Node], Contraction | None] = lambda node: None
    narrow: Callable[[Node], Narrow | None] = lambda node: None
    slide: Slide | None = None
    limits: Callable[[Node], tuple[int, int] | None] = lambda node: None

    def held_against(self, dtype: DType) -> str:
        """Whose kernel it equals for a first operand of this type; "" where nothing is said."""
        return self.oracle if isinstance(self.oracle, str) else self.oracle.get(dtype, "")

    def __repr__(self) -> str:
        return f"Op({self.name})"
