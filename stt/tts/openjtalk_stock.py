"""Open JTalk exactly as pyopenjtalk gives it: the whole text at once, silence included. The
baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import EngineError
from stt.messages import AudioChunk
from stt.tts.labels import Frontend, pieces

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class StockVoice:
    """The library's synthesizer for its packaged voice, and where both lie. One thread per
    instance.
    """

    def __init__(self) -> None:
        import pyopenjtalk
        from pyopenjtalk import htsengine, version

        self.version: str = version.__version__
        self.voice: bytes = pyopenjtalk.DEFAULT_HTS_VOICE
        self.library: str = htsengine.__file__
        self.name = self.voice.decode().replace("\\", "/").rpartition("/")[2]
        self._engine = htsengine.HTSEngine(self.voice)
        self.sample_rate: int = self._engine.get_sampling_frequency()

    def speak(self, labels: list[bytes]) -> NDArray[np.float64]:
        """Samples in 16-bit scale, which some exceed.

        Raises:
            EngineError: the library refuses the labels.
        """
        try:
            samples: NDArray[np.float64] = self._engine.synthesize(labels)
        except RuntimeError as error:
            raise EngineError(f"Open JTalk failed on this text: {error}") from error
        return samples

    def chunk(self, labels: list[bytes], gain: float) -> AudioChunk:
        """The speech for `labels`, scaled and clipped to [-1, 1]."""
        import numpy as np

        samples = np.clip(self.speak(labels) * (gain / 32768), -1.0, 1.0).astype(np.float32)
        return AudioChunk(samples, self.sample_rate)


@dataclass
class OpenJTalkStock(Synthesizer):
    """Plain pyopenjtalk with its packaged voice.

    Attributes:
        gain: of the voice's 16-bit scale. The voice exceeds full scale at 1.0; at 0.5 only some short
            words do (ん, 猫、), and are clipped.
    """

    unit: Unit
    gain: float

    def load(self, device: Device) -> None:
        """Load dictionary and voice.

        Raises:
            EngineUnavailable: pyopenjtalk is missing or does not load.
        """
        self._frontend = Frontend()
        self._voice = StockVoice()

    def effective(self) -> dict[str, Any]:
        """Version and voice."""
        return {
            "engine": "openjtalk_stock",
            "version": f"pyopenjtalk-plus {self._voice.version}",
            "voice": self._voice.name,
            "sample_rate": self._voice.sample_rate,
            "device": "cpu",
            "threads": 1,
            "fallback": None,
            "used_in_load": "the text frontend, for one word",
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield one chunk (one for each 120 characters of a very long text); none if nothing can be
        spoken.
        """
        for piece in pieces(text):
            if labels := self._frontend.labels(piece):
                yield self._voice.chunk(labels, self.gain)
