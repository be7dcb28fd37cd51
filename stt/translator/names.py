"""Names that the packaged model gets wrong, behind others that it copies.

Of 166 everyday sentences with a name that is in none of its pairs it kept the name in 18: Okonkwo became オキノコ, Sven 七,
Washington 洗濯物. Where Bob stands it says ボブ or Bob, in 165 of them, and in 134 of 135 sentences of documentation.
What is then written there is the name's Japanese form, or the name as it is.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_ASSETS = Path(__file__).parents[1] / "assets"
_SAID = {
    "Bob": "ボブ(?!スレー)",
    "Tom": "(?<![ボアプン])トム",
    "Alice": "アリス(?!ト)",
    "John": "(?<![ァ-ヴー])ジョン(?![ソズ])",
    "Boston": "ボストン",
    "Mary": "メアリー",
}
"""What the model writes for each, or the name itself; not in bobsleigh, bottom, Aristotle, version or Johnson."""
_WORD = "[A-Z][a-z]{2,}(?:-[A-Z][a-z]{2,})*"
_MARKED = re.compile("\ue000[^\ue001]*\ue001(?: \ue000[^\ue001]*\ue001)*")
_BEGINS = re.compile(r"(?:\A|[.!?:]\s+|\A\d+[.)]\s+)[\"'(*-]*\Z")
_ENGLISH = re.compile(
    r"(?:[aeiou]tions?|sions?|ing|ed|ly|ness|ments?|[ai]bles?|ous|isms?|ists?|ity|ities|ives?|fully?|less|[aio]ls?|ics?"
    r"|[ae]nces?|ships?|at(?:e|es|ors?)|i[sz](?:e|es|ers?)|ify|ifies|ers|ors|ology|ware|wise|ward|like)\Z"
)
"""How words end that are no names; a sentence may begin with one."""
_OBJECT = re.compile(
    r" (?:the|an?|all|any|each|every|your|my|our|its?|this|that|these|those|them|both|some|no|to)\b"
)
"""What follows a verb."""


def stand_ins(text: str) -> tuple[str, dict[str, str]]:
    """`text` with stand-ins for names, and what is written for each; a seventh name of a sentence has none.

    A name is in `names.txt`, or it is a capitalized word that is not in `words.txt`. Names side by side are one.
    """
    names, words, pattern = _known()
    free = [stand_in for stand_in in _SAID if stand_in not in text]
    given: dict[str, str] = {}
    said: dict[str, str] = {}

    def mark(found: re.Match[str]) -> str:
        named = found[0] in names or _unknown(found, words)
        return f"\ue000{found[0]}\ue001" if named else found[0]

    def stand_in(found: re.Match[str]) -> str:
        parts = found[0][1:-1].split("\ue001 \ue000")
        name = " ".join(parts)
        if name not in given:
            if not free:
                return name
            given[name] = free.pop(0)
            # Parts without a Japanese form stay as they are.
            between = " " if names.keys().isdisjoint(parts) else "・"
            said[given[name]] = between.join(names.get(part, part) for part in parts)
        return given[name]

    return _MARKED.sub(stand_in, pattern.sub(mark, text)), said


def restored(translation: str, names: dict[str, str]) -> str:
    """`translation`, or a clause of it, with what is written in place of what was said of each stand-in."""
    if not names:
        return translation
    said = "|".join(f"(?P<{name}>{_SAID[name]}|(?<![A-Za-z]){name}(?![A-Za-z]))" for name in names)
    return re.sub(said, lambda found: names[str(found.lastgroup)], translation)


def table(name: str) -> dict[str, str]:
    """The lines of an asset, English=Japanese."""
    lines = (_ASSETS / name).read_text(encoding="utf-8").split("\n")
    return dict(line.split("=") for line in lines if line)


def _unknown(found: re.Match[str], words: frozenset[str]) -> bool:
    parts = found[0].lower().split("-")
    if any(part in words or part.removesuffix("s") in words for part in parts):
        return False
    first = max(0, found.start() - 12)
    if not _BEGINS.search("x" * (first > 0) + found.string[first : found.start()]):
        return True
    return not (_OBJECT.match(found.string, found.end()) or _ENGLISH.search(parts[-1]))


@cache
def _known() -> tuple[dict[str, str], frozenset[str], re.Pattern[str]]:
    """Names with their Japanese form, words that are no names to be hidden, and what may be a name."""
    names = table("names.txt")
    words = frozenset((_ASSETS / "words.txt").read_text(encoding="ascii").split())
    others = sorted((n for n in names if not re.fullmatch(_WORD, n)), key=len, reverse=True)
    after = r"(?![\w@/\\(&+]|[.:]\w|-\w|'(?!s\b))"
    return names, words, re.compile(rf"(?<![\w./@#:&'-])(?:{'|'.join(others)}|{_WORD}){after}")
