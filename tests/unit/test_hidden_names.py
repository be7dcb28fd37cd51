"""Stand-ins for names: what is taken for a name, and what is written in its place."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.translator.names import _ASSETS, restored, stand_ins


@pytest.mark.parametrize(
    ("text", "said", "written"),
    [
        ("My name is Okonkwo.", "My name is Bob.", {"Bob": "Okonkwo"}),
        ("Okonkwo wrote this.", "Bob wrote this.", {"Bob": "Okonkwo"}),
        ("Is this Petrov's car?", "Is this Bob's car?", {"Bob": "Petrov"}),
        ("We flew to Washington.", "We flew to Bob.", {"Bob": "ワシントン"}),
        ("I live in Los Angeles.", "I live in Bob.", {"Bob": "ロサンゼルス"}),
        (
            "The United States of America and Elon Musk.",
            "The Bob and Tom.",
            {"Bob": "アメリカ合衆国", "Tom": "イーロン・マスク"},
        ),
        ("The UK left the EU.", "The Bob left the Tom.", {"Bob": "イギリス", "Tom": "EU"}),
        ("Oluwaseun Adeyemi called.", "Bob called.", {"Bob": "Oluwaseun Adeyemi"}),
        ("David Okonkwo called.", "Bob called.", {"Bob": "デイビッド・Okonkwo"}),
        ("Bob met Sven.", "Bob met Tom.", {"Tom": "スヴェン"}),
        ("Petrov met Petrov.", "Bob met Bob.", {"Bob": "Petrov"}),
        ("Ask Petrov or Okonkwo.", "Ask Bob or Tom.", {"Bob": "Petrov", "Tom": "Okonkwo"}),
    ],
)
def test_a_name_that_the_model_does_not_know_has_a_stand_in(text, said, written):
    assert stand_ins(text) == (said, written)


@pytest.mark.parametrize(
    "text",
    [
        "Unfortunately, the server is down.",
        "Deduplicate the rows.",  # an order, though the word is not known
        "Parallelization pays.",  # an English word by its end
        "Click Save, then open Settings.",
        "On Monday I speak English.",
        "Use Kubernetes on AWS with GraphQL.",
        "See github.com/Okonkwo or @Okonkwo.",
        "Call Okonkwo() in Okonkwo.py.",
        "Hmm, let me think.",
        "Tom and Mary are here.",
    ],
)
def test_other_words_stay(text):
    assert stand_ins(text) == (text, {})


def test_the_seventh_name_stays():
    said, names = stand_ins(
        "Call Petrov, Okonkwo, Adeyemi, Kowalczyk, Olumide, Zoltan and Lindqvist."
    )
    assert said == "Call Bob, Tom, Alice, John, Boston, Mary and Lindqvist."
    assert len(names) == 6


@pytest.mark.parametrize(
    ("translation", "written"),
    [
        ("私の名前はボブです。", "私の名前はOkonkwoです。"),
        ("Bobサービスです。", "Okonkwoサービスです。"),
        ("ボブとボブスレーに乗る。", "Okonkwoとボブスレーに乗る。"),
        ("トムは一番下、ボトムです。", "Petrovは一番下、ボトムです。"),
        ("ジョンのバージョン。", "Lindqvistのバージョン。"),
        ("アリスとアリストテレス。", "Adeyemiとアリストテレス。"),
        ("Bobby and Bob", "Bobby and Okonkwo"),
    ],
)
def test_what_was_said_of_a_stand_in_is_replaced_and_nothing_else(translation, written):
    names = {"Bob": "Okonkwo", "Tom": "Petrov", "Alice": "Adeyemi", "John": "Lindqvist"}
    assert restored(translation, names) == written


@given(
    st.lists(
        st.sampled_from("Okonkwo Washington Bob New York the met . , ' - /".split())
        | st.text(max_size=8)
    )
)
def test_nothing_but_names_changes_and_all_come_back(words):
    text = " ".join(words)
    said, names = stand_ins(text)
    pattern = "|".join(names) or r"\Z."
    assert len(re.findall(pattern, said)) >= len(names)
    assert restored(text, {}) == text
    again, more = stand_ins(said)
    assert (again, more) == (said, {}), "a stand-in is no name to be hidden"


def test_long_text_takes_no_long_time():
    began = time.perf_counter()
    stand_ins("Okonkwo-Petrov " * 20_000)
    stand_ins("A" + "a" * 200_000)
    assert time.perf_counter() - began < 5


def test_the_tables_are_sorted_and_say_nothing_twice():
    names = (_ASSETS / "names.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert names == sorted(names)
    assert len({line.split("=")[0] for line in names}) == len(names)
    assert all(re.fullmatch(r"[A-Z][a-zA-Z ]+=[ぁ-んァ-ヴー・一-龥A-Z]+", line) for line in names)
    words = (_ASSETS / "words.txt").read_text(encoding="ascii").split()
    assert words == sorted(set(words))
