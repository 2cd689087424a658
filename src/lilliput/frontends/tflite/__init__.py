"""The .tflite format: `read` and `write`."""

from lilliput.frontends.tflite.reader import read
from lilliput.frontends.tflite.writer import write

__all__ = ["read", "write"]
