"""The ledger of a record adds up to its time to first audio, whatever the times are."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stt.messages import Sentence, Utterance
from stt.metrics import METRICS, imbalance, metrics
from stt.stored import record
from stt.timeline import LEDGER, MARKS, ledger

spans_ns = st.lists(st.integers(0, 10**12), min_size=5, max_size=5)
PARTS = (
    "segment_ms",
    "wait_translate_ms",
    "translate_first_ms",
    "wait_synthesize_ms",
    "synthesize_first_ms",
)


def stored(origin_ns: int, spans: list[int], after_ns: int) -> dict[str, object]:
    marks = {"arrived": origin_ns}
    clock = origin_ns
    for name, span in zip(LEDGER[1:], spans, strict=True):
        clock += span
        marks[name] = clock
    marks["translate_end"] = marks["first_clause"] + after_ns
    marks["synthesize_end"] = max(clock, marks["translate_end"])
    utterance = Utterance(
        sentence=Sentence("s1", "Hello there.", origin_ns),
        translation="こんにちは。",
        marks_ns=marks,
        chunks=((clock, 2400), (marks["synthesize_end"], 2400)),
        sample_rate=24_000,
        leading_silence_s=0.01,
    )
    return record(utterance, session=1, pass_=1, phase="measure")


@given(st.integers(0, 10**15), spans_ns, st.integers(0, 10**12))
def test_spans_on_the_path_sum_to_the_time_to_first_audio_exactly(
    origin_ns: int, spans: list[int], after_ns: int
) -> None:
    kept = stored(origin_ns, spans, after_ns)
    marks_ns = kept["marks_ns"]
    assert isinstance(marks_ns, dict)
    assert all(type(at_ns) is int for at_ns in marks_ns.values())
    assert sum(ledger(marks_ns).values()) == marks_ns["first_chunk"] == sum(spans)
    assert imbalance(kept) == []
    values = metrics(kept)
    assert math.isclose(sum(values[p] for p in PARTS), values["ttfa_ms"], rel_tol=1e-9)
    assert values["ttfa_ms"] <= values["total_ms"] + 1e-9


@given(st.integers(0, 10**15), spans_ns, st.integers(0, 10**12))
def test_of_a_record_only_its_arrival_depends_on_where_the_clock_began(
    origin_ns: int, spans: list[int], after_ns: int
) -> None:
    kept = stored(origin_ns, spans, after_ns)
    assert kept == stored(0, spans, after_ns) | {"arrived_ns": origin_ns}
    assert repr(metrics(kept)) == repr(metrics(stored(0, spans, after_ns)))


@given(spans_ns, st.sets(st.sampled_from(MARKS[1:]), min_size=1))
def test_a_mark_never_reached_gives_nan_never_a_zero_or_a_crash(
    spans: list[int], lost: set[str]
) -> None:
    kept = stored(0, spans, 0)
    marks_ns = kept["marks_ns"]
    assert isinstance(marks_ns, dict)
    kept["marks_ns"] = {name: at for name, at in marks_ns.items() if name not in lost}
    values = metrics(kept)
    assert list(values) == list(METRICS)
    assert math.isnan(values["ttfa_ms"]) == ("first_chunk" in lost)
    assert math.isnan(values["translate_ms"]) == bool(lost & {"translate_start", "translate_end"})
    assert imbalance(kept) != [] or lost == {"translate_end"}


@given(spans_ns, st.sampled_from(LEDGER[1:-1]))
def test_marks_out_of_order_are_flagged(spans: list[int], name: str) -> None:
    kept = stored(0, [span + 1 for span in spans], 0)
    marks_ns = kept["marks_ns"]
    assert isinstance(marks_ns, dict)
    kept["marks_ns"] = {**marks_ns, name: marks_ns["first_chunk"] + 1}
    assert any("negative" in fault for fault in imbalance(kept))
