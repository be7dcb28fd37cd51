"""Text input: what a corpus is, when text arrives, and what is speech in a model's JSON lines."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import queue
import random
import sys
import threading
import time
import tracemalloc
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from stt.arm import Arm, _select
from stt.config import build, compose
from stt.engine import Unit
from stt.errors import ConfigError
from stt.llm import Speech
from stt.messages import Delta
from stt.reading import sentences
from stt.segment import Segmenter
from stt.sources import CorpusClosed, CorpusOpen, CorpusPoisson
from stt.stdin import Format, Stdin

# --- an LLM's JSON lines ---------------------------------------------------------------------------


def spoken(*messages):
    speech = Speech()
    said = [part for m in messages for part in speech.read(json.dumps(m).encode())]
    said += speech.finish()
    return "".join(text for _, text, _ in said)


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values)


def heard(*values):
    """The sentences in some JSON lines."""
    source = Stdin(Format.auto)
    source.stream = io.BytesIO(lines(*values).encode())
    found = sentences(source.deltas(), Segmenter(Unit.sentence, 600, 24))
    return [sentence.text for sentence in found if sentence]


def text(value, **more):
    return {"content": [{"type": "text", "text": value}], **more}


@pytest.mark.parametrize(
    "message",
    [
        text("Hello."),
        {"type": "assistant", "message": text("Hello.", role="assistant")},
        {"type": "message", "role": "assistant", "content": "Hello."},
        {"type": "text", "text": "Hello."},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello."}]},
        {"content": [{"type": "redacted_thinking", "data": "x"}, "Hello."]},
        {"choices": [{"message": {"role": "assistant", "content": "Hello."}}]},
    ],
)
def test_the_assistants_text_is_spoken(message):
    assert spoken(message) == "Hello."


@pytest.mark.parametrize(
    "message",
    [
        {"type": "user", "message": text("Hello.", role="user")},
        {"role": "system", "content": "Hello."},
        {"type": "system", "subtype": "init"},
        {"content": [{"type": "tool_use", "name": "ls", "input": {}}]},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": "x"}]}},
        {"type": "result", "result": "Hello."},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]},
        {"role": "assistant", "tool_calls": [{"id": "c"}]},
        {"choices": [{"message": {"content": None, "tool_calls": [{"id": "c"}]}}]},
        {"message": {"role": "assistant", "content": None}, "done": False},
    ],
)
def test_what_is_not_the_assistants_text_is_silent(message, caplog):
    assert spoken(message) == ""
    assert not caplog.records


def deltas(*pieces, id_="a"):
    yield {"type": "message_start", "message": {"id": id_}}
    for piece in pieces:
        delta = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "message_stop"}


def test_streamed_text_is_not_spoken_again_with_the_whole_message():
    whole = {"type": "assistant", "message": text("One. Two.", id="a", role="assistant")}
    assert spoken(*deltas("One. ", "Two."), whole) == "One. Two."


def test_an_older_message_that_is_repeated_in_full_is_not_spoken_again():
    assert spoken(*deltas("One."), *deltas("Two.", id_="b"), text("One.", id="a")) == "One.Two."


def test_the_same_sentence_in_two_messages_is_spoken_twice():
    assert spoken(text("Done.", id="a"), text("Done.", id="b")) == "Done.Done."
    assert spoken(text("Done."), text("Done.")) == "Done.Done."


def test_a_snapshot_repeated_after_it_grew_is_spoken_once():
    assert spoken(text("It"), text("It is done."), text("It is done.")) == "It is done."


def test_text_around_a_tool_call_is_two_paragraphs():
    blocks = [{"type": "text", "text": t} for t in ("One", "Two")]
    assert spoken({"content": [blocks[0], {"type": "tool_use"}, blocks[1]]}) == "One\n\nTwo"
    assert spoken({"content": blocks}) == "One\n\nTwo"


def test_a_sentence_that_goes_on_in_the_next_text_block_is_one_sentence():
    blocks = [{"type": "text", "text": t} for t in ("It is", " said", ", they wrote.")]
    assert spoken({"content": blocks}) == "It is said, they wrote."


def test_chat_completion_chunks_are_spoken():
    chunks = [{"id": "c", "choices": [{"delta": {"content": t}}]} for t in ("One ", "two.")]
    assert spoken(*chunks, {"id": "c", "choices": [{"delta": {}, "finish_reason": "stop"}]}) == (
        "One two."
    )


@pytest.mark.parametrize("ending", ["Done.", "Really?", "Then:", 'He said "No."'])
def test_a_whole_message_that_ends_like_a_sentence_ends_at_once(ending):
    assert [final for *_, final in Speech().read(json.dumps(text(ending)).encode())] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("shown", "grown", "said"),
    [
        ("Look:\n```python\ndef f():", "\n    return one\n```\nThat is all.", ["Look:", "That is all."]),
        ("<think>Hm.", " Not aloud.</think>Hello.", ["Hello."]),
    ],
)  # fmt: skip
def test_a_snapshot_that_ends_in_code_or_a_thought_goes_on_in_it(shown, grown, said):
    assert heard(text(shown, id="a"), text(shown + grown, id="a")) == said


def test_a_snapshot_that_may_grow_ends_with_the_next_message():
    speech = Speech()
    assert [p[1:] for p in speech.read(b'{"content": "Half a"}')] == [("Half a", False)]
    assert list(speech.read(b'{"type": "user"}')) == [("m1", "", True)]


def test_lines_that_cannot_be_read_are_counted_by_kind_and_logged_once_each(caplog):
    lines = {
        b'{"content': "broken JSON",
        b"{x}": "broken JSON",
        b'{"content": 1' + b"0" * 5000 + b"}": "broken JSON",
        b"[1]": "not a JSON object",
        b'{"a":' * 100_000: "JSON nested too deep",
        b'{"content": 5}': "a message without content",
        b'{"content": [5]}': "a content block that is not an object",
        b'{"content": [{"type": "text", "text": null}]}': "text that is not a string",
        b'{"type": "content_block_delta", "delta": 3}': "a field of the wrong type",
        b'{"content": "\xff."}': "bytes that are not UTF-8",
    }
    speech = Speech()
    for _ in range(2):
        for line, kind in lines.items():
            before = speech.skipped[kind]
            list(speech.read(line))
            assert speech.skipped[kind] == before + 1
    assert len(caplog.records) == len(speech.skipped) == 8


PART = {"text": "Hello there."}
ANSWERS = [
    {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there.", "refusal": None}, "finish_reason": "stop"}], "error": None},
    {"id": "c", "object": "text_completion", "choices": [{"text": "Hello there.", "index": 0, "finish_reason": "stop"}]},
    {"id": "r", "object": "response", "error": None, "output": [{"type": "reasoning", "summary": []}, {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello there."}]}], "text": {"format": {"type": "text"}}},
    {"candidates": [{"content": {"parts": [{"text": "Hm.", "thought": True}, PART], "role": "model"}, "finishReason": "STOP"}], "responseId": "g"},
    {"candidates": [{"content": {"parts": [PART, {"functionCall": {"name": "ls"}}]}, "index": 0}, {"content": {"parts": [PART]}, "index": 1}]},
    {"model": "m", "message": {"role": "assistant", "content": "Hello there."}, "done": True},
    {"model": "m", "response": "Hello there.", "done": True},
    {"id": "a", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello there."}], "stop_reason": "end_turn"},
]  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_whole_answer_is_spoken_on_one_line_and_on_many(answer, indent):
    for content in (
        json.dumps(answer, indent=indent),
        json.dumps([answer], indent=indent) + "\r\n",
    ):
        source, found = stdin(content.encode())
        assert joined(found) == "Hello there."
        assert [delta.final for delta in found].count(True) == 1
        assert not source.skipped


def test_several_messages_of_a_response_are_all_said():
    items = [
        {"id": name, "type": "message", "content": [{"type": "output_text", "text": said}]}
        for name, said in (("a", "One"), ("b", "Two"))
    ]
    assert heard({"output": items}) == ["One", "Two"]


@pytest.mark.parametrize(
    "piece",
    [
        lambda text: {"id": "c", "choices": [{"text": text, "index": 0, "finish_reason": None}]},
        lambda text: {"responseId": "g", "candidates": [{"content": {"parts": [{"text": text}]}}]},
    ],
)
@pytest.mark.parametrize("form", ["lines", "events", "array"])
def test_pieces_of_completions_and_of_gemini_are_said_as_they_come(piece, form):
    pieces = [piece("Hello "), piece("there. "), piece("Bye")]
    if form == "array":
        content = "[" + "\n,\n".join(json.dumps(piece, indent=2) for piece in pieces) + "\n]"
    else:
        content = "".join(("data: " * (form == "events")) + json.dumps(p) + "\n\n" for p in pieces)
    source = Stdin(Format.auto)
    ticks = itertools.count(1)
    source.clock = lambda: next(ticks)
    source.stream = Parts(*content.encode().splitlines(keepends=True))
    found = list(source.deltas())
    assert [delta.text for delta in found if delta.text] == ["Hello ", "there. ", "Bye"]
    assert len({delta.arrived_ns for delta in found if delta.text}) == 3
    assert not source.skipped


def test_a_broken_line_costs_no_line_but_itself():
    """One that breaks off in a string, after a name, and among the lines of another object."""
    for torn in (
        '{"content": "Hel',
        '{"content":',
        '{\n  "content": [',
        "{\n  oops\n}",
        "[x",
        "log: {",
        '"',
    ):
        content = f'{{"content": "One."}}\n{torn}\n{{"content": "Two."}}\n'
        source, found = stdin(content.encode())
        assert joined(found) == "One.Two.", torn
        assert source.skipped["broken JSON"] >= 1, torn


def test_an_object_that_never_ends_takes_no_memory():
    def peak(count):
        speech = Speech()
        lines = itertools.repeat(b'  "' + b"x" * 10_000 + b'",', count)
        tracemalloc.start()
        for line in itertools.chain([b'{"a": ['], lines):
            assert list(speech.read(line)) == []
        pieces = list(speech.read(b'{"content": "Two."}'))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [text for _, text, _ in pieces] == ["Two.", ""]
        return peak_bytes, speech.skipped["JSON longer than 1 MB"]

    (short, none), (long, once) = peak(90), peak(900)
    assert long < 1.5 * short
    assert (none, once) == (0, 1)


# --- standard input --------------------------------------------------------------------------------


def stdin(content, format_=Format.auto):
    source = Stdin(format_)
    source.stream = io.BytesIO(content)
    return source, list(source.deltas())


def joined(deltas):
    return "".join(delta.text for delta in deltas)


def test_plain_text_and_json_lines_are_told_apart():
    _, plain = stdin(b"Hello there.")
    _, lines = stdin(b'\xef\xbb\xbf\n {"content": "Hello there."}\n')
    assert joined(plain) == joined(lines) == "Hello there."
    assert plain[-1].final
    assert lines[-1].final


def test_the_format_can_be_said():
    _, plain = stdin(b'{"content": "Hello."}', Format.text)
    assert [(d.text, d.final) for d in plain] == [('{"content": "Hello."}', False), ("", True)]
    assert joined(stdin(b'log\n{"content": "Hello."}', Format.jsonl)[1]) == "Hello."


def test_a_corpus_line_of_which_nothing_can_be_said_is_named_and_counted(tmp_path, caplog):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("One.\n😀 🎉\nTwo.\n", encoding="utf8")
    source = CorpusClosed(str(corpus))
    for _ in range(2):
        assert [delta.id for delta in source.deltas()] == ["s001", "s003"]
    assert source.skipped == {"nothing can be said": 1}
    assert caplog.text.count("s002") == 1
    corpus.write_text("😀\n", encoding="utf8")
    assert len(list(source.deltas())) == 2  # what is spoken is what was hashed
    with pytest.raises(ConfigError, match="nothing in it can be said"):
        list(CorpusClosed(str(corpus)).deltas())


def test_a_last_line_without_a_newline_is_read():
    assert joined(stdin(b'{"content": "One."}\n{"content": "Two."}')[1]) == "One.Two."


def test_a_json_line_over_a_megabyte_is_skipped_and_the_next_is_read():
    long = b'{"content": "' + b"x" * (2 << 20) + b'"}\n'
    source, lines = stdin(b'{"content": "One."}\n' + long + b'{"content": "Two."}\n')
    assert joined(lines) == "One.Two."
    assert source.skipped == {"a line longer than 1 MB": 1}


def test_a_plain_line_of_a_megabyte_is_read():
    assert len(joined(stdin(b"word " * 250_000)[1])) == 1_250_000


def test_binary_input_is_skipped_and_the_text_around_it_is_read(caplog):
    source, found = stdin(b"One.\n\x00\x01\x02\n\xff\xfe\xfd\n\x80\x81\x82\nTwo.\n")
    assert joined(found).split() == ["One.", "Two."]
    assert source.skipped == {"binary bytes, or text that is not UTF-8": 3}
    assert len(caplog.records) == 1


def test_of_a_binary_file_next_to_nothing_is_read():
    content = random.Random(1).randbytes(300_000)
    source, found = stdin(content)
    assert len(joined(found).replace("\n", "")) < len(content) / 1000
    assert sum(source.skipped.values()) > 100


def test_text_in_an_older_encoding_is_read_without_its_accents():
    source, found = stdin("Le café est fermé.\n".encode("latin-1"))
    assert joined(found) == "Le caf\ufffd est ferm\ufffd.\n"
    assert source.skipped == {"letters that are not UTF-8: convert the text": 1}


def test_closed_standard_input_is_an_error_for_people(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="standard input is closed"):
        next(Stdin(Format.auto).deltas())


@pytest.fixture
def pipe():
    read, write = os.pipe()
    source = Stdin(Format.auto)
    with os.fdopen(read, "rb") as source.stream, os.fdopen(write, "wb", buffering=0) as writer:
        yield source, writer


def test_text_is_there_before_the_line_and_the_input_end(pipe):
    source, writer = pipe
    deltas = source.deltas()
    writer.write(b"Hal")
    before_ns = source.clock()
    first = next(deltas)
    assert first.text == "Hal"
    assert before_ns <= first.arrived_ns <= source.clock()
    writer.write("ló".encode()[:2])  # half of a character
    assert next(deltas).text == "l"
    writer.write("ó".encode()[1:])
    assert next(deltas).text == "ó"
    writer.close()
    assert [d.final for d in deltas] == [True]


def test_closing_the_source_ends_a_read_that_waits(pipe):
    source, _ = pipe
    found = []
    reader = threading.Thread(target=lambda: found.extend(source.deltas()))
    reader.start()
    time.sleep(0.05)
    source.close()
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert joined(found) == ""


@pytest.fixture
def listener(pipe):
    """The pipe's writing end, and what is heard of it while it stays open."""
    source, writer = pipe
    source.quiet_s = 0.1
    said = queue.Queue()

    def listen():
        for sentence in sentences(source.deltas(), Segmenter(Unit.sentence, 600, 24)):
            if sentence:
                said.put((sentence, source.clock()))

    thread = threading.Thread(target=listen)
    thread.start()
    yield writer, said
    source.close()
    thread.join(5)


