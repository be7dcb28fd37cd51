"""A streaming vocoder: frames of mel-cepstrum, F0 and mixing filter in, float32 samples out.

Source-filter synthesis by overlap-add instead of the MLSA filter, so that a block of frames is a
few matrix products and FFTs. The excitation is a pulse train below the voice's mixing filter and
noise above it, cut by triangular windows of two frames. The spectrum of a frame is its mel-cepstrum
evaluated on warped frequencies, log H(w) = sum c_m exp(-j m w~): minimum phase by construction
(Fukada et al., ICASSP 1992). Evaluating it below a lower Nyquist frequency resamples for free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 32
"""Frames at a time: the spectra of more fall out of the L2 cache."""
_NOISE_FRAMES = 1024
"""The noise repeats after this many (5 s), so that its spectra are computed once."""


class Vocoder:
    """Samples come out one frame behind the parameters; `flush` gives the rest. Deterministic.

    Attributes:
        sample_rate: of the output, in Hz.
        hop: output samples a frame.
    """

    def __init__(
        self,
        sample_rate: int,
        source_rate: int,
        period: int,
        order: int,
        taps: int,
        alpha: float,
        overlap: int,
        seed: int,
    ) -> None:
        """Precompute the warped bases and the noise.

        Args:
            sample_rate: of the output, in Hz; at most `source_rate`.
            source_rate: sample rate the parameters describe, in Hz.
            period: samples between frames at `source_rate`.
            order: of the mel-cepstrum (it has order + 1 coefficients).
            taps: of the mixing filter at `source_rate`; odd.
            alpha: frequency warping of the mel-cepstrum at `source_rate`.
            overlap: frames that one frame's response is spread over; its FFT has overlap * hop
                points.
            seed: of the noise.
        """
        self.sample_rate = sample_rate
        self.hop = period * sample_rate // source_rate
        self._overlap = overlap
        self._size = overlap * self.hop
        hertz = np.arange(self._size // 2 + 1) * sample_rate / self._size
        omega = 2 * np.pi * hertz / source_rate
        warped = omega + 2 * np.arctan2(alpha * np.sin(omega), 1 - alpha * np.cos(omega))
        angles = np.outer(np.arange(order + 1), warped)
        # Lower rate, same power spectral density.
        gain = np.log(np.sqrt(sample_rate / source_rate))
        self._log_gain = np.float32(gain)
        self._cosines = np.cos(angles).astype(np.float32)
        self._sines = -np.sin(angles).astype(np.float32)
        half = np.arange(taps // 2 + 1)
        self._mixing = (np.cos(np.outer(half, omega)) * np.where(half == 0, 1, 2)[:, None]).astype(
            np.float32
        )
        ramp = np.arange(self.hop) / self.hop
        self._window = np.concatenate([ramp, 1 - ramp]).astype(np.float32)
        noise = np.random.default_rng(seed).standard_normal(
            _NOISE_FRAMES * self.hop, dtype=np.float32
        )
        self._noise = self._spectra(np.concatenate([noise[-self.hop :], noise]))
        self.reset()

    def reset(self) -> None:
        """Forget everything said so far."""
        self._frame = 0
        self._phase = 0.0
        self._frequency = 0.0
        self._pulses = np.zeros(self.hop, np.float32)
        self._tail = np.zeros((self._overlap, self.hop), np.float32)

    def push(
        self,
        cepstrum: NDArray[np.float32],
        log_f0: NDArray[np.float32],
        mixing: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Speak some frames; how an utterance is split changes samples by float32 rounding only.

        Args:
            cepstrum: (frames, order + 1).
            log_f0: (frames,), natural log of Hz, below -1e9 where unvoiced.
            mixing: (frames, taps).

        Returns:
            Samples, shape (frames * hop,), in the scale of the voice.
        """
        samples = np.empty(len(cepstrum) * self.hop, np.float32)
        for start in range(0, len(cepstrum), _BATCH):
            part = slice(start, min(start + _BATCH, len(cepstrum)))
            samples[part.start * self.hop : part.stop * self.hop] = self._batch(
                cepstrum[part], log_f0[part], mixing[part]
            )
        return samples

    def flush(self) -> NDArray[np.float32]:
        """The rest of the response, after which the vocoder is as new. Shape (overlap * hop,)."""
        tail = self._tail.ravel().copy()
        self.reset()
        return tail

    def _batch(
        self,
        cepstrum: NDArray[np.float32],
        log_f0: NDArray[np.float32],
        mixing: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        frames, hop, overlap = len(cepstrum), self.hop, self._overlap
        voiced = log_f0 > -1e9
        excitation = self._noise[np.arange(self._frame, self._frame + frames) % _NOISE_FRAMES]
        self._frame += frames
        if voiced.any() or self._frequency > 0:
            pulses = np.concatenate([self._pulses, self._pulse_train(voiced, log_f0)])
            self._pulses = pulses[-hop:]
            middle = mixing.shape[1] // 2
            low_pass = np.ascontiguousarray(mixing[voiced, middle:]) @ self._mixing
            noise = excitation[voiced]
            excitation[voiced] = noise + (self._spectra(pulses)[voiced] - noise) * low_pass
        else:
            self._pulses = np.zeros(hop, np.float32)
        response = np.empty((frames, self._size // 2 + 1), np.complex64)
        magnitude = np.exp(cepstrum @ self._cosines + self._log_gain)
        angle = cepstrum @ self._sines
        np.multiply(magnitude, np.cos(angle), out=response.real)
        np.multiply(magnitude, np.sin(angle), out=response.imag)
        response *= excitation
        pieces = np.fft.irfft(response, self._size, axis=1).reshape(frames, overlap, hop)
        summed = np.zeros((frames + overlap, hop), np.float32)
        summed[:overlap] = self._tail
        for shift in range(overlap):
            summed[shift : shift + frames] += pieces[:, shift]
        self._tail = summed[frames:]
        return summed[:frames].ravel()

    def _spectra(self, samples: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Spectra (frames, size // 2 + 1) of windows on `samples`, which starts one hop early."""
        hop = self.hop
        frames = len(samples) // hop - 1
        windows = np.lib.stride_tricks.sliding_window_view(samples, 2 * hop)[: frames * hop : hop]
        return np.fft.rfft(windows * self._window, self._size, axis=1).astype(
            np.complex64, copy=False
        )

    def _pulse_train(
        self, voiced: NDArray[np.bool_], log_f0: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Pulses of unit power; frequency is linear in a frame, phase 0 where voicing starts."""
        hop = self.hop
        after = (
            np.where(voiced, np.exp(np.where(voiced, log_f0, 0.0).astype(np.float64)), 0.0)
            / self.sample_rate
        )
        before = np.concatenate([[self._frequency], after[:-1]])
        onset = voiced & (before == 0)
        before[onset] = after[onset]
        advance = np.where(voiced, (before + after) * (hop / 2), 0.0)
        total = np.cumsum(advance) + self._phase
        # Phase restarts at each onset: take off what had been reached there.
        reached = np.maximum.accumulate(np.where(onset, total - advance, 0.0))
        end = total - reached
        start = np.where(onset, 0.0, np.concatenate([[self._phase], end[:-1]]))
        self._frequency = float(after[-1])
        self._phase = float(end[-1] % 1.0) if voiced[-1] else 0.0
        first = np.ceil(start)
        counts = np.where(voiced, np.ceil(end) - first, 0).astype(np.int64)
        frame = np.repeat(np.arange(len(voiced)), counts)
        nth = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Solve start + before x + slope x^2 = whole number for the offset x within the frame.
        missing = first[frame] + nth - start[frame]
        slope = (after - before)[frame] / (2 * hop)
        offset = 2 * missing / (before[frame] + np.sqrt(before[frame] ** 2 + 4 * slope * missing))
        train = np.zeros(len(voiced) * hop, np.float32)
        place = np.minimum(offset.astype(np.int64), hop - 1)
        train[frame * hop + place] = 1 / np.sqrt(before[frame] + 2 * slope * offset)
        return train
