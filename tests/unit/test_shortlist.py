"""The shortlist scores what CTranslate2 scores, and what a translation needs."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt import embedded
from stt.shortlist import Shortlist

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def lists():
    files, _ = embedded.ctranslate2_files()
    tokens = json.loads(files["shared_vocabulary.json"])
    lines = files["vmap.txt"].decode().split("\n")[:-1]
    rules = {key: row.split(" ") for key, row in (line.split("\t") for line in lines)}
    return Shortlist(embedded.EMBEDDED, tokens), rules


@settings(max_examples=30, deadline=None)
@given(picked=st.lists(st.integers(0, 12287), max_size=30))
def test_what_is_scored_is_what_the_vocabulary_map_says(lists, picked):
    shortlist, rules = lists
    source = [shortlist.tokens[i] for i in picked]
    want = set(rules[""]).union(*(rules.get(token, []) for token in source))
    scored = shortlist.scored(["eng_Latn", *source, "</s>", "unheard-of"])
    assert [shortlist.tokens[i] for i in scored] == [t for t in shortlist.tokens if t in want]


def test_special_tokens_and_languages_come_first_and_are_always_scored(lists):
    shortlist, _ = lists
    assert shortlist.tokens[:6] == [*embedded.SPECIAL_TOKENS, *embedded.languages()]
    np.testing.assert_array_equal(shortlist.scored([])[:6], range(6))


def test_it_is_short_and_every_token_can_be_copied(lists):
    shortlist, _ = lists
    assert len(shortlist.scored([])) < len(shortlist.tokens) / 4
    for i, token in enumerate(shortlist.tokens):
        assert i in shortlist.scored([token])
