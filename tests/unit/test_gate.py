"""The gate judges only what the runs allow, and never takes silence for a pass."""

from __future__ import annotations

import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stt import jsonl, report
from stt.comparison import more_breaks, more_work, worse_said
from stt.gate import main
from stt.judgement import judge
from stt.messages import Status
from stt.results import load

FIXTURES = Path(__file__).parents[1] / "fixtures"
SCRIPT = runpy.run_path(str(FIXTURES / "make_runs.py"))
RUNS = FIXTURES / "runs"
write, header = SCRIPT["write"], SCRIPT["header"]
ROOT = Path(__file__).parents[2]


def gate(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, last line, all of it."""
    status = main([str(argument) for argument in arguments])
    text = capsys.readouterr().out
    return status, text.rstrip().splitlines()[-1], text


def change_header(path: Path, **changes: Any) -> Path:
    """Of the run and, where it says the same of its last session, there, too."""
    head = json.loads((path / "run.json").read_bytes())
    last = head["sessions"][-1]
    last.update({name: value for name, value in changes.items() if name in last})
    jsonl.replace(path / "run.json", {**head, **changes})
    return path


def change_session(path: Path, **changes: Any) -> Path:
    head = json.loads((path / "run.json").read_bytes())
    head["sessions"][-1].update(changes)
    jsonl.replace(path / "run.json", head)
    return path


def rewrite(run: Path, change: Callable[[int, dict[str, Any]], None]) -> Path:
    """Apply `change(number of the line, record)` to every record of a run."""
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    for number, line in enumerate(lines):
        change(number, line)
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
    return run


# Against the limit


def test_a_fast_run_passes_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, last, text = gate(capsys, RUNS / "synthetic-fast")
    assert (status, last) == (0, "PASS")
    assert "ttfa_audible_ms PASS: p95 <= 150 ms" in text
    assert "total_ms PASS: p95 <= 150 ms" in text


def test_a_slow_run_is_too_slow_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    status, last, _ = gate(capsys, RUNS / "synthetic-slow")
    assert status == 1
    assert last.startswith("TOO SLOW: ttfa_audible_ms is over 150 ms at p95; total_ms")


def test_failures_in_the_run_cannot_be_judged_and_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, last, text = gate(capsys, RUNS / "synthetic-flawed")
    assert status == 2
    assert last.startswith("CANNOT JUDGE: ")
    for status_name in ("failed", "timeout", "truncated", "fallback"):
        assert f"1 utterances {status_name}" in last
    assert "4 of 64 sentences missed it" in text  # the verdict counts them as misses


def test_even_a_run_with_one_failure_in_two_hundred_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), sentences=200, passes=1, failures={7: Status.failed})
    status, last, text = gate(capsys, run)
    assert (status, last) == (2, "CANNOT JUDGE: 1 utterances failed (syn-007)")
    assert "total_ms PASS" in text


def test_too_few_sentences_are_undecided_however_often_they_are_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), sentences=20, passes=5)
    status, last, text = gate(capsys, run)
    assert status == 2
    assert "at least 39 more sentences needed" in last
    assert "n too small for p95" in text


def test_one_metric_that_fails_is_enough_though_another_is_undecided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), sentences=30, passes=1)

    def end_late(_: int, line: dict[str, Any]) -> None:
        line["chunks"][-1][0] += 10**9
        line["marks_ns"]["synthesize_end"] += 10**9

    status, last, text = gate(capsys, rewrite(run, end_late))
    assert "ttfa_audible_ms UNDECIDED" in text
    assert (status, last) == (1, "TOO SLOW: total_ms is over 150 ms at p95")


def test_an_invalid_run_is_refused_with_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"))
    change_session(run, valid={"ok": False, "reasons": ["tts fell back to the stock path"]})
    status, last, _ = gate(capsys, run)
    assert (status, last) == (2, "CANNOT JUDGE: invalid run: tts fell back to the stock path")


def test_a_run_that_was_killed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"))
    head = json.loads((run / "run.json").read_bytes())
    del head["sessions"][0]["valid"]
    jsonl.replace(run / "run.json", head)
    assert gate(capsys, run)[0] == 2


def test_an_earlier_broken_session_does_not_spoil_a_good_rerun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), failures={1: Status.failed})
    assert gate(capsys, run)[0] == 2
    write(run, header("k"))
    assert gate(capsys, run)[0] == 0


def test_records_that_disappeared_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), passes=1)
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:-1]))
    assert "records are missing" in gate(capsys, run)[1]
    (run / "records.jsonl").write_bytes(b"".join([*lines[:-2], b"{torn\n", lines[-1]]))
    assert "1 unreadable lines" in gate(capsys, run)[1]


def test_a_pass_that_skipped_sentences_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"))
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:-3]))
    change_session(run, counts={"ok": 125})
    assert "passes hold different numbers of sentences" in gate(capsys, run)[1]


def test_warm_ups_alone_are_no_measurement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"), sentences=1, passes=1)
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    (run / "records.jsonl").write_bytes(b"".join(lines[:-1]))  # as kill -9 leaves it
    assert gate(capsys, run)[:2][0] == 2
    assert "no measured utterance" in gate(capsys, run)[1]


def test_times_that_do_not_add_up_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"))

    def stamp_late(_: int, line: dict[str, Any]) -> None:
        line["marks_ns"]["first_chunk"] += 50_000_000  # stamped after the whole download
        line["marks_ns"]["synthesize_end"] += 50_000_000

    rewrite(run, stamp_late)
    status, last, _ = gate(capsys, run)
    assert status == 2
    assert "times of 64 sentences do not add up" in last


def test_network_engines_never_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "r", header("k"))
    change_session(run, effective={"translator": {}, "tts": {"network": True}})
    status, last, _ = gate(capsys, run)
    assert (status, last) == (
        2,
        "CANNOT JUDGE: the tts runs over the network, whose speed is not ours",
    )


@pytest.mark.parametrize("target", [{}, {"metrics": ["speed"], "percentile": 95, "limit_ms": 1}])
def test_a_run_without_a_known_target_cannot_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: dict[str, Any]
) -> None:
    run = change_header(write(tmp_path / "r", header("k")), config={"target": target})
    assert gate(capsys, run)[0] == 2


def test_a_missing_folder_and_a_folder_of_many_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(capsys, tmp_path / "no")[0] == 2
    status, last, _ = gate(capsys, RUNS)
    assert status == 2
    assert "holds 4 runs. Name one of them." in last


# Against a baseline


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fast run in three sessions: how equal sessions differ is known."""
    path: Path = write(tmp_path_factory.mktemp("several") / "r", header("k"), sessions=3, seed=1)
    return path


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "copy"))


