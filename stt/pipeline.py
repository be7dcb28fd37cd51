"""The one pipeline, live and measured: a translator, a synthesizer, and how they are driven."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any

from stt import engine
from stt.device import Device
from stt.engine import Synthesizer, Translator
from stt.errors import ConfigError
from stt.messages import Delta, Utterance
from stt.segment import Segmenter
from stt.sinks import Sink
from stt.stream import Stream
from stt.timeline import Clock, monotonic_ns


@dataclass
class Settings:
    """The `pipeline` group.

    Attributes:
        overlap: the voice starts while the translator still works; otherwise one after the other.
        in_flight: sentences between reader and listener at most.
        timeout_s: one engine may spend this long on one sentence.
    """

    overlap: bool
    in_flight: int
    timeout_s: float

    def __post_init__(self) -> None:
        if self.in_flight < 1 or not self.timeout_s > 0:
            raise ConfigError(
                "pipeline.in_flight must be 1 or more, pipeline.timeout_s above 0: nothing would be spoken."
            )


class Pipeline:
    """Two engines and how they are driven; once loaded, ready for any number of runs, one at a time."""

    def __init__(
        self,
        settings: Settings,
        segmenter: Segmenter,
        translator: Translator,
        synthesizer: Synthesizer,
        device: Device,
        voice_device: Device | None = None,
        *,
        language: str,
        clock: Clock = monotonic_ns,
    ) -> None:
        self.settings = settings
        self.segmenter = segmenter
        self.translator = translator
        self.synthesizer = synthesizer
        self.device = device
        self.voice_device = voice_device or device
        self.language = language
        self.clock = clock
        self.told: set[str] = set()  # kinds of failure that were said
        self.closed = False
        self._effective: dict[str, dict[str, Any]] = {}
        self._stream: Stream | None = None

    def load(self) -> None:
        """Load both engines.

        Raises:
            EngineUnavailable: something is missing; the message says how to get it.
            UnsupportedDevice: the device is not there or does not fit.
        """
        self.closed = False
        self._effective["translator"] = engine.load(self.translator, self.device)
        self._effective["tts"] = engine.load(self.synthesizer, self.voice_device)

    def effective(self) -> dict[str, dict[str, Any]]:
        """What really runs, by stage, as the engines said when they were loaded."""
        return {stage: dict(facts) for stage, facts in self._effective.items()}

    def close(self) -> None:
        """Close both engines; what a run asks of them from now on is cancelled."""
        self.closed = True
        self.translator.close()
        self.synthesizer.close()

    def run(
        self,
        deltas: Iterable[Delta],
        sink: Sink,
        *,
        closed_loop: bool = False,
        done: Collection[str] = (),
    ) -> Generator[Utterance]:
        """Speak everything in `deltas`; yield each utterance when it has ended.

        Args:
            deltas: consumed on the read thread.
            sink: open; it is not closed here.
            closed_loop: take the next message only when every utterance of the last one was yielded and
                the caller has come back for more.
            done: ids of sentences to pass over.

        Raises:
            Exception: whatever `deltas` raised, after everything that arrived before it was spoken.
        """
        self._stream = Stream(self, deltas, sink, closed_loop, done)
        try:
            yield from self._stream.utterances()
        finally:
            self._stream.stop()

    def cancelled(self) -> list[Utterance]:
        """After a run was broken off: the utterances it still had in flight."""
        return self._stream.cancelled() if self._stream else []

    @property
    def fallback(self) -> str:
        """Why an engine runs another way than it was asked to; empty when none does."""
        reasons = (facts.get("fallback") for facts in self._effective.values())
        return "; ".join(str(reason) for reason in reasons if reason)

    def reload_translator(self) -> None:
        """Put a fresh translator in the place of one that hangs."""
        fresh = replace(self.translator)  # type: ignore[type-var]
        self._effective["translator"] = engine.load(fresh, self.device)
        self.translator = fresh

    def reload_synthesizer(self) -> None:
        """Put a fresh synthesizer in the place of one that hangs."""
        fresh = replace(self.synthesizer)  # type: ignore[type-var]
        self._effective["tts"] = engine.load(fresh, self.voice_device)
        self.synthesizer = fresh
