"""Detectors' last operator against TFLite Micro, and the maps that custom options are."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from tests.tflite_files import File, Graph
from tests.tflm import Tflm
from tests.tolerances import ONE_OPERATOR, check_near

from lilliput.errors import FormatError, LilliputError
from lilliput.frontends.tflite import read
from lilliput.frontends.tflite.flexbuf import numbers
from lilliput.ir import Session

flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")
NAME = "TFLite_Detection_PostProcess"
OPTIONS: dict[str, float | int | bool] = {
    "max_detections": 6,
    "max_classes_per_detection": 1,
    "detections_per_class": 4,
    "use_regular_nms": False,
    "nms_score_threshold": 0.2,
    "nms_iou_threshold": 0.5,
    "num_classes": 3,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def detector(anchors: np.ndarray, options: dict[str, float | int | bool]) -> bytes:
    """A file of the one operator over boxes (1,N,4) and scores (1,N,4)."""
    file = File()
    main = Graph(file, "main")
    count, rows = len(anchors), int(options["max_detections"])
    main.inputs = (main.tensor((1, count, 4)), main.tensor((1, count, 4)))
    main.tensor((count, 4), "FLOAT32", anchors.astype(np.float32))
    outputs = [main.tensor(s) for s in ((1, rows, 4), (1, rows), (1, rows), (1,))]
    main.add(NAME, (0, 1, 2), outputs, custom=bytes(flexbuffers.Dumps(options)))
    return file.write(main.done(*outputs))


def anchors(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.concatenate(
        (rng.uniform(0.1, 0.9, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))), axis=1
    )


@pytest.mark.oracle
@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize("classes", [3, 4])
def test_detections_equal_tflite_micro(regular: bool, classes: int) -> None:
    rng = np.random.default_rng(3)
    options = OPTIONS | {"use_regular_nms": regular, "num_classes": classes}
    data = detector(anchors(rng, 30), options)
    module = read(data)
    theirs = Tflm(data)
    for _ in range(5):
        boxes = rng.uniform(-2, 2, (1, 30, 4)).astype(np.float32)
        scores = rng.uniform(0, 1, (1, 30, 4)).astype(np.float32)
        names = [v.name for v in module.inputs("infer")]
        ours = Session(module).run(dict(zip(names, (boxes, scores), strict=True))).outputs
        other = theirs.run([boxes, scores]).outputs
        for mine, their in zip(ours.values(), other, strict=True):
            check_near(mine, their, ONE_OPERATOR, "detections")


def test_options_that_are_missing_are_named() -> None:
    options = {k: v for k, v in OPTIONS.items() if k != "nms_iou_threshold"}
    with pytest.raises(FormatError, match="nms_iou_threshold"):
        read(detector(np.ones((3, 4)), options))


def test_maps_of_numbers() -> None:
    stored = {"small": 7, "large": 2**40, "less": -70_000, "real": 0.25, "flag": True}
    assert numbers(bytes(flexbuffers.Dumps(stored))) == stored
    assert numbers(bytes(flexbuffers.Dumps({"a": "text", "b": [1, 2], "c": 3}))) == {"c": 3}


def test_damaged_maps_are_refused() -> None:
    good = bytes(flexbuffers.Dumps(OPTIONS))
    rng = np.random.default_rng(1)
    for _ in range(3000):
        bad = bytearray(good)
        for at in rng.integers(0, len(good), 3):
            bad[at] = int(rng.integers(256))
        with contextlib.suppress(LilliputError):
            numbers(bytes(bad[: int(rng.integers(len(good) + 1))]))


def test_a_custom_operator_that_nobody_knows_is_refused_by_name() -> None:
    file = File()
    main = Graph(file, "main")
    main.inputs = (main.tensor((2,)),)
    y = main.tensor((2,))
    main.add("AudioSpectrogram", (0,), (y,))
    with pytest.raises(LilliputError, match=r"custom operator \(AudioSpectrogram\)"):
        read(file.write(main.done(y)))
