"""Japanese text becomes speech: what is spoken, what is not, what a changed library does."""

import logging
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError, EngineUnavailable
from stt.tts.figures import spell_out
from stt.tts.hts import Voice
from stt.tts.katakana import katakana
from stt.tts.labels import Frontend, phoneme, pieces
from stt.tts.openjtalk import OpenJTalk

pytestmark = [
    pytest.mark.engine,
    # SudachiPy 0.7 deprecated what pyopenjtalk-plus 0.4.1 calls once a thread.
    pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning"),
]
UNSPEAKABLE = [
    "",
    " ",
    "。",
    "、、、",
    "😀",
    "…？",
    "ーーー",
    "Привет",
    "한국어",
    "\0\x01",
    "\ud800",
]
RAGGED = (
    "あいうがっゃーんァッー、。！？…・「」（） "
    "\n0123０１ⅣabcXYZＡé한국你好吗😀👨‍👩‍👧йя\0\u200b\u3099゛々〆〇％"
    "℃①ﾊﾟ#*_`<>/\\|~^’'\"年月日円個百万\U0010ffff\ud800"
)


def openjtalk(**changes):
    values = {
        "unit": Unit.clause,
        "sample_rate": 24000,
        "gain": 0.5,
        "first_chunk_ms": 40.0,
        "self_check_db": 6.0,
    }
    engine = OpenJTalk(**(values | changes))
    engine.load(Device("cpu", 1))
    return engine


@pytest.fixture(scope="module")
def voice():
    engine = openjtalk()
    yield engine
    engine.close()
    engine.close()


@pytest.fixture(scope="module")
def frontend():
    return Frontend()


def speak(engine, text):
    chunks = [chunk.samples for chunk in engine.synthesize(text)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def level(samples):
    return 20 * np.log10(np.sqrt((samples**2).mean()) + 1e-9)


# Text


def test_long_text_is_cut_after_punctuation_and_nothing_is_lost():
    text = "これはとても長い文章です。" * 40 + "あ" * 500
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert max(map(len, cut)) <= 120
    assert cut[0].endswith("。")


@pytest.mark.parametrize("text", ["10,000ユーザー", "はい、そうです", "母集団は1,200,000"])
def test_a_short_text_is_one_piece_whatever_marks_are_in_it(text):
    assert list(pieces(text)) == [text]


def test_a_long_text_is_not_cut_inside_a_number():
    text = "あ" * 110 + "3,000,000円でした。" + "い" * 50
    assert not any(piece.endswith("3,") or piece.endswith("000,") for piece in pieces(text))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("-5度だった。", "マイナス5度だった。"),
        ("気温は−5度", "気温はマイナス5度"),
        ("10-15分です", "10から15分です"),
        ("7.5%–10%", "7.5%から10%"),
        ("2024-03-15に", "2024年3月15日に"),
        ("3.11.2です", "3点11点2です"),
        ("1/2カップ", "2分の1カップ"),
        ("Pythonを使う", "パイソンを使う"),
        ("TypeErrorです", "タイプエラーです"),
        ("キャフéが", "キャフeが"),
        ("10 - 15分です", "10から15分です"),
        ("02:00と14:00に", "2時と14時に"),
        ("08:15、9:40", "8時15分、9時40分"),
        ("14:00-15:30", "14時から15時30分"),
        ("24/7営業", "24時間365日営業"),
        ("9:00 - 10:30", "9時から10時30分"),
        ("時間:08時05分", "時間:8時5分"),
        ("120msから500 ms", "120ミリ秒から500ミリ秒"),
        ("12.5sで", "12.5秒で"),
        ("60 Hzで2.5 kg、", "60ヘルツで2.5キログラム、"),
        ("1.2GB、16 GB、2 TB", "1.2ギガバイト、16ギガバイト、2テラバイト"),
        ("10 MB/s", "10メガバイト毎秒"),
        ("384,400 km、180 cm", "384,400キロメートル、180センチメートル"),
        ("20m²の50px", "20平方メートルの50ピクセル"),
        ("10-15 ms", "10から15ミリ秒"),
        ("1stと21st", "1番目と21番目"),
        ("Ctrl+C、Cmd + Shift+P", "コントロールプラスC、コマンド プラス シフトプラスP"),
        ("+5%、UTC+9", "プラス5%、UTCプラス9"),
        ("30 x 20 x 10 cm", "30かける20かける10センチメートル"),
        ("1920x1080", "1920かける1080"),
        ("5 - 3と等しい", "5マイナス3と等しい"),
        ("src/main.pyとmain.c", "ソース/メインドットpyとメインドットc"),
        ("example.comのNode.js", "イグザンプルドットcomのノードドットjs"),
        ("torch.TensorとASP.NET", "torchドットTensorとASPドットNET"),
        ("「.env」", "「ドットエンブ」"),
        ("VS Codeで、A vs B", "ブイエスコードで、Aバーサス B"),
        ("123万4567行で、15万 kg", "百二十三万四千五百六十七行で、15万キログラム"),
        ("1対50", "1タイ50"),
        ("no、yes、Yes、YES", "ノー、イエス、イエス、イエス"),
        ("FileNotFoundError", "ファイルノットファウンドエラー"),
        ("userIdとisValid、getById", "ユーザーIdとisバリッド、ゲットバイId"),
        ("errorsとCounts", "エラーとカウント"),
        ("HelloXyz", "ハローXyz"),
        ("XYZTensor", "XYZテンソル"),
        ("私の名前はOkonkwoです。", "私の名前はオコンクウォです。"),
        ("LondonBridge", "ロンドンブリッジ"),
        ("Nguyễnさん", "グエンさん"),
    ],
)
def test_figures_and_english_words_are_read_as_they_are_said(frontend, written, said):
    assert frontend.labels(written) == frontend.labels(said)


