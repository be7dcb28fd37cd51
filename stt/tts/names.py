"""Names in Latin letters as they are read in Japanese, by rule: Nakagawa, Okonkwo, Kowalczyk.

The letters become sounds (the first rule that fits, from left to right), the sounds kana. A sound is a small letter,
as in romaji, or S (sh), C (ch), T (ts) or Q (the pause of a double consonant); kana stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_DOUBLE = "kk>Qk pp>Qp ss>Qs tt>Qt"
_JAPANESE = f"ssh>QS tch>QC tts>QT sh>S ch>C ts>T {_DOUBLE} m(?=[bmp])>ン nichi(?=$|ro)>ンイチ oo>oー uu>uー"
# Endings, then vowels, then consonants.
_FOREIGN = rf"""
    ation>eーSon s?sion>Son tion>Son fy$>fai (?<=[bcdfgkpstz])le$>r lle$>r nne$>n rre$>r tte$>Qt ce$>s dge$>Qj ge$>j ve$>b (?<=[iu])se$>z (?<=yn)e$>
    or(?=[dmt]$)>oー ar(?=[dk]$|[^aeiouy]+e[ry]$)>aー ber(?=[gt]$)>baー ier$>ier er(?=s?$|s?son$|man|berg)>aー ar$>aーr ir$>iーr (?<=[dgs])or$>or or$>aー
    (?<=[eo]v|[aeiou]k)i(?:ch?|tch)$>iQC (?<=r)ich$>iッヒ (?<=[aeo])v$>f (?<=e)z$>s
    ie(?=$|l[bd]|[bdfkm]|te)>iー igh>aイ eigh>eイ ey$>iー (?<=[^aeiou])y$>iー ay(?![aeiou])>eイ ei(?=n(?:[^aeiou]|$)|de)>aイ eau>oー (?<=[cz]h)ou>oウ ou>u
    aa>aー ee>iー ii>iー oo>uー uu>uー aw(?![aeiou])>oー ew(?![aeiou])>yuー ow(?![aeiou])>oー
    (?<=[aeiou])y(?![aeiou])>イ y(?![aeiou])>i
    ^kn>n ^wr>r wh>w ^nguy>gu ^ng>ンg tsch>C sch>S (?<=[aeiouy])tch>QC tch>C ch(?=[lnr])>k ch>C cz>C sz>S sh>S zh>j ^th(?=[aou])>t t?th>s ph>f
    gh(?=t|$)> gh>g ^kh>k kh(?=[aeiou])>h kh>k bh>b dh>d rh>r sc(?=[eiy])>s (?<=[aeiouy])ck>Qk ck>k
    (?<=[aeiouy])dt>Qt dt>t (?<=[aeiouy])t?tz>QT tz>T tts>QT ts(?![aeiouy])>T zz>QT cc(?=[ei])>QC cc>Qk
    ss(?![aeiouy])>s (?<=[^aeiouy])ss>s (?<=[^aeiouy])tt>t (?<=[^aeiouy])kk>k (?<=[^aeiouy])pp>p {_DOUBLE}
    bb>b dd>d ff>f gg>g ll>r mm>m nn(?![ai])>n rr>r vv>b \Bm(?=[bp])>ン
    qu(?=[eiy])>k qu>kw q(?=i)>C q>k gu(?=[ei])>g gi(?=[aou])>j g(?=ei|e[nr]$)>g g(?=e)>j
    c(?=[eiy])>s c>k ^x(?=[iu])>S ^x>z x>ks dj>j (?<=[bfklpt])j(?=[aou])>y
    l>r v>b h(?=[aeiouy])>h (?<=[aeiouy])h(?=.)>ー h>
"""
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
    "|(?:k?k|s?s|p?p|[znbmr]|g(?!i[aou]))?[aiueo]|h[aieo]|(?:t?t|d)[aeo]|n(?![aiueoy])|\\Bm(?=[bmp]))+"
)
_SYLLABLE = re.compile(r"([b-df-hj-np-tv-xzSCT]?)(y?)([aiueo])|([a-zSCTQ])|(.)")
_SILENT_E = re.compile(r"(?!kw)([^aeiouy]+)([aiouy])([^aeiouy])e")
_LONG = {"a": "eイ", "i": "aイ", "o": "oー", "u": "uー", "y": "aイ"}
_ONE_SYLLABLE_NG = re.compile(r"([^aeiouy]*[aeiouy]+n)gh?")  # Zhang, Singh
_UNSPEAKABLE = re.compile(r"^[^aeiouy]*$|([a-z])\1\1|[^aeiouy]{6}|^[^aeiouy]{5}")


def _rules(text: str) -> Callable[[str], str]:
    rules = [rule.partition(">")[::2] for rule in text.split()]
    pattern = re.compile("|".join(f"({spelling})" for spelling, _ in rules))
    return lambda word: pattern.sub(lambda found: rules[found.lastindex - 1][1], word)


_japanese, _foreign = _rules(_JAPANESE), _rules(_FOREIGN)


def by_rule(name: str) -> str | None:
    """`name`, English letters, in katakana, at most four for a letter; None if it cannot be said as a word."""
    word = name.lower()
    if _UNSPEAKABLE.search(word):
        return None
    if _ROMAJI.fullmatch(word):
        return _SYLLABLE.sub(_kana, _japanese(word))
    word = _ONE_SYLLABLE_NG.fullmatch(word)[1] if _ONE_SYLLABLE_NG.fullmatch(word) else word
    if silent := _SILENT_E.fullmatch(word):
        word = silent[1] + _LONG[silent[2]] + silent[3]
    return _SYLLABLE.sub(_kana, _foreign(word))


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
