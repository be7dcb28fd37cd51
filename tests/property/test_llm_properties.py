"""JSON lines: whatever comes, nothing breaks, and a message's text is said exactly once."""

from __future__ import annotations

import contextlib
import io
import json
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stt.errors import ConfigError
from stt.llm import Speech
from stt.messages import Delta
from stt.stdin import Format, Stdin
from stt.values import Values

WORDS = st.lists(st.text(alphabet="abc XY.!é日", min_size=1, max_size=8), min_size=1, max_size=8)
KEYS = st.sampled_from(
    ["type", "content", "message", "text", "delta", "id", "role", "event", "choices", "content_block",
     "stop_reason", "finish_reason", "output", "candidates", "parts", "thought", "tool_calls", "x"]
)  # fmt: skip
KINDS = st.sampled_from(
    ["text", "assistant", "message", "user", "stream_event", "message_start", "content_block_start",
     "content_block_delta", "content_block_stop", "message_delta", "message_stop", "text_delta"]
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | KINDS
    | st.text('{}[]",:\\ \n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def said(lines):
    """Text by message id, and by how it ended; every message is checked to end last of all."""
    speech = Speech()
    pieces = [piece for line in lines for piece in speech.read(json.dumps(line).encode())]
    pieces += speech.finish()
    texts: dict[str, str] = {}
    for name, text, _ in pieces:
        texts[name] = texts.get(name, "") + text
    for name in texts:
        assert [final for n, _, final in pieces if n == name][-1]
    return texts


def block(text):
    return {"type": "text", "text": text}


def whole(blocks, name, wrapped):
    message = {"role": "assistant", "content": blocks} | ({"id": name} if name else {})
    return {"type": "assistant", "message": message} if wrapped else message


def streamed(pieces, wrapped, kind="text"):
    events = [{"type": "content_block_start", "index": 0, "content_block": block("")}]
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    events.append({"type": "content_block_stop", "index": 0})
    return [{"type": "stream_event", "event": e} for e in events] if wrapped else events


@given(
    st.lists(JSON.filter(bool), min_size=1, max_size=4),
    st.sampled_from([None, 1, 4]),
    st.booleans(),
)
def test_an_object_is_read_wherever_its_lines_are_cut(values, indent, in_array):
    """Whatever it holds: brackets and quotes in its strings, too."""
    objects = [{"value": value} for value in values]
    text = "\n".join(json.dumps(value, indent=indent) for value in objects)
    if in_array:
        text = json.dumps(objects, indent=indent)
    read = Values(lambda kind: pytest.fail(kind)).read
    found = [value for line in text.encode().split(b"\n") for value in read(line)]
    assert json.dumps(found) == json.dumps(objects)  # NaN is not equal to itself


NOISE = st.sampled_from(
    [{"type": "system", "subtype": "init"}, {"type": "ping"},
     {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
     {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}}]
)  # fmt: skip


@given(WORDS, st.sampled_from(["msg_1", None]), st.booleans(), st.lists(NOISE, max_size=3))
@example(["Hi.", " "], None, False, [])
def test_growing_snapshots_are_said_once(pieces, name, wrapped, noise):
    texts = ["".join(pieces[: n + 1]) for n in range(len(pieces))]
    lines = [whole([block(text)], name, wrapped) for text in texts]
    lines[1:1] = noise
    got = said(lines)
    if name or all(len(text.strip()) for text in texts):
        assert got == {name or "m1": texts[-1]}


@given(WORDS, st.booleans(), st.booleans(), st.booleans(), st.lists(NOISE, max_size=3))
def test_streamed_text_is_said_once_whatever_repeats_it(pieces, wrapped, start, stop, noise):
    text = "".join(pieces)
    lines = streamed(pieces, wrapped)
    lines[2:2] = noise
    if start:
        lines.insert(0, {"type": "message_start", "message": {"id": "msg_1", "content": []}})
    if stop:
        lines.append({"type": "message_stop"})
    repeats = [whole([block(text)], "msg_1" if start else None, wrapped)] * 2
    if text.strip():
        assert said(lines + repeats) == said(lines) == {"msg_1" if start else "m1": text}


@given(st.lists(WORDS.map("".join).filter(str.strip), min_size=1, max_size=5, unique=True))
def test_blocks_that_come_in_lines_of_their_own_are_each_said(texts):
    lines = [{"type": "message_start", "message": {"id": "a", "content": []}}]
    for text in texts:
        lines += streamed([text[:3], text[3:]], wrapped=True)
        lines.append(whole([block(text)], "a", wrapped=True))
    lines.append({"type": "message_stop"})
    assert "".join(said(lines)["a"].split()) == "".join("".join(texts).split())


@given(st.lists(WORDS.map("".join), min_size=1, max_size=4))
def test_messages_with_ids_of_their_own_are_all_said(texts):
    lines = [whole([block(text)], f"msg_{n}", wrapped=True) for n, text in enumerate(texts)]
    assert said(lines) == {f"msg_{n}": text for n, text in enumerate(texts)}


@given(st.lists(JSON, max_size=6))
@settings(max_examples=400)
def test_no_json_value_ends_the_stream(values):
    speech = Speech()
    for value in values:
        for name, text, final in speech.read(json.dumps(value).encode()):
            assert isinstance(name, str)
            assert isinstance(text, str)
            assert isinstance(final, bool)
    list(speech.finish())


ESCAPES = st.lists(
    st.sampled_from(["\x1b", "\x1b[1m", "\x1b]0;a\x07", "\x1b]a\x1b\\", "\x1b(B", "[", "]", "1", "m", "(", " ", "a", "\n"])
).map("".join)  # fmt: skip


@given(ESCAPES, st.lists(st.integers(0, 60), max_size=6))
def test_any_split_of_text_with_escapes_gives_the_same_text(text, cuts):
    def read(places):
        places = [0, *sorted(cut for cut in places if cut < len(text)), len(text)]
        parts = iter([*filter(None, (text[a:b] for a, b in pairwise(places))), ""])
        source = Stdin(Format.text)
        source.stream = io.BytesIO()
        source.stream.read1 = lambda _: next(parts).encode()
        found: list[str] = []
        with contextlib.suppress(ConfigError):  # nothing but spaces, and it is said so
            found.extend(delta.text for delta in source.deltas())
        return "".join(found)

    assert read(cuts) == read([]) == read(range(len(text)))


@given(st.binary(max_size=200), st.sampled_from(list(Format)), st.booleans())
@settings(max_examples=300)
def test_no_bytes_end_the_stream(content, format_, json_like):
    source = Stdin(format_)
    source.stream = io.BytesIO(b'{"' + content if json_like else content)
    found: list[Delta] = []
    with contextlib.suppress(ConfigError):  # nothing in it was text, and it is said so
        found.extend(source.deltas())
    if format_ is Format.text:
        assert found[-1].final


def test_an_object_that_was_cut_off_takes_no_other_with_it():
    whole = [{"content": "One."}, {"content": "Two."}]
    cut = ['{\n  "role": "assistant",', '{ "a": 1', '{\n  "b": [\n    1']
    for broken in cut:
        kinds: list[str] = []
        read = Values(kinds.append).read
        lines = "\n".join([broken, *(json.dumps(value, indent=2) for value in whole)])
        assert [v for line in lines.split("\n") for v in read(line.encode())] == whole
        assert kinds == ["broken JSON"]


@pytest.mark.parametrize("indent", [None, 2])
def test_objects_with_nothing_between_them_are_read(indent):
    objects = [{"content": "One."}, {"content": "Two."}, {"content": "Three."}]
    text = "".join(json.dumps(value, indent=indent) for value in objects)
    read = Values(lambda kind: pytest.fail(kind)).read
    assert [v for line in text.split("\n") for v in read(line.encode())] == objects


def test_a_long_line_of_quotes_does_not_take_long():
    values = Values(lambda kind: None)
    began = time.perf_counter()
    assert not list(values.read(b'{"a": ' + b'"\\' * 100_000))
    assert time.perf_counter() - began < 2
