"""A stage is a thread that takes jobs in order; a job is an utterance on its way."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from stt.audio import Onset
from stt.errors import EngineUnavailable, reason
from stt.messages import LOST, AudioChunk, Clause, Sentence, Status, Utterance
from stt.timeline import Clock, Timeline

log = logging.getLogger(__name__)
_numbers = itertools.count()


class Job:
    """The state of one utterance; each part is written by one stage only."""

    def __init__(self, sentence: Sentence, clock: Clock) -> None:
        self.number = next(_numbers)
        self.sentence = sentence
        self.timeline = Timeline(clock, sentence.arrived_ns)
        self.status = Status.ok
        self.error: str | None = None
        self.clauses: list[Clause] = []
        self.chunks: list[tuple[int, int]] = []
        self.unspoken = ""
        self.spoken = threading.Event()
        self._onset: Onset | None = None
        self.sample_rate = 0

    @property
    def lost(self) -> bool:
        """True when it will not be spoken to its end."""
        return self.status in LOST

    def end(self, status: Status, error: str) -> None:
        """Give it a status, unless an earlier stage gave it a graver one."""
        if not self.lost:
            self.status, self.error = status, error

    def hear(self, chunk: AudioChunk, handed_ns: int) -> None:
        """Note that `chunk` was handed over at `handed_ns`."""
        self.chunks.append((handed_ns, int(chunk.samples.size)))
        if self._onset is None:
            self._onset, self.sample_rate = Onset(chunk.sample_rate), chunk.sample_rate
        self._onset.feed(chunk.samples)

    @property
    def leading_silence_s(self) -> float | None:
        """Audio before the first audible sample; None while nothing audible was handed over."""
        return self._onset.leading_silence_s if self._onset else None

    def utterance(self) -> Utterance:
        """What became of it, frozen."""
        return Utterance(
            sentence=self.sentence,
            translation="".join(clause.text for clause in self.clauses),
            marks_ns=dict(self.timeline.marks_ns),
            status=self.status,
            error=self.error,
            source_tokens=max((clause.source_tokens for clause in self.clauses), default=0),
            target_tokens=sum(clause.tokens for clause in self.clauses),
            clauses=len(self.clauses),
            chunks=tuple(self.chunks),
            sample_rate=self.sample_rate,
            leading_silence_s=self.leading_silence_s,
        )


class Stage:
    """Runs `work(item, stage)` for each item, in order, on its own thread.

    A thread that hangs cannot be killed. It is abandoned: `replacement` gets the queue and a fresh engine,
    and whatever the old thread still produces when it wakes up is dropped (`abandoned` is what it must ask).
    `fail` is told what ends the thread otherwise.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Any, Stage], None],
        reload: Callable[[], None],
        clock: Clock,
        fail: Callable[[BaseException], None],
        items: queue.SimpleQueue[Any] | None = None,
        fresh: bool = True,
    ) -> None:
        self.name = name
        self.abandoned = False
        self._broken: str | None = None
        self._work = work
        self._reload = reload
        self._clock = clock
        self._fail = fail
        self._items: queue.SimpleQueue[Any] = items or queue.SimpleQueue()
        self._fresh = fresh
        self._busy: tuple[Job, int] | None = None
        self._changing = threading.Lock()  # between being busy, idle and abandoned
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, item: Any) -> None:
        """Queue an item; None ends the thread after all items before it."""
        self._items.put(item)

    def begin(self, job: Job) -> None:
        """Say that the engine now works on `job`."""
        with self._changing:
            self._busy = (job, self._clock())

    def rest(self) -> bool:
        """Say that the engine is idle; False if it was abandoned before, and its result is void."""
        with self._changing:
            self._busy = None
            return not self.abandoned

    def check(self) -> None:
        """Raise what keeps this stage from working at all.

        Raises:
            EngineUnavailable: its engine hung before and could not be loaded again.
        """
        if self._broken:
            raise EngineUnavailable(self._broken)

    def give_up(self, timeout_s: float) -> Job | None:
        """Abandon this thread if its engine has been busy for longer than `timeout_s`; return the job."""
        with self._changing:
            if self._busy is None or self._clock() - self._busy[1] <= timeout_s * 1e9:
                return None
            self.abandoned = True
            return self._busy[0]

    def replacement(self) -> Stage:
        """A started stage that reloads the engine and takes over the queue of this abandoned one."""
        stage = Stage(
            self.name, self._work, self._reload, self._clock, self._fail, self._items, fresh=False
        )
        stage.start()
        return stage

    def _loop(self) -> None:
        if not self._fresh:
            try:
                self._reload()
            except Exception as error:  # the run goes on: `check` fails each job from now on
                self._broken = reason(error)
                log.error(
                    "the %s engine hung and could not be loaded again: %s", self.name, self._broken
                )
        while not self.abandoned:
            item = self._items.get()
            if self.abandoned:  # by the end of the run; otherwise only at work, never here
                return
            try:
                self._work(item, self)
            except BaseException as error:  # nobody else would hear of it, and the run would wait
                if not self.abandoned:
                    self._fail(error)
                return
            if item is None:
                return
