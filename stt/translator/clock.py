"""Times of the day as English writes them, and as Japanese does: 2:30 p.m. is 午後2時30分."""

from __future__ import annotations

import re

from stt.translator.dates import MARKS

_BEFORE = r"(?<![\w.,:/-])"
_TIME = (
    rf"{_BEFORE}(?<!\w\()([01]?\d|2[0-4])(?=:\d|\s[ap]\.m\.)(?::([0-5]\d)(?::([0-5]\d))?)?"
    r"(?![\w/-]|[.,:]\d)(\s?[ap]\.m\.)?"
)
TIME = re.compile(_TIME)
TIMES = re.compile(rf"(?<![Bb]etween ){_TIME}(?:, {_TIME})*,? (?:and|or) {_TIME}")
_AT = re.compile(rf"(?:\b[Aa]t|[{MARKS}],?)\s\Z")
"""Before a time of the day: without it, 2:01:09 and 00:03:20 are how long something took."""
_TO_HALF = re.compile(
    rf"{_BEFORE}(\d\d?)((?::[0-5]\d)?)(\s?-\s?|\s(?:to|and)\s)(?=(\d\d?)(?::[0-5]\d)? ([ap])\.m\.)"
)
_BETWEEN = re.compile(r"(?<=\d:[0-5]\d)\s?-\s?(?=\d\d?:[0-5]\d)")


def each_whole(text: str) -> str:
    """`text` with both times of a range written in full: 2 p.m. to 4 p.m. for 2-4 p.m."""
    return _TO_HALF.sub(_with_half, _BETWEEN.sub(" to ", text))


def lasted(time: re.Match[str]) -> str:
    """How long something took, where what `TIME` found says that; "" where it is a time of the day."""
    hour, minutes, seconds, half = time.groups()
    if not seconds or half or (len(hour) > 1 and hour != "00"):
        return ""
    if _AT.search(time.string[: time.start()]):
        return ""
    hours = f"{hour}時間" if int(hour) else ""
    return f"{hours}{int(minutes)}分{int(seconds)}秒"


def said(time: re.Match[str]) -> str:
    """The time of the day that `TIME` found."""
    hour, minutes, seconds, half = time.groups()
    said = f"{'午前' if 'a' in half else '午後'}{int(hour) % 12}時" if half else f"{int(hour)}時"
    said += f"{int(minutes)}分" if int(minutes or 0) or seconds else ""
    return said + (f"{int(seconds)}秒" if seconds else "")


def _with_half(found: re.Match[str]) -> str:
    """Of 9-5 p.m. the first is in the morning."""
    same = int(found[1]) % 12 < int(found[4]) % 12
    half = found[5] if same else "pa"[found[5] == "p"]
    return f"{found[1]}{found[2]} {half}.m.{' to ' if '-' in found[3] else found[3]}"
