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
"""There is sound where five frames of 10 ms in a row are each louder than -40 dBFS, their mean apart."""
NO_TEXT = "the translator made no text"
NO_AUDIO, SILENCE = "the synthesizer made no audio", "the synthesizer made only silence"


class Onset:
    """Finds the first audible sample in audio that arrives in chunks; stops looking once it is found.

    It is the first sample of the first frame with sound that leaves the level before it by more
    than -40 dBFS. A constant level is not heard: what counts is the change, from the mean of the
    frame before, or from the first sample of all.

    Attributes:
        leading_silence_s: audio before that sample; None while there is none.
    """

    def __init__(self, sample_rate: int) -> None:
        self.leading_silence_s: float | None = None
        self._rate = sample_rate
        self._frame = max(1, round(sample_rate * FRAME_S))
        self._passed = 0  # samples before those that are kept
        self._level: float | None = None  # before those that are kept
        self._kept: NDArray[np.float32] | None = None

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Look at the next samples, shape (n,)."""
        import numpy as np

        if self.leading_silence_s is not None or not samples.size:
            return
        if self._level is None:
            self._level = float(samples[0])
        if self._kept is not None:
            samples = np.concatenate((self._kept, samples))
        frames = samples[: samples.size // self._frame * self._frame].reshape(-1, self._frame)
        levels = np.concatenate(([self._level], frames.mean(axis=1, dtype=np.float64)))
        loud = frames.var(axis=1, dtype=np.float64) > AUDIBLE_RMS**2
        count = np.concatenate(([0], loud.cumsum()))
        runs = count[AUDIBLE_FRAMES:] - count[:-AUDIBLE_FRAMES] == AUDIBLE_FRAMES
        if runs.any():
            begin = int(runs.argmax())
            apart = np.abs(frames[begin] - levels[begin]) > AUDIBLE_RMS
            onset = self._passed + begin * self._frame + int(apart.argmax())
            self.leading_silence_s = onset / self._rate
            self._kept = None
            return
        over = max(0, len(frames) - AUDIBLE_FRAMES + 1)  # frames that can no longer begin a run
        self._passed += over * self._frame
        self._level = float(levels[over])
        # Chunks are slices of the synthesizer's buffers: what is kept must not change under us.
        self._kept = samples[over * self._frame :].copy()


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
