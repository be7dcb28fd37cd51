"""One stream of text on its way through the engines: read -> translate -> synthesize, a thread each.

Stages hand each other immutable messages through queues; what bounds memory is the number of sentences in
flight. An engine that raises costs its sentence; one that hangs costs its sentence and is replaced.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from stt import engine
from stt.audio import NO_AUDIO, NO_TEXT, SILENCE
from stt.errors import EngineError, reason
from stt.messages import Delta, Status, Utterance
from stt.quality import degeneration
from stt.reading import sentences
from stt.sinks import Sink
from stt.stage import Job, Stage

if TYPE_CHECKING:
    from stt.pipeline import Pipeline

log = logging.getLogger(__name__)
POLL_S = 0.2
"""How often hanging engines are looked for; it delays no utterance."""
STOPPED = "the run was stopped"


class Stream:
    """Deltas in, utterances out, once; `pipeline` lends the engines."""

    def __init__(
        self,
        pipeline: Pipeline,
        deltas: Iterable[Delta],
        sink: Sink,
        closed_loop: bool,
        done: Collection[str],
    ) -> None:
        self._pipeline = pipeline
        self._deltas = deltas
        self._sink = sink
        self._closed_loop = closed_loop
        self._passed_over = done
        self._settings = pipeline.settings
        self._clock = pipeline.clock
        self._slots = threading.Semaphore(pipeline.settings.in_flight)
        self._idle = threading.Condition()
        self._storing = threading.Lock()  # a sink is used by one thread at a time
        self._jobs: dict[int, Job] = {}
        self._yielded: Job | None = None  # the caller has it, and nothing is left to say of it
        self._stopping = False
        self._error: BaseException | None = None
        self._done: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._translate = Stage(
            "translate", self._translate_item, pipeline.reload_translator, self._clock, self._fail
        )
        self._synthesize = Stage(
            "synthesize",
            self._synthesize_item,
            pipeline.reload_synthesizer,
            self._clock,
            self._fail,
        )
        self._reader = threading.Thread(target=self._read, name="read", daemon=True)

    def utterances(self) -> Iterator[Utterance]:
        self._reader.start()
        self._translate.start()
        self._synthesize.start()
        while True:
            try:
                job = self._done.get(timeout=POLL_S)
            except queue.Empty:
                self._replace_hanging()
                continue
            if job is None:
                break
            self._yielded = job
            yield job.utterance()
            self._release(job)
        if self._error is not None:
            raise self._error

    def _fail(self, error: BaseException) -> None:
        """End the run with what ended a thread of it."""
        self._error = error
        self._done.put(None)

    def stop(self) -> None:
        self._stopping = True
        with self._idle:
            self._idle.notify_all()
        self._slots.release()
        stored = self._storing.acquire(timeout=1.0)  # a write that hangs must not hold up the end
        for stage in (self._translate, self._synthesize):
            stage.abandoned = True
            stage.put(None)
        if stored:
            self._storing.release()

    def cancelled(self) -> list[Utterance]:
        left = [job for job in self._jobs.values() if job is not self._yielded]
        self._jobs.clear()
        for job in left:
            job.end(Status.cancelled, STOPPED)
        return [job.utterance() for job in left]

    def _release(self, job: Job) -> None:
        with self._idle:
            del self._jobs[job.number]
            if not self._jobs:
                self._idle.notify_all()
        self._slots.release()

    def _replace_hanging(self) -> None:
        timeout_s = self._settings.timeout_s
        job = self._translate.give_up(timeout_s)
        if job is not None:
            job.end(Status.timeout, f"the translator took longer than {timeout_s:g} s")
            self._synthesize.put((job, None))  # before the next thread can put what follows
            self._translate = self._translate.replacement()
        job = self._synthesize.give_up(timeout_s)
        if job is not None:
            job.end(Status.timeout, f"the synthesizer took longer than {timeout_s:g} s")
            self._finish(job)  # before the next thread can reach what is left of this job
            self._synthesize = self._synthesize.replacement()

    # thread "read"

    def _read(self) -> None:
        try:
            for sentence in sentences(self._deltas, self._pipeline.segmenter):
                if sentence is not None and sentence.id in self._passed_over:
                    continue
                if sentence is not None:
                    self._admit(Job(sentence, self._clock))
                elif self._closed_loop:
                    with self._idle:
                        self._idle.wait_for(lambda: self._stopping or not self._jobs)
                if self._stopping:
                    return
        except BaseException as error:
            self._error = error
        finally:
            self._translate.put(None)

    def _admit(self, job: Job) -> None:
        job.timeline.mark("segmented")
        self._slots.acquire()
        if not self._stopping:
            self._jobs[job.number] = job
            self._translate.put(job)

    # thread "translate"

    def _translate_item(self, job: Job | None, stage: Stage) -> None:
        if job is None:
            self._synthesize.put(None)
            return
        stage.begin(job)
        job.timeline.mark("translate_start")
        held = []
        try:
            stage.check()
            for made in self._pipeline.translator.translate(job.sentence.text):
                if stage.abandoned:
                    return
                clause = engine.clause(made)
                job.timeline.mark("first_clause")
                job.clauses.append(clause)
                if self._settings.overlap:
                    self._synthesize.put((job, clause.text))
                else:
                    held.append(clause.text)
        except Exception as error:
            self._blame(job, "translator", error)
        if not stage.rest():
            return
        job.timeline.mark("translate_end")
        for text in held:
            self._synthesize.put((job, text))
        self._synthesize.put((job, None))
        if not self._settings.overlap:
            job.spoken.wait()

    # thread "synthesize"

    def _synthesize_item(self, item: tuple[Job, str | None] | None, stage: Stage) -> None:
        if item is None:
            self._done.put(None)
            return
        job, text = item
        if job.spoken.is_set():
            return  # ended as a timeout; its translator is still talking
        stage.begin(job)
        if text is not None and self._pipeline.synthesizer.unit is engine.Unit.sentence:
            job.unspoken += text
            text = ""
        try:
            if not job.lost:
                self._speak(job, text if text is not None else job.unspoken, stage)
        except Exception as error:
            self._blame(job, "synthesizer", error)
        if not stage.rest():
            return
        if text is None:
            self._finish(job)

    def _speak(self, job: Job, text: str, stage: Stage) -> None:
        if not text:
            return
        stage.check()
        job.timeline.mark("synthesize_start")
        for made in self._pipeline.synthesizer.synthesize(text):
            chunk = engine.chunk(made)
            if job.chunks and chunk.sample_rate != job.sample_rate:
                raise EngineError(
                    f"{chunk.sample_rate} Hz after {job.sample_rate} Hz in one utterance"
                )
            if not chunk.samples.size:
                continue  # nothing of it is heard
            with self._storing:
                if stage.abandoned:
                    return
                handed_ns = job.timeline.mark("first_chunk") if not job.chunks else self._clock()
                try:
                    self._sink.write(job.sentence.id, chunk)
                except Exception as error:
                    self._blame(job, "sink", error)
                    return
                job.hear(chunk, handed_ns)

    def _finish(self, job: Job) -> None:
        """Everything of `job` was spoken: judge it and hand it to the caller, whatever else fails."""
        job.timeline.mark("synthesize_end")
        try:
            with self._storing:
                self._sink.end(job.sentence.id)
        except Exception as error:
            self._blame(job, "sink", error)
        try:
            self._judge(job)
        except Exception as error:
            self._blame(job, "engine", error)
        self._tell(job)
        job.spoken.set()
        self._done.put(job)

    def _tell(self, job: Job) -> None:
        """Who listens does not read records: what is lost is said at once, but only once of each kind."""
        if job.status not in (Status.failed, Status.timeout) or job.error is None:
            return
        kind = re.split(r"[\d'\"]", job.error)[0]  # figures and quotations are of this sentence
        if kind not in self._pipeline.told:
            self._pipeline.told.add(kind)
            why = job.error if job.error.endswith((".", "?", "!")) else f"{job.error}."
            log.warning("%s Speech of %s is lost; the run goes on", why, job.sentence.id)

    def _judge(self, job: Job) -> None:
        """Give `job` a status worse than ok for what is wrong with its translation, its audio or its engines."""
        if job.status is not Status.ok:
            return
        said = "".join(clause.text for clause in job.clauses)
        judged = self._pipeline.translator.translates
        fault = judged and degeneration(job.sentence.text, said, self._pipeline.language)
        if any(clause.truncated for clause in job.clauses):
            job.end(
                Status.truncated,
                "the translation was cut off, at the length limit or in a loop",
            )
        elif fault:
            job.end(Status.degenerate, fault)
        elif job.leading_silence_s is None:
            heard_none = NO_AUDIO if said.strip() else NO_TEXT
            job.end(Status.failed, SILENCE if job.chunks else heard_none)
        elif self._pipeline.fallback:
            job.end(Status.fallback, self._pipeline.fallback)

    def _blame(self, job: Job, stage: str, error: Exception) -> None:
        """End `job` for what `stage` raised. An engine that was closed under it may raise anything: that is no fault of its own."""
        log.debug("%s failed", stage, exc_info=error)
        if self._pipeline.closed:
            job.end(Status.cancelled, STOPPED)
        else:
            job.end(Status.failed, f"{stage}: {reason(error)}")
