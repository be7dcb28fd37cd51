"""Numbers, dates and times that the packaged model gets wrong, behind stand-ins that it copies.

It loses one of two equal digits (443, 66), groups of zeros (3,400,000) and the day of a date, and reads 14:50 as 14時50時.
So it translates the sentence with others in their place, and what it says of those is replaced: 37QM for an amount or an
address, 374 where a counter may follow (374歳), 37 o'clock, March 14, 2013. A list or a range, of which it repeats or
loses one, has one stand-in for all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

from stt.translator import clock
from stt.translator.amounts import AMOUNT, GROUPED, POWER, POWERS, in_japanese, said, value
from stt.translator.dates import MARKS, Dates

_PLACES = {"37": "374", "58": "582", "26": "269", "41": "416", "90": "905"}
"""Stand-ins without a mark and with one digit more, for counts. No digit is in two of the short ones, so what is left
of a damaged one still tells it."""
_TENS = "thirty fifty twenty forty ninety".split()  # thirty-seven is 37, too
_DAY_AND_TIME = re.compile(rf"(?:\b([Oo])n |(?<![-/:]))([{MARKS}])(?:,|,? at)? (\d\d o'clock)")
_DIGITS = "zero one two three four five six seven eight nine".split()
_PART = r"(?<![\d.,/])\d{1,3}(?:\.\d{1,3})?"
_LARGE = re.compile(rf"(?:({_PART})(\s?(?:to|or|and|[-–])\s?))?({_PART})\s({'|'.join(POWERS)})\b")
_BEFORE = r"(?<![\w.,:/-])"
_AFTER = r"(?![\w:/-]|[.,]\d|\s[ap]\.m\.)"
_UNIT = r"((?:\s?(?:[A-Za-z]+|%))?)"
_RANGE = re.compile(
    rf"{_BEFORE}(?<!(?:F|f)rom )(?<![Bb]etween )(?<![-+*/] )({AMOUNT}){_UNIT}(\s?-\s?|\s(?:to|or)\s)({AMOUNT})"
    rf"(?=\2(?!\w)){_AFTER}(?! in \d| equals| [-+*/] )"
)
"""The model loses one of two amounts in one of three sentences, but not where "from" or "between" is before them."""
_LIST = re.compile(
    rf"{_BEFORE}({AMOUNT}){_UNIT}(?:, {AMOUNT}\2){{2,}},? (and|or) {AMOUNT}(?=\2(?!\w)){_AFTER}"
)
"""Of four and more the model repeats one."""
_MIXED = re.compile(rf"{_BEFORE}(\d\d?) ([1-9])/([2-9]|1\d)({POWER})(?![\w:/]|-\d)")
_DEGREES = re.compile(
    rf"{_BEFORE}(-?{AMOUNT})\s(?:degrees? )?(?:(Fahrenheit)|(?:Celsius|[Cc]entigrade))\b"
)
"""The model leaves the one scale out and does not know the other."""
_VERSE = re.compile(
    r"\b(Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Samuel|Kings|Job|Psalms?|Proverbs|Ecclesiastes|Isaiah"
    r"|Jeremiah|Ezekiel|Daniel|Micah|Matthew|Mark|Luke|John|Acts|Romans|Corinthians|Galatians|Ephesians|Philippians"
    r"|Colossians|Thessalonians|Timothy|Hebrews|James|Peter|Revelation) (\d+):(\d+)(?:-(\d+))?(?![\w:])"
)
_RATIO = re.compile(
    rf"(?<![\w.,:/-])(?<!\w\()(\d{{1,4}}):({GROUPED}|\d+)(?![\w/-]|[.,:]\d|\s?[ap]\.m\.)"
)
_OF_RATIO = re.compile(
    r"\b(?:ratios?|scaled?|odds|proportions?|dilut\w+|mix\w*)\b[^.;:]{0,40}\Z", re.I
)
_SCORE = re.compile(
    r"\b(?:scores?|won|lost|beat|led|aspect)\b[^.;:]{0,40}\Z(?<!\bat )(?<!\baround )(?<!\bafter )(?<!\bfrom )"
    r"(?<!\bsince )(?<!\buntil )",
    re.I,
)
_RATIO_OF = re.compile(
    r"\s(?:\w+ )?(?:ratio|scale|odds|dilution|mix)|\s(?:aspect|display|monitor|screen|win|victory|defeat|loss)\b",
    re.I,
)
_TOKEN = re.compile(
    r"\b(?:0x[\dA-Fa-f]{2,}|(?=[a-f]*\d)(?=\d*[a-f])[\da-f]{7,40})\b"
    r"|(?<![\w:.])(?:(?=[A-Fa-f:]*\d)(?:[\dA-Fa-f]{0,4}:){3,7}[\dA-Fa-f]{1,4}|::1)(?![\w:])"
    r"|(?<![\w.,:/-])(-?)(\d++(?:[.,:/-]\d++)*+)((?:st|nd|rd|th)\b)?(?!\w)"
)
_ONE_AMOUNT = re.compile(AMOUNT)
_VALUE = re.compile(rf"(?:{GROUPED}|\d+)(?:\.\d+)?")
_NAME = re.compile(r"\d+(?:\.\d+){3}(?::\d+)?(?:/\d+)?|\d+(?:-\d+){2,}|\d{3}-\d{4}")
"""An address or a telephone number."""
_KNOWN = re.compile(r"11|\d,000|1[1-9]\d\d|20\d\d")  # eleven, thousands, years: it knows them
_YEAR = re.compile(r"1\d{3}|20\d\d")
_HUNDREDS = re.compile(r"[1-9](?!00)\d\d")  # it says 15 for 145 and 77 for 737
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
        others = [code for code in self.values if not (len(code) == 3 and code.isdecimal())]
        # All counts as one alternative: there are 28 for each, and a pattern seen before is not compiled again.
        known = "|".join([*sorted(others, key=len, reverse=True), r"\d{3}"])
        pattern = rf"(?<!\d)({known})(?:(?<=\d)(?!\d)(?:\s?(?:QM+|Q(?![A-Za-z])))?|(?<!\d)(?!間))(に|から|まで|年)?"
        return _DAMAGED.sub(self._guess, re.sub(pattern, self._in_place, translation))

    def _in_place(self, found: re.Match[str]) -> str:
        """5月4日から6日まで takes no particle of time more, 2014年 no other 年."""
        value, after = self.values.get(found[1]), found[2] or ""
        if value is None:
            return found[0]
        return value if value.endswith(("まで", after or "まで")) else value + after

    def _guess(self, found: re.Match[str]) -> str:
        codes = [code for code in self.values if code in _PLACES]
        like = [code for digit in reversed(found[0]) for code in codes if digit in code]
        return self.values[(like or codes)[0]] if codes else found[0]


def stand_ins(text: str) -> tuple[str, Numbers]:
    """`text` with stand-ins, and what they stand for.

    There are five for numbers and times, so that one damaged digit still tells which, and five for dates; a list or a
    range has one. More of them in one sentence stay as they are.
    """
    if not re.search(r"\d", text):
        return text, Numbers()
    hidden = _Hidden(text)
    return hidden.text, Numbers(hidden.values)


class _Hidden:
    def __init__(self, text: str) -> None:
        dates = Dates(text)
        self.values = dates.values
        self._taken = taken = set(re.findall(r"\d+|[a-z]+", text.lower()))
        names = zip(_PLACES, _PLACES.values(), _TENS, strict=True)
        free = [spellings[0] for spellings in names if taken.isdisjoint(spellings)]
        self._places = iter(free if "QM" not in text else ())
        self._shown: dict[int, str] = {}
        text = _DEGREES.sub(self._degrees, dates.text)
        text = _RANGE.sub(self._range, _LIST.sub(self._list, _MIXED.sub(self._mixed, text)))
        text = _LARGE.sub(self._large, text)
        text = _RATIO.sub(self._ratio, _VERSE.sub(self._verse, text))
        text = clock.TIMES.sub(self._times, clock.each_whole(text))
        text = clock.TIME.sub(self._time, text)
        text = _TOKEN.sub(self._token, _DAY_AND_TIME.sub(_time_first, text))
        self.text = dates.shown(text.translate(self._shown))

    def _mixed(self, found: re.Match[str]) -> str:
        whole, above, below, power = found.groups()
        if power:
            many = (int(whole) + Decimal(above) / int(below)) * value(f"1{power}")
            return self._code(found[0], in_japanese(many))
        return self._count(found[0], f"{whole}と{below}分の{above}")

    def _degrees(self, found: re.Match[str]) -> str:
        number = self._count(found[1], f"華氏{found[1]}") if found[2] else found[1]
        return f"{number} degrees"

    def _list(self, found: re.Match[str]) -> str:
        amounts = _ONE_AMOUNT.findall(found[0])
        years = "年" if all(map(_YEAR.fullmatch, amounts)) else ""
        *first, last = (said(amount) + years for amount in amounts)
        between = "、または" if found[3] == "or" else "、"
        return self._code(found[0], "、".join(first) + between + last)

    def _range(self, found: re.Match[str]) -> str:
        low, sep, high = found[1], found[3].strip(), found[4]
        power = high.partition(" ")[2]
        if power and " " not in low:
            low = f"{low} {power}"
        least, most = value(low), value(high)
        if (sep != "or" and least >= most) or (_YEAR.fullmatch(low) and _YEAR.fullmatch(high)):
            return found[0]
        as_it_is = sep == "-" and not power and "," not in low + high
        between = "-" if as_it_is else "か" if sep == "or" else "から"
        both = between.join((low, high) if as_it_is else map(said, (low, high)))
        return (self._count if most < 10000 else self._code)(found[0], both)

    def _large(self, found: re.Match[str]) -> str:
        parts = [f"{part} {found[4]}" for part in (found[1], found[3]) if part]
        return (found[2] or "").join(map(self._code, parts, map(said, parts)))

    def _verse(self, found: re.Match[str]) -> str:
        verse = f"{found[2]}章{found[3]}節" + (f"から{found[4]}節" if found[4] else "")
        return f"{found[1]} {self._code(found[0].partition(' ')[2], verse)}"

    def _ratio(self, found: re.Match[str]) -> str:
        before, after = found.string[: found.start()][-60:], found.string[found.end() :][:40]
        time = clock.TIME.match(found.string, found.start())
        named = _OF_RATIO.search(before) or _SCORE.search(before) or _RATIO_OF.match(after)
        if time and not named:
            return found[0]
        return self._code(found[0], f"{said(found[1])}対{said(found[2])}")

    def _time(self, found: re.Match[str]) -> str:
        if lasted := clock.lasted(found):
            return self._code(found[0], lasted)
        return self._at(found, clock.said(found))

    def _times(self, found: re.Match[str]) -> str:
        return self._at(found, "、".join(map(clock.said, clock.TIME.finditer(found[0]))))

    def _at(self, found: re.Match[str], said: str) -> str:
        if (place := next(self._places, None)) is None:
            return found[0]
        left = (digit for digit in place if not self._taken & {digit, _DIGITS[int(digit)]})
        self.values |= dict.fromkeys(
            (f"{place}時", f"{_PLACES[place]}時", place, *(f"{digit}時" for digit in left)), said
        )
        ends = found[0].endswith(".") and found.end() == len(found.string)
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
        between = "から" if values[0] < values[-1] else "-"
        return self._code(found[0], sign + between.join(map(said, parts)) + (ordinal and "番目"))

    def _code(self, text: str, said: str) -> str:
        if (place := next(self._places, None)) is None:
            return text
        self.values[place] = said
        return self._mark(f"{place}QM")

    def _count(self, text: str, said: str, sign: str = "", ordinal: str = "") -> str:
        if (place := next(self._places, None)) is None:
            return text
        code = _PLACES[place]
        near = {code[:i] + str(digit) + code[i + 1 :] for i in range(3) for digit in range(10)}
        self.values |= dict.fromkeys(near - self._taken, said)  # one digit of it may be damaged
        return self._mark(f"{sign}{_PLACES[place]}{ordinal}")

    def _mark(self, shown: str) -> str:
        """A character in place of a stand-in until all is found: none of it is part of another number."""
        mark = chr(ord(MARKS[-1]) + 1 + len(self._shown))
        self._shown[ord(mark)] = shown
        return mark


def _time_first(found: re.Match[str]) -> str:
    at = {"O": "At ", "o": "at "}.get(found[1] or "", "")
    return f"{at}{found[3]} on {found[2]}"


def _difficult(number: str) -> bool:
    """Whether the model would get it wrong more often than a stand-in."""
    if _KNOWN.fullmatch(number):
        return False
    if _HUNDREDS.fullmatch(number) or re.match(GROUPED, number) or len(number.split(".")[0]) > 5:
        return True
    whole, _, rest = number.partition(".")
    return bool(_TWICE.search(f"{whole.rstrip('0')}.{rest}"))
