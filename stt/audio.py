"""Facts about audio: when it becomes audible, and how it is written to a file."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

from stt.messages import AudioChunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AUDIBLE_RMS = 10 ** (-40 / 20)
"""-40 dBFS."""
FRAME_S = 0.01
AUDIBLE_FRAMES = 5
"""Onset: the first of five frames of 10 ms in a row, each louder than -40 dBFS."""


class Onset:
    """Finds the onset in audio that arrives in chunks; stops looking once it is found."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._frame = max(1, round(sample_rate * FRAME_S))
        self._rest: NDArray[np.float32] | None = None
        self._frames = 0
        self._run = 0
        self.leading_silence_s: float | None = None

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Look at the next samples, shape (n,)."""
        import numpy as np

        if self.leading_silence_s is not None:
            return
        if self._rest is not None and self._rest.size:
            samples = np.concatenate((self._rest, samples))
        whole = samples.size // self._frame * self._frame
        frames = samples[:whole].reshape(-1, self._frame)
        # Chunks are slices of the synthesizer's buffers: what is kept must not change under us.
        self._rest = samples[whole:].copy()
        for loud in np.einsum("ij,ij->i", frames, frames) / self._frame > AUDIBLE_RMS**2:
            self._run = self._run + 1 if loud else 0
            self._frames += 1
            if self._run == AUDIBLE_FRAMES:
                first = self._frames - AUDIBLE_FRAMES
                self.leading_silence_s = first * self._frame / self._rate
                self._rest = None
                return


def pcm16(samples: NDArray[np.float32]) -> bytes:
    """Little-endian 16-bit PCM of float samples; what exceeds [-1, 1] is clipped, never wrapped."""
    import numpy as np

    return (np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()


def open_wav(path: Path, sample_rate: int) -> wave.Wave_write:
    """A mono 16-bit WAV file to write frames of `pcm16` to; the caller closes it."""
    file = wave.open(str(path), "wb")
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(sample_rate)
    return file


def resample(chunk: AudioChunk, rate: int) -> AudioChunk:
    """`chunk` at another rate, by linear interpolation: good enough to listen to."""
    if chunk.sample_rate == rate:
        return chunk
    import numpy as np

    n = round(chunk.samples.size * rate / chunk.sample_rate)
    at = np.arange(n) * (chunk.sample_rate / rate)
    samples = np.interp(at, np.arange(chunk.samples.size), chunk.samples).astype(np.float32)
    return AudioChunk(samples, rate)
