"""Names in Latin letters as they are read in Japanese, by rule: Nakagawa, Okonkwo, Kowalczyk.

The letters become sounds (the first rule that fits, from left to right), the sounds kana. A sound is a small letter,
as in romaji, or S (sh), C (ch), T (ts) or Q (the pause of a double consonant); kana stand for themselves. No rule knows
the language of a name: it is read so that it is recognised, and what is shaped like romaji is taken for Japanese.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_DOUBLE = "kk>Qk pp>Qp ss>Qs tt>Qt"
_JAPANESE = (
    f"ssh>QS tch>QC tts>QT sh>S ch>C ts>T {_DOUBLE} m(?=[bp])>ン nichi(?=$|ro)>ンイチ oo>oー uu>uー"
)
# Endings, then vowels, then consonants, in European and African names.
_FOREIGN = rf"""
    ation>eーSon s?sion>Son tion>Son fy$>fai (?<=[bcdfgkpstz])le$>r lle$>r nne$>n rre$>r tte$>Qt ine$>iーn ole$>oーr ore$>oーr ce$>s dge$>Qj ge$>j ve$>b (?<=[iu])se$>z (?<=yn)e$>
    or(?=[dmt]$)>oー ar(?=[dk]$|[^aeiouy]+e[ry]$)>aー ber(?=[gt]$)>baー ier$>ier er(?=s?$|s?son$|man|berg)>aー ar$>aーr ir$>iーr (?<=[dgs])or$>or or$>aー
    (?<=[eo]v|[aeiou]k)i(?:ch?|tch)$>iQC (?<=r)ich$>iッヒ (?<=[aeo])v$>f (?<=e)z$>s (?<=[aeiou])x$>Qks (?<=[^aeiou][eio])p$>Qp (?<=[^aeiou][ei])t$>Qt (?<=[aeiou])sh$>QS ic$>iQk ngh$>n
    ie(?=$|l[bd]|[bdfkm]|te)>iー igh>aイ eigh>eイ ey$>iー (?<=[^aeiou])y$>iー ay(?![aeiou])>eイ ei(?=n(?:[^aeiou]|$)|de)>aイ eau>oー (?<=[cz]h)ou>oウ ou>u
    aa>aー ee>iー ii>iー ook>uQk ood>uQd oo>uー uu>uー aw(?![aeiou])>oー ew(?![aeiou])>yuー ow(?![aeiou])>oー
    (?<=[aeiou])y(?![aeiou])>イ y(?![aeiou])>i
    ^kn>n ^wr>r wh>w ^nguy>gu ^ng>ンg tsch>C sch>S (?<=[aeiouy])tch>QC tch>C ch(?=[lnr])>k ch>C cz>C sz>S sh>S zh>j ^th(?=[aou])>t t?th>s ph>f
    gh(?=t|$)> gh>g ^kh>k kh(?=[aeiou])>h kh>k bh>b dh>d rh>r sc(?=[eiy])>s (?<=[aeiouy])ck>Qk ck>k
    (?<=[aeiouy])dt>Qt dt>t (?<=[aeiouy])t?tz>QT tz>T tts>QT ts(?![aeiouy])>T zz>QT cc(?=[ei])>QC cc>Qk
    ss(?![aeiouy])>s (?<=[^aeiouy])ss>s (?<=[^aeiouy])tt>t (?<=[^aeiouy])kk>k (?<=[^aeiouy])pp>p {_DOUBLE}
    bb>b dd>d ff>f gg>g ll>r mm>m nn(?!a|i$)>n rr>r vv>b \Bm(?=[bp])>ン
    qu(?=[eiy])>k qu>kw q(?=i)>C q>k gu(?=[ei])>g gi(?=[aou])>j g(?=ei|e[nr]$)>g g(?=e)>j
    cq>k c(?=[eiy])>s c>k ^x(?=[iu])>S ^x>z x>ks dj>j (?<=[bfklpt])j(?=[aou])>y
    l>r v>b h(?=[aeiouy])>h (?<=[aeiouy])h(?=.)>ー h>
