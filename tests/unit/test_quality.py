"""Scores repeat sacrebleu's; the guard catches loops and never blames a good translation."""

import pytest

from stt import quality
from stt.embedded import FOLDER

SPEECH = FOLDER.parent / "speech.tsv"
ROWS = [line.split("\t") for line in SPEECH.read_text(encoding="utf-8").splitlines()]


def test_no_reference_of_the_corpus_is_called_degenerate():
    blamed = {row[0]: why for row in ROWS if (why := quality.degeneration(row[2], row[3]))}
    assert blamed == {}


@pytest.mark.parametrize(
    ("source", "translation", "reason"),
    [
        ("The server is back.", "", "empty"),
        ("The server is back.", "。、!", "empty"),
        ("The server is back.", "サーバーが" * 12, "repetition"),
        ("The server is back.", "サーバーが戻りました。" + "の" * 40, "repetition"),
        ("The server is back.", "はい、はい、はい、はい、はい、はい、はい。", "repetition"),
        ("The server is back.", "The server is back.", "wrong script"),
        ("The server is back.", "Сервер снова работает.", "wrong script"),
        ("The server is back.", "서버가 돌아왔습니다.", "wrong script"),
        (
            "Yes.",
            "はい、それは昨日の会議で話した計画のとおりで、変更は何もありません。",
            "too long",
        ),
        (ROWS[-1][2], "はい。", "too short"),
    ],
)
def test_a_degenerate_translation_is_named(source, translation, reason):
    assert (quality.degeneration(source, translation) or "").startswith(reason)


@pytest.mark.parametrize("row", ROWS[::20], ids=lambda row: row[0])
def test_every_planted_loop_is_caught(row):
    for unit in (row[3][:1], row[3][:4], row[3]):
        assert quality.degeneration(row[2], row[3] + unit * 8), unit


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("Ha ha ha ha!", "ははは!"),
        ("GPT-4 on H100", "H100上のGPT-4"),
        ("OK.", "OK。"),
        ("1000000", "1000000"),
        ("...", ""),
        ("No, no, no, no, no, no, no.", "いや、いや、いや。"),
    ],
)
def test_an_unusual_but_sound_translation_is_not_blamed(source, translation):
    assert quality.degeneration(source, translation) is None


def test_perfect_translations_score_a_hundred_and_wrong_ones_near_zero():
    references = [row[3] for row in ROWS]
    assert quality.chrf(references, references) == pytest.approx(100)
    assert quality.bleu(references, references) == pytest.approx(100)
    assert quality.chrf(references[::-1], references) < 20


def test_a_worse_system_is_told_from_an_equal_one():
    references = [row[3] for row in ROWS]
    worse = [text[2:] for text in references]
    assert max(quality.paired_p(worse, references, references).values()) < 0.01
    ours = [text[2 * (i % 2) :] for i, text in enumerate(references)]
    theirs = [text[2 * ((i + 1) % 2) :] for i, text in enumerate(references)]
    assert min(quality.paired_p(ours, theirs, references).values()) > 0.05
    assert set(quality.paired_p(ours, ours, references).values()) == {1.0}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fra_Latn", "Le serveur est de nouveau en ligne."),
        ("rus_Cyrl", "Сервер снова работает."),
        ("kor_Hang", "서버가 다시 작동합니다."),
    ],
)
def test_a_translation_into_another_language_is_judged_as_one(language, text):
    source = "The server is back again."
    assert quality.degeneration(source, text, language) is None
    assert "script" in quality.degeneration(source, text)
    assert "empty" in quality.degeneration(source, "...", language)
