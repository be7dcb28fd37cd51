"""Errors a person may meet. Each message says what happened, why, and what to do now."""


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


def reason(error: Exception) -> str:
    """What to tell people: our own errors are sentences, others need their kind before them."""
    return str(error) if isinstance(error, SttError) else f"{type(error).__name__}: {error}"
