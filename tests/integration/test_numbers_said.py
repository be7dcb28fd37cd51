"""Each number of a sentence is in what the packaged model says of it, and none that is not in the sentence."""

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from stt.translator.figures import figures
from stt.translator.numbers import stand_ins

SENTENCES = (Path(__file__).parents[1] / "fixtures" / "numbers.txt").read_text().splitlines()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
LARGE = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12, "万": 4, "億": 8, "兆": 12}
FIGURES = r"\d+(?:,\d{3})*(?:\.\d+)*"
A_UNIT = re.compile(r"\b(?:a|an|one|per|each|every)\b", re.I)  # per second is 1秒あたり


def number(figures, scale=""):
    figures = figures.replace(",", "")
    if figures.count(".") > 1:
        return figures
    return (Decimal(figures) * 10 ** LARGE.get(scale, 0)).normalize()


def in_english(text):
    text = re.sub(rf"\b({'|'.join(MONTHS)})\b", lambda m: str(MONTHS.index(m[1]) + 1), text)
    text = re.sub(
        r"\b(\d+(?:\.\d+)?) (to|and) (\d+(?:\.\d+)?) (\w+illion)", r"\1 \4 \2 \3 \4", text
    )
    text = re.sub(r"\b12(:\d\d)?(?= [ap]\.?m)", r"0\1", re.sub(r":00\b(?!:\d[1-9])", "", text))
    scales = "|".join(scale for scale in LARGE if scale.isascii())
    return Counter(number(m[1], m[2]) for m in re.finditer(rf"({FIGURES})(?: ({scales})\b)?", text))


def in_japanese(text):
    found = Counter()
    for whole in re.finditer(rf"(?:{FIGURES}[万億兆])*(?:{FIGURES})?", text):
        parts = re.findall(rf"({FIGURES})([万億兆]?)", whole[0])
        values = [number(*part) for part in parts]
        if values:
            found[values[0] if len(values) == 1 else sum(values).normalize()] += 1
    return found


def wrong(text, said):
    source, given = in_english(text), in_japanese(said)
    more = given - source
    units = A_UNIT.search(text) and set(more) == {Decimal(1)}
    return bool(source - given or (more and not units))


@pytest.mark.engine
def test_numbers_in_words_are_said_too(say):
    """Without figures every second one was another number."""
    words = ("fourteen", "nineteen", "thirty-seven", "sixty", "ninety-two", "two hundred and fifty")
    words += ("three thousand two hundred", "twelve thousand five hundred", "twenty thousand")
    after = "We waited for {} hours. There are {} people in the room. It costs {} dollars. The list contains {} items."
    texts = [text.format(n) for text in after.split(". ") for n in words]
    damaged = [(t, said) for t in texts if wrong(figures(t), said := say(t))]
    assert len(damaged) <= 1, damaged


@pytest.mark.engine
def test_numbers_are_said_as_they_are_written(say):
    damaged = [(text, said) for text in SENTENCES if wrong(text, said := say(text))]
    # Another CPU rounds otherwise, and another rounding may lose one.
    assert len(damaged) <= len(SENTENCES) // 50, damaged


def test_the_sentences_are_about_stand_ins():
    changed = [text for text in SENTENCES if stand_ins(text)[0] != text]
    assert len(changed) > len(SENTENCES) / 2 > 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It has 1.2 million rows.", "120万行です"),
        ("It has 1,234,567 rows.", "123万4567行です"),
        ("On May 4 at 9:00", "5月4日の9時"),
        ("At 12:30 a.m.", "午前0時30分"),
        ("It has 5 rows per page.", "1ページに5行です"),
        ("Version 3.11.2", "バージョン3.11.2"),
    ],
)
def test_what_is_right_is_known(text, said):
    assert not wrong(text, said)
    assert wrong(text, re.sub(r"[0135]", "7", said))
    assert wrong(text, said + "、8")
