"""What arrives is spoken once, and its clock runs from its arrival, whatever waits or is resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from stt import jsonl, results, stored
from stt.metrics import metrics

QUICK = ["translator=echo", "tts=tone", "measure.warmup_max=0"]


def test_a_message_of_two_sentences_is_completed_on_resume(stt_run, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("One is said. Two is not.\nThree comes later.\n", encoding="utf-8")
    arguments = [*QUICK, f"source.path={corpus}", f"hydra.run.dir={tmp_path / 'r'}"]
    assert stt_run(*arguments).returncode == 0
    records = tmp_path / "r" / stored.RECORDS
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(lines[0])  # killed after the first sentence
    assert stt_run(*arguments, "resume=true").returncode == 0
    assert [r["id"] for r in jsonl.read(records)[0]] == ["s001", "s001.2", "s002"]


def speak(tmp_path, *arguments, write):
    command = [sys.executable, "-m", "stt.run", "source=stdin", *QUICK, *arguments]
    with subprocess.Popen(
        [*command, f"hydra.run.dir={tmp_path / 'r'}"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as job:  # fmt: skip
        write(job.stdin)
        job.stdin.close()
        assert job.wait(60) in (0, 1), job.stderr.read()
    return jsonl.read(tmp_path / "r" / stored.RECORDS)[0]


@pytest.mark.skipif(os.name != "posix", reason="standard input is watched on POSIX")
def test_text_that_waits_for_a_slow_engine_has_arrived_when_it_came(tmp_path):
    def write(pipe):
        time.sleep(2)  # loaded by now
        for number in range(14):
            message = {"content": [{"type": "text", "text": f"This is number {number}."}]}
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
            time.sleep(0.05)

    records = speak(tmp_path, "translator.delay_ms=200", write=write)
    waited_ms = [metrics(stored)["ttfa_ms"] for stored in records]
    assert len(waited_ms) == 14
    assert waited_ms == sorted(waited_ms), "each waited longer than the one before"


def test_what_is_lost_is_said_also_when_the_warm_up_lost_as_much(stt_run, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Hello there.\n", encoding="utf-8")
    slow = ("translator=echo", "translator.delay_ms=900", "pipeline.timeout_s=0.3", "tts=tone")
    once = ("measure.warmup_max=1", f"source.path={corpus}", f"hydra.run.dir={tmp_path / 'r'}")
    assert stt_run(*slow, *once).stderr.count("took longer than 0.3 s. Speech of s001 is lost") == 2


@pytest.mark.skipif(os.name != "posix", reason="standard input is watched on POSIX")
def test_the_last_line_is_said_while_the_pipe_stays_open_and_its_wait_is_measured(tmp_path):
    def write(pipe):
        pipe.write(b"Build finished\n")
        pipe.flush()
        until_s = time.monotonic() + 30
        while not (records.exists() and records.read_bytes()):
            assert time.monotonic() < until_s, "nothing is said of it"
            time.sleep(0.05)

    records = tmp_path / "r" / stored.RECORDS
    (record,) = speak(tmp_path, "source.quiet_s=0.5", write=write)
    measured = metrics(record)
    assert record["source"] == "Build finished"
    assert measured["ttfa_ms"] >= measured["segment_ms"] >= 500


def test_text_that_comes_faster_than_it_is_spoken_makes_no_run_invalid(tmp_path):
    text = "".join(f"Sentence {n} is here. " for n in range(60))
    speak(tmp_path, "translator.delay_ms=5", write=lambda pipe: pipe.write(text.encode()))
    assert results.load(tmp_path / "r")[0].header["valid"] == {"ok": True, "reasons": []}


def test_live_text_of_a_known_name_is_spoken_in_a_session_of_its_own(tmp_path):
    for text in ("Hello.", "Good bye."):
        line = json.dumps({"content": [{"type": "text", "text": text}]}).encode()
        records = speak(tmp_path, "resume=true", write=lambda pipe, line=line: pipe.write(line))
    assert [(r["session"], r["source"]) for r in records] == [(1, "Hello."), (2, "Good bye.")]


def test_an_answer_as_curl_prints_it_is_spoken(tmp_path):
    said = {"role": "assistant", "content": "It works. All of it."}
    answer = {"id": "c", "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}
    content = json.dumps(answer, indent=2).encode()
    records = speak(tmp_path, write=lambda pipe: pipe.write(content))
    assert [record["source"] for record in records] == ["It works.", "All of it."]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "stt: Nothing arrived on standard input: pipe the text to speak into it.\n"),
        ("\n  \n", "Nothing arrived on standard input"),
        ("```python\nprint(1)\n```\n", "code blocks"),
        ('{"content": null, "tool_calls": [{"id": "c"}]}\n', "tools"),
        ('{"content": "Hel\n', "broken JSON (1). If it is to be spoken as it stands, use source.format=text"),
    ],
)  # fmt: skip
def test_why_nothing_is_spoken_is_said_and_no_folder_left(tmp_path, content, why):
    command = [sys.executable, "-m", "stt.run", "source=stdin", "sink=wav", *QUICK[:2]]
    command += ["measure.warmup_max=1"]
    done = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path / 'r'}"],
        input=content, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "wrong",
    ["pipeline.in_flight=0", "device.threads=0", "target.percentile=100", "target.metrics=[fast]"],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_runs(stt_run, tmp_path, wrong):
    done = stt_run(*QUICK, "measure.limit=3", wrong, f"hydra.run.dir={tmp_path / 'r'}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_sweep_of_different_text_ends_without_comparison_and_says_so(stt_run, tmp_path):
    sweep = ["-m", "segment=sentence,clause", f"hydra.sweep.dir={tmp_path}"]
    done = stt_run(*sweep, *QUICK, "measure.limit=100")
    assert done.returncode == 2
    assert "no comparison" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_ends_while_its_engine_hangs(stt_run, tmp_path):
    script = """
import sys, time
from stt.translator import ct2
decode, calls = ct2.CTranslate2._decode, []
def hang(self, source, *given, **options):
    calls.append(source)
    if len(calls) == 3:
        time.sleep(100)
    return decode(self, source, *given, **options)
ct2.CTranslate2._decode = hang
from stt.process import leave
from stt.run import main
leave(main())
"""
    arguments = ["measure.warmup_max=0", "measure.limit=4", "pipeline.timeout_s=1", "tts=tone"]
    done = stt_run(*arguments, f"hydra.run.dir={tmp_path / 'r'}", prefix=("-c", script))
    assert done.returncode == 1, done.stderr
    assert "3 ok, 1 timeout" in done.stdout
