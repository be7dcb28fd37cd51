"""A trace shows what every stage did when, on one clock."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stt import report, results
from stt.messages import Sentence, Status, Utterance
from stt.stored import record
from stt.trace import TRACKS, trace

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
MS = 1_000_000
SPOKEN = Utterance(
    Sentence("s1", "Hello there.", 5_000 * MS),
    "こんにちは。",
    {
        name: (5_000 + at) * MS
        for name, at in {
            "arrived": 0, "segmented": 1, "translate_start": 2, "first_clause": 10, "translate_end": 15,
            "synthesize_start": 11, "first_chunk": 20, "synthesize_end": 40,
        }.items()
    },
    chunks=((5_020 * MS, 2400), (5_040 * MS, 2400)),
    sample_rate=24_000,
    leading_silence_s=0.01,
)  # fmt: skip


def stored(utterance=SPOKEN, **more):
    return {**record(utterance, session=1, pass_=1, phase="measure"), **more}


def moved(by_ms):
    """The same sentence, so many ms later."""
    return replace(
        SPOKEN,
        marks_ns={name: at + by_ms * MS for name, at in SPOKEN.marks_ns.items()},
        chunks=tuple((at + by_ms * MS, count) for at, count in SPOKEN.chunks),
    )


def lasting(made, cat):
    """What may overlap: pairs of events that begin and end, and lie in others of their track's name."""
    found, events = [], [event for event in made["traceEvents"] if event.get("cat") == cat]
    for key in dict.fromkeys((event["pid"], event["id"]) for event in events):
        outer, inner, *ends = (
            event for event in events if (event["pid"], event["id"]) == key and event["ph"] in "be"
        )
        assert [event["ph"] for event in (outer, inner, *ends)] == ["b", "b", "e", "e"]
        assert [event["name"] for event in (outer, *ends)] == [cat, inner["name"], cat]
        assert (outer["ts"], ends[0]["ts"]) == (inner["ts"], ends[1]["ts"])
        found.append((inner["name"], inner["ts"] / 1e3, (ends[0]["ts"] - inner["ts"]) / 1e3))
    return found


def spans(made, track):
    tid = 1 + TRACKS.index(track)
    return [
        (event["name"], event["ts"] / 1e3, event["dur"] / 1e3)
        for event in made["traceEvents"]
        if event["ph"] == "X" and event["tid"] == tid
    ]


def test_every_stage_has_its_track_and_times_are_those_of_the_record():
    made = trace([("run", stored())])
    assert spans(made, "translate") == [("s1", 2, 13)]
    assert spans(made, "synthesize") == [("s1", 11, 29)]
    assert lasting(made, "sentence") == [("s1", 0, 40)]
    assert lasting(made, "loudspeaker") == [("s1", 20, 200)]  # 4,800 samples
    moments = {e["name"]: e["ts"] / 1e3 for e in made["traceEvents"] if e["ph"] in "in"}
    assert moments == {"first clause": 10, "first chunk": 20, "first audible sample": 30}
    [said] = (event["args"] for event in made["traceEvents"] if event.get("args", {}).get("source"))
    assert said["translation"] == "こんにちは。"
    assert said["ttfa_ms"] == 20


def test_what_a_track_holds_never_overlaps():
    """A closed loop speaks a sentence while a loudspeaker would still play the one before it."""
    made = trace([("run", stored()), ("run", stored(moved(50), id="s2"))])
    assert lasting(made, "loudspeaker") == [("s1", 20, 200), ("s2", 70, 200)]
    slices = [event for event in made["traceEvents"] if event["ph"] == "X"]
    for track in {event["tid"] for event in slices}:
        first, second = (event for event in slices if event["tid"] == track)
        assert first["ts"] + first["dur"] <= second["ts"]


def test_sentences_stand_where_they_arrived():
    """The second arrived while the first was still spoken."""
    made = trace([("run", stored()), ("run", stored(moved(30), id="s2"))])
    assert spans(made, "translate") == [("s1", 2, 13), ("s2", 32, 13)]


def test_runs_that_took_turns_share_a_clock_and_others_do_not():
    first, second = stored(), stored(moved(100))
    apart = trace([("a", first), ("b", second)])
    assert spans(apart, "translate") == [("s1", 2, 13), ("s1", 2, 13)]
    turns = trace([("a", {**first, "turns": "t"}), ("b", {**second, "turns": "t"})])
    assert spans(turns, "translate") == [("s1", 2, 13), ("s1", 102, 13)]


def test_records_that_do_not_know_their_arrival_stand_one_after_the_other():
    old = stored()
    del old["arrived_ns"]
    assert spans(trace([("run", old), ("run", old)]), "translate") == [("s1", 2, 13), ("s1", 42, 13)]  # fmt: skip


def test_a_session_resumed_on_another_clock_goes_on_where_it_was():
    again = [stored(moved(-4_000), id="s2"), stored(moved(-3_900), id="s3")]
    made = trace([("run", record) for record in (stored(), *again)])
    assert spans(made, "translate") == [("s1", 2, 13), ("s2", 42, 13), ("s3", 142, 13)]


def test_a_failure_is_there_with_its_reason():
    marks = {name: SPOKEN.marks_ns[name] for name in ("arrived", "segmented", "translate_start")}
    failed = replace(SPOKEN, marks_ns=marks, chunks=(), sample_rate=0, leading_silence_s=None,
                     translation="", status=Status.failed, error="It broke.")  # fmt: skip
    made = trace([("run", stored(failed))])
    assert not any(spans(made, track) for track in TRACKS)
    assert not lasting(made, "loudspeaker")
    [said] = (event["args"] for event in made["traceEvents"] if event.get("args", {}).get("source"))
    assert said["error"] == "It broke."


@pytest.mark.parametrize("run", ["synthetic-fast", "synthetic-flawed"])
def test_a_report_holds_the_trace_of_its_last_session(run, tmp_path):
    [read] = results.load([RUNS / run])
    report.Report(results.read(RUNS / run)).write(tmp_path)
    made = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    begun = [name for name, _, _ in lasting(made, "sentence")]
    assert begun == [stored["id"] for stored in results.last_session(read)]
