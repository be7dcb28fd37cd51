"""Errors a person may meet. Each message says what happened, why, and what to do now."""

from __future__ import annotations

import traceback
from pathlib import Path

_PACKAGE = Path(__file__).parent


class SttError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(SttError):
    """The configuration asks for something that does not exist or does not fit."""


class EngineUnavailable(SttError):
    """An engine cannot be loaded here: a missing extra, model file or system library."""


class UnsupportedDevice(SttError):
    """The engine does not run on the chosen device, or the device is not in this machine."""


class EngineError(SttError):
    """A loaded engine failed on one sentence; the stream goes on with the next."""


class ResultsError(SttError):
    """A result folder cannot be written, read or compared."""


def install(extra: str) -> str:
    """The line that installs an extra, in the versions this package was tested with."""
    return f"in your checkout: pip install -c constraints.txt -e '.[{extra}]'"


def reason(error: Exception) -> str:
    """What to tell people: our own errors are sentences, others need their kind and the line of the engine."""
    if isinstance(error, SttError):
        return str(error)
    frames = [
        (Path(f.f_code.co_filename), line) for f, line in traceback.walk_tb(error.__traceback__)
    ]
    # Engines lie in folders (stt/tts/...); what lies above only calls them.
    own = [(path, line) for path, line in frames if path.parent.parent == _PACKAGE]
    where = f" ({own[-1][0].relative_to(_PACKAGE.parent)}, line {own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {error}{where}"
