"""Japanese text with its figures as they are read: Open JTalk's own reading stops at their marks.

It reads 10-15 digit by digit, 2024-03-15 as three numbers, 3.11.2 as 3.11 and a 2, 1/2 as 1 and 2, and has no sound for a
minus sign and for accented letters.
"""

from __future__ import annotations

import re
import unicodedata

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_RANGE = re.compile(
    rf"(?<![\w.,/:-])(?<!\) )(?!0\d|\d{{3}}-\d{{4}}(?!\d))({_NUMBER})([%％]?)[-–~〜～]({_NUMBER})(?![\d/:-])",
    re.ASCII,
)
_DATE = re.compile(r"(?<![\d-])(\d{4})-(0?[1-9]|1[0-2])-(0?[1-9]|[12]\d|3[01])(?![\d-])")
_VERSION = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])")
_FRACTION = re.compile(r"(?<![\w./,:-])([1-9])/([2-9]|10)(?![\w./:-])", re.ASCII)
_MINUS = re.compile(r"(?<![^\sぁ-ゖ、。，：:（(「『])[-−－](?=\d)")
_ACCENTED = re.compile("[À-ɏ]")


def spell_out(text: str) -> str:
    """`text` with ranges, dates, versions, fractions and minus signs in words. Telephone numbers stay as they are."""
    text = _ACCENTED.sub(lambda found: unicodedata.normalize("NFD", found[0])[0], text)
    text = _FRACTION.sub(_fraction, text)
    text = _DATE.sub(lambda found: f"{found[1]}年{int(found[2])}月{int(found[3])}日", text)
    text = _RANGE.sub(_range, text)
    text = _VERSION.sub(lambda found: found[0].replace(".", "点"), text)
    return _MINUS.sub("マイナス", text)


def _fraction(found: re.Match[str]) -> str:
    return f"{found[2]}分の{found[1]}" if int(found[1]) < int(found[2]) else found[0]


def _range(found: re.Match[str]) -> str:
    low, high = (float(found[n].replace(",", "")) for n in (1, 3))
    return f"{found[1]}{found[2]}から{found[3]}" if low < high else found[0]
