"""Clauses handed over while decoding goes on, for engines that decode greedily, token by token."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from stt.errors import EngineError
from stt.messages import Clause
from stt.translator.clauses import Clauses
from stt.translator.loops import ATTEMPTS, loop
from stt.translator.stand_ins import StandIns

_TIMES, _MORE = 2, 24
"""Tokens a translation may have, from those of its source: of 60,000 references none has more than twice as many and 5."""

Step = Callable[[str], bool]
"""Told each token as it is found, without the language; true when decoding is to stop."""
Decode = Callable[[Step, list[str], list[list[str]]], list[str]]
"""Finds the tokens, the last is `</s>` unless the limit came first; given a step, the tokens they must begin with
(they are told again), and the sequences that they must not contain."""


def limit(source_tokens: int, max_length: int) -> int:
    """How many tokens a translation may have, its language counted."""
    return min(max_length, _TIMES * source_tokens + _MORE)


class Streaming:
    """A thread that decodes one sentence after the other."""

    def __init__(self, min_clause_chars: int) -> None:
        """`min_clause_chars`: a shorter clause waits for the next one."""
        self._min_chars = min_clause_chars
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._closed = False

    def clauses(
        self, decode: Decode, source_tokens: int, text: str, stand_ins: StandIns
    ) -> Iterator[Clause]:
        """Yield each clause of the translation of `text` the moment its last token is known.

        A sentence in which the model loops is decoded again without the loop.

        Raises:
            EngineError: the engine was closed before this sentence was decoded.
        """
        found: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        growing = _Growing(text, lambda: Clauses(self._min_chars, stand_ins))
        abandoned = False

        def step(token: str) -> bool:
            for clause in growing.feed(token):
                found.put((clause, growing.tokens))
            return abandoned or bool(growing.loop)

        def work() -> list[str]:
            forbidden: list[list[str]] = []
            tokens = decode(step, [], forbidden)
            while growing.loop and len(forbidden) < ATTEMPTS and not abandoned:
                forbidden.append(2 * growing.loop)
                tokens = decode(step, growing.again(), forbidden)
            return tokens

        given_tokens = index = 0
        try:
            decoding = self._thread.submit(work)
            decoding.add_done_callback(lambda _: found.put(None))
            while (clause := found.get()) is not None:
                part, so_far = clause
                yield Clause(part, index, False, so_far - given_tokens, source_tokens)
                given_tokens, index = so_far, index + 1
            tokens = decoding.result()
        except Exception as error:  # of a thread that takes no more, or a model that is gone
            if self._closed:
                raise EngineError("The translator is closed.") from error
            raise
        finally:
            abandoned = True
        rest, truncated = growing.clauses.rest(), tokens[-1:] != ["</s>"]
        yield Clause(rest, index, True, len(tokens) - given_tokens, source_tokens, truncated)

    def close(self) -> None:
        """End the thread, as soon as a sentence that is being decoded is."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Growing:
    """A translation while its tokens arrive: complete clauses, and the loop it may run into."""

    def __init__(self, source: str, clauses: Callable[[], Clauses]) -> None:
        self._source, self._clauses = source, clauses
        self._given: list[str] = []  # tokens up to the last clause handed over
        self._handed_over = 0
        self._begin()

    def _begin(self) -> None:
        self.loop: list[str] = []
        self._tokens: list[str] = []
        self.clauses = self._clauses()
        self._seen = 0

    @property
    def tokens(self) -> int:
        """How many have arrived."""
        return len(self._tokens)

    def feed(self, token: str) -> Iterator[str]:
        """Take the next token; yield the clauses that are now complete, each only once."""
        self._tokens.append(token)
        # A clause that completes a loop is not handed over: what was, must come again.
        self.loop = loop(self._tokens, self._source)
        for clause in self.clauses.feed(token):
            self._seen += 1
            if self._seen > self._handed_over and not self.loop:
                self._handed_over, self._given = self._seen, self._tokens.copy()
                yield clause

    def again(self) -> list[str]:
        """Start over; returns the tokens that must come again, since their clauses were handed over."""
        self._begin()
        return self._given
