"""What a run must refuse, and what its exit status and its verdict must be about."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from stt import jsonl, results, run, stored
from stt.arm import Arm
from stt.config import compose
from stt.errors import ResultsError
from stt.remote import other
from stt.run import _take_turns
from stt.sinks import Sink

QUICK = ["translator=echo", "tts=tone", "measure.warmup_max=0"]


def test_a_turn_is_a_whole_message(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("One two. Three four. Five six.\nSeven.\nEight nine. Ten.\n")
    cfg, chosen = compose([*QUICK, f"source.path={corpus}", "measure.shuffle=false"])
    arm = Arm(cfg, chosen, tmp_path / "r")
    arm.load()
    spoken = []
    for _ in arm.messages():
        spoken.append(len(stored.records(tmp_path / "r")[0]))
    arm.finish()
    assert spoken == [3, 4, 6]
    assert arm.exit_status == 0


@pytest.mark.parametrize(
    ("limit", "passes", "expected"), [("null", 1, 4), ("3", 2, 6), ("2", 1, 2)]
)
def test_the_bar_is_full_when_all_is_said(tmp_path, limit, passes, expected):
    """It counted 73 sentences of 70 messages."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("One two. Three four. Five six.\nSeven.\nEight nine. Ten.\nEleven.\n")
    asked = [f"measure.limit={limit}", f"measure.passes={passes}", "measure.shuffle=false"]
    cfg, chosen = compose([*QUICK, *asked, f"source.path={corpus}", "resume=true"])
    for left in (expected, expected - 1):
        arm = Arm(cfg, chosen, tmp_path / "r")
        arm.load()
        assert arm.expected == left
        messages = arm.messages()
        next(messages, None)
        messages.close()
        arm.finish()
    arm = Arm(cfg, chosen, tmp_path / "r")
    arm.load()
    left = arm.expected
    assert len(list(arm.messages())) == left
    arm.finish()


@pytest.mark.parametrize("source", ["corpus_open", "stdin"])
def test_a_source_that_does_not_wait_cannot_take_turns(stt_run, tmp_path, source):
    done = stt_run(*QUICK, f"source={source}", "measure.against=[baseline]", f"hydra.run.dir={tmp_path / 'r'}")  # fmt: skip
    assert done.returncode == 2
    assert f"source={source} goes on while another arm speaks" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sound_card_plays_on_while_another_arm_is_timed(stt_run, tmp_path):
    done = stt_run(*QUICK, "sink=speaker", "measure.against=[baseline]", f"hydra.run.dir={tmp_path / 'r'}")  # fmt: skip
    assert done.returncode == 2
    assert "sink=speaker goes on while another arm speaks" in done.stderr


CONDITIONS = ["device.threads=1", "pipeline.timeout_s=7", "target.limit_ms=99", "sink=wav", "measure.limit=3"]  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_another_arm_is_measured_under_the_same_conditions(tmp_path, device):
    cfg, chosen = compose(["translator=echo", f"device={device}", "sink.path=/elsewhere", "measure.against=[baseline]", *CONDITIONS])  # fmt: skip
    made, picked, _ = other("baseline", chosen, tmp_path / "r", cfg)
    for part in ("source", "segment", "language", "target", "device"):
        assert made[part] == cfg[part], part
    assert (made.pipeline.timeout_s, made.pipeline.overlap) == (7, False)
    assert (picked["device"], picked["sink"]) == (device, "wav")
    assert picked["translator"] == "embedded_fp32_beam3"  # what the experiment is about
    assert made.sink.path is None  # not among the files of the first
    assert made.measure.against == []  # whoever it is compared with, it is the same run


def test_what_an_experiment_sets_itself_stays_and_is_said(tmp_path, monkeypatch, capsys, project):
    (project / "conf" / "experiment" / "own.yaml").write_text(
        "# @package _global_\ndevice:\n  threads: 3\npipeline:\n  timeout_s: 9\n"
    )
    monkeypatch.setattr("stt.config.config_dir", lambda: project / "conf")
    cfg, chosen = compose(CONDITIONS)
    made, _, _ = other("own", chosen, tmp_path / "r", cfg)
    assert (made.device.threads, made.pipeline.timeout_s, made.target.limit_ms) == (3, 9, 99)
    said = "stt: own is measured with its own device.threads=3, pipeline.timeout_s=9\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["source=stdin", "tts.delay_ms=0.0,5.0", "-m"], "cannot be swept over"),
        (["measure.limit=1", "sink=wav", "sink.path=/proc/nope"], "Choose another sink.path"),
    ],
)
def test_what_cannot_work_is_said_in_a_sentence(stt_run, tmp_path, arguments, said):
    place = f"sweep.dir={tmp_path}" if "-m" in arguments else f"run.dir={tmp_path / 'r'}"
    done = stt_run(*QUICK, f"hydra.{place}", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "multirun.yaml").exists()


def test_a_resumed_session_still_knows_its_failures(stt_run, tmp_path):
    folder = tmp_path / "r"
    command = [*QUICK, "measure.limit=3", f"hydra.run.dir={folder}"]
    assert stt_run(*command).returncode == 0
    first, *others = (folder / stored.RECORDS).read_text(encoding="utf-8").splitlines()
    failed = json.dumps(json.loads(first) | {"status": "failed", "error": "a test made it so"})
    (folder / stored.RECORDS).write_text("\n".join([failed, *others, ""]), encoding="utf-8")
    done = stt_run(*command, "resume=true")
    assert done.returncode == 1, "one utterance of the session failed"
    assert "1 failed" in done.stdout
    assert results.load(folder)[0].header["sessions"][-1]["counts"] == {"failed": 1, "ok": 2}