def test_a_run_against_a_copy_of_it_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = RUNS / "synthetic-fast"
    assert gate(capsys, fast, "--against", copied(fast, tmp_path))[:2] == (0, "PASS")


def test_a_run_against_itself_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other name").symlink_to(RUNS / "synthetic-fast")
    status, last, _ = gate(capsys, RUNS / "synthetic-fast", "--against", tmp_path / "other name")
    assert status == 2
    assert "compared with itself" in last
    assert "Copy the folder" in last


def test_a_voice_that_fails_is_not_called_a_worse_translation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = rewrite(
        write(tmp_path / "base", header("k"), seed=1),
        lambda _, line: line.update(reference=line["translation"]),
    )
    run = rewrite(copied(base, tmp_path), lambda n, line: n % 2 and line.update(status="failed"))
    status, last, text = gate(capsys, run, "--against", base)
    assert status == 2
    assert "utterances failed" in last
    assert "translations" not in text


def test_a_faster_run_that_says_it_worse_cannot_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = rewrite(
        write(tmp_path / "base", header("k"), seed=1),
        lambda _, line: line.update(reference=line["translation"] + "そうです。"),
    )
    run = rewrite(copied(base, tmp_path), lambda _, line: line.update(translation="これは文です。"))
    status, last, _ = gate(capsys, run, "--against", base)
    assert status == 2
    assert re.search(r"translations are worse than the baseline's \(chrF \d.* instead of \d", last)
    assert gate(capsys, base, "--against", run)[0] == 0  # better ones are no doubt

    other = change_header(run, choices={"translator": "another"})
    status, last, text = gate(capsys, other, "--against", base)
    assert (status, last) == (0, "PASS")
    assert "note: translations are worse" in text

    change_header(other, effective={"translator": {"translates": False}})
    status, last, _ = gate(capsys, other, "--against", base)
    assert (status, last) == (2, "CANNOT JUDGE: of the two, only one translates")


