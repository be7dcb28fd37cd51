"""The first audible sample is found to the sample, however the audio arrives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stt.audio import Onset

Samples = NDArray[np.float32]
rates = st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000])


def sound(rate: int, seconds: float = 0.1, level: float = 0.3) -> Samples:
    """440 Hz, at its loudest in the first sample."""
    return (level * np.cos(2 * np.pi * 440 / rate * np.arange(rate * seconds))).astype(np.float32)


def silence(size: int, level: float = 0.0) -> Samples:
    return np.full(size, level, np.float32)


def found(samples: Samples, rate: int, sizes: list[int] | None = None) -> float | None:
    """The onset [samples] in `samples` that arrive in chunks of `sizes`, then the rest at once."""
    onset = Onset(rate)
    buffer = np.empty_like(samples)  # used again for each chunk, as synthesizers may
    for chunk in np.split(samples, np.minimum(np.cumsum(sizes or []), samples.size).astype(int)):
        buffer[: chunk.size] = chunk
        onset.feed(buffer[: chunk.size])
    return None if onset.leading_silence_s is None else round(onset.leading_silence_s * rate, 6)


@given(rates, st.integers(1, 5_000))
def test_it_is_the_first_sample_that_is_heard(rate: int, lead: int) -> None:
    assert found(np.concatenate([silence(lead), sound(rate)]), rate) == lead


@given(rates, st.integers(1, 5_000), st.floats(-0.2, 0.2))
def test_a_constant_level_is_not_heard(rate: int, lead: int, level: float) -> None:
    assert found(silence(rate, level), rate) is None
    shifted = np.concatenate([silence(lead), sound(rate)]) + np.float32(level)
    assert found(shifted, rate) == lead


def test_a_level_is_remembered_from_chunk_to_chunk() -> None:
    audio = np.concatenate([silence(1), silence(1_000, 0.2), sound(16_000) + np.float32(0.2)])
    assert found(audio, 16_000, [1_600]) == found(audio, 16_000) == 1_001


def test_silence_that_fills_most_of_a_frame_is_silence() -> None:
    assert found(np.concatenate([silence(159), sound(16_000)]), 16_000) == 159


def test_sound_from_the_first_sample_on_is_audible_within_half_a_millisecond() -> None:
    assert found(sound(24_000), 24_000) <= 12


@given(
    rates,
    st.lists(
        st.tuples(st.integers(1, 900), st.floats(0, 0.03), st.floats(-0.02, 0.02)), max_size=9
    ),
    st.lists(st.integers(0, 700), max_size=12),
    st.randoms(use_true_random=False),
)
def test_it_is_the_same_whatever_the_chunks(
    rate: int, parts: list[tuple[int, float, float]], sizes: list[int], chance: object
) -> None:
    noise = np.random.default_rng(chance.getrandbits(32))  # type: ignore[attr-defined]
    pieces = [noise.normal(level, loud, size) for size, loud, level in parts]
    samples = np.concatenate([[], *pieces]).astype(np.float32)
    assert found(samples, rate, sizes) == found(samples, rate)


@pytest.mark.parametrize(("seconds", "heard"), [(0.04, False), (0.06, True)])
def test_a_click_is_no_speech(seconds: float, heard: bool) -> None:
    audio = np.concatenate([silence(2_400), sound(24_000, seconds), silence(2_400)])
    assert (found(audio, 24_000) is not None) is heard


def test_what_is_too_quiet_is_silence() -> None:
    assert found(sound(24_000, level=0.013), 24_000) is None
    assert found(sound(24_000, level=0.015), 24_000) is not None
