"""A loop is noticed while it is decoded, and the sentence is decoded again without it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.device import Device
from stt.quality import degeneration
from stt.translator.ct2 import CTranslate2, Precision
from stt.translator.loops import ATTEMPTS, first_loop, loop

LOOPED = (
    "Some virus scanners have been known to introduce startup overhead of two orders of magnitude "
    "when the scanner is configured to monitor all reads from the filesystem."
)


@pytest.mark.parametrize(
    ("tokens", "source", "group"),
    [
        (["▁ウ", "イル", *7 * ["ス"]], "virus", ["ス"]),
        (["▁ウ", "イル", *6 * ["ス"]], "virus", []),
        (["▁", *4 * ["その", "結果", "、"]], "As a result", ["その", "結果", "、"]),
        (["▁", *7 * ["0"]], "10000000", []),
        (["▁", *9 * ["―"]], "dash", []),
        (4 * ["▁...", "▁el", "if"], "if ... elif ... elif ... else", []),
        (3 * ["▁el", "if", "▁..."], "if", []),
    ],
)
def test_only_what_nobody_would_say_is_a_loop(tokens, source, group):
    assert loop(tokens, source) == group
    assert first_loop([*tokens, "キャ", "ナー"], source) == group


@given(
    st.lists(st.sampled_from(["あ", "いう", "▁え", "、"]), max_size=6),
    st.lists(st.sampled_from(["か", "きく", "▁け"]), min_size=1, max_size=8),
)
def test_every_endless_loop_is_found(before, group):
    assert first_loop(before + 40 * group, "")


class Scripted:
    """Stands for CTranslate2: says `clauses`, when asked again what it is given and `cured`; stops when the callback asks."""

    def __init__(self, clauses, cured):
        self.clauses, self.cured, self.asked = clauses, cured, []

    def translate_batch(self, sources, target_prefix, callback=None, suppress_sequences=(), **_):
        from types import SimpleNamespace

        self.asked.append((target_prefix[0], list(suppress_sequences)))
        cured = len(self.asked) > 1 and self.cured
        tokens = [*target_prefix[0][1:], *self.cured] if cured else self.clauses
        said = []
        for number, token in enumerate(["jpn_Jpan", *tokens]):
            said.append(token)
            if callback and callback(SimpleNamespace(step=number, token=token)):
                break
        return [SimpleNamespace(hypotheses=[said])]


@pytest.fixture
def translator():
    made = CTranslate2(
        "embedded", Precision.int8, 1, 256, 1, 1, source_language="eng_Latn", target_language="jpn_Jpan"
    )  # fmt: skip
    made.load(Device("cpu", 1))
    yield made
    made.close()


def test_clauses_already_handed_over_are_kept_and_not_said_twice(translator):
    head = ["▁雨", "なら", "、"]
    engine = Scripted([*head, *200 * ["ス"]], ["家", "に", "いる", "。", "</s>"])
    translator._translator = engine
    clauses = list(translator.translate("If it rains, I stay."))
    assert [clause.text for clause in clauses] == ["雨なら、", "家にいる。"]
    assert [clause.tokens for clause in clauses] == [3, 5]
    assert clauses[-1].final
    assert not clauses[-1].truncated
    assert engine.asked == [(["jpn_Jpan"], []), (["jpn_Jpan", *head], [["ス", "ス"]])]


def test_a_loop_of_clauses_is_left_where_it_was_noticed(translator):
    engine = translator._translator = Scripted(200 * ["三人", "、"], ["でね", "。", "</s>"])
    clauses = list(translator.translate("Three of us, three."))
    assert [clause.text for clause in clauses] == ["三人、", "三人、", "三人、", "でね。"]
    assert not clauses[-1].truncated
    given, forbidden = engine.asked[1]
    assert (given[1:], forbidden) == (3 * ["三人", "、"], [2 * ["三人", "、"]])
    assert len(engine.asked) == 2


def test_a_loop_that_does_not_end_is_cut_off_after_some_attempts(translator):
    engine = translator._translator = Scripted([*200 * ["ス"]], None)
    (clause,) = translator.translate("Snakes.")
    assert len(engine.asked) == 1 + ATTEMPTS
    assert clause.truncated
    assert len(clause.text) == 7


@pytest.mark.engine
@pytest.mark.parametrize("beam", [1, 2])
def test_the_packaged_model_ends_a_sentence_it_looped_in(translator, beam):
    translator.beam = beam
    said = "".join(clause.text for clause in translator.translate(LOOPED))
    assert degeneration(LOOPED, said) is None
