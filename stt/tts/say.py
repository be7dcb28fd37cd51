"""The voices of macOS through its `say` command: one process and one file a text, which has its audio only when both are done.

Written after Apple's manual page (say(1)) and tested against a stand-in; it has not run on a Mac yet.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt.device import Device
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import AudioChunk

_RATE = 22050
_VOICE = re.compile(r"^(.+?)\s+([a-z]{2,3}[_-]\w+)\s+#", re.MULTILINE)
"""A line of `say -v ?`: name, language, sample text."""


@dataclass
class Say(Synthesizer):
    """One chunk a text.

    Attributes:
        voice: as `say -v ?` names it.
        words_per_minute: speech rate; null = the voice's own.
        timeout_s: for one text.
    """

    unit: Unit
    voice: str
    words_per_minute: int | None
    timeout_s: float

    def load(self, device: Device) -> None:
        """Look for the command and the voice.

        Raises:
            ConfigError: no such rate.
            EngineUnavailable: this is no Mac, or it lacks the voice.
            EngineError: the command fails.
        """
        if self.words_per_minute is not None and not 1 <= self.words_per_minute <= 1000:
            raise ConfigError(
                f"tts.words_per_minute={self.words_per_minute}: choose 1 to 1000, or null."
            )
        found = shutil.which("say")
        if found is None:
            raise EngineUnavailable(
                "tts=say: there is no `say` command here, which macOS has. tts=openjtalk runs everywhere."
            )
        self._command = found
        voices = dict(_VOICE.findall(self._run("-v", "?").decode("utf-8", "replace")))
        if self.voice not in voices:
            like = ", ".join(name for name, code in voices.items() if code.startswith("ja"))
            raise EngineUnavailable(
                f"tts.voice={self.voice}: this Mac has no such voice. Japanese ones: {like or 'none'}. More of "
                "them: System Settings, Accessibility, Spoken Content, Manage Voices."
            )
        self._language = voices[self.voice]

    def effective(self) -> dict[str, Any]:
        """Command, voice, its language and format."""
        return {
            "engine": "say",
            "command": self._command,
            "voice": self.voice,
            "language": self._language,
            "sample_rate": _RATE,
            "device": "cpu",
            "fallback": None,
            "used_in_load": "the command, for its list of voices",
        }

    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield the whole text at once.

        Raises:
            EngineError: `say` failed, wrote no audio or took longer than `timeout_s`.
        """
        import numpy as np

        with tempfile.TemporaryDirectory(prefix="stt-") as folder:
            path = Path(folder) / "said.wav"
            rate = [] if self.words_per_minute is None else ["-r", str(self.words_per_minute)]
            output = ["-o", str(path), f"--data-format=LEI16@{_RATE}"]
            # Commands to the voice stand in double brackets: text has none, not even of three.
            plain = re.sub(r"\[(?=\[)", "[ ", text).encode()
            self._run("-v", self.voice, *rate, *output, "-f", "-", given=plain)
            try:
                with wave.open(str(path)) as file:
                    audio, found = file.readframes(file.getnframes()), file.getframerate()
            except (OSError, EOFError, wave.Error) as error:
                raise EngineError(f"tts=say wrote no audio for {text[:40]!r}: {error}") from error
        samples = np.frombuffer(audio, "<i2").astype(np.float32) / np.float32(32768)
        if samples.size:
            yield AudioChunk(samples, found)

    def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(
                [self._command, *arguments], input=given, capture_output=True, timeout=self.timeout_s, check=True
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"tts=say took longer than tts.timeout_s={self.timeout_s:g} s"
            ) from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
            raise EngineError(f"tts=say failed ({said or f'status {error.returncode}'})") from error
        except OSError as error:
            raise EngineError(f"tts=say cannot be started: {error.strerror}") from error
        return done.stdout

    def close(self) -> None:
        """Nothing to release: each text has a process of its own."""
