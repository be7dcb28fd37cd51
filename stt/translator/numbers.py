"""Numbers, dates and times that the packaged model gets wrong, behind stand-ins that it copies.

It loses one of two equal digits (443, 66), groups of zeros (3,400,000) and the day of a date, and reads 14:50 as 14時50時.
So it translates the sentence with others in their place, and what it says of those is replaced: 37QM for an amount or an
address, 374 where a counter may follow (374歳), 37 o'clock, March 14, 2013.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

_PLACES = {"37": "374", "58": "582", "26": "269", "41": "416", "90": "905"}
"""Stand-ins without a mark and with one digit more, for counts. No digit is in two of the short ones, so what is left
of a damaged one still tells it."""
_DAYS = ((2013, 3, 14), (2018, 6, 25), (2016, 10, 24), (2007, 9, 13), (1995, 7, 15))
_NAMES = (
    "January February March April May June July August September October November December".split()
)
_MONTHS = [name[:3] for name in _NAMES]
_MONTH = rf"({'|'.join(_NAMES)}|(?:{'|'.join(_MONTHS)}|Sept)\b\.?)"
_DAY = r"(0?[1-9]|[12]\d|3[01])"
_YEAR = (
    r"(?:,? ([12]\d{3}))?(?![\w-]|[.,:/]\d|\s?%|\s(?:percent|times|thousand|(?:m|b|tr)illion)\b)"
)
"""Until the end of a date; in "By June 30% had left" the number is none of its days."""
_DATE = re.compile(
    rf"(?<![\w.,:/-])([12]\d{{3}})([-/])(0?[1-9]|1[0-2])\2{_DAY}(?![\w:/-]|[.,]\d)"
    rf"|(?:\b[Tt]he )?(?<![\w.,:/-]){_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTH}{_YEAR}"
    rf"|\b{_MONTH} {_DAY}(?:st|nd|rd|th)?{_YEAR}"
)
_DAY_AND_TIME = re.compile(
    rf"(?:\b([Oo])n )?((?:{'|'.join(_NAMES)}) \d\d, \d{{4}})(?:,|,? at)? (\d\d o'clock)"
)
_DIGITS = "zero one two three four five six seven eight nine".split()
_POWERS = ("thousand", "million", "billion", "trillion")
_PART = r"(?<![\d.,])\d{1,3}(?:\.\d{1,3})?"
_LARGE = re.compile(rf"(?:({_PART})(\s?(?:to|or|and|[-–])\s?))?({_PART})\s({'|'.join(_POWERS)})\b")
_GROUPED = r"\d{1,3}(?:,\d{3})+"
_BETWEEN_TIMES = re.compile(r"(?<=\d:[0-5]\d)\s?-\s?(?=\d\d?:[0-5]\d)")
_CLOCK = re.compile(
    r"(?<![\w.,:/-])(?<!\w\()([01]?\d|2[0-4]):([0-5]\d)(?![\w/-]|[.,:]\d)(\s?[ap]\.m\.)?"
)
_RATIO = re.compile(
    rf"(?<![\w.,:/-])(?<!\w\()(\d{{1,4}}):({_GROUPED}|\d+)(?![\w/-]|[.,:]\d|\s?[ap]\.m\.)"
)
_OF_RATIO = re.compile(
    r"\b(?:ratios?|scaled?|odds|proportions?|dilut\w+|mix\w*)\b[^.;:]{0,40}\Z", re.I
)
_RATIO_OF = re.compile(r"\s(?:\w+ )?(?:ratio|scale|odds|dilution|mix)", re.I)
_TOKEN = re.compile(
    r"\b(?:0x[\dA-Fa-f]{2,}|(?=[a-f]*\d)(?=\d*[a-f])[\da-f]{7,40})\b"
    r"|(?<![\w.,:/-])(-?)(\d++(?:[.,:/-]\d++)*+)((?:st|nd|rd|th)\b)?(?!\w)"
)
_VALUE = re.compile(rf"(?:{_GROUPED}|\d+)(?:\.\d+)?")
_NAME = re.compile(r"\d+(?:\.\d+){3}(?::\d+)?(?:/\d+)?|\d+(?:-\d+){2,}|\d{3}-\d{4}")
"""An address or a telephone number."""
_KNOWN = re.compile(r"11|\d,000|1[1-9]\d\d|20\d\d")
"""Eleven, thousands and years: these it translates well."""
_TWICE = re.compile(r"(\d)\1")
_DAMAGED = re.compile(r"\d*\s?QM+")


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is written in a translation in place of each stand-in of its sentence."""

    values: dict[str, str] = field(default_factory=dict)

    def written(self, translation: str) -> str:
        """`translation`, or a clause of it, with the numbers of the sentence; no code is left in it."""
        if not self.values:
            return translation
        known = "|".join(sorted(self.values, key=len, reverse=True))
        pattern = rf"(?<!\d)({known})(?:(?<=\d)(?!\d)(?:\s?(?:QM+|Q(?![A-Za-z])))?|(?<!\d)(?!間))"
        said = re.sub(pattern, lambda found: self.values[found[1]], translation)
        return _DAMAGED.sub(self._guess, said)

    def _guess(self, found: re.Match[str]) -> str:
        codes = [code for code in self.values if code in _PLACES]
        like = [code for digit in reversed(found[0]) for code in codes if digit in code]
        return self.values[(like or codes)[0]] if codes else found[0]


def stand_ins(text: str) -> tuple[str, Numbers]:
    """`text` with stand-ins, and what they stand for.

    There are five for numbers and times, and five for dates; more of them in one sentence stay as they are.
    """
    hidden = _Hidden(text)
    return hidden.text, Numbers(hidden.values)


