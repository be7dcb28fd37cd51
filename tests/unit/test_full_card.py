"""The speaker on sound cards that differ from those here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from stt.messages import AudioChunk
from stt.speaker import Speaker

RATE = 24_000


class StartsFull:
    """A card like CoreAudio's: full of silence when it starts, and then with little room."""

    latency = 0.08

    def __init__(self) -> None:
        self.played: list[np.ndarray] = []
        self._rooms = iter([0])

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def close(self, ignore_errors: bool) -> None: ...

    @property
    def write_available(self) -> int:
        return next(self._rooms, RATE // 100)

    def write(self, samples: np.ndarray) -> bool:
        self.played.append(samples)
        return False


def test_a_card_that_starts_full_is_not_taken_for_an_empty_one(monkeypatch):
    card = StartsFull()
    portaudio = SimpleNamespace(OutputStream=lambda **_: card, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", portaudio)
    speaker = Speaker(None, RATE, 0.08)
    speaker.open(Path())
    speaker.write("u1", AudioChunk(np.ones(RATE, np.float32), RATE))
    speaker.close()
    heard = np.concatenate(card.played)
    first, last = np.flatnonzero(heard)[[0, -1]]
    assert last - first + 1 == RATE, "silence between words"
