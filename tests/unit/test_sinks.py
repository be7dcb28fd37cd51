"""WAV files hold what was spoken, where the user asked for it, and never replace one another."""

from __future__ import annotations

import wave
from itertools import groupby

import numpy as np
import pytest

from stt import sinks
from stt.messages import AudioChunk
from stt.sinks import Wav, spoken


def speak(sink, name, level, chunks=3, rate=24_000):
    for _ in range(chunks):
        sink.write(name, AudioChunk(np.full(rate // 10, level, np.float32), rate))
    sink.end(name)


def heard(path):
    """Seconds, rate, and the distinct levels in order."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        levels = [round(level, 2) for level, _ in groupby(samples.tolist())]
        return samples.size / file.getframerate(), file.getframerate(), levels


def test_each_utterance_has_a_file_and_one_file_has_all_in_order(tmp_path):
    sink = Wav(None)
    sink.open(tmp_path)
    speak(sink, "a", 0.25)
    speak(sink, "b", 0.5, chunks=5)
    sink.close()
    sink.close()
    audio = tmp_path / "audio"
    assert heard(audio / "a.wav") == (0.3, 24_000, [0.25])
    assert heard(audio / "b.wav") == (0.5, 24_000, [0.5])
    assert heard(audio / "run.wav") == (0.8, 24_000, [0.25, 0.5])
    assert len(list(audio.iterdir())) == 3


def test_all_that_was_written_can_be_played_though_nothing_was_closed(tmp_path):
    sink = Wav(None)
    sink.open(tmp_path)
    speak(sink, "a", 0.25)
    sink.write("b", AudioChunk(np.full(2400, 0.5, np.float32), 24_000))
    files = {path.stem: heard(path) for path in (tmp_path / "audio").iterdir()}
    sink.close()
    assert files == {
        "a": (0.3, 24_000, [0.25]),
        "b": (0.1, 24_000, [0.5]),
        "run": (0.4, 24_000, [0.25, 0.5]),
    }


def test_an_utterance_without_audio_leaves_no_file(tmp_path):
    sink = Wav(str(tmp_path / "mine"))
    sink.open(tmp_path / "r")
    sink.end("silent")
    sink.close()
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "r").exists()


def test_a_later_session_keeps_the_files_of_the_earlier_one(tmp_path):
    for level in (0.25, 0.5):
        sink = Wav(None)
        sink.open(tmp_path)
        speak(sink, "a", level)
        sink.close()
    levels = {path.name: heard(path)[2] for path in (tmp_path / "audio").iterdir()}
    assert levels == {
        "a.wav": [0.25],
        "a-2.wav": [0.5],
        "run.wav": [0.25],
        "run-2.wav": [0.5],
    }


@pytest.mark.parametrize(
    "name",
    ["../../escape", "/etc/passwd", "..", ".", "", "a/b\\c", "x" * 500, "名前", "a\0b", "run"],
)
def test_whatever_an_utterance_is_called_its_file_stays_in_the_folder(tmp_path, name):
    sink = Wav(None)
    sink.open(tmp_path / "inside")
    speak(sink, name, 0.25)
    speak(sink, name, 0.5)  # the same name again
    sink.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.parent for path in files} == {tmp_path / "inside" / "audio"}
    assert sorted(heard(path)[2] for path in files) == [[0.25], [0.25, 0.5], [0.5]]


def test_a_voice_that_changes_its_rate_keeps_its_pace_in_the_file_of_all(tmp_path):
    sink = Wav(None)
    sink.open(tmp_path)
    speak(sink, "a", 0.25, rate=24_000)
    speak(sink, "b", 0.5, rate=48_000)
    sink.close()
    assert heard(tmp_path / "audio" / "b.wav")[:2] == (0.3, 48_000)
    assert heard(tmp_path / "audio" / "run.wav") == (0.6, 24_000, [0.25, 0.5])


def test_a_run_too_long_for_one_file_goes_on_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "LONGEST_FRAMES", 4000)
    sink = Wav(None)
    sink.open(tmp_path)
    speak(sink, "a", 0.25)
    sink.close()
    audio = tmp_path / "audio"
    assert heard(audio / "run.wav") == (0.2, 24_000, [0.25])
    assert heard(audio / "run-2.wav") == (0.1, 24_000, [0.25])
    assert heard(audio / "a.wav") == (0.3, 24_000, [0.25])


@pytest.mark.parametrize("name", ["m1.2", "../../escape", "a/b", "名前", ""])
@pytest.mark.parametrize("place", [None, "mine"])
def test_the_file_of_an_utterance_is_found_unless_two_sessions_wrote_one(tmp_path, name, place):
    path = place and str(tmp_path / place)
    assert spoken(tmp_path, path, name) is None
    for found in (True, False):
        sink = Wav(path)
        sink.open(tmp_path)
        speak(sink, name, 0.25)
        sink.close()
        file = spoken(tmp_path, path, name)
        assert (file is not None) == found
        assert file is None or heard(file) == (0.3, 24_000, [0.25])


def test_a_run_in_which_nothing_was_said_keeps_no_folder_for_it(tmp_path):
    sink = Wav(None)
    sink.open(tmp_path)
    sink.close()
    assert not list(tmp_path.iterdir())
