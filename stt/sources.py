"""Where text comes from: what all sources share, and a corpus at its own pace, a model's, or that of many people."""

from __future__ import annotations

import hashlib
import logging
import math
import random
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import ClassVar

from stt.clean import clean
from stt.errors import ConfigError
from stt.messages import Delta
from stt.timeline import Clock, monotonic_ns

log = logging.getLogger(__name__)

_KEPT_SLIPS = 10_000
_TOKEN = re.compile(r"\s*(?:\w{1,4}|[^\w\s])|\s+")


class Source(ABC):
    """Yields deltas on the pipeline's read thread.

    Class attributes:
        closed_loop: the next message is wanted only when the last one was spoken.
        one_listener: speech waits for the speech before it.

    Attributes:
        skipped: what could not be read, counted by kind.
        clock: stamps deltas; replaced in tests.
    """

    closed_loop: ClassVar[bool] = False
    one_listener: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self.clock: Clock = monotonic_ns

    @abstractmethod
    def deltas(self) -> Iterator[Delta]:
        """Yield text as it becomes available, stamped with that time.

        Raises:
            ConfigError: the source cannot be read.
        """

    def close(self) -> None:
        """End `deltas` soon, from any thread, also while it waits. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class CorpusLine:
    """A corpus sentence; `reference` is a human translation."""

    id: str
    text: str
    bucket: str | None = None
    reference: str | None = None


def _parsed(content: bytes, path: str | None) -> list[CorpusLine]:
    """One sentence a line, or TSV id, bucket, source, reference.

    Raises:
        ConfigError: empty, not text, a row of another shape, or an id used twice.
    """
    where = f"source.path={path}" if path else "the packaged corpus"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where} is not UTF-8 text (byte {error.start} is wrong). Convert it to UTF-8 first."
        ) from error
    if "\0" in text:
        raise ConfigError(f"{where} is a binary file. Name a text file, a sentence a line.")
    rows = [(n, row.strip("\r")) for n, row in enumerate(text.split("\n"), 1) if row.strip()]
    if not rows:
        raise ConfigError(f"{where} is empty: nothing to speak. Put a sentence on each line.")
    if "\t" not in rows[0][1]:
        return [CorpusLine(f"s{n:03d}", row.strip()) for n, (_, row) in enumerate(rows, 1)]
    lines: dict[str, CorpusLine] = {}
    if [name.strip().lower() for name in rows[0][1].split("\t")[:3]] == ["id", "bucket", "source"]:
        rows = rows[1:]  # the names of the columns
    for number, row in rows:
        columns = [column.strip() for column in row.split("\t")]
        if not 3 <= len(columns) <= 4 or not columns[0] or not columns[2]:
            raise ConfigError(
                f"{where}, line {number}: expected id, bucket, source, reference with tabs "
                f"between, found {len(columns)} columns or an empty id or source. Correct it."
            )
        name, bucket, source, reference = (*columns, "")[:4]
        if name in lines:
            raise ConfigError(
                f"{where}, line {number}: it has the id {name} more than once. Ids name results: "
                "make each unique."
            )
        lines[name] = CorpusLine(name, source, bucket or None, reference or None)
    return list(lines.values())


def _corpus_bytes(path: str | None) -> bytes:
    if path is None:
        return (resources.files("stt") / "assets" / "speech.tsv").read_bytes()
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"source.path={path} cannot be read: {why}. Name a text file, a sentence a line, or "
            "leave source.path out for the packaged corpus."
        ) from error


@dataclass
class Corpus(Source):
    """A source that speaks a corpus.

    Attributes:
        path: corpus file; None is the packaged one.
    """

    path: str | None

    @cached_property
    def _content(self) -> bytes:
        """What the file held when it was first read: what is spoken is what was hashed."""
        return _corpus_bytes(self.path)

    @property
    def sha256(self) -> str:
        """Checksum of what the corpus held when it was first read."""
        return hashlib.sha256(self._content).hexdigest()

    @cached_property
    def lines(self) -> list[CorpusLine]:
        """The lines in which something can be said; the others are counted, and named.

        Raises:
            ConfigError: there is none, or the file is no corpus.
        """
        lines = _parsed(self._content, self.path)
        silent = dict.fromkeys(line.id for line in lines if not clean(line.text))
        if len(silent) == len(lines):
            raise ConfigError(
                f"source.path={self.path}: nothing in it can be said. Put a sentence on each line."
            )
        if silent:
            log.warning("nothing can be said of %s: no utterance, no record", ", ".join(silent))
            self.skipped["nothing can be said"] = len(silent)
        return [line for line in lines if line.id not in silent]


@dataclass
class CorpusClosed(Corpus):
    """Corpus sentences one after another; each arrives when it is asked for."""

    closed_loop: ClassVar[bool] = True

    def deltas(self) -> Iterator[Delta]:
        """One delta a sentence."""
        for line in self.lines:
            yield Delta(line.text, self.clock(), line.id, True, line.reference, line.bucket)


@dataclass
class Scheduled(Corpus):
    """Corpus sentences on a schedule; a late pipeline does not move it.

    Attributes:
        slip_ns: how much later than scheduled each of the last deltas was handed out.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slip_ns: list[int] = []
        self._closed = threading.Event()

    @abstractmethod
    def schedule(self) -> Iterator[tuple[CorpusLine, list[tuple[str, float]]]]:
        """Each line with its pieces, and the seconds from each piece to the next one."""

    def deltas(self) -> Iterator[Delta]:
        """Deltas stamped with the time they were due, however late they are."""
        schedule = self.schedule()
        due_ns = self.clock()
        for line, pieces in schedule:
            for number, (text, pause_s) in enumerate(pieces, 1):
                if not self._wait(due_ns):
                    return
                self.slip_ns.append(self.clock() - due_ns)
                if len(self.slip_ns) > _KEPT_SLIPS:
                    del self.slip_ns[: _KEPT_SLIPS // 2]
                last = number == len(pieces)
                yield Delta(text, due_ns, line.id, last, line.reference, line.bucket)
                due_ns += round(pause_s * 1e9)

    def close(self) -> None:
        """End the replay."""
        self._closed.set()

    def _wait(self, due_ns: int) -> bool:
        """Sleep until just before `due_ns`, then in short steps: on time without a busy core."""
        while (left_ns := due_ns - self.clock()) > 0 and not self._closed.is_set():
            if left_ns > 2_000_000:
                self._closed.wait((left_ns - 1_000_000) / 1e9)
            else:
                time.sleep(min(left_ns, 200_000) / 1e9)
        return not self._closed.is_set()


@dataclass
class CorpusOpen(Scheduled):
    """Corpus sentences as a model writes them, in small deltas; an empty one ends a line.

    Attributes:
        tokens_per_s: deltas (pieces of words, of at most four letters) in a second.
        gap_s: pause between lines.
    """

    tokens_per_s: float
    gap_s: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tokens_per_s > 0 and self.gap_s >= 0):
            raise ConfigError("source.tokens_per_s must be above 0, and source.gap_s not below 0.")

    def schedule(self) -> Iterator[tuple[CorpusLine, list[tuple[str, float]]]]:
        """A token after the other."""
        step_s = 1 / self.tokens_per_s
        for line in self.lines:
            # Only what follows shows a listener of a model that its last token was the last.
            yield line, [*((t, step_s) for t in _TOKEN.findall(line.text)), ("", step_s + self.gap_s)]  # fmt: skip


@dataclass
class CorpusPoisson(Scheduled):
    """Whole corpus sentences from many people who know nothing of each other, each with a loudspeaker of their own.

    Attributes:
        per_s: sentences in a second, on average; the times between them are exponentially distributed.
        seed: of these times.
    """

    one_listener: ClassVar[bool] = False

    per_s: float
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.per_s < math.inf:
            raise ConfigError("source.per_s must be above 0.")
        self._times = random.Random(self.seed)  # each pass over the corpus has other times

    def schedule(self) -> Iterator[tuple[CorpusLine, list[tuple[str, float]]]]:
        """A sentence after the other."""
        for line in self.lines:
            yield line, [(line.text, self._times.expovariate(self.per_s))]
