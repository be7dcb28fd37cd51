"""JSON objects in lines of text: one a line, one over many lines, or many in an array."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

MAX_CHARS = 1 << 20
"""An object over many lines that is longer is given up, so that memory stays bounded."""
_SSE_FIELDS = ("event:", "id:", "retry:", ":")
_DONE = {"type": "message_stop"}
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+("?)')
"""To its end, or to the end of the line: else each quote of a long line would be tried anew."""
_GOES_ON = re.compile(r"\S.*[\[,:]\s*", re.DOTALL)
"""A line without indentation that an object without indentation may follow, and be a part of."""
_AROUND = "[], \t\r\n"
"""What stands around the objects of an array: they are read as they come, not when it ends."""

_BETWEEN = re.compile(f"[{re.escape(_AROUND)}]*+")
_decode = json.JSONDecoder().raw_decode


class Values:
    """Takes a line at a time and yields the objects that are now complete.

    A line that is no JSON yet is kept until the brackets opened in it are closed. One that ends inside a
    string never becomes JSON, nor does what was kept when an object begins and ends on the next line.

    Args:
        skip: is told the kind of what cannot be read.
    """

    def __init__(self, skip: Callable[[str], None]) -> None:
        self._skip = skip
        self._kept: list[str] = []
        self._chars = self._depth = 0

    def read(self, line: bytes) -> Iterator[dict[str, Any]]:
        """Yield what `line` completes; the end of a server's stream as the end of a message."""
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            self._skip("bytes that are not UTF-8")
            text = line.decode("utf-8-sig", "replace")
        if text.lstrip().startswith("data:"):  # server-sent events
            text = text.lstrip().removeprefix("data:").removeprefix(" ")
        bare = text.strip()
        if not bare or bare.startswith(_SSE_FIELDS):
            return
        if bare == "[DONE]":
            self.finish()
            yield _DONE
            return
        try:
            values = _parsed(bare)
        except RecursionError:
            self._skip("JSON nested too deep")
        except ValueError:
            yield from self._part(text)
        else:
            if self._kept and (text[0].isspace() or not _objects(values)):
                yield from self._part(text)
            else:
                self.finish()
                yield from self._checked(values)

    def finish(self) -> None:
        """Nothing follows what is kept."""
        self._give_up("broken JSON")

    def _give_up(self, kind: str) -> None:
        if self._kept:
            self._kept.clear()
            self._skip(kind)

    def _part(self, text: str) -> Iterator[dict[str, Any]]:
        if text.startswith("{") and self._kept and not _GOES_ON.fullmatch(self._kept[-1]):
            self.finish()  # what was kept has been cut off
        if not self._kept:
            text = text.lstrip(_AROUND)
            self._chars = self._depth = 0
        self._kept.append(text)
        self._chars += len(text)
        outside = _STRING.sub(lambda string: "" if string[1] else '"', text)
        self._depth += sum(map(outside.count, "{[")) - sum(map(outside.count, "}]"))
        if '"' in outside or not self._kept[0].startswith("{"):
            self.finish()
        elif self._chars > MAX_CHARS:
            self._give_up("JSON longer than 1 MB")
        elif self._depth <= 0:
            try:
                values = _parsed("\n".join(self._kept))
            except (ValueError, RecursionError):
                self.finish()
            else:
                self._kept.clear()
                yield from self._checked(values)

    def _checked(self, values: list[Any]) -> Iterator[dict[str, Any]]:
        for value in values:
            if isinstance(value, dict):
                yield value
            else:
                self._skip("not a JSON object")


def _parsed(text: str) -> list[Any]:
    """All values of `text`, also where nothing stands between two."""
    values, at, text = [], 0, text.strip(_AROUND)
    while at < len(text):
        value, at = _decode(text, at)
        values.append(value)
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
    return values


def _objects(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)
