"""The output rows that translator.vocabulary=FILE keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stt.errors import ConfigError


def kept(file: str, tokenizer: Any, always: set[int]) -> list[int]:
    """Token ids, ascending, of the tokens in `file` (UTF-8, one a line) and of `always`.

    Raises:
        ConfigError: the file cannot be read, or a token of it is not the model's.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"translator.vocabulary={file} cannot be read ({error}). "
            f"Name a UTF-8 file with one token a line, or write full."
        ) from error
    tokens = [line for line in lines if line]
    ids = tokenizer.convert_tokens_to_ids(tokens)
    wrong = [
        token
        for token, i in zip(tokens, ids, strict=True)
        if i == tokenizer.unk_token_id and token != tokenizer.unk_token
    ]
    if wrong:
        raise ConfigError(
            f"translator.vocabulary={file}: {len(wrong)} tokens are not in the "
            f"model's vocabulary, the first is {wrong[0]!r}. Make the file from this model."
        )
    return sorted({*ids, *always})
