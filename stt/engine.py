"""The two engine contracts. Adding an engine is one class here-derived in its own file and one YAML file.

An engine is a dataclass: its fields are the keys of its YAML file, with types and without defaults, so
the YAML stays the only record of what was asked. Heavy imports live inside `load`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, ClassVar

from stt.device import Device
from stt.errors import EngineError, EngineUnavailable, SttError, install, reason
from stt.messages import AudioChunk, Clause


class Unit(StrEnum):
    """What a synthesizer is given at a time."""

    sentence = "sentence"
    clause = "clause"


class Engine(ABC):
    """What translators and synthesizers share.

    Class attributes:
        extra: pip extra that installs what `load` imports ("" when the base install has it); people are
            told of it where an import fails.
        devices: device names the engine can run on.
        network: True when every call leaves this machine; an instance may know better where its server is.
        random: True when the same input may give other output (a voice that draws its durations).
    """

    extra: ClassVar[str] = ""
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    network: bool = False
    random: ClassVar[bool] = False

    @abstractmethod
    def load(self, device: Device) -> None:
        """Import, read weights, allocate. Called once, before any other method.

        Raises:
            EngineUnavailable: a package, file or library is missing; the message says how to get it.
            UnsupportedDevice: `device` is not in this machine or cannot run this engine.
        """

    @abstractmethod
    def effective(self) -> dict[str, Any]:
        """What really runs (engine, precision, device, threads, model hash ...), read back after `load`.

        `used_in_load` says what `load` already did of what a call does, or the first call would be said to be one.
        """

    def close(self) -> None:
        """Release what `load` took. Safe to call twice."""


class Translator(Engine):
    """Source text in, target clauses out.

    Class attributes:
        translates: False for an engine that leaves the text as it is; its output is not judged as a translation.
    """

    translates: ClassVar[bool] = True

    @abstractmethod
    def translate(self, text: str) -> Iterator[Clause]:
        """Yield the translation of one sentence, clause by clause, the last one with `final=True`.

        Raises:
            EngineError: this sentence cannot be translated; the engine stays usable.
        """


class Synthesizer(Engine):
    """Target text in, audio out."""

    unit: Unit

    @abstractmethod
    def synthesize(self, text: str) -> Iterator[AudioChunk]:
        """Yield the speech for `text` as soon as each piece exists.

        Raises:
            EngineError: this text cannot be spoken; the engine stays usable.
        """


def load(engine: Engine, device: Device) -> dict[str, Any]:
    """Load `engine` and return what really runs.

    Raises:
        EngineUnavailable: it cannot be loaded, or does not say what runs.
        UnsupportedDevice: the device is not there or does not fit.
    """
    name = type(engine).__name__
    try:
        engine.load(device)
        effective = engine.effective()
    except SttError:
        raise
    except ImportError as error:
        how = f"Run {install(engine.extra)} - or choose another engine." if engine.extra else ""
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        why = f"needs {missing}, which is not installed" if missing else f"cannot be loaded: {reason(error)}"  # fmt: skip
        raise EngineUnavailable(f"{name} {why}. {how}".strip()) from error
    except Exception as error:
        raise EngineUnavailable(f"{name} cannot be loaded: {reason(error)}") from error
    if not isinstance(effective, dict):
        raise EngineUnavailable(f"{name}.effective() must return a dict, not {effective!r}"[:200])
    return effective


def clause(made: object) -> Clause:
    """What a translator yielded.

    Raises:
        EngineError: it is something else.
    """
    if not isinstance(made, Clause) or not isinstance(made.text, str):
        raise EngineError(f"it must yield Clause(text), not {made!r}"[:200])
    return made


def chunk(made: object) -> AudioChunk:
    """What a synthesizer yielded.

    Raises:
        EngineError: it is something else.
    """
    if not isinstance(made, AudioChunk):
        raise EngineError(f"it must yield AudioChunk, not {type(made).__name__}")
    return made
