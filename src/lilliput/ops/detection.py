"""The end of a single-shot detector: boxes decoded, overlapping ones suppressed, the best kept.

As TFLite's custom operator TFLite_Detection_PostProcess (Liu et al., "SSD: single shot
multibox detector", 2016): one suppression over the best class of each box, or one for each
class.  Floats only; of equal scores the lower index comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.ir.graph import Node
from lilliput.ir.op import Attrs, Cost, Kernel, Op, Operand, Sample, Work
from lilliput.ir.region import OperandRule, whole
from lilliput.ir.types import Array, DType, TensorType, f32
from lilliput.ops import floatmath
from lilliput.ops.common import check
from lilliput.ops.registry import register

F32 = np.float32


@dataclass(frozen=True)
class Detection(Attrs):
    """most: boxes that are kept; each: classes shown of each; classes: without background;
    per_class: boxes kept of a class where each class is suppressed by itself, else 0;
    threshold: least score; overlap: intersection over union from which a box is suppressed;
    scales: of the encoded y, x, height, width."""

    most: int
    classes: int
    threshold: float
    overlap: float
    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    each: int = 1
    per_class: int = 0


def _attrs(node: Node) -> Detection:
    assert isinstance(node.attrs, Detection)
    return node.attrs


def _infer(a: Detection, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    check(len(types) == 3, "wrong number of operands", "boxes, scores, anchors", len(types))
    codes, scores, anchors = types
    check({t.dtype for t in types} == {DType.F32}, "element types", "f32", types)
    check(len(scores.shape) == 3, "rank of the scores", "(1,N,C)", scores.shape)
    count = scores.shape[1]
    for what, found, wanted in (
        ("boxes", codes.shape, (1, count, 4)),
        ("anchors", anchors.shape, (count, 4)),
    ):
        check(found == wanted, f"shape of the {what}", wanted, found)
    least = min(a.most, a.classes, a.each)
    check(least >= 1 and a.per_class >= 0, "numbers of boxes and classes", ">= 1", a)
    check(a.classes <= scores.shape[2], "classes", f"<= {scores.shape[2]}", a.classes)
    check(min(a.scales) > 0, "scales", "> 0", a.scales)
    rows = a.most * a.each
    return f32(1, rows, 4), f32(1, rows), f32(1, rows), f32(1)


def _overlap(a: Array, b: Array) -> np.floating:
    area_a, area_b = ((v[2] - v[0]) * (v[3] - v[1]) for v in (a, b))
    if not (area_a > 0 and area_b > 0):
        return F32(0)
    high = min(a[2], b[2]) - max(a[0], b[0])
    wide = min(a[3], b[3]) - max(a[1], b[1])
    both = max(high, F32(0)) * max(wide, F32(0))
    return both / (area_a + area_b - both)


def _select(a: Detection, score: Array, boxes: Array, limit: int) -> list[int]:
    """Places of the boxes that are kept, best first."""
    order = [int(i) for i in np.argsort(-score, kind="stable") if score[i] >= F32(a.threshold)]
    kept: list[int] = []
    while order and len(kept) < limit:
        box, *rest = order
        kept.append(box)
        order = [i for i in rest if not _overlap(boxes[box], boxes[i]) > F32(a.overlap)]
    return kept


def _decode(a: Detection, codes: Array, anchors: Array) -> Array:
    y, x, h, w = (codes[:, k] / F32(s) for k, s in enumerate(a.scales))
    y, x = y * anchors[:, 2] + anchors[:, 0], x * anchors[:, 3] + anchors[:, 1]
    h = F32(0.5) * floatmath.exp(h) * anchors[:, 2]
    w = F32(0.5) * floatmath.exp(w) * anchors[:, 3]
    return np.stack((y - h, x - w, y + h, x + w), axis=1)


def _ref(node: Node, operands: Sequence[Array]) -> tuple[Array, ...]:
    a = _attrs(node)
    (codes,), (scores,), anchors = operands
    scores = scores[:, scores.shape[1] - a.classes :]
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = _decode(a, codes, anchors)
        found = _regular(a, scores, boxes) if a.per_class else _fast(a, scores, boxes)
    y, classes, best = (np.zeros(v.type.shape, F32) for v in node.outputs[:3])
    for k, (box, c) in enumerate(found):
        y[0, k], classes[0, k], best[0, k] = boxes[box], c, scores[box, c]
    number = len(found) if a.per_class else len(found) // min(a.each, a.classes)
    return y, classes, best, np.array([number], F32)


def _fast(a: Detection, scores: Array, boxes: Array) -> list[tuple[int, int]]:
    each = min(a.each, a.classes)
    return [
        (box, int(c))
        for box in _select(a, scores.max(1), boxes, a.most)
        for c in np.argsort(-scores[box], kind="stable")[:each]
    ]


def _regular(a: Detection, scores: Array, boxes: Array) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for c in range(a.classes):
        kept += [(box, c) for box in _select(a, scores[:, c], boxes, a.per_class)]
        kept = sorted(kept, key=lambda at: -scores[at])[: a.most]
    return kept


def _params(node: Node) -> Mapping[str, int | float]:
    a = _attrs(node)
    _, count, width = node.inputs[1].type.shape
    y, x, h, w = (float(F32(s)) for s in a.scales)
    return {
        "count": count,
        "width": width,
        "first": width - a.classes,
        "classes": a.classes,
        "most": a.most,
        "each": min(a.each, a.classes),
        "per_class": a.per_class,
        "rows": node.output.type.shape[1],
        "threshold": float(F32(a.threshold)),
        "overlap": float(F32(a.overlap)),
        "y_scale": y,
        "x_scale": x,
        "h_scale": h,
        "w_scale": w,
    }


def _scratch(node: Node) -> int:
    count = node.inputs[1].type.shape[1]
    return count * (16 + 4 + 4 + 1) + _attrs(node).most * 8


def _regions(node: Node) -> tuple[OperandRule, ...]:
    return tuple(whole(len(v.type.shape)) for v in node.inputs)


def _work(node: Node) -> Work:
    """Inner: scores looked at; one set-up a box."""
    scores = node.inputs[1].type
    return Work(scores.size, node.output.type.size, scores.shape[1])


_OPERANDS = (f32(1, 20, 4), f32(1, 20, 4), f32(20, 4))

detection = register(
    Op(
        name="detection",
        doc="the best boxes, their classes and scores, and how many; encoded boxes (1,N,4), "
        "scores (1,N,C), anchors (N,4) -> boxes (1,M,4), classes (1,M), scores (1,M), count (1)",
        attrs=Detection,
        infer=_infer,
        ref=_ref,
        regions=_regions,
        cost=lambda node: Cost(ops=8 * node.inputs[1].type.size),
        kernels=(
            Kernel(
                name="detection",
                source="detection.c",
                accepts=lambda _: None,
                types=lambda _: {"LL_ACC": "float"},
                params=_params,
                operands=lambda _, node: tuple(Operand(v) for v in node.inputs),
                work=_work,
                scratch=_scratch,
                dense=True,
            ),
        ),
        samples=(
            Sample(_OPERANDS, Detection(5, 3, 0.3, 0.5), params=(2,), low=0.0, high=1.0),
            Sample(_OPERANDS, Detection(7, 4, 0.0, 0.2, each=2), params=(2,), low=0.0, high=1.0),
            Sample(_OPERANDS, Detection(6, 3, 0.2, 0.4, per_class=3), params=(2,), low=0.0),
            Sample(_OPERANDS, Detection(3, 4, 0.1, 0.9, per_class=9), params=(2,), low=0.0),
            Sample(_OPERANDS, Detection(9, 3, 2.0, 0.5), params=(2,), low=0.0, high=1.0),
        ),
        dtypes=(DType.F32,),
        oracle="TFLM TFLite_Detection_PostProcess",
    )
)
