"""Tables say what was measured: observed percentiles, every failure, how many sentences, which ratio."""

from __future__ import annotations

import csv
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from stt import cells as cells_of
from stt import charts, gate, jsonl, report, results, statistics, stored
from stt.comparison import by_sentence, paired, sooner
from stt.errors import ResultsError
from stt.messages import Status
from stt.run import _print

FIXTURES = Path(__file__).parents[1] / "fixtures"
RUNS = FIXTURES / "runs"
SCRIPT = runpy.run_path(str(FIXTURES / "make_runs.py"))
write, header, TARGET = SCRIPT["write"], SCRIPT["header"], SCRIPT["TARGET"]


def cells(text, name):
    """The cells of the table row that begins with `name`."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


def times_ms(run, mark=None):
    """Sorted times from the raw file, of the first chunk or (None) the last one; one a measured record."""
    lines = (run / "records.jsonl").read_bytes().splitlines()
    stored = [json.loads(line) for line in lines if line.endswith(b"}")]
    measured = [r for r in stored if r["phase"] == "measure" and r["status"] == "ok"]
    ns = [r["marks_ns"][mark] if mark else r["chunks"][-1][0] for r in measured]
    return sorted(value / 1e6 for value in ns)


def values(frame, run):
    part = report.measured(frame)
    part = part[part["run"] == run]
    return by_sentence(part["id"], part["total_ms"])


def summary(run):
    return report.summary(results.read(run), TARGET)


# One run


def test_percentiles_are_values_of_the_raw_file_by_nearest_rank():
    fast = RUNS / "synthetic-fast"
    text = summary(fast)
    for name, mark in (("ttfa_ms", "first_chunk"), ("total_ms", None)):
        times = times_ms(fast, mark)
        assert len(times) == 128
        _, p50, p95, _ = cells(text, name)
        assert p50.split()[0] == f"{times[64 - 1]:.1f}"  # rank ceil(0.50 * 128)
        assert p95.split()[0] == f"{times[122 - 1]:.1f}"  # rank ceil(0.95 * 128)


def test_the_audible_time_is_later_by_the_leading_silence():
    text = summary(RUNS / "synthetic-fast")
    ttfa, audible = (float(cells(text, n)[1].split()[0]) for n in ("ttfa_ms", "ttfa_audible_ms"))
    assert audible == pytest.approx(ttfa + 20, abs=0.11)  # every fixture sentence has 20 ms of it


def test_intervals_enclose_their_percentile():
    text = summary(RUNS / "synthetic-slow")
    for name in report.MAIN:
        for cell in cells(text, name)[1:3]:
            point, *found = (float(number) for number in re.findall(r"[\d.]+", cell))
            if found:  # 64 sentences are enough for a p95, not for an interval around it
                assert found[0] <= point <= found[1]
        assert "[" in cells(text, name)[1]


def test_failures_are_counted_named_and_never_leave_the_sample():
    text = summary(RUNS / "synthetic-flawed")
    assert "n=64" in text.splitlines()[0]
    assert "utterances: 60 ok, 1 failed, 1 timeout, 1 truncated, 1 fallback" in text
    assert "  syn-009: timeout: invented timeout" in text
    for name in report.MAIN:
        assert cells(text, name)[2] == "never"  # 4 of 64 reach into the highest 5 %
    assert "4 of 64 sentences missed it" in text.splitlines()[-1]


def test_a_table_of_only_a_few_sentences_has_no_tail(tmp_path):
    text = summary(write(tmp_path / "few", header("0"), sentences=58, passes=1))
    assert cells(text, "total_ms")[2] == "n too small"
    text = summary(write(tmp_path / "enough", header("0"), sentences=59, passes=1))
    assert float(cells(text, "total_ms")[2].split()[0]) > 0


def test_repeating_a_few_sentences_buys_no_tail(tmp_path):
    text = summary(write(tmp_path / "r", header("0"), sentences=20, passes=4))
    assert cells(text, "total_ms")[2] == "n too small"


def test_warm_up_and_earlier_sessions_are_no_part_of_the_numbers():
    run = RUNS / "synthetic-regressed"  # two sessions, 8 warm-ups three times as slow in each
    rows = report.measured(results.read(run))
    assert set(rows["phase"]) == {"measure"}
    assert set(rows["session"]) == {2}
    assert len(rows) == 128


def test_the_verdicts_are_the_last_lines():
    for name, words in (("fast", "PASS"), ("slow", "FAIL"), ("flawed", "UNDECIDED")):
        last = summary(RUNS / f"synthetic-{name}").splitlines()[-2:]
        assert [line.partition(":")[0] for line in last] == TARGET["metrics"]
        assert all(f": {words}: p95 <= 150 ms" in line for line in last)


def test_an_invalid_run_is_called_so(tmp_path):
    run = write(tmp_path / "r", header("0"))
    assert "INVALID" not in summary(run)
    head = json.loads((run / "run.json").read_bytes())
    head["sessions"][-1]["valid"] = {"ok": False, "reasons": ["latency drifted during the run"]}
    jsonl.replace(run / "run.json", head)
    text = summary(run)
    assert "INVALID run: latency drifted during the run" in text
    assert "PASS" not in text


def relabelled(line):
    return {**line, "phase": "warmup"}


def negative(line):
    return {**line, "marks_ns": {**line["marks_ns"], "segmented": -5}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: [], "records are missing"),
        (lambda line: [relabelled(line)], "records are missing"),
        (lambda line: [{**line, "status": None}], "unreadable lines"),
        (lambda line: [line, line], "there twice in a pass"),
        (lambda line: [negative(line)], "do not add up"),
    ],
    ids=["deleted", "relabelled", "no status", "twice", "negative"],
)
def test_a_run_without_its_slow_sentences_is_no_pass(tmp_path, change, words):
    """What the gate refuses is not passed by the report."""
    run = write(tmp_path / "r", header("0"))
    lines, _ = jsonl.read(run / "records.jsonl")
    slow = sorted(line["chunks"][-1][0] for line in lines if line["phase"] == "measure")[-60]
    kept = []
    for line in lines:
        hit = line["phase"] == "measure" and line["chunks"][-1][0] >= slow
        kept += change(line) if hit else [line]
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in kept))
    text = summary(run)
    [line] = [line for line in text.splitlines() if line.startswith("INVALID run: ")]
    assert words in line
    assert "PASS" not in text
    whole = write(tmp_path / "whole", header("1"))
    assert "; invalid: r;" in report.comparison(results.read([run, whole]), "whole")
    assert "invalid" not in report.comparison(results.read([whole, RUNS / "synthetic-fast"]), None)


# Several runs


def test_a_ratio_of_a_thousandth_still_has_three_digits(tmp_path):
    runs = [
        write(tmp_path / name, header(name), passes=1, slowness=slowness)
        for name, slowness in (("slow", 1000), ("base", 1))
    ]
    line = report.comparison(results.read(runs), "base").splitlines()[2]
    shown = re.findall(r"\d+\.\d+", line.split("|")[-2])
    assert all(0.0005 < float(number) < 0.002 for number in shown)
    assert all(re.fullmatch(r"0\.00\d{3,}", number) for number in shown)


def test_a_comparison_gives_the_ratio_of_paired_sentences_with_its_interval():
    frame = results.read([RUNS / "synthetic-fast", RUNS / "synthetic-slow"])
    text = report.comparison(frame, "synthetic-slow")
    fast, slow = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:4]
    )
    assert slow[-2:] == ["1", "1"]
    ratio, low, high = (float(number) for number in re.findall(r"[\d.]+", fast[-1]))
    assert low <= ratio <= high
    assert 4.7 < ratio < 5.3  # the slow run was made with times five times as long
    assert float(fast[-2].partition("x")[0]) < ratio  # both wait for the same 20 ms of silence
    assert "95 % bootstrap interval" in text.splitlines()[-1]


def test_a_comparison_says_when_runs_that_took_turns_are_compared_with_another_session(tmp_path):
    frame = results.read([RUNS / "synthetic-fast", RUNS / "synthetic-slow"])
    assert "took turns" not in report.comparison(frame, "synthetic-slow")  # nothing is known
    frame["turns"] = "first"
    assert "took turns" not in report.comparison(frame, "synthetic-slow")
    frame.loc[frame["run"] == "synthetic-slow", "turns"] = None  # measured again, alone
    last = report.comparison(frame, "synthetic-slow").splitlines()[-1]
    assert "not all took turns" in last


def test_of_many_equal_runs_none_is_called_different(tmp_path):
    """By chance an interval or two of so many leaves 1 out; Holm's correction knows how many there are."""
    base = write(tmp_path / "base", header("base"), seed=26)  # unusual among the equal ones
    slow = write(tmp_path / "slow", header("slow"), slowness=1.1, seed=99)
    equal = [write(tmp_path / f"equal{i}", header(str(i)), seed=i) for i in range(1, 11)]
    frame = results.read([base, slow, *equal])
    lines = report.comparison(frame, "base").splitlines()
    found = [[cell.strip() for cell in line.split("|")[-3:-1]] for line in lines[3:-1]]
    assert not any(cell.endswith("~") for cell in found[0])
    assert all(cell.endswith("~") for row in found[1:] for cell in row)
    assert "Holm's correction for 22 comparisons" in lines[-1]
    raw = [paired(*(values(frame, run) for run in (path.name, "base"))).p for path in equal]
    assert min(raw) < 0.05