def test_a_resumed_session_still_knows_that_it_drifted(stt_run, tmp_path):
    folder = tmp_path / "r"
    command = [*QUICK, "measure.limit=60", f"hydra.run.dir={folder}"]
    assert stt_run(*command).returncode == 0
    records, _ = jsonl.read(folder / stored.RECORDS)
    for number, record in enumerate(records):  # twice as slow at the end as at the beginning
        at_ns = int(1e8 * (1 + number / len(records)))
        record["chunks"] = [[at_ns, samples] for _, samples in record["chunks"]]
        record["marks_ns"] |= {
            "first_chunk": record["marks_ns"]["arrived"] + at_ns,
            "synthesize_end": 2 * at_ns,
        }
    lines = [json.dumps(record) for record in records]
    (folder / stored.RECORDS).write_text("\n".join([*lines, ""]), encoding="utf-8")
    stt_run(*command, "resume=true")
    valid = results.load(folder)[0].header["valid"]
    assert valid == {"ok": False, "reasons": ["latency drifted during the run"]}


def test_a_session_without_text_has_no_verdict(tmp_path):
    command = [sys.executable, "-m", "stt.run", *QUICK, "source=stdin", f"hydra.run.dir={tmp_path / 'r'}"]  # fmt: skip
    say = {"capture_output": True, "text": True, "check": False, "timeout": 60}
    assert subprocess.run(command, input="One. Two. Three.\n", **say).returncode == 0
    done = subprocess.run(command, input="", **say)
    assert done.returncode == 2
    assert done.stderr.startswith("stt: Nothing arrived on standard input")
    assert "PASS" not in done.stdout
    assert len(results.read(tmp_path / "r")) == 3, "the earlier session is there"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_sweep_whose_job_was_killed_did_not_pass(tmp_path, monkeypatch, capsys):
    dies = tmp_path / "dies"
    dies.write_text("#!/bin/sh\nkill -9 $$\n")
    dies.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(dies))
    assert run._sweep([(Path("r"), ["translator=echo", "hydra.run.dir=r"])], 0) == [1]
    assert "signal 9 ended hydra.run.dir=r" in capsys.readouterr().err


class Logged:
    """An arm of `count` messages that notes when it speaks."""

    def __init__(self, name, count, log):
        self.name, self.count, self.log, self.expected = name, count, log, count

    def messages(self):
        for _ in range(self.count):
            self.log.append(self.name)
            yield True


def test_arms_take_turns_and_every_order_is_followed_by_its_mirror_image():
    """Otherwise an arm that always speaks first, or a machine that drifts, looks like a faster engine."""
    log = []
    _take_turns([Logged(name, 40, log) for name in "abc"], seed=0)
    rounds = ["".join(log[i : i + 3]) for i in range(0, len(log), 3)]
    assert all(sorted(spoken) == ["a", "b", "c"] for spoken in rounds)
    assert all(
        mirror == spoken[::-1] for spoken, mirror in zip(rounds[::2], rounds[1::2], strict=True)
    )
    assert len(set(rounds[::2])) > 3


def test_a_run_whose_end_cannot_be_written_still_closes_its_audio(tmp_path, monkeypatch):
    cfg, chosen = compose([*QUICK, "sink=wav", "measure.limit=3"])
    arm = Arm(cfg, chosen, tmp_path / "r")
    arm.load()
    list(arm.utterances())
    monkeypatch.setattr(
        results.jsonl, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(ResultsError):
        arm.finish()
    with wave.open(str(tmp_path / "r" / "audio" / "run.wav")) as whole:
        assert whole.getnframes() > 24000


class Speech(Sink):
    """Its end is lost when it is closed, unless it was stopped before."""

    def __init__(self):
        self.stopped = False

    def write(self, utterance_id, chunk):
        pass

    def stop(self):
        self.stopped = True

    def close(self):
        if not self.stopped:
            raise OSError("the sound card failed: unplugged")


def spoken_aloud(folder):
    cfg, chosen = compose([*QUICK, "measure.limit=3"])
    arm = Arm(cfg, chosen, folder)
    arm.sink = Speech()
    arm.load()
    list(arm.utterances())
    return arm


def test_ctrl_c_while_the_end_is_written_silences_what_is_left(tmp_path, monkeypatch):
    arm = spoken_aloud(tmp_path / "r")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(results.RunFolder, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        arm.finish()
    assert arm.sink.stopped


def test_a_run_whose_last_speech_was_lost_is_neither_complete_nor_valid(tmp_path, caplog):
    arm = spoken_aloud(tmp_path / "r")
    arm.finish()
    why = "the last audio is lost: the sound card failed: unplugged"
    assert results.load(tmp_path / "r")[0].header["valid"] == {"ok": False, "reasons": [why]}
    assert results.load(tmp_path / "r")[0].header["sessions"][-1]["counts"] == {"ok": 3}
    assert arm.exit_status == 1
    assert caplog.messages == [why]


def test_a_run_whose_times_do_not_add_up_is_not_valid(tmp_path, monkeypatch):
    cfg, chosen = compose([*QUICK, "measure.limit=3"])
    arm = Arm(cfg, chosen, tmp_path / "r")
    arm.load()
    kept = stored.record

    def early(*given, **more):
        found = kept(*given, **more)
        found["marks_ns"]["synthesize_end"] = 0
        return found

    monkeypatch.setattr(stored, "record", early)
    list(arm.utterances())
    arm.finish()
    valid = results.load(tmp_path / "r")[0].header["valid"]
    assert not valid["ok"]
    assert "do not add up" in valid["reasons"][0]
    [faults] = results.read(tmp_path / "r")["faults"].unique()
    assert faults.count("do not add up") == 1
