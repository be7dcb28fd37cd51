"""Japanese text to the full-context labels an HTS voice speaks, with pyopenjtalk's frontend."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from stt.errors import EngineError, EngineUnavailable
from stt.tts.figures import spell_out
from stt.tts.katakana import katakana

_PIECE_CHARS = 120
# The rest if it fits, else as much as fits up to a mark that is not in a number, else a cut at the limit.
_PIECE = re.compile(
    rf".{{1,{_PIECE_CHARS}}}\Z|.{{1,{_PIECE_CHARS - 1}}}(?:[。！？!?、\n]|[，,](?!\d))|.{{1,{_PIECE_CHARS}}}",
    re.DOTALL,
)
_COMMA = re.compile(r"[、，,]\s*$")
_PHONEME = re.compile(rb"-(.*?)\+")
_KATAKANA = re.compile("[ァ-ー]+")
_READING = 8
"""Of the fields of a dictionary entry."""
_CONTINUATION = "そうです。"
_NOT_FIRST = ("", "ー", "？", "’")
"""Pronunciations begin so in the middle of a phrase only."""


def phoneme(label: bytes) -> bytes:
    """The phoneme a full-context label is about; `sil` and `pau` are silence."""
    found = _PHONEME.search(label)
    return found.group(1) if found else b""


def pieces(text: str) -> Iterator[str]:
    """Split a very long text, after punctuation where there is some."""
    return (found.group() for found in _PIECE.finditer(text))


class Frontend:
    """A text frontend of its own; the dictionary is memory-mapped. One thread per instance."""

    def __init__(self) -> None:
        """Load the dictionary.

        Raises:
            EngineUnavailable: pyopenjtalk is missing or does not load.
        """
        try:
            with redirect_stdout(StringIO()):  # advice about an optional part, not for our output
                import pyopenjtalk
        except ImportError as error:
            raise EngineUnavailable(
                f"The voice needs pyopenjtalk-plus, which does not load here ({error}). "
                f"Run: pip install pyopenjtalk-plus"
            ) from error
        self._library: Any = pyopenjtalk
        self._jtalk = self._library.OpenJTalk(dn_mecab=pyopenjtalk.OPEN_JTALK_DICT_DIR)
        self._continuation = self._features(_CONTINUATION)
        self._continuation_labels = len(self._labels(self._continuation)) - 1

    def labels(self, text: str) -> list[bytes]:
        """Labels of `text`; empty when nothing in it can be spoken.

        A text that ends in a comma ends in the voice's own pause and without sentence-final
        intonation: it is labelled as if a sentence went on after it.

        Raises:
            EngineError: the frontend failed on this text.
        """
        features = self._features(text)
        if not features:
            return []
        if _COMMA.search(text):
            labels = self._labels(features + self._continuation)[: -self._continuation_labels]
            if phoneme(labels[-1]) == b"pau":
                return labels
        return self._labels(features)

    def look_up(self, word: str) -> str | None:
        """How the dictionary reads a word in Latin letters, in katakana; None if it would spell it."""
        entry, *more = self._jtalk.run_mecab(word)
        reading = entry.split(",")[_READING:]
        return reading[0] if reading and not more and _KATAKANA.fullmatch(reading[0]) else None

    def _features(self, text: str) -> list[dict[str, Any]]:
        """Words without those the label maker complains about on stderr; empty if none is left."""
        # Control, format and unassigned characters confuse the dictionary.
        text = "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")
        text = katakana(spell_out(text), self.look_up)
        try:
            # The reading model for 何 needs ONNX Runtime: without it, every machine reads alike.
            words = self._library.run_frontend(text, predict_nani=False, jtalk=self._jtalk)
        except Exception as error:
            raise EngineError(f"The text frontend failed on {text[:40]!r}: {error}") from error
        kept: list[dict[str, Any]] = []
        speaking = False
        for word in words:
            if word["mora_size"] and (speaking or word["pron"][:1] not in _NOT_FIRST):
                speaking = True
                kept.append(word)
            elif kept and not word["mora_size"]:
                speaking = False
                kept.append(word)
        return kept

    def _labels(self, features: list[dict[str, Any]]) -> list[bytes]:
        labels = self._library.make_label(features, jtalk=self._jtalk)
        return [label.encode() for label in labels]
