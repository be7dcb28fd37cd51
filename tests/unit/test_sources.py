"""Text input: what is speech in a language model's JSON, and what a corpus is."""

from __future__ import annotations

import io
import json
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.errors import ConfigError
from stt.llm import Speech
from stt.sources import CorpusOpen, read_corpus
from stt.stdin import Format, Stdin


def spoken(*messages):
    speech = Speech()
    said = [part for m in messages for part in speech.read(json.dumps(m).encode())]
    said += speech.finish()
    return "".join(text for _, text, _ in said)


def text(value, **more):
    return {"content": [{"type": "text", "text": value}], **more}


@pytest.mark.parametrize(
    "message",
    [
        text("Hello."),
        {"type": "assistant", "message": text("Hello.", role="assistant")},
        {"content": "Hello."},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello."}]},
    ],
)
def test_the_assistants_text_is_spoken(message):
    assert spoken(message) == "Hello."


@pytest.mark.parametrize(
    "message",
    [
        {"type": "user", "message": text("Hello.", role="user")},
        {"type": "system", "subtype": "init"},
        {"content": [{"type": "tool_use", "name": "ls", "input": {}}]},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": "x"}]}},
        {"type": "result", "result": "Hello."},
    ],
)
def test_what_is_not_the_assistants_text_is_silent(message):
    assert spoken(message) == ""


def deltas(*pieces, id_="a"):
    yield {"type": "message_start", "message": {"id": id_}}
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "message_stop"}


def test_streamed_text_is_not_spoken_again_with_the_whole_message():
    whole = {"type": "assistant", "message": text("One. Two.", id="a", role="assistant")}
    assert spoken(*deltas("One. ", "Two."), whole) == "One. Two."


@given(st.lists(st.text(alphabet="ab. ", min_size=1, max_size=5), min_size=1, max_size=6))
def test_growing_snapshots_of_a_message_are_spoken_once(pieces):
    snapshots = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
    assert spoken(*(text(s, id="a") for s in snapshots)) == snapshots[-1]


def test_the_same_sentence_in_two_messages_is_spoken_twice():
    assert spoken(text("Done.", id="a"), text("Done.", id="b")) == "Done.Done."
    assert spoken(text("Done."), text("Done.")) == "Done.Done."


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["text", "assistant"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["type", "content", "message", "text", "delta", "id", "role", "event"]),
            inner,
        )
    ),
)


@given(JSON)
def test_no_json_value_ends_the_stream(value):
    spoken(value)


@given(st.binary())
def test_no_bytes_end_the_stream(line):
    list(Speech().read(line))


def test_lines_that_cannot_be_read_are_counted_by_kind(caplog):
    speech = Speech()
    for line in (b"{", b"{", b"[1]"):
        assert not list(speech.read(line))
    assert speech.skipped == {"broken JSON": 2, "not a JSON object": 1}
    assert len(caplog.records) == 2


class Typed(io.BytesIO):
    def isatty(self):
        return False


def stdin(monkeypatch, content, format_=Format.auto):
    class In:
        buffer = io.BytesIO(content)

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdin", In())
    source = Stdin(format_)
    return source, list(source.deltas())


def test_plain_text_and_json_lines_are_told_apart(monkeypatch):
    _, plain = stdin(monkeypatch, b"Hello there.")
    _, lines = stdin(monkeypatch, b'\n {"content": "Hello there."}\n')
    assert "".join(d.text for d in plain) == "".join(d.text for d in lines) == "Hello there."
    assert plain[-1].final
    assert lines[-1].final


def test_a_last_line_without_a_newline_is_read(monkeypatch):
    _, lines = stdin(monkeypatch, b'{"content": "One."}\n{"content": "Two."}')
    assert "".join(d.text for d in lines) == "One.Two."


def test_a_json_line_over_a_megabyte_is_skipped_and_the_next_is_read(monkeypatch):
    long = b'{"content": "' + b"x" * (2 << 20) + b'"}\n'
    source, lines = stdin(monkeypatch, b'{"content": "One."}\n' + long + b'{"content": "Two."}\n')
    assert "".join(d.text for d in lines) == "One.Two."
    assert source.skipped == {"a line longer than 1 MB": 1}


def test_the_packaged_corpus_has_200_sentences_in_five_lengths():
    lines = read_corpus(None)
    assert len(lines) == 200
    assert len({line.bucket for line in lines}) == 5
    assert all(line.reference for line in lines)


def test_a_corpus_with_an_id_twice_is_refused(tmp_path):
    (tmp_path / "c.tsv").write_text("a\t\tOne.\na\t\tTwo.\n")
    with pytest.raises(ConfigError, match="more than once"):
        read_corpus(str(tmp_path / "c.tsv"))


def test_replayed_text_is_stamped_when_it_was_due_not_when_it_was_taken(tmp_path):
    (tmp_path / "c.txt").write_text("Hello there, you.\n")
    source = CorpusOpen(str(tmp_path / "c.txt"), tokens_per_s=1000.0, gap_s=0.0)
    found = list(source.deltas())
    steps = {b.arrived_ns - a.arrived_ns for a, b in pairwise(found)}
    assert "".join(d.text for d in found) == "Hello there, you."
    assert steps == {1_000_000}
    assert all(slip >= 0 for slip in source.slip_ns)
