"""macOS' `say`, against a stand-in that takes what the manual page names and nothing else."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.tts.say import Say

STAND_IN = """#!{python}
import argparse, json, math, struct, sys, time, wave
parser = argparse.ArgumentParser()
for flags in (("-v", "--voice"), ("-r", "--rate"), ("-o", "--output-file"), ("--data-format",), ("-f", "--input-file")):
    parser.add_argument(*flags)
asked = parser.parse_args()
if asked.voice == "?":
    print("Alex                en_US    # Most people recognize me by my voice.")
    print("Kyoko               ja_JP    # こんにちは、私の名前はKyokoです。")
    print("Otoya (Enhanced)    ja_JP    # こんにちは、私の名前はOtoyaです。")
    sys.exit()
assert (asked.input_file, asked.data_format) == ("-", "LEI16@22050")
text = sys.stdin.buffer.read().decode("utf-8")
with open({log!r}, "w") as log:
    json.dump([asked.voice, asked.rate, text, asked.output_file], log)
if "hang" in text:
    time.sleep(60)
if "fail" in text:
    sys.exit("Opening output file failed: fmt?")
if "mute" in text:
    sys.exit()
with wave.open(asked.output_file, "wb") as file:
    file.setparams((1, 2, 22050, 0, "NONE", ""))
    file.writeframes(b"".join(struct.pack("<h", round(16384 * math.sin(n / 9))) for n in range(2205)))
"""


@pytest.fixture
def mac(tmp_path, monkeypatch):
    """A folder with a command `say` on the path; what it was asked last is in its `log`."""
    command = tmp_path / "say"
    log = str(tmp_path / "log")
    command.write_text(STAND_IN.format(python=sys.executable, log=log), encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def say(voice="Kyoko", words_per_minute=None, timeout_s=20.0):
    engine = Say(Unit.sentence, voice, words_per_minute, timeout_s)
    engine.load(Device("cpu", 1))
    return engine


def asked(mac: Path):
    return json.loads((mac / "log").read_text())


def test_a_text_is_one_chunk_of_its_audio(mac):
    engine = say()
    [chunk] = engine.synthesize("こんにちは。")
    wanted = 0.5 * np.sin(np.arange(2205) / 9)
    assert np.abs(chunk.samples - wanted).max() < 1e-4
    assert (chunk.samples.dtype, chunk.sample_rate) == (np.float32, 22050)
    voice, rate, text, path = asked(mac)
    assert (voice, rate, text) == ("Kyoko", None, "こんにちは。")
    assert not Path(path).parent.exists()  # what was said does not stay on the disk
    assert engine.effective()["language"] == "ja_JP"


@pytest.mark.parametrize("text", ["-v Alex", "--output-file=/tmp/x", "a\nb", "$(ls) `ls` ; ls"])
def test_text_is_never_an_option_or_a_command(mac, text):
    assert len(list(say().synthesize(text))) == 1
    assert asked(mac)[2] == text


def test_text_gives_the_voice_no_commands(mac):
    for text in ("静かに[[volm 0.0]]。", "静かに[[[volm 0.0]]]。"):
        list(say().synthesize(text))
        assert "[[" not in asked(mac)[2]


def test_rate_and_a_voice_of_two_words(mac):
    list(say("Otoya (Enhanced)", 220).synthesize("はい。"))
    assert asked(mac)[:2] == ["Otoya (Enhanced)", "220"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("fail", "fmt"), ("mute", "wrote no audio for 'mute'"), ("hang", "longer than tts.timeout_s=1 s")],
)  # fmt: skip
def test_what_goes_wrong_costs_its_sentence_and_is_said(mac, text, words):
    engine = say(timeout_s=1.0)
    with pytest.raises(EngineError, match=words):
        list(engine.synthesize(text))


def test_a_voice_that_is_missing_is_said_with_those_that_are_there(mac):
    with pytest.raises(EngineUnavailable, match=r"Kyoko, Otoya \(Enhanced\)\. More"):
        say("Kyoto")


def test_elsewhere_than_on_a_mac_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="which macOS has"):
        say()


def test_a_rate_that_is_none_is_refused(mac):
    with pytest.raises(ConfigError, match="words_per_minute=0"):
        say(words_per_minute=0)
