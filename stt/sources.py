"""Where text comes from: a corpus at its own or at a language model's pace, or standard input."""

from __future__ import annotations

import codecs
import hashlib
import logging
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import BinaryIO, ClassVar

from stt.errors import ConfigError
from stt.llm import Speech
from stt.messages import Delta
from stt.timeline import monotonic_ns

log = logging.getLogger(__name__)
MAX_LINE_BYTES = 1 << 20
CHARS_PER_TOKEN = 4


class Source(ABC):
    """Yields deltas on the pipeline's read thread.

    Class attributes:
        closed_loop: the next message is wanted only when the last one was spoken.
    """

    closed_loop: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.skipped: Counter[str] = Counter()

    @abstractmethod
    def deltas(self) -> Iterator[Delta]:
        """Yield text as it becomes available, stamped with that time."""

    def close(self) -> None:
        """Let go of what is open."""


@dataclass(frozen=True)
class CorpusLine:
    """A corpus sentence; `reference` is a human translation."""

    id: str
    text: str
    bucket: str | None = None
    reference: str | None = None


def _corpus_bytes(path: str | None) -> bytes:
    if path is None:
        return (resources.files("stt") / "assets" / "speech.tsv").read_bytes()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"source.path={path} cannot be read: {error.strerror}. Name a text file, a sentence a line."
        ) from error


def corpus_sha256(path: str | None) -> str:
    """Checksum of the corpus file (None: the packaged one).

    Raises:
        ConfigError: it cannot be read.
    """
    return hashlib.sha256(_corpus_bytes(path)).hexdigest()


def read_corpus(path: str | None) -> list[CorpusLine]:
    """Sentences of a corpus file: one a line, or TSV id, bucket, source, reference.

    Raises:
        ConfigError: missing, empty, not UTF-8, or two lines of the same id.
    """
    where = path or "the packaged corpus"
    try:
        text = _corpus_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{where} is not UTF-8 text (byte {error.start}). Convert it first."
        ) from error
    lines: list[CorpusLine] = []
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split("\t")
        if not line.strip():
            continue
        if len(columns) >= 3:
            reference = columns[3] if len(columns) > 3 and columns[3] else None
            lines.append(CorpusLine(columns[0], columns[2], columns[1] or None, reference))
        else:
            lines.append(CorpusLine(f"s{number:03d}", line.strip()))
    if not lines:
        raise ConfigError(f"{where} is empty: nothing to speak. Put a sentence on each line.")
    twice = [name for name, count in Counter(line.id for line in lines).items() if count > 1]
    if twice:
        raise ConfigError(
            f"{where} has the id {twice[0]} more than once. Ids name results: make each unique."
        )
    return lines


@dataclass
class CorpusClosed(Source):
    """Corpus sentences one after another; each arrives when it is asked for.

    Attributes:
        path: corpus file; None is the packaged one.
    """

    path: str | None
    closed_loop: ClassVar[bool] = True

    def deltas(self) -> Iterator[Delta]:
        """One delta a sentence."""
        for line in read_corpus(self.path):
            yield Delta(line.text, monotonic_ns(), line.id, True, line.reference, line.bucket)


@dataclass
class CorpusOpen(Source):
    """Corpus sentences in small deltas on a fixed schedule; a late pipeline does not delay the clock.

    Attributes:
        path: corpus file; None is the packaged one.
        tokens_per_s: deltas of about four characters per second.
        gap_s: pause between sentences.
    """

    path: str | None
    tokens_per_s: float
    gap_s: float

    def deltas(self) -> Iterator[Delta]:
        """Deltas stamped with the time they were due; `slip_ns` says how late they came."""
        self.slip_ns: list[int] = []
        due_ns = monotonic_ns()
        step_ns = round(1e9 / self.tokens_per_s)
        for line in read_corpus(self.path):
            pieces = [
                line.text[at : at + CHARS_PER_TOKEN]
                for at in range(0, len(line.text), CHARS_PER_TOKEN)
            ]
            for number, piece in enumerate(pieces, 1):
                due_ns += step_ns
                time.sleep(max(0, due_ns - monotonic_ns()) / 1e9)
                self.slip_ns.append(monotonic_ns() - due_ns)
                final = number == len(pieces)
                yield Delta(piece, due_ns, line.id, final, line.reference, line.bucket)
            due_ns += round(self.gap_s * 1e9)


class Format(StrEnum):
    """What comes on standard input; `auto` looks at the first character."""

    auto = "auto"
    text = "text"
    jsonl = "jsonl"


@dataclass
class Stdin(Source):
    """Standard input to its end: plain text, or a language model's JSON lines.

    Attributes:
        format: auto, text or jsonl.
    """

    format: Format

    def deltas(self) -> Iterator[Delta]:
        """Deltas stamped when the bytes were read."""
        stream = sys.stdin.buffer
        first = b""
        while self.format is Format.auto and not first.strip():
            more = _read(stream)
            first += more
            if not more:
                break
        jsonl = self.format is Format.jsonl or (
            self.format is Format.auto and first.lstrip()[:1] == b"{"
        )
        yield from self._lines(stream, first) if jsonl else self._text(stream, first)

    def _text(self, stream: BinaryIO, chunk: bytes) -> Iterator[Delta]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        typed = sys.stdin.isatty()
        chunk = chunk or _read(stream)
        while chunk:
            arrived_ns = monotonic_ns()
            text = decoder.decode(chunk)
            readable = "".join(c for c in text if c >= " " or c in "\n\t\r").replace("\ufffd", "")
            if len(readable) < len(text):
                self._skip("characters that are no text")
            if readable:
                yield Delta(readable, arrived_ns, final=typed and readable.endswith("\n"))
            chunk = _read(stream)
        yield Delta("", monotonic_ns(), final=True)

    def _lines(self, stream: BinaryIO, chunk: bytes) -> Iterator[Delta]:
        speech = Speech()
        self.skipped = speech.skipped
        pending, too_long = bytearray(), False
        while True:
            chunk = chunk or _read(stream)
            ended = not chunk
            *whole, rest = (chunk + b"\n" if ended else chunk).split(b"\n")
            arrived_ns = monotonic_ns()
            for line in whole:
                if too_long or len(pending) + len(line) > MAX_LINE_BYTES:
                    self._skip("a line longer than 1 MB")
                else:
                    for name, text, final in speech.read(bytes(pending) + line):
                        yield Delta(text, arrived_ns, name, final)
                pending.clear()
                too_long = False
            if len(pending) + len(rest) > MAX_LINE_BYTES:
                pending.clear()
                too_long = True
            else:
                pending += rest
            if ended:
                break
            chunk = b""
        for name, text, final in speech.finish():
            yield Delta(text, monotonic_ns(), name, final)

    def _skip(self, kind: str) -> None:
        if not self.skipped[kind]:
            log.warning("input was passed over: %s (further ones are only counted)", kind)
        self.skipped[kind] += 1


def _read(stream: BinaryIO) -> bytes:
    read1 = getattr(stream, "read1", stream.read)
    data: bytes = read1(1 << 16)
    return data
