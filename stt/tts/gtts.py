"""Google Translate's voice through gTTS. Every text leaves this machine, and the service is not a
documented API.

gTTS switches certificate checks off (`verify=False`), so whoever controls the network can read the
text and replace the audio: not for anything confidential. It sends one request for each part of up
to 100 characters, one after the other, and a part arrives as a whole MP3.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import EngineError, EngineUnavailable, install
from stt.messages import AudioChunk
from stt.tts import sayable

_ITSELF = "pip install --no-deps gTTS==2.5.4"


@dataclass
class GTTS(Synthesizer):
    """One chunk for each request.

    Attributes:
        language: as Google Translate names it, e.g. `ja`.
        domain: suffix of translate.google.<domain>, e.g. `com` or `co.jp`.
        timeout_s: for the connection, and for each wait on the answer.
    """

    extra = "gtts"
    network = True

    unit: Unit
    language: str
    domain: str
    timeout_s: float

    def load(self, device: Device) -> None:
        """Import; nothing is sent.

        Raises:
            EngineUnavailable: gTTS or soundfile is missing.
        """
        try:
            import gtts
            import soundfile
        except (ImportError, OSError) as error:  # OSError: soundfile without libsndfile
            raise EngineUnavailable(
                f"tts=gtts: {error}. Run {install(self.extra)} and then: {_ITSELF} (--no-deps because gTTS "
                f"pins an old click, for its command line only, which would break huggingface_hub)."
            ) from error
        self._gtts: Any = gtts
        self._soundfile: Any = soundfile

    def effective(self) -> dict[str, Any]:
        """Versions and service; each answer has its own sample rate."""
        return {
            "engine": "gtts",
            "version": f"gTTS {self._gtts.__version__}",
            "host": f"translate.google.{self.domain}",
            "device": "network",
            "threads": 1,
            "fallback": None,
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield a chunk for each part of the text as its answer arrives."""
        if not sayable(text):
            return
        try:
            request = self._gtts.gTTS(
                text, tld=self.domain, lang=self.language, lang_check=False, timeout=self.timeout_s
            )
            for part in request.stream():
                yield self._decode(part)
        except self._gtts.gTTSError as error:
            raise EngineError(f"tts=gtts: {self._why(error)}") from error

    def _decode(self, mp3: bytes) -> AudioChunk:
        try:
            samples, rate = self._soundfile.read(io.BytesIO(mp3), dtype="float32", always_2d=True)
        except self._soundfile.SoundFileError as error:
            raise EngineError(
                f"tts=gtts: the answer of {len(mp3)} bytes is not an MP3: {error}"
            ) from error
        return AudioChunk(samples.mean(axis=1), rate)

    def _why(self, error: Exception) -> str:
        """Plain words for what gTTS calls "Probable cause: Unknown"."""
        import requests

        host = f"translate.google.{self.domain}"
        response = getattr(error, "rsp", None)
        if response is not None and response.status_code != 200:
            return (
                f"{host} refused with HTTP {response.status_code} {response.reason}. It limits how "
                f"often one address may ask: wait, or choose an offline voice (tts=openjtalk)."
            )
        cause = error.__context__
        if isinstance(cause, requests.Timeout):
            return f"{host} did not answer within tts.timeout_s={self.timeout_s:g} s."
        if isinstance(cause, requests.exceptions.ProxyError):
            return f"the proxy in HTTPS_PROXY does not let us reach {host} ({cause})."
        if isinstance(cause, requests.ConnectionError):
            what = "its name cannot be resolved" if "resolve" in str(cause).lower() else str(cause)
            return (
                f"{host} cannot be reached: {what}. Is there a network? tts=openjtalk needs none."
            )
        return f"{host} answered without audio: {error}."

    def close(self) -> None:
        """Nothing to release: gTTS opens a connection for each request."""
