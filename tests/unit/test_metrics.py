"""Each metric means what docs/latency.md says, and a failure is never a number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stt.messages import Sentence, Status, Utterance
from stt.metrics import METRICS, imbalance, metrics, samples
from stt.stored import record

MS = 1_000_000
MARKS_MS = {
    "arrived": 1000.0,
    "segmented": 1000.5,
    "translate_start": 1001.0,
    "first_clause": 1021.0,
    "translate_end": 1041.0,
    "synthesize_start": 1022.0,
    "first_chunk": 1032.0,
    "synthesize_end": 1072.0,
}


def stored(
    *,
    id: str = "s1",
    status: Status = Status.ok,
    phase: str = "measure",
    without: tuple[str, ...] = (),
    chunks_ms: tuple[float, ...] = (1032.0, 1072.0),
    leading_silence_s: float | None = 0.02,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    utterance = Utterance(
        sentence=Sentence(id, "The server is back.", 1000 * MS),
        translation="サーバーが、戻りました。",
        marks_ns={k: round(v * MS) for k, v in MARKS_MS.items() if k not in without},
        status=status,
        chunks=tuple((round(at * MS), 720) for at in chunks_ms),
        sample_rate=24_000,
        leading_silence_s=leading_silence_s,
        facts=facts or {},
    )
    return record(utterance, session=1, pass_=1, phase=phase)


def test_every_metric_has_its_definition() -> None:
    assert metrics(stored()) == pytest.approx(
        {
            "ttfa_ms": 32,
            "ttfa_audible_ms": 52,
            "total_ms": 72,
            "translate_ms": 40,
            "translate_first_ms": 20,
            "synthesize_ms": 50,
            "synthesize_first_ms": 10,
            "segment_ms": 0.5,
            "wait_translate_ms": 0.5,
            "wait_synthesize_ms": 1,
            "rtf": 0.05 / 0.06,
            "gap_ms": 10,  # the second chunk came 40 ms after a chunk of 30 ms
            "underruns": 1,
            "lag_ms": 42,
        }
    )


def test_each_definition_names_its_unit() -> None:
    assert all(text.endswith("]") for text in METRICS.values())
    assert all(text.endswith("[ms]") == name.endswith("_ms") for name, text in METRICS.items())


def test_total_ends_at_the_last_chunk_not_at_the_end_of_the_stage() -> None:
    assert metrics(stored(chunks_ms=(1032.0, 1050.0)))["total_ms"] == pytest.approx(50)


def test_an_utterance_without_audio_has_no_audio_metrics() -> None:
    values = metrics(
        stored(chunks_ms=(), without=("first_chunk", "synthesize_end"), leading_silence_s=None)
    )
    nan = {name for name, value in values.items() if math.isnan(value)}
    assert nan == {
        *("ttfa_ms", "ttfa_audible_ms", "total_ms", "synthesize_ms", "synthesize_first_ms"),
        *("rtf", "gap_ms", "underruns", "lag_ms"),
    }


def test_inaudible_audio_has_no_time_to_first_audible_sample() -> None:
    values = metrics(stored(leading_silence_s=None))
    assert math.isnan(values["ttfa_audible_ms"])
    assert values["ttfa_ms"] == pytest.approx(32)


def test_a_busy_loudspeaker_adds_its_wait_to_the_lag() -> None:
    values = metrics(stored(facts={"loudspeaker_free_ns": 500 * MS}))
    assert values["lag_ms"] == pytest.approx(500)
    assert values["underruns"] == 0  # the second chunk was there long before


def test_failures_and_missing_measurements_stay_in_the_denominator() -> None:
    records = [
        stored(id="fine"),
        stored(id="late", status=Status.timeout),
        stored(id="mute", leading_silence_s=None),
        stored(id="warm", phase="warmup"),
    ]
    ids, values = samples(records, "ttfa_audible_ms")
    assert ids == ["fine", "late", "mute"]
    assert values == pytest.approx([52, math.inf, math.inf])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"marks_ns": {"arrived": 0}}, "no mark segmented"),
        ({"chunks": []}, "without audio"),
        ({"chunks": [[40 * MS, 10], [35 * MS, 10]]}, "out of order"),
        ({"chunks": [[35 * MS, 10], [72 * MS, 10]]}, "first chunk and its mark differ by 3.0 ms"),
        ({"chunks": [[32 * MS, 10], [90 * MS, 10]]}, "ended before its last chunk"),
    ],
)
def test_times_that_do_not_reconcile_are_flagged(change: dict[str, Any], fault: str) -> None:
    assert imbalance(stored()) == []
    assert any(fault in reason for reason in imbalance({**stored(), **change}))


def test_a_first_chunk_stamped_after_the_whole_download_is_flagged() -> None:
    kept = stored(chunks_ms=(1072.0, 1072.0))  # the mark says 1032
    assert any("differ by 40.0 ms" in reason for reason in imbalance(kept))
