"""Marks and spans: one clock, integer nanoseconds, and a ledger that always adds up."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

Clock = Callable[[], int]
monotonic_ns: Clock = time.perf_counter_ns

MARKS = (
    "arrived",
    "segmented",
    "translate_start",
    "first_clause",
    "translate_end",
    "synthesize_start",
    "first_chunk",
    "synthesize_end",
)
"""Every mark, in the order of a sequential pipeline. Overlapped, `translate_end` may come after `synthesize_start`."""

LEDGER = (
    "arrived",
    "segmented",
    "translate_start",
    "first_clause",
    "synthesize_start",
    "first_chunk",
)
"""The marks on the path to the first audio chunk, in an order that holds for every pipeline."""


class Timeline:
    """The marks of one utterance; each is set once, by the thread that saw it happen."""

    __slots__ = ("_clock", "marks_ns")

    def __init__(self, clock: Clock, arrived_ns: int) -> None:
        self._clock = clock
        self.marks_ns = {"arrived": arrived_ns}

    def mark(self, name: str) -> int:
        """Set mark `name` to now unless it is set already; return its time in ns."""
        return self.marks_ns.setdefault(name, self._clock())


def ledger(marks_ns: dict[str, int]) -> dict[str, int]:
    """Spans in ns between consecutive `LEDGER` marks; they sum to first_chunk - arrived exactly.

    Returns:
        `{"segment": ..., "wait_translate": ..., "translate_first": ..., "wait_synthesize": ..., "synthesize_first": ...}`,
        or an empty dict when a mark is missing (a failed utterance has no ledger).
    """
    if any(name not in marks_ns for name in LEDGER):
        return {}
    names = ("segment", "wait_translate", "translate_first", "wait_synthesize", "synthesize_first")
    steps = pairwise(LEDGER)
    return {name: marks_ns[b] - marks_ns[a] for name, (a, b) in zip(names, steps, strict=True)}