def streamed(*pieces):
    return lines(*({"choices": [{"delta": {"content": piece}}]} for piece in pieces))


@pytest.mark.skipif(os.name != "posix", reason="standard input is watched on POSIX")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Build finished\n", "Build finished"),
        ('He said "Really?"\n', 'He said "Really?"'),
        ("Tests pass.", "Tests pass."),
        ("The answer is 42.", "The answer is 42."),
        ("All done \U0001f600", "All done"),
        (lines(text("The answer is 42.")), "The answer is 42."),
        (lines(text("All done \U0001f600")), "All done"),
        (lines(text("It works")), "It works"),
        (streamed("It", " works."), "It works."),
    ],
)
def test_the_last_words_are_said_though_nothing_follows_them(listener, written, said):
    writer, heard = listener
    writer.write(written.encode())
    sentence, heard_ns = heard.get(timeout=10)
    assert sentence.text == said
    # Waiting for more is latency: the clock runs from when the words came.
    assert heard_ns - sentence.arrived_ns >= 100_000_000


@pytest.mark.skipif(os.name != "posix", reason="standard input is watched on POSIX")
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["The build", " is finished. "], ["The build is finished."]),
        (["1.", " The list goes on. "], ["The list goes on."]),
        (["Version 3", ".2 is out. "], ["Version 3.2 is out."]),
        ([streamed("The"), streamed(" build is done. ")], ["The build is done."]),
        ([lines(text("It"), text("It is")), lines(text("It is done."))], ["It is done."]),
        (["Run this:\n```\nnot said\n", "not that.\n```\nDone.\n"], ["Run this:", "Done."]),
        ([streamed("<think>Hm.\n"), streamed("Not aloud.</think>Yes.")], ["Yes."]),
        ([lines(text("<think>Hm.")), lines(text("<think>Hm. Not aloud.</think>Yes."))], ["Yes."]),
        (["data", ': {"choices":[{"delta":{"content":"Hello."}}]}\n'], ["Hello."]),
    ],
)
def test_a_model_that_stalls_is_not_cut_short(listener, parts, said):
    writer, heard = listener
    for part in parts:
        writer.write(part.encode())
        time.sleep(0.3)
    assert [heard.get(timeout=10)[0].text for _ in said] == said
    assert heard.empty()


