"""Benchmarks: networks measured on an emulated core, beside the figures of other engines.

measure   a file -> Measurement: bytes, instructions, cycles, exactness
kinds     the work and the instructions of a network by kind of layer
peers     what others take for the same files, with the conditions, and our goals (peers.toml)
tables    measurements -> tables (`grid`) and bars
chart     measurements -> a picture of instructions
page      measurements -> one page with all of it
"""

from lilliput.bench.chart import chart
from lilliput.bench.chart import rows as chart_rows
from lilliput.bench.grid import Grid
from lilliput.bench.kinds import Share
from lilliput.bench.measure import Measurement, measure, networks
from lilliput.bench.page import page
from lilliput.bench.peers import Conditions, Figures, Goal, conditions, goal_of, peers_of
from lilliput.bench.tables import bars, how_estimated, peers_table, table

__all__ = [
    "Conditions",
    "Figures",
    "Goal",
    "Grid",
    "Measurement",
    "Share",
    "bars",
    "chart",
    "chart_rows",
    "conditions",
    "goal_of",
    "how_estimated",
    "measure",
    "networks",
    "page",
    "peers_of",
    "peers_table",
    "table",
]
