"""Formulas of conversation that the packaged model takes for something else: to "Nice!" it said いいえ, to "Hi there!" そっとして.

Its pairs hold few of them, and none says more than its words. `phrases.txt` has what is said instead of a whole sentence.
"""

from __future__ import annotations

import re
from functools import cache

from stt.translator.names import table

_GREETING = re.compile(
    r"\A(?:(?:hello|hi|hey) (?:there|again)(?=[,!.]|\Z)|(?:hi|hey)(?=[!.]*\Z))", re.I
)
_TO = re.compile(
    r"\A(?i:(hello|hi|hey|dear)|(good (?:morning|afternoon|evening|night))) (?=[A-Z][a-z]+(?: [A-Z][a-z]+)?(?:[,!.]|\Z))"
)
"""The model leaves out whom these greet, but not behind a comma."""
_MARKS = ".!?…"


def plainer(text: str) -> str:
    """`text` with a greeting as the model knows it."""
    return _TO.sub(lambda found: f"{found[2] or 'Hello'}, ", _GREETING.sub("Hello", text))


def formula(text: str) -> str | None:
    """What is said in Japanese for the whole of `text`, without its marks; None if it is no formula."""
    return _formulas().get(text.rstrip(_MARKS + " ").lower())


@cache
def _formulas() -> dict[str, str]:
    return table("phrases.txt")
