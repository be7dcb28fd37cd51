"""Numbers in words, written in figures: the packaged model loses most of them from thirteen on, and copies figures.

Up to twelve words stay, and so does what is no one number ("one two three", "seven thirty", "a hundred") and what is a name
("Twenty One Pilots").
"""

from __future__ import annotations

import re

_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SMALL = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_WORD = rf"(?:{'|'.join([*_SMALL, 'hundred', *_SCALES])})\b"
_AND = r"(?:(?<=hundred)|(?<=thousand)|(?<=million)|(?<=billion)) and "
_NUMBER = re.compile(
    rf"(?<![\w'-])(?<!\d )((?:a (?=hundred|{'|'.join(_SCALES)}))?{_WORD}(?:(?:[ -]|{_AND}){_WORD})*)"
    rf"( point(?: (?:zero|{'|'.join(list(_SMALL)[:9])})\b)+)?(?![\w'])",
    re.I,
)
_ORDINALS = {
    "first": 1, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19,
}  # fmt: skip
_ORDINAL = re.compile(
    rf"(?<![\w'-])(?:({'|'.join(list(_SMALL)[-8:])})-({'|'.join(list(_ORDINALS)[:8])})|({'|'.join(list(_ORDINALS)[8:])}))\b",
    re.I,
)
"""Not "thirty-second", which may be 30 seconds long."""
_COMPOUND = re.compile(r"-(?:first|second|third|\w+th)\b", re.I)
_CLOCK = re.compile(r"\b(?:at|by|until|till|around|before|after|from|to) $", re.I)
_BEGINS = re.compile(r"(?:^|[.!?:])[\s\"'(*-]*$")


def figures(text: str) -> str:
    """`text` with its numbers of thirteen and more in figures."""
    return _NUMBER.sub(_number, _ORDINAL.sub(_ordinal, text))


def _named(found: re.Match[str]) -> bool:
    return found[0][0].isupper() and not _BEGINS.search(found.string[: found.start()])


def _ordinal(found: re.Match[str]) -> str:
    if _named(found):
        return found[0]
    tens, ones, teen = (word and word.lower() for word in found.groups())
    value = _ORDINALS[teen] if teen else _SMALL[tens] + _ORDINALS[ones]
    return f"{value}{'th' if teen else {1: 'st', 3: 'rd'}.get(value % 10, 'th')}"


def _number(found: re.Match[str]) -> str:
    if _named(found) or _COMPOUND.match(found.string, found.end()):
        return found[0]
    words = [word for word in re.split(r"[ -]", found[1].lower()) if word != "and"]
    value = _value(words)
    if value is None:
        return _year(words) or _time(found, words) or found[0]
    if found[2]:
        digits = (_SMALL.get(word, 0) for word in found[2].lower().split()[1:])
        return f"{value}.{''.join(map(str, digits))}"
    if value <= 12:
        return found[0]
    scale = _SCALES.get(words[-1], 1)
    if scale > 1000 and value < 1000 * scale:
        return f"{value // scale} {words[-1]}"
    return f"{value:,}" if value >= 10_000 else str(value)


def _value(words: list[str]) -> int | None:
    """The number that these words are, e.g. ["two", "hundred", "six"]; None if they are several, or none."""
    if words[0] == "a":
        if len(words) < 3:  # "a hundred" is a round number, as it stands
            return None
        words = ["one", *words[1:]]
    total = group = 0
    unit, room = 10**15, 100  # the last scale; what may be added to the group
    for word in words:
        if word in _SMALL:
            if _SMALL[word] >= room:
                return None
            group += _SMALL[word]
            room = 10 if _SMALL[word] >= 20 else 1
        elif word == "hundred":
            if not 0 < group < 100:
                return None
            group, room = 100 * group, 100
        else:
            if not 0 < group or _SCALES[word] >= unit:
                return None
            total, unit = total + group * _SCALES[word], _SCALES[word]
            group, room = 0, 100
    return total + group


def _year(words: list[str]) -> str | None:
    """A year as it is said: nineteen eighty-four."""
    century, rest = _value(words[:1]), _value(words[1:]) if words[1:] else None
    if century is None or rest is None or not (15 <= century <= 20 and 10 <= rest <= 99):
        return None
    return f"{century}{rest}"


def _time(found: re.Match[str], words: list[str]) -> str | None:
    """A time of day as it is said: at seven thirty."""
    hour, minutes = _SMALL.get(words[0], 13), _value(words[1:]) if words[1:] else None
    if hour > 12 or minutes is None or not 10 <= minutes < 60:
        return None
    before, after = found.string[: found.start()], found.string[found.end() : found.end() + 1]
    return f"{hour}:{minutes}" if _CLOCK.search(before) and after != "-" else None