def test_a_comparison_says_how_many_utterances_each_run_has():
    frame = results.read([RUNS / "synthetic-fast", RUNS / "synthetic-slow"])
    for baseline in ("synthetic-slow", None):
        last = report.comparison(frame, baseline).splitlines()[-1]
        assert re.search(r"\bn=128\b", last), last


def test_a_comparison_counts_what_was_not_ok():
    frame = results.read([RUNS / "synthetic-flawed", RUNS / "synthetic-slow"])
    lines = report.comparison(frame, "synthetic-slow").splitlines()
    column = [cell.strip() for cell in lines[0].strip("|").split("|")].index("not ok")
    shown = [line.strip("|").split("|")[column].strip() for line in lines[2:4]]
    assert shown == ["4", "0"]
    assert "never" in lines[2]


def test_runs_over_different_text_are_not_compared(tmp_path):
    def reword(line):
        return {**json.loads(line), "source": "Something else."}

    run = write(tmp_path / "other", header("0"))
    lines = (run / "records.jsonl").read_bytes().splitlines()
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(reword(x)) + b"\n" for x in lines))
    with pytest.raises(ResultsError, match="different text"):
        report.comparison(results.read([run, RUNS / "synthetic-fast"]), None)


def test_two_folders_of_one_name_are_two_runs(tmp_path):
    fast = write(tmp_path / "monday" / "r", header("1"), passes=1)
    slow = write(tmp_path / "tuesday" / "r", header("2"), passes=1, slowness=5)
    report.Report(results.read([fast, slow])).write(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "audible sooner" in text
    assert "n=128" not in text


def test_runs_of_the_same_engines_are_told_apart(tmp_path):
    one = write(tmp_path / "two-threads", header("1"))
    other = write(tmp_path / "one-thread", header("2"), slowness=2)
    text = report.comparison(results.read([one, other]), None)
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    first, second = (line.split("|")[1:4] for line in lines)
    assert first != second


def test_runs_of_a_sweep_are_named_by_what_was_swept(tmp_path):
    def delayed(ms):
        made = header(str(ms))
        engine = {"_target_": "stt.tts.tone.Tone", "delay_ms": ms, "rate": 8}
        return {**made, "config": {**made["config"], "tts": engine, "resume": bool(ms)}}

    runs = [write(tmp_path / f"r{ms}", delayed(ms), sentences=20, passes=1) for ms in (0, 20)]
    text = report.comparison(results.read(runs), None)
    names = [line.split("|")[1].strip() for line in text.splitlines()[2:4]]
    assert names == ["synthetic (tts.delay_ms=0)", "synthetic (tts.delay_ms=20)"]
    again = write(tmp_path / "again", delayed(20), sentences=20, passes=1)
    labels = report.labels(results.read([*runs, again]))
    assert [label.partition("(")[2] for label in labels.values()] == [
        "tts.delay_ms=0)", "r20)", "again)",
    ]  # fmt: skip


def test_a_caption_never_averages_the_sizes_of_runs(tmp_path, monkeypatch):
    captions = []

    def record(rows, labels, target, caption):
        captions.append(caption)
        return charts.distribution(rows, labels, target, caption)

    monkeypatch.setattr(charts, "length", record)
    report.Report(results.read([RUNS / "synthetic-flawed", RUNS / "synthetic-slow"])).write(
        tmp_path
    )
    assert "96" not in captions[0], "64 and 128 utterances are not 96 each"


# Files


def test_the_csv_holds_what_the_markdown_shows(tmp_path):
    flawed, slow = RUNS / "synthetic-flawed", RUNS / "synthetic-slow"
    report.Report(results.read([flawed, slow])).write(tmp_path)
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["run"], row["metric"]): row for row in csv.DictReader(file)}
    assert {metric for _, metric in rows} == {*report.MAIN, *report.STAGES}
    assert {row["n"] for (_, name), row in rows.items() if name in report.MAIN} == {"64", "128"}
    assert rows["synthetic-flawed", "rtf"]["n"] == "60"  # a failure reached no stage
    for run in (flawed, slow):
        text = summary(run)
        for name in (*report.MAIN, *report.STAGES):
            shown = cells(text, name)[1].split()[0]
            assert abs(float(rows[run.name, name]["p50"]) - float(shown)) <= 0.051, name
    total = rows["synthetic-slow", "total_ms"]
    assert float(total["p50"]) == times_ms(slow)[63]
    assert float(total["p95"]) == times_ms(slow)[121]
    lost = rows["synthetic-flawed", "total_ms"]
    assert (lost["n"], float(lost["p95"])) == ("64", float("inf"))  # never a number over successes


