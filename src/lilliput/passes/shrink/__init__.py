"""Shrinking: the same outputs, bit for bit, for any input, of less work.

One idea: three facts about a network of integers are proven before anything is done, and all
that is done follows from them: what every value can hold (`ranges`), what anything that is left
depends on (`demand`), and which nodes do nothing (`tidy`).  Each makes more for the others to
find, so they are repeated until nothing changes.  Nothing is approximated or trained, no data is
looked at, and everything that goes leaves its proof in the `Shrunk` that is returned.

    rounds   shrink: the steps below, again and again, for each entry
    result   Shrunk, and the proofs: Removal, Rewrite
    ranges   forward: what a value can hold
    demand   backward: which channels are needed
    tidy     nodes that do nothing
    narrow   the graph without channels that are not needed

Inputs, outputs and states keep their shapes, and can be anything.
"""

from lilliput.passes.shrink.result import Removal, Rewrite, Shrunk, Why
from lilliput.passes.shrink.rounds import shrink

__all__ = ["Removal", "Rewrite", "Shrunk", "Why", "shrink"]
