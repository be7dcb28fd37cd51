"""Open JTalk's Japanese voice, streamed: the first sound comes after a few milliseconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError, EngineError, SttError
from stt.messages import AudioChunk
from stt.tts.labels import Frontend, phoneme, pieces
from stt.tts.openjtalk_stock import StockVoice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_PHRASE = "新しい製品の開発計画について、議論が続きました。"
_CALIBRATION = (
    "昨日の会議では、新しい製品の開発計画について、三時間以上も議論が続きました。",
    "百円玉を入れてボタンを押すと、冷たいジュースが勢いよく出てきます。",
    "ファイルを保存してから、もう一度プログラムを実行してください。",
    "彼女は笑顔で手を振り、静かな雪の夜へ駆け出していった。",
    "どうしてそんなに早く、東京へ帰らなければならないのですか。",
    "この機能を使うと、データを簡単に共有できます。",
    "雨がやんだら、犬と散歩に行くつもりです。",
    "エラーの原因は、まだ分かっていません。",
    "窓を開けてもいいですか。",
    "値段は思ったより安かった。",
)
_LEAD_FRAMES, _RELEASE_FRAMES = 4, 12  # kept of the silence before and after speech
_STOP_S = 0.4  # silence after a sentence, so that it is set off more than a comma (0.5 s in all)
_AUDIBLE = 10 ** (-50 / 20)  # speech starts where a frame is louder than this
_OVERLAP, _SEED = 5, 1  # of the vocoder


@dataclass
class OpenJTalk(Synthesizer):
    """HTS voice mei_normal through our own vocoder, or the library's if ours does not sound alike.

    Attributes:
        sample_rate: of the output, in Hz; 48000 or a divisor of it.
        gain: of the voice's 16-bit scale. The voice exceeds full scale at 1.0; at 0.5 very few words
            do, and are clipped.
        first_chunk_ms: length of the first chunk. Later ones are as long as the words they speak.
        self_check_db: largest log-spectral distance from the library's own vocoder that is accepted
            at load.
    """

    unit: Unit
    sample_rate: int
    gain: float
    first_chunk_ms: float
    self_check_db: float

    def load(self, device: Device) -> None:
        """Load dictionary and voice, calibrate, and compare with the library's own synthesizer.

        Raises:
            ConfigError: the sample rate does not fit.
            EngineUnavailable: pyopenjtalk is missing or does not load.
        """
        self._frontend = Frontend()
        self._stock = StockVoice()
        if self.sample_rate < 8000 or self._stock.sample_rate % self.sample_rate:
            raise ConfigError(
                f"tts.sample_rate={self.sample_rate}: choose {self._stock.sample_rate} or a "
                f"divisor of it from 8000 on, such as 24000 or 16000."
            )
        self._fallback: str | None = None
        self._distance_db: float | None = None
        try:
            self._prepare()
        except (SttError, ValueError) as error:  # ValueError: parameters of another shape
            self._fallback = str(error)
            log.warning(
                "tts=openjtalk: %s Speaking with the library's own vocoder, which is slower.", error
            )

    def _prepare(self) -> None:
        import numpy as np

        from stt.tts.trajectory import Trajectories
        from stt.tts.vocoder import Vocoder

        calibration = [self._frontend.labels(text) for text in _CALIBRATION]
        self._trajectories = Trajectories(self._stock.library, self._stock.voice, calibration)
        voice = self._trajectories.voice
        labels = self._frontend.labels(_PHRASE)
        windows = list(self._trajectories.generate(labels))
        self._vocoder = Vocoder(
            self.sample_rate,
            source_rate=voice.sample_rate,
            period=voice.period,
            order=windows[0].cepstrum.shape[1] - 1,
            taps=windows[0].mixing.shape[1],
            alpha=voice.alpha,
            overlap=_OVERLAP,
            seed=_SEED,
        )
        ours = np.concatenate(
            [self._vocoder.push(w.cepstrum, w.log_f0, w.mixing) for w in windows]
            + [self._vocoder.flush()]
        )
        stock = self._stock.speak(labels)
        frames = sum(int(w.durations.sum()) for w in windows)
        if frames * voice.period != stock.size or not voice.intact:
            raise EngineError(
                "The HTS engine behaves differently from the version this engine was made for."
            )
        self._distance_db = _distance_db(ours, self.sample_rate, stock, voice.sample_rate)
        if not self._distance_db <= self.self_check_db:
            raise EngineError(
                f"The streaming vocoder is {self._distance_db:.1f} dB from the library's own, "
                f"more than tts.self_check_db={self.self_check_db:g}."
            )

    def effective(self) -> dict[str, Any]:
        """Which vocoder speaks, and why if it is not the streaming one."""
        return {
            "engine": "stock" if self._fallback else "openjtalk",
            "version": f"pyopenjtalk-plus {self._stock.version}",
            "voice": self._stock.name,
            "sample_rate": self._stock.sample_rate if self._fallback else self.sample_rate,
            "device": "cpu",
            "threads": 1,
            "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "library default"),
            "self_check_measured_db": self._distance_db,
            "fallback": self._fallback,
            "used_in_load": "calibration, and one sentence through both vocoders",
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield the speech for `text` from its onset on; nothing if nothing can be spoken.

        It ends in a pause: the voice's own after a comma, silence in the last chunk after a sentence.
        """
        for piece in pieces(text):
            labels = self._frontend.labels(piece)
            if labels and self._fallback:
                yield self._stock.chunk(labels, self.gain)
            elif labels:
                yield from self._stream(labels)

    def _stream(self, labels: list[bytes]) -> Iterator[AudioChunk]:
        import numpy as np

        vocoder = self._vocoder
        vocoder.reset()
        first_frames = max(1, round(self.first_chunk_ms * self.sample_rate / vocoder.hop / 1e3))
        spoken, audible = 0, False
        for window in self._trajectories.generate(labels):
            start, stop = 0, len(window.cepstrum)
            if not spoken:
                start = max(0, int(window.durations[0]) - _LEAD_FRAMES)
            spoken += len(window.durations)
            last = spoken == len(labels)
            pause = np.zeros(0, np.float32)
            if last and phoneme(labels[-1]) == b"sil":  # the voice's own silence takes time to make
                stop -= max(0, int(window.durations[-1]) - _RELEASE_FRAMES)
                pause = np.zeros(round(_STOP_S * self.sample_rate), np.float32)
            while start < stop:
                end = stop if audible else min(start + first_frames, stop)
                part = slice(start, end)
                samples = vocoder.push(
                    window.cepstrum[part], window.log_f0[part], window.mixing[part]
                )
                if last and end == stop:
                    samples = np.concatenate([samples, vocoder.flush(), pause])
                samples = np.clip(samples * np.float32(self.gain / 32768), -1.0, 1.0)
                if not audible:
                    samples = _from_onset(samples, vocoder.hop)
                    audible = samples.size > 0
                if samples.size:
                    yield AudioChunk(samples, self.sample_rate)
                start = end

    def close(self) -> None:
        """Let the voice go, as soon as no thread speaks with it. Safe to call twice."""
        self.__dict__.pop("_trajectories", None)


