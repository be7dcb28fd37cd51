"""Streaming text, cut into sentences or clauses as soon as nothing later can undo the cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stt.clean import BREAK, END_TAG, Blocks, clean
from stt.engine import Unit
from stt.errors import ConfigError

WAIT, NO, YES = -1, 0, 1
"""What is known about a boundary: not decided by the text so far, refused for good, certain."""

_CLOSERS = "\"'”’»›)\\]}」』）】〉》*_~\ufe0f\u200d\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_WIDE = "。！？｡．"
_CUT = re.compile(r"\s+|[,、，](?!\d)")
"""Where a sentence that is too long may be cut: not inside 1,000."""
_CANDIDATE = re.compile(
    rf"(?P<mark>[.!?\u2026\u203c\u2047-\u2049{_WIDE}]+)(?P<closers>[{_CLOSERS}]*)"
    rf"|(?P<code>`+)|(?P<newline>\n)|(?P<stop>{BREAK}|(?i:{END_TAG}))|(?P<tag><(?:/\w{{0,10}} *)?\Z)"
    r"|(?P<comma>[,;:\u2013\u2014、，；：])"
)
_ENDS = re.compile(rf"[.!?\u2026\u203c\u2047-\u2049{_WIDE}\n{BREAK}]")
_QUOTES = frozenset("\"'”’»›)]}」』）】〉》")
_NEXT = re.compile(rf"[^\S{BREAK}]*[\"'“‘«‹(\[{{「『（*_~`]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_TOKEN = re.compile(r"[^\s\"'“”‘’«»()\[\]{}*_~`<>,;:!?/\u2013\u2014\u2026]*\Z")
_TOKEN_CHARS = 24
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\Z|[A-Z]\Z")
_SPACE = re.compile(r"\s*")
_GOES_ON = re.compile(r"[ \t]*[-\u2013\u2014(/&+\d]")
"""What ends no sentence after an abbreviation: 9 a.m. - 5 p.m. (UTC)."""
_CODE_CHARS = 120
"""A backtick whose partner is further away than this is a lone character."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Abbreviations without their last dot. Capitals tell them from words (fig, rep, sat).
_NEVER = _words("""
    Mr Mrs Ms Mx Messrs Dr Prof Rev Fr Hon Gov Sen Rep Pres Gen Col Maj Capt Cmdr Lt Sgt Mt Fig Figs
    Eq Eqs e.g E.g i.e I.e eg ie vs cf Cf viz approx figs eqs resp incl excl esp
""")
_BEFORE_NUMBER = _words("no nos p pp vol ch sec art ref tab ver v op para ex app fig eq ed")
_MAY_END = _words("""
    Jr Sr St Ave Blvd Rd Inc Ltd Co Corp Bros Dept Univ Assn Ph.D al dept Jan Feb Mar Apr Jun Jul
    Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun
""")
_MOSTLY_END = _words("etc a.m p.m")
# Words that begin a sentence more often than they go on with a name (after U.S., J., Inc.).
_OPENERS = _words("""
    a an the this that these those it its he his she her they their we our you your i i'm i'll i've
    it's in on at by for from to with when where while why what who how if as after before because
    since although though but and or so yet then there here however also meanwhile moreover thus
    therefore now later today yesterday once some many most all each every both no not one two only
    even please let do does did is are was were can could will would should may don't
""")


@dataclass(frozen=True, slots=True)
class Segment:
    """Text ready for translation.

    Attributes:
        text: cleaned text, never empty.
        end: source characters pushed up to and including its last one that is not a space.
        start: source characters pushed before its first one.
    """

    text: str
    end: int
    start: int


