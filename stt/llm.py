"""A language model's JSON lines: what in them is speech, said exactly once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

from stt.said import Piece, Said, ended, inside, may_pause
from stt.values import Values

_log = logging.getLogger(__name__)
_REMEMBERED = 16
"""Messages that may still be repeated in full after they were streamed."""


class Speech:
    """Reads one line of JSON at a time and yields the assistant's text that was not there before.

    Understands whole messages (`{"content": [{"type": "text", ...}]}`, also in
    `{"type": "assistant", "message": ...}` and in `output` of a response), growing snapshots of a message,
    streamed events (`content_block_delta` with `text_delta`, also in `{"type": "stream_event", "event": ...}`),
    `response.output_text.delta`, `choices[0]` with `delta`, `message` or `text`, `candidates[0]`, pieces with
    `done` or `stop`; an object may go over many lines (`Values`). Thinking, tools, other roles and summaries
    are passed over. What cannot be read is counted in `skipped` by kind, logged once each kind, and never raises.

    A whole message ends at once when its text ends like a sentence or it gives a stop reason;
    otherwise it may be a snapshot that still grows, and ends with the next message, the input or `quiet`.
    """

    def __init__(self, skipped: Counter[str] | None = None) -> None:
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self._values = Values(self.skip)
        self._count = 0
        self._message: Said | None = None
        self._recent: dict[str, Said] = {}

    def read(self, line: bytes) -> Iterator[Piece]:
        """Yield what `line` adds."""
        for value in self._values.read(line):
            yield from self._event(value)

    def finish(self) -> Iterator[Piece]:
        """The input ended, and so has the message."""
        self._values.finish()
        if self._message:
            yield from self._message.end()
            self._message.over = True

    def quiet(self) -> Iterator[Piece]:
        """Nothing has come for a while: say what seems to be complete."""
        if (message := self._message) is None:
            return
        text = "".join(message.blocks())
        if message.streamed or message.grown:
            if may_pause(text):
                yield from message.pause()
        elif not inside(text):
            yield from message.end()

    def skip(self, kind: str) -> None:
        """Count something that cannot be read."""
        if not self.skipped[kind]:
            _log.warning("skipped in the input: %s (more of it is only counted)", kind)
        self.skipped[kind] += 1

    def _event(self, value: dict[str, Any]) -> Iterator[Piece]:
        if value.get("type") == "stream_event":
            value = self._dict(value, "event")
        match value.get("type"):
            case "message_start":
                yield from self._begin(_name(self._dict(value, "message")))
            case "content_block_start":
                yield from self._block(self._dict(value, "content_block"))
            case "content_block_delta":
                delta = self._dict(value, "delta")
                if delta.get("type") == "text_delta":
                    yield from self._stream(delta.get("text"))
            case "message_delta":
                if self._dict(value, "delta").get("stop_reason") is not None:
                    yield from self.finish()
            case (
                "message_stop" | "user" | "result"
                | "response.completed" | "response.incomplete" | "response.cancelled"
            ):  # fmt: skip
                yield from self.finish()
            case "error":
                yield from self._failed(value)
            case "response.failed":
                yield from self._failed(self._dict(value, "response"))
            case "response.output_item.added" | "response.content_part.added" if self._message:
                yield from self._message.pause()
            case "response.output_text.delta":
                yield from self._stream(value.get("delta"))
            case None if value.get("error"):
                yield from self._failed(value)
            case None if isinstance(over := value.get("done", value.get("stop")), bool):
                yield from self._streamed(value, over)
            case None | "message" | "assistant" | "text":
                if "choices" in value or "candidates" in value:
                    yield from self._choice(value)
                elif isinstance(output := value.get("output"), list):
                    for item in output:
                        if isinstance(item, dict) and item.get("type") == "message":
                            yield from self._whole(item)
                    yield from self.finish()
                else:
                    yield from self._whole(value)
            case _:
                pass  # pings, system notes and what may be invented later

    def _failed(self, value: dict[str, Any]) -> Iterator[Piece]:
        """The model's server says that it cannot go on: what came is all there will be."""
        error = value.get("error")
        why = error.get("message") if isinstance(error, dict) else error or value.get("message")
        self.skip(f"an error of the model's server: {str(why)[:200]}")
        yield from self.finish()

    def _streamed(self, value: dict[str, Any], over: bool) -> Iterator[Piece]:
        """Ollama's and llama.cpp's pieces: each says whether it is the last."""
        inner = value["message"] if isinstance(value.get("message"), dict) else value
        if (text := inner.get("content", inner.get("response"))) is not None:
            yield from self._stream(text)
        if over:
            yield from self.finish()

    def _begin(self, name: str | None) -> Generator[Piece, None, Said]:
        yield from self.finish()
        self._count += 1
        message = self._message = Said(name or f"m{self._count}", named=name is not None)
        self._recent.pop(message.name, None)
        self._recent[message.name] = message
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return message

    def _block(self, block: dict[str, Any]) -> Iterator[Piece]:
        if block.get("type") == "text":
            yield from self._stream(block.get("text", ""), new_block=True)
        elif self._message:
            yield from self._message.pause()

    def _stream(self, text: Any, *, new_block: bool = False) -> Iterator[Piece]:
        if not isinstance(text, str):
            self.skip("text that is not a string")
            return
        message = self._message
        if message is None or message.over:
            message = yield from self._begin(None)
        message.streamed = True
        yield from message.say(text, new_block=new_block)

    def _choice(self, value: dict[str, Any]) -> Iterator[Piece]:
        choices = value.get("choices", value.get("candidates"))
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            self.skip("a field of the wrong type")
            return
        # Of several answers side by side (n > 1) the first is spoken.
        for choice in [choice for choice in choices if (choice.get("index") or 0) == 0][:1]:
            if "message" in choice:
                whole = {"id": value.get("id"), "stop_reason": choice.get("finish_reason")}
                yield from self._whole(whole | self._dict(choice, "message"))
                continue
            if "candidates" in value:
                choice = _gemini(choice)
            name = _name(value)
            piece = choice if "text" in choice else self._dict(choice, "delta")
            content = piece.get("text", piece.get("content"))
            message = self._message
            if (
                message is None
                or (name is not None and name != message.name)
                or (content and message.over)  # some servers give every answer the same id
            ):
                yield from self._begin(name)
            if content is not None:
                yield from self._stream(content)
            if choice.get("finish_reason") is not None:
                yield from self.finish()

    def _whole(self, value: dict[str, Any]) -> Iterator[Piece]:
        """A message that is complete, a snapshot of it so far, or its next content block."""
        if "message" in value:
            value = self._dict(value, "message")
        if value.get("role", "assistant") != "assistant":
            yield from self.finish()
            return
        content = value.get("content", value.get("text"))
        if content is None and ("content" in value or "tool_calls" in value):
            content = [{"type": "tool_calls"}]
        blocks = self._blocks(content)
        if blocks is None:
            return
        text = "".join(block or "" for block in blocks)
        message = self._begun(_name(value), text)
        if message is None:
            message = yield from self._begin(_name(value))
        elif message is not self._message:
            yield from self.finish()
            self._message = message
        known = _known(message.blocks(), text)
        message.grown = message.grown or (0 < known < len(text) and not message.streamed)
        first = known == 0
        for block in blocks:
            if block is None:
                if known == 0:
                    yield from message.pause()
                continue
            new, known = block[known:], max(0, known - len(block))
            if new:
                if first and message.blocks():
                    yield from message.pause()
                yield from message.say(new, new_block=len(new) == len(block))
                first = False
        if value.get("stop_reason") is not None and not message.streamed:
            yield from self.finish()
        elif not message.grown and ended(text) and not inside(text):
            yield from message.end()

    def _begun(self, name: str | None, text: str) -> Said | None:
        """The message that a whole message with this name and text is a later state of."""
        message = self._recent.get(name or "") or self._message
        if message is None or message.name == name:
            return message
        whole = "".join(message.blocks())
        said = whole.strip()
        if (name is not None and message.named) or not said or not text.strip().startswith(said):
            return None
        # The same text again, and nothing shows that it is a snapshot: it is said on purpose.
        again = text.strip() == said and len(text) <= len(whole)
        shown = message.streamed or message.grown or message.open
        return None if again and not shown else message

    def _blocks(self, content: Any) -> list[str | None] | None:
        """Text of each block, None for one that is no speech; None when there is no content."""
        if isinstance(content, str):
            return [content]
        if not isinstance(content, list):
            self.skip("a message without content")
            return None
        blocks: list[str | None] = []
        for block in content:
            if isinstance(block, str):
                blocks.append(block)
            elif not isinstance(block, dict):
                self.skip("a content block that is not an object")
            elif block.get("type") not in ("text", "output_text"):
                blocks.append(None)
            elif isinstance(block.get("text"), str):
                blocks.append(block["text"])
            else:
                self.skip("text that is not a string")
        return blocks

    def _dict(self, value: dict[str, Any], key: str) -> dict[str, Any]:
        inner = value.get(key)
        if isinstance(inner, dict):
            return inner
        self.skip("a field of the wrong type")
        return {}


def _gemini(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate of Gemini's as a choice of the other servers."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = [
        part["text"]
        for part in (parts if isinstance(parts, list) else [])
        if isinstance(part, dict) and isinstance(part.get("text"), str) and not part.get("thought")
    ]
    return {"text": "".join(texts), "finish_reason": candidate.get("finishReason")}


def _name(value: dict[str, Any]) -> str | None:
    name = value.get("id", value.get("responseId"))
    return name[:200] if isinstance(name, str) and name else None


def _known(blocks: list[str], text: str) -> int:
    """How many leading characters of a whole message's text were said already, as `blocks`."""
    said = "".join(blocks)
    if text.startswith(said):
        return len(said)
    # Whole messages are often stripped of the space around what was streamed.
    bare, lead = text.strip(), len(text) - len(text.lstrip())
    if bare and (said.strip().startswith(bare) or any(block.strip() == bare for block in blocks)):
        return len(text)
    for before in (said.strip(), blocks[-1].strip()):
        if before and bare.startswith(before):
            return lead + len(before)
    return 0
