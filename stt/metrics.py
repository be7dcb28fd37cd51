"""Every metric, defined once, as a function of one stored record (see docs/latency.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from stt.messages import Status
from stt.player import playback
from stt.timeline import LEDGER, ledger

METRICS: dict[str, str] = {
    "ttfa_ms": "last source character arrived -> first audio chunk handed to the sink [ms]",
    "ttfa_audible_ms": "ttfa_ms + leading silence of that audio, and gaps within it [ms]",
    "total_ms": "last source character arrived -> last audio chunk handed to the sink [ms]",
    "translate_ms": "translation started -> last target clause [ms]",
    "translate_first_ms": "translation started -> first target clause [ms]",
    "synthesize_ms": "synthesis started -> ended, waits for further clauses included [ms]",
    "synthesize_first_ms": "synthesis started -> first audio chunk [ms]",
    "segment_ms": "last source character arrived -> sentence cut, waits for its end and for earlier ones included [ms]",
    "wait_translate_ms": "sentence cut -> translation started [ms]",
    "wait_synthesize_ms": "first target clause -> synthesis started [ms]",
    "rtf": "synthesis time / audio duration [ratio]",
    "gap_ms": "silence between chunks that should touch, on the virtual player [ms]",
    "underruns": "times the virtual player ran dry before the last chunk [count]",
    "lag_ms": "last sample played later than had speech begun when the text arrived [ms]",
}
"""Name -> definition [unit], in the order of tables and columns."""
TIMES = tuple(name for name in METRICS if name.endswith("_ms"))
"""Those that `target.limit_ms` can limit."""

_SPANS = {
    "ttfa_ms": ("arrived", "first_chunk"),
    "translate_ms": ("translate_start", "translate_end"),
    "translate_first_ms": ("translate_start", "first_clause"),
    "synthesize_ms": ("synthesize_start", "synthesize_end"),
    "synthesize_first_ms": ("synthesize_start", "first_chunk"),
    "segment_ms": ("arrived", "segmented"),
    "wait_translate_ms": ("segmented", "translate_start"),
    "wait_synthesize_ms": ("first_clause", "synthesize_start"),
}


def metrics(record: dict[str, Any]) -> dict[str, float]:
    """All `METRICS` of one record; NaN where a mark or the audio is missing, never a zero.

    The virtual player finds the loudspeaker idle, unless the record's facts hold
    `loudspeaker_free_ns` (end of the earlier speech, in ns relative to `arrived`).
    """
    marks_ns: dict[str, int] = record["marks_ns"]
    chunks: list[list[int]] = record["chunks"]
    values = dict.fromkeys(METRICS, math.nan)
    for name, (start, end) in _SPANS.items():
        if start in marks_ns and end in marks_ns:
            values[name] = (marks_ns[end] - marks_ns[start]) / 1e6
    if record["leading_silence_s"] is not None:
        # On the player: where the onset lies behind the first chunk, a late second one delays it.
        alone = playback(
            chunks, record["sample_rate"], leading_silence_s=record["leading_silence_s"]
        )
        if alone is not None and alone.audible_ns is not None:
            values["ttfa_audible_ms"] = alone.audible_ns / 1e6
    if chunks:
        values["total_ms"] = chunks[-1][0] / 1e6
    if record["audio_s"] > 0:
        values["rtf"] = values["synthesize_ms"] / 1e3 / record["audio_s"]
    played = playback(
        chunks,
        record["sample_rate"],
        free_ns=record.get("facts", {}).get("loudspeaker_free_ns"),
    )
    if played is not None:
        values["gap_ms"] = played.gap_ns / 1e6
        values["underruns"] = float(played.underruns)
        values["lag_ms"] = played.lag_ns / 1e6
    return values


def samples(records: Iterable[dict[str, Any]], name: str) -> tuple[list[str], list[float]]:
    """Sentence ids and values of metric `name`, one a measured utterance, for the statistics.

    An utterance without an `ok` result is there as inf: a failure stays in the denominator.
    """
    measured = [record for record in records if record["phase"] == "measure"]
    values = [metrics(r)[name] if r["status"] == Status.ok else math.inf for r in measured]
    return (
        [record["id"] for record in measured],
        [math.inf if math.isnan(value) else value for value in values],
    )


def imbalance(record: dict[str, Any]) -> list[str]:
    """Why the times of an `ok` record cannot be trusted; empty when its ledger balances.

    The spans on the path to the first chunk must exist, be non-negative and sum to the time to
    first audio exactly; the first chunk must agree with its mark within 1 ms or 1 %.
    """
    marks_ns: dict[str, int] = record["marks_ns"]
    chunks: list[list[int]] = record["chunks"]
    missing = [name for name in LEDGER if name not in marks_ns]
    if missing:
        return [f"no mark {', '.join(missing)}"]
    if not chunks:
        return ["ended ok without audio"]
    faults = []
    spans = ledger(marks_ns)
    faults += [f"span {name} is negative" for name, span_ns in spans.items() if span_ns < 0]
    ttfa_ns = marks_ns["first_chunk"] - marks_ns["arrived"]
    if sum(spans.values()) != ttfa_ns:
        faults.append("spans do not sum to the time to first audio")
    times_ns = [at_ns for at_ns, _ in chunks]
    if times_ns != sorted(times_ns):
        faults.append("chunks are out of order")
    apart_ns = abs(times_ns[0] - ttfa_ns)
    if apart_ns > max(1e6, 0.01 * ttfa_ns):
        faults.append(f"first chunk and its mark differ by {apart_ns / 1e6:.1f} ms")
    if marks_ns.get("synthesize_end", -1) < times_ns[-1]:
        faults.append("synthesis ended before its last chunk")
    if marks_ns.get("translate_end", 0) > marks_ns.get("synthesize_end", 0):
        faults.append("translation ended after synthesis")
    return faults
