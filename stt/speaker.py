"""The loudspeaker: plays speech through a sound card while the next is made (extra: speaker)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt.audio import resample
from stt.errors import ConfigError, EngineUnavailable
from stt.messages import AudioChunk
from stt.sinks import Sink

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

BLOCK_S = 0.01
"""Audio written at a time: how long silence can hold up speech, and speech a stop."""
SETTLE_S = 3.0
"""A card that cannot take audio smoothly by then gets it all the same."""


@dataclass
class Speaker(Sink):
    """Plays what it is given, in order; what waits to be heard is kept in memory (0.1 MB a second).

    A thread of its own writes to the card (a callback starves when other threads hold the
    interpreter) and writes silence when there is nothing to say: a card that runs dry has to be
    started again, which takes longer than any sentence.

    Attributes:
        output: name or number of the sound device; None = the system's default.
        sample_rate: of the device, in Hz; audio of another rate is converted.
        latency_s: audio that the card holds; it is heard that much later. Too little breaks
            speech up, and the run says so.
    """

    output: str | None
    sample_rate: int
    latency_s: float

    def __post_init__(self) -> None:
        """No device yet: `open` brings it."""
        if self.sample_rate < 8000 or not 0 < self.latency_s <= 2:
            raise ConfigError("sink.sample_rate must be 8000 or more, sink.latency_s 0 to 2.")
        self._block = round(BLOCK_S * self.sample_rate)
        self._thread: threading.Thread | None = None

    def open(self, folder: Path) -> None:
        """Start the sound card.

        Raises:
            EngineUnavailable: no sounddevice, no PortAudio, no such device.
        """
        try:
            import sounddevice
        except ImportError as error:
            raise EngineUnavailable(
                f"sink=speaker needs sounddevice, which is not installed ({error}). "
                f"Run: pip install 'stt[speaker]' - or choose sink=wav."
            ) from error
        except OSError as error:
            raise EngineUnavailable(
                f"sink=speaker needs the PortAudio library ({error}). On Debian or Ubuntu run: "
                f"apt install libportaudio2 - or choose sink=wav."
            ) from error
        device: int | str | None = self.output
        if self.output is not None and self.output.isdigit():
            device = int(self.output)
        try:
            stream = sounddevice.OutputStream(
                samplerate=self.sample_rate,
                channels=1,
                dtype="float32",
                latency=self.latency_s,
                device=device,
            )
            stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            found = [d["name"] for d in sounddevice.query_devices() if d["max_output_channels"]]
            raise EngineUnavailable(
                f"The sound card cannot be opened: {error}. "
                f"Outputs here: {', '.join(found) or 'none'}. Choose one with sink.output=NAME, "
                f"or choose sink=wav."
            ) from error
        self._failure: Exception | None = None
        self._stopped = False
        self._waiting: queue.SimpleQueue[NDArray[np.float32] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._play, args=(stream,), name="play", daemon=True)
        self._thread.start()

    def write(self, utterance_id: str, chunk: AudioChunk) -> None:
        """Queue the chunk; it is heard when everything before it was."""
        self._check()
        samples = resample(chunk, self.sample_rate).samples.copy()  # the voice reuses its buffers
        for first in range(0, samples.size, self._block):
            self._waiting.put(samples[first : first + self._block])

    def stop(self) -> None:
        """Be silent; what was not heard yet is dropped."""
        self._stopped = True

    def close(self) -> None:
        """Wait until everything was heard.

        Raises:
            OSError: it was not.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._waiting.put(None)
        try:
            thread.join()
        except KeyboardInterrupt:
            self.stop()
            thread.join()
            raise
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise OSError(f"the sound card failed: {self._failure}")

    def _play(self, stream: Any) -> None:
        import numpy as np

        # A card starts with the first block that it gets and runs dry on it, again and again, and
        # what it was given is lost: it is filled in one go, at first and when it has run dry.
        full = np.zeros(round((stream.latency + 2 * BLOCK_S) * self.sample_rate), np.float32)
        silence, dry, until = full[: self._block], 0, time.monotonic() + SETTLE_S
        try:
            while stream.write(full) and time.monotonic() < until and not self._stopped:
                pass
            while not self._stopped:
                try:
                    block = self._waiting.get_nowait()
                except queue.Empty:
                    block = silence
                if block is None:
                    for _ in range(2):  # what the card holds, and as much again in a sound server
                        stream.write(full)
                    stream.stop()
                    break
                if stream.write(block):
                    dry += 1
                    stream.write(full)
        except Exception as error:  # a card that was unplugged; the next write says so
            self._failure = error
        finally:
            stream.close(ignore_errors=True)
        if dry:
            log.warning("the sound card ran dry %d times: raise sink.latency_s", dry)
