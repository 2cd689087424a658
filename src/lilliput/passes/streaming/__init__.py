"""Streaming over time: a network over a window of frames becomes a step that takes the newest.

One idea: when the window moves on, most rows of every map are rows of the step before, moved.
Such rows are kept in rings, which are states of the step; only the others are computed.  Nothing
is approximated: each step gives, bit for bit, what the whole network gives for the window that
ends with its frames.

    follow   forward: how each value moves with the window, and which of its rows only move
    upright  one-dimensional windows turned so that time is rows, along which rings turn
    demand   backward: which rows are read, hence computed in a step or kept from steps before
    step     the graph of the step, its rings, and what they hold at first
    result   Streamed: the step, and what it costs beside the whole

All of it follows from the region rules of the operators.  Rows near an end of the window differ
with padding in time: they are computed anew in each step.  Whatever depends on the window as a
whole (pools, products over all rows) is computed in full, of rows that are kept.
"""

from lilliput.passes.streaming.result import Repeated, Ring, Streamed
from lilliput.passes.streaming.step import Stream, stream

__all__ = ["Repeated", "Ring", "Stream", "Streamed", "stream"]