def test_translations_are_compared_by_message_and_once() -> None:
    """Where the sentences of a message are cut, and what later passes say, is nothing of the model."""

    def said(first: str, second: str, pass_: int = 1) -> list[dict[str, Any]]:
        shared = {"pass": pass_, "status": Status.ok}
        return [
            {**shared, "id": name, "translation": text.format(n=n), "reference": 2 * whole.format(n=n)}
            for n in range(40)
            for name, text in ((f"m{n}", first), (f"m{n}.2", second))
        ]  # fmt: skip

    whole = "サーバーが{n}台戻った。"
    old = said(whole, whole)
    uncut = [r for r in said(2 * whole, "") if r["translation"]]
    assert worse_said(uncut, old) is None
    assert worse_said(old, old + said("違う", "違う", pass_=2)) is None
    assert worse_said(old, said(whole, "違う")) is not None


def test_a_regression_within_the_limit_is_too_slow_and_both_are_told(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, last, text = gate(capsys, RUNS / "synthetic-regressed", "--against", several)
    assert status == 1
    assert "total_ms is 1.40x the baseline [1.39, 1.41]" in last
    assert "total_ms PASS: p95 <= 150 ms" in text  # the absolute verdict is always printed


def test_the_comparison_alone_decides_when_there_is_a_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = RUNS / "synthetic-slow"
    status, last, text = gate(capsys, slow, "--against", copied(slow, tmp_path))
    assert (status, last) == (0, "PASS")
    assert "total_ms FAIL: p95 <= 150 ms" in text


def test_a_faster_run_passes(capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = RUNS / "synthetic-fast", RUNS / "synthetic-slow"
    assert gate(capsys, fast, "--against", slow)[0] == 0


def test_certain_but_small_changes_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "base", header("k"), seed=1)
    run = write(tmp_path / "run", header("k2"), slowness=1.03, seed=2)
    assert gate(capsys, run, "--against", base)[0] == 0


def test_a_regression_fails_only_when_a_rerun_confirms_it(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run", header("k2"), slowness=1.12, seed=2)
    status, last, _ = gate(capsys, run, "--against", several)
    assert status == 2
    assert "run it once more to confirm" in last
    write(run, header("k2"), slowness=1.12, seed=3)
    assert gate(capsys, run, "--against", several)[0] == 1


def test_a_large_but_uncertain_change_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "base", header("k"), sentences=24, passes=1, seed=1)
    run = write(tmp_path / "run", header("k"), sentences=24, passes=1, seed=1)

    def scatter(
        number: int, line: dict[str, Any]
    ) -> None:  # 10 % slower on average, 2x or 0.6x each
        factor = 2.0 if number % 2 else 0.6
        line["marks_ns"] = {k: round(factor * v) for k, v in line["marks_ns"].items()}
        line["chunks"] = [[round(factor * at), n] for at, n in line["chunks"]]

    status, last, _ = gate(capsys, rewrite(run, scatter), "--against", base)
    assert (status, last) == (0, "PASS")
    ratio = judge(load(run)[0], load(base)[0]).ratios["total_ms"]
    assert ratio.ratio > 1.08
    assert ratio.low < 1 < ratio.high


def test_a_change_below_the_noise_of_the_baseline_itself_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "base", header("k"), slowness=1.3, seed=1)
    write(base, header("k"), seed=2)  # the same configuration, 30 % apart from session to session
    run = write(tmp_path / "run", header("k2"), sessions=2, slowness=1.3, seed=3)
    status, _, text = gate(capsys, run, "--against", base)
    assert status == 0
    floor = judge(load(run)[0], load(base)[0]).floors["total_ms"]
    assert floor is not None and floor > 0.3
    assert f"a session of equal code may be {1 + floor:.3f}x" in text
    assert "note: total_ms: slower, by no more than sessions of the baseline differ" in text


