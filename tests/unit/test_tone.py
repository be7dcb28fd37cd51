"""The tone is exact, so that the harness can be judged by it."""

import time

import numpy as np
import pytest

from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError
from stt.tts.tone import Tone


def tone(ms_per_char=100.0, chunk_ms=100.0, sample_rate=24000, delay_ms=0.0):
    made = Tone(Unit.clause, ms_per_char, chunk_ms, sample_rate, delay_ms)
    made.load(Device("cpu", 1))
    return made


def test_the_chunk_plan_follows_from_the_text_alone():
    sizes = [chunk.samples.size for chunk in tone(ms_per_char=80).synthesize("こんに ちは。")]
    assert sizes == [2400, 2400, 2400, 2400, 1920]  # six characters of 80 ms


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_nothing_to_say_gives_no_chunk(text):
    assert list(tone().synthesize(text)) == []


def test_chunks_join_without_a_click():
    chunks = tone(ms_per_char=170, chunk_ms=70).synthesize("あいう")
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert samples.dtype == np.float32
    assert np.abs(np.diff(samples)).max() < 0.25 * 2 * np.pi * 460 / 24000


def test_a_consumer_cannot_spoil_the_next_utterance():
    engine = tone()
    chunk = next(iter(engine.synthesize("あ")))
    with pytest.raises(ValueError, match="read-only"):
        chunk.samples[0] = 1.0


def test_the_delay_comes_before_the_first_chunk():
    start = time.perf_counter()
    next(iter(tone(delay_ms=20).synthesize("あ")))
    assert time.perf_counter() - start >= 0.020


def test_a_chunk_without_samples_is_refused():
    with pytest.raises(ConfigError, match="longer chunk"):
        tone(chunk_ms=0.01)