def _from_onset(samples: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """`samples` from a frame before the first loud one, which fades in; empty if there is none."""
    import numpy as np

    frames = samples[: samples.size // hop * hop].reshape(-1, hop)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > _AUDIBLE)
    if not loud.size:
        return samples[:0]
    kept = samples[max(0, int(loud[0]) - 1) * hop :].copy()
    kept[:hop] *= np.arange(hop, dtype=np.float32) / hop
    return kept


def _distance_db(a: NDArray[Any], rate_a: int, b: NDArray[Any], rate_b: int) -> float:
    """RMS level difference in up to 24 bands to 11 kHz, over windows of 20 ms with sound."""
    import numpy as np

    top = min(11000, rate_a // 2, rate_b // 2)
    edges = np.unique(np.geomspace(100, top, 25).astype(int) // 50)  # bins of 50 Hz
    levels = []
    for samples, rate in ((a, rate_a), (b, rate_b)):
        size = rate // 50
        windows = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4]
        spectra = np.fft.rfft(windows * np.hanning(size) / rate, axis=1)[:, : edges[-1]]
        power = np.add.reduceat(np.abs(spectra) ** 2, edges[:-1], axis=1)
        levels.append(10 * np.log10(power + 1e-9))
    frames = min(map(len, levels))
    ours, theirs = (level[:frames] for level in levels)
    heard = theirs.max(axis=1) > theirs.max() - 50
    return float(np.sqrt(((ours - theirs)[heard] ** 2).mean()))
