"""Markdown into speakable text: blocks while they stream in, inline markup a sentence at a time."""

from __future__ import annotations

import html
import re

from stt.formulas import read_aloud

BREAK = "\x1e"
"""Stands where speech pauses whatever the words are: blank line, heading, list item, table row."""
CELL = "\x1f"
"""Stands between two cells of a table row."""
_YES, _NO = "\x02", "\x03"
_CELL_MARKS = str.maketrans(
    {"|": CELL} | dict.fromkeys("✅✔✓☑", _YES) | dict.fromkeys("❌✗✘✖", _NO)
)
"""In a row, a check mark or a cross is what the cell says; elsewhere it is decoration."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HELD = 160
"""A line is held back this many characters at most while its kind is open; no marker is longer."""
_PROSE, _TITLE, _ROW, _DROPPED = "prose", "title", "row", "dropped"
_MARKERS = frozenset("#>-+*_=`~|•◦▪‣●0123456789")
_RULE = re.compile(r"[-_*=~|:+ \t]*\Z")
_RULE_LINE = re.compile(r"[-_*=~|:+ \t]*\n\Z")
_BULLET = re.compile(r"[-+*](?=[ \t])|[•◦▪‣●]")
_NUMBER = re.compile(r"(\d{1,3})[.)](?=[ \t])")
_NUMBER_OPEN = re.compile(r"\d{1,3}[.)]?\Z")
_HEADING = re.compile(r"#{1,6}(?=\s)")
_HEADING_OPEN = re.compile(r"#{1,6}\Z")
_FENCE = re.compile(r"(`{3,80}(?=[^`\n]*\n)|~{3,80}(?=[^~\n]*\n))")
_FENCE_OPEN = re.compile(r"(`{1,2}|`{3,80}[^`\n]*|~{1,2}|~{3,80}[^~\n]*)\Z")


class Blocks:
    """Block-level Markdown as a stream filter that keeps every character's place.

    Each source character comes out as exactly one character, in order: itself, a space where markup
    or code was dropped, `BREAK` or `CELL`. So an offset in the output is the offset in the source.
    The start of a line is held back until its kind is certain; how the text was cut into pushes
    changes nothing.

    Follows CommonMark 0.31 except that indented code is read as text (in LLM output it is nearly
    always a nested list), a code block in a list item ends at its closing fence only (its lines
    are often indented less than they should be), and GFM tables are recognized by a leading `|`.
    """

    def __init__(self) -> None:
        self._line: str | None = None  # kind of the current line, None while it is open
        self._held = ""
        self._fence = ""
        self._fence_quoted = False
        self._quoted = self._was_quoted = False
        self._list = self._paragraph = False

    def push(self, text: str) -> str:
        """Filter the next characters; the result may lag behind by the start of a line."""
        text = _CONTROL.sub(" ", text)
        out: list[str] = []
        at, size = 0, len(text)
        while at < size:
            if self._line is None:
                self._held += text[at]
                at += 1
                self._open(out)
                continue
            newline = text.find("\n", at)
            stop = size if newline < 0 else newline + 1
            self._copy(out, text[at:stop])
            at = stop
        return "".join(out)

    def flush(self) -> str:
        """Decide what is held back as if the line ended here; nothing may be pushed afterwards."""
        out: list[str] = []
        if self._held:
            self._held += "\n"
            self._open(out)
        return "".join(out)[:-1]

    def _copy(self, out: list[str], text: str) -> None:
        """Emit a part of a line of known kind; a newline can only be its last character."""
        ended = text.endswith("\n")
        body = text[:-1] if ended else text
        if self._line == _DROPPED:
            body = " " * len(body)
        elif self._line == _ROW:
            body = body.translate(_CELL_MARKS)
        out.append(body)
        if ended:
            out.append("\n" if self._line == _PROSE else BREAK)
            self._line = None
            self._quoted, self._was_quoted = False, self._quoted

    def _settle(self, out: list[str], line: str) -> None:
        self._line, held, self._held = line, self._held, ""
        self._copy(out, held)

    def _open(self, out: list[str]) -> None:
        """Take off the held start of a line what is certain: indentation, markers, its kind."""
        while self._held and self._line is None:
            first = self._held[0]
            if first in " \t\r":
                self._drop(out, 1, " ")
            elif self._fence and self._fence_quoted and first == ">":
                self._quoted = True
                self._drop(out, 1, " ")
            elif self._fence and self._fence_quoted and not self._quoted:
                self._fence = ""  # the quote is over, and so is the code block in it
            elif self._fence:
                if not self._closes(out):
                    return
            elif first == "\n":
                self._list = self._paragraph = False
                self._line = _TITLE  # nothing on it, and a BREAK at its end
            elif first not in _MARKERS:
                self._paragraph = self._paragraph or not self._list
                self._settle(out, _PROSE)
            elif not self._marker(out, first):
                return
        if self._held:
            held, self._held = self._held, ""
            self._copy(out, held)

    def _drop(self, out: list[str], n: int, mark: str = BREAK) -> None:
        out.append(mark + " " * (n - 1))
        self._held = self._held[n:]

    def _closes(self, out: list[str]) -> bool:
        """Inside a code block: True when it is known whether this line closes it."""
        held = self._held
        run = held.rstrip()
        if run.strip(self._fence[0]) or len(held) > _HELD:
            self._settle(out, _DROPPED)
            return True
        if not held.endswith("\n"):
            return False
        if len(run) >= len(self._fence):
            self._fence = ""
        self._settle(out, _DROPPED)
        return True

    def _marker(self, out: list[str], first: str) -> bool:
        """The line starts with what may be markup: True when something was decided."""
        held = self._held
        if first == ">":
            self._drop(out, 1, " " if self._was_quoted or self._quoted else BREAK)
            self._quoted = True
            return True
        if bullet := _BULLET.match(held):
            self._list, self._paragraph = True, False
            self._drop(out, bullet.end())
            return True
        if (number := _NUMBER.match(held)) and not (self._paragraph and int(number[1]) != 1):
            self._list, self._paragraph = True, False
            self._drop(out, number.end())
            return True
        if heading := _HEADING.match(held):
            self._list = self._paragraph = False
            self._drop(out, heading.end())
            self._line = _TITLE
            return True
        full = len(held) > _HELD
        if (fence := _FENCE.match(held)) or (full and _FENCE_OPEN.match(held)):
            self._fence = fence[1] if fence else held[: len(held) - len(held.lstrip(first))]
            self._fence_quoted = self._quoted
            self._list = self._paragraph = False
            self._drop(out, 1)
            self._settle(out, _DROPPED)
            return True
        if _RULE_LINE.match(held):
            self._list = self._paragraph = False
            self._drop(out, 1)
            self._settle(out, _DROPPED)
            return True
        undecided = _RULE.match(held) or _FENCE_OPEN.match(held)
        if not full and (undecided or _NUMBER_OPEN.match(held) or _HEADING_OPEN.match(held)):
            return False
        if first == "|":
            self._list = self._paragraph = False
            self._drop(out, 1)
            self._settle(out, _ROW)
            return True
        self._paragraph = self._paragraph or not self._list
        self._settle(out, _PROSE)
        return True


_BLOCK = "blockquote|dd|details|div|dl|dt|h[1-6]|li|ol|p|pre|summary|table|tbody|thead|tr|ul"
_CELL_TAG = re.compile(r"</t[dh]\b", re.IGNORECASE)
_APART_TAG = re.compile(rf"</?(?:{_BLOCK}|br|hr|t[dh])\b", re.IGNORECASE)
_HTML = (
    f"{_BLOCK}|a|abbr|b|br|code|del|em|hr|i|img|ins|kbd|mark|q|s|small|span|strong|sub|sup|td|th|u"
)
END_TAG = rf"</(?:{_BLOCK}) *>"
"""What ends a block of HTML, and the sentence in it, whatever its case."""
_ATTRIBUTE = r"""\s++[\w:-]++\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>]++)|\s++(?:open|hidden|controls|disabled)\b"""
_INLINE = re.compile(
    rf"""
    (?P<code>`++(?P<words>[^`]++)`++) | (?P<tick>`++)
    | (?P<link>!?\[(?P<label>[^\[\]]*+)\]
        \([^()\s]*+(?:\([^()\s]*+\)[^()\s]*+)?(?:\s+["'(][^()]*+\)?)?\))
    | (?P<half>\]\((?:https?:|/|\#|\.)[^()\s]*+\)) | (?P<note>\[\^[^\[\]\s]{{1,32}}\])
    | <?(?P<url>(?:https?|ftp)://
        (?P<host>[^\s/?\#<>()\[\]"'`]++)[^\s<>()\[\]"'`]*+(?:\([^\s()]*+\))?)>?
    | (?P<tag></?(?:{_HTML})(?:{_ATTRIBUTE})*+\s*+/?>|<!--.*?-->)
    | (?P<entity>&(?:\#\d{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});)
    | \\(?P<escaped>[!-/:-@\[-`{{-~])
    | (?P<keep>(?<=[0-9])\*\*?(?=[0-9])|(?<=[A-Za-z])\*(?=[A-Za-z]))
    | (?P<star>(?<!\s)\*++|\*++(?!\s)) | (?P<strike>~~++)
    | (?P<low>(?<![^\W_])_++|_++(?![^\W_]))
    | (?P<arrow>\s*(?:[\u2190-\u21ff\u27f5-\u27ff]|(?<!-)->|=>)\s*)
    | (?P<bar>\s+\|{{1,2}}\s+)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_MARKUP = re.compile(r"[`*_~\[\]<>&\\|]|://|[\u2190-\u21ff\u27f5-\u27ff]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\ufffc\ufffd"
    "\ud800-\udfff\U000e0000-\U000e01ef]"
)
_EMOJI = re.compile(
    "[\u231a\u231b\u23e9-\u23fa\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935\u2b00-\u2bff\u20e3"
    "\U0001f000-\U0001faff]+"
)
_CELLS = re.compile(rf"\s*{CELL}[\s{CELL}]*")
_FIGURES = re.compile(rf"(?<=\d)\s*{CELL}\s*(?=\d[\d.,]*\s*(?:{CELL}|\Z))")
"""Between two numbers: with a comma they would be read as one, 1,200."""
_ANSWER = re.compile(rf"([{_YES}{_NO}])\ufe0f?(?! *\w)")
"""A mark that no word in its cell explains."""
_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LOOSE = re.compile(r" +(?=[,.;:!?]+(?:\s|\Z))")
_BOX = re.compile(r"\s*\[[ xX]\]\s")
_SPEAKABLE = re.compile(r"[^\W_]")


def clean(text: str) -> str:
    """What is to be said of a piece of Markdown text; "" when nothing in it can be said.

    Reads formulas aloud; keeps the words of emphasis, inline code, links and images; reads a bare URL as its host; drops
    emoji, invisible characters, HTML tags, footnote marks; resolves entities; collapses spaces.
    """
    if box := _BOX.match(text):
        text = text[box.end() :]
    text = read_aloud(text)
    if _MARKUP.search(text):
        text = _INLINE.sub(_say, text)
    text = _ANSWER.sub(lambda found: " yes " if found[1] == _YES else " no ", text)
    if not text.isascii():
        text = _EMOJI.sub(" ", _INVISIBLE.sub("", text))
    if CELL in text:
        text = _CELLS.sub(", ", _FIGURES.sub(" / ", text.strip()))
    text = _LOOSE.sub("", _SPACES.sub(" ", text)).strip(" \u2013\u2014")
    return text if _SPEAKABLE.search(text) else ""


def _say(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "code":
            return found["words"]
        case "link":
            return _INLINE.sub(_say, found["label"])
        case "url":
            host = found["host"].rpartition("@")[2].removeprefix("www.")
            tail = found["url"][len(found["url"].rstrip(".,;:!?*_~")) :]
            return host.rstrip(".,;:!?*_~") + tail.rstrip("*_~")
        case "entity":
            return html.unescape(found["entity"])
        case "escaped":
            return found["escaped"]
        case "keep":
            return found["keep"]
        case "tag":
            if _CELL_TAG.match(found["tag"]):
                return CELL
            return " " if _APART_TAG.match(found["tag"]) else ""
        case "arrow" | "bar":
            return ", "
        case _:
            return ""
