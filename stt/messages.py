"""What flows between the stages: small, immutable, and always on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral
from typing import TYPE_CHECKING, Any

from stt.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOUDEST = 4.0
"""Samples beyond this are no audio that a player may clip, but numbers of another scale."""


class Status(StrEnum):
    """How an utterance ended. Only `ok` enters percentiles; the others are counted by name."""

    ok = "ok"
    failed = "failed"
    timeout = "timeout"
    fallback = "fallback"
    cancelled = "cancelled"
    truncated = "truncated"
    degenerate = "degenerate"


LOST = (Status.failed, Status.timeout, Status.cancelled)
"""Not spoken to its end."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of source text as it arrived.

    Attributes:
        text: any number of characters; boundaries mean nothing.
        arrived_ns: monotonic time at which the text became available (scheduled time when a trace is replayed).
        id: name of the message or corpus sentence the text belongs to.
        final: nothing more belongs to this id; whatever is pending is a sentence.
        reference: human translation of the whole message, where the corpus has one.
        bucket: length bucket of the corpus sentence.
    """

    text: str
    arrived_ns: int
    id: str = ""
    final: bool = False
    reference: str | None = None
    bucket: str | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """A unit of translation: cleaned text, and when its last source character arrived."""

    id: str
    text: str
    arrived_ns: int
    reference: str | None = None
    bucket: str | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of a translation, in order.

    Attributes:
        text: target text, ready to be spoken.
        index: 0 for the first clause of a sentence.
        final: True for the last one.
        tokens: target tokens decoded for this clause (0 when the engine does not count).
        source_tokens: tokens of the source sentence (0 when the engine does not count).
        truncated: decoding stopped at the length limit or in a loop, not at the end of the sentence.
    """

    text: str
    index: int = 0
    final: bool = True
    tokens: int = 0
    source_tokens: int = 0
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Audio to be played next: float32 mono in [-1, 1], shape (samples,)."""

    samples: NDArray[np.float32]
    sample_rate: int

    def __post_init__(self) -> None:
        """What players would turn into noise is refused.

        Raises:
            EngineError: samples of another kind or shape, out of range by far or no numbers; no such rate.
        """
        kind: Any = getattr(self.samples, "dtype", None)
        if not hasattr(kind, "kind"):  # a list, a tensor
            raise EngineError(
                f"samples must be a NumPy array, not {type(self.samples).__name__}: "
                "give a tensor's .cpu().numpy()"
            )
        if kind.kind != "f" or self.samples.ndim != 1:
            shape = self.samples.shape
            raise EngineError(f"samples must be float32 of shape (n,), not {kind} of shape {shape}")
        if self.samples.size and not max(self.samples.max(), -self.samples.min()) <= _LOUDEST:
            raise EngineError("samples must be numbers in [-1, 1]")
        if not isinstance(self.sample_rate, Integral) or self.sample_rate <= 0:
            raise EngineError(f"sample_rate must be a whole number of Hz, not {self.sample_rate!r}")
        object.__setattr__(self, "sample_rate", int(self.sample_rate))  # JSON knows no NumPy


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence after its way through the pipeline: texts, marks, audio facts, status.

    Attributes:
        marks_ns: monotonic times by mark name (see `timeline.MARKS`); a mark never reached is absent.
        chunks: (hand-over time in ns, samples) of each audio chunk.
        leading_silence_s: audio before the onset; None when nothing audible was produced.
    """

    sentence: Sentence
    translation: str
    marks_ns: dict[str, int]
    status: Status = Status.ok
    error: str | None = None
    source_tokens: int = 0
    target_tokens: int = 0
    clauses: int = 0
    chunks: tuple[tuple[int, int], ...] = ()
    sample_rate: int = 0
    leading_silence_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
