"""Formulas of conversation: what is said for a whole sentence, and greetings that the model knows."""

import re

import pytest

from stt.translator.names import _ASSETS
from stt.translator.phrases import formula, plainer
from stt.translator.stand_ins import stand_ins


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Nice!", "いいですね"),
        ("Sounds good.", "いいですね"),
        ("of course not", "もちろん違います"),
        ("One moment, please...", "少々お待ちください"),
    ],
)
def test_a_formula_is_said_as_a_whole(text, said):
    assert formula(text) == said
    hidden, written = stand_ins(text)
    assert written.written(hidden.replace("Bob", "ボブ")).startswith(said)


@pytest.mark.parametrize(
    "text", ["Nice work on the tests!", "Right-click the file.", "Stop the server.", "!", ""]
)
def test_what_only_begins_like_one_is_translated(text):
    assert formula(text) is None
    assert stand_ins(text)[0] == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hi there!", "Hello!"),
        ("Hey there, how are you?", "Hello, how are you?"),
        ("Hello again.", "Hello."),
        ("Hey!", "Hello!"),
        ("Hey, wait!", "Hey, wait!"),
        ("Hi Tom.", "Hello, Tom."),
        ("Dear Petrov, thank you.", "Hello, Petrov, thank you."),
        ("Good morning Priya, are you there?", "Good morning, Priya, are you there?"),
        ("Hi all, welcome.", "Hi all, welcome."),
        ("Hello there are two.", "Hello there are two."),
    ],
)
def test_greetings_are_those_that_the_model_knows(text, said):
    assert plainer(text) == said


def test_the_table_is_sorted_and_can_be_found():
    lines = (_ASSETS / "phrases.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert lines == sorted(set(lines))
    for line in lines:
        english, japanese = line.split("=")
        assert formula(english) == formula(english.capitalize() + "!") == japanese
        assert re.fullmatch(r"[a-z' ,]+", english)
        assert re.fullmatch(r"[ぁ-ゖァ-ヴー一-龥々、]+", japanese)
