"""What a model thinks aloud before it answers: `<think>...</think>` at the beginning of a message."""

from __future__ import annotations

import re

_BEGIN = re.compile(r"\s*<think(?:ing)?>")
_END = re.compile(r"</think(?:ing)?>\s*")
_TAGS = ("<think>", "<thinking>")
_LONGEST_END = len("</thinking>")


class Thinking:
    """Passes the text of one message on, without what stands between the tags, however it is cut."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = self._over = False

    def feed(self, text: str, *, final: bool = False) -> str:
        """What of `text`, and of what was held back, is said; with `final` nothing is held back any more."""
        if self._over:
            return text
        self._held += text
        if not self._inside and (found := _BEGIN.match(self._held)):
            self._inside, self._held = True, self._held[found.end() :]
        if self._inside:
            found = _END.search(self._held)
            if not found:
                self._held = self._held[-_LONGEST_END:]
                return ""
            self._held = self._held[found.end() :]
        elif not final and any(tag.startswith(self._held.lstrip()) for tag in _TAGS):
            return ""  # it may become a tag
        self._over = True
        return self._held
