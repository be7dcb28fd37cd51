"""Japanese text with its figures as they are read: Open JTalk's own reading stops at their marks.

It reads 10-15 digit by digit, 2024-03-15 as three numbers, 3.11.2 as 3.11 and a 2, 1/2 as 1 and 2, 14:00 as 14 and 0 0,
150 ms as metres, the dot of main.py as a pause, and has no sound for a minus sign and for accented letters.
"""

from __future__ import annotations

import re
import unicodedata

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_RANGE = re.compile(
    rf"(?<![\w.,/:-])(?<!\) )(?!0\d|\d{{3}}-\d{{4}}(?!\d))({_NUMBER})([%％]?)( ?)[-–~〜～]\3({_NUMBER})(?![\d/:-])",
    re.ASCII,
)
_CLOCK = re.compile(r"(?<![\w.])(?<!\d:)([01]?\d|2[0-4]):([0-5]\d)(?![\d:])", re.ASCII)
_CLOCK_RANGE = re.compile(r"(?<=[時分]) ?[-–~〜～] ?(?=\d+時)")
_LEADING_ZERO = re.compile(r"(?<![\d.,])0(?=\d[時分])")
_DATE = re.compile(r"(?<![\d-])(\d{4})-(0?[1-9]|1[0-2])-(0?[1-9]|[12]\d|3[01])(?![\d-])")
_VERSION = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])")
_FRACTION = re.compile(r"(?<![\w./,:-])([1-9])/([2-9]|10)(?![\w./:-])", re.ASCII)
_ALWAYS = re.compile(r"(?<![\w./])24/7(?![\d/.])", re.ASCII)
_MINUS = re.compile(r"(?<![^\sぁ-ゖ、。，：:（(「『])[-−－](?=\d)")
_SUBTRACTION = re.compile(r"(?:(?<=\b\w)|(?<=[\d)])) - (?=\d|\w\b|\()", re.ASCII)
# Between figures the dictionary says たす, and it knows C++.
_PLUS = re.compile(r"(?<![\d)+])(?<![\d)] )\+(?!\+)|(?<=\d)\+(?!\+|\s?[\w(])", re.ASCII)
_TIMES = re.compile(r"(?<=\d)(?: [x×] |(?<!(?<![\d.])0)[x×])(?=\d)")
_TO = re.compile(r"(?<=\d)対(?=\d)")  # the dictionary says つい after 1
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])")
_DOT = re.compile(r"(?<!\.)\.(?=[a-z]{2}|[A-Z]{2})|(?<=[A-Za-z0-9_]{2})\.(?=[A-Z]?[a-z])")
_UNITS = dict(
    pair.split("=")
    for pair in """
    ms=ミリ秒 s=秒 min=分 h=時間 Hz=ヘルツ kHz=キロヘルツ MHz=メガヘルツ GHz=ギガヘルツ kB=キロバイト KB=キロバイト MB=メガバイト GB=ギガバイト TB=テラバイト MB/s=メガバイト毎秒
    GB/s=ギガバイト毎秒 KiB=キビバイト MiB=メビバイト GiB=ギビバイト mm=ミリメートル cm=センチメートル km=キロメートル Km=キロメートル mg=ミリグラム kg=キログラム ml=ミリリットル mL=ミリリットル L=リットル
    W=ワット kW=キロワット V=ボルト dB=デシベル °C=度 px=ピクセル m²=平方メートル km²=平方キロメートル m³=立方メートル
    """.split()
)
_UNIT = re.compile(
    rf"(?<![A-Za-z\d.,'’-])(?![12]\d\d0s)({_NUMBER}[万億兆]?) ?({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![A-Za-z0-9/²³])"
)
_ACCENTED = re.compile("[À-ɏḀ-ỿ]")


def spell_out(text: str) -> str:
    """`text` with ranges, dates, clock times, versions, fractions, units, signs and dots of names in words.

    Telephone numbers stay as they are.
    """
    text = _ACCENTED.sub(lambda found: unicodedata.normalize("NFD", found[0])[0], text)
    text = _FRACTION.sub(_fraction, _ALWAYS.sub("24時間365日", text))
    text = _DATE.sub(lambda found: f"{found[1]}年{int(found[2])}月{int(found[3])}日", text)
    text = _CLOCK.sub(_clock, text)
    text = _CLOCK_RANGE.sub("から", _LEADING_ZERO.sub("", text))
    text = _RANGE.sub(_range, text)
    text = _VERSION.sub(lambda found: found[0].replace(".", "点"), text)
    text = _SUBTRACTION.sub("マイナス", _MINUS.sub("マイナス", text))
    text = _TIMES.sub("かける", _PLUS.sub("プラス", _TO.sub("タイ", text)))
    text = _ORDINAL.sub("番目", _UNIT.sub(lambda found: found[1] + _UNITS[found[2]], text))
    return _DOT.sub("ドット", text)


def _clock(found: re.Match[str]) -> str:
    return f"{int(found[1])}時" + (f"{int(found[2])}分" if int(found[2]) else "")


def _fraction(found: re.Match[str]) -> str:
    return f"{found[2]}分の{found[1]}" if int(found[1]) < int(found[2]) else found[0]


def _range(found: re.Match[str]) -> str:
    low, high = (float(found[n].replace(",", "")) for n in (1, 4))
    return f"{found[1]}{found[2]}から{found[4]}" if low < high else found[0]
