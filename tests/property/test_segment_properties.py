"""Segmentation: the same text gives the same sentences, however it arrives, and none of it is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stt.engine import Unit
from stt.segment import Segmenter

PIECES = st.sampled_from(
    ["Hello", "Mr.", " ", " ", ". ", "! ", "? ", "3.14", "v1.2.3", "e.g. ", "\n", "\n\n", ", ",
     "`a. b`", "U.S. ", "...", "\"", "**", "The server", "is back", "3 p.m. ", "- ", "日本。", "https://a.b/c "]
)  # fmt: skip
TEXT = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80)


def whole(text, unit=Unit.sentence):
    segmenter = Segmenter(unit, 200, 12)
    return segmenter.push(text) + segmenter.flush()


@given(TEXT, st.lists(st.integers(0, 200), max_size=8), st.sampled_from(list(Unit)))
@settings(max_examples=300)
def test_any_split_of_the_text_gives_the_same_segments(text, cuts, unit):
    segmenter = Segmenter(unit, 200, 12)
    found, at = [], 0
    for cut in [*sorted(c for c in cuts if c < len(text)), len(text)]:
        found += segmenter.push(text[at:cut])
        at = cut
    assert found + segmenter.flush() == whole(text, unit)


@given(TEXT, st.integers(0, 200))
def test_no_later_character_undoes_a_segment(text, cut):
    early = Segmenter(Unit.sentence, 200, 12).push(text[:cut])
    assert whole(text)[: len(early)] == early


@given(st.lists(st.text(alphabet="abcdef", min_size=1, max_size=8), min_size=1, max_size=30))
def test_no_word_is_lost(words):
    text = " ".join(words) + ". " + " ".join(words)
    assert (
        "".join(s.text for s in whole(text)).replace(" ", "").replace(".", "") == "".join(words) * 2
    )
