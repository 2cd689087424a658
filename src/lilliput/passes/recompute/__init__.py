"""Recomputing: a graph of the same meaning that makes some values again instead of keeping them.

One idea: what is made again are more nodes.  Planner, checker and kernels do not know of it: where
a map is made twice, each of its makers streams into its own reader and the map is never whole.

    again     two passes: a map that is summed up, and then needed once more, is made once for each
    columns   the maps of a residual stage in pieces of columns, and blocks of it strip by strip
    tiles     a stretch of the graph piece by piece, with the halo computed for each piece
    later     a value that is read early and late is made again, or fetched, for its late readers
    pieces    what a value that was added stands for; what all of it costs

Weights are shared: the nodes that are added read the parameters of those that were there.
"""

from lilliput.passes.recompute.again import Twice, find_twice, make_twice, stretches
from lilliput.passes.recompute.columns import Stage, find_stages, in_columns
from lilliput.passes.recompute.pieces import Extra, Paged, Piece, Recomputed, macs
from lilliput.passes.recompute.tiles import Stretch, boxes_of, find_stretch, tile

__all__ = [
    "Extra",
    "Paged",
    "Piece",
    "Recomputed",
    "Stage",
    "Stretch",
    "Twice",
    "boxes_of",
    "find_stages",
    "find_stretch",
    "find_twice",
    "in_columns",
    "macs",
    "make_twice",
    "stretches",
    "tile",
]
