"""Recurrent layers and what keeps a state."""

from __future__ import annotations

from lilliput.frontends.tflite.operators.table import Row, Rule

READ: dict[str, Row] = {}

WRITE: dict[str, Rule] = {}
