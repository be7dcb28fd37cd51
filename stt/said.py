"""What was said of one message of a language model, and whether it may go on."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from stt.clean import Blocks
from stt.thinking import Thinking

Piece = tuple[str, str, bool]
"""Message id, text that is new, message ended."""
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff\ufe0f\u200d"
_ENDED = re.compile(r"(?:[^\s\d.]\.|[!?:\u2026。！？])[\"'”’»)\]*_`]*\s*\Z")
_PAUSED = re.compile(
    rf"(?:[^\s\d.]\.|[^\W\d_].*\d\.|[!?:\u2026。！？{_EMOJI}])[\"'”’»)\]*_`\s{_EMOJI}]*\Z|\n\s*\Z"
)
_TAIL_CHARS = 64


class Said:
    """Its blocks of text so far; every method yields the pieces that are new."""

    def __init__(self, name: str, *, named: bool) -> None:
        self.name = name
        self.named = named  # the model gave the name
        self.open = False  # there is text that `end` has not closed
        self.over = self.streamed = self.grown = self.paused = False
        self._blocks: list[io.StringIO] = []
        self._last = " "

    def say(self, text: str, *, new_block: bool = False) -> Iterator[Piece]:
        if not self._blocks or new_block:
            self._blocks.append(io.StringIO())
        if not text:
            return
        # A text block may go on in the middle of a sentence (citations do), but never of a word.
        if self._blocks[-1].tell() == 0 and not self._last.isspace() and text[0].isalnum():
            yield from self.pause()
        self._blocks[-1].write(text)
        self._last = text[-1]
        self.open, self.paused = True, False
        yield self.name, text, False

    def pause(self) -> Iterator[Piece]:
        """Something that is no speech follows: what was said so far stands on its own."""
        if self.open and not self.paused:
            self.paused = True
            yield self.name, "\n\n", False

    def end(self) -> Iterator[Piece]:
        if self.open:
            self.open = False
            yield self.name, "", True

    def blocks(self) -> list[str]:
        return [block.getvalue() for block in self._blocks]


def ended(text: str) -> bool:
    """Whether `text` ends like a sentence, so that what was added would be another one."""
    return _ENDED.search(text[-_TAIL_CHARS:]) is not None


def may_pause(text: str) -> bool:
    """Whether `text` seems to be complete when no more of it comes for a while.

    Not after "3." alone on its line: a list goes on. Nor after a word: the model takes its time.
    """
    return _PAUSED.search(text[-_TAIL_CHARS:]) is not None


def inside(text: str) -> bool:
    """Whether what follows `text` is still code or a thought, so that it must not begin anew."""
    return not Blocks().push(Thinking().feed(text + "\nx")).endswith("x")
