"""From deltas to sentences: which text is one unit, and when its last character arrived."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count

from stt.messages import Delta, Sentence
from stt.segment import Segment, Segmenter
from stt.thinking import Thinking

_REMEMBERED = 64
"""Messages whose sentences are numbered on when they go on."""


def sentences(deltas: Iterable[Delta], segmenter: Segmenter) -> Iterator[Sentence | None]:
    """Yield each sentence as soon as nothing can change it, and None where a message ended.

    Args:
        segmenter: its settings are used, not its state: each message starts afresh.
    """
    unnamed = count(1)
    for sentence in _sentences(deltas, segmenter):
        if sentence is not None and not sentence.id:
            sentence = replace(sentence, id=f"u{next(unnamed):04d}")
        yield sentence


def _sentences(deltas: Iterable[Delta], segmenter: Segmenter) -> Iterator[Sentence | None]:
    message: _Message | None = None
    ended: dict[str, int] = {}  # of recent messages: one that seemed to be over may go on
    for delta in deltas:
        if message is not None and delta.id != message.delta.id:
            yield from message.finish()
            message = None
        if message is None:
            message = _Message(segmenter, delta, ended.pop(delta.id, 0))
        yield from message.push(delta)
        if delta.final:
            yield None
            ended[delta.id] = message.count
            if len(ended) > _REMEMBERED:
                del ended[next(iter(ended))]
            message = None
    if message is not None:
        yield from message.finish()


class _Message:
    def __init__(self, segmenter: Segmenter, delta: Delta, count: int) -> None:
        self.delta = delta
        self._segmenter = replace(segmenter)
        self._thinking = Thinking(again=not delta.id)  # plain text has no names
        self._arrivals: deque[tuple[int, int]] = deque()
        self._pushed = 0
        self.count = count

    def push(self, delta: Delta) -> Iterator[Sentence]:
        self.delta = delta
        text = self._thinking.feed(delta.text, final=delta.final)
        self._pushed += len(text)
        if text:  # a model may think for hours
            self._arrivals.append((self._pushed, delta.arrived_ns))
        yield from map(self._sentence, self._segmenter.push(text))
        if delta.final:
            yield from self.finish()

    def finish(self) -> Iterator[Sentence]:
        yield from map(self._sentence, self._segmenter.flush())

    def _sentence(self, segment: Segment) -> Sentence:
        # The clock of a sentence starts with the delta that brought its last character.
        while self._arrivals[0][0] < segment.end:
            self._arrivals.popleft()
        self.count += 1
        name = self.delta.id
        if name and self.count > 1:
            name = f"{name}.{self.count}"
        return Sentence(
            name, segment.text, self._arrivals[0][1], self.delta.reference, self.delta.bucket
        )
