"""The voices of Microsoft Edge through edge-tts. Every text leaves this machine, and the service is not a
documented API.

Its MP3 comes in pieces that end anywhere, and each is decoded as it arrives. edge-tts opens a
connection for each text (name, TCP, TLS, WebSocket: several round trips before the first sound), and
an earlier one cannot serve the next text: its author found that the service blocks that (issue 49).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError, EngineError
from stt.messages import AudioChunk
from stt.tts import sayable

_NO_MP3 = "the answer is not an MP3."
_WHOLE = "cumulative_audio_bytes"
"""In edge-tts's state: the bytes of the parts of a text that the service said were all."""


class _Loop(asyncio.SelectorEventLoop):
    """Ends its connections when it is closed.

    A cancelled aiohttp leaves a TLS connection open, which waits half a minute for the other side's goodbye.
    """

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[asyncio.Transport] = []

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        transport, protocol = await super().create_connection(*args, **options)
        self._opened.append(transport)
        return transport, protocol

    def close(self) -> None:
        for transport in self._opened:
            transport.abort()
        self.run_until_complete(asyncio.sleep(0))
        super().close()


class _State(dict[str, Any]):
    """edge-tts's state, which tells when a part has ended: its stream does so a goodbye later, at least a round trip."""

    def __init__(self, state: dict[str, Any], part_ended: Callable[[], None]) -> None:
        super().__init__(state)
        self._part_ended = part_ended

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == _WHOLE:
            self._part_ended()


@dataclass
class Edge(Synthesizer):
    """One chunk for each piece of the answer.

    Attributes:
        voice: as `edge-tts --list-voices` names it; it speaks its own language only.
        timeout_s: longest wait for the first piece, connection included, and for each that follows.
    """

    extra = "edge"
    network = True

    unit: Unit
    voice: str
    timeout_s: float

    def load(self, device: Device) -> None:
        """Import; nothing is sent.

        Raises:
            ConfigError: no voice can have this name.
        """
        import aiohttp
        import av
        import edge_tts
        from edge_tts.constants import WSS_URL

        self._aiohttp: Any = aiohttp
        self._av: Any = av
        self._edge_tts: Any = edge_tts
        self._host = urlsplit(WSS_URL).hostname
        try:
            edge_tts.Communicate("", self.voice)
        except ValueError as error:
            raise ConfigError(
                f"tts.voice={self.voice} is not the name of a voice: they are like ja-JP-NanamiNeural, "
                f"and `edge-tts --list-voices` lists them."
            ) from error

    def effective(self) -> dict[str, Any]:
        """Versions, service and voice."""
        return {
            "engine": "edge",
            "version": f"edge-tts {self._edge_tts.__version__}, av {self._av.__version__}",
            "host": self._host,
            "voice": self.voice,
            "device": "network",
            "threads": 1,
            "fallback": None,
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield a chunk for each piece of the answer as it arrives."""
        if not sayable(text):
            return
        pieces = self._receive(text)
        try:
            yield from self._decode(pieces)
        except Exception as error:  # a message out of order ends in any kind of error in edge-tts
            raise EngineError(f"tts=edge: {self._why(error)}") from error
        finally:
            pieces.close()

    def _decode(self, pieces: Iterator[bytes]) -> Iterator[AudioChunk]:
        decoder = self._av.CodecContext.create("mp3float", "r")
        spoken = False
        for piece in chain(pieces, [b""]):  # the empty one says that no more will follow
            packets = decoder.parse(piece)
            frames = [frame for packet in packets for frame in decoder.decode(packet)]
            if frames:
                spoken = True
                samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
                yield AudioChunk(samples.mean(axis=0), frames[0].sample_rate)
        if not spoken:
            raise EngineError(_NO_MP3)

    def _receive(self, text: str) -> Generator[bytes, None, None]:
        """Yield the pieces of the MP3; the event loop is this text's own and runs while a piece is awaited."""
        speech: Any = self._edge_tts.Communicate(text, self.voice)
        parts = list(speech.texts)  # a long text is asked for in several, one after the other
        arrived: asyncio.Queue[bytes] = asyncio.Queue()
        received = 0

        def part_ended() -> None:
            if speech.state["partial_text"] is parts[-1]:
                arrived.put_nowait(b"")

        speech.texts, speech.state = parts, _State(speech.state, part_ended)

        async def receive() -> None:
            try:
                async for message in speech.stream():
                    if message["type"] == "audio":
                        arrived.put_nowait(message["data"])
            finally:
                arrived.put_nowait(b"")

        loop = _Loop()
        reception = loop.create_task(receive())
        # After an early close nobody asks how it ended, and asyncio would log that as a mistake.
        reception.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while piece := loop.run_until_complete(asyncio.wait_for(arrived.get(), self.timeout_s)):
                received += len(piece)
                yield piece
            if not received or received != speech.state[_WHOLE]:
                loop.run_until_complete(asyncio.wait_for(reception, self.timeout_s))
                raise EngineError("the connection ended in the middle of the speech.")
        finally:
            for task in (tasks := asyncio.all_tasks(loop)):
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            loop.close()

    def _why(self, error: Exception) -> str:
        """Plain words for what edge-tts and aiohttp raise."""
        aiohttp, failed = self._aiohttp, self._edge_tts.exceptions
        if isinstance(error, EngineError):
            return str(error)
        if isinstance(error, self._av.FFmpegError):
            return _NO_MP3
        if isinstance(error, TimeoutError):
            return f"{self._host} did not answer within tts.timeout_s={self.timeout_s:g} s."
        if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
            return f"the proxy in WSS_PROXY does not let us reach {self._host} ({error})."
        if isinstance(error, failed.SkewAdjustmentError | aiohttp.ClientResponseError):
            status = getattr(error, "status", 403)  # the first of the two is about a 403, too
            if status == 403:
                return (
                    f"{self._host} refused with HTTP 403, although edge-tts tried again with the clock "
                    f"of the service. Its token may have changed (is there a newer edge-tts?), or this "
                    f"address is blocked: tts=openjtalk needs no service."
                )
            return (
                f"{self._host} refused with HTTP {status}. It limits how often one address may ask: "
                f"wait, or choose an offline voice (tts=openjtalk)."
            )
        if isinstance(error, failed.NoAudioReceived):
            return (
                f"{self._host} sent no audio. Does tts.voice={self.voice} exist, and speak this "
                f"language? `edge-tts --list-voices` lists them; now and then the service fails for a while."
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return f"the connection to {self._host} is not secure, so nothing was sent: {error}."
        if isinstance(error, aiohttp.ClientConnectionError):
            dns = isinstance(error, aiohttp.ClientConnectorDNSError)
            what = "its name cannot be resolved" if dns else str(error)
            return (
                f"{self._host} cannot be reached: {what}. Is there a network (a proxy belongs in "
                f"WSS_PROXY)? tts=openjtalk needs none."
            )
        return f"the answer of {self._host} was not understood: {type(error).__name__}: {error}"

    def close(self) -> None:
        """Nothing to release: each text has a connection of its own."""
