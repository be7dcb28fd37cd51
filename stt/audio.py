"""Facts about audio: when it becomes audible, and how it is written to a file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from stt.messages import AudioChunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
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


class WavFile:
    """A mono 16-bit WAV file that is whole after each `write`, whatever ends the process.

    Attributes:
        frames: samples in it.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        """Make the file, or empty it.

        Raises:
            OSError: it cannot be made.
        """
        self.frames = 0
        self._path = path
        self._rate = sample_rate
        self._file = path.open("wb", buffering=0)

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append samples in [-1, 1], shape (n,), whole or not at all.

        Raises:
            OSError: the disk is full or refuses; the file is as it was.
        """
        try:
            self._put(_HEADER.size + 2 * self.frames, pcm16(samples))
            self._put(0, self._header(self.frames + samples.size))
        except OSError:
            self._file.truncate(_HEADER.size + 2 * self.frames)
            raise
        self.frames += samples.size

    def close(self) -> None:
        """Let go of the file; without a sample in it, it is removed."""
        self._file.close()
        if not self.frames:
            self._path.unlink(missing_ok=True)

    def _put(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        while data:  # a nearly full disk takes a part, then refuses the rest
            data = data[self._file.write(data) :]

    def _header(self, frames: int) -> bytes:
        size, rate = 2 * frames, self._rate
        riff, form = (b"RIFF", _HEADER.size - 8 + size, b"WAVE"), (b"fmt ", 16, 1, 1, rate)
        return _HEADER.pack(*riff, *form, 2 * rate, 2, 16, b"data", size)


def resample(chunk: AudioChunk, rate: int) -> AudioChunk:
    """`chunk` at another rate, by linear interpolation: good enough to listen to."""
    if chunk.sample_rate == rate:
        return chunk
    import numpy as np

    n = round(chunk.samples.size * rate / chunk.sample_rate)
    at = np.arange(n) * (chunk.sample_rate / rate)
    samples = np.interp(at, np.arange(chunk.samples.size), chunk.samples).astype(np.float32)
    return AudioChunk(samples, rate)