@pytest.mark.parametrize("never", [0.0, -1.0, float("nan"), float("inf")])
def test_a_quiet_time_that_cannot_be_waited_for_is_refused(never):
    with pytest.raises(ConfigError, match="quiet_s"):
        Stdin(Format.auto, never)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_line_typed_at_a_terminal_is_spoken_at_once():
    ours, theirs = os.openpty()
    source = Stdin(Format.auto)
    with os.fdopen(theirs, "rb", buffering=0) as source.stream:
        os.write(ours, b"Good morning\n")
        delta = next(source.deltas())
    os.close(ours)
    assert (delta.text, delta.final) == ("Good morning\n", True)


# --- corpora ---------------------------------------------------------------------------------------


def test_the_packaged_corpus_has_200_sentences_in_five_lengths():
    lines = CorpusClosed(None).lines
    assert len(lines) == 200
    assert len({line.bucket for line in lines}) == 5
    assert all(line.reference for line in lines)


def test_no_sentence_of_the_packaged_corpus_is_cut_for_its_length():
    for segment in ("sentence", "clause"):
        config, _ = compose([f"segment={segment}"])
        assert max(len(line.text) for line in CorpusClosed(None).lines) <= config.segment.max_chars


def test_a_plain_file_is_a_sentence_a_line(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes(b"\xef\xbb\xbfOne.\r\n\r\n  Two. \r\n")
    assert [(c.id, c.text, c.reference) for c in CorpusClosed(str(path)).lines] == [
        ("s001", "One.", None),
        ("s002", "Two.", None),
    ]
    assert len(CorpusClosed(str(path)).sha256) == 64


def test_names_of_columns_are_no_sentence(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("id\tbucket\tsource\treference\na\t3-6\tOne.\t一。\n", encoding="utf8")
    assert [line.text for line in CorpusClosed(str(path)).lines] == ["One."]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"One.\xff\n", "is not UTF-8"),
        (b"One.\x00\n", "is a binary file"),
        (b"a\tb\tOne.\nb\tTwo.\n", "line 2: expected id, bucket, source, reference"),
        (b"a\tb\t\tX\n", "line 1: expected"),
        (b"a\t\tOne.\na\t\tTwo.\n", "line 2: it has the id a more than once"),
    ],
)
def test_a_corpus_that_cannot_be_spoken_is_refused_with_the_reason(tmp_path, content, words):
    path = tmp_path / "c.tsv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        len(CorpusClosed(str(path)).lines)


