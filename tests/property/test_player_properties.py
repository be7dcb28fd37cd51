"""What holds for every sequence of chunks on the virtual player."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stt.player import playback

chunks = st.lists(
    st.tuples(st.integers(0, 3_000_000_000), st.integers(0, 30_000)), min_size=1, max_size=12
).map(lambda pairs: sorted(pairs, key=lambda pair: pair[0]))
rates = st.sampled_from([16_000, 22_050, 24_000, 44_100, 48_000])
free = st.none() | st.integers(0, 4_000_000_000)


@given(chunks, rates, free)
def test_nothing_plays_early_or_twice_and_time_adds_up(
    given_chunks: list[tuple[int, int]], rate: int, free_ns: int | None
) -> None:
    played = playback(given_chunks, rate, free_ns=free_ns)
    sounding = [(at, samples) for at, samples in given_chunks if samples]
    if played is None:
        assert not sounding
        return
    assert all(s >= at for s, (at, _) in zip(played.starts_ns, sounding, strict=True))
    assert free_ns is None or played.starts_ns[0] >= free_ns
    lengths = [samples * 1e9 / rate for _, samples in sounding]
    for (start, following), length in zip(pairwise(played.starts_ns), lengths, strict=False):
        assert following - start >= length - 1
    audio_ns = sum(samples for _, samples in sounding) * 10**9 // rate
    assert played.end_ns - played.starts_ns[0] == audio_ns + played.gap_ns
    assert 0 <= played.underruns < len(sounding)
    assert (played.gap_ns == 0) == (played.underruns == 0)


@given(chunks, rates, st.integers(0, 1_000_000_000))
def test_a_slower_engine_is_never_heard_earlier(
    given_chunks: list[tuple[int, int]], rate: int, delay_ns: int
) -> None:
    later = [(at + i * delay_ns, samples) for i, (at, samples) in enumerate(given_chunks)]
    fast, slow = playback(given_chunks, rate), playback(later, rate)
    if fast is None or slow is None:
        assert fast is slow
        return
    assert all(a <= b for a, b in zip(fast.starts_ns, slow.starts_ns, strict=True))
    assert fast.lag_ns <= slow.lag_ns


@given(chunks, rates, st.floats(0, 3))
def test_the_first_audible_sample_lies_within_the_playback(
    given_chunks: list[tuple[int, int]], rate: int, silence_s: float
) -> None:
    played = playback(given_chunks, rate, leading_silence_s=silence_s)
    if played is not None:
        assert played.audible_ns is not None
        assert played.starts_ns[0] <= played.audible_ns <= played.end_ns
        audio_ns = played.end_ns - played.starts_ns[0] - played.gap_ns
        assert played.audible_ns >= played.starts_ns[0] + min(round(silence_s * 1e9), audio_ns)
