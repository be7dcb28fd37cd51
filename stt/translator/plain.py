"""Text in the characters the packaged model knows.

Its vocabulary has letters, digits and common marks only. It invents words for whatever else it
reads ("He’s “fine”" came out as nonsense), so what it does not know is written as it would be
said: typographic marks as typed ones, symbols as words, foreign letters without their accents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_AMOUNT = r"\d(?:[\d.,]*\d)?"
_SCALE = r"\s?(?:thousand|million|billion|trillion)\b"
_MONEY = re.compile(rf"([$€£¥₹])\s?({_AMOUNT})({_SCALE})?|({_AMOUNT})({_SCALE})?\s?([$€£¥₹])")
_COMPARISON = re.compile(r"(\b(?:is|are|be|was|were)\s+)?(<=|>=|==|!=|[<>≤≥≠])")
_COMPARED = {
    "<": "less than", ">": "greater than", "<=": "at most", ">=": "at least", "==": "equal to", "!=": "not equal to",
    "≤": "at most", "≥": "at least", "≠": "not equal to",
}  # fmt: skip
_PHRASES = (
    (re.compile(r"°\s?(?:C\b)?"), " degrees "),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"(?<=\b[CF])#"), " sharp"),
    (re.compile(r"~(?=\d)"), "about "),
    (re.compile(r"(?<=[\d\s])[*×](?=[\d\s])"), " x "),
)
_SYMBOLS = str.maketrans(
    {
        "’": "'", "‘": "'", "‚": "'", "′": "'", "`": "'", "“": '"', "”": '"', "„": '"', "″": '"', "«": '"', "»": '"',
        "–": "-", "−": "-", "‑": "-", "‒": "-", "[": "(", "{": "(", "]": ")", "}": ")", "\\": "/",
        "=": " equals ", "@": " at ", "|": ", ", "÷": " divided by ", "±": " plus or minus ", "¢": " cents", "§": "section ",
    }
)  # fmt: skip


def characters(vocabulary: Iterable[str]) -> frozenset[str]:
    """The characters that a vocabulary can spell anything with: its pieces of length 1."""
    return frozenset(piece for piece in vocabulary if len(piece) == 1) | {" "}


def plain(text: str, known: frozenset[str]) -> str:
    """`text` without characters that are not `known`, in the compatibility form (NFKC) the tokenizer gives them.

    What is known stays as it is. Nothing is left of a text in another script.
    """
    if _all(text, known):
        return text
    text = _MONEY.sub(_money, text)
    text = _COMPARISON.sub(_compared, text)
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    text = text.translate(_SYMBOLS)
    return " ".join("".join(_known(c, known) for c in text).split())


def _all(text: str, known: frozenset[str]) -> bool:
    return known.issuperset(unicodedata.normalize("NFKC", text))


def _known(character: str, known: frozenset[str]) -> str:
    """The character, else its letter without accents, else nothing."""
    if _all(character, known):
        return character
    parts = unicodedata.normalize("NFKD", character).replace("⁄", "/")
    return " " * ("/" in parts) + "".join(c for c in parts if c in known)


def _money(found: re.Match[str]) -> str:
    amount, scale, sign = found[2] or found[4], found[3] or found[5] or "", found[1] or found[6]
    one = (amount == "1" and not scale) or sign == "¥"
    return f"{amount}{scale} {_CURRENCIES[sign]}{'' if one else 's'}"


def _compared(found: re.Match[str]) -> str:
    return f" {(found[1] or 'is ').strip()} {_COMPARED[found[2]]} "
