"""Clauses are cut where a voice may pause, and nothing given out ever changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.embedded import FOLDER, SENTENCEPIECE
from stt.translator.clauses import CLOSING, MARKS, NUMERALS, OPENING, ClauseCutter, Detokenizer

texts = st.text(st.sampled_from("あ行トA z19三十、。，,．.！？!?「」（）() \n"), max_size=40)
pieces = pytest.importorskip("sentencepiece").SentencePieceProcessor(
    model_file=str(FOLDER / SENTENCEPIECE)
)


def cut(text, min_chars=1, step=1):
    cutter = ClauseCutter(min_chars)
    parts = [text[i : i + step] for i in range(0, len(text), step)]
    return [*(c for part in parts for c in cutter.feed(part)), cutter.finish()]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("彼は走り、勝った。", ["彼は走り、", "勝った。"]),
        ("戻った。動く。", ["戻った。", "動く。"]),
        ("本当?はい!行く。", ["本当?", "はい!", "行く。"]),
        ("費用は3,000円、税込です。", ["費用は3,000円、", "税込です。"]),
        ("二、三日かかる。", ["二、三日かかる。"]),
        ("3、4回試し、成功した。", ["3、4回試し、", "成功した。"]),
        ("URLのa?b=cを開く。", ["URLのa?b=cを開く。"]),
        ("「はい、見た。」と言い、帰った。", ["「はい、見た。」と言い、", "帰った。"]),
        ("関数(a、b)を呼ぶ。", ["関数(a、b)を呼ぶ。"]),
        ("何!?まさか。", ["何!?", "まさか。"]),
        ("終わり。", ["終わり。"]),
        ("、、あ", ["、、あ"]),
        ("", [""]),
    ],
)
def test_a_clause_ends_after_a_pause_but_not_inside_numbers_words_and_brackets(text, clauses):
    assert cut(text) == clauses


def test_a_comma_is_cut_at_once_and_a_stop_when_the_text_goes_on():
    cutter = ClauseCutter(1)
    assert list(cutter.feed("はい、")) == ["はい、"]
    assert list(cutter.feed("行く。")) == []
    assert list(cutter.feed("次")) == ["行く。"]


def test_a_short_clause_waits_for_the_next_one():
    assert cut("はい、そうです、たぶん。", min_chars=3) == ["はい、そうです、", "たぶん。"]


@given(texts, st.integers(0, 5), st.integers(1, 7))
def test_clauses_joined_are_the_text_however_it_arrives(text, min_chars, step):
    clauses = cut(text, min_chars, step)
    assert "".join(clauses) == text
    assert clauses == cut(text, min_chars)
    for clause in clauses[:-1]:
        assert any(c not in MARKS + CLOSING and not c.isspace() for c in clause)


@given(texts)
def test_no_cut_falls_inside_a_number_a_latin_word_or_brackets(text):
    at = 0
    for clause in cut(text)[:-1]:
        at += len(clause)
        before, mark, after = text[at - 2 : at - 1], text[at - 1], text[at : at + 1]
        assert mark in MARKS or mark.isspace()
        if mark in "、，,．":
            number = before.isdigit() or before in NUMERALS
            assert not (before and after and number and (after.isdigit() or after in NUMERALS))
        assert not (mark in ",!?" and after.isascii() and after.isalnum())
        depth = 0
        for char in text[:at]:
            depth = max(0, depth + (char in OPENING) - (char in CLOSING))
        assert depth == 0


@given(st.lists(st.integers(3, pieces.get_piece_size() - 1), max_size=30))
def test_text_of_growing_tokens_is_sentencepieces_own(ids):
    tokens = [pieces.id_to_piece(i) for i in ids]
    detokenizer = Detokenizer()
    given_out = ""
    for i, token in enumerate(tokens):
        given_out += detokenizer.feed(token)
        assert given_out == pieces.decode(ids[: i + 1])
    assert detokenizer.finish() == ""


@given(st.lists(st.one_of(st.text(max_size=4), st.sampled_from(["▁", "▁a", "</s>", "<unk>"]))))
def test_characters_spelled_in_bytes_come_out_whole(parts):
    tokens, expected = ["▁"], ""
    for part in parts:
        if part in ("▁", "▁a", "</s>", "<unk>"):
            tokens.append(part)
            expected += part.replace("▁", " ") if part[0] == "▁" else ""
        else:
            tokens += [f"<0x{byte:02X}>" for byte in part.encode()]
            expected += part
    detokenizer = Detokenizer()
    given_out = ""
    for token in tokens:
        given_out += detokenizer.feed(token)
        assert expected.startswith(given_out)
    assert given_out + detokenizer.finish() == expected


def test_a_character_that_breaks_off_becomes_the_replacement_character():
    detokenizer = Detokenizer()
    assert [detokenizer.feed(t) for t in ("▁", "<0xE3>", "<0x81>", "あ")] == ["", "", "", "�あ"]