@pytest.mark.parametrize(
    "text",
    [
        "123-4567",
        "03-1234",
        "555-123-4567",
        "03-1234-5678",
        "3-2",
        "12/25",
        "COVID-19",
        "16:9",
        "00:03:20",
        "C++",
        "5+3",
        "5 + 3",
        "0x10",
        "GPT-4V",
        "1990s",
        "'90s",
        "U.S.",
        "Ph.D.",
        "最初の文.Second",
        "...ab",
        "OKONKWO",
        "kwargs",
        "Brrrr",
        "Londonと",
        "iPad",
        "No.5",
    ],
)
def test_what_is_no_such_figure_or_known_word_is_left_to_the_dictionary(frontend, text):
    assert katakana(spell_out(text), frontend.look_up) == text


def test_labels_are_those_of_the_library(frontend):
    import pyopenjtalk

    for text in ("今日はいい天気ですね。", "その表を3.5倍にして、NHKに送った。"):
        assert frontend.labels(text) == [x.encode() for x in pyopenjtalk.extract_fullcontext(text)]


def test_a_clause_that_goes_on_ends_in_the_voices_own_pause(frontend):
    assert phoneme(frontend.labels("サーバーが復旧し、")[-1]) == b"pau"
    assert phoneme(frontend.labels("サーバーが復旧した。")[-1]) == b"sil"
    going_on, ended = frontend.labels("復旧し、"), frontend.labels("復旧し。")
    assert [phoneme(x) for x in going_on[:-1]] == [phoneme(x) for x in ended[:-1]]


@pytest.mark.parametrize("text", UNSPEAKABLE)
def test_what_cannot_be_spoken_gives_no_audio_and_no_noise(voice, capfd, text):
    assert list(voice.synthesize(text)) == []
    assert capfd.readouterr() == ("", "")


def test_any_text_is_spoken_or_left_out_in_silence(voice, capfd):
    rng = random.Random(7)
    spoken = 0
    for _ in range(150):
        text = "".join(rng.choices(RAGGED, k=rng.choice([1, 2, 4, 9, 20])))
        samples = speak(voice, text)
        spoken += samples.size > 0
        assert np.isfinite(samples).all()
        assert samples.size == 0 or np.abs(samples).max() <= 1.0
    assert spoken > 50
    assert capfd.readouterr() == ("", "")


# Audio


def test_the_first_chunk_is_short_and_the_text_does_not_delay_it(voice):
    text = "この度の大規模な自然災害により被害を受けられた皆様に心よりお見舞い申し上げます。"
    chunks = list(voice.synthesize(text))
    assert chunks[0].samples.size <= 0.040 * 24000
    assert len(chunks) >= 5
    generated = []
    generate = voice._trajectories.generate
    windows = generate(voice._frontend.labels(text))
    generated.append(next(windows))
    assert len(generated[0].durations) <= 7  # of 91 labels


@pytest.mark.parametrize(
    "text", ["今日はいい天気です。", "私は行きます。", "ゆっくり話してください。"]
)
def test_speech_starts_at_once_and_without_a_click(voice, text):
    samples = speak(voice, text)
    assert level(samples[: 24 * 60]) > -40  # audible within 60 ms
    assert abs(samples[0]) < 1e-3
    assert np.abs(samples[-24 * 2 :]).max() < 1e-3


