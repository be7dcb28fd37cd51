"""One configuration being measured: its engines, its run folder, its records."""

from __future__ import annotations

import gc
import random
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from stt import environment, results, stored
from stt.config import build, check_values
from stt.device import device_of_voice, require
from stt.errors import ResultsError
from stt.messages import Delta, Status, Utterance
from stt.pipeline import Pipeline
from stt.player import heard
from stt.process import peak_memory_bytes
from stt.reading import sentences
from stt.sinks import Discard, Sink
from stt.sources import Corpus, CorpusClosed, CorpusLine, Source
from stt.statistics import percentile, steady
from stt.timeline import monotonic_ns

_LENGTHS = 5
"""Sentences of a warm-up block, from the shortest to the longest fifth of the corpus."""


class Arm:
    """One configuration, from its parts to its records: `load`, `warm_up`, `utterances`, `finish`, in this order.

    Attributes:
        corpus_sha256: of the corpus; None where it is not known before what will be spoken.
    """

    def __init__(
        self, cfg: Any, chosen: dict[str, str], folder: Path, turns: str | None = None
    ) -> None:
        """Build every part, so that what is wrong with the configuration is said before anything loads.

        Args:
            turns: stored with each record: the same in all arms that take turns.

        Raises:
            ConfigError: a part cannot be built as asked.
            UnsupportedDevice: an engine does not run on the chosen device.
        """
        from omegaconf import OmegaConf

        check_values(cfg)
        parts = {
            group: build(cfg[group], f"{group}={chosen[group]}")
            for group in ("device", "translator", "tts", "segment", "source", "sink", "pipeline")
        }
        device = parts["device"]
        require(parts["translator"], device, f"translator={chosen['translator']}")
        self.folder, self.cfg, self.chosen, self.turns = folder, cfg, chosen, turns
        self.config: Any = OmegaConf.to_container(cfg, resolve=True)
        self.source: Source = parts["source"]
        self.sink: Sink = parts["sink"]
        self.pipeline = Pipeline(
            parts["pipeline"],
            parts["segment"],
            parts["translator"],
            parts["tts"],
            device,
            device_of_voice(parts["tts"], device),
            language=cfg.language.target,
        )
        self.corpus_sha256: str | None = None
        self._order: list[str] = []  # messages of the corpus; none are known of what comes live
        if isinstance(self.source, Corpus):
            if cfg.measure.shuffle:
                random.Random(int(cfg.measure.seed)).shuffle(self.source.lines)
            self._order = [line.id for line in self.source.lines]
            self.corpus_sha256 = self.source.sha256
        self._load: dict[str, Any] = {}
        self._run: results.RunFolder | None = None
        self._statuses: set[str] = set()  # of the session's utterances, once it is finished
        self._warmed = 0  # sentences spoken to warm up
        self._complete = False

    def load(self) -> None:
        """Load the engines and open the run folder.

        Raises:
            EngineUnavailable, UnsupportedDevice, ResultsError: nothing was measured.
        """
        start_ns = monotonic_ns()
        self.pipeline.load()
        self._load["load_s"] = (monotonic_ns() - start_ns) / 1e9
        header = {
            "key": environment.run_key(self.config, self.chosen),
            "config": self.config,
            "choices": self.chosen,
            "effective": self.pipeline.effective(),
            "environment": environment.describe(),
            "corpus_sha256": self.corpus_sha256,
        }
        # What comes live is something else each time, even under the same names: a session of its own.
        resume = bool(self.cfg.resume) and isinstance(self.source, Corpus)
        self._run = results.RunFolder.open(self.folder, header, resume=resume)
        self.sink.open(self.folder)
        gc.collect()
        gc.freeze()

    def warm_up(self) -> int:
        """Speak blocks until one is no faster than those before; returns how many sentences that took."""
        settings, before_s = self.cfg.measure, float("inf")
        network = self.pipeline.translator.network or self.pipeline.synthesizer.network
        while self._warmed < settings.warmup_max:
            block_s = self._speak_block()
            if network or block_s > before_s * (1 - settings.warmup_tolerance):
                break
            before_s = min(before_s, block_s)
        self._load["warmup"] = {"sentences": self._warmed}
        return self._warmed

    def warm_up_to(self, count: int) -> None:
        """Speak further blocks until `count` sentences were spoken, which another arm needed."""
        while self._warmed < count:
            self._speak_block()
        self._load["warmup"] = {"sentences": self._warmed}

    def _speak_block(self) -> float:
        """Speak the warm-up block once; returns the seconds it took."""
        block, start_ns = self._block, monotonic_ns()
        for utterance in self.pipeline.run(_again(block), Discard(), closed_loop=True):
            self._record(utterance, 0, "warmup" if self._warmed else "cold")
            if not self._warmed and utterance.chunks:
                ended_ns = utterance.chunks[-1][0]
                self._load["first_call_ms"] = (ended_ns - utterance.marks_ns["arrived"]) / 1e6
            self._warmed += 1
        return (monotonic_ns() - start_ns) / 1e9

    @cached_property
    def _block(self) -> list[CorpusLine]:
        """A corpus sentence of each length; always the same, for blocks of different text say nothing about warmth."""
        corpus = self.source if isinstance(self.source, Corpus) else CorpusClosed(None)
        lines = sorted(corpus.lines, key=lambda line: len(line.text))
        edges = [i * len(lines) // _LENGTHS for i in range(_LENGTHS + 1)]
        order = random.Random(int(self.cfg.measure.seed))
        return [order.choice(lines[a:b]) for a, b in pairwise(edges) if a < b]

    def utterances(self) -> Generator[Utterance]:
        """Measure: yield every utterance after it was recorded. Raises ResultsError where there was none."""
        assert self._run is not None
        self.pipeline.told.clear()  # in a warm-up nothing was to be heard
        try:
            for number in range(1, self.cfg.measure.passes + 1):
                done = {id_ for pass_, id_ in self._run.done if pass_ == number and self._order}
                # A message may be several sentences; only the last one begun may lack some.
                begun = [id_ for id_ in self._order if id_ in done]
                deltas = _select(self.source, set(begun[:-1]), self.cfg.measure.limit)
                run = self.pipeline.run(
                    deltas, self.sink, closed_loop=self.source.closed_loop, done=done
                )
                free_ns: int | None = None
                with closing(run):
                    for utterance in run:
                        if self.source.one_listener and not self.source.closed_loop:
                            utterance, free_ns = heard(utterance, free_ns)
                        self._record(utterance, number, "measure")
                        yield utterance
            self._complete = True
            if self._run.empty:
                raise ResultsError(
                    "No utterance was measured: the source gave no text to speak (code blocks, "
                    "thinking, tools and other roles are passed over)."
                )
        except (KeyboardInterrupt, GeneratorExit):
            self.sink.stop()
            for utterance in self.pipeline.cancelled():
                self._record(utterance, number, "measure")
            raise

    def messages(self) -> Generator[None]:
        """Measure: yield after each message of a corpus, when nothing of it is in flight any more."""
        spoken = self.utterances()
        with closing(spoken):
            for utterance in spoken:
                if utterance.sentence.id in self._ends:
                    yield

    @property
    def expected(self) -> int | None:
        """How many times `messages` will yield; None where that is not known before."""
        if not isinstance(self.source, Corpus):
            return None
        done = self._run.done if self._run is not None else set()
        passes = range(1, self.cfg.measure.passes + 1)
        return sum((number, id_) not in done for number in passes for id_ in self._ends)

    @cached_property
    def _ends(self) -> set[str]:
        """Names of the last sentences of the messages; one of code alone has none."""
        assert isinstance(self.source, Corpus)
        lines = self.source.lines[: self.cfg.measure.limit]
        found = sentences(_again(lines), self.pipeline.segmenter)
        return {a.id for a, b in pairwise([*found, None]) if a is not None and b is None}

    def _record(self, utterance: Utterance, pass_: int, phase: str) -> None:
        assert self._run is not None
        made = stored.record(utterance, session=self._run.session, pass_=pass_, phase=phase)
        self._run.append(made if self.turns is None else {**made, "turns": self.turns})

    @property
    def exit_status(self) -> int:
        """After `finish`: 0 when the session is complete and every utterance of it was ok."""
        return 0 if self._complete and self._statuses <= {Status.ok} else 1

    def finish(self) -> None:
        """Write what is known at the end, close everything. Safe at any point.

        Raises:
            ResultsError: it cannot be written; all records are safe.
        """
        try:
            self.source.close()
            if self._run is not None:
                self._conclude(self._run)
        except KeyboardInterrupt:
            self.sink.stop()
            raise
        finally:
            if self._run is not None:
                try:
                    self.sink.close()  # which may play on for a while
                except OSError as error:
                    self._complete = False
                    self._run.spoil(f"the last audio is lost: {error.strerror or error}")
                self._run.close()
            self.pipeline.close()

    def _conclude(self, run: results.RunFolder) -> None:
        """Judge the session and write how it went."""
        reasons = [] if self._complete else ["the session did not finish"]
        # From the disk: a resumed session also holds what was measured before it broke off.
        session = run.measured()
        self._statuses = {str(record["status"]) for record in session}
        ok = [record for record in session if record["status"] == Status.ok]
        totals = [record["chunks"][-1][0] / 1e6 for record in ok]
        lengths = [float(len(record["source"].split())) for record in ok]
        # Of other sources it is the text that came sooner than speech, not the machine, that drifts.
        if isinstance(self.source, Corpus) and steady(totals, lengths) is False:
            self._load["steady"] = False
            reasons.append("latency drifted during the run")
        reasons += stored.unbalanced(session)
        ran = self.pipeline.effective()
        engines = {"translator": self.pipeline.translator, "tts": self.pipeline.synthesizer}
        for group, engine in engines.items():
            reasons += _mismatches(group, self.config[group], ran[group])
            ran[group] |= {"network": engine.network, "random": engine.random}
        ran["translator"]["translates"] = self.pipeline.translator.translates
        if slip_ns := getattr(self.source, "slip_ns", None):
            p50, p95 = (percentile([ns / 1e6 for ns in slip_ns], q) for q in (50, 95))
            self._load["slip_ms"] = {"p50": p50, "p95": p95, "max": max(slip_ns) / 1e6}
        self._load["peak_memory_bytes"] = peak_memory_bytes()
        if self.source.skipped:
            self._load["skipped_lines"] = dict(self.source.skipped)
        valid = {"ok": not reasons, "reasons": reasons}
        run.finish(valid=valid, load=self._load, effective=ran)


def _mismatches(group: str, asked: dict[str, Any], effective: dict[str, Any]) -> list[str]:
    """Where the engine runs another way than its YAML asked."""
    return [
        f"{group}.{name}: asked {value}, runs {effective[name]}"
        for name, value in asked.items()
        if name in effective and value is not None and effective[name] != value
    ]


def _again(block: list[CorpusLine]) -> Iterator[Delta]:
    for line in block:
        yield Delta(line.text, monotonic_ns(), line.id, True, line.reference, line.bucket)


def _select(source: Source, done: set[str], limit: int | None) -> Iterator[Delta]:
    """The source's text without what was measured before, up to `limit` messages."""
    ended = 0
    for delta in source.deltas():
        if delta.id not in done:
            yield delta
        ended += delta.final
        if ended == limit:  # before the source is asked for more, which live may take for ever
            return