def test_a_missing_corpus_is_refused_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.txt cannot be read: No such file"):
        len(CorpusClosed(str(tmp_path / "nowhere.txt")).lines)
    with pytest.raises(ConfigError, match="cannot be read"):
        len(CorpusClosed(str(tmp_path)).lines)


def test_in_a_closed_loop_a_sentence_arrives_when_it_is_asked_for():
    source = CorpusClosed(None)
    now = iter(range(1000))
    source.clock = lambda: next(now)
    deltas = source.deltas()
    assert [next(deltas).arrived_ns, next(now), next(deltas).arrived_ns] == [0, 1, 2]
    assert source.closed_loop


def test_replayed_text_is_stamped_when_it_was_due_not_when_it_was_taken(tmp_path):
    (tmp_path / "c.txt").write_text("Hello there, you.\nAgain.")
    source = CorpusOpen(str(tmp_path / "c.txt"), tokens_per_s=1000.0, gap_s=0.02)
    found = []
    for delta in source.deltas():
        found.append(delta)
        assert source.clock() >= delta.arrived_ns
        time.sleep(0.003)  # a pipeline slower than the text
    assert joined(found) == "Hello there, you.Again."
    assert [d.text for d in found if d.final] == ["", ""]
    assert [d.text for d, following in pairwise(found) if following.final] == [".", "."]
    steps = [b.arrived_ns - a.arrived_ns for a, b in pairwise(found) if a.id == b.id]
    assert set(steps) == {1_000_000}
    assert source.slip_ns[5] > 5_000_000


