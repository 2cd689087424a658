"""TFLite_Detection_PostProcess, the custom operator at the end of single-shot detectors."""

from __future__ import annotations

from collections.abc import Sequence

from lilliput.errors import FormatError
from lilliput.frontends.tflite.call import Call
from lilliput.frontends.tflite.flexbuf import numbers
from lilliput.frontends.tflite.operators.table import Row, Rule
from lilliput.ir import Value
from lilliput.ops.detection import Detection, detection
from lilliput.ops.quantize import dequantize

SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")
NEEDED = ("max_detections", "num_classes", "nms_score_threshold", "nms_iou_threshold", *SCALES)


def _real(call: Call, k: int) -> Value:
    value = call.value(k)
    if value.type.dtype.is_float:
        return value
    return call.between(dequantize, (value,), None, f"/operand{k}")


def _post_process(call: Call) -> Sequence[Value]:
    o = numbers(bytes(call.custom))
    missing = [name for name in NEEDED if name not in o]
    if missing:
        raise FormatError("options of a detector", where=call.where, expected=", ".join(missing))
    y, x, h, w = (float(o[name]) for name in SCALES)
    attrs = Detection(
        int(o["max_detections"]),
        int(o["num_classes"]),
        float(o["nms_score_threshold"]),
        float(o["nms_iou_threshold"]),
        (y, x, h, w),
        int(o.get("max_classes_per_detection", 1)),
        int(o.get("detections_per_class", 100)) if o.get("use_regular_nms", 0) else 0,
    )
    name = call.tensors.names[call.outputs[0]]
    operands = [_real(call, k) for k in range(3)]
    return call.tensors.builder.add_multi(detection, operands, attrs, name=name, origin=call.origin)


READ = {
    "TFLite_Detection_PostProcess": Row(_post_process, (3, 3), frozenset(), (), (4, 4)),
}

WRITE: dict[str, Rule] = {}
