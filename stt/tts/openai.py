"""Voices behind OpenAI's speech API: OpenAI's own, and those of the servers that copy it (Kokoro-FastAPI, LocalAI, vLLM-Omni ...).

Audio is handed on as it arrives, and the connection is kept: the next text needs no new handshake. Every text goes to
`base_url`, and with it the key in OPENAI_API_KEY, if there is one. Which voice answers there, only the server knows.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import AudioChunk
from stt.tts import sayable
from stt.tts.pcm import chunks

log = logging.getLogger(__name__)

_KEY = "OPENAI_API_KEY"
_URL = re.compile(r"https?://(\[[\da-f:]+\]|[\w.-]+)(:\d+)?(/[^@?#\s]*)?", re.ASCII | re.I)
_TOKEN = re.compile(r"[\w.~+/-]+=*", re.ASCII)
"""What a key may be (RFC 6750): it needs no escapes, so that it is found wherever a server repeats it."""
_KEPT_S = 60.0
"""How long an unused connection is kept; longer, and some routers on the way forget it without a word."""
_LONGEST_BYTES = 1 << 16
"""Of an error that is read."""
_AUDIO = re.compile(r"|audio/(l16|.*(pcm|raw|wave?))|(application|binary)/octet-stream", re.I)
"""Content types that may be samples or WAV; some servers name none."""


@dataclass
class OpenAI(Synthesizer):
    """A chunk for each piece of the answer.

    Attributes:
        base_url: of the server, to which `/audio/speech` is added. `network` is False where it is on this machine.
        model: as the server names it.
        voice: as the server names it.
        sample_rate: in Hz, of samples that come without a header (WAV) or a content type that names another.
        timeout_s: for the connection, and for each wait on the answer.
    """

    extra = "openai"
    random = True

    unit: Unit
    base_url: str
    model: str
    voice: str
    sample_rate: int
    timeout_s: float

    def __post_init__(self) -> None:
        """Find out where the server is.

        Raises:
            ConfigError: `base_url` is no address, or holds what may be a secret: it is recorded.
        """
        if not self.timeout_s > 0 or self.sample_rate < 1:
            raise ConfigError("tts.timeout_s and tts.sample_rate must be above 0.")
        match = _URL.fullmatch(self.base_url)
        if not match:
            raise ConfigError(
                "tts.base_url must be an address such as http://localhost:8880/v1, without name, password or "
                f"query: it is recorded, and a key comes from {_KEY}."
            )
        self._host = match[1].strip("[]").lower()
        self.network = not _here(self._host)

    def load(self, device: Device) -> None:
        """Import and read the key; nothing is sent.

        Raises:
            EngineUnavailable: OpenAI wants a key and there is none, or what there is cannot be one.
        """
        import httpx2

        self._key = os.environ.get(_KEY, "").strip()
        if not self._key and self._host.endswith("api.openai.com"):
            raise EngineUnavailable(
                f"tts=openai: {_KEY} is not set, without which OpenAI refuses. Set it, or name another server, "
                "such as tts.base_url=http://localhost:8880/v1."
            )
        headers = {"Accept-Encoding": "identity"}  # compressing would hold audio back
        if self._key:
            if not _TOKEN.fullmatch(self._key):
                raise EngineUnavailable(f"tts=openai: {_KEY} is no key: a quote or space in it?")
            headers["Authorization"] = f"Bearer {self._key}"
            if self.network and self.base_url.lower().startswith("http:"):
                log.warning("%s goes unencrypted to %s. Use https, or unset it", _KEY, self._host)
        self._http: Any = httpx2
        self._client: Any = httpx2.Client(
            base_url=self.base_url,
            headers=headers,
            timeout=self.timeout_s,
            limits=httpx2.Limits(keepalive_expiry=_KEPT_S),
            trust_env=self.network,  # no proxy leads to this machine
        )

    def effective(self) -> dict[str, Any]:
        """Client, server, model and voice; an answer may have its own sample rate."""
        return {
            "engine": "openai",
            "version": f"httpx2 {self._http.__version__}",
            "base_url": self.base_url,
            "model": self.model,
            "voice": self.voice,
            "device": "network" if self.network else "server on this machine",
            "fallback": None,
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield audio as it arrives. To stop early closes the connection: the server need not go on.

        Raises:
            EngineError: no server, no audio, or an answer that broke off.
        """
        if not sayable(text):
            return
        spoken = False
        try:
            with closing(self._ask(text)) as response:
                for chunk in chunks(response.iter_bytes(), self._rate(response)):
                    spoken = True
                    yield chunk
            if not spoken:
                raise EngineError(f"the answer is empty ({self.base_url}).")
        except (self._http.RequestError, EngineError) as error:
            # Not chained: its words may quote the server's, and those the key.
            raise EngineError(f"tts=openai: {self._why(error, spoken)}") from None

    def _ask(self, text: str) -> Any:
        """The answer, of which only the head has arrived."""
        request = self._client.build_request(
            "POST",
            "audio/speech",
            json={
                "model": self.model,
                "voice": self.voice,
                "input": text,
                "response_format": "pcm",
                "stream_format": "audio",  # OpenAI's default; vLLM-Omni streams only when asked to
            },
        )
        http = self._http
        try:
            return self._client.send(request, stream=True)
        except (http.RemoteProtocolError, http.ReadError, http.WriteError):
            # A server may close a kept connection at the very moment it is used again.
            return self._client.send(request, stream=True)

    def _rate(self, response: Any) -> int:
        """Sample rate of an answer, if it may be audio.

        Raises:
            EngineError: the server refused, or answers something else.
        """
        kind, _, details = response.headers.get("Content-Type", "").partition(";")
        if response.status_code != 200:
            raise EngineError(self._refusal(response))
        if not _AUDIO.fullmatch(kind.strip()):
            raise EngineError(
                f"the answer is {self._quoted(kind)} instead of samples or WAV"
                f"{self._said(response)} ({self.base_url})."
            )
        named = re.search(r"\brate=(\d+)", details)
        return int(named[1]) if named else self.sample_rate

    def _refusal(self, response: Any) -> str:
        status = response.status_code
        source = f"(HTTP {status} from {self.base_url})"
        if status == 401:  # not quoted: it may hold parts of the key
            how = "was refused" if self._key else "is not set, but wanted"
            return f"{_KEY} {how} {source}. Set it to a key of this server."
        said = self._said(response)
        if status == 429:
            return f"too many requests, or no credit {source}{said}. Wait, or use tts=openjtalk."
        if status < 500:
            return (
                f"the request was refused {source}{said}. Does the server know tts.model={self.model} and "
                f"tts.voice={self.voice}, and is the path of tts.base_url right?"
            )
        return f"the server failed {source}{said}."

    def _said(self, response: Any) -> str:
        """What the server says of an error, after a colon; empty where it is not meant for people."""
        body = b""
        try:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LONGEST_BYTES:
                    return ""
        except self._http.RequestError:
            return ""
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = body.decode("utf-8", "replace")
        for name in ("error", "detail", "message"):
            if isinstance(found, dict):
                found = found.get(name, found)
        if not isinstance(found, str) or not found.strip() or found.lstrip().startswith("<"):
            return ""
        return f": {self._quoted(found).rstrip('.')}"

    def _quoted(self, said: object) -> str:
        """What came from outside, on one line, short and without the key."""
        text = str(said).replace(self._key, f"[{_KEY}]") if self._key else str(said)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]

    def _why(self, error: Exception, spoken: bool) -> str:
        http, said = self._http, self._quoted(error)
        if isinstance(error, EngineError):
            return str(error)
        if isinstance(error, http.TimeoutException):
            return f"nothing came for tts.timeout_s={self.timeout_s:g} s from {self.base_url}."
        if isinstance(error, http.ConnectError | http.ProxyError):
            what = "Is there a network, a proxy?" if self.network else "Is the server running?"
            return f"no connection to {self.base_url} ({said}). {what}"
        if spoken:
            return f"the answer broke off in the middle ({said})."
        return f"the server did not answer ({said}). Its own log may say why."

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_client"):
            self._client.close()


def _here(host: str) -> bool:
    """Is `host` this machine, whatever networks there are?"""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