class _Hidden:
    def __init__(self, text: str) -> None:
        self.values: dict[str, str] = {}
        self._taken = taken = set(re.findall(r"\d+|[a-z]+", text.lower()))
        self._days = iter(
            [d for d in _DAYS if taken.isdisjoint(map(str, d)) and _NAMES[d[1] - 1][:3] not in text]
        )
        self._places = iter(
            [p for p in _PLACES if taken.isdisjoint((p, _PLACES[p])) and "QM" not in text]
        )
        text = _LARGE.sub(self._large, _DATE.sub(self._date, text))
        text = _RATIO.sub(self._ratio, text)
        text = _CLOCK.sub(self._clock, _BETWEEN_TIMES.sub(" to ", text))
        self.text = _TOKEN.sub(self._token, _DAY_AND_TIME.sub(_time_first, text))

    def _date(self, found: re.Match[str]) -> str:
        year, month = found[1] or found[7] or found[10], found[3] or found[6] or found[8]
        day = found[4] or found[5] or found[9]
        if (one := next(self._days, None)) is None:
            return found[0]
        number = int(month) if month.isdecimal() else _MONTHS.index(month[:3]) + 1
        of_year, of_month = f"{year}年" if year else "", f"{number}月"
        y, m, d = one
        self.values |= {f"{y}年": of_year, f"{m}月": of_month, f"{d}日": f"{int(day)}日"}
        self.values[str(y)] = year or ""  # where the model does not say what it is
        self.values |= dict.fromkeys((f"{m}月{d}", f"{m}月{d}日"), f"{of_month}{int(day)}日")
        return f"{_NAMES[m - 1]} {d}, {y}"

    def _large(self, found: re.Match[str]) -> str:
        size = 1000 ** (_POWERS.index(found[4]) + 1)
        parts = [part for part in (found[1], found[3]) if part]
        said = (_amount(Decimal(part) * size) for part in parts)
        return (found[2] or "").join(
            map(self._code, (f"{part} {found[4]}" for part in parts), said)
        )

    def _ratio(self, found: re.Match[str]) -> str:
        before, after = found.string[: found.start()][-60:], found.string[found.end() :][:40]
        if len(found[2]) == 2 and not (_OF_RATIO.search(before) or _RATIO_OF.match(after)):
            return found[0]  # a time
        return self._code(found[0], f"{_said(found[1])}対{_said(found[2])}")

    def _clock(self, found: re.Match[str]) -> str:
        if (place := next(self._places, None)) is None:
            return found[0]
        half = {"a": "午前", "p": "午後"}[found[3].strip()[0]] if found[3] else ""
        said = f"{half}{int(found[1])}時" + (f"{int(found[2])}分" if int(found[2]) else "")
        left = (digit for digit in place if not self._taken & {digit, _DIGITS[int(digit)]})
        self.values |= dict.fromkeys((f"{place}時", place, *(f"{digit}時" for digit in left)), said)
        ends = found[3] and found.end() == len(found.string)
        return f"{place} o'clock{'.' if ends else ''}"

    def _token(self, found: re.Match[str]) -> str:
        sign, number, ordinal = found[1] or "", found[2], found[3] or ""
        if number is None or _NAME.fullmatch(number):
            return self._code(found[0], found[0])
        parts = number.split("-")
        if "/" in number or ":" in number or not any(map(_difficult, parts)):
            return found[0]
        if not all(map(_VALUE.fullmatch, parts)):  # a version, a list without spaces
            return self._code(found[0], found[0])
        values = [Decimal(part.replace(",", "")) for part in parts]
        if values[0] < 10000 and len(values) == 1:
            return self._count(found[0], number, sign, ordinal and "th")
        said = ("から" if values[0] < values[-1] else "-").join(map(_said, parts))
        return self._code(found[0], f"{sign}{said}{ordinal and '番目'}")

    def _code(self, text: str, said: str) -> str:
        if (place := next(self._places, None)) is None:
            return text
        self.values[place] = said
        return f"{place}QM"

    def _count(self, text: str, said: str, sign: str, ordinal: str) -> str:
        if (place := next(self._places, None)) is None:
            return text
        self.values[_PLACES[place]] = said
        return f"{sign}{_PLACES[place]}{ordinal}"


def _time_first(found: re.Match[str]) -> str:
    at = {"O": "At ", "o": "at "}.get(found[1] or "", "")
    return f"{at}{found[3]} on {found[2]}"


def _difficult(number: str) -> bool:
    """Whether the model would get it wrong more often than a stand-in."""
    if _KNOWN.fullmatch(number):
        return False
    if re.match(_GROUPED, number) or len(number.split(".")[0]) > 5:
        return True
    whole, _, rest = number.partition(".")
    return bool(_TWICE.search(f"{whole.rstrip('0')}.{rest}"))


def _said(number: str) -> str:
    """1,250,000 as 125万; as it is where it is small or huge, has a fraction or may be a name."""
    whole = number.replace(",", "")
    name = whole == number and not number.endswith("0000")
    return (
        number
        if name or "." in number or not 10**4 <= int(whole) < 10**16
        else _amount(Decimal(whole))
    )


def _amount(value: Decimal) -> str:
    left, said = int(value), ""
    for unit, size in (("兆", 10**12), ("億", 10**8), ("万", 10**4), ("", 1)):
        many, left = divmod(left, size)
        said += f"{many}{unit}" if many else ""
    return said or "0"