def test_a_replay_can_be_ended_while_it_waits():
    source = CorpusOpen(None, tokens_per_s=0.01, gap_s=0.0)
    deltas = source.deltas()
    next(deltas)
    threading.Timer(0.05, source.close).start()
    assert list(deltas) == []


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"tokens_per_s must be above 0"):
        CorpusOpen(None, tokens_per_s=0.0, gap_s=0.0)


def test_people_who_know_nothing_of_each_other_come_at_exponentially_distributed_times():
    source = CorpusPoisson(None, per_s=20.0, seed=3)
    waits = [pause for _, [(_, pause)] in itertools.chain(*(source.schedule() for _ in range(40)))]
    assert len(waits) == 8000
    assert np.mean(waits) == pytest.approx(1 / 20, rel=0.05)
    assert np.std(waits) == pytest.approx(1 / 20, rel=0.05)
    assert np.mean(np.array(waits) > 3 / 20) == pytest.approx(math.exp(-3), abs=0.01)
    assert waits[:200] != waits[200:400], "a second pass is no repetition of the first one's luck"
    again = CorpusPoisson(None, per_s=20.0, seed=3)
    assert waits[:200] == [pause for _, [(_, pause)] in again.schedule()]


@pytest.mark.parametrize("per_s", [0.0, -1.0, math.inf, math.nan])
def test_no_sentences_or_all_at_once_are_refused(per_s):
    with pytest.raises(ConfigError, match=r"source\.per_s must be above 0"):
        CorpusPoisson(None, per_s=per_s, seed=0)


