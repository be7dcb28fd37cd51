"""Text replayed at a language model's pace: what a listener waits for is counted from the schedule."""

from __future__ import annotations

import json
from itertools import islice, pairwise

import pytest

from stt import jsonl, results, stored
from stt.device import Device
from stt.engine import Unit
from stt.messages import Status
from stt.metrics import METRICS, imbalance
from stt.pipeline import Pipeline, Settings
from stt.segment import Segmenter
from stt.sinks import Discard
from stt.sources import CorpusClosed, CorpusOpen, CorpusPoisson
from stt.translator.echo import Echo
from stt.tts.tone import Tone

DELAY_S = 0.06


@pytest.fixture(scope="module")
def replayed(tmp_path_factory, stt_run):
    folder = tmp_path_factory.mktemp("replayed") / "r"
    done = stt_run(
        "source=corpus_open",
        "measure.shuffle=false",
        "source.tokens_per_s=300",
        "source.gap_s=0.02",
        "translator=echo",
        "tts=tone",
        "measure.limit=25",
        f"hydra.run.dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_replayed_sentences_are_spoken_whole_once_and_in_order(replayed):
    frame = results.read(replayed)
    frame = frame[frame["phase"] == "measure"]
    lines = CorpusClosed(None).lines[:25]
    wanted = [(line.id, line.text, line.bucket, line.reference) for line in lines]
    columns = frame[["id", "source", "bucket", "reference"]]
    assert list(columns.itertuples(index=False, name=None)) == wanted
    assert set(frame["status"]) == {"ok"}
    assert set(frame["source_name"]) == {"corpus_open"}


def test_no_duration_of_a_replay_is_negative_and_every_ledger_balances(replayed):
    frame = results.read(replayed)
    assert (frame[list(METRICS)] >= 0).all(axis=None)
    for line in (replayed / "records.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        assert imbalance(record) == []
        assert min(record["marks_ns"].values()) == record["marks_ns"]["arrived"] == 0


def test_the_end_of_a_sentence_is_known_with_the_next_token_as_it_is_live(replayed):
    frame = results.read(replayed)
    assert (frame.loc[frame["phase"] == "measure", "segment_ms"] >= 1000 / 300).all()


def test_latency_counts_from_the_scheduled_arrival_however_late_the_pipeline_is(tmp_path):
    """Sentences are due faster than they can be translated: each waits longer than the one before."""
    (tmp_path / "corpus.txt").write_text("One two three.\n" * 12)
    source = CorpusOpen(str(tmp_path / "corpus.txt"), tokens_per_s=1000, gap_s=0.01)
    pipeline = Pipeline(
        Settings(overlap=True, in_flight=2, timeout_s=30),
        Segmenter(Unit.sentence, 600, 24),
        Echo(1e3 * DELAY_S),
        Tone(Unit.clause, 10, 100, 24_000, 0.0),
        Device("cpu", 1),
        language="jpn_Jpan",
    )
    pipeline.load()
    said = list(pipeline.run(source.deltas(), Discard()))
    assert [u.status for u in said] == [Status.ok] * 12
    due_ns = [u.marks_ns["arrived"] for u in said]
    tokens = sum(slip is not None for slip in source.slip_ns) // 12
    step_ns = tokens * 1_000_000 + 10_000_000
    assert [later - due_ns[0] for later in due_ns] == [n * step_ns for n in range(12)]
    for number, utterance in enumerate(said):
        latency_s = (utterance.marks_ns["first_chunk"] - due_ns[number]) / 1e9
        assert latency_s >= (number + 1) * DELAY_S - number * step_ns / 1e9
    assert max(source.slip_ns) > 0.1e9, "the reader was held up, and its schedule did not move"


def test_people_who_come_at_random_wait_for_each_other_but_not_for_a_loudspeaker(tmp_path, stt_run):
    """A voice of 20 ms for 100 sentences a second, half of what there is to do: a queue without an end."""
    done = stt_run(
        *("source=corpus_poisson", "source.per_s=100", "measure.limit=80", "translator=echo"),
        *(
            "tts=tone",
            "tts.delay_ms=20",
            "measure.shuffle=false",
            f"hydra.run.dir={tmp_path / 'r'}",
        ),
    )
    [run] = results.load(tmp_path / "r")
    records = results.last_session(run)
    lines = CorpusClosed(None).lines[:80]
    assert [r["source"] for r in records] == [line.text for line in lines]
    due = [pause for _, [(_, pause)] in CorpusPoisson(None, per_s=100.0, seed=0).schedule()]
    came = [b["arrived_ns"] - a["arrived_ns"] for a, b in pairwise(records)]
    assert came == [round(pause * 1e9) for pause in due[:79]]
    free_s = latest_s = 0.0  # what a queue of 20 ms a sentence does, at the least
    for record in records:
        arrived_s = (record["arrived_ns"] - records[0]["arrived_ns"]) / 1e9
        free_s = max(free_s, arrived_s) + 0.02
        latest_s = record["marks_ns"]["first_chunk"] / 1e9
        assert latest_s >= free_s - arrived_s - 1e-3
    assert latest_s > 0.3, "it was overloaded"
    assert not any("loudspeaker_free_ns" in r.get("facts", {}) for r in records)
    assert "heard later" not in done.stdout
    assert "INVALID run: latency drifted during the run" in done.stdout


def test_a_pass_that_is_resumed_has_its_own_times_not_those_of_the_first(tmp_path, stt_run):
    command = [
        *("source=corpus_poisson", "source.per_s=100", "measure.limit=10", "measure.passes=2"),
        *("translator=echo", "tts=tone", "measure.warmup_max=0", f"hydra.run.dir={tmp_path}"),
    ]
    assert stt_run(*command).returncode == 0
    file = tmp_path / stored.RECORDS
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:14]))  # killed in the second pass
    assert stt_run(*command, "resume=true").returncode == 0
    source = CorpusPoisson(None, per_s=100.0, seed=0)
    passes = [[pause for _, [(_, pause)] in islice(source.schedule(), 10)] for _ in (1, 2)]
    came = [record["arrived_ns"] for record in jsonl.read(file)[0][14:]]
    assert [b - a for a, b in pairwise(came)] == [round(1e9 * s) for s in passes[1][4:9]]
    assert passes[0] != passes[1]
