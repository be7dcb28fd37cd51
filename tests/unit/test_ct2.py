"""CTranslate2 over the packaged model: clauses stream, limits hold, what runs is told."""

import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from stt.device import Device, native_threads
from stt.embedded import FOLDER
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import Clause
from stt.translator.ct2 import CTranslate2, Precision
from stt.translator.plain import plain

pytestmark = pytest.mark.engine
LONG = "If it rains tomorrow, the game will be cancelled, so please check the website."


def engine(**changes):
    values = {
        "model": "embedded",
        "precision": Precision.int8,
        "beam": 1,
        "max_length": 256,
        "threads": 1,
        "min_clause_chars": 1,
        "source_language": "eng_Latn",
        "target_language": "jpn_Jpan",
    }
    return CTranslate2(**{**values, **changes})


@pytest.fixture(scope="module")
def loaded():
    translator = engine()
    translator.load(Device("cpu", 2))
    yield translator
    translator.close()


def said(clauses):
    return "".join(clause.text for clause in clauses)


def test_clauses_are_numbered_counted_and_only_the_last_is_final(loaded):
    clauses = list(loaded.translate(LONG))
    assert len(clauses) > 1
    assert [clause.index for clause in clauses] == list(range(len(clauses)))
    assert [clause.final for clause in clauses] == [False] * (len(clauses) - 1) + [True]
    assert all(clause.tokens > 0 and clause.text for clause in clauses)
    assert not any(clause.truncated for clause in clauses)


def test_streamed_clauses_are_the_translation_of_the_whole(loaded):
    whole = loaded._decode(loaded._encode(LONG)[0], beam_size=1)
    clauses = list(loaded.translate(LONG))
    ids = loaded._pieces.piece_to_id(whole[:-1])
    assert said(clauses) == loaded._pieces.decode(ids)
    assert sum(clause.tokens for clause in clauses) == len(whole)


def test_decoding_goes_on_while_the_caller_speaks(loaded):
    stream = loaded.translate(LONG)
    next(stream)
    time.sleep(0.5)
    start = time.perf_counter()
    rest = list(stream)
    assert rest[-1].final
    assert time.perf_counter() - start < 0.2


def test_a_caller_that_walks_away_does_not_disturb_the_next_sentence(loaded):
    expected = said(loaded.translate(LONG))
    stream = loaded.translate("First of all, we wait, then we go, and at last, we come back.")
    next(stream)
    stream.close()
    assert said(loaded.translate(LONG)) == expected


def test_a_translation_cut_off_by_the_limit_says_so(loaded):
    rows = (FOLDER.parent / "speech.tsv").read_text(encoding="utf-8").splitlines()[:80]
    grown = {}  # target tokens more than source tokens, by sentence
    for text in (row.split("\t")[2] for row in rows):
        clauses = list(loaded.translate(text))
        grown[text] = sum(c.tokens for c in clauses) - clauses[0].source_tokens
    text = max(grown, key=lambda key: grown[key])
    assert grown[text] > 0
    translator = engine(max_length=len(loaded._encode(text)[0]))
    translator.load(Device("cpu", 1))
    *others, last = translator.translate(text)
    assert last.truncated
    assert last.final
    assert not any(clause.truncated for clause in others)
    translator.close()


@pytest.mark.parametrize("text", ["word " * 400, "don’t " * 200_000, "a" * 1_000_000])
def test_a_sentence_that_is_too_long_is_refused_in_words(loaded, text):
    with pytest.raises(EngineError, match="max_length"):
        list(loaded.translate(text))


def test_the_message_about_a_long_sentence_quotes_what_was_written(loaded):
    with pytest.raises(EngineError, match="3,400,000 rows"):
        list(loaded.translate("3,400,000 rows " + "of it " * 300))


@pytest.mark.parametrize("text", ["", " ", "🎉", "\x00\x01", "</s> <pad> jpn_Jpan", "…"])
def test_odd_input_is_translated_to_something(loaded, text):
    clauses = list(loaded.translate(text))
    assert clauses[-1].final
    assert all(isinstance(clause, Clause) for clause in clauses)


def test_what_runs_is_read_back(loaded):
    effective = loaded.effective()
    assert effective["precision"] == "int8"
    assert effective["compute_type"].startswith("int8")
    assert (effective["threads"], effective["beam"], effective["device"]) == (1, 1, "cpu")
    assert len(effective["sha256"]) == 64


def test_beams_and_float32_give_the_whole_translation_at_once():
    translator = engine(beam=3, precision=Precision.float32, threads=None)
    translator.load(Device("cpu", 2))
    (clause,) = translator.translate(LONG)
    assert clause.final
    assert not clause.truncated
    assert translator.effective()["precision"] == "float32"
    assert translator.effective()["threads"] == 2
    translator.close()


