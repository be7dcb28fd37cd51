"""How good the translations are: scores against references, and a guard that needs none."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stt.messages import LOST


def chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    """Character n-gram F-score of a corpus (Popović 2015), as sacrebleu computes it; 0 to 100."""
    return _score(_metric("chrf"), translations, references)


def bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of a corpus over characters, which need no Japanese tokenizer; 0 to 100."""
    return _score(_metric("bleu"), translations, references)


def messages(records: Iterable[Mapping[Any, Any]]) -> dict[tuple[str, str], str]:
    """Translations of the first pass by message and reference, where there is one; what was not spoken to its end,
    whichever engine failed, said nothing.

    A corpus line of two sentences is two utterances (s007, s007.2) with one reference.
    """
    known = [r for r in records if isinstance(r["reference"], str)]
    first = min((r["pass"] for r in known), default=0)
    said: dict[tuple[str, str], str] = defaultdict(str)
    for r in known:
        if r["pass"] == first:
            text = "" if r["status"] in LOST else r["translation"]
            said[re.sub(r"\.\d+$", "", r["id"]), r["reference"]] += text
    return said


def paired_p(
    translations: Sequence[str], baseline: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Chance of a difference this large, by metric, if both were equally good.

    Paired bootstrap resampling (Koehn 2004) with sacrebleu's fixed seed, 1000 samples.
    """
    from sacrebleu.significance import PairedTest

    if list(translations) == list(baseline):  # sacrebleu would call a difference of 0 significant
        return {"chrf": 1.0, "bleu": 1.0}
    metrics = {name: _metric(name) for name in ("chrf", "bleu")}
    systems: Any = [("baseline", list(baseline)), ("translations", list(translations))]
    test = PairedTest(systems, metrics, [list(references)], test_type="bs", n_samples=1000)
    table: dict[str, Any] = test()[1]
    columns = [column for name, column in table.items() if name != "System"]
    return {name: float(column[1].p_value) for name, column in zip(metrics, columns, strict=True)}


def _metric(name: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return CHRF() if name == "chrf" else BLEU(tokenize="char")


def _score(metric: Any, translations: Sequence[str], references: Sequence[str]) -> float:
    return float(metric.corpus_score(list(translations), [list(references)]).score)


SYLLABLE_CHARS, SYLLABLE_TIMES, PHRASE_TIMES = 2, 7, 4
"""More repeats than anyone means: a syllable seven times (ははは...), or a phrase four times."""

LOOP = re.compile(
    rf"(.{{1,{SYLLABLE_CHARS}}}?)\1{{{SYLLABLE_TIMES - 1},}}"
    rf"|(.{{{SYLLABLE_CHARS + 1},40}}?)\2{{{PHRASE_TIMES - 1},}}",
    re.DOTALL,
)

LOOP_CHARS = 2000
"""Only the end of a translation is searched for loops; there they run into the length limit."""

WIDTH_RATIO = (0.15, 5.0)
"""Usual bounds of target width over source width, in columns (a kanji or kana takes two)."""


def degeneration(source: str, translation: str, language: str = "jpn_Jpan") -> str | None:
    """Why `translation` cannot be a translation of `source`; None when nothing speaks against it.

    Catches nothing said, loops, in Japanese (`language`, NLLB's codes) another script, and lengths
    no translation has. It does not judge meaning, and errs towards None. A source without letters
    or digits may become anything.
    """
    if not any(c.isalnum() for c in source):
        return None
    letters = [c for c in translation if c.isalnum()]
    if not letters:
        return "empty: nothing in it can be spoken"
    if loop := _loop(source, translation):
        return f"repetition: {loop[:20]!r} again and again"
    if language == "jpn_Jpan" and (script := _foreign_script(source, letters)):
        return f"wrong script: {script}"
    width, source_width = _columns(translation), _columns(source)
    low, high = WIDTH_RATIO
    if width > high * source_width + 24:
        return f"too long: {width} columns for {source_width} of source"
    if width < low * source_width - 6:
        return f"too short: {width} columns for {source_width} of source"
    return None


def repeats(unit: str) -> int:
    """How often in a row `unit` makes a loop."""
    return SYLLABLE_TIMES if len(unit) <= SYLLABLE_CHARS else PHRASE_TIMES


def _loop(source: str, translation: str) -> str | None:
    """The unit of a run of repeats, unless the source has the same run."""
    for found in LOOP.finditer(translation[-LOOP_CHARS:]):
        unit = found[1] or found[2]
        if any(c.isalpha() for c in unit) and found[0] not in source:
            return unit
    return None


def _foreign_script(source: str, letters: list[str]) -> str | None:
    """A script that neither Japanese nor the source uses, if much of the text is in it."""
    foreign = [c for c in letters if _script(c) == "other" and c not in source]
    if len(foreign) > 0.3 * len(letters):
        return f"{''.join(foreign[:10])!r} is not Japanese"
    words = [c for c in letters if _script(c) != "digit"]
    latin = sum(_script(c) == "latin" for c in words)
    if words and latin == len(words) and latin > 3 and len(source.split()) > 3:
        return "no Japanese in it"
    return None


def _script(char: str) -> str:
    if char.isdigit():
        return "digit"
    name = unicodedata.name(char, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "IDEOGRAPHIC")):
        return "japanese"
    return "latin" if "LATIN" in name or "GREEK" in name else "other"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
