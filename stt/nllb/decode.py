"""Decoding a sentence: graphs, the loop that reads tokens while the next step runs, beam search.

The device chooses the tokens and goes on; the host reads each step's record from pinned memory
when its event has come, a few steps behind, and stops the loop at the end token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch  # noqa: TID253

from stt.errors import EngineError
from stt.nllb import model
from stt.nllb.model import State
from stt.nllb.weights import Weights

BUCKETS = (16, 32, 64, 128, 256, 512)
AHEAD = 4
"""Steps the device may be ahead of the host. After the end token they return at once."""


class Step(Protocol):
    """What replaces the PyTorch ops: `pack.Kernels`."""

    def encode(self, state: State, bucket: int) -> None:
        """Fill `state.cross` from the first `bucket` source tokens."""

    def begin(self, state: State) -> None:
        """Forget the last sentence; run the start token and the language through the layers."""

    def layers(self, state: State) -> None:
        """Run the decoder layers."""

    def head_and_select(self, weights: Weights, state: State) -> None:
        """Choose and embed the next token."""


def bucket_of(tokens: int, limit: int) -> int:
    """The smallest bucket that holds `tokens`."""
    return next((size for size in BUCKETS if tokens <= size <= limit), limit)


class Decoder:
    """One sentence at a time, from source token ids to target token ids.

    Args:
        kernels: replaces the layers, head and selection of a step; None = PyTorch ops.
        graph: capture the encoder per source bucket and the step per cache bucket.
        max_tokens: longest source, and longest target with its language token.
    """

    def __init__(
        self, weights: Weights, state: State, kernels: Step | None, graph: bool, ahead: int = AHEAD
    ) -> None:
        self.weights, self.state, self.kernels = weights, state, kernels
        self.device = state.x.device
        self.cuda = self.device.type == "cuda"
        self.graph = graph and self.cuda
        self.ahead = ahead if self.cuda else 0
        self.limit = state.tokens
        self._graphs: dict[tuple[str, int, int], torch.cuda.CUDAGraph] = {}
        self._given = torch.zeros(state.tokens + 2, dtype=torch.long, pin_memory=self.cuda)
        self._events = [torch.cuda.Event() for _ in range(state.tokens)] if self.cuda else []

    @torch.inference_mode()
    def warm_up(self) -> None:
        """On a GPU, compile and capture everything that sentences can need."""
        if not self.cuda:
            return
        for source in sorted({bucket_of(n, self.limit) for n in (*BUCKETS, self.limit)}):
            if source <= self.limit:
                self._begin([self.weights.shape.end] * source, 0)
                for at in range(2, self.limit):
                    if self.kernels is None or at == 2:
                        self._launch(at, source)
        torch.cuda.synchronize()

    def greedy(self, source: list[int], language: int) -> Iterator[int]:
        """Target tokens as they are read, the language and the end token included.

        Raises:
            EngineError: the logits are not finite.
        """
        for row in self._records(source, language):
            token, _, score = row[0]
            if not math.isfinite(score):
                raise EngineError(_NOT_FINITE)
            yield int(token)
            if token == self.weights.shape.end:
                return

    def beam(self, source: list[int], language: int) -> list[int]:
        """The best target by beam search, the language and the end token included.

        Ends as transformers does with early_stopping=False and length_penalty=1: when no running
        beam, divided by its length, is better than the worst of `beam` finished ones.

        Raises:
            EngineError: the logits are not finite.
        """
        width, end = self.state.beam, self.weights.shape.end
        running: list[list[int]] = [[]] * width
        finished: list[tuple[float, list[int]]] = []
        for length, row in enumerate(self._records(source, language), start=1):
            if length == 1:
                running = [[language]] * width
                continue
            grown: list[tuple[float, list[int]]] = []
            for rank, (token, parent, score) in enumerate(row):
                if not math.isfinite(score):
                    raise EngineError(_NOT_FINITE)
                tokens = [*running[int(parent)], int(token)]
                if token != end:
                    grown.append((score, tokens))
                elif rank < width:
                    finished.append((score / length, tokens))
            running = [tokens for _, tokens in grown[:width]]
            finished = sorted(finished, key=lambda found: -found[0])[:width]
            if len(finished) == width and grown[0][0] / length <= finished[-1][0]:
                break
        return finished[0][1] if finished else running[0]

    def records(self, source: list[int], language: int) -> Iterator[list[list[float]]]:
        """Every step's candidates (token, parent, score), to the limit: the end is not looked at."""
        return self._records(source, language)

    def _records(self, source: list[int], language: int) -> Iterator[list[list[float]]]:
        if len(source) > self.limit:
            raise EngineError(
                f"The sentence has {len(source)} tokens, the cache holds {self.limit}. "
                f"Split it, or raise translator.max_length."
            )
        with torch.inference_mode():
            size = self._begin(source, language)
        launched = 2
        for at in range(self.limit):
            with torch.inference_mode():
                while launched < min(at + 1 + self.ahead, self.limit):
                    self._launch(launched, size)
                    launched += 1
                if at >= launched:
                    self._launch(at, size)
                    launched = at + 1
            if self.cuda:
                self._events[at].synchronize()
            yield self.state.told[at].tolist()

    def _begin(self, source: list[int], language: int) -> int:
        """Encode, take the language and choose the first token; returns the source bucket."""
        size, state = bucket_of(len(source), self.limit), self.state
        self._given[: len(source)] = torch.tensor(source)
        self._given[-2], self._given[-1] = len(source), language
        state.given.copy_(self._given, non_blocking=True)
        self._run("begin", size, 0, lambda: self._first(size))
        self._deliver(0)
        self._deliver(1)
        return size

    def _first(self, size: int) -> None:
        weights, state = self.weights, self.state
        if self.kernels is not None:
            self.kernels.encode(state, size)
            self.kernels.begin(state)
            self.kernels.head_and_select(weights, state)
            return
        cache = bucket_of(2, self.limit)
        model.encode(weights, state, size)
        model.begin(weights, state)
        model.layers(weights, state, cache, size)
        model.force(weights, state)
        model.layers(weights, state, cache, size)
        model.select(weights, state)

    def _launch(self, at: int, size: int) -> None:
        """Queue the step that chooses target token `at`."""
        cache = bucket_of(at + 1, self.limit) if self.kernels is None else 0
        source = size if self.kernels is None else 0
        self._run("step", source, cache, lambda: self._step(cache, source))
        self._deliver(at)

    def _step(self, cache: int, source: int) -> None:
        if self.kernels is None:
            model.layers(self.weights, self.state, cache, source)
            model.select(self.weights, self.state)
        else:
            self.kernels.layers(self.state)
            self.kernels.head_and_select(self.weights, self.state)

    def _deliver(self, at: int) -> None:
        if self.cuda:
            if self.kernels is None:
                self.state.told[at].copy_(self.state.record[at], non_blocking=True)
            self._events[at].record()

    def _run(self, name: str, source: int, cache: int, work: Callable[[], None]) -> None:
        if not self.graph:
            work()
            return
        key = (name, source, cache)
        if key not in self._graphs:
            work()  # the first call compiles kernels and initializes libraries
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            self._graphs[key] = graph
            if name == "step":
                # It ran once for compiling: the sentence goes on from there, as if it were replayed.
                return
        self._graphs[key].replay()


_NOT_FINITE = (
    "The model's logits are not finite for this sentence (NaN or infinity). "
    "Try translator.precision=float32; if it happens for every sentence, the checkpoint is damaged."
)