def test_the_csv_has_no_tail_of_a_few_sentences(tmp_path):
    run = write(tmp_path / "r", header("0"), sentences=20, passes=1)
    report.Report(results.read([run])).write(tmp_path)
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["p50"]) >= 0 for row in rows)
    assert {row["p95"] for row in rows} == {""}


def test_one_command_writes_tables_charts_page_and_trace(tmp_path, capsys):
    assert report.main([str(RUNS), "--out", str(tmp_path), "--baseline", "synthetic-slow"]) == 0
    said = capsys.readouterr().out
    tables = {"report.md", "report.csv", "report.html", "trace.json"}
    names = {*tables, "stage_budget.png", "distribution.png", "length.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(str(tmp_path / name) in said for name in names)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.strip() in said
    assert text.count("| metric ") == 4  # a summary of each run after the comparison


def test_a_baseline_is_a_name_or_a_folder_and_an_unknown_one_is_refused(tmp_path, capsys):
    command = [str(RUNS), "--out", str(tmp_path), "--baseline"]
    said = []
    for baseline in ("synthetic-slow", str(RUNS / "synthetic-slow") + "/"):
        assert report.main([*command, baseline]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "paired ratios to synthetic-slow" in said[0]
    assert report.main([*command, "synthetic-slower"]) == 2
    assert "Choose from: synthetic-" in capsys.readouterr().err


def test_text_that_nobody_translated_has_no_quality(tmp_path):
    def same(run):
        lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
        stored = [{**line, "translation": line["source"]} for line in lines]
        (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in stored))

    run = write(tmp_path / "r", header("0"), sentences=20, passes=1)
    assert "quality: chrF" in summary(run)
    same(run)
    assert "quality" not in summary(run)


def test_a_translation_that_no_voice_spoke_has_no_quality(tmp_path):
    def fail(run, count):
        records = run / "records.jsonl"
        lines = [json.loads(line) for line in records.read_bytes().splitlines()]
        for line in [line for line in lines if line["phase"] == "measure"][:count]:
            line.update(status="failed", error="synthesizer: no", chunks=[], translation="よい。")
        records.write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
        said = re.search(r"quality: chrF (\S+), BLEU\S+ \S+?(?: \((.*)\))?\n", summary(run))
        return said and (float(said[1]), said[2])

    runs = [write(tmp_path / f"{n}", header("0"), sentences=20, passes=1) for n in (0, 5, 20)]
    (whole, note), (some, why), nothing = map(fail, runs, (0, 5, 20))
    assert note is None
    assert some < whole, "a failure stays in the denominator"
    assert why == "what was not spoken to its end counts as nothing said"
    assert nothing is None
    assert "| -  " in report.comparison(results.read(runs[-1]), None)


@pytest.mark.parametrize(
    ("facts", "judged"),
    [
        ({"translates": False}, False),
        ({"translates": True}, True),
        ({"weights": "random (synthetic)"}, False),
        ({"weights": "checkpoint"}, True),
        ({"engine": "echo"}, False),  # before runs said it
        ({}, True),
    ],
)
def test_output_that_is_no_translation_is_not_judged(tmp_path, facts, judged):
    run = write(tmp_path / "r", header("0"), sentences=20, passes=1)
    head = json.loads((run / "run.json").read_bytes())
    head["sessions"][-1]["effective"]["translator"] |= facts
    jsonl.replace(run / "run.json", head)
    assert ("quality: chrF" in summary(run)) == judged
    assert ("| -  " in report.comparison(results.read(run), None)) != judged


def test_a_voice_that_is_only_silence_is_called_so(tmp_path):
    run = write(tmp_path / "r", header("0"), passes=1)
    assert "audible sample" not in summary(run)
    records, _ = jsonl.read(run / "records.jsonl")
    for record in records:
        record["leading_silence_s"] = None
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (run / "records.jsonl").write_text(lines, encoding="utf-8")
    assert "64 of 64 ok utterances have no audible sample" in summary(run)


@pytest.mark.parametrize(("module", "status"), [("report", 0), ("gate", 2)])
def test_a_reader_that_goes_early_costs_nothing(tmp_path, module, status):
    """`python -m stt.report RUN | head -1`"""
    run = write(tmp_path / "r", header("0"), sentences=20, passes=1)
    command = [sys.executable, "-m", f"stt.{module}", str(run)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (status, b"")


def test_what_cannot_be_reported_is_said_in_one_sentence(tmp_path, capsys):
    only_warm = write(tmp_path / "warm", header("0"), sentences=1, passes=1)
    lines = (only_warm / "records.jsonl").read_bytes().splitlines(keepends=True)
    (only_warm / "records.jsonl").write_bytes(b"".join(lines[:-1]))  # as kill -9 leaves it
    for asked, words in ((tmp_path / "nowhere", "does not exist"), (only_warm, "only warm-up")):
        assert report.main([str(asked), "--out", str(tmp_path / "out")]) == 2
        out, err = capsys.readouterr()
        assert words in err
        assert out == ""


def test_all_failed_is_reported_as_failed_not_as_a_crash(tmp_path):
    run = write(
        tmp_path / "r", header("0"), passes=1, failures=dict.fromkeys(range(64), Status.failed)
    )
    report.Report(results.read([run])).write(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "utterances: 64 failed" in text
    assert "and 54 more: report.html has them all" in text  # ten are named
    assert cells(text, "total_ms")[1].startswith("never")
    assert "total_ms: FAIL" in text


def test_what_was_never_audible_is_not_called_failed(tmp_path):
    run = write(tmp_path / "r", header("0"), passes=1)
    records, _ = jsonl.read(run / "records.jsonl")
    lines = [jsonl.dumps({**line, "leading_silence_s": None}) for line in records]
    (run / "records.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    text = summary(run)
    assert cells(text, "ttfa_audible_ms")[1].startswith("never")
    assert "failed" not in text


@pytest.mark.parametrize("command", ["stt.report", "stt.run"])
def test_each_file_is_read_and_each_run_judged_once(tmp_path, monkeypatch, capsys, command):
    """A folder of live runs may hold many sessions, and files and terminal must say the same."""
    runs = [write(tmp_path / name, header(name), passes=1) for name in ("a", "b")]
    calls = {}
    for module, name in ((stored, "records"), (stored, "header"), (statistics, "verdict")):
        spy = mock.Mock(side_effect=getattr(module, name))
        monkeypatch.setattr(module, name, spy)
        calls[name] = spy.call_args_list
    if command == "stt.report":
        assert report.main([*map(str, runs), "--out", str(tmp_path / "out")]) == 0
    else:
        assert _print(runs)
    assert calls["records"] == calls["header"] == [mock.call(run) for run in runs]
    assert len(calls["verdict"]) == len(runs) * len(TARGET["metrics"])
    assert "audible sooner" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report.main([str(RUNS / "synthetic-fast"), "--out", "/proc/nope"]) == 2
    assert "/proc/nope cannot be written" in capsys.readouterr().err


def asked(key, limit_ms):
    made = header(key)
    target = made["config"]["target"] | {"limit_ms": limit_ms}
    return made | {"config": made["config"] | {"target": target}}


@pytest.mark.parametrize("order", [1, -1])
def test_each_run_is_judged_by_its_own_target(tmp_path, order):
    loose = write(tmp_path / "loose", asked("1", 5000))
    strict = write(tmp_path / "strict", asked("2", 1))
    report.Report(results.read([loose, strict][::order])).write(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    verdicts = {
        part.split("\n")[0].rpartition("(")[2].rstrip(")"): part.rstrip().splitlines()[-1]
        for part in text.split("\n## ")[1:]
    }
    loose, strict = (verdicts[f"target.limit_ms={limit}"] for limit in (5000, 1))
    assert "PASS" in loose
    assert "5000 ms" in loose
    assert "FAIL" in strict
    assert "<= 1 ms" in strict


def test_a_last_session_without_a_measurement_is_said(tmp_path):
    run = write(tmp_path / "r", header("0"))
    head = json.loads((run / "run.json").read_bytes())
    head["sessions"].append({"session": 2, "valid": {"ok": False, "reasons": ["broken off"]}})
    jsonl.replace(run / "run.json", head)
    assert summary(run).startswith("Session 2 measured nothing; this is session 1.")
    assert "measured nothing" not in summary(write(tmp_path / "s", header("0")))


def test_two_runs_of_the_same_engines_on_two_machines_are_two_in_charts_and_text(tmp_path):
    one = write(tmp_path / "before", header("1"))
    other = write(tmp_path / "after", header("2"), slowness=2)
    head = json.loads((other / "run.json").read_bytes())
    for place in (head, *head["sessions"]):
        place["environment"] = {**head["environment"], "cpu": {"model": "EPYC 9999", "cores": 8}}
    jsonl.replace(other / "run.json", head)
    rows = report.measured(results.read([one, other]))
    labels = report.labels(rows)
    assert [label.rpartition(" ")[2] for label in labels.values()] == ["(before)", "(after)"]
    caption = report.caption(rows)
    assert "EPYC 9999 x8" in caption
    assert caption.count("; n=") == 1
    assert "different machines" in report.comparison(rows, "before")
    report.Report(results.read([one, other])).write(tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^## .*\((?:before|after)\)$", text)) == 2


def test_a_large_difference_stays_one_among_many_runs(tmp_path):
    base = write(tmp_path / "base", header("base"), passes=1)
    frames = [results.read([base])]
    for i in range(30):
        frames.append(frames[0].assign(run=f"r{i}", total_ms=frames[0]["total_ms"] / 100,
                                       ttfa_audible_ms=frames[0]["ttfa_audible_ms"] / 100))  # fmt: skip
    import pandas as pd

    found = sooner(report.measured(pd.concat(frames)), "base", ("ttfa_audible_ms", "total_ms"))
    assert len(found) == 60
    assert all(ratio.p < 0.05 for ratio in found.values())


def test_a_ratio_says_how_many_sentences_it_is_about(tmp_path):
    """Those that failed in a run are in no ratio: a run that loses its slow half must not look as fast as before."""
    lost = dict.fromkeys(range(0, 64, 2), Status.timeout)
    runs = [
        write(tmp_path / name, header(name), passes=1, failures=failures)
        for name, failures in (("all", {}), ("half", lost))
    ]
    assert "(32 of 64)" in report.comparison(results.read(runs), "all")


def test_runs_without_a_sentence_in_common_are_not_compared(tmp_path):
    runs = [write(tmp_path / name, header(name)) for name in ("a", "b")]
    frame = results.read(runs)
    frame.loc[frame["run"] == "b", "id"] += "x"
    with pytest.raises(ResultsError, match="no sentence in common"):
        report.comparison(frame, "a")


def test_speech_that_waits_for_the_speech_before_it_is_no_silent_pass(tmp_path):
    """In an open loop the times to first audio say nothing of a loudspeaker that is still busy."""
    folder = write(tmp_path / "open", header("0"), passes=1)
    records, _ = jsonl.read(folder / "records.jsonl")
    for number, record in enumerate(records):
        record["facts"] = {"loudspeaker_free_ns": number * 10**9}
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl").write_text(lines, encoding="utf-8")
    [said] = [line for line in summary(folder).splitlines() if "heard later" in line]
    assert "p50" in said
    assert "p95" not in said  # these depend on each other, and in a live session they are few
    assert "heard later" not in summary(RUNS / "synthetic-fast")


@pytest.mark.parametrize("sessions", [1, 4, 5, 6])
def test_what_came_before_the_first_measured_sentence_is_said(tmp_path, sessions):
    """Times of a cold start come from five fresh processes or more (R9), and are their medians."""
    folder = write(tmp_path / "r", header("0"), passes=1, sentences=2, sessions=sessions)
    head = json.loads((folder / "run.json").read_bytes())
    for number, session in enumerate(head["sessions"]):
        warmup = {"sentences": 15 + number}
        session["load"] = {"load_s": number + 0.5, "first_call_ms": 70.0 + number, "warmup": warmup}
        session["effective"]["translator"]["used_in_load"] = "one word"
    jsonl.replace(folder / "run.json", head)
    if sessions < 5:
        before = f"loading and first sentence: n too small ({sessions} of 5 sessions)"
    else:
        before = f"loading 2.5 s (translator used in it), first sentence after it 72 ms (medians of {sessions} sessions)"
    assert f"before that: {before}, {14 + sessions} sentences of warm-up\n" in summary(folder)


def test_a_session_of_which_no_loading_is_known_says_nothing_of_it(tmp_path):
    folder = write(tmp_path / "r", header("0"), passes=1)
    head = json.loads((folder / "run.json").read_bytes())
    head["sessions"][-1]["load"] = head["load"] = {}
    jsonl.replace(folder / "run.json", head)
    assert "loading" not in summary(folder)


def test_a_machine_that_was_busy_is_said(tmp_path, capsys):
    folder = write(tmp_path / "r", header("0"), passes=1)
    head = json.loads((folder / "run.json").read_bytes())
    environment = head["sessions"][-1]["environment"]
    environment |= {"load_average": [6.6, 3, 2], "cpu": {"cores": 4}}
    jsonl.replace(folder / "run.json", head)
    said = "when it began, 6.6 processes wanted 4 CPUs"
    assert said in summary(folder)
    gate.main([str(folder)])
    assert f"note: {said}" in capsys.readouterr().out
    quiet = write(tmp_path / "quiet", header("1"), passes=1)
    gate.main([str(quiet), "--against", str(folder)])
    assert f"note: baseline: {said}" in capsys.readouterr().out
    report.Report(results.read([folder, quiet])).write(tmp_path / "both")
    assert (tmp_path / "both" / "report.md").read_text().count(said) == 1
    environment["load_average"] = [3.9, 3, 2]
    jsonl.replace(folder / "run.json", head)
    assert "CPUs" not in summary(folder)


def test_a_name_cannot_break_a_table():
    made = cells_of.table(("run", "n"), [["a|b", "1"]]).splitlines()
    assert made[-1] == r"| a\|b | 1 |"
    assert len({len(line) for line in made}) == 1
