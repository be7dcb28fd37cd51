"""Parameter trajectories in windows of a few phonemes: the first sound need not await the last.

hts_engine fits the variance of each utterance to the voice's global variance (Toda & Tokuda, 2007).
That ties every frame to the whole text: a window of eight phonemes alone comes out 2.8 dB
(mel-cepstral distortion) and 180 cents away, and a text of one word gets a whole sentence's melody and
5 dB too much. So a text is spoken by the voice without global variance, where one phoneme of context
on each side is enough, and its trajectories are scaled about the voice's mean by fixed ratios instead
(variance scaling, Silen et al., 2012), measured against the voice with global variance at load.
experiments/voice has the distances.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stt.tts.hts import Parameters, Voice
from stt.tts.labels import phoneme

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNVOICED = -1e9
"""Log F0 is below this where there is none."""
_FIRST, _WINDOW, _CONTEXT = 7, 20, 1  # labels


class Trajectories:
    """Windows of speech parameters. One thread per instance.

    Attributes:
        voice: the voice as it is.
    """

    def __init__(self, library: str, voice: bytes, calibration: list[list[bytes]]) -> None:
        """Load the voice and measure its variance.

        Args:
            library: shared library with the HTS engine.
            voice: path of an .htsvoice file.
            calibration: labels of some sentences with most of the language's sounds.

        Raises:
            EngineUnavailable: see `Voice`.
        """
        self.voice = Voice(library, voice)
        plain = Path(voice.decode()).read_bytes()
        for stream in (b"MCP", b"LF0"):
            plain = plain.replace(b"USE_GV[%s]:1" % stream, b"USE_GV[%s]:0" % stream)
        with tempfile.TemporaryDirectory(prefix="stt-voice-") as folder:
            path = Path(folder) / "plain.htsvoice"
            path.write_bytes(plain)
            self._plain = Voice(library, str(path).encode())
        measured = [_speech(labels, self._plain.parameters(labels)) for labels in calibration]
        wanted = [_speech(labels, self.voice.parameters(labels)) for labels in calibration]
        self._cepstrum, self._log_f0 = (
            _scaling(
                np.concatenate([run[stream] for run in measured]),
                np.concatenate([run[stream] for run in wanted]),
            )
            for stream in (0, 1)
        )

    def generate(self, labels: list[bytes]) -> Iterator[Parameters]:
        """Yield the parameters of all labels, in windows that touch.

        Raises:
            EngineError: the engine refuses the labels.
        """
        start = 0
        while start < len(labels):
            stop = start + (_WINDOW if start else _FIRST)
            if len(labels) - stop < _FIRST:
                stop = len(labels)
            before = min(_CONTEXT, start)
            yield self._scale(labels[start:stop], self._window(labels, start - before, start, stop))
            start = stop

    def _window(self, labels: list[bytes], first: int, start: int, stop: int) -> Parameters:
        wide = self._plain.parameters(labels[first : stop + _CONTEXT])
        ends = np.cumsum(wide.durations)
        frames = slice(
            int(ends[start - first - 1]) if start > first else 0, int(ends[stop - first - 1])
        )
        return Parameters(
            wide.cepstrum[frames],
            wide.log_f0[frames],
            wide.mixing[frames],
            wide.durations[start - first : stop - first],
        )

    def _scale(self, labels: list[bytes], window: Parameters) -> Parameters:
        ratio, shift = self._cepstrum
        speech = _is_speech(labels, window.durations)[:, None]
        cepstrum = np.where(speech, window.cepstrum * ratio + shift, window.cepstrum)
        ratio, shift = self._log_f0
        log_f0 = np.where(window.log_f0 > UNVOICED, window.log_f0 * ratio + shift, window.log_f0)
        return Parameters(cepstrum, log_f0, window.mixing, window.durations)


def _is_speech(labels: list[bytes], durations: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.repeat([phoneme(label) not in (b"sil", b"pau") for label in labels], durations)


def _speech(
    labels: list[bytes], found: Parameters
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cepstra of the frames of speech, and log F0 of the voiced ones."""
    voiced = found.log_f0 > UNVOICED
    return found.cepstrum[_is_speech(labels, found.durations)], found.log_f0[voiced]


def _scaling(
    measured: NDArray[np.float32], wanted: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ratio and shift that give `measured` the mean and deviation of `wanted`, per column."""
    ratio = wanted.std(axis=0) / measured.std(axis=0)
    return ratio, wanted.mean(axis=0) - ratio * measured.mean(axis=0)