@pytest.mark.parametrize("source", ["corpus_closed", "corpus_open", "corpus_poisson", "stdin"])
@pytest.mark.parametrize("segment", ["sentence", "clause"])
def test_every_choice_can_be_built_from_its_yaml(source, segment):
    config, _ = compose([f"source={source}", f"segment={segment}"])
    assert build(config.source, f"source={source}").skipped == {}
    assert build(config.segment, f"segment={segment}").push("Hello. ")[0].text == "Hello."


def test_a_snapshot_that_grows_after_a_full_stop_is_more_of_the_same_message():
    lines = [
        json.dumps(text(value)) for value in ("One moment, please.", "One moment, please. I look.")
    ]
    source = Stdin(Format.auto)
    source.stream = io.BytesIO("\n".join(lines).encode())
    said = [s for s in sentences(source.deltas(), Segmenter(Unit.sentence, 600, 24)) if s]
    assert [(s.id, s.text) for s in said] == [("m1", "One moment, please."), ("m1.2", "I look.")]


def test_of_several_answers_side_by_side_the_first_is_spoken():
    def part(index, value):
        return {"id": "c1", "choices": [{"index": index, "delta": {"content": value}}]}

    parts = [
        part(0, "The server "),
        part(1, "Our machine "),
        part(1, "works."),
        part(0, "is back."),
    ]
    assert spoken(*parts) == "The server is back."


class Parts(io.BytesIO):
    """A stream whose bytes come in the given parts."""

    def __init__(self, *parts):
        super().__init__()
        self._parts = list(parts)

    def read1(self, size=-1):
        return self._parts.pop(0) if self._parts else b""


@pytest.mark.parametrize(
    "first", ["", "event: message\n", ": PROCESSING\n\n", "id: 1\nevent: message-start\nretry: 3000\n", "\ufeff\n"],
)  # fmt: skip
def test_server_sent_events_are_known_by_how_they_begin(first):
    events = first + 'data: {"choices":[{"delta":{"content":"Hello world."}}]}\n\ndata: [DONE]\n'
    events = events.encode()
    for cut in range(1, len(first.encode()) + 9):
        source = Stdin(Format.auto)
        source.stream = Parts(events[:cut], events[cut:])
        assert "".join(delta.text for delta in source.deltas()) == "Hello world.", events[:cut]
        assert not source.skipped


@pytest.mark.parametrize(
    "text", [": a smile\nHi.", "id: 5 is wrong.\nNo.", "data", "event: none", "i", "d"]
)
def test_text_that_could_have_been_an_event_is_text_as_it_arrived(text):
    source = Stdin(Format.auto)
    ticks = itertools.count(1)
    source.clock = lambda: next(ticks)
    source.stream = Parts(*(bytes([byte]) for byte in text.encode()))
    deltas = [delta for delta in source.deltas() if delta.text]
    assert "".join(delta.text for delta in deltas) == text
    assert [delta.arrived_ns for delta in deltas] == list(range(1, len(text) + 1))


def test_what_colours_a_terminal_is_not_spoken_wherever_it_is_cut():
    content = (
        b"\x1b]0;A title\x07\x1b[1;32m**It\x1b(B\x1b[m works.**\n\x1b]2;x\x1b\\\x1b[0m# Next\x1b[0"
    )
    for cut in range(len(content)):
        source = Stdin(Format.text)
        source.stream = Parts(content[: cut + 1], content[cut + 1 :])
        assert joined(source.deltas()) == "**It works.**\n# Next", content[: cut + 1]