"""
# Frequent ones that the dictionary lacks and no rule gets right.
_EXCEPTIONS = dict(
    pair.split("=")
    for pair in """
    accra=アクラ adams=アダムズ airbnb=エアビーアンドビー airflow=エアフロー airtable=エアテーブル argentina=アルゼンチン athens=アテネ august=オーガスト austin=オースティン avenue=アベニュー bailey=ベイリー
    baker=ベイカー bangkok=バンコク barbara=バーバラ beethoven=ベートーベン beijing=ペキン biden=バイデン bitbucket=ビットバケット brian=ブライアン brussels=ブリュッセル carol=キャロル
    catherine=キャサリン charlie=チャーリー chile=チリ claire=クレア cloudflare=クラウドフレア darwin=ダーウィン datadog=データドッグ davis=デービス delhi=デリー diane=ダイアン
    douglas=ダグラス dublin=ダブリン easter=イースター edinburgh=エディンバラ edwards=エドワーズ elasticsearch=エラスティックサーチ elijah=イライジャ elixir=エリクサー ethan=イーサン
    gary=ゲイリー geneva=ジュネーブ gmail=ジーメール harvard=ハーバード hayes=ヘイズ heather=ヘザー howard=ハワード hugging=ハギング hughes=ヒューズ hugo=ヒューゴ january=ジャニュアリー
    jason=ジェイソン jesse=ジェシー johannesburg=ヨハネスブルグ jones=ジョーンズ jose=ホセ justin=ジャスティン karl=カール kato=カトー katherine=キャサリン keith=キース kenya=ケニア kobe=コーベ
    korean=コリアン kyoto=キョート lang=ラング laura=ローラ lauren=ローレン liverpool=リバプール logan=ローガン lucy=ルーシー maple=メープル margaret=マーガレット mason=メイソン
    megan=ミーガン melbourne=メルボルン mexico=メキシコ miami=マイアミ michelle=ミシェル montreal=モントリオール monroe=モンロー moscow=モスクワ mozart=モーツァルト munich=ミュンヘン myers=マイヤーズ
    nathan=ネイサン nicholas=ニコラス nigeria=ナイジェリア notion=ノーション nvidia=エヌビディア osaka=オーサカ oscar=オスカー peru=ペルー peterson=ピーターソン portland=ポートランド powell=パウエル
    prague=プラハ privacy=プライバシー prometheus=プロメテウス rails=レイルズ richardson=リチャードソン roberts=ロバーツ roger=ロジャー rome=ローマ russell=ラッセル russian=ロシアン ryan=ライアン
    saito=サイトー sato=サトー saturday=サタデー sean=ショーン seattle=シアトル seoul=ソウル shakespeare=シェイクスピア shanghai=シャンハイ singapore=シンガポール snowflake=スノーフレーク spain=スペイン steam=スチーム
    stephen=スティーブン stewart=スチュワート sunday=サンデー supabase=スパベース sure=シュア swift=スイフト tehran=テヘラン texas=テキサス thanks=サンクス trump=トランプ tuesday=チューズデー
    tyler=タイラー uber=ウーバー unity=ユニティー unreal=アンリアル vancouver=バンクーバー vienna=ウィーン virginia=バージニア vite=ビート walker=ウォーカー walter=ウォルター
    wednesday=ウェンズデー wifi=ワイファイ williams=ウィリアムズ young=ヤング zachary=ザカリー zurich=チューリッヒ
    """.split()
)
_ROWS = """
    =ア.イ.ウ.エ.オ k=カ.キ.ク.ケ.コ g=ガ.ギ.グ.ゲ.ゴ s=サ.シ.ス.セ.ソ z=ザ.ジ.ズ.ゼ.ゾ t=タ.ティ.トゥ.テ.ト d=ダ.ディ.ドゥ.デ.ド n=ナ.ニ.ヌ.ネ.ノ
    h=ハ.ヒ.フ.ヘ.ホ b=バ.ビ.ブ.ベ.ボ p=パ.ピ.プ.ペ.ポ m=マ.ミ.ム.メ.モ r=ラ.リ.ル.レ.ロ f=ファ.フィ.フ.フェ.フォ w=ワ.ウィ.ウ.ウェ.ウォ
    y=ヤ.イ.ユ.イェ.ヨ j=ジャ.ジ.ジュ.ジェ.ジョ S=シャ.シ.シュ.シェ.ショ C=チャ.チ.チュ.チェ.チョ T=ツァ.ツィ.ツ.ツェ.ツォ
