"""Dates that the packaged model gets wrong, behind other dates: it loses a day, or one of two.

Days that stand together, "from July 30 to August 2" or "May 4 and 5", have one stand-in, "on March 14, 2013".
"""

from __future__ import annotations

import re
from itertools import pairwise

_DAYS = ((2013, 3, 14), (2018, 6, 25), (2016, 10, 24), (2007, 9, 13), (1995, 7, 15))
_WORDS = "fourteen twenty twenty thirteen fifteen".split()  # fourteen days are 14日, too
MARKS = "\ue000\ue001\ue002\ue003\ue004"
"""In place of these days until all else is found, so that none of their numbers is taken for one of the sentence."""
_NAMES = (
    "January February March April May June July August September October November December".split()
)
_MONTHS = [name[:3] for name in _NAMES]
_WEEK = {"Mon": "月", "Tue": "火", "Wed": "水", "Thu": "木", "Fri": "金", "Sat": "土", "Sun": "日"}
_WEEKDAY = r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:(?:s|nes|rs|ur)?day|s|rs|\.)?,? "
_MONTH = rf"(?:{'|'.join(_NAMES)}|(?:{'|'.join(_MONTHS)}|Sept)\b\.?)"
_TO = r"(?:,? (?:and|or|to|through|until|till) (?:the )?|\s?-\s?)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?!\w)"
_MORE = rf"(?:(?:, {_DAY})+,? (?:and|or) (?:the )?|{_TO}){_DAY}"
_YEAR = (
    r"(?:,? ([12]\d{3}))?"
    rf"(?!\w|-(?!{_MONTH})|[.,:/]\d|\s?%|\s[ap]\.m\.|\s(?:percent|times|thousand|(?:m|b|tr)illion)\b)"
)
"""Until the end of a date; in "By June 30% had left" the number is none of its days."""
_ONE = (
    rf"(?:{_WEEKDAY})?"
    rf"(?:(?<![\w.,:/-])([12]\d{{3}})[-/](0?[1-9]|1[0-2])[-/](0?[1-9]|[12]\d|3[01])(?![\w:/-]|[.,]\d)"
    rf"|(?:\b[Tt]he )?(?<![\w.,:/-])({_DAY}(?:{_MORE})?)(?: of)? ({_MONTH}){_YEAR}"
    rf"|\b({_MONTH}) (?:the )?({_DAY}(?:{_MORE}(?!(?: of)? {_MONTH}))?){_YEAR})"
)
_DATE = re.compile(_ONE)
_OTHER = re.sub(r"(?<!\\)\((?!\?)", "(?:", _ONE)
_DATES = re.compile(rf"(?:\b([Ff]rom|[Bb]etween) )?{_OTHER}(?:(?:{_TO}|, ){_OTHER})*")
_UNTIL = re.compile(r"to|through|until|till|-")
_IN_FIGURES = re.compile(r"(?<![\w.,:/-])(\d\d?)([/.])(\d\d?)\2([12]\d{3})(?![\w:/-]|[.,]\d)")
_IN_MONTH = re.compile(
    rf"\b([Ii]n (?:(?:early|mid|late)[ -])?{_MONTH})(?= \d\d? (?!(?:and|or|to|through|until|at|in|on|is|was)\b)[a-z])"
)
"""In May 15 people came: with a day it were "on"."""
_MOVED = re.compile(r"\b(?:mov|chang|postpon|reschedul|push|shift|delay|brought)\w*\b[^.;]{0,40}\Z")
"""From one day to another is not all the time between."""


class Dates:
    """The dates of a text.

    Attributes:
        text: with `MARKS` in place of dates; there are five, further dates stay as they are.
        given: the date that the model gets for each mark.
        values: what is written in a translation in place of each of those.
    """

    def __init__(self, text: str) -> None:
        self.given: dict[str, str] = {}
        self.values: dict[str, str] = {}
        taken = set(re.findall(r"\d+|[a-z]+", text.lower()))
        self._free = iter(
            [
                (mark, day)
                for mark, day, word in zip(MARKS, _DAYS, _WORDS, strict=True)
                if taken.isdisjoint((*map(str, day), word)) and _NAMES[day[1] - 1][:3] not in text
            ]
        )
        self.text = _DATES.sub(
            self._dates, _IN_FIGURES.sub(_year_first, _IN_MONTH.sub(r"\1,", text))
        )

    def shown(self, text: str) -> str:
        """`text` with dates in place of marks."""
        return "".join(self.given.get(character, character) for character in text)

    def _dates(self, found: re.Match[str]) -> str:
        dates, before = list(_DATE.finditer(found[0])), found[1] or ""
        if len(dates) > 1 and _MOVED.search(found.string[: found.start()][-60:]):
            return _DATE.sub(lambda date: self._hide(date[0], *_said(date)), found[0])
        between = [found[0][a.end() : b.start()] for a, b in pairwise(dates)]
        both = before.lower() == "between"
        years, months, days = zip(*(_said(date, both) for date in dates), strict=True)
        if not any(years[:-1]):  # July 30 to August 2, 2024
            years = (years[-1], *years[:-1])
        said = [
            f"{year and year + '年'}{month}月{day}"
            for year, month, day in zip(years, months, days, strict=True)
        ]
        whole = _joined(said, between, both).removeprefix(f"{years[0]}年")
        text = self._hide(
            found[0][len(before) :].lstrip(),
            years[0],
            months[0],
            whole.removeprefix(f"{months[0]}月"),
        )
        if text in self.given and whole.endswith("まで"):
            before = {"F": "On", "B": "On"}.get(before[:1], before and "on")
        return f"{before} {text}" if before else text

    def _hide(self, text: str, year: str, month: int, day: str) -> str:
        if (free := next(self._free, None)) is None:
            return text
        mark, (y, m, d) = free
        self.given[mark] = f"{_NAMES[m - 1]} {d}, {y}"
        self.values |= {f"{y}年": year and f"{year}年", f"{m}月": f"{month}月", f"{d}日": day}
        self.values[str(y)] = year  # where the model does not say what it is
        self.values |= dict.fromkeys((f"{m}月{d}", f"{m}月{d}日"), f"{month}月{day}")
        return mark


def _said(date: re.Match[str], both: bool = False) -> tuple[str, int, str]:
    """Year or nothing, month, and the rest in Japanese."""
    month, listed = date[3] or date[6] or date[8], date[4] or date[5] or date[9]
    number = int(month) if month.isdecimal() else _MONTHS.index(month[:3]) + 1
    days = [f"{int(day)}日" for day in re.findall(r"\d+", listed)]
    said = _joined(days, re.split(r"\d+(?:st|nd|rd|th)?", listed)[1:-1], both)
    return (
        date[2] or date[7] or date[10] or "",
        number,
        said + (f"{_WEEK[date[1]]}曜日" if date[1] else ""),
    )


def _joined(said: list[str], between: list[str], both: bool) -> str:
    """A list or a range. `both`: of two, it is all between them."""
    whole = said[0]
    for sep, one in zip(between, said[1:], strict=True):
        if both or _UNTIL.search(sep):
            whole += f"から{one}まで"
        else:
            whole += ("か" if "or" in sep else "と" if len(said) == 2 else "、") + one
    return whole


def _year_first(found: re.Match[str]) -> str:
    """31.12.2026 and 12/31/2026; what may be either is left as it is."""
    first, last = int(found[1]), int(found[3])
    day, month = (first, last) if found[2] == "." or first > 12 else (last, first)
    known = found[2] == "." or day > 12 or day == month
    return f"{found[4]}-{month}-{day}" if known and 0 < day < 32 and 0 < month < 13 else found[0]
