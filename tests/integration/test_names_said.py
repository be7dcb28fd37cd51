"""Names that are in none of the packaged model's pairs are in what it says, whichever engine runs it."""

import pytest

NAMES = (
    "Kowalczyk Nakagawa Okonkwo Lindqvist Petrov Oyelaran Haverkamp Ishikawa Quarnstrom Velasquez Brzezinski Tremblay "
    "Wojcik Marlowe Adeyemi Castellanos Yilmaz Terraform Grafana Spotify Aisha Olumide Giulia Zoltan"
).split()
SENTENCES = (
    "My name is {}.",
    "I talked to {} yesterday.",
    "{} will come tomorrow.",
    "Do you know {}?",
    "The {} service returns an error, and the log is empty.",
    "We saw {}'s car in front of the house.",
)


pytestmark = pytest.mark.engine


def test_unknown_names_come_through(say):
    said = {(name, text): say(text.format(name)) for name in NAMES for text in SENTENCES}
    lost = {case: text for case, text in said.items() if text.count(case[0]) != 1}
    assert len(lost) <= 2, lost


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("It is raining in Washington today.", "ワシントン"),
        ("The flight to Los Angeles leaves at 8.", "ロサンゼルス"),
        ("I want to visit Seoul and Prague next year.", "ソウル"),
        ("I want to visit Seoul and Prague next year.", "プラハ"),
        ("Sven flew from Seoul to Los Angeles, and Priya stayed in Prague.", "プラハ"),
        ("Priya told Sven that Michael was late.", "プリヤ"),
        ("Okonkwo paid 1,250,000 yen on May 4.", "125万"),
        ("Okonkwo paid 1,250,000 yen on May 4.", "Okonkwo"),
    ],
)
def test_known_names_have_their_japanese_form(say, text, name):
    assert name in say(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Nice!", "いいですね!"),
        ("Got it.", "わかりました。"),
        ("What's next?", "次は何ですか?"),
        ("Hi there!", "こんにちは。"),
        ("Good bye.", "さようなら。"),
    ],
)
def test_formulas_of_conversation_are_right(say, text, said):
    assert say(text) == said