@pytest.mark.parametrize(
    "text",
    ["{name} is a placeholder.", "{} is empty.", "[Note] Save it.", "[1] A source.", "[", "{", "[{x}]", '{"One" is a word',
     '{"a", "b"} is a set.', '["a"] is a list.', "{\n  x: 1\n}", "[[1, 2], [3, 4]] is a matrix.", "[ ] Buy milk."],
)  # fmt: skip
def test_text_that_begins_with_a_bracket_is_text_as_it_arrived(text):
    for parts in ([text.encode()], [bytes([byte]) for byte in text.encode()]):
        source = Stdin(Format.auto)
        source.stream = Parts(*parts)
        assert joined(source.deltas()) == text
        assert not source.skipped


def test_json_is_known_wherever_its_beginning_is_cut():
    for begun in (
        '{"content": "Hi."}',
        ' [ {\n "content" : "Hi."}\n]',
        '\n{\r\n\t"content":\n"Hi."\n}',
    ):
        for cut in range(len(begun)):
            source = Stdin(Format.auto)
            source.stream = Parts(begun[: cut + 1].encode(), begun[cut + 1 :].encode())
            assert joined(source.deltas()) == "Hi.", begun[: cut + 1]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"a": 1} is an object.\n', r"broken JSON \(1\)"),
        ('{"content": ["Hel', r"broken JSON \(1\)"),
        ('{"answer": "Hi."}\n{"answer": "Hi."}\n', r"a message without content \(2\)"),
        ('{"error": {"message": "Overloaded"}}', "Overloaded"),
    ],
)
def test_json_without_any_text_is_refused_with_the_reason_and_what_to_do(content, kind):
    with pytest.raises(ConfigError, match=rf"JSON.*{kind}.*source\.format=text"):
        stdin(content.encode())


def test_text_that_begins_like_a_field_is_text():
    source = Stdin(Format.auto)
    source.stream = io.BytesIO(b"data: all of it was lost.\n")
    assert "".join(delta.text for delta in source.deltas()).strip() == "data: all of it was lost."


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"message":{"role":"assistant","content":"Hello"},"done":false}', '{"message":{"content":" there."},"done":true}'], "Hello there."),
        (['{"response":"Hello","done":false}', '{"response":" there.","done":true}'], "Hello there."),
        (['{"content":"Hello","stop":false}', '{"content":" there.","stop":true}'], "Hello there."),
        (['{"type":"response.output_text.delta","delta":"Hello"}', '{"type":"response.output_text.delta","delta":" there."}', '{"type":"response.completed"}'], "Hello there."),
        (['{"role":"assistant","content":[{"type":"output_text","text":"Hello there."}]}'], "Hello there."),
    ],
)  # fmt: skip
def test_pieces_of_other_servers_are_one_message(lines, said):
    _, deltas = stdin("\n".join(lines).encode())
    assert joined(deltas) == said
    assert [delta.final for delta in deltas].count(True) == 1


@pytest.mark.parametrize(
    "error", ['{"type":"error","error":{"message":"Overloaded"}}', '{"error":{"message":"Overloaded"}}']
)  # fmt: skip
def test_what_the_models_server_says_of_an_error_is_passed_on(error, caplog):
    delta = '{"choices":[{"delta":{"content":"The answer is"}}]}'
    source, deltas = stdin(f"{delta}\n{error}\n".encode())
    assert joined(deltas) == "The answer is"
    assert "Overloaded" in caplog.text
    assert any("Overloaded" in kind for kind in source.skipped)


