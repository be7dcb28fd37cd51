"""A language model's JSON lines: what in them is speech, said exactly once."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)


class Speech:
    """Reads one JSON line at a time and yields (message id, new text, message ended).

    Understands whole messages (`{"content": [{"type": "text", ...}]}`, also inside
    `{"type": "assistant", "message": ...}`), cumulative snapshots of a message, and streaming events
    (`content_block_delta` with `text_delta`, also inside `{"type": "stream_event", "event": ...}`). Everything
    that is not the assistant's text (thinking, tools, other roles) is passed over; what cannot be
    read is counted in `skipped` by kind, logged once each kind, and never raises.
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._count = 0
        self._id = ""  # of the message being spoken
        self._said = ""  # its text so far
        self._streaming = False
        self._last: tuple[str, str] = ("", "")  # id and text of the message before

    def read(self, line: bytes) -> Iterator[tuple[str, str, bool]]:
        """Yield what `line` adds."""
        if not line.strip():
            return
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            self._skip("broken JSON")
            return
        if not isinstance(value, dict):
            self._skip("not a JSON object")
            return
        if value.get("type") == "stream_event" and isinstance(value.get("event"), dict):
            value = value["event"]
        kind = value.get("type")
        if kind in (
            "message_start",
            "content_block_start",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ):
            yield from self._bracket(str(kind), value)
        elif kind == "content_block_delta":
            yield from self._delta(value.get("delta"))
        else:
            yield from self._message(value)

    def finish(self) -> Iterator[tuple[str, str, bool]]:
        """The input ended: so has the message."""
        if self._id:
            yield from self._end()

    def _bracket(self, kind: str, value: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
        if kind == "message_start":
            yield from self.finish()
            message = value.get("message")
            self._begin(message.get("id") if isinstance(message, dict) else None)
            self._streaming = True
        elif kind == "message_stop":
            yield from self.finish()
        elif kind == "content_block_start" and self._said and not self._said.endswith("\n\n"):
            block = value.get("content_block")
            if isinstance(block, dict) and block.get("type") == "text":
                yield self._say("\n\n")

    def _delta(self, delta: Any) -> Iterator[tuple[str, str, bool]]:
        if not isinstance(delta, dict) or delta.get("type") != "text_delta":
            return
        if not isinstance(delta.get("text"), str):
            self._skip("text that is not a string")
            return
        if not self._id:
            self._begin(None)
        self._streaming = True
        yield self._say(delta["text"])

    def _message(self, value: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
        inner = value.get("message")
        if isinstance(inner, dict):
            if value.get("type", "assistant") != "assistant":
                return
            value = inner
        elif value.get("type", "message") not in ("message", "assistant", "text"):
            return
        if value.get("role", "assistant") != "assistant":
            return
        text = self._text(value.get("content", value.get("text")))
        if text is None:
            return
        name = value.get("id")
        name = name if isinstance(name, str) else None
        if (
            self._last[1]
            and text == self._last[1]
            and name in (None, self._last[0])
            and self._last[0]
        ):
            if name is not None or self._was_streamed:
                return  # the whole of what was streamed before
        grows = bool(self._said) and text.startswith(self._said)
        if (
            self._id
            and (name == self._id or (name is None and grows))
            and (grows or not self._said)
        ):
            if len(text) > len(self._said):
                yield self._say(text[len(self._said) :])
        elif self._id and name == self._id:
            yield self._say(text if self._said.endswith(text) is False else "")
        else:
            yield from self.finish()
            self._begin(name)
            yield self._say(text)
        if value.get("stop_reason") is not None or name is None:
            yield from self._end()

    _was_streamed = False

    def _text(self, content: Any) -> str | None:
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            self._skip("no content")
            return None
        texts = []
        for block in content:
            if not isinstance(block, dict):
                self._skip("a content block that is no object")
            elif block.get("type") == "text":
                if isinstance(block.get("text"), str):
                    texts.append(block["text"])
                else:
                    self._skip("text that is not a string")
        return "\n\n".join(texts) if texts else None

    def _begin(self, name: Any) -> None:
        self._count += 1
        self._id = name if isinstance(name, str) and name else f"m{self._count}"
        self._said, self._streaming = "", False

    def _say(self, text: str) -> tuple[str, str, bool]:
        self._said += text
        return self._id, text, False

    def _end(self) -> Iterator[tuple[str, str, bool]]:
        name, self._last = self._id, (self._id, self._said)
        self._was_streamed = self._streaming
        self._id, self._said = "", ""
        yield name, "", True

    def _skip(self, kind: str) -> None:
        if not self.skipped[kind]:
            log.warning("a line of input was passed over: %s (further ones are only counted)", kind)
        self.skipped[kind] += 1
