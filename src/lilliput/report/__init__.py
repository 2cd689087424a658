"""The report: a program into one `Summary`, and that into text and a page.

summary   what the report knows: one value of plain numbers
gather    a program, its board and its image -> Summary
timeline  an arena over the steps of an entry
fit       whether it fits, and what would help
removed   what was left out of the network, and why
stored    Summary from JSON
terminal  Summary -> text
page      Summary -> report.html, with `picture`, `markup`, `firmware` and page.css
"""

from lilliput.report.fit import Advice, advice, needs, require_fit
from lilliput.report.gather import layers, summarize
from lilliput.report.page import page
from lilliput.report.removed import removed_text, shrinking, work
from lilliput.report.stored import from_json
from lilliput.report.summary import (
    FlashBytes,
    Layer,
    Linked,
    Peak,
    RamBytes,
    Shrinking,
    Summary,
    TimedStep,
    Timeline,
    Timing,
    Work,
)
from lilliput.report.terminal import report, text
from lilliput.report.words import columns, short

__all__ = [
    "Advice",
    "FlashBytes",
    "Layer",
    "Linked",
    "Peak",
    "RamBytes",
    "Shrinking",
    "Summary",
    "TimedStep",
    "Timeline",
    "Timing",
    "Work",
    "advice",
    "columns",
    "from_json",
    "layers",
    "needs",
    "page",
    "removed_text",
    "report",
    "require_fit",
    "short",
    "shrinking",
    "summarize",
    "text",
    "work",
]
