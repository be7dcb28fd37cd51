"""Memory stays flat however long a stream lasts; what it is allowed to grow is less than a leak would need."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stt.sources import CorpusClosed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]
# A kept utterance with its job is 6 kB: 10 MB in 1,600 sentences. The voice's chunks are 60 kB in
# the median: one kept of each sentence is 14 MB in 240.
ALLOWED_MB = 4.0


class Live:
    """`python -m stt.run source=stdin` with the test at the other end of the pipe."""

    def __init__(self, folder, *choices):
        self.records = folder / "records.jsonl"
        command = [sys.executable, "-m", "stt.run", "source=stdin", f"hydra.run.dir={folder}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([*command, *choices], text=True, **pipes)
        self.texts = itertools.cycle([line.text for line in CorpusClosed(None).lines[:120]])
        self.spoken = 0

    def speak(self, sentences):
        """Send so many sentences, each a message, and wait until all were spoken."""
        deadline = time.monotonic() + 120
        for text in itertools.islice(self.texts, sentences):
            message = {"content": [{"type": "text", "text": text}]}
            self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        self.spoken += sentences
        while not self.records.exists() or self._measured() < self.spoken:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline, f"only {self._measured()} were spoken"
            time.sleep(0.05)

    def _measured(self):
        return self.records.read_bytes().count(b'"phase":"measure"')

    @property
    def memory_mb(self):
        """Resident memory of its own; pages of dictionaries on the disk come and go with the text."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.parametrize(
    ("choices", "sentences"),
    [
        (("translator=echo", "tts=tone"), 2000),
        pytest.param(("translator=embedded", "tts=openjtalk"), 300, marks=pytest.mark.engine),
    ],
    ids=["pipeline alone", "real engines"],
)
def test_memory_is_flat(tmp_path, choices, sentences):
    live = Live(tmp_path / "r", *choices)
    try:
        live.speak(sentences // 5)
        before_mb = live.memory_mb
        live.speak(sentences - sentences // 5)
        grown_mb = live.memory_mb - before_mb
        live.process.communicate(timeout=60)
    finally:
        live.process.kill()
        live.process.wait()
    print(
        f"\n{' '.join(choices)}: {before_mb:.1f} MB, {grown_mb:+.2f} MB over {sentences} sentences"
    )
    assert grown_mb < ALLOWED_MB
