"""A voice that hums: a sine as long as the text, at no cost. Measures everything else, and
calibrates the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError
from stt.messages import AudioChunk

_HERTZ, _LEVEL = 440, 0.25


@dataclass
class Tone(Synthesizer):
    """A sine of about 440 Hz in chunks of equal length; silent for an empty text.

    Attributes:
        ms_per_char: length of the tone for each character that is not white space.
        chunk_ms: length of each chunk but the last. A whole number of periods, so that chunks join
            without a click.
        sample_rate: in Hz.
        delay_ms: sleeps this long first (what is measured must be that, within 1 ms or 2 %).
    """

    unit: Unit
    ms_per_char: float
    chunk_ms: float
    sample_rate: int
    delay_ms: float

    def load(self, device: Device) -> None:
        """Compute one chunk, which is all there is to say.

        Raises:
            ConfigError: a chunk has no samples.
        """
        import numpy as np

        size = round(self.sample_rate * self.chunk_ms / 1e3)
        if size < 1:
            raise ConfigError(
                f"tts.chunk_ms={self.chunk_ms:g} at tts.sample_rate={self.sample_rate} is less "
                f"than one sample. Choose a longer chunk."
            )
        periods = max(1, round(_HERTZ * size / self.sample_rate))
        chunk = _LEVEL * np.sin(2 * np.pi * periods * np.arange(size) / size).astype(np.float32)
        chunk.flags.writeable = False  # every utterance hands out this very array
        self._chunk = AudioChunk(chunk, self.sample_rate)

    def effective(self) -> dict[str, Any]:
        """Name, rate and delay."""
        return {
            "engine": "tone",
            "version": 1,
            "sample_rate": self.sample_rate,
            "device": "cpu",
            "threads": 1,
            "delay_ms": self.delay_ms,
            "fallback": None,
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield the tone for `text`, after the delay."""
        if self.delay_ms > 0:
            time.sleep(self.delay_ms / 1e3)
        spoken = len("".join(text.split()))
        left = round(spoken * self.ms_per_char * self.sample_rate / 1e3)
        size = self._chunk.samples.size
        while left >= size:
            yield self._chunk
            left -= size
        if left:
            yield AudioChunk(self._chunk.samples[:left], self.sample_rate)