@dataclass
class Segmenter:
    """Cuts one stream. The same text gives the same segments however it was cut into pushes.

    Attributes:
        unit: cut at sentence ends, or also at commas, semicolons, colons and dashes.
        max_chars: text without a boundary is cut here, at the last space or comma; nothing is lost.
        min_clause_chars: a clause cut leaves at least this much on both sides.
    """

    unit: Unit
    max_chars: int
    min_clause_chars: int

    def __post_init__(self) -> None:
        if self.max_chars < 1 or self.min_clause_chars < 0:
            raise ConfigError(
                "segment.max_chars must be above 0, segment.min_clause_chars not below."
            )
        self._blocks = Blocks()
        self._text = ""  # filtered text that is not emitted yet
        self._base = 0  # source characters before self._text
        self._scan = 0  # boundaries before this index of self._text are decided

    def push(self, text: str) -> list[Segment]:
        """Take the next characters; return the segments they complete."""
        return self._cut(self._blocks.push(text))

    def flush(self) -> list[Segment]:
        """Return what is left, as at the end of a message; the next push starts a new message."""
        rest = self._blocks.flush()
        segments = self._cut(rest + BREAK)
        self._blocks = Blocks()
        self._base -= 1  # the BREAK was not in the source
        return segments

    def _cut(self, filtered: str) -> list[Segment]:
        text = self._text = self._text + filtered
        segments = []
        start = 0
        while start < len(text):
            if text[start].isspace():
                start = _SPACE.match(text, start).end()  # type: ignore[union-attr]
                self._scan = max(self._scan, start)
                continue
            end = self._boundary(start)
            if end < 0:
                break
            self._scan = end
            last = start + len(text[start:end].rstrip())
            if cleaned := clean(text[start:last]):
                segments.append(Segment(cleaned, self._base + last, self._base + start))
            start = end
        self._text = text[start:]
        self._base += start
        self._scan -= start
        return segments

    def _boundary(self, start: int) -> int:
        """Index after the first segment of the text from `start`, or -1 while it is open."""
        text = self._text
        limit = start + self.max_chars
        stop = min(limit, len(text))
        while found := _CANDIDATE.search(text, self._scan, stop):
            decision = self._decide(found, start, stop)
            if decision == YES:
                return found.end()
            if decision == WAIT:
                self._scan = found.start()
                break
            self._scan = found.end() if decision == NO else decision
        else:
            self._scan = stop
        if stop < limit:
            return -1
        cut = max(start + len(text[start:stop].rstrip()), start + 1)
        spaces = [m.end() for m in _CUT.finditer(text, start, cut + 1) if m.end() <= cut]
        return spaces[-1] if spaces else stop

    def _decide(self, found: re.Match[str], start: int, stop: int) -> int:
        """YES, NO or WAIT for a candidate; or NO up to an index, which is given instead."""
        match found.lastgroup:
            case "stop":
                return YES
            case "tag":
                return WAIT
            case "code":
                return _after_code(found, stop)
            case "newline":
                return _unless_continued(self._text, found.end(), stop)
            case "comma":
                return self._clause(found, start, stop)
            case _:
                return _sentence(found, start, stop)

    def _clause(self, found: re.Match[str], start: int, stop: int) -> int:
        if self.unit != Unit.clause or found.end() - start < self.min_clause_chars:
            return NO
        if found[0] in ",;:\u2013":  # 1,000 and 10:30 and 3\u20135 are not clauses
            if found.end() >= stop:
                return WAIT
            if not found.string[found.end()].isspace():
                return NO
        right = found.end() + self.min_clause_chars
        if _ENDS.search(found.string, found.end(), min(right, stop)):
            return NO
        return YES if right <= stop else WAIT


def _after_code(found: re.Match[str], stop: int) -> int:
    """Where the code span opened here ends; NO when no backtick closes it on this line."""
    text, ticks, at = found.string, found[0], found.end()
    if at >= stop:
        return WAIT
    far = min(at + _CODE_CHARS, stop)
    for other in re.finditer(r"`+|[\n\x1e]", text[at:far]):
        if other[0][0] != "`":
            return NO
        if at + other.end() == stop:
            return WAIT  # the run of backticks may go on
        if other[0] == ticks and at + other.end() < far:
            return at + other.end()
    return NO if far < stop else WAIT


def _unless_continued(text: str, at: int, stop: int) -> int:
    """NO when what comes next is lower case, so the sentence goes on."""
    upcoming = _NEXT.match(text, at, stop)
    at = upcoming.end() if upcoming else at
    if at >= stop:
        return WAIT
    return NO if text[at].islower() else YES


def _sentence(found: re.Match[str], start: int, stop: int) -> int:
    text, mark, closers, after = found.string, found["mark"], found["closers"], found.end()
    if after >= stop:
        return WAIT
    if text[after] == BREAK or mark[-1] in _WIDE:
        return YES
    if not text[after].isspace():
        return NO
    if mark != ".":
        ellipsis = mark.endswith(("..", "\u2026"))
        quoted = not _QUOTES.isdisjoint(closers)
        return _unless_continued(text, after, stop) if ellipsis or quoted else YES
    return _full_stop(found, start, stop)


def _full_stop(found: re.Match[str], start: int, stop: int) -> int:
    """One dot and a space: the end of a sentence, unless the word before it says otherwise."""
    text, after = found.string, found.end()
    dot = found.start()
    token = _TOKEN.search(text[max(start, dot - _TOKEN_CHARS) : dot])
    word = token[0] if token else ""
    before = text[start : dot - len(word)]
    lower = word.lower()
    if word.isdecimal() and len(word) <= 3:
        lead = before.rstrip(" \t\"'“(*_")
        if not lead or (lead[-1] in ":\n" and len(lead) < len(before)):
            return NO  # a list number within a line; 10:30 is none
    if word in _NEVER and not found["closers"]:
        return after + 1  # not even where a line ends
    if lower in _MOSTLY_END or (found["closers"] and (word in _MAY_END or word in _NEVER)):
        if _GOES_ON.match(text, after, stop):
            return NO
        return _unless_continued(text, after, stop)
    if word == "I" and before[-2:-1].islower():
        return YES  # "so do I.", not "Henry I. Smith"
    upcoming = _NEXT.match(text, after, stop)
    at = upcoming.end() if upcoming else after
    if lower in _BEFORE_NUMBER:
        if at >= stop:
            return WAIT
        return NO if text[at].islower() or text[at].isdigit() else YES
    if word in _MAY_END or _INITIALS.match(word):
        if at >= stop:
            return WAIT
        if text[at] == BREAK:
            return YES
        opener = _WORD.match(text, at, stop)
        if opener is None or not text[at].isupper():
            return NO
        if opener.end() >= stop:
            return WAIT
        return YES if opener[0].lower().replace("’", "'") in _OPENERS else NO
    return YES
