"""Standard input: plain text or a language model's JSON lines, whatever else may be in it."""

from __future__ import annotations

import codecs
import itertools
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from stt.errors import ConfigError
from stt.llm import Speech
from stt.messages import Delta
from stt.said import Piece, may_pause
from stt.sources import Source

MAX_LINE_BYTES = 1 << 20
"""A JSON line longer than this is skipped, so that memory stays bounded."""
_READ_BYTES = 1 << 16
_AHEAD = 1024
"""Reads that may wait for the pipeline; beyond, the writer waits, and the clock with it."""
_BOM = rb"(?:\xef\xbb\xbf)?\s*"
_FIELDS = rb"(?:(?::|id:|retry:|event:)[^\n]*\n\s*)*"
_KEY = rb'"[^"\\\n]{0,64}"\s*:'
_JSON = re.compile(_BOM + rb"(?:(?:\[\s*)?\{\s*" + _KEY + rb"|" + _FIELDS + rb"data: *(?:\[ *)?\{)")
"""How objects begin, also in an array, and server-sent events that hold some: text may begin with a bracket, too."""
_PARTS = b"|".join(
    re.escape(f[:n]) for f in (b"data:", b"id:", b"retry:", b"event:") for n in range(1, len(f))
)
_OPEN = re.compile(
    rb"\xef\xbb?|"
    + _BOM
    + rb"(?:"
    + _FIELDS
    + rb"(?:"
    + _PARTS
    + rb"|data: *(?:\[ *)?|(?::|id:|retry:|event:)[^\n]*)?"
    + rb'|\[\s*|(?:\[\s*)?\{\s*(?:"[^"\\\n]{0,64}(?:"\s*)?)?)'
)
"""What may still become either JSON or text."""
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,512}(?:\x07|\x1b\\)|[ -/][0-~])"
)
"""A terminal's colours, titles and character sets."""
_ESCAPE_OPEN = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|\][^\x07\x1b\n]{0,512}\x1b?|[ -/])?\Z")
_UNPRINTABLE = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\ufffd]")

Chunk = tuple[bytes, int]
"""Bytes, and the time in ns at which they were read; no bytes: nothing has come for `quiet_s`."""


class Format(StrEnum):
    """What comes on standard input; `auto` looks at how it begins."""

    auto = "auto"
    text = "text"
    jsonl = "jsonl"