def test_answers_that_all_have_the_same_id_are_all_said():
    answer = [
        *({"id": "c", "choices": [{"delta": {"content": t}}]} for t in ("Hello", " my", " friend.")),
        {"id": "c", "choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]},
    ]  # fmt: skip
    assert heard(*answer, *answer) == ["Hello my friend."] * 2


def response(delta):
    return {"type": "response.output_text.delta", "delta": delta}


@pytest.mark.parametrize("ending", ["incomplete", "failed", "cancelled", "completed"])
def test_a_response_that_was_cut_off_is_over(ending):
    over = {"type": f"response.{ending}", "response": {"error": {"message": "Too busy."}}}
    speech = Speech()
    pieces = [p for v in (response("It was"), over) for p in speech.read(json.dumps(v).encode())]
    assert pieces[-1][2]
    assert heard(response("It was"), over, response("Next.")) == ["It was", "Next."]
    assert any("Too busy." in kind for kind in speech.skipped) == (ending == "failed")


def test_text_around_a_tool_call_of_a_response_is_two_paragraphs():
    call = {"type": "response.output_item.added", "item": {"type": "function_call"}}
    assert heard(response("Let me"), response(" look"), call, response("It is fine.")) == [
        "Let me look",
        "It is fine.",
    ]


def test_a_stream_that_says_done_has_ended_its_message():
    delta = 'data: {"choices":[{"delta":{"content":"Hello"}}]}'
    speech = Speech()
    pieces = [piece for line in (delta, "data: [DONE]") for piece in speech.read(line.encode())]
    assert pieces[-1][2]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["<th", "ink>The user", " wants.</thi", "nk>\n\nHello."], ["Hello."]),
        (["<thinking>x</thinking>Hi."], ["Hi."]),
        (["Say <think> aloud."], ["Say <think> aloud."]),
        (["<b>Bold.</b>"], ["Bold."]),
        (["<think>", "It never ends."], []),
    ],
)
def test_what_a_model_thinks_first_is_not_spoken(parts, said):
    deltas = [Delta(part, 0, "m", part is parts[-1]) for part in parts]
    found = sentences(deltas, Segmenter(Unit.sentence, 600, 24))
    assert [sentence.text for sentence in found if sentence] == said


def test_what_a_model_thinks_for_hours_takes_no_memory():
    def peak(count):
        pieces = itertools.chain(["<think>"], itertools.repeat("hm ", count), ["</think>Yes."])
        thinking = (Delta(piece, n) for n, piece in enumerate(pieces))
        tracemalloc.start()
        found = sentences(thinking, Segmenter(Unit.sentence, 600, 24))
        assert [(s.text, s.arrived_ns) for s in found if s] == [("Yes.", count + 1)]
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    assert peak(20_000) < 2 * peak(1_000) + 100_000


def test_plain_text_may_think_again_where_a_line_begins():
    text = (
        "<think>a</think>\nOne.\nSay <think> aloud\n  <thinking>b\n</thinking>\ntwo.\n<thin>c\n"
        "<think>d</think><think>e</think>\nx<think>"
    )
    said = ["One.", "Say <think> aloud", "two.", "<thin>c", "x<think>"]
    for parts in ([text], list(text)):
        deltas = [Delta(part, 0, "", False) for part in parts] + [Delta("", 0, "", True)]
        found = sentences(deltas, Segmenter(Unit.sentence, 600, 24))
        assert [sentence.text for sentence in found if sentence] == said
    named = [Delta("One.\n<think>\nTwo.", 0, "m", True)]
    found = sentences(named, Segmenter(Unit.sentence, 600, 24))
    assert [sentence.text for sentence in found if sentence] == ["One.", "<think>", "Two."]


def test_nothing_is_asked_of_a_source_once_the_limit_is_reached():
    def live():
        yield Delta("One.", 0, "a", True)
        raise AssertionError("it was asked for a second message")

    source = SimpleNamespace(deltas=live)
    assert [delta.id for delta in _select(source, set(), 1)] == ["a"]


def test_a_corpus_is_spoken_in_an_order_that_length_does_not_follow(tmp_path):
    """In the packaged file sentences get longer: fitted length would take a drift with it."""
    orders = []
    for name in ("a", "b"):
        cfg, chosen = compose(["translator=echo", "tts=tone"])
        arm = Arm(cfg, chosen, tmp_path / name)
        orders.append([delta.id for delta in arm.source.deltas()])
        words = [len(line.text.split()) for line in arm.source.lines]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(line.id for line in CorpusClosed(None).lines)
    assert abs(np.corrcoef(np.arange(200), words)[0, 1]) < 0.2


@pytest.mark.parametrize("override", ["measure.limit=0", "measure.passes=-1", "target.limit_ms=nan", "target.metrics=[x]", "target.metrics=[rtf]", "measure.against=[bench,bench]"])  # fmt: skip
def test_values_with_which_nothing_can_be_measured_are_refused(override, tmp_path):
    cfg, chosen = compose(["translator=echo", "tts=tone", override])
    with pytest.raises(ConfigError, match=override.partition("=")[0].replace(".", r"\.")):
        Arm(cfg, chosen, tmp_path)
