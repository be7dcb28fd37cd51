"""The virtual player says what a listener would have heard."""

from __future__ import annotations

import math

import pytest

from stt.messages import Sentence, Utterance
from stt.metrics import metrics
from stt.player import heard, playback
from stt.stored import record

MS = 1_000_000
RATE = 1_000  # one sample a millisecond keeps the sums readable


def test_chunks_that_arrive_in_time_touch() -> None:
    played = playback([(30 * MS, 100), (60 * MS, 100)], RATE)
    assert played is not None
    assert played.starts_ns == (30 * MS, 130 * MS)
    assert (played.gap_ns, played.underruns, played.end_ns) == (0, 0, 230 * MS)


def test_a_late_chunk_is_heard_as_a_gap_and_counted_as_an_underrun() -> None:
    played = playback([(30 * MS, 100), (150 * MS, 100)], RATE)
    assert played is not None
    assert (played.gap_ns, played.underruns, played.end_ns) == (20 * MS, 1, 250 * MS)


def test_lag_is_the_delay_of_the_last_sample_behind_speech_that_began_with_the_text() -> None:
    played = playback([(20 * MS, 100), (140 * MS, 100)], RATE)
    assert played is not None
    assert played.lag_ns == (20 + 20) * MS


def test_the_first_audible_sample_comes_after_the_leading_silence_and_any_gap_within_it() -> None:
    smooth = playback([(30 * MS, 100)], RATE, leading_silence_s=0.02)
    broken = playback([(30 * MS, 10), (60 * MS, 100)], RATE, leading_silence_s=0.02)
    assert smooth is not None
    assert broken is not None
    assert smooth.audible_ns == 50 * MS
    assert broken.audible_ns == (60 + 10) * MS


def test_silence_from_end_to_end_is_never_audible() -> None:
    played = playback([(30 * MS, 100)], RATE, leading_silence_s=None)
    assert played is not None
    assert played.audible_ns is None


def test_no_audio_is_no_playback() -> None:
    assert playback([], RATE) is None
    assert playback([(5, 0)], RATE) is None
    assert playback([], 0) is None


def test_rounding_never_accumulates_over_many_chunks() -> None:
    played = playback([(0, 1)] * 22_050, 22_050)
    assert played is not None
    assert played.end_ns == 1_000_000_000


def spoken(arrived_ms: int, ready_ms: int, samples: int) -> Utterance:
    return Utterance(
        sentence=Sentence("s", "text", arrived_ms * MS),
        translation="文",
        marks_ns={"arrived": arrived_ms * MS},
        chunks=((ready_ms * MS, samples),) if samples else (),
        sample_rate=RATE,
        leading_silence_s=0.0,
    )


def test_in_a_stream_speech_waits_for_the_speech_before_it_and_trails_the_text_further() -> None:
    free_ns, lags_ms = None, []
    # The third has no audio and leaves the loudspeaker as it was.
    for number, samples in enumerate((1000, 1000, 0, 1000)):
        utterance, free_ns = heard(spoken(100 * number, 100 * number + 30, samples), free_ns)
        lags_ms.append(metrics(record(utterance, session=1, pass_=1, phase="measure"))["lag_ms"])
    assert free_ns == 3030 * MS
    assert lags_ms == pytest.approx([30, 930, math.nan, 1730], nan_ok=True)