"""
_KANA = {
    consonant + vowel: kana
    for consonant, row in (row.split("=") for row in _ROWS.split())
    for vowel, kana in zip("aiueo", row.split("."), strict=True)
}
_ALONE = {c: _KANA[c + "u"] for c in "kgszbprfwST"} | dict(
    zip("tdnmyjCQ", "ト ド ン ム イ ジ チ ッ".split(), strict=True)
)
_SMALL = {"a": "ャ", "u": "ュ", "o": "ョ"}
_ROMAJI = re.compile(
    "(?:(?:[kgnhbmr]y|p?py|s?sh|t?ch|j)[auo]|(?:s?sh|t?ch|j)[ie]|t?tsu|fu|wa|wo|y[auo]"
    "|(?:k?k|s?s|p?p|[znbmr]|g(?!i[aou]))?[aiueo]|h[aieo]|(?:t?t|d)[aeo]|n(?![aiueoy])|\\Bm(?=[bp]))+"
)
_SYLLABLE = re.compile(r"([b-df-hj-np-tv-xzSCT]?)(y?)([aiueo])|([a-zSCTQ])|(.)")
_SILENT_E = re.compile(r"(?!kw)([^aeiouy]+)([aeiouy])([^aeiouyr])e")
_LONG = {"a": "eイ", "e": "iー", "i": "aイ", "o": "oー", "u": "uー", "y": "aイ"}
_CHINESE = re.compile(r"(?:[jqx]i|[^aeiouy]*i?[aeouy]+)ng")
_UNSPEAKABLE = re.compile(r"^[^aeiouy]*$|([a-z])\1\1|[^aeiouy]{6}|^[^aeiouy]{5}")


def _rules(text: str) -> Callable[[str], str]:
    spellings, sounds = zip(*(rule.split(">") for rule in text.split()), strict=True)
    pattern = re.compile("|".join(f"({spelling})" for spelling in spellings))
    return lambda word: pattern.sub(lambda found: sounds[(found.lastindex or 0) - 1], word)


_japanese, _foreign = _rules(_JAPANESE), _rules(_FOREIGN)


def read_name(name: str) -> str | None:
    """`name`, English letters, in katakana, at most four for a letter; None if it cannot be said as a word."""
    word = name.lower()
    if word in _EXCEPTIONS or _UNSPEAKABLE.search(word):
        return _EXCEPTIONS.get(word)
    if silent := _SILENT_E.fullmatch(word):  # Mike, not mi-ke
        before, vowel, after = silent.groups()
        word = before + _LONG[vowel] + {"c": "s", "g": "j"}.get(after, after)
    elif _CHINESE.fullmatch(word):  # Zhang
        word = word[:-1]
    sounds = _japanese(word) if _ROMAJI.fullmatch(word) else _foreign(word)
    return _SYLLABLE.sub(_kana, sounds)


def _kana(found: re.Match[str]) -> str:
    consonant, glide, vowel, alone, kana = found.groups()
    if kana or alone:
        return kana or _ALONE[alone]
    if not glide:
        return _KANA[consonant + vowel]
    if not consonant or consonant in "jSC":
        return _KANA[(consonant or "y") + vowel]
    first = _KANA[consonant + "i"]
    if vowel == "i":
        return first
    if vowel == "e":
        return first + "エ"
    return first + (_SMALL[vowel] if len(first) == 1 else _KANA["y" + vowel])
