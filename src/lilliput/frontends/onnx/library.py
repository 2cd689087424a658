"""The package onnx, imported here and nowhere else; what its messages are called in types.

The messages come as `Any`, as everything of a library that not every installation has.
"""

from __future__ import annotations

from typing import Any

from lilliput.optional import need

onnx: Any = need("onnx", "onnx", "ONNX files")
numpy_helper: Any = need("onnx.numpy_helper", "onnx", "ONNX files")
reference: Any = need("onnx.reference", "onnx", "ONNX files")
DecodeError: Any = need("google.protobuf.message", "onnx", "ONNX files").DecodeError

NodeProto = Any
GraphProto = Any
ModelProto = Any
TensorProto = Any
ValueInfoProto = Any
