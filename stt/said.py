"""What was said of one message of a language model, and whether it may go on."""

from __future__ import annotations

import io
from collections.abc import Iterator

Piece = tuple[str, str, bool]
"""Message id, text that is new, message ended."""


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
