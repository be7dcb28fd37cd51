"""Sound that arrives in pieces which end anywhere, as servers send it: samples of 16 bits, with a WAV header or without."""

from __future__ import annotations

import io
import sys
import wave
from collections.abc import Iterator
from itertools import chain

import numpy as np

from stt.errors import EngineError
from stt.messages import AudioChunk

_LEAST_S = 0.01
"""What is shorter waits for what follows: a server may send sample by sample."""
_LONGEST_BYTES = 1 << 16
"""Of a WAV header that is read."""
_OTHERS = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"OggS", b"fLaC", b'{"')
"""How MP3, AAC, Ogg, FLAC and JSON begin, and speech hardly ever."""


def chunks(pieces: Iterator[bytes], rate: int) -> Iterator[AudioChunk]:
    """The sound of an answer, the same wherever it was cut: 16 bits, mono, with a WAV header or without.

    Args:
        pieces: as they arrive; none is empty.

    Raises:
        EngineError: it is something else, or ends within a sample.
    """
    head, left = b"", sys.maxsize
    while len(head) < 4 and (piece := next(pieces, b"")):
        head += piece
    if head.startswith(_OTHERS):
        raise EngineError(f"the answer begins as MP3, Ogg or JSON do ({head[:4]!r}).")
    if head.startswith(b"RIFF"):
        head, rate, left = _unwrapped(head, pieces)
    held, least = b"", 2 * round(rate * _LEAST_S)
    for piece in chain([head], pieces, [b""]):
        held += piece[:left]
        left -= min(left, len(piece))
        whole = len(held) // 2 * 2
        if whole >= least or (whole and not piece):
            samples = np.frombuffer(held[:whole], "<i2").astype(np.float32) / np.float32(32768)
            yield AudioChunk(samples, rate)
            held = held[whole:]
    if held:
        raise EngineError("the answer broke off within a sample.")


def _unwrapped(head: bytes, pieces: Iterator[bytes]) -> tuple[bytes, int, int]:
    """Read on until the header of a WAV file is complete: what follows it, its sample rate, bytes of sound."""
    while True:
        file = io.BytesIO(head)
        try:
            with wave.open(file) as wav:
                if (wav.getnchannels(), wav.getsampwidth()) != (1, 2):
                    raise wave.Error(f"{wav.getnchannels()} of {8 * wav.getsampwidth()} bits")
                sound = 2 * wav.getnframes()  # 0 or far too many where the server did not know
                return head[file.tell() :], wav.getframerate(), sound or sys.maxsize
        except (wave.Error, EOFError) as error:
            more = next(pieces, b"")
            if not more or len(head) > _LONGEST_BYTES:
                raise EngineError(
                    f"the answer is a WAV, but not one channel of 16 bits ({error})."
                ) from error
            head += more
