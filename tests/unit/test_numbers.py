"""Stand-ins for numbers: what gets one, and what is written in its place."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt.translator import dates
from stt.translator.numbers import stand_ins


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        ("It has 1,250,000 rows.", "It has 37QM rows.", "125万"),
        ("It has 1,234,567 rows.", "It has 37QM rows.", "123万4567"),
        ("It has 30000000 rows.", "It has 37QM rows.", "3000万"),
        (
            "About 602,214,076,000,000,000,000,000.",
            "About 37QM.",
            "602,214,076,000,000,000,000,000",
        ),
        ("Order 78451236 is late.", "Order 37QM is late.", "78451236"),
        ("It costs 1,234,567.89 dollars.", "It costs 37QM dollars.", "1,234,567.89"),
        ("It costs 4.5 million dollars.", "It costs 37QM dollars.", "450万"),
        ("Add -250,000 to it.", "Add 37QM to it.", "-25万"),
        ("Send 200,000-300,000 now.", "Send 37QM now.", "20万から30万"),
        ("The 100,000th row.", "The 37QM row.", "10万番目"),
        ("Port 443 is open.", "Port 374 is open.", "443"),
        ("It is 70 degrees Fahrenheit.", "It is 374 degrees.", "華氏70"),
        ("Bake at 350 Fahrenheit.", "Bake at 374 degrees.", "華氏350"),
        ("It costs 145 euros.", "It costs 374 euros.", "145"),
        ("He is 66 years old.", "He is 374 years old.", "66"),
        ("It is 0.003%.", "It is 374%.", "0.003"),
        ("The 22nd row.", "The 374th row.", "22"),
        ("Ping 192.168.1.1 now.", "Ping 37QM now.", "192.168.1.1"),
        ("Open 127.0.0.1:8080 now.", "Open 37QM now.", "127.0.0.1:8080"),
        ("Call 555-123-4567 now.", "Call 37QM now.", "555-123-4567"),
        ("Version 22.11.0 is out.", "Version 37QM is out.", "22.11.0"),
        ("At 0x7fff5a it fails.", "At 37QM it fails.", "0x7fff5a"),
        ("It is scaled 1:50.", "It is scaled 37QM.", "1対50"),
        ("In a ratio of 1:10, mix it.", "In a ratio of 37QM, mix it.", "1対10"),
        ("Won by 3:2 yesterday.", "Won by 37QM yesterday.", "3対2"),
        ("Use a 2:15 ratio.", "Use a 37QM ratio.", "2対15"),
        ("The map is 1:25,000.", "The map is 37QM.", "1対2万5000"),
    ],
)
def test_a_number_that_the_model_gets_wrong_has_a_stand_in(text, given, written):
    said, numbers = stand_ins(text)
    assert said == given
    code = re.search(r"37QM|374", said)[0]
    assert numbers.written(f"約{code}です") == f"約{written}です"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("At 14:50 it stops.", "14時50分"),
        ("At 3:05 p.m. it stops.", "午後3時5分"),
        ("It opens at 9:00.", "9時"),
        ("The talk on ratios is at 1:10 p.m. today.", "午後1時10分"),
    ],
)
def test_a_time_is_written_as_a_time(text, said):
    given, numbers = stand_ins(text)
    assert "37 o'clock" in given
    assert numbers.written("37時に") == f"{said}に"


def test_a_damaged_time_is_not_spoken_but_hours_that_last_are():
    numbers = stand_ins("It is open from 8:15 to 16:45 and three hours longer on Sunday.")[1]
    assert numbers.written("7時から58時、3時間長く") == "8時15分から16時45分、3時間長く"


def test_a_range_of_times_and_the_end_of_a_sentence_are_kept():
    assert stand_ins("Open 9:00-17:00 today.")[0] == "Open 37 o'clock to 58 o'clock today."
    assert stand_ins("It ends at 2:05 p.m.")[0] == "It ends at 37 o'clock."


@pytest.mark.parametrize(
    ("date", "written"),
    [
        ("May 4, 2025", "2025年5月4日"),
        ("Sept. 5th, 2022", "2022年9月5日"),
        ("4 May 2025", "2025年5月4日"),
        ("the 4th of July 1776", "1776年7月4日"),
        ("2024-05-20", "2024年5月20日"),
        ("2024/5/20", "2024年5月20日"),
        ("May 4", "5月4日"),
    ],
)
def test_a_date_has_another_date_as_its_stand_in(date, written):
    said, numbers = stand_ins(f"It ends on {date}.")
    assert said == "It ends on March 14, 2013."
    assert numbers.written("2013年3月14日に") == f"{written}に"
    assert "2013" not in numbers.written("2013年3月に、14日に、3月14に")


def test_the_time_of_a_day_comes_first():
    said, _ = stand_ins("It ended on 2024-05-20 12:30 or on May 4, 2025, at 9:00.")
    assert said == "It ended at 37 o'clock on March 14, 2013 or at 58 o'clock on June 25, 2018."


@pytest.mark.parametrize(
    "text",
    [
        "It has 10 rows, 11 keys, 500 columns, 2,000 cells and 86400 values.",
        "From 1999 to 2022, in the 1990s.",
        "COVID-19, GPT-4, utf8, v1.2.3, 3.10.2, 1/2 and 24/7",
        "The slice a(1:10) and localhost:3000",
        "It fell from 20 to 15 degrees, between 1990 and 1995, by 1939-1945, 2-1, 1 in 20.",
        "Steps 1, 2 and 3, on 01/02/2025, in std::vector.",
        "0.1 + 0.1 - 0.3 is 0, 2 - 5 equals -3.",
        "May I have 3 of them?",
        "By June 30% had left, by July 40 percent, by May 10 times as many.",
        "",
    ],
)
def test_what_the_model_translates_well_stays(text):
    assert stand_ins(text)[0] == text


def test_what_is_in_the_text_is_no_stand_in_and_what_has_none_left_stays():
    said, numbers = stand_ins("Of 37 or 58: 1,100,000; 1,200,000; 1.3 million; 1,400,000 rows.")
    assert said == "Of 37 or 58: 41QM; 90QM; 26QM; 1,400,000 rows."
    assert numbers.written("37、41QM、90QM、26QM") == "37、110万、120万、130万"
    assert stand_ins("Of 11,000; 12,000; 13,000; 14,000; 15,000.")[0].endswith("; 90QM.")
    text = "Of 1.1 million; 1.2 million; 1.3 million; 1.4 million; 1.5 million; 1.6 million."
    assert stand_ins(text)[0].endswith("90QM; 1.6 million.")


@pytest.mark.parametrize("damaged", ["7QM", "377QM", "37QMM", "37 QM", "37Q", "QM", "37"])
def test_a_damaged_code_is_not_spoken(damaged):
    numbers = stand_ins("It has 1,250,000 of 3,400,000 rows.")[1]
    assert numbers.written(f"行は{damaged}です") == "行は125万です"


def test_a_damaged_count_is_not_spoken_but_a_number_of_the_sentence_is():
    numbers = stand_ins("Heat to 165 degrees for 10 to 12 minutes, or to 574.")[1]
    assert numbers.written("37度で574、394、274、584分") == "37度で574、10から12、10から12、165分"


def test_letters_after_a_code_are_kept():
    numbers = stand_ins("It takes 125,000 ms.")[1]
    assert numbers.written("37QMmsです") == "12万5000msです"


@given(st.text("0123456789 0123456789,.:-/QMKafx(thAprilMay million p.m.", max_size=60))
def test_whatever_the_text_is_no_code_is_left(text):
    said, numbers = stand_ins(text)
    assert "QM" in text or "QM" not in numbers.written(said)


@pytest.mark.parametrize(
    "unit", ["1", "1,", "1.1", "1:10 ", "1:1", "May 1 ", "12:30-", "1 million "]
)
def test_no_text_takes_long(unit):
    began = time.perf_counter()
    stand_ins(unit * 1300)
    assert time.perf_counter() - began < 1


def test_a_spelled_hour_or_another_month_is_not_taken_for_a_stand_in():
    numbers = stand_ins("It opens at 9:00 and closes at three o'clock.")[1]
    assert numbers.written("37時から3時まで") == "9時から3時まで"
    said, numbers = stand_ins("From Mar 2020 to Jan 5, 2021 he was away.")
    assert said == "From Mar 2020 to June 25, 2018 he was away."
    assert numbers.written("2020年3月から2018年6月25日") == "2020年3月から2021年1月5日"


def test_the_year_of_a_stand_in_is_never_spoken():
    numbers = stand_ins("On March 5, 2021 and on May 4 they met.")[1]
    assert numbers.written("2018と2016に") == "2021とに"


def test_a_million_after_a_month_is_no_day():
    assert stand_ins("In May 5 million people came.")[0] == "In May, 37QM people came."


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        ("Open on 4 and 5 May.", "Open on March 14, 2013.", "5月4日と5日"),
        ("On 2, 4 and 5 May.", "On March 14, 2013.", "5月2日、4日、5日"),
        ("On May 4 or the 5th, 2024.", "On March 14, 2013.", "2024年5月4日か5日"),
        ("From 1 to 15 April.", "On March 14, 2013.", "4月1日から15日まで"),
        ("April 12–16, 2025.", "March 14, 2013.", "2025年4月12日から16日まで"),
        (
            "Runs from July 30 to August 2, 2024.",
            "Runs on March 14, 2013.",
            "2024年7月30日から8月2日まで",
        ),
        ("July 1, 2023-May 2, 2024.", "March 14, 2013.", "2023年7月1日から2024年5月2日まで"),
        ("Between May 1 and May 15.", "On March 14, 2013.", "5月1日から5月15日まで"),
        ("On May 4, June 5 and July 6.", "On March 14, 2013.", "5月4日、6月5日、7月6日"),
        ("On Tuesday, May 7.", "On March 14, 2013.", "5月7日火曜日"),
        ("Due 12/31/2026.", "Due March 14, 2013.", "2026年12月31日"),
        ("Due 31.12.2026.", "Due March 14, 2013.", "2026年12月31日"),
    ],
)
def test_dates_that_stand_together_have_one_stand_in(text, given, written):
    said, numbers = stand_ins(text.replace("–", "-"))
    assert said == given
    assert numbers.written("2013年3月14日です") == f"{written}です"


def test_until_takes_no_other_particle():
    numbers = stand_ins("It runs from July 30 to August 2, 2024.")[1]
    assert numbers.written("2013年3月14日に") == "2024年7月30日から8月2日まで"


def test_a_date_that_moved_is_no_range():
    said, _ = stand_ins("It was moved from May 4 to July 5.")
    assert said == "It was moved from March 14, 2013 to June 25, 2018."


@pytest.mark.parametrize("text", ["In May 15 people died.", "In early May 15 people died."])
def test_in_a_month_is_no_day(text):
    assert stand_ins(text)[0] == text.replace("May", "May,")
    day = text.replace("people", "was it").replace("In early", "In")
    assert "March 14" in stand_ins(day)[0]


def test_without_stand_ins_left_dates_stay_as_they_are():
    text = "From May 1 to July 2, " + "".join(f"{n} " for n in (14, 25, 24, 13, 15))
    assert stand_ins(text)[0] == text


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        ("It takes 25 to 45 minutes.", "It takes 374 minutes.", "25から45"),
        ("It takes 10-15 minutes.", "It takes 374 minutes.", "10-15"),
        ("Take 100 to 145 of them.", "Take 374 of them.", "100から145"),
        ("Take 1 or 2 of them.", "Take 374 of them.", "1か2"),
        ("It is -5 to 3 degrees.", "It is 374 degrees.", "-5から3"),
        ("It costs 20 dollars to 30 dollars.", "It costs 374 dollars.", "20から30"),
        ("It has 5 to 10 million users.", "It has 37QM users.", "500万から1000万"),
        ("See 4, 8, 15 and 16 now.", "See 37QM now.", "4、8、15、16"),
        ("In 3, 6, 9 or 12 months.", "In 37QM months.", "3、6、9、または12"),
        ("In 2010, 2014, 2018 and 2022.", "In 37QM.", "2010年、2014年、2018年、2022年"),
        (
            "Of 11,000 dollars, 12 million dollars, 3 dollars and 5 dollars.",
            "Of 37QM dollars.",
            "1万1000、1200万、3、5",
        ),
        ("Add 2 1/2 cups.", "Add 374 cups.", "2と2分の1"),
        ("Read John 3:16 now.", "Read John 37QM now.", "3章16節"),
        ("Read Psalm 23:1-3 now.", "Read Psalm 37QM now.", "23章1節から3節"),
        ("The score was 21:18 then.", "The score was 37QM then.", "21対18"),
        ("Lost 98:112 there.", "Lost 37QM there.", "98対112"),
        ("A 16:10 display.", "A 37QM display.", "16対10"),
        ("It has 2 1/2 million users.", "It has 37QM users.", "250万"),
        ("It lost -5 to 3 million dollars.", "It lost 37QM dollars.", "-500万から300万"),
        ("Ran 2:01:09 there.", "Ran 37QM there.", "2時間1分9秒"),
        ("Ran 00:03:20 there.", "Ran 37QM there.", "3分20秒"),
        ("At fe80::1ff:fe23:4567:890a now.", "At 37QM now.", "fe80::1ff:fe23:4567:890a"),
        ("At 00:11:22:33:44:55 now.", "At 37QM now.", "00:11:22:33:44:55"),
        ("At ::1 now.", "At 37QM now.", "::1"),
    ],
)
def test_ranges_lists_and_names_have_one_stand_in(text, given, written):
    said, numbers = stand_ins(text)
    assert said == given
    assert numbers.written(re.search(r"37QM|374", said)[0]) == written


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        ("At 7:10, 7:40, and 9:40.", "At 37 o'clock.", "7時10分、7時40分、9時40分"),
        ("At 8 a.m. and 12:30 p.m.", "At 37 o'clock.", "午前8時、午後0時30分"),
        ("Closed 12:00:01 there.", "Closed 37 o'clock there.", "12時0分1秒"),
        ("At 08:05:10 it ran.", "At 37 o'clock it ran.", "8時5分10秒"),
        ("At 8:05:10 it ran.", "At 37 o'clock it ran.", "8時5分10秒"),
        ("At 2-4 p.m. it ran.", "At 37 o'clock to 58 o'clock it ran.", "午後2時"),
        ("At 9-5 p.m. it ran.", "At 37 o'clock to 58 o'clock it ran.", "午前9時"),
        ("From 12 to 1 p.m. it ran.", "From 37 o'clock to 58 o'clock it ran.", "午後0時"),
        ("He lost it after 9:30 there.", "He lost it after 37 o'clock there.", "9時30分"),
        ("I lost it at 9:30.", "I lost it at 37 o'clock.", "9時30分"),
    ],
)
def test_times_with_halves_and_seconds_and_lists_of_them(text, given, written):
    said, numbers = stand_ins(text)
    assert said == given
    assert numbers.written("37時") == written


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        ("A 5 to 10 million-dollar deal.", "A 37QM to 58QM-dollar deal.", "500万 to 1000万"),
        ("Take 2 1/2 to 3 million.", "Take 374 to 58QM.", "2と2分の1 to 300万"),
        ("Wait 2 1/2 or 3 hours.", "Wait 374 or 3 hours.", "2と2分の1 or 3"),
        ("A half is 1/2 million.", "A half is 1/2 million.", "1/2 million"),
        ("Bake 1 1/2-2 hours.", "Bake 1 1/2-2 hours.", "1 1/2-2 hours"),
    ],
)
def test_a_stand_in_is_no_part_of_another_number(text, given, written):
    """374 million was 3億7400万, and spoken."""
    said, numbers = stand_ins(text)
    assert said == given
    assert written in numbers.written(said)


def test_a_number_in_words_is_no_stand_in():
    said, numbers = stand_ins("Thirty-seven people paid 12,500 yen.")
    assert said == "Thirty-seven people paid 58QM yen."
    assert numbers.written("37人が58QM円を払いました") == "37人が1万2500円を払いました"
    said, numbers = stand_ins("He came on May 4 and left fourteen days later.")
    assert said == "He came on June 25, 2018 and left fourteen days later."
    assert numbers.written("6月25日に来て、14日後に去った") == "5月4日に来て、14日後に去った"


NUMBERS = "1 6 16 66 161 1.6 -6 1,611 16,161 1,666,111 1.6.1 1/6".split()
NUMBERS += ["1 1/6", "6 million", "-1.6 thousand", "6:16", "6:16:11", "May 6"]
JOINED = [" ", " to ", " or ", " and ", ", ", ", and ", "-", " - ", ":", "/", " people to "]
AFTER = ["", ".", " people", "%", " million", " million-dollar", " thousand/year", ":6", "-6"]


@given(
    st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(JOINED)), min_size=1, max_size=6),
    st.sampled_from(AFTER),
)
def test_no_stand_in_is_left_when_the_model_copies_them(numbers, after):
    """These sentences are written with 0, 1 and 6, of which no stand-in has two, and 5, which May is."""
    text = "From " + "".join(number + joined for number, joined in numbers)[:-1] + after
    said, stood = stand_ins(text)
    copied = said.replace("March 14, 2013", "2013年3月14日").replace(" o'clock", "時")
    for y, m, d in dates._DAYS[1:]:
        copied = copied.replace(f"{dates._NAMES[m - 1]} {d}, {y}", f"{y}年{m}月{d}日")
    assert set(re.findall(r"\d", stood.written(copied))) <= set("0165")
