"""Front ends of sound and of other sensors: from raw samples to the features a network reads.

    LogMel, Mfcc, Spectra      what is computed, as a frozen dataclass             describe
    read(path)                 one of them from a TOML file                        describe
    module(front, frames)      the same as a graph of fixed-point operators        graph
    features(front, samples)   what that graph gives: the device gives these bits  graph
    reference(front, samples)  the definition in float64, to see what it costs     reference
    prepend(front, module)     a network that reads samples instead of features    join

One idea: a front end is a part of the graph.  It is planned, streamed over time, compiled and
proven with the network behind it, so that training and device cannot drift apart.
"""

from lilliput.audio.describe import FrontEnd, LogMel, Mfcc, Spectra, read
from lilliput.audio.graph import blocks, features, module
from lilliput.audio.join import prepend
from lilliput.audio.reference import reference

__all__ = [
    "FrontEnd",
    "LogMel",
    "Mfcc",
    "Spectra",
    "blocks",
    "features",
    "module",
    "prepend",
    "read",
    "reference",
]
