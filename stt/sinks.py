"""Where audio goes: nowhere, or into WAV files (`stt.speaker`: to a sound card)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from stt.audio import WavFile, resample
from stt.errors import ConfigError
from stt.messages import AudioChunk

LONGEST_FRAMES = 2**30
"""In one file: the sizes in a WAV header have 32 bits, and many players read them as signed."""


class Sink(ABC):
    """Takes audio in the order it is to be heard. Used from one thread."""

    def open(self, folder: Path) -> None:
        """Get ready; `folder` is the run folder, for a sink that has no path of its own."""

    @abstractmethod
    def write(self, utterance_id: str, chunk: AudioChunk) -> None:
        """Take the next chunk of an utterance.

        Raises:
            OSError: it cannot be stored; the utterance fails, the stream goes on.
        """

    def end(self, utterance_id: str) -> None:
        """No more chunks of this utterance will come."""

    def stop(self) -> None:
        """The user has had enough: what was not heard yet is not wanted any more."""

    def close(self) -> None:
        """Finish what is open. Safe to call twice."""


@dataclass
class Discard(Sink):
    """Drops audio, so that only its making is measured."""

    def write(self, utterance_id: str, chunk: AudioChunk) -> None:
        """Do nothing."""


@dataclass
class Wav(Sink):
    """One file for each utterance, and run.wav with all of them.

    Attributes:
        path: folder for the files; None puts them in audio/ in the run folder.
    """

    path: str | None

    def open(self, folder: Path) -> None:
        """Make the folder; a run.wav of an earlier session is kept and the new one is numbered.

        Raises:
            ConfigError: it cannot be made.
        """
        self._folder = _folder(folder, self.path)
        self._run: WavFile | None = None
        self._one: WavFile | None = None
        self._rate = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self._folder} cannot be made ({error.strerror}). Choose another sink.path."
            ) from error

    def write(self, utterance_id: str, chunk: AudioChunk) -> None:
        """Append to the utterance's file and to run.wav (resampled there if its rate differs)."""
        if self._one is None:
            self._one = WavFile(self._free(_stem(utterance_id)), chunk.sample_rate)
        if self._run is not None and self._run.frames >= LONGEST_FRAMES:
            full, self._run = self._run, None
            full.close()
        if self._run is None:
            self._run = WavFile(self._free("run"), chunk.sample_rate)
            self._rate = chunk.sample_rate
        self._one.write(chunk.samples)
        self._run.write(resample(chunk, self._rate).samples)

    def end(self, utterance_id: str) -> None:
        """Close the utterance's file."""
        one, self._one = self._one, None
        if one is not None:
            one.close()

    def close(self) -> None:
        """Close run.wav, too; a run in which nothing was said keeps no folder for it."""
        one, self._one, run, self._run = self._one, None, self._run, None
        for file in (one, run):
            if file is not None:
                file.close()
        if not self.path and self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _free(self, stem: str) -> Path:
        return next(path for path in _files(self._folder, stem) if not path.exists())


def spoken(run: Path, path: str | None, utterance_id: str) -> Path | None:
    """The file that `Wav` wrote of an utterance; None where there is none, or several sessions have one.

    Args:
        run: the run folder.
        path: the sink's.
    """
    first, second = islice(_files(_folder(run, path), _stem(utterance_id)), 2)
    return first if first.is_file() and not second.exists() else None


def _folder(run: Path, path: str | None) -> Path:
    return Path(path) if path else run / "audio"


def _files(folder: Path, stem: str) -> Iterator[Path]:
    """The names a file may have, best first."""
    yield folder / f"{stem}.wav"
    yield from (folder / f"{stem}-{number}.wav" for number in count(2))


def _stem(utterance_id: str) -> str:
    # Ids come from the outside (an LLM's message ids): nothing in them may leave the folder.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", utterance_id).strip(".")[:80] or "utterance"