def test_a_busier_hour_is_not_too_slow_where_the_baseline_knows_one_hour_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "base", header("k"), seed=1)
    run = write(tmp_path / "run", header("k"), sessions=2, slowness=1.2, seed=2)
    status, last, _ = gate(capsys, run, "--against", base)
    assert status == 2
    assert "the noise between sessions is unknown" in last
    assert "record the baseline three times, hours apart" in last
    for seed, slowness in ((3, 1.22), (4, 1.05)):
        write(base, header("k"), slowness=slowness, seed=seed)
    assert gate(capsys, run, "--against", base)[0] == 0


def take_turns(run: Path, *names: str) -> Path:
    return rewrite(run, lambda _, line: line.update(turns=names[line["session"] - 1]))


def test_sessions_spoken_in_turns_are_compared_with_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second hour is half as fast again: between hours nothing is known, within each everything."""
    found = []
    for name, slowness in (("base", 1.0), ("equal", 1.0), ("slower", 1.12)):
        path = write(tmp_path / name, header(name), slowness=slowness, seed=len(name))
        write(path, header(name), slowness=1.5 * slowness, seed=9 + len(name))
        found.append(take_turns(path, "first", "second"))
    base, equal, slower = found
    assert gate(capsys, equal, "--against", base)[:2] == (0, "PASS")
    status, last, text = gate(capsys, slower, "--against", base)
    assert status == 1
    assert "total_ms is 1.1" in last
    assert "spoken in turns with it" in text
    assert gate(capsys, take_turns(slower, "third", "fourth"), "--against", base)[0] == 0
    once = take_turns(write(tmp_path / "once", header("k"), seed=1), "first")
    again = take_turns(write(tmp_path / "again", header("k"), slowness=1.12, seed=2), "first")
    status, last, _ = gate(capsys, again, "--against", once)
    assert (status, last.endswith("run it once more to confirm: sessions are compared")) == (
        2,
        True,
    )


def test_turns_of_the_last_session_alone_do_not_make_the_noise_of_the_one_before_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = take_turns(write(tmp_path / "base", header("k"), seed=1), "second")
    run = write(tmp_path / "run", header("k2"), sessions=2, slowness=1.2, seed=2)
    status, last, _ = gate(capsys, take_turns(run, "first", "second"), "--against", base)
    assert (status, "the noise between sessions is unknown" in last) == (2, True)


def test_a_regression_that_the_session_before_did_not_show_wants_a_rerun(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run", header("k2"), seed=2)
    write(run, header("k2"), slowness=1.3, seed=3)
    status, last, _ = gate(capsys, run, "--against", several)
    assert status == 2
    assert "not in the session before: run it once more" in last
    write(run, header("k2"), slowness=1.3, seed=4)
    assert gate(capsys, run, "--against", several)[0] == 1


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"corpus_sha256": "another"}, "another corpus"),
        ({"environment": {"fingerprint": "another"}}, "another machine"),
        ({"environment": {}}, "another machine"),
    ],
)
def test_another_corpus_or_machine_is_no_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], doubt: str
) -> None:
    base = change_header(write(tmp_path / "base", header("k"), seed=1), **changes)
    status, last, text = gate(capsys, RUNS / "synthetic-fast", "--against", base)
    assert status == 2
    assert doubt in last
    assert "total_ms PASS" in text


def test_two_unknown_machines_are_not_the_same_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = change_header(write(tmp_path / "r", header("k")), environment={})
    status, last, _ = gate(capsys, run, "--against", copied(run, tmp_path))
    assert status == 2
    assert "another machine" in last


def test_another_machine_can_be_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "base", header("k"), seed=1)
    change_header(base, environment={"fingerprint": "another"})
    arguments = (RUNS / "synthetic-fast", "--against", base, "--allow-other-machine")
    status, _, text = gate(capsys, *arguments)
    assert status == 0
    assert "note: machines, library versions" in text


def test_a_broken_baseline_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    fast, flawed = RUNS / "synthetic-fast", RUNS / "synthetic-flawed"
    status, last, _ = gate(capsys, fast, "--against", flawed)
    assert status == 2
    assert "baseline: 1 utterances failed" in last


def test_sentences_are_matched_by_their_text_not_only_by_their_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "base", header("k"), seed=1)
    text = (base / "records.jsonl").read_text(encoding="utf-8")
    (base / "records.jsonl").write_text(text.replace('"source":"', '"source":"Not '), "utf-8")
    status, last, _ = gate(capsys, RUNS / "synthetic-fast", "--against", base)
    assert status == 2
    assert "fewer than 20 sentences in common" in last


# Work that no clock can change


def changed_work(tmp_path: Path, key: str = "k2", **changes: Any) -> Path:
    """A run like the fast one, with more of something in its first measured record."""
    run: Path = write(tmp_path / "run", header(key), seed=1)
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    first = next(line for line in lines if line["phase"] == "measure")
    for name, more in changes.items():
        if name == "samples":
            first["chunks"][-1][1] += more
        elif name == "first_samples":
            first["chunks"][0][1] += more
            first["chunks"][1][1] -= more
        else:
            first[name] += more
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
    return run


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target_tokens": 1}, "target_tokens"),
        ({"clauses": 1}, "clauses"),
        ({"samples": 1}, "samples "),
        ({"first_samples": 100}, "samples of the first chunk"),
    ],
)
def test_more_work_for_the_same_text_fails_without_any_clock(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, int],
    reason: str,
) -> None:
    run = changed_work(tmp_path, **changes)
    status, last, _ = gate(capsys, run, "--against", RUNS / "synthetic-fast")
    assert status == 1
    assert last.startswith(f"TOO SLOW: {reason}")
    assert "in 64 sentences with the same texts" in last


def test_more_work_is_too_slow_even_where_the_clock_leaves_a_doubt(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run", header("k2"), slowness=1.12, seed=2)
    assert "run it once more to confirm" in gate(capsys, run, "--against", several)[1]
    rewrite(run, lambda _, line: line.update(target_tokens=line["target_tokens"] + 1))
    status, last, _ = gate(capsys, run, "--against", several)
    assert status == 1
    assert last.startswith("TOO SLOW: target_tokens ")


def test_less_work_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = changed_work(tmp_path, target_tokens=-1, samples=-10)
    assert gate(capsys, run, "--against", RUNS / "synthetic-fast")[0] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"choices": {**SCRIPT["CHOICES"], "translator": "another"}},
        {"config": {**header("k2")["config"], "tts": {"first_chunk_ms": 80}}},
    ],
    ids=["another engine", "another setting of the same engine"],
)
def test_another_configuration_may_work_differently(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed_work(tmp_path, target_tokens=1)
    change_header(run, **change)
    status, _, text = gate(capsys, run, "--against", RUNS / "synthetic-fast")
    assert status == 0
    assert "note: target_tokens" in text


def test_a_voice_that_draws_its_durations_is_not_slow_for_what_it_drew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, expected in (({"samples": 9}, 0), ({"samples": 9, "target_tokens": 1}, 1)):
        run = changed_work(tmp_path / str(expected), **more)
        engines = header("k2")["effective"]
        engines["tts"]["random"] = True
        change_session(run, effective=engines)
        assert gate(capsys, run, "--against", RUNS / "synthetic-fast")[0] == expected


def test_another_translation_is_not_compared_as_work(tmp_path: Path) -> None:
    run = changed_work(tmp_path, target_tokens=1, translation="。")
    old = [r for r in load(RUNS / "synthetic-fast")[0].records if r["phase"] == "measure"]
    new = [r for r in load(run)[0].records if r["phase"] == "measure"]
    assert more_work(old, new) == []


def broken_speech(records: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    broken, seen = [], set()
    for kept in records:
        late = [[at + 10**9 * (i > 0), n] for i, (at, n) in enumerate(kept["chunks"])]
        hit = len(late) > 1 and (kept["id"] in seen or len(seen) < count)
        seen |= {kept["id"]} if hit else set()
        broken.append({**kept, "chunks": late} if hit else kept)
    return broken


def test_underruns_count_when_they_are_many_not_when_one_sentence_hiccups() -> None:
    old = [r for r in load(RUNS / "synthetic-fast")[0].records if r["phase"] == "measure"]
    many = broken_speech(old, 12)
    assert more_breaks([old], broken_speech(old, 1)) is None
    assert more_breaks([old], many) == "speech breaks more often in 12 sentences, less often in 0"
    assert more_breaks([many], old) is None
    assert more_breaks([old, many], many) is None  # a session of the baseline broke as often


def break_speech(run: Path, session: int) -> Path:
    """Late chunks in many sentences of one session; its first and last stay, and so does every latency."""

    def late(_: int, line: dict[str, Any]) -> None:
        if line["session"] == session and len(line["chunks"]) > 3:
            line["chunks"][1:-1] = [[line["chunks"][-1][0], n] for _, n in line["chunks"][1:-1]]
            line["sample_rate"] *= 20  # chunks of 10 ms
            line["leading_silence_s"] = 0.0

    return rewrite(run, late)


def test_broken_speech_alone_is_too_slow_once_a_rerun_confirms_it(
    several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = break_speech(write(tmp_path / "r", header("k"), sessions=2, seed=2), 2)
    status, last, _ = gate(capsys, run, "--against", RUNS / "synthetic-fast")
    assert (status, "the noise between sessions is unknown" in last) == (2, True)
    status, last, _ = gate(capsys, run, "--against", several)
    assert (status, "not in the session before" in last) == (2, True)
    status, last, _ = gate(capsys, break_speech(run, 1), "--against", several)
    assert status == 1
    assert last.startswith("TOO SLOW: speech breaks more often in ")
    assert "_ms" not in last


def test_broken_speech_in_turns_is_held_against_the_session_it_took_turns_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = break_speech(write(tmp_path / "base", header("k"), sessions=3, seed=1), 3)
    take_turns(base, "first", "second", "third")
    run = write(tmp_path / "run", header("k2"), sessions=2, seed=2)
    take_turns(break_speech(break_speech(run, 1), 2), "first", "second")
    assert gate(capsys, run, "--against", base)[0] == 1

    once = take_turns(write(tmp_path / "once", header("k"), seed=1), "second")
    status, last, _ = gate(capsys, run, "--against", once)
    assert (status, "the noise between sessions is unknown" in last) == (2, True)
    again = break_speech(write(tmp_path / "again", header("k2"), seed=2), 1)
    status, last, _ = gate(capsys, take_turns(again, "second"), "--against", once)
    assert (status, "run it once more to confirm" in last) == (2, True)


# The command


def test_json_holds_everything_the_text_says(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regressed = RUNS / "synthetic-regressed"
    status = main([str(regressed), "--against", str(several), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["exit_status"] == status == 1
    assert told["verdict"].startswith("TOO SLOW: ")
    assert told["verdicts"]["total_ms"]["outcome"] == "PASS"
    assert told["ratios"]["total_ms"]["low"] > 1.3
    assert told["floors"]["total_ms"] > 0
    found = judge(load(regressed)[0], load(several)[0])
    assert told["ratios"]["total_ms"]["ratio"] == found.ratios["total_ms"].ratio


def test_the_command_exits_with_its_verdict_and_never_needs_pandas() -> None:
    code = "import sys; sys.modules['pandas'] = None; from stt.gate import main; sys.exit(main())"
    for name, status in (("fast", 0), ("slow", 1), ("flawed", 2)):
        command = [sys.executable, "-c", code, str(RUNS / f"synthetic-{name}")]
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == status
    help_text = subprocess.run(
        [sys.executable, "-m", "stt.gate", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert help_text.returncode == 0
    assert "0 pass, 1 too slow, 2 cannot judge" in help_text.stdout


def test_an_invalid_session_of_the_baseline_is_no_noise_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path / "base", header("k"), slowness=3, seed=1)
    change_session(base, valid={"ok": False, "reasons": ["the session did not finish"]})
    write(base, header("k"), sessions=2, seed=2)
    run = write(tmp_path / "run", header("k2"), slowness=2.5, seed=3)
    write(run, header("k2"), slowness=2.5, seed=4)
    assert gate(capsys, run, "--against", base)[0] == 1


@pytest.mark.parametrize("line", ['{"schema": 1}', '{"schema": 1, "chunks": null}'])
def test_a_record_without_its_fields_is_unreadable_not_too_slow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    run = write(tmp_path / "run", header("k"))
    with (run / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    status, last, _ = gate(capsys, run)
    assert status == 2
    assert "unreadable" in last


@pytest.mark.parametrize(
    "damage",
    [
        *({name: "gone"} for name in ("sample_rate", "source_tokens", "target_tokens", "clauses")),
        *({name: "gone"} for name in ("audio_s", "leading_silence_s")),
        {"arrived_ns": "noon"},
        *({"chunks": chunks} for chunks in ([[None, 5]], [[1]], [5], [[0.5, 5]], [[10**400, 5]])),
        *({"marks_ns": {"first_chunk": mark}} for mark in (None, math.nan)),
        *({"leading_silence_s": silence_s} for silence_s in (math.nan, math.inf, -1.0, 1e300)),
        {"sample_rate": 0},
        {"audio_s": None},
        {"reference": 5},
        {"facts": None},
        {"turns": ["first"]},
        {"facts": {"loudspeaker_free_ns": "soon"}},
    ],
    ids=lambda damage: str(damage)[:40],
)
def test_a_damaged_record_is_unreadable_for_gate_and_report_never_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: dict[str, Any]
) -> None:
    base = write(tmp_path / "base", header("k"))
    run = write(tmp_path / "r", header("k"))
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    damaged = {k: v for k, v in {**lines[20], **damage}.items() if v != "gone"}
    lines[20] = damaged
    text = "".join(json.dumps(line) + "\n" for line in lines)  # keeps NaN, which jsonl does not
    (run / "records.jsonl").write_text(text, encoding="utf-8")
    for arguments in ((run,), (run, "--against", base), (base, "--against", run)):
        status, last, _ = gate(capsys, *arguments)
        assert status == 2
        assert "1 unreadable lines" in last
    assert report.main([str(run), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "\nINVALID run: 1 unreadable lines" in said
    assert "PASS" not in said


@pytest.mark.parametrize(
    "damage",
    [
        {"limit_ms": "gone"},
        {"limit_ms": math.nan},
        {"percentile": 100},
        {"percentile": None},
        {"metrics": None},
        {"metrics": [[]]},
        {"metrics": ["rtf"]},  # no time, which limit_ms could limit
    ],
    ids=str,
)
def test_a_target_that_judges_nothing_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: dict[str, Any]
) -> None:
    run = write(tmp_path / "r", header("k"))
    head = json.loads((run / "run.json").read_bytes())
    target = {**head["config"]["target"], **damage}
    head["config"]["target"] = {name: value for name, value in target.items() if value != "gone"}
    (run / "run.json").write_text(json.dumps(head), encoding="utf-8")
    status, last, _ = gate(capsys, run)
    assert status == 2
    assert "run.json names no target that this version knows" in last
    assert report.main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert "run.json names no target that this version knows" in capsys.readouterr().err


def test_a_fast_sentence_in_place_of_a_slow_one_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of records fits, and so does that of the sentences in each pass."""
    run = write(tmp_path / "r", header("k"))
    lines = (run / "records.jsonl").read_bytes().splitlines()
    measured = [json.loads(line) for line in lines if b'"measure"' in line]
    one, other = measured[0]["id"], measured[1]["id"]

    def repeat(_: int, line: dict[str, Any]) -> None:
        if line["id"] == other and line["phase"] == "measure":
            line.update(next(r for r in measured if (r["pass"], r["id"]) == (line["pass"], one)))

    status, last, _ = gate(capsys, rewrite(run, repeat))
    assert status == 2
    assert f"2 sentences are there twice in a pass ({one})" in last


def test_times_that_do_not_add_up_in_one_pass_of_two_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "r", header("k"))

    def stamp_late(_: int, line: dict[str, Any]) -> None:
        line["marks_ns"]["first_chunk"] += 50_000_000 * (line["pass"] == 1)

    status, last, _ = gate(capsys, rewrite(run, stamp_late))
    assert status == 2
    assert "do not add up" in last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_judgement_nobody_gets_is_not_too_slow() -> None:
    command = [sys.executable, "-m", "stt.gate", str(RUNS / "synthetic-fast")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