@pytest.mark.parametrize("end", ["。", "？", "!", ":", ""])
def test_a_sentence_is_set_off_at_least_as_much_as_a_clause_and_its_pause_delays_nothing(
    voice, end
):
    def silence_at_the_end_s(text):
        samples = speak(voice, text)
        return (samples.size - np.flatnonzero(np.abs(samples) > 0.01)[-1]) / 24000

    comma_s = silence_at_the_end_s("サーバーが復旧し、")
    assert 0.25 < comma_s < 0.6
    assert comma_s <= silence_at_the_end_s("サーバーが復旧した" + end) < 0.7
    # Zeros behind the last words, not a chunk of their own: nobody waits for them.
    last = list(voice.synthesize("サーバーが復旧した" + end))[-1].samples
    assert np.abs(last).max() > 0.01
    assert not last[-24 * 390 :].any()


@pytest.mark.parametrize(
    "text", ["今、", "猫、", "また、", "はい。", "両方、", "リンゴ、", "動いてる?"]
)
def test_a_short_clause_is_no_louder_than_a_sentence(voice, text):
    def spoken(text):
        samples = speak(voice, text)
        loud = np.flatnonzero(np.abs(samples) > 10 ** (-50 / 20))
        return samples[loud[0] : loud[-1] + 1]

    sentence = spoken("ファイルを保存してから、もう一度プログラムを実行してください。")
    assert abs(level(spoken(text)) - level(sentence)) < 4
    assert np.abs(spoken(text)).max() < 0.8


def test_the_same_text_always_sounds_the_same(voice):
    first = speak(voice, "全てのテストが通りました。")
    speak(voice, "別の文を、間に話します。")
    assert np.array_equal(first, speak(voice, "全てのテストが通りました。"))


def test_an_abandoned_utterance_leaves_no_trace_in_the_next(voice):
    expected = speak(voice, "全てのテストが通りました。")
    next(voice.synthesize("途中でやめる、とても長い文章をここで話しています。"))
    assert np.array_equal(expected, speak(voice, "全てのテストが通りました。"))


def test_loud_syllables_are_limited_not_wrapped():
    loud = openjtalk(gain=4.0)
    samples = speak(loud, "パパがバスで、わあ、ばんざい。")
    assert np.abs(samples).max() == 1.0
    assert np.abs(np.diff(samples)).max() < 1.9
    loud.close()


# When the library differs


def test_a_vocoder_that_sounds_different_gives_way_to_the_librarys_own(caplog):
    with caplog.at_level(logging.WARNING):
        engine = openjtalk(self_check_db=0.5)
    effective = engine.effective()
    assert effective["engine"] == "stock"
    assert "self_check_db" in effective["fallback"]
    assert effective["sample_rate"] == 48000
    assert "slower" in caplog.text
    (chunk,) = engine.synthesize("はい、そうです。")
    assert chunk.sample_rate == 48000
    assert level(chunk.samples) > -40
    assert list(engine.synthesize("。")) == []


def test_without_reason_there_is_no_fallback(voice):
    effective = voice.effective()
    assert effective["engine"] == "openjtalk"
    assert effective["fallback"] is None
    assert 0 < effective["self_check_measured_db"] < 6
    assert "pyopenjtalk-plus 0." in effective["version"]


def test_a_library_without_the_functions_is_named():
    import _ctypes

    with pytest.raises(EngineUnavailable, match="does not offer the HTS functions"):
        Voice(_ctypes.__file__, b"any.htsvoice")


def test_a_voice_that_does_not_load_is_named(tmp_path):
    from pyopenjtalk import htsengine

    (tmp_path / "broken.htsvoice").write_bytes(b"not a voice")
    with pytest.raises(EngineUnavailable, match=r"broken\.htsvoice"):
        Voice(htsengine.__file__, str(tmp_path / "broken.htsvoice").encode())


def test_the_engine_stays_inside_its_memory(voice):
    assert voice._trajectories.voice.intact


@pytest.mark.parametrize("sample_rate", [22050, 4000, 96000])
def test_a_rate_that_does_not_fit_is_refused(sample_rate):
    with pytest.raises(ConfigError, match="48000 or a divisor"):
        openjtalk(sample_rate=sample_rate)


def test_another_rate_that_fits_says_the_same():
    engine = openjtalk(sample_rate=16000)
    assert engine.effective()["fallback"] is None
    assert level(speak(engine, "そうです。")) > -35
    engine.close()


def test_closing_a_voice_that_still_speaks_on_another_thread_is_safe():
    """Ctrl-C does it; freed under its thread, the engine took the whole process with it."""
    script = (
        "import sys, threading, time\n"
        "sys.setswitchinterval(1e-4)\n"
        "from test_openjtalk import openjtalk\n"
        "voice, text = openjtalk(), 'この度の大規模な自然災害に心よりお見舞い申し上げます。' * 3\n"
        "def speak():\n"
        "    for _ in range(30):\n"
        "        list(voice.synthesize(text))\n"
        "threading.excepthook = lambda *_: None\n"
        "thread = threading.Thread(target=speak)\n"
        "thread.start(); time.sleep(0.02); voice.close(); thread.join()\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)
