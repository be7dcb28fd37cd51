"""From target tokens to clauses: exact text as tokens arrive, cut where a voice may pause.

Nothing that was given out ever changes, and the joined clauses are the whole translation.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from stt.translator.stand_ins import StandIns

OPENING = "「『（(［[｛{【〈《“"
CLOSING = "」』）)］]｝}】〉》”"
STOPS = "。！？!?"
MARKS = STOPS + "、，,．"
NUMERALS = "〇一二三四五六七八九十百千万億兆"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Detokenizer:
    """Text of sentencepiece tokens: a character is given out once no later token can change it."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def feed(self, token: str) -> str:
        """The text that `token` adds: none inside a character spelled in bytes, none if special."""
        if byte := BYTE.fullmatch(token):
            return self._begin(self._utf8.decode(bytes([int(byte[1], 16)])))
        if token in ("<s>", "<pad>", "</s>", "<unk>"):
            return ""
        return self._begin(self.finish() + token.replace("▁", " "))

    def finish(self) -> str:
        """What is left when no token follows: the replacement character if bytes broke off."""
        left = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return left

    def _begin(self, text: str) -> str:
        """Drop the space that sentencepiece puts before the first word."""
        if self._begun or not text:
            return text
        self._begun = True
        return text.removeprefix(" ")


class ClauseCutter:
    """Cuts a growing text after a pause or a stop that stands outside brackets.

    Never inside a number (3,000 or 二、三日) or a Latin word (a?b). A stop is cut when the text
    goes on, so that the last clause is known to be the last; a comma is cut at once, unless
    the next character decides.
    """

    def __init__(self, min_chars: int) -> None:
        """Hold a clause back until it has `min_chars` characters, marks and spaces not counted."""
        self._min_chars = max(1, min_chars)
        self._text = ""
        self._depth = 0

    def feed(self, text: str) -> Iterator[str]:
        """Take more text; yield the clauses that are now complete."""
        for char in text:
            if self._begins_clause(char):
                yield self.finish()
            at_once = char in "、，" and not _is_number(self._text[-1:])
            self._text += char
            self._depth = max(0, self._depth + (char in OPENING) - (char in CLOSING))
            if at_once and self._stands_alone():
                yield self.finish()

    def finish(self) -> str:
        """Everything not yet given out."""
        rest, self._text = self._text, ""
        return rest

    def _begins_clause(self, char: str) -> bool:
        if char in MARKS + CLOSING or char.isspace():
            return False
        clause = self._text.rstrip()
        mark, before = clause[-1:], clause[-2:-1]
        if not mark or mark not in MARKS or not self._stands_alone():
            return False
        in_number = mark not in STOPS and _is_number(before) and _is_number(char)
        in_word = self._text.endswith(mark) and (mark + char).isascii() and char.isalnum()
        return not (in_number or in_word)

    def _stands_alone(self) -> bool:
        spoken = sum(char not in MARKS + CLOSING and not char.isspace() for char in self._text)
        return self._depth == 0 and spoken >= self._min_chars


class Clauses:
    """Complete clauses from tokens: a `Detokenizer`, a `ClauseCutter` and the `StandIns` of the sentence in a row."""

    def __init__(self, min_chars: int, stand_ins: StandIns) -> None:
        """`min_chars`: as `ClauseCutter` takes it."""
        self._detokenizer, self._cutter = Detokenizer(), ClauseCutter(min_chars)
        self._stand_ins = stand_ins

    def feed(self, token: str) -> Iterator[str]:
        """Take the next token; yield the clauses that are now complete."""
        return map(self._stand_ins.written, self._cutter.feed(self._detokenizer.feed(token)))

    def rest(self) -> str:
        """The text behind the last clause when no token follows."""
        rest = "".join(self._cutter.feed(self._detokenizer.finish())) + self._cutter.finish()
        return self._stand_ins.written(rest)


def _is_number(char: str) -> bool:
    return char.isdigit() or (char != "" and char in NUMERALS)
