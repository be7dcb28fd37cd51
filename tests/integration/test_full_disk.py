"""A full disk costs what no longer fits, is said in a sentence, and leaves a run that can be read.

The disk is a limit on the size of a file (EFBIG where a full disk says ENOSPC): it needs no privilege.
"""

from __future__ import annotations

import wave

import numpy as np
import pytest

from stt import results

pytest.importorskip("resource", reason="no limits on file sizes on this system")
QUICK = ["translator=echo", "tts=tone", "measure.warmup_max=0", "measure.shuffle=false"]
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
del sys.argv[1]
from stt.run import main
sys.exit(main())
"""


@pytest.fixture
def run_with_room(stt_run, tmp_path):
    """Run with room for so many bytes in each file of the run folder, tmp_path / "r"."""

    def run(room_bytes, *arguments):
        folder = f"hydra.run.dir={tmp_path / 'r'}"
        return stt_run(str(room_bytes), *QUICK, folder, *arguments, prefix=("-c", LIMITED))

    return run


def test_a_run_whose_records_no_longer_fit_stops_with_a_sentence_and_resumes(
    run_with_room, stt_run, tmp_path
):
    done = run_with_room(20_000, "measure.limit=50")
    before = results.read(tmp_path / "r")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{len(before)} records there are safe" in done.stderr
    assert "a corpus goes on with resume=true" in done.stderr, "what came live does not"
    assert 10 < len(before) < 50
    assert set(before["status"]) == {"ok"}
    assert not before["valid"].any()

    folder = f"hydra.run.dir={tmp_path / 'r'}"
    done = stt_run(*QUICK, folder, "measure.limit=50", "resume=true")  # now there is room
    assert done.returncode == 0, done.stderr
    after = results.read(tmp_path / "r")
    assert len(after) == 50
    assert after["id"].is_unique
    assert list(after["total_ms"][: len(before)]) == list(before["total_ms"])


def test_audio_that_does_not_fit_costs_its_utterance_and_the_run_goes_on(run_with_room, tmp_path):
    done = run_with_room(100_000, "measure.limit=12", "sink=wav", "tts.ms_per_char=50")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    frame = results.read(tmp_path / "r")
    assert len(frame) == 12
    assert set(frame["status"]) == {"ok", "failed"}
    assert frame["status"].iloc[0] == "ok"
    lost = frame[frame["status"] == "failed"]
    assert lost["error"].str.contains("File too large").all()
    assert lost["error"].str.startswith("sink").all(), "no engine is to blame"
    assert f"{len(lost)} failed" in done.stdout
    assert done.stderr.count("WARNING sink: ") == 1, "said once, when it happens"
    assert done.stdout.rstrip().splitlines()[-1].startswith("total_ms:")


def test_a_report_that_does_not_fit_does_not_hide_the_verdict(run_with_room, tmp_path):
    done = run_with_room(30_000, "measure.limit=20")  # records fit, pictures do not
    assert len(results.read(tmp_path / "r")) == 20
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr
    assert done.returncode != 0
    assert done.stdout.rstrip().splitlines()[-1].startswith("total_ms:")


SINK = """
import resource, sys
from pathlib import Path
import numpy as np
from stt.messages import AudioChunk
from stt.sinks import Wav

def speak(name, seconds):
    try:
        for _ in range(10 * seconds):
            sink.write(name, AudioChunk(np.full(2400, 0.5, np.float32), 24_000))
    finally:
        sink.end(name)

sink = Wav(None)
sink.open(Path(sys.argv[1]))
speak("before", int(sys.argv[2]))
unlimited = resource.RLIM_INFINITY
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), unlimited))
try:
    speak("lost", 3)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
speak("after", 2)
sink.close()
"""


@pytest.mark.parametrize(
    ("before_s", "room_bytes"),
    [(0, 60_001), (1, 60_001), (1, 0)],
    ids=["one file is full", "the file of all is full", "nothing fits"],
)
def test_wav_files_are_whole_whatever_fits_and_go_on_when_there_is_room_again(
    stt_run, tmp_path, before_s, room_bytes
):
    def seconds(name):
        with wave.open(str(tmp_path / "audio" / f"{name}.wav")) as file:
            frames = file.readframes(file.getnframes())
            assert len(frames) == 2 * file.getnframes()
            assert set(np.frombuffer(frames, "<i2")) == {16384}, "no byte is left out"
            return file.getnframes() / file.getframerate()

    done = stt_run(str(tmp_path), str(before_s), str(room_bytes), prefix=("-c", SINK))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "File too large\n"
    assert seconds("after") == 2
    assert (tmp_path / "audio" / "lost.wav").exists() == (room_bytes > 0)
    lost_s = seconds("lost") if room_bytes else 0
    assert seconds("run") == pytest.approx(before_s + lost_s + 2, abs=0.1)