@dataclass
class Stdin(Source):
    """Standard input to its end: plain text, or a language model's JSON lines.

    Attributes:
        format: auto, text or jsonl; auto takes for JSON what begins like an object with a name in it, like an
            array of such, or as server-sent events do.
        quiet_s: when nothing comes for so long, what seems complete is said, though more of it may follow (where
            the system lets a read be watched); None: only what follows, or the end of the input, shows that.
        stream: a binary file to read instead.
    """

    format: Format
    quiet_s: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet_s is not None and not 0 < self.quiet_s <= threading.TIMEOUT_MAX:
            raise ConfigError("source.quiet_s must be above 0 seconds; null: never.")
        self.stream: BinaryIO | None = None
        self._speech = Speech(self.skipped)
        self._closed = False
        self._blank = True  # nothing but spaces has come
        self._wake: int | None = None

    def deltas(self) -> Iterator[Delta]:
        """Deltas stamped when their bytes were read."""
        stream = self.stream or (sys.stdin and sys.stdin.buffer)
        if not stream or stream.closed:
            raise ConfigError("source=stdin, but standard input is closed. Pipe text into it.")
        chunks = self._noted(self._chunks(stream))
        head: list[Chunk] = []
        begun = b""
        while self.format == Format.auto and _OPEN.fullmatch(begun) and len(begun) < MAX_LINE_BYTES:
            chunk, arrived_ns = next(chunks, (b"", 0))
            if not arrived_ns:
                break
            if not chunk:  # quiet, and it may still become either
                continue
            if not begun.strip():  # blanks may go on for ever
                head.clear()
            head.append((chunk, arrived_ns))
            begun = b"".join(part for part, _ in head)
        chunks = itertools.chain(head, chunks)
        json = _JSON.match(begun)
        if self.format == Format.jsonl or (self.format == Format.auto and json):
            yield from self._json(chunks)
        else:
            yield from self._text(chunks, typed=stream.isatty())
        if self._blank and not self._closed:
            raise ConfigError("Nothing arrived on standard input: pipe the text to speak into it.")

    def close(self) -> None:
        """Stop reading, even while nothing comes (where the system lets a read be watched)."""
        self._closed = True
        wake, self._wake = self._wake, None
        if wake is not None:
            os.close(wake)  # wakes the thread that reads

    def _noted(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self._blank = self._blank and not chunk[0].strip()
            yield chunk

    def _chunks(self, stream: BinaryIO) -> Iterator[Chunk]:
        """Bytes as soon as there are any, and when that was."""
        try:
            descriptor = stream.fileno() if os.name == "posix" else -1
        except OSError:  # a file in memory
            descriptor = -1
        if descriptor < 0:
            read1 = getattr(stream, "read1", stream.read)
            while not self._closed and (chunk := read1(_READ_BYTES)):
                yield chunk, self.clock()
            return
        # Read on a thread that never waits for the pipeline: text that queues behind slow engines has arrived.
        found: queue.Queue[Chunk | OSError] = queue.Queue(_AHEAD)
        woken, self._wake = os.pipe()
        arguments = (descriptor, woken, found)
        threading.Thread(target=self._watch, args=arguments, name="stdin", daemon=True).start()
        quiet_s = None
        while not self._closed:
            try:
                chunk = found.get(timeout=quiet_s)
            except queue.Empty:
                quiet_s = None  # once is enough
                yield b"", self.clock()
                continue
            quiet_s = self.quiet_s
            if isinstance(chunk, OSError):
                raise ConfigError(f"Standard input cannot be read: {chunk.strerror}.") from chunk
            if not chunk[0]:
                return
            yield chunk

    def _watch(self, descriptor: int, woken: int, found: queue.Queue[Chunk | OSError]) -> None:
        chunk = b"?"
        try:
            while chunk:
                ready, _, _ = select.select([descriptor, woken], [], [])
                chunk = b"" if woken in ready else os.read(descriptor, _READ_BYTES)
                found.put((chunk, self.clock()))
        except OSError as error:
            found.put(error)
        finally:
            os.close(woken)

    def _text(self, chunks: Iterator[Chunk], *, typed: bool) -> Iterator[Delta]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        tail = cut = ""
        for chunk, arrived_ns in itertools.chain(chunks, [(b"", 0)]):
            text = cut + decoder.decode(chunk, final=not arrived_ns)
            cut = found[0] if (found := _ESCAPE_OPEN.search(text)) else ""
            text = _ESCAPE.sub("", text.removesuffix(cut))
            # Among binary bytes, what looks like a little text is chance.
            odd = 1 / 8 if "\0" in text else 1 / 3
            text = "\n".join(self._readable(line, odd) for line in text.split("\n"))
            tail = (tail + text)[-64:]
            if not arrived_ns:
                yield Delta(text, self.clock(), final=True)
            elif text:  # a person who typed a line waits for it to be said
                yield Delta(text, arrived_ns, final=typed and text.endswith("\n"))
            elif not chunk and may_pause(tail):
                yield Delta("\n\n", arrived_ns)  # not the end: code may still be open

    def _readable(self, line: str, odd: float) -> str:
        """A line, or its part that has come; "" when more than `odd` of it is no text."""
        if "\0" in line or len(_UNPRINTABLE.findall(line)) > odd * len(line):
            self._speech.skip("binary bytes, or text that is not UTF-8")
            return ""
        if "\ufffd" in line:
            self._speech.skip("letters that are not UTF-8: convert the text")
        return line

    def _json(self, chunks: Iterator[Chunk]) -> Iterator[Delta]:
        said = False
        for delta in self._lines(chunks):
            said = said or bool(delta.text.strip())
            yield delta
        if self.skipped and not said and not self._closed:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in self.skipped.items())
            raise ConfigError(
                f"Standard input was read as a language model's JSON, but no text was found in it: {kinds}. "
                "If it is to be spoken as it stands, use source.format=text."
            )

    def _lines(self, chunks: Iterator[Chunk]) -> Iterator[Delta]:
        line = bytearray()
        too_long = False
        last = iter([(b"\n", 0)])  # what follows the last newline is a line, too
        for chunk, read_ns in itertools.chain(chunks, last):
            arrived_ns = read_ns or self.clock()
            if not chunk:
                yield from _deltas(self._speech.quiet(), arrived_ns)
            *ended, rest = chunk.split(b"\n")
            for part in ended:
                line += part
                if too_long or len(line) > MAX_LINE_BYTES:
                    self._speech.skip("a line longer than 1 MB")
                else:
                    yield from _deltas(self._speech.read(bytes(line)), arrived_ns)
                line.clear()
                too_long = False
            line += rest
            if len(line) > MAX_LINE_BYTES:
                too_long = True
                line.clear()
        yield from _deltas(self._speech.finish(), self.clock())


def _deltas(pieces: Iterable[Piece], arrived_ns: int) -> Iterator[Delta]:
    return (Delta(text, arrived_ns, name, final) for name, text, final in pieces)
