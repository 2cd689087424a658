"""The report: a program into one `Summary`, and that into text and a page.

summary   what the report knows: one value of plain numbers
gather    a program, its board and its image -> Summary
timeline  an arena over the steps of an entry
fit       whether it fits, and what would help
removed   what was left out of the network, and why
front     RAM against predicted cycles
overtime  what a step over time keeps and computes again
stored    Summary from JSON
terminal  Summary -> text
page      Summary -> report.html, with `picture`, `markup`, `firmware` and page.css
"""

from lilliput.report.fit import Advice, advice, needs, overflows, require_fit
from lilliput.report.gather import layers, summarize
from lilliput.report.overtime import frames_text, macs_text, streaming, streaming_text
from lilliput.report.page import page
from lilliput.report.quantized import quantized_page, quantized_text
from lilliput.report.removed import removed_text, shrinking, work
from lilliput.report.stored import from_json
from lilliput.report.summary import (
    FlashBytes,
    Layer,
    Linked,
    Peak,
    RamBytes,
    Shrinking,
    Streaming,
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
    "Streaming",
    "Summary",
    "TimedStep",
    "Timeline",
    "Timing",
    "Work",
    "advice",
    "columns",
    "frames_text",
    "from_json",
    "layers",
    "macs_text",
    "needs",
    "overflows",
    "page",
    "quantized_page",
    "quantized_text",
    "removed_text",
    "report",
    "require_fit",
    "short",
    "shrinking",
    "streaming",
    "streaming_text",
    "summarize",
    "text",
    "work",
]
