"""Where sentences and clauses end, and how early that is known."""

from __future__ import annotations

import pytest

from stt.engine import Unit
from stt.errors import ConfigError
from stt.segment import Segmenter


def cut(text, unit=Unit.sentence, max_chars=400):
    segmenter = Segmenter(unit, max_chars, 20)
    return [segment.text for segment in segmenter.push(text) + segmenter.flush()]


@pytest.mark.parametrize(
    "sentences",
    [
        ["It works.", "Really!", "Does it?", "Yes."],
        ["Mr. Smith met Dr. Jones in St. Louis.", "They talked."],
        ["Use a list, e.g. three items, i.e. a few.", "Then stop."],
        ["See Fig. 3 and No. 5 on p. 12.", "No.", "I won't."],
        ["I like figs, art and a good rep.", "He sat.", "Look at the sun.", "It shines."],
        ["Apples, pears, etc. are fruit.", "We sell pens, ink, etc.", "Come in."],
        ["It costs $3.50 or 1,000.5 yen.", "Pi is 3.14.", "Good."],
        ["Python v3.11.2 is out.", "Get version 2.0.", "Now."],
        ["We meet at 3.30 p.m. on Monday.", "It ends at 5 p.m.", "Bring tea."],
        [
            "It is open 9 a.m. – 5 p.m. on weekdays.",
            "At 9 a.m. (UTC) we meet.",
            "It ends at 5 p.m.",
        ],
        ["J. R. R. Tolkien and J.K. Rowling write.", "So do I.", "Do you?"],
        ["She moved to the U.S.", "It was cold."],
        ["The U.S. Army paid Apple Inc. and Samsung Co. for it."],
        ["Wait... what is that?", "Hmm...", "I see."],
        ["Well… maybe.", "He said nothing…", "Then he left."],
        ['"Stop!" he said.', '"Why?"', "She left."],
        ['He said "Go."', "(They went.)", "“Good.”", "Fine."],
        ["Edit main.py and see example.com for .NET help.", "Done."],
        ["Is it Node.js?!", "Yes!!!", "Great."],
        ["今日は晴れ。", "「はい。」", "本当？", "ok."],
        ["Follow these steps: 1. Open it.", "2. Read it."],
        ["It starts at 10:30.", "The ratio is 16:9.", "Bring it."],
    ],
)
def test_sentences_are_told_apart(sentences):
    assert cut(" ".join(sentences)) == sentences


def test_a_block_of_html_ends_a_sentence_and_what_stands_in_code_does_not():
    table = "<tr><th>Name</th><th>Size</th></tr><tr><td>Bob</td><td>12</td></tr>"
    assert cut(table) == ["Name, Size", "Bob, 12"]
    page = "<h2>Title</h2><p>One <b>is</b> said. Two</P ><ul><li>three</li><li>four</li></ul>a < b"
    assert cut(page) == ["Title", "One is said.", "Two", "three", "four", "a < b"]
    assert cut("Close it with `</p>` in the end.") == ["Close it with </p> in the end."]


@pytest.mark.parametrize(
    ("start", "more", "known"),
    [
        ("<li>It works", "</li>", ["It works"]),
        ("It works", ". ", ["It works."]),
        ("It works.", "\n", ["It works."]),
        ("It works!", " ", ["It works!"]),
        ('He said "Go."', " ", ['He said "Go."']),
        ("**It works.**", " ", ["It works."]),
        ("今日は晴れ。", "明", ["今日は晴れ。"]),
        ("It works", "\n\n", ["It works"]),
        ("# Title", "\n", ["Title"]),
        ("An item\n", "- ", ["An item"]),
        ("Wait...", " S", ["Wait..."]),
        ("He goes to the U.S.", " It ", ["He goes to the U.S."]),
    ],
)
def test_a_sentence_is_out_with_the_first_character_that_decides_it(start, more, known):
    segmenter = Segmenter(Unit.sentence, 400, 20)
    found = segmenter.push(start)
    for character in more[:-1]:
        found += segmenter.push(character)
    assert not found
    assert [s.text for s in found + segmenter.push(more[-1])] == known


