"""What the text side costs; the bounds are ten times the budget, the printed figures are the point."""

from __future__ import annotations

import json
import time

import pytest

from stt.clean import clean
from stt.engine import Unit
from stt.llm import Speech
from stt.segment import Segmenter
from stt.sources import CorpusClosed

MARKUP = (
    "Run **`make bench`** first, then see [the *latency* page](https://example.com/docs/latency.md) or "
    "https://www.example.com/a/b?c=1 &mdash; it takes <b>about 3.5 minutes</b> → that's fine 🎉."
)


def corpus():
    return [line.text for line in CorpusClosed(None).lines]


def p99_ms(function, arguments, rounds=5):
    """99th percentile of all calls after a first, warming round."""
    took_ns = []
    for number in range(rounds + 1):
        for argument in arguments:
            start_ns = time.perf_counter_ns()
            function(argument)
            if number:
                took_ns.append(time.perf_counter_ns() - start_ns)
    return sorted(took_ns)[int(0.99 * len(took_ns))] / 1e6


@pytest.mark.parametrize("texts", [corpus(), [MARKUP] * 100], ids=["corpus", "markup"])
def test_cleaning_a_sentence_takes_a_fraction_of_a_millisecond(benchmark, texts):
    benchmark.extra_info["p99_ms"] = p99 = p99_ms(clean, texts)
    assert p99 < 10 * 0.2
    benchmark(lambda: [clean(text) for text in texts])
    print(f"\nclean: p99 {p99:.4f} ms a sentence (budget 0.2)")


@pytest.mark.parametrize("unit", list(Unit))
def test_segmenting_streamed_text_takes_a_fraction_of_a_millisecond(benchmark, unit):
    text = " ".join(corpus())
    deltas = [text[at : at + 4] for at in range(0, len(text), 4)]

    def replay():
        segmenter = Segmenter(unit, 600, 24)
        return [s for delta in deltas for s in segmenter.push(delta)] + segmenter.flush()

    segmenter = Segmenter(unit, 600, 24)
    benchmark.extra_info["p99_ms"] = p99 = p99_ms(segmenter.push, deltas, rounds=2)
    assert p99 < 10 * 0.2
    assert len(benchmark(replay)) >= 200
    print(f"\nsegment, {unit}: p99 {p99:.4f} ms a delta of 4 characters")


def messages(kind):
    for n, text in enumerate(corpus()):
        if kind == "whole":
            block = {"type": "text", "text": " ".join([text] * 5)}
            message = {"id": f"msg_{n}", "role": "assistant", "content": [block], "usage": {"n": n}}
            yield {"type": "assistant", "message": message, "session_id": "x" * 36}
        else:
            delta = {"type": "text_delta", "text": text[:4]}
            event = {"type": "content_block_delta", "index": 0, "delta": delta}
            yield {"type": "stream_event", "event": event, "session_id": "x" * 36}


@pytest.mark.parametrize("kind", ["whole", "delta"])
def test_reading_a_json_message_takes_a_fraction_of_a_millisecond(benchmark, kind):
    lines = [json.dumps(message).encode() for message in messages(kind)]
    speech = Speech()
    benchmark.extra_info["p99_ms"] = p99 = p99_ms(lambda line: list(speech.read(line)), lines)
    assert p99 < 10 * 0.5
    benchmark(lambda: [list(speech.read(line)) for line in lines])
    print(f"\nJSON, {kind}: p99 {p99:.4f} ms a message (budget 0.5)")
