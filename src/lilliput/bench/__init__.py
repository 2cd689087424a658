"""Benchmarks: networks measured on an emulated core, beside the figures of other engines.

measure   a file -> Measurement: bytes, instructions, cycles, exactness
peers     what others take for the same files, with the conditions (peers.toml)
tables    measurements -> text and bars for a terminal
page      measurements -> one page with charts
"""

from lilliput.bench.measure import Measurement, measure, networks
from lilliput.bench.page import page
from lilliput.bench.peers import Conditions, Figures, conditions, peers_of
from lilliput.bench.tables import bars, peers_table, table

__all__ = [
    "Conditions",
    "Figures",
    "Measurement",
    "bars",
    "conditions",
    "measure",
    "networks",
    "page",
    "peers_of",
    "peers_table",
    "table",
]
