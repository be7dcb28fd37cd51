"""The sound card plays what was said: a real sound server with a null output, whose monitor is recorded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from stt import results
from stt.speaker import PATIENCE_S

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


class Server:
    """A sound server of its own, with a null output."""

    def __init__(self, folder):
        self.home = folder / "home"
        self.home.mkdir(mode=0o700)
        (self.home / ".asoundrc").write_text(
            "pcm.!default {type pulse}\nctl.!default {type pulse}\n"
        )
        home = str(self.home)
        address = {"HOME": home, "XDG_RUNTIME_DIR": home, "PULSE_SERVER": f"unix:{home}/s"}
        self.environment = {**os.environ, **address}

    def start(self):
        (self.home / "s").unlink(missing_ok=True)
        modules = ["module-null-sink sink_name=nul",
                   f"module-native-protocol-unix auth-anonymous=1 socket={self.home}/s"]  # fmt: skip
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        log = self.home / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command + [part for module in modules for part in ("-L", module)],
                env=self.environment, stdout=file, stderr=file,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while subprocess.run(
            ["pactl", "info"], env=self.environment, capture_output=True
        ).returncode:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                pytest.skip(f"the sound server does not start: {log.read_text()[-300:]}")
            time.sleep(0.1)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def room(server):
    """The environment in which programs reach the sound server."""
    return server.environment


@pytest.fixture
def microphone(room, tmp_path):
    """Records what the output plays; call it for the samples so far, in [-1, 1]."""
    with recorded(room, tmp_path / "heard.raw") as samples:
        yield samples


@contextmanager
def recorded(room, path):
    command = ["parec", "-d", "nul.monitor", "--format=s16le", f"--rate={RATE}", "--channels=1"]
    with (
        path.open("wb") as file,
        subprocess.Popen([*command, "--latency-msec=50"], env=room, stdout=file) as recorder,
    ):

        def samples():
            return np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], "<i2") / 32768

        try:
            deadline = time.monotonic() + 20
            while samples().size < RATE // 2:  # it hears the silence before the first word
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield samples
        finally:
            recorder.kill()


def stretches_s(samples):
    """Seconds of each loud stretch, in windows of 5 ms."""
    windows = samples[: samples.size // 120 * 120].reshape(-1, 120)
    loud = np.sqrt((windows**2).mean(1)) > 0.01
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False))
    return 0.005 * (edges[1::2] - edges[::2])


def loud_s(samples):
    return float(stretches_s(samples).sum())


@contextmanager
def speak(room, folder, *more, stderr=subprocess.PIPE):
    with subprocess.Popen(
        [sys.executable, "-m", "stt.run", *TONE, "sink=speaker", f"hydra.run.dir={folder}", *more],
        env=room, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    ) as run:  # fmt: skip
        try:
            yield run
        finally:
            run.kill()  # it has ended, unless the test failed


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
    steady = "sink.latency_s=0.5"  # a busy machine may well hold it up for 80 ms
    with speak(room, tmp_path / "r", steady) as run:
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


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_speech_goes_on_when_the_sound_server_is_back(server, tmp_path):
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        speak(server.environment, tmp_path / "r", stderr=file) as run,
    ):
        with recorded(server.environment, tmp_path / "before.raw") as heard:
            run.stdin.write("Hello there. ")
            run.stdin.flush()
            wait_for(lambda: loud_s(heard()) > 0.2)
        time.sleep(3)  # a null output plays in blocks of up to two seconds
        server.kill()
        wait_for(lambda: "trying again" in errors.read_text())  # at once: text still comes
        run.stdin.write("This is said while it is gone. ")
        run.stdin.flush()
        time.sleep(1)
        server.start()
        with recorded(server.environment, tmp_path / "after.raw") as heard:
            run.stdin.write("And this is said later. ")
            said, _ = run.communicate(timeout=60)
            time.sleep(3)
            after_s = loud_s(heard())
    assert run.returncode == 0, errors.read_text()
    assert errors.read_text().count("the sound card failed") == 1
    assert "3 ok" in said
    later = results.read(tmp_path / "r")["audio_s"].iloc[1:]
    assert later.sum() - 0.5 < after_s < later.sum() + 0.05  # the recorder may come a little late


def test_speech_that_was_lost_at_the_end_makes_the_run_a_failure(server, tmp_path):
    with speak(server.environment, tmp_path / "r", "tts.ms_per_char=200") as run:
        with recorded(server.environment, tmp_path / "heard.raw") as heard:
            run.stdin.write("This takes several seconds to say. ")
            run.stdin.flush()
            wait_for(lambda: loud_s(heard()) > 0.2)
        server.kill()
        said, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert errors.count("the sound card failed") == 2, "when it happens, and at the end"
    assert "INVALID" in said
    header = results.load(tmp_path / "r")[0].header
    assert "the sound card failed" in header["valid"]["reasons"][0]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, None], ids=["^C", "TERM", "EOF"])
def test_a_sound_server_that_hangs_does_not_hold_up_the_end(server, tmp_path, end):
    with speak(server.environment, tmp_path / "r", "tts.ms_per_char=200") as run:
        with recorded(server.environment, tmp_path / "heard.raw") as heard:
            run.stdin.write("This takes several seconds to say. ")
            run.stdin.flush()
            wait_for(lambda: loud_s(heard()) > 0.2)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        started_s = time.monotonic()
        if end:
            run.send_signal(end)
        _, errors = run.communicate(timeout=60)
    if end:
        assert time.monotonic() - started_s < PATIENCE_S
    assert run.returncode == (130 if end else 1)
    assert "Traceback" not in errors
    assert bool(end) != ("the sound card takes no more audio" in errors)


def test_a_sound_server_that_hangs_is_said_when_the_next_is_spoken(server, tmp_path):
    errors = tmp_path / "errors"
    with (
        errors.open("wb") as file,
        speak(server.environment, tmp_path / "r", stderr=file) as run,
        recorded(server.environment, tmp_path / "heard.raw") as heard,
    ):
        run.stdin.write("Hello there. ")
        run.stdin.flush()
        wait_for(lambda: loud_s(heard()) > 0.2)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(PATIENCE_S + 1)
        run.stdin.write("This waits. And so does this. ")
        run.stdin.flush()
        wait_for(lambda: "the sound card takes no more audio" in errors.read_text())
        server.process.send_signal(signal.SIGCONT)
        said, _ = run.communicate(timeout=60)
        time.sleep(3)
        heard_s = loud_s(heard())
    assert run.returncode == 0, errors.read_text()
    assert "3 ok" in said
    assert errors.read_text().count("takes no more audio") == 1
    later = results.read(tmp_path / "r")["audio_s"].iloc[1:]
    assert heard_s > later.sum()


STARVED = """
import ctypes
import time
from pathlib import Path
import numpy as np
from stt.messages import AudioChunk
from stt.speaker import Speaker

speaker = Speaker(None, 24_000, 0.2)  # a busy machine starves it less than the test does
speaker.open(Path())
tone = 0.25 * np.sin(2 * np.pi * 440 / 24_000 * np.arange(48_000, dtype=np.float32))
time.sleep(1)
speaker.write("u1", AudioChunk(tone, 24_000))
time.sleep(1)
for _ in range(10):
    ctypes.PyDLL(None).usleep(600_000)  # holds the interpreter; the player gets it in between
speaker.close()
"""


def test_a_card_that_ran_dry_again_and_again_loses_and_shreds_no_speech(room, microphone):
    done = subprocess.run([sys.executable, "-c", STARVED], env=room, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ran dry" in done.stderr
    time.sleep(3)
    lengths_s = stretches_s(microphone())
    assert min(lengths_s) > 0.09, lengths_s
    assert sum(lengths_s) == pytest.approx(2, abs=0.01 * len(lengths_s)), lengths_s
    assert len(lengths_s) >= 3, "it was not starved again and again"


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
