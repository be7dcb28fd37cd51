"""Names in Latin letters: a Japanese reader recognises them, and the voice says any of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.tts.katakana import katakana
from stt.tts.labels import Frontend
from stt.tts.names import read_name

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning"),
]
READINGS = """
    Nakagawa=ナカガワ Ishikawa=イシカワ Tanaka=タナカ Shinji=シンジ Tsuji=ツジ Kyoto=キョート Hattori=ハットリ Nippori=ニッポリ Sasaki=ササキ
    Shimbashi=シンバシ Kenichi=ケンイチ Junko=ジュンコ Honma=ホンマ Fujiwara=フジワラ Sapporo=サッポロ Ohno=オーノ
    Okonkwo=オコンクウォ Olumide=オルミデ Achebe=アチェベ Adebayo=アデバヨ Chinwe=チンウェ Mbeki=ムベキ Kwame=クワメ Mandela=マンデラ Ibrahim=イブラヒム Fatima=ファティマ
    Ahmed=アーメド Omar=オマール Yilmaz=イルマズ Qatar=カタール Priya=プリヤ Kumar=クマール Singh=シン Gupta=グプタ
    Zhang=ジャン Huang=フアン Pham=ファム Nguyen=グエン Choi=チョイ
    Petrov=ペトロフ Kovalev=コバレフ Petrovic=ペトロビッチ Kowalczyk=コワルチク Szymon=シモン Olga=オルガ Natasha=ナタシャ Alexei=アレクセイ Sergei=セルゲイ Ljubljana=リュブリャナ
    Sven=スベン Lindqvist=リンドクビスト Bjorn=ビョルン Oslo=オスロ Helsinki=ヘルシンキ Schmidt=シュミット Schneider=シュナイダー Hoffmann=ホフマン Becker=ベッカー Klein=クライン
    Velasquez=ベラスケス Fernandez=フェルナンデス Mendoza=メンドザ Silvia=シルビア Lorenzo=ロレンゾ Giulia=ジュリア Giovanni=ジョバンニ Giorgio=ジョルジョ Matteo=マッテオ Russo=ルッソ
    Gabrielle=ガブリエル Blake=ブレイク Mike=マイク Chloe=クロエ Fitzgerald=フィッツジェラルド Tremblay=トレンブレイ Kennedy=ケネディー Newton=ニュートン Parker=パーカー Noah=ノア
    Melissa=メリッサ Rebecca=レベッカ Alex=アレックス Bruce=ブルース Manchester=マンチェスター Toronto=トロント
    Grafana=グラファナ Spotify=スポティファイ Terraform=テラフォーム Stripe=ストライプ Tensor=テンソル Ansible=アンシブル Kibana=キバナ
"""


@pytest.fixture(scope="module")
def frontend():
    return Frontend()


@pytest.mark.parametrize(("name", "reading"), [x.split("=") for x in READINGS.split()])
def test_a_name_is_read_so_that_it_is_recognised(name, reading):
    assert read_name(name) == reading


@pytest.mark.parametrize("name", ["Brrrr", "Aaaah", "Zwrpqst"])
def test_what_cannot_be_said_is_no_name(name):
    assert read_name(name) is None


@pytest.mark.parametrize("name", ["Okonkwo", "Petrov", "Nakagawa", "Grafana", "Kowalczyk", "Priya"])
def test_the_voice_says_the_reading_as_it_is_written(frontend, name):
    spoken = "".join(word["pron"] for word in frontend._features(f"{name}です"))
    assert spoken.replace("’", "") == f"{read_name(name)}デス"


@given(name=st.from_regex(r"[A-Z][a-z]{3,20}", fullmatch=True))
def test_any_name_stays_or_becomes_kana_that_the_voice_can_say(frontend, name):
    read = katakana(name, frontend.look_up)
    assert read == name or re.fullmatch("[ァ-ヴー]+", read)
    assert len(read) <= 4 * len(name)
    assert frontend.labels(name)