def test_an_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"fra_Latn.*jpn_Jpan"):
        engine(target_language="fra_Latn").load(Device("cpu", 1))


def test_more_length_than_the_model_has_is_refused():
    with pytest.raises(ConfigError, match="positions"):
        engine(max_length=5000).load(Device("cpu", 1))


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path):
    with pytest.raises(EngineUnavailable, match="ct2-transformers-converter"):
        engine(model=str(tmp_path)).load(Device("cpu", 1))


def test_a_converted_model_in_a_folder_is_used_like_the_packaged_one(tmp_path, loaded):
    from stt.embedded import SENTENCEPIECE, derive_ctranslate2

    derive_ctranslate2(FOLDER, tmp_path)
    (tmp_path / SENTENCEPIECE).write_bytes((FOLDER / SENTENCEPIECE).read_bytes())
    translator = engine(model=str(tmp_path))
    translator.load(Device("cpu", 1))
    assert said(translator.translate(LONG)) == said(loaded.translate(LONG))
    translator.close()


def test_the_cpu_rests_when_nothing_is_translated(loaded):
    list(loaded.translate(LONG))
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


def test_the_fields_are_a_schema_that_omegaconf_understands():
    merged = OmegaConf.merge(OmegaConf.structured(CTranslate2), {"precision": "float32", "beam": 3})
    assert merged.precision is Precision.float32


def test_close_may_be_called_twice_and_before_load():
    translator = engine()
    translator.close()
    translator.close()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs cannot be chosen here")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU cannot be shared out")
def test_threads_that_work_together_never_wait_for_one_cpu():
    ours = os.sched_getaffinity(0)
    translator = engine(threads=2)
    translator.load(Device("cpu", 2))
    try:
        first, second = map(set, translator.effective()["cpus"])
        assert first and second and first | second <= ours
        assert not first & second
        held = [os.sched_getaffinity(thread) for thread in native_threads()]
        assert first in held and second in held
        assert os.sched_getaffinity(0) == ours, "the caller's own threads stay free"
        assert said(translator.translate(LONG))
    finally:
        translator.close()


@pytest.mark.parametrize(
    ("written", "as_typed"),
    [
        ("I can’t open the file.", "I can't open the file."),
        ("Click “Save” to finish.", 'Click "Save" to finish.'),
        ("It’s fine – really.", "It's fine - really."),
        ("The price is $20 per month.", "The price is 20 dollars per month."),
        ("It raised €3.5 million.", "It raised 3.5 million euros."),
        ("Go to Settings > Privacy > Location.", "Go to Settings, Privacy, Location."),
        ("Open Settings › Privacy.", "Open Settings, Privacy."),
        (
            "If A > B or width > MAX, go.",
            "If A is greater than B or width is greater than MAX, go.",
        ),
        ("Reset HEAD~1 in ~5 ms.", "Reset HEAD 1 in about 5 ms."),
        ("SELECT * FROM users", "SELECT FROM users"),
        ("import * as React, rm *", "import as React, rm"),
        ("2 * 3, a * b, 4*n, w × h", "2 x 3, a x b, 4 x n, w x h"),
        ("Open 9 a.m. – 5 p.m. on weekdays.", "Open 9 a.m. to 5 p.m. on weekdays."),
        ("Open 9 AM - 5 PM.", "Open 9 a.m. to 5 p.m."),
        ("If a < b, swap them.", "If a is less than b, swap them."),
        ("The value must be >= 0.", "The value must be at least 0."),
        ("It is 20 °C outside.", "It is 20 degrees outside."),
        ("Issue #5 is fixed.", "Issue number 5 is fixed."),
        ("He lives in Zürich.", "He lives in Zurich."),
        ("Add ½ cup of milk.", "Add 1/2 cup of milk."),
        ("Call me at 9 AM.", "Call me at 9 a.m."),
        ("It ends at 2:05 PM.", "It ends at 2:05 p.m."),
        ("It is No. 1 now.", "It is number 1 now."),
        ("It costs $5M.", "It costs 5 million dollars."),
        ("It costs $4.5M.", "It costs 4.5 million dollars."),
        ("Replace <your-name> now.", "Replace your-name now."),
        ("The List<Map<K, V>> type.", "The List Map K, V type."),
        ("If a<b and c>d, swap.", "If a is less than b and c is greater than d, swap."),
        ("x => x + 1", "x, x + 1"),
        ("It is 20 ℃ outside.", "It is 20 degrees outside."),
        ("They paid £20m and US$5.", "They paid 20 million pounds and 5 US dollars."),
        ("It is $5-10 or $1,200–1,500.", "It is 5-10 dollars or 1,200-1,500 dollars."),
        ("It takes 10~15 minutes.", "It takes 10-15 minutes."),
        ("A 5 kΩ part.", "A 5 k ohms part."),
        ("x ≈ 3.", "x is about 3."),
        ("12•34", "12 34"),
        ("It took 5 µs.", "It took 5 microseconds."),
        ("He lives in Łódź in a café.", "He lives in Lodz in a cafe."),
        ("She says 你好 to him.", "She says to him."),
    ],
)
def test_what_the_model_cannot_spell_is_read_as_it_would_be_said(loaded, written, as_typed):
    assert loaded._encode(written) == loaded._encode(as_typed)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The deal is worth $4.5M.", "450万ドル"),
        ("It has 2.5 billion users.", "25億"),
        ("The company is worth $1.5 trillion.", "1兆5000億ドル"),
        ("About 8 billion people live on Earth.", "80億"),
        ("It pays $45.5k a year.", "4万5500ドル"),
        ("Between 1.5 and 2.5 million people came.", "150万から250万"),
        ("It has 30 million parameters.", "3000万"),
        ("The dataset has 1,250,000 rows.", "125万行"),
        ("The project costs $250,000.", "25万ドル"),
        ("We trained on 5,000,000 sentences.", "500万文"),
        ("HTTPS uses port 443.", "ポート443"),
        ("He is 66 years old.", "66歳"),
        ("The address of the router is 192.168.1.1.", "192.168.1.1"),
        ("The train leaves at 14:50.", "14時50分"),
        ("Call me at 3:15 PM.", "午後3時15分"),
        ("The map has a scale of 1:50.", "1対50"),
        ("The data covers 2020-01-01 to 2022-12-31.", "2020年1月1日から2022年12月31日"),
        ("The log starts at 2024-07-04 12:30.", "2024年7月4日に12時30分"),
        ("On July 20, 1969, humans first landed on the Moon.", "1969年7月20日"),
        ("The update arrived on Sept. 15.", "9月15日"),
    ],
)
def test_numbers_are_right_in_the_translation(loaded, text, number):
    assert number in said(loaded.translate(text))


