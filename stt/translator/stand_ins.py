"""What the packaged model gets wrong, behind stand-ins that it copies: formulas, numbers and names."""

from __future__ import annotations

from dataclasses import dataclass, field

from stt.translator import names, numbers
from stt.translator.numbers import Numbers
from stt.translator.phrases import formula, plainer


@dataclass(frozen=True, slots=True)
class StandIns:
    """What is written in a translation in place of each stand-in of its sentence."""

    numbers: Numbers = field(default_factory=Numbers)
    names: dict[str, str] = field(default_factory=dict)

    def written(self, translation: str) -> str:
        """`translation`, or a clause of it, with the names and numbers of the sentence."""
        return self.numbers.written(names.restored(translation, self.names))


def stand_ins(text: str) -> tuple[str, StandIns]:
    """`text` with stand-ins, and what they stand for; a formula has one for the whole sentence."""
    if phrase := formula(text):
        mark = text[-1] if text[-1] in "!?" else "."
        return f"Bob{mark}", StandIns(names={"Bob": phrase})
    text, amounts = numbers.stand_ins(plainer(text))
    text, named = names.stand_ins(text)
    return text, StandIns(amounts, named)
