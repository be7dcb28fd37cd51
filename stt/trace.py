"""Sessions as a trace, what every stage did when: `trace.json` opens in ui.perfetto.dev and chrome://tracing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from stt.metrics import metrics
from stt.player import playback

TRACKS = ("translate", "synthesize")
"""One for each stage, which works on one sentence at a time. Sentences, from arrival to last chunk, and what a loudspeaker
plays of them may overlap: they are asynchronous events, for of slices that overlap on one track Perfetto drops all but one."""


def trace(rows: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Records in Chrome's trace event format, times in µs.

    Runs that took turns share one clock, any other begins at 0.

    Args:
        rows: what its run is called, and a stored record; a run's records in their order.
    """
    runs = {
        label: list(_placed([record for _, record in part]))
        for label, part in groupby(rows, key=lambda row: row[0])
    }
    clocks = {label: placed[0][1].get("turns") or label for label, placed in runs.items()}
    zero_ns: dict[str, int] = {}
    for label, placed in runs.items():
        first = min(at_ns for at_ns, _ in placed)
        zero_ns[clocks[label]] = min(first, zero_ns.get(clocks[label], first))
    events: list[dict[str, Any]] = []
    for pid, (label, placed) in enumerate(runs.items(), 1):
        events.append(_called("process_name", label, pid, 0))
        events += [_called("thread_name", name, pid, tid) for tid, name in enumerate(TRACKS, 1)]
        for at_ns, record in placed:
            events += _utterance(record, at_ns - zero_ns[clocks[label]], pid)
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _placed(records: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its arrival. Where that is not known, or lies before an earlier one's (the session was resumed
    after the machine had started anew), it begins when the one before it ended."""
    latest = end = shift = 0
    for record in records:
        known = record.get("arrived_ns")
        at_ns = end if known is None else known + shift
        if at_ns < latest:
            shift, at_ns = shift + end - at_ns, end
        yield at_ns, record
        latest, end = at_ns, max(end, at_ns + _end_ns(record))


def _end_ns(record: dict[str, Any]) -> int:
    times_ns: list[int] = [*record["marks_ns"].values(), *(at for at, _ in record["chunks"])]
    return max(times_ns, default=0)


def _utterance(record: dict[str, Any], at_ns: int, pid: int) -> Iterator[dict[str, Any]]:
    marks_ns, name = record["marks_ns"], record["id"]
    times = {key: round(ms, 3) for key, ms in metrics(record).items() if ms == ms}  # without NaN
    said = {key: record[key] for key in ("status", "source", "translation", "error")}

    def us(ns: int) -> float:
        return (at_ns + ns) / 1e3

    def spent(track: str, start_ns: int, end_ns: int) -> dict[str, Any]:
        tid = 1 + TRACKS.index(track)
        lasted = (end_ns - start_ns) / 1e3
        return {"ph": "X", "name": name, "cat": track, "ts": us(start_ns), "dur": lasted, "pid": pid, "tid": tid}  # fmt: skip

    def moment(what: str, track: str, ns: int) -> dict[str, Any]:
        tid = 1 + TRACKS.index(track)
        return {"ph": "i", "s": "t", "name": what, "ts": us(ns), "pid": pid, "tid": tid}

    def apart(cat: str, phase: str, what: str, ns: int, **args: Any) -> dict[str, Any]:
        own = f"{pid}.{record['pass']}.{name}"
        return {"ph": phase, "cat": cat, "id": own, "name": what, "ts": us(ns), "pid": pid, "tid": 0, "args": args}  # fmt: skip

    def lasting(cat: str, start_ns: int, end_ns: int, **args: Any) -> Iterator[dict[str, Any]]:
        """The outer event names the track, which all of them share; the inner one says which sentence it is."""
        yield apart(cat, "b", cat, start_ns)
        yield apart(cat, "b", name, start_ns, **args)
        yield apart(cat, "e", name, end_ns)
        yield apart(cat, "e", cat, end_ns)

    yield from lasting("sentence", 0, _end_ns(record), **said, **times)
    for track, reached in (("translate", "first_clause"), ("synthesize", "first_chunk")):
        start, end = f"{track}_start", f"{track}_end"
        if start in marks_ns and end in marks_ns:
            yield spent(track, marks_ns[start], marks_ns[end])
        if reached in marks_ns:
            yield moment(reached.replace("_", " "), track, marks_ns[reached])
    played = playback(
        record["chunks"],
        record["sample_rate"],
        leading_silence_s=record["leading_silence_s"],
        free_ns=record.get("facts", {}).get("loudspeaker_free_ns"),
    )
    if played is not None:
        yield from lasting("loudspeaker", played.starts_ns[0], played.end_ns)
        if played.audible_ns is not None:
            yield apart("loudspeaker", "n", "first audible sample", played.audible_ns)


def _called(what: str, name: str, pid: int, tid: int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
