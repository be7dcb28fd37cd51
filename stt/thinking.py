"""What a model thinks aloud before it answers: `<think>...</think>` at the beginning of a message."""

from __future__ import annotations

import re

_BEGIN = re.compile(r"<think(?:ing)?>")
_END = re.compile(r"</think(?:ing)?>")
_BLANK = re.compile(r"\s+")
_TAGS = ("<think>", "<thinking>")
_LONGEST_END = len("</thinking>")


class Thinking:
    """Passes the text of one message on, without what stands between the tags, however it is cut.

    Args:
        again: the text holds many messages and says not where: thinking begins wherever a line does.
    """

    def __init__(self, *, again: bool = False) -> None:
        self._again = again
        self._held = ""
        self._inside = self._over = False
        self._begun = True  # a line, so a tag may come

    def feed(self, text: str, *, final: bool = False) -> str:
        """What of `text`, and of what was held back, is said; with `final` nothing is held back any more."""
        text, self._held = self._held + text, ""
        said, at = [], 0
        while at < len(text):
            began = at
            if self._over:
                at = len(text)
            elif self._inside:
                found = _END.search(text, at)
                if not found:
                    self._held = text[at:][-_LONGEST_END:]
                    break
                at = began = found.end()
                self._inside, self._over = False, not self._again
            elif not self._begun:
                at = text.find("\n", at) + 1 or len(text)
                self._begun = text[at - 1] == "\n"
            elif blank := _BLANK.match(text, at):
                at = blank.end()
            elif found := _BEGIN.match(text, at):
                at = began = found.end()
                self._inside = True
                said.append("\n")  # what was said before stands on its own
            elif not final and any(tag.startswith(text[at : at + len(tag)]) for tag in _TAGS):
                self._held = text[at:]  # it may become a tag
                break
            else:
                self._begun, self._over = False, not self._again
            said.append(text[began:at])
        return "".join(said)
