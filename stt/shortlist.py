"""Which target tokens a source makes likely: the output layer scores these instead of all.

`shortlist.safetensors` (made by `experiments/embedded_model/shortlist.py`) holds `always` [A], the
target tokens that are always scored, and `likely` with `ends`: source token i adds
likely[ends[i - 1]:ends[i]]. Ids are those of the checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stt import embedded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Shortlist:
    """The lists of a checkpoint, numbered as an engine numbers the tokens.

    Args:
        directory: of the checkpoint.
        tokens: its vocabulary in the engine's order; special tokens and languages come first.
    """

    def __init__(self, directory: Path, tokens: list[str]) -> None:
        import numpy as np
        from safetensors.numpy import load_file

        lists = load_file(directory / embedded.SHORTLIST)
        vocabulary = embedded.vocabulary(directory)
        place = {token: i for i, token in enumerate(tokens)}
        ours = np.array([place[token] for token in vocabulary])
        first = len(embedded.SPECIAL_TOKENS) + len(embedded.languages(directory))
        self.tokens = tokens
        self.always: NDArray[np.bool_] = np.zeros(len(tokens), np.bool_)
        self.always[:first] = self.always[ours[lists["always"]]] = True
        rows = zip(vocabulary, np.split(lists["likely"], lists["ends"][:-1]), strict=True)
        self.likely = {t: ours[row] for t, row in rows if len(row) and place[t] >= first}

    def scored(self, source: list[str]) -> NDArray[np.intp]:
        """Ids of the target tokens that are scored for a source, ascending."""
        import numpy as np

        chosen = self.always.copy()
        for token in source:
            if (row := self.likely.get(token)) is not None:
                chosen[row] = True
        return np.flatnonzero(chosen)

    def vocabulary_map(self) -> bytes:
        """The lists as CTranslate2 reads them: source token, tab, targets; no token: always."""
        rows = {"": self.always.nonzero()[0], **self.likely}
        lines = (f"{key}\t{' '.join(self.tokens[i] for i in row)}\n" for key, row in rows.items())
        return "".join(lines).encode()
