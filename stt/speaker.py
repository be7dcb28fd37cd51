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
from stt.errors import ConfigError, EngineUnavailable, install
from stt.messages import AudioChunk
from stt.sinks import Sink

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

SILENCE_S = 0.01
"""Silence written at a time: how long it can hold up speech."""
SPEECH_S = 0.1
"""Speech written at a time: what is heard of it when other threads hold up this one again and again,
and how long it can hold up a stop."""
SETTLE_S = 3.0
"""A card that cannot take audio smoothly by then gets it all the same."""
AGAIN_S = 0.5
"""How often a card that failed is tried again."""
PATIENCE_S = 5.0
"""A card that takes nothing for so long (and what it holds) hangs; at the end it has failed for good."""


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
        self._load = round(SPEECH_S * self.sample_rate)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

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
                f"Run {install('speaker')} - or choose sink=wav."
            ) from error
        except OSError as error:
            raise EngineUnavailable(
                f"sink=speaker needs the PortAudio library ({error}). On Debian or Ubuntu run: "
                f"apt install libportaudio2 - or choose sink=wav."
            ) from error
        try:
            stream = self._card()
        except (sounddevice.PortAudioError, ValueError) as error:
            found = [d["name"] for d in sounddevice.query_devices() if d["max_output_channels"]]
            raise EngineUnavailable(
                f"The sound card cannot be opened: {error}. "
                f"Outputs here: {', '.join(found) or 'none'}. Choose one with sink.output=NAME, "
                f"or choose sink=wav."
            ) from error
        self._failure: Exception | None = None
        self._dry = 0
        self._took_s = time.monotonic()  # when the card last took audio
        self._reported_s = 0.0  # the same, of the last time it was said that it takes no more
        self._waiting: queue.SimpleQueue[NDArray[np.float32] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._play, args=(stream,), name="play", daemon=True)
        self._thread.start()

    def write(self, utterance_id: str, chunk: AudioChunk) -> None:
        """Queue the chunk; it is heard when everything before it was, and a card that failed is back."""
        if self._hangs() and not self._failure and self._took_s != self._reported_s:
            self._reported_s = self._took_s  # once for each time
            log.error("the sound card takes no more audio; what is said now waits for it")
        samples = resample(chunk, self.sample_rate).samples.copy()  # the voice reuses its buffers
        for first in range(0, samples.size, self._load):
            self._waiting.put(samples[first : first + self._load])

    def stop(self) -> None:
        """Be silent; what was not heard yet is dropped."""
        self._stopped.set()

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
            while thread.is_alive() and not self._stopped.is_set():
                thread.join(0.1)
                if self._hangs():
                    why = f"failed: {self._failure}" if self._failure else "takes no more audio"
                    raise OSError(f"the sound card {why}")
        except BaseException:
            self.stop()
            raise
        finally:
            thread.join(1.0)  # a sound server that hangs must not hold up the end

    def _hangs(self) -> bool:
        return time.monotonic() - self._took_s > self.latency_s + PATIENCE_S

    def _card(self) -> Any:
        import sounddevice

        device: int | str | None = self.output
        if self.output is not None and self.output.isdigit():
            device = int(self.output)
        stream = sounddevice.OutputStream(
            samplerate=self.sample_rate,
            channels=1,
            dtype="float32",
            latency=self.latency_s,
            device=device,
        )
        stream.start()
        return stream

    def _play(self, stream: Any) -> None:
        """Play on one card after another until the end."""
        while stream is not None:
            try:
                self._feed(stream)
                break
            except Exception as error:  # unplugged, or its sound server ended
                if self._failure is None:
                    log.error("the sound card failed: %s; trying again", error)
                self._failure = error
            finally:
                stream.close(ignore_errors=True)
            stream = self._reopened()
        if self._dry:
            log.warning("the sound card ran dry %d times: raise sink.latency_s", self._dry)

    def _reopened(self) -> Any:
        """The card, when it is back; None when nobody waits for it any more."""
        while not self._stopped.wait(AGAIN_S):
            try:
                return self._card()
            except Exception:  # not yet
                log.debug("the sound card is not back", exc_info=True)
        return None

    def _feed(self, stream: Any) -> None:
        import numpy as np

        def write(samples: NDArray[np.float32]) -> bool:
            ran_dry = bool(stream.write(samples))
            self._took_s = time.monotonic()
            return ran_dry

        # A card starts with the first that it gets and runs dry on it, again and again, and what it
        # was given is lost: it is filled in one go, at first and when it has run dry.
        held = round(stream.latency * self.sample_rate)
        room = max(stream.write_available, held)  # of an empty card; CoreAudio's start full
        silence = np.zeros(round(SILENCE_S * self.sample_rate), np.float32)
        full = np.zeros(held + 2 * silence.size, np.float32)
        until = time.monotonic() + SETTLE_S
        while write(full) and time.monotonic() < until and not self._stopped.is_set():
            pass
        self._failure = None
        while not self._stopped.is_set():
            try:
                load = self._waiting.get_nowait()
            except queue.Empty:
                load = silence
            if load is None:
                self._waiting.put(None)  # still the end, should the card fail now
                for _ in range(2):  # what the card holds, and as much again in a sound server
                    write(full)
                stream.stop()
                return
            if stream.write_available >= room:  # before a word is torn
                load = np.concatenate((full, load))  # in one go, too: other threads may cut in
            self._dry += write(load)