@pytest.mark.parametrize(
    "start",
    [
        "It costs 3.",
        "See example.",
        "Mr. ",
        "Wait... ",
        "In the U.S. A",
        "Use `a. b",
        "One\n",
        "No. ",
    ],
)
def test_a_sentence_is_held_back_while_it_may_go_on(start):
    assert not Segmenter(Unit.sentence, 400, 20).push(start)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A soft\nwrapped line.\nAnother one.", ["A soft wrapped line.", "Another one."]),
        ("A title\nThen text.", ["A title", "Then text."]),
        ("Use\n`pip` here.", ["Use pip here."]),
        ("One\n\ntwo", ["One", "two"]),
        (
            "- first\n- second. third\n  goes on\n* last",
            ["first", "second.", "third goes on", "last"],
        ),
        ("1. Open\n2. Read it\n10) Close", ["Open", "Read it", "Close"]),
        ("It was in\n12. May be.", ["It was in", "12. May be."]),
        ("2024. A year.", ["2024.", "A year."]),
        ("42.", ["42."]),
        ("# One\nText here\n## Two", ["One", "Text here", "Two"]),
        ("Title\n=====\nText", ["Title", "Text"]),
        ("One\n\n---\n\nTwo\n* * *\nThree", ["One", "Two", "Three"]),
        ("> quoted\n> text.\n\nMine", ["quoted text.", "Mine"]),
        ("Run:\n```py\nx = 1. y\n```\nDone.", ["Run:", "Done."]),
        ("Run:\n~~~\n```\n~~~\nDone.", ["Run:", "Done."]),
        ("> ```\n> code.\n> ```\nDone.", ["Done."]),
        ("```\nnever closed. Really", []),
        (
            "> Run:\n> ```sh\n> make\n\nThen read. It is\nlong.",
            ["Run:", "Then read.", "It is long."],
        ),
        ("> ```sh\n  > make\n   And on.", ["And on."]),
        ("| Name | Age |\n|:-----|----:|\n| Tom  | 5   |\n", ["Name, Age", "Tom, 5"]),
        (
            "| | Basic | Pro |\n| Backup. | ❌ | **✔️** |\n| API | ✅ (paid) | ✅ Yes |\n\n✅ Done.",
            ["Basic, Pro", "Backup.", "no, yes", "API, yes (paid), Yes", "Done."],
        ),
        ("Use `foo. Bar` now. Yes", ["Use foo. Bar now.", "Yes"]),
        ("A lone ` tick. Then more.", ["A lone tick.", "Then more."]),
        ("Great! 🎉 Next. 👍\n\n🚀", ["Great!", "Next."]),
        ("...\n\n!!!\n\n***", []),
    ],
)
def test_markdown_is_read_as_text(text, expected):
    assert cut(text) == expected


def test_a_segment_ends_at_its_last_character_in_the_source():
    text = "  **One.**  \n\nTwo `x`!\n"
    segmenter = Segmenter(Unit.sentence, 400, 20)
    segments = segmenter.push(text) + segmenter.flush()
    assert [text[s.start : s.end] for s in segments] == ["**One.**", "Two `x`!"]


def test_a_flush_starts_a_new_message_and_goes_on_counting():
    segmenter = Segmenter(Unit.sentence, 400, 20)
    segmenter.push("```\ncode")
    assert not segmenter.flush()
    segments = segmenter.push("Hello.") + segmenter.flush()
    assert [(s.text, s.start, s.end) for s in segments] == [("Hello.", 8, 14)]


def test_clauses_are_cut_where_both_sides_are_long_enough():
    text = (
        "If you translate into your own native language, rather than the other way around, "
        "you will be right, and rich. Yes, of course. It costs 1,000,000 yen at 10:30 in the morning."
    )
    assert cut(text, Unit.clause) == [
        "If you translate into your own native language,",
        "rather than the other way around,",
        "you will be right, and rich.",
        "Yes, of course.",
        "It costs 1,000,000 yen at 10:30 in the morning.",
    ]


def test_text_without_an_end_is_cut_at_a_space_and_none_is_lost():
    words = [f"w{n}" for n in range(400)]
    found = cut(" ".join(words), max_chars=100)
    assert max(map(len, found)) <= 100
    assert min(map(len, found[:-1])) > 80
    assert " ".join(found).split() == words


def test_a_text_that_is_too_long_is_not_cut_inside_a_number():
    assert cut("aaaa bbbb cccc 1,000,000 dddd", max_chars=20) == [
        "aaaa bbbb cccc",
        "1,000,000 dddd",
    ]


def test_a_word_longer_than_the_limit_is_cut_and_none_of_it_is_lost():
    found = cut("x" * 1050, max_chars=100)
    assert [len(s) for s in found] == [100] * 10 + [50]


def test_a_limit_that_would_cut_nothing_off_is_refused():
    with pytest.raises(ConfigError, match=r"max_chars must be above 0"):
        Segmenter(Unit.sentence, 0, 20)
