"""Piper voices (VITS exported to ONNX): any voice file, in any language Piper can read.

piper-tts is GPL-3.0-or-later, so it is an optional extra. Its own loader fixes ONNX Runtime's
options: by default four spinning threads, which on a shared CPU are slower than two and burn twice
the time. The session is made here instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import AudioChunk


@dataclass
class Piper(Synthesizer):
    """One voice file; a chunk for each sentence of the text.

    Attributes:
        model: path of an .onnx voice, its configuration beside it as `<model>.json`.
        threads: ONNX Runtime threads of one run.
        speaker: number of the speaker in a voice with several; null = the voice's own default.
    """

    extra = "piper"
    random = True

    unit: Unit
    model: str | None
    threads: int
    speaker: int | None

    def load(self, device: Device) -> None:
        """Read voice and configuration.

        Raises:
            ConfigError: no voice is named, or the speaker does not exist.
            EngineUnavailable: the extra or the voice is missing, or the voice is not one.
        """
        from importlib.metadata import version

        import onnxruntime
        import piper
        from piper.config import PiperConfig

        if self.model is None:
            raise ConfigError(
                "tts=piper needs a voice: tts.model=/path/to/voice.onnx, with voice.onnx.json "
                "beside it, in the language you translate to. Where there is a network, "
                "`python -m piper.download_voices NAME` fetches a published one; each has its own "
                "licence."
            )
        path = Path(self.model).expanduser()
        settings = Path(f"{path}.json")
        if missing := [str(file) for file in (path, settings) if not file.is_file()]:
            raise EngineUnavailable(
                f"tts.model={self.model}: {' and '.join(missing)} not found. A Piper voice is "
                f"two files in one folder, voice.onnx and voice.onnx.json."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            config = PiperConfig.from_dict(json.loads(settings.read_text(encoding="utf-8")))
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise EngineUnavailable(
                f"tts.model={self.model} is not a Piper voice: {error}"
            ) from error
        if self.speaker is not None and not 0 <= self.speaker < max(1, config.num_speakers):
            raise ConfigError(
                f"tts.speaker={self.speaker}: this voice has {config.num_speakers} speakers, "
                f"numbered from 0."
            )
        self._voice: Any = piper.PiperVoice(session=session, config=config)
        # Loudness is the voice's own: normalizing each chunk by itself would make it jump.
        self._settings = piper.SynthesisConfig(speaker_id=self.speaker, normalize_audio=False)
        self._facts = {
            "engine": "piper",
            "version": f"piper-tts {version('piper-tts')}, onnxruntime {onnxruntime.__version__}",
            "model": self.model,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "phonemes": config.phoneme_type.value,
            "sample_rate": config.sample_rate,
            "device": "cpu",
            "providers": session.get_providers(),
            "threads": session.get_session_options().intra_op_num_threads,
            "fallback": None,
        }

    def effective(self) -> dict[str, Any]:
        """Versions, voice file and what ONNX Runtime reports."""
        return dict(self._facts)

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield one chunk a sentence."""
        try:
            for chunk in self._voice.synthesize(text, self._settings):
                if chunk.audio_float_array.size:
                    yield AudioChunk(chunk.audio_float_array.reshape(-1), chunk.sample_rate)
        except Exception as error:  # from the phonemizer or ONNX Runtime
            raise EngineError(f"Piper failed on {text[:40]!r}: {error}") from error

    def close(self) -> None:
        """Free the session. Safe to call twice."""
        self._voice = None
