"""Errors a person may meet. Each message says what happened, why, and what to do now."""

from __future__ import annotations

import difflib
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


def refusals() -> tuple[type[Exception], ...]:
    """What a bad override or a YAML file that cannot be read raises."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    return HydraException, OmegaConfBaseException, YAMLError


def refused(error: Exception) -> ConfigError:
    """What Hydra, OmegaConf or YAML says over many lines, in one, with what to do."""
    text, mark = str(error), getattr(error, "problem_mark", None)
    override = getattr(error, "override", None)
    if mark is not None:
        problem = getattr(error, "problem", "")
        return ConfigError(f"{mark.name}, line {mark.line + 1}: this is no YAML: {problem}.")
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    said = ": ".join(dict.fromkeys(map(first_line, causes)))
    hints = {
        "your default list use": f"Write {text.rpartition(' use ')[2]}",
        "To sweep over it": "To sweep over these values add -m; for a list write key=[a,b], for a text key='\"a,b\"'",
        "missing EQUAL": "It needs a value: name=value",
        "Multiple values for": "Name one of them",
    }
    hint = next((hint for sign, hint in hints.items() if sign in text), None)
    if hint is None and override is not None:  # a parser's words, which do not even name it
        said = f"{override} cannot be read ({said})"
        hint = "Write name=value without spaces around =, and a text with special characters name='\"a (b)\"'"
    return ConfigError(
        f"{said}. {hint or '`python -m stt.run --cfg job` shows every key and its value'}."
    )


def first_line(error: BaseException) -> str:
    """The first line of an error; of a key that does not exist, the nearest that do."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    if isinstance(error, ConfigKeyError | ConfigAttributeError) and error.parent_node is not None:
        known = [str(key) for key in error.parent_node if key not in ("_target_", "hydra")]
        near = ", ".join(difflib.get_close_matches(str(error.key), known) or known)
        return f"there is no key {error.full_key}" + (
            f", nearest: {near}" if near else ", nor any other"
        )
    return str(error).partition("\n")[0].rstrip(".")