@given(st.text("He said ’“”–—…$€£¥<>=°ü#[]{}~^|&%@+*/×÷é→•½²©§₹łж☃20.", min_size=1, max_size=40))
@settings(deadline=None)
def test_no_character_reaches_the_model_that_it_does_not_know(loaded, text):
    try:
        tokens, _ = loaded._encode(text)
    except EngineError as error:
        assert "knows none of these letters" in str(error)
        return
    assert all(loaded._pieces.piece_to_id(token) for token in tokens[1:-1])  # <unk> is 0


@pytest.mark.parametrize(
    "text", ["1" * 4000, "<a" * 2000 + ">" * 90, "$" * 4000, "=> " * 1300, "1,234.5" * 500]
)
def test_nothing_takes_long_to_be_put_into_known_characters(loaded, text):
    began = time.perf_counter()
    plain(text + "’", loaded._known)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "text", ["Привет", "日本語", "今日は天気がいいですね。", "你好，世界。", "안녕"]
)
def test_a_text_in_another_script_is_refused_not_invented(loaded, text):
    with pytest.raises(EngineError, match="Write English"):
        list(loaded.translate(text))


def test_a_loop_too_long_to_be_seen_as_one_is_cut_off_near_the_length_of_a_translation(loaded):
    said = list(loaded.translate("The quick brown fox jumps over the lazy dog."))
    assert said[-1].truncated
    assert len("".join(clause.text for clause in said)) < 100


def test_closing_waits_for_no_decoding_that_hangs():
    translator = engine()
    translator.load(Device("cpu", 1))
    hang = threading.Event()
    translator._streaming._thread.submit(hang.wait)
    began = time.perf_counter()
    translator.close()
    assert time.perf_counter() - began < 1
    hang.set()


def test_a_sentence_that_waits_for_a_decoder_which_is_closed_says_so():
    translator = engine()
    translator.load(Device("cpu", 1))
    busy = threading.Event()
    translator._streaming._thread.submit(busy.wait)
    threading.Timer(0.1, translator.close).start()
    try:
        with pytest.raises(EngineError, match=r"^The translator is closed\.$"):
            list(translator.translate("The server is back."))
    finally:
        busy.set()
    with pytest.raises(EngineError, match="closed"):
        list(translator.translate("The server is back."))


def test_a_decoder_that_is_closed_while_it_decodes_again_says_so(monkeypatch):
    translator = engine()
    translator.load(Device("cpu", 1))
    decode = translator._decode

    def closing(*given, **options):
        translator.close()
        return decode(*given, **options)

    monkeypatch.setattr(translator, "_decode", closing)
    with pytest.raises(EngineError, match=r"^The translator is closed\.$"):
        list(translator.translate("The server is back."))
