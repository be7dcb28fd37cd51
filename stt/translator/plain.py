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
_AMOUNT = r"(?<![\d.,])\d(?:[\d.,]{0,30}\d)?"
_SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_SCALE = r"\s?(?i:thousand|million|billion|trillion)\b|(?:[KkMmBbTt]|bn)(?!\w)"
_MONEY = re.compile(
    rf"(\b[A-Z]{{1,2}})?([$€£¥₹])\s?({_AMOUNT}(?:[-–]\d[\d.,]{{0,30}}(?<=\d))?)({_SCALE})?|({_AMOUNT})({_SCALE})?\s?([$€£¥₹])"
)
_BRACKETED = re.compile(r"<(/?[A-Za-z_](?:[^<>]*[^\s<>])?)>")
"""A tag, a type or a placeholder; `a<b and c>d` is none."""
_JOINED = re.compile(r"\s(?:and|or|&&|\|\|)\s")
_COMPARISON = re.compile(r"(\b(?:is|are|be|was|were)\s+)?(<=|>=|===?|!==?|[<>≤≥≠])")
_COMPARED = {
    "<": "less than", ">": "greater than", "<=": "at most", ">=": "at least", "==": "equal to", "!=": "not equal to",
    "===": "equal to", "!==": "not equal to", "≤": "at most", "≥": "at least", "≠": "not equal to",
}  # fmt: skip
_HALF_OF_DAY = re.compile(r"(?<![\d.])(\d{1,2}(?::\d\d)?)\s?([AaPp])[Mm]\b\.?")
_UNTIL = re.compile(r"(?<=\b[ap]\.m\.)\s?[-–—]\s?(?=\d)")
_NUMBER = re.compile(r"\bNo\. ?(?=\d)")
_LETTERS = str.maketrans(
    {
        "Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "Đ": "D", "đ": "d", "ı": "i", "ß": "ss", "Æ": "Ae", "æ": "ae",
        "Œ": "Oe", "œ": "oe", "é": "e", "É": "E",
    }
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_TIMES = re.compile(
    r"(?<=\w)[*×](?=\w)|(?<=[\d\s])×(?=[\d\s])"
    r"|(?<=\d)\s?\*\s?(?=\w)|(?<=\w)\s?\*\s?(?=\d)|(?<=\b[A-Za-z])\s\*\s(?=[A-Za-z]\b)"
)
"""Between numbers or names of one letter; the star in `SELECT * FROM` is none."""
_PHRASES = (
    (re.compile(r"\s*(?:=>|->)\s*"), ", "),
    (re.compile(r"(?<=[a-z][a-z)])\s[>›]\s(?=[A-Z][a-z])"), ", "),  # a path through menus
    (re.compile(r"\s?[µμ]s\b"), " microseconds"),
    (re.compile(r"\s?[µμ]m\b"), " micrometers"),
    (re.compile(r"℉|°\s?F\b"), " degrees Fahrenheit "),
    (re.compile(r"℃|°\s?(?:C\b)?"), " degrees "),
    (re.compile(r"#(?=\d)"), "number "),
    (re.compile(r"(?<=\b[CF])#"), " sharp"),
    (re.compile(r"(?<=\d)\s?~\s?(?=\d)"), "-"),
    (re.compile(r"(?<![\w/])~(?=\d)"), "about "),
    (_TIMES, " x "),
)
_SYMBOLS = str.maketrans(
    {
        "’": "'", "‘": "'", "‚": "'", "′": "'", "`": "'", "“": '"', "”": '"', "„": '"', "″": '"', "«": '"', "»": '"',
        "–": "-", "−": "-", "‑": "-", "‒": "-", "[": "(", "{": "(", "]": ")", "}": ")", "\\": "/",
        "=": " equals ", "@": " at ", "|": ", ", "÷": " divided by ", "±": " plus or minus ", "¢": " cents", "≈": " is about ", "Ω": " ohms ", "§": "section ",
    }
)  # fmt: skip


def characters(vocabulary: Iterable[str]) -> frozenset[str]:
    """The characters that a vocabulary can spell anything with: its pieces of length 1."""
    return frozenset(piece for piece in vocabulary if len(piece) == 1) | {" "}


def plain(text: str, known: frozenset[str]) -> str:
    """`text` without characters that are not `known`, in the compatibility form (NFKC) the tokenizer gives them.

    What is known stays as it is, but for AM, PM, No. and é, which the model knows and mistakes. A word that would lose a
    letter is left out whole, so nothing is left of a text in another script.
    """
    text = _HALF_OF_DAY.sub(lambda found: f"{found[1]} {found[2].lower()}.m.", text)
    text = _UNTIL.sub(" to ", text)
    text = _NUMBER.sub("number ", text).translate(_LETTERS)
    if _all(text, known):
        return text
    text = _MONEY.sub(_money, text)
    while (said := _BRACKETED.sub(_named, text)) != text:
        text = said
    for pattern, words in _PHRASES:
        text = pattern.sub(words, text)
    text = _COMPARISON.sub(_compared, text)
    text = _WORD.sub(lambda found: _spelled(found[0], known), text.translate(_SYMBOLS))
    return " ".join("".join(_known(c, known) or " " for c in text).split())


def _all(text: str, known: frozenset[str]) -> bool:
    return known.issuperset(unicodedata.normalize("NFKC", text))


def _spelled(word: str, known: frozenset[str]) -> str:
    letters = [_known(c, known) for c in word]
    return "".join(letters) if all(letters) else ""


def _known(character: str, known: frozenset[str]) -> str:
    """The character, else its letter without accents, else nothing."""
    if _all(character, known):
        return character
    parts = unicodedata.normalize("NFKD", character).replace("⁄", "/")
    return " " * ("/" in parts) + "".join(c for c in parts if c in known)


def _money(found: re.Match[str]) -> str:
    amount, scale, sign = found[3] or found[5], found[4] or found[6] or "", found[2] or found[7]
    scale = f" {_SCALES[scale.lower()]}" if scale.lower() in _SCALES else scale
    one = (amount == "1" and not scale) or sign == "¥"
    country = f"{found[1]} " if found[1] else ""  # US$5
    return f"{amount}{scale} {country}{_CURRENCIES[sign]}{'' if one else 's'}"


def _named(found: re.Match[str]) -> str:
    if _JOINED.search(found[1]):
        return found[0]
    closing = found.string[found.end() : found.end() + 1] == ">"  # of what is around it
    return f" {found[1].strip('/').rstrip()}{'' if closing else ' '}"


def _compared(found: re.Match[str]) -> str:
    return f" {(found[1] or 'is ').strip()} {_COMPARED[found[2]]} "
