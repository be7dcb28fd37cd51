"""The vocoder on parameters made by hand: pitch, level, timbre, and no seams."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt.tts.vocoder import Vocoder

ORDER, TAPS = 34, 31


def vocoder(sample_rate=24000, alpha=0.55, overlap=5, seed=1):
    return Vocoder(
        sample_rate,
        source_rate=48000,
        period=240,
        order=ORDER,
        taps=TAPS,
        alpha=alpha,
        overlap=overlap,
        seed=seed,
    )


def parameters(f0, frames=None, c0=0.0):
    """A flat spectrum, pulses only where `f0` > 0, noise elsewhere."""
    f0 = np.full(frames, f0) if frames else np.asarray(f0, float)
    cepstrum = np.zeros((len(f0), ORDER + 1), np.float32)
    cepstrum[:, 0] = c0
    log_f0 = np.where(f0 > 0, np.log(np.maximum(f0, 1)), -1e10).astype(np.float32)
    mixing = np.zeros((len(f0), TAPS), np.float32)
    mixing[:, TAPS // 2] = 1
    return cepstrum, log_f0, mixing


@pytest.mark.parametrize("sample_rate", [16000, 24000, 48000])
@pytest.mark.parametrize("f0", [95.0, 200.0, 417.0])
def test_a_steady_voice_has_the_pitch_it_was_given(sample_rate, f0):
    samples = vocoder(sample_rate).push(*parameters(f0, 200))
    pulses = np.flatnonzero(samples > samples.max() / 3)
    assert len(pulses) == pytest.approx(f0 * 199 * 0.005, abs=2)
    assert np.diff(pulses).mean() == pytest.approx(sample_rate / f0, rel=0.01)


@pytest.mark.parametrize("f0", [0.0, 120.0])
def test_loudness_is_the_power_of_the_parameters(f0):
    samples = vocoder().push(*parameters(f0, 400, c0=np.log(1000.0)))[240:]
    # Half the sample rate keeps the power density, thus half the power.
    assert samples.std() == pytest.approx(1000 * np.sqrt(0.5), rel=0.05)


def test_the_spectrum_is_the_warped_cepstrum_evaluated_at_the_source_rate():
    cepstrum, log_f0, mixing = parameters(0.0, 2000)
    cepstrum[:, 1] = 0.8
    samples = vocoder().push(cepstrum, log_f0, mixing)
    windows = samples[240 : 240 + 1024 * 200].reshape(-1, 1024) * np.hanning(1024)
    power = (np.abs(np.fft.rfft(windows, axis=1)) ** 2).mean(axis=0)
    omega = 2 * np.pi * np.fft.rfftfreq(1024, 1 / 24000) / 48000
    z = np.exp(-1j * omega)
    allpass = (z - 0.55) / (1 - 0.55 * z)
    wanted = np.abs(np.exp(0.8 * allpass)) ** 2
    ratio = 10 * np.log10(power / wanted)[8:-8]
    assert np.abs(ratio - ratio.mean()).max() < 2.0
    assert ratio.std() < 0.5


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_how_an_utterance_is_split_changes_nothing(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    frames = 90
    f0 = np.where(rng.random(frames) < 0.7, 120 + 60 * rng.random(frames), 0.0)
    cepstrum, log_f0, mixing = parameters(f0)
    cepstrum += rng.normal(0, 0.2, cepstrum.shape).astype(np.float32)
    mixing += rng.normal(0, 0.05, mixing.shape).astype(np.float32)
    cuts = data.draw(st.lists(st.integers(1, frames - 1), max_size=8, unique=True))
    edges = [0, *sorted(cuts), frames]
    whole, split = vocoder(), vocoder()
    expected = np.concatenate([whole.push(cepstrum, log_f0, mixing), whole.flush()])
    parts = [split.push(cepstrum[a:b], log_f0[a:b], mixing[a:b]) for a, b in pairwise(edges)]
    got = np.concatenate([*parts, split.flush()])
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_after_a_flush_the_same_words_sound_the_same():
    one = vocoder()
    first = np.concatenate([one.push(*parameters(150.0, 40)), one.flush()])
    second = np.concatenate([one.push(*parameters(150.0, 40)), one.flush()])
    assert np.array_equal(first, second)
    assert len(first) == (40 + 5) * one.hop


def test_the_flush_carries_the_decay_of_the_last_frame():
    cepstrum, log_f0, mixing = parameters(150.0, 20)
    cepstrum[:, 1] = 2.0
    one = vocoder()
    spoken = one.push(cepstrum, log_f0, mixing)
    tail = one.flush()
    assert np.abs(tail[: one.hop]).max() > 1e-3 * np.abs(spoken).max()
    assert np.abs(tail[-one.hop :]).max() < 1e-3 * np.abs(tail).max()


def test_voicing_that_starts_again_starts_with_a_pulse():
    f0 = np.array(([100.0] * 7 + [0.0] * 5) * 6)
    train = vocoder()._pulse_train(f0 > 0, parameters(f0)[1])
    for start in range(0, len(f0), 12):
        assert train[start * 120] > 0


def test_no_frames_give_no_samples():
    assert vocoder().push(*parameters(np.array([]))).size == 0
