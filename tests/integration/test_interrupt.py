"""Ctrl-C ends a run at once, and costs nothing that was finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave

import pytest

from stt import jsonl, results, stored

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
CLOSED = ["translator.delay_ms=200"]
OPEN = ["tts.delay_ms=200", "source=corpus_open", "source.tokens_per_s=9999", "source.gap_s=0"]


@pytest.fixture
def start():
    """Start a run that writes to `folder`; return it when its first three records are on the disk."""
    started = []

    def begin(folder, *arguments, **streams):
        quick = ["translator=echo", "tts=tone", "measure.warmup_max=0"]
        if "-m" not in arguments:
            quick.append(f"hydra.run.dir={folder}")
        command = [sys.executable, "-m", "stt.run", *arguments, *quick]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            command, text=True, start_new_session=True, preexec_fn=heed, **{**pipes, **streams}
        )
        started.append(process)
        if process.stdin:
            process.stdin.write("".join(line() for _ in range(3)))
            process.stdin.flush()
        records = folder / stored.RECORDS
        deadline = time.monotonic() + 60
        while not (records.exists() and records.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def heed():
    """Signals do what they do in a terminal: tests that run in the background or under nohup pass on that they ignore them."""
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def line():
    return json.dumps({"content": [{"type": "text", "text": "All tests pass now."}]}) + "\n"


def interrupt(process):
    """Press Ctrl-C, which reaches every process of a command; check that all end soon and quietly; return stderr."""
    start_s = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    took_s = time.monotonic() - start_s
    assert process.returncode == 130, err
    assert took_s < 2
    assert "what was finished is recorded" in err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("arguments", [CLOSED, OPEN], ids=["closed loop", "sentences in flight"])
def test_ctrl_c_ends_the_run_at_once_and_the_next_call_completes_it(
    start, stt_run, tmp_path, arguments
):
    folder = tmp_path / "r"
    process = start(folder, *arguments, "measure.limit=10")
    interrupt(process)
    before = results.read(folder)
    finished = list(before.loc[before["status"] == "ok", "id"])
    assert len(finished) >= 3
    assert set(before["status"]) <= {"ok", "cancelled"}
    assert not before["valid"].any(), "half a run must not look like a whole one"

    done = stt_run(*process.args[3:], "resume=true")
    assert done.returncode == 0, done.stderr
    after = results.read(folder)
    assert after["id"].is_unique
    assert set(after["status"]) == {"ok"}
    assert len(after) == 10
    for column in ("total_ms", "session"):  # what was finished was not measured again
        was, now = (frame.set_index("id")[column] for frame in (before, after))
        assert list(was[finished]) == list(now[finished])


def test_ctrl_c_ends_a_live_stream_that_waits_for_text(start, tmp_path):
    process = start(tmp_path / "r", "source=stdin", "sink=wav", stdin=subprocess.PIPE)
    assert f"recorded in {tmp_path / 'r'}\n" in interrupt(process)
    frame = results.read(tmp_path / "r")
    assert list(frame["status"]) == ["ok"] * 3
    assert len(list((tmp_path / "r" / "audio").glob("*.wav"))) == 4  # one each, and all in one


def test_ctrl_c_before_any_text_came_leaves_no_folder_and_says_that_there_is_nothing(tmp_path):
    folder = tmp_path / "r"
    quick = ["translator=echo", "tts=tone", "measure.warmup_max=0", f"hydra.run.dir={folder}"]
    with subprocess.Popen(
        [sys.executable, "-m", "stt.run", "source=stdin", *quick],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while not (folder / stored.HEADER).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "stt: stopped; nothing was measured yet\n"
    assert process.returncode == 130
    assert not folder.exists()


SWEEP = ["-m", "translator.delay_ms=200,100", "hydra.sweep.subdir=r"]
COMPARISON = ["measure.against=[baseline]"]


@pytest.mark.parametrize("arguments", [SWEEP, COMPARISON], ids=["sweep", "comparison"])
def test_ctrl_c_ends_every_process_of_several(start, tmp_path, arguments):
    folder = tmp_path / "r"
    place = [f"hydra.sweep.dir={tmp_path}"] if "-m" in arguments else []
    process = start(folder, *arguments, *place, "measure.limit=100")
    interrupt(process)
    frame = results.read(tmp_path)
    assert (frame["status"] == "ok").sum() >= 3
    assert not frame["valid"].any()
    assert not frame.duplicated(["run", "id"]).any(), "recorded once, as ok or as cancelled"
    for file in tmp_path.rglob(stored.RECORDS):
        jsonl.Appender(file).close()  # refused while a process is left that writes there
        assert json.loads((file.parent / stored.HEADER).read_bytes())["sessions"][0]["ended"]


@pytest.mark.parametrize("signal_", ["SIGTERM", "SIGHUP"])
def test_sigterm_and_a_closed_terminal_are_ctrl_c_and_leave_playable_audio(
    signal_, start, tmp_path
):
    process = start(tmp_path / "r", "source=stdin", "sink=wav", stdin=subprocess.PIPE)
    process.send_signal(getattr(signal, signal_))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert results.read(tmp_path / "r")["status"].tolist() == ["ok"] * 3
    lengths = {}
    for path in (tmp_path / "r" / "audio").glob("*.wav"):
        with wave.open(str(path)) as file:
            lengths[path.stem] = file.getnframes()
    assert lengths.pop("run") == sum(lengths.values()) > 0


def test_sigterm_to_a_sweep_ends_the_run_in_progress(start, tmp_path):
    process = start(tmp_path / "r", *SWEEP, f"hydra.sweep.dir={tmp_path}", "measure.limit=100")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    jsonl.Appender(tmp_path / "r" / stored.RECORDS).close()  # nobody writes there any more
