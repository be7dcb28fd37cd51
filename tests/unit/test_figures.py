"""Numbers in words become figures where they are one number, and nothing else changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stt.translator import tidy
from stt.translator.figures import figures

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(n: int, conjunction: str) -> str:
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):  # fmt: skip
        if n >= size:
            head, rest = divmod(n, size)
            joined = conjunction if rest < 100 else " "
            return f"{in_words(head, conjunction)} {name}" + (
                f"{joined}{in_words(rest, conjunction)}" if rest else ""
            )
    raise AssertionError(n)


def number(text: str) -> int:
    found = re.fullmatch(r"([\d,]+)(?: (million|billion))?", text)
    assert found, text
    return int(found[1].replace(",", "")) * {"million": 10**6, "billion": 10**9}.get(found[2], 1)


@given(st.integers(13, 10**12 - 1), st.sampled_from([" and ", " "]))
@example(200, " ")
@example(1_000_013, " and ")
def test_every_number_is_found_whole(n, conjunction):
    words = in_words(n, conjunction)
    assert number(figures(words)) == n
    said = figures(f"We saw {words} of them, and then rested.")
    assert number(said.removeprefix("We saw ").removesuffix(" of them, and then rested.")) == n
    assert number(figures(words.capitalize())) == n


@pytest.mark.parametrize("n", range(13))
def test_small_numbers_stay_words(n):
    assert figures(f"We saw {ONES[n]} of them.") == f"We saw {ONES[n]} of them."


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Thirty-seven people", "37 people"),
        ("It was late. Forty of us stayed.", "It was late. 40 of us stayed."),
        ("in nineteen eighty-four", "in 1984"),
        ("since twenty twenty-five", "since 2025"),
        ("at seven thirty", "at 7:30"),
        ("from nine fifteen to ten forty-five", "from 9:15 to 10:45"),
        ("a hundred and fifty times", "150 times"),
        ("a fifteen-minute break", "a 15-minute break"),
        ("a twenty-four-hour service", "a 24-hour service"),
        ("ninety-nine point nine percent", "99.9 percent"),
        ("between thirteen and nineteen", "between 13 and 19"),
        ("five million users", "5 million users"),
        ("the twenty-first century", "the 21st century"),
        ("the seventeenth of May", "the 17th of May"),
        ("her ninety-third birthday", "her 93rd birthday"),
    ],
)
def test_what_is_said_as_one_number_is_written_as_one(text, written):
    assert figures(text) == written


@pytest.mark.parametrize(
    "text",
    [
        *("a hundred times", "hundreds of people", "several hundred and fifty", "a million and a half"),
        *("one two three", "fifty-fifty", "nine eleven", "eleven twelve", "seven thirty", "at five thirty-minute talks"),
        *("I like Twenty One Pilots.", "Chapter Twenty", "Her Twenty-First Birthday", "in his twenties"),
        *("a thirty-second timeout", "the fifth one", "two and a half million", "fourteener", "32 thousand"),
        *("twenty's", "$20 thousand", "no one knows"),
    ],
)  # fmt: skip
def test_what_is_no_single_number_stays(text):
    assert figures(text) == text


@given(st.text(alphabet="abcdefg ,.!-'0123456789"))
def test_other_text_stays(text):
    assert figures(text) == text


def test_only_the_packaged_model_is_given_figures():
    known = frozenset(map(chr, range(32, 127)))
    assert tidy("We saw forty-two of them.", 256)[0] == "We saw forty-two of them."
    said, numbers = tidy("We saw forty-two of them.", 256, known)
    assert "forty" not in said
    assert "42" in numbers.written(said)
