"""The doctor tells what runs here, what is missing and how to get it."""

import os
import subprocess
import sys
import time

import pytest

from stt.config import options
from stt.doctor import TRIED, main


def doctor(*arguments):
    command = [sys.executable, "-m", "stt.doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.engine
def test_what_runs_here_is_ready():
    found = doctor("translator=embedded", "tts=openjtalk", "sink=wav")
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "translator=embedded"], ["ok", "tts=openjtalk"], ["ok", "sink=wav"],
    ]  # fmt: skip
    assert all("ready" in line for line in lines)


def test_what_does_not_run_says_what_to_do():
    found = doctor("translator=echo", "tts=piper")
    assert found.returncode == 1
    assert "ok  translator=echo" in found.stdout
    assert "--  tts=piper" in found.stdout
    assert "tts.model=/path/to/voice.onnx" in found.stdout or "'.[piper]'" in found.stdout
    assert "Traceback" not in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (("tts=piper", "tts.model=/tmp/none.onnx"), ("none.onnx", "'.[piper]'")),
        (("translator=echo", "tts=tone", "tts.ms_per_char=50"), ("ok  tts=tone",)),
    ],
)
def test_a_setting_of_a_named_engine_reaches_it(asked, wanted):
    found = doctor(*asked)
    assert any(text in found.stdout for text in wanted), found.stdout + found.stderr
    assert not found.stderr


def test_another_device_is_tried_everywhere():
    found = doctor("device=mps", "translator=embedded")
    assert found.returncode == 1
    assert "mps" in found.stdout


def test_an_unknown_name_is_answered_with_the_nearest():
    found = doctor("translator=embeded")
    assert found.returncode == 2
    assert "Nearest: embedded" in found.stderr
    assert not found.stdout


def test_a_reader_that_goes_early_costs_nothing():
    """`python -m stt.doctor | head -1`"""
    command = [sys.executable, "-m", "stt.doctor", "translator=echo", "tts=tone"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (1, b"")


def test_stopping_it_is_no_traceback(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stt.doctor.ask", stopped)
    assert main([]) == 130
    assert capsys.readouterr().err == "stt.doctor: stopped\n"


def test_what_nobody_reads_any_more_is_not_tried(monkeypatch):
    """`python -m stt.doctor | head -1` does not wait for engines that have not begun."""
    asked = []
    monkeypatch.setattr(
        "stt.doctor.ask", lambda choice, _: asked.append(choice) or time.sleep(0.1) or (True, "ok")
    )
    reader, writer = os.pipe()
    os.close(reader)
    tried = sum(len(options(group)) for group in TRIED)
    with open(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        main([])
        assert 0 < len(asked) < tried
