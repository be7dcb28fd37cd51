"""Translators: one file per engine, and what bounds their input."""

from __future__ import annotations

import re
from typing import Any

from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.translator.figures import figures
from stt.translator.plain import plain
from stt.translator.stand_ins import StandIns, stand_ins

LONGEST_TOKEN_CHARS = 16
"""No sentencepiece token of a usual vocabulary stands for more characters."""


def tidy(text: str, max_length: int, known: frozenset[str] = frozenset()) -> tuple[str, StandIns]:
    """`text` with single spaces, before it is tokenized; with `known`, in these characters, numbers and names behind stand-ins.

    Raises:
        EngineError: it cannot fit into `max_length` tokens, however they are cut, or no letter
            of it is known.
    """
    text = " ".join(text.split())
    if len(text) > max_length * LONGEST_TOKEN_CHARS:
        raise too_long(text, max_length)
    if not known:
        return text, StandIns()
    said = plain(text, known)
    # The vocabulary shares its characters with the target language: other scripts are no text to translate.
    if any(map(str.isalnum, text)) and not any(c.isalnum() for c in said if c.isascii()):
        raise EngineError(
            f"The model cannot read {text[:30]!r}: it knows none of these letters. "
            f"Write English, or choose another translator."
        )
    return stand_ins(figures(said))


def too_long(text: str, max_length: int) -> EngineError:
    """What to say about a sentence that the model cannot read."""
    return EngineError(
        f"A sentence of {len(text)} characters ({text[:30]!r}...) has more than "
        f"translator.max_length={max_length} tokens. "
        f"Write shorter sentences, or choose segment=clause."
    )


def not_here(model: str, revision: str | None, instead: str) -> EngineUnavailable:
    """What to say about a model that was never downloaded. `instead`: a translator that needs no download."""
    at = f" --revision {revision}" if revision else ""
    return EngineUnavailable(
        f"The model {model} is not on this machine. Where there is a network, run: "
        f"hf download {model}{at} --include '*.json' '*.model' '*.safetensors' - "
        f"or choose translator={instead}, which needs no download."
    )


def encode(
    text: str, max_length: int, known: frozenset[str], pieces: Any, language: str
) -> tuple[list[str], StandIns]:
    """Source tokens of NLLB, `language` first, and what stands for numbers and names among them.

    Args:
        known: as `tidy` takes it.
        pieces: a SentencePieceProcessor.

    Raises:
        EngineError: longer than the model can read, or nothing it can read.
    """
    said, hidden = tidy(text, max_length, known)
    found = pieces.encode(said, out_type=str)
    if len(found) + 2 > max_length:
        raise too_long(text, max_length)
    return [language, *found, "</s>"], hidden


def check_length(model: str, max_length: int, positions: int) -> None:
    """Refuse more tokens than the model has positions.

    Raises:
        ConfigError: with the most there are.
    """
    if max_length > positions:
        raise ConfigError(
            f"translator.max_length={max_length}: the model {model} has {positions} positions. "
            f"Choose {positions} or fewer."
        )


def check_languages(model: str, known: list[str], *languages: str) -> None:
    """Refuse a language that is no token of the model.

    Raises:
        ConfigError: with those that are.
    """
    for language in languages:
        if language not in known:
            raise ConfigError(
                f"The model {model} does not know the language {language}. Choose "
                f"language.source and language.target from: "
                f"{', '.join(t for t in known if re.fullmatch('[a-z]{3}_[A-Z][a-z]{3}', t))}."
            )
