"""The sound card plays what was said: a real sound server with a null output, whose monitor is recorded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

RATE = 24_000
TONE = ["translator=echo", "tts=tone", "source=stdin", "measure.warmup_max=0"]
needs = [name for name in ("pulseaudio", "parec", "pactl") if shutil.which(name) is None]


def portaudio():
    found = subprocess.run([sys.executable, "-c", "import sounddevice"], capture_output=True)
    return found.returncode == 0


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(bool(needs), reason=f"no sound server here: {', '.join(needs)} not found"),
    pytest.mark.skipif(not portaudio(), reason="sounddevice finds no PortAudio library"),
]


@pytest.fixture
def room(tmp_path):
    """A sound server of its own; yields the environment in which programs reach it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / ".asoundrc").write_text("pcm.!default {type pulse}\nctl.!default {type pulse}\n")
    address = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{home}/s"}
    environment = {**os.environ, **address}
    modules = ["module-null-sink sink_name=nul",
               f"module-native-protocol-unix auth-anonymous=1 socket={home}/s"]  # fmt: skip
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    with (
        (tmp_path / "server.log").open("wb") as log,
        subprocess.Popen(
            command + [part for module in modules for part in ("-L", module)],
            env=environment, stdout=log, stderr=log,
        ) as server,
    ):  # fmt: skip
        deadline = time.monotonic() + 20
        while subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode:
            if time.monotonic() > deadline or server.poll() is not None:
                server.kill()
                pytest.skip(f"the sound server does not start: {(tmp_path / 'server.log').read_text()[-300:]}")  # fmt: skip
            time.sleep(0.1)
        yield environment
        server.kill()


@pytest.fixture
def microphone(room, tmp_path):
    """Records what the output plays; call it for the samples so far, in [-1, 1]."""
    path = tmp_path / "heard.raw"
    command = ["parec", "-d", "nul.monitor", "--format=s16le", f"--rate={RATE}", "--channels=1"]
    with (
        path.open("wb") as file,
        subprocess.Popen([*command, "--latency-msec=50"], env=room, stdout=file) as recorder,
    ):

        def samples():
            return np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], "<i2") / 32768

        deadline = time.monotonic() + 20
        while samples().size < RATE // 2:  # it hears the silence before the first word
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield samples
        recorder.kill()


def loud_s(samples):
    """Seconds that are loud, in windows of 5 ms."""
    windows = samples[: samples.size // 120 * 120].reshape(-1, 120)
    return 0.005 * int((np.sqrt((windows**2).mean(1)) > 0.01).sum())


def speak(room, folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "stt.run", *TONE, "sink=speaker", f"hydra.run.dir={folder}", *more],
        env=room, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip


def interrupt_speech(run, microphone):
    """Press Ctrl-C once something is heard; the run ends soon. Returns what it said on stderr."""
    deadline = time.monotonic() + 60
    while loud_s(microphone()) < 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    started_s = time.monotonic()
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 130, errors
    assert time.monotonic() - started_s < 5
    return errors


def test_all_that_was_said_is_heard_before_the_run_ends(room, microphone, tmp_path):
    with speak(room, tmp_path / "r") as run:
        said, errors = run.communicate(
            "Hello there. This sentence follows it at once.\n", timeout=90
        )
    assert run.returncode == 0, errors
    assert "2 ok" in said
    assert not errors, "the card ran dry"
    lines = (tmp_path / "r" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    audio_s = sum(json.loads(line)["audio_s"] for line in lines)
    time.sleep(3)  # a null output plays in blocks of up to two seconds
    heard = microphone()
    assert loud_s(heard) == pytest.approx(audio_s, abs=0.015)
    assert np.abs(heard).max() == pytest.approx(0.25, abs=0.03)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * RATE / heard.size == pytest.approx(440, abs=10)


def test_ctrl_c_silences_it(room, microphone, tmp_path):
    with speak(room, tmp_path / "r", "tts.ms_per_char=2000") as run:
        run.stdin.write("This takes longer than a minute to say.\n")
        run.stdin.flush()
        interrupt_speech(run, microphone)
    time.sleep(1)
    before = loud_s(microphone())
    time.sleep(1)
    assert loud_s(microphone()) == before < 20


def test_the_speech_that_is_left_at_the_end_can_be_cut_short(room, microphone, tmp_path):
    with speak(room, tmp_path / "r", "tts.ms_per_char=2000") as run:
        run.stdin.write("This takes longer than a minute to say.\n")
        run.stdin.close()
        run.stdin = None
        errors = interrupt_speech(run, microphone)
    assert "Traceback" not in errors
    (line,) = (tmp_path / "r" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["status"] == "ok"


def test_an_unknown_output_names_those_there_are(room, tmp_path):
    with speak(room, tmp_path / "r", "sink.output=nothing") as run:
        _, errors = run.communicate("Hello.\n", timeout=60)
    assert run.returncode == 2
    assert "default" in errors
    assert "sink.output=NAME" in errors


def test_without_a_sound_card_it_says_what_to_choose(tmp_path):
    nowhere = {**os.environ, "HOME": str(tmp_path), "PULSE_SERVER": f"unix:{tmp_path}/none"}
    with speak(nowhere, tmp_path / "r") as run:
        _, errors = run.communicate("Hello.\n", timeout=60)
    if run.returncode == 0:
        pytest.skip("this machine has a sound card")
    assert run.returncode == 2
    assert "sink=wav" in errors
    assert "Traceback" not in errors
