"""Finished records survive whatever happens, and are read back as they were measured."""

from __future__ import annotations

import json
import logging
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stt import environment
from stt.errors import ResultsError
from stt.messages import Sentence, Status, Utterance
from stt.metrics import METRICS
from stt.results import RunFolder, latencies, load, read
from stt.stored import record
from stt.table import COLUMNS, machine

FIXTURES = Path(__file__).parents[1] / "fixtures"
SCRIPT = runpy.run_path(str(FIXTURES / "make_runs.py"))
RUNS = FIXTURES / "runs"
OK = {"ok": True, "reasons": []}


def header(key: str = "k1", **changes: Any) -> dict[str, Any]:
    return {**SCRIPT["header"](key), **changes}


def spoken(id: str = "s1", status: Status = Status.ok, **changes: Any) -> Utterance:
    facts = {
        "translation": "こんにちは。",
        "marks_ns": {"arrived": 1_000, "segmented": 2_500, "first_chunk": 30_001_000},
        "chunks": ((30_001_000, 2_400), (50_001_000, 1_200)),
        "sample_rate": 24_000,
        "leading_silence_s": 0.02,
        **changes,
    }
    return Utterance(Sentence(id, "Hello there.", 1_000, "やあ。", "3-6"), status=status, **facts)


def stored(id: str = "s1", session: int = 1, pass_: int = 1, **changes: Any) -> dict[str, Any]:
    phase = changes.pop("phase", "measure")
    return record(spoken(id, **changes), session=session, pass_=pass_, phase=phase)


def write(path: Path, *ids: str, **changes: Any) -> None:
    with closing(RunFolder.open(path, header(), resume=False)) as folder:
        for id in ids:
            folder.append(stored(id, session=folder.session, **changes))
        folder.finish(valid=OK)


# What a record holds


def test_a_record_has_exactly_the_documented_shape() -> None:
    assert stored() == {
        "schema": 1,
        "session": 1,
        "pass": 1,
        "phase": "measure",
        "id": "s1",
        "bucket": "3-6",
        "status": "ok",
        "source": "Hello there.",
        "translation": "こんにちは。",
        "reference": "やあ。",
        "source_tokens": 0,
        "target_tokens": 0,
        "clauses": 0,
        "arrived_ns": 1_000,
        "marks_ns": {"arrived": 0, "segmented": 1_500, "first_chunk": 30_000_000},
        "chunks": [[30_000_000, 2_400], [50_000_000, 1_200]],
        "sample_rate": 24_000,
        "audio_s": 0.15,
        "leading_silence_s": 0.02,
        "error": None,
    }
    assert stored(facts={"chrf": 40.1})["facts"] == {"chrf": 40.1}


def test_an_utterance_that_failed_before_any_audio_is_recorded_too() -> None:
    kept = stored(
        status=Status.failed,
        error="the engine raised",
        marks_ns={"arrived": 5},
        chunks=(),
        sample_rate=0,
        leading_silence_s=None,
    )
    assert (kept["status"], kept["error"], kept["audio_s"]) == ("failed", "the engine raised", 0.0)


def test_anything_can_be_written_and_is_read_back(tmp_path: Path) -> None:
    odd = stored(
        "s1",
        translation="二行\n目\u2028終 \udc80 \x00",
        facts={"chrf": np.float32(40.5), "bad": math.nan, "where": Path("a"), "n": np.arange(2)},
    )
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        folder.append(odd)
        folder.append(stored("s2"))
    first, second = load(tmp_path)[0].records
    assert first["translation"] == odd["translation"]
    assert first["facts"] == {"chrf": 40.5, "bad": None, "where": "a", "n": [0, 1]}
    assert second == stored("s2")


# Sessions, resume, refusals


def test_a_new_session_does_not_read_again_what_earlier_ones_wrote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "s1", "s2")
    (tmp_path / "records.jsonl").write_bytes(b"damaged: who reads this line warns of it\n")
    write(tmp_path, "s1")
    assert json.loads((tmp_path / "run.json").read_bytes())["sessions"][-1]["counts"] == {"ok": 1}
    assert not caplog.records
    load(tmp_path)
    assert caplog.records


def test_a_rerun_adds_a_session_and_keeps_the_first(tmp_path: Path) -> None:
    write(tmp_path, "s1", "s2")
    before = (tmp_path / "records.jsonl").read_bytes()
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        assert (folder.session, folder.done) == (2, set())
        folder.append(stored("s1", session=2, status=Status.failed))
        folder.finish(valid={"ok": False, "reasons": ["a failure"]}, load={"load_s": 2.0})
    assert (tmp_path / "records.jsonl").read_bytes().startswith(before)
    head = load(tmp_path)[0].header
    first, second = head["sessions"]
    assert (first["valid"], first["counts"]) == (OK, {"ok": 2})
    assert (second["counts"], second["load"]) == ({"failed": 1}, {"load_s": 2.0})
    assert head["valid"] == second["valid"]
    assert read(tmp_path)["valid"].tolist() == [True, True, False]


def test_resume_continues_the_last_session_and_knows_what_is_done(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        folder.append(stored("s1", phase="warmup", pass_=0))
        folder.append(stored("s1"))
        folder.append(stored("s2", status=Status.failed))
        folder.append(stored("s3", status=Status.cancelled))
    with closing(RunFolder.open(tmp_path, header(), resume=True)) as folder:
        assert folder.session == 1
        assert folder.done == {(1, "s1"), (1, "s2")}
        folder.append(stored("s3"))
        folder.finish(valid=OK)
    (run,) = load(tmp_path)
    assert run.header["sessions"][0]["counts"] == {"ok": 2, "failed": 1}
    assert len(run.header["sessions"][0]["resumed"]) == 1
    frame = read(tmp_path).query("phase == 'measure'")
    assert dict(zip(frame["id"], frame["status"], strict=True)) == {
        "s1": "ok",
        "s2": "failed",
        "s3": "ok",
    }


def test_a_cancelled_utterance_that_nobody_repeated_stays(tmp_path: Path) -> None:
    write(tmp_path, "s1", status=Status.cancelled)
    assert read(tmp_path)["status"].tolist() == ["cancelled"]


def test_resume_of_nothing_is_a_first_session(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path / "new", header(), resume=True)) as folder:
        assert (folder.session, folder.done) == (1, set())


def test_a_run_that_never_finished_says_so(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        folder.append(stored())
    assert load(tmp_path)[0].header["valid"] == {
        "ok": False,
        "reasons": ["the session did not finish"],
    }
    assert not read(tmp_path)["valid"].any()


def test_a_folder_of_another_configuration_is_refused_by_both_keys(tmp_path: Path) -> None:
    write(tmp_path, "s1")
    with pytest.raises(ResultsError, match=r"\(key k1; this run is k2\). Choose another hydra"):
        RunFolder.open(tmp_path, header("k2"), resume=False)
    RunFolder.open(tmp_path, header(), resume=False).close()  # the refusal let go of the folder


def test_a_corpus_that_changed_under_the_same_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "s1")
    with pytest.raises(ResultsError, match="the corpus file changed"):
        RunFolder.open(tmp_path, header(corpus_sha256="other"), resume=True)


def test_records_without_a_header_are_never_added_to(tmp_path: Path) -> None:
    write(tmp_path, "s1")
    (tmp_path / "run.json").unlink()
    with pytest.raises(ResultsError, match=r"records but no run\.json"):
        RunFolder.open(tmp_path, header(), resume=True)


def test_a_second_writer_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path, header(), resume=False)):
        with pytest.raises(ResultsError, match="being written by another run"):
            RunFolder.open(tmp_path, header(), resume=True)
        opened = (
            "import json, sys; from pathlib import Path; from stt.results import RunFolder;"
            "RunFolder.open(Path(sys.argv[1]), json.loads(sys.argv[2]), resume=True)"
        )
        other = _python(opened, str(tmp_path), json.dumps(header()))
        assert "being written by another run" in other.communicate(timeout=60)[1]
    RunFolder.open(tmp_path, header(), resume=True).close()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match=r"Cannot write to .*another hydra.run.dir"):
        RunFolder.open(tmp_path / "file" / "run", header(), resume=False)


# Torn lines, kill -9, a full disk


def test_a_torn_last_line_is_ignored_on_read_and_cut_off_on_resume(tmp_path: Path) -> None:
    write(tmp_path, "s1", "s2")
    file = tmp_path / "records.jsonl"
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        file.write_bytes(whole[:cut])
        complete = cut == len(whole) - 1  # only the newline is gone: the record is not
        assert [r["id"] for r in load(tmp_path)[0].records] == (
            ["s1", "s2"] if complete else ["s1"]
        )
    file.write_bytes(whole[:-20])
    with closing(RunFolder.open(tmp_path, header(), resume=True)) as folder:
        assert folder.done == {(1, "s1")}
        folder.append(stored("s2"))
    assert file.read_bytes() == whole


def test_a_record_that_only_lost_its_newline_is_not_thrown_away(tmp_path: Path) -> None:
    write(tmp_path, "s1", "s2")
    file = tmp_path / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    with closing(RunFolder.open(tmp_path, header(), resume=True)) as folder:
        assert folder.done == {(1, "s1"), (1, "s2")}
        folder.append(stored("s3"))
    assert [r["id"] for r in load(tmp_path)[0].records] == ["s1", "s2", "s3"]


WRITER = """
import json, sys
from pathlib import Path
from stt.results import RunFolder
path, header, line, limit = Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
folder = RunFolder.open(path, header, resume=True)
for number in range(100_000):
    folder.append({**line, "id": str(number)})
    print(number, flush=True)
"""


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_after_kill_9_every_finished_record_is_there_and_the_run_resumes(tmp_path: Path) -> None:
    arguments = [str(tmp_path), json.dumps(header()), json.dumps(stored()), "0"]
    writer = _python(WRITER, *arguments)
    assert writer.stdout is not None
    with writer:
        for _ in range(50):
            writer.stdout.readline()
        writer.kill()
        rest = writer.stdout.read()  # not communicate(): that loses what readline had buffered
    assert writer.returncode == -signal.SIGKILL
    confirmed = 50 + rest.count("\n")
    with closing(RunFolder.open(tmp_path, header(), resume=True)) as folder:
        assert {(1, str(n)) for n in range(confirmed)} <= folder.done
        assert len(folder.done) <= confirmed + 1  # at most the one written but not yet printed


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits on Windows")
def test_a_full_disk_says_how_many_records_are_safe_and_keeps_them_whole(tmp_path: Path) -> None:
    arguments = [str(tmp_path), json.dumps(header()), json.dumps(stored()), "8000"]
    out, err = _python(WRITER, *arguments).communicate(timeout=60)
    safe = len(out.split())
    assert safe > 5
    assert f"{safe} records there are safe" in err.splitlines()[-1]
    assert "resume=true" in err.splitlines()[-1]
    assert (tmp_path / "records.jsonl").read_bytes().endswith(b"\n")
    with closing(
        RunFolder.open(tmp_path, header(), resume=True)
    ) as folder:  # now there is room again
        assert len(folder.done) == safe
        folder.append(stored("one more"))
    assert len(load(tmp_path)[0].records) == safe + 1


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits on Windows")
def test_a_disk_too_full_for_the_header_leaves_the_old_header(tmp_path: Path) -> None:
    write(tmp_path, "s1")
    before = (tmp_path / "run.json").read_bytes()
    arguments = [str(tmp_path), json.dumps(header()), json.dumps(stored()), "600"]
    _, err = _python(WRITER, *arguments).communicate(timeout=60)
    assert "1 records there are safe" in err
    assert (tmp_path / "run.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["records.jsonl", "run.json"]


# Reading


def test_a_corrupt_line_in_the_middle_is_counted_warned_about_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "s1", "s2", "s3")
    file = tmp_path / "records.jsonl"
    one, _, three = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([one, b"\xff\x00 {", three, b""]))
    with caplog.at_level(logging.WARNING):
        frame = read(tmp_path)
    assert frame["id"].tolist() == ["s1", "s3"]
    assert frame.attrs["corrupt_lines"] == 1
    assert "1 unreadable lines" in caplog.text


@pytest.mark.parametrize("name", ["run.json", "records.jsonl"])
@pytest.mark.parametrize("schema", [None, 2])
def test_another_schema_is_refused(tmp_path: Path, name: str, schema: int | None) -> None:
    write(tmp_path, "s1")
    text = (tmp_path / name).read_text(encoding="utf-8")
    old = '"schema": 1' if name == "run.json" else '"schema":1'
    new = f'"schema": {json.dumps(schema)}'
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ResultsError, match=f"has schema {schema}; this version reads schema 1"):
        read(tmp_path)


def test_a_path_without_runs_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no run"):
        read(tmp_path)
    with pytest.raises(ResultsError, match="does not exist"):
        read(tmp_path / "nowhere")


def test_a_damaged_header_is_a_clear_error(tmp_path: Path) -> None:
    write(tmp_path, "s1")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ResultsError, match=r"run\.json is damaged"):
        read(tmp_path)
    with pytest.raises(ResultsError, match=r"run\.json is damaged"):
        RunFolder.open(tmp_path, header(), resume=False)


def test_a_folder_that_died_before_its_header_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a", "s1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "records.jsonl").touch()
    assert read(tmp_path)["run"].tolist() == ["a"]


def test_one_row_a_record_with_stable_columns(tmp_path: Path) -> None:
    write(tmp_path / "a", "s1", "s2")
    frame = read(tmp_path)
    assert tuple(frame.columns) == COLUMNS
    assert all(frame[name].dtype == float for name in METRICS)
    row = frame.iloc[0]
    assert row["run"] == "a"
    assert row["translator"] == "synthetic"
    assert row["source_name"] == "corpus_closed"
    assert row["source"] == "Hello there."
    assert row["source_words"] == 2
    assert row["machine"] == "Synthetic x4"
    assert row["ttfa_ms"] == 30.0
    assert math.isnan(row["translate_ms"])


def test_runs_are_found_however_they_are_named_and_only_once(tmp_path: Path) -> None:
    write(tmp_path / "a", "s1")
    write(tmp_path / "deep" / "b", "s1")
    assert sorted(read(tmp_path)["run"]) == ["a", "b"]
    assert read(tmp_path / "a" / "records.jsonl")["run"].tolist() == ["a"]
    assert sorted(read([tmp_path, tmp_path / "a", str(tmp_path / "deep")])["run"]) == ["a", "b"]


def test_runs_inside_a_run_s_folder_are_not_counted_as_its_own(tmp_path: Path) -> None:
    write(tmp_path, "outer")
    write(tmp_path / "results" / "runs" / "inner", "inner")
    for name in (tmp_path, tmp_path / "records.jsonl"):
        assert [run.path for run in load(name)] == [tmp_path]
    assert len(load(tmp_path / "results")) == 1


def test_folders_from_several_machines_merge_by_copying(tmp_path: Path) -> None:
    card = {"cpu": {"model": "Apple M3", "cores": 8}, "gpu": {"name": "NVIDIA L4"}}
    write(tmp_path / "here" / "a", "s1")
    with closing(
        RunFolder.open(tmp_path / "there" / "a", header(environment=card), resume=False)
    ) as other:
        other.append(stored("s1"))
    shutil.copytree(tmp_path / "there" / "a", tmp_path / "here" / "copied")
    assert sorted(read(tmp_path / "here")["machine"]) == ["Apple M3 x8 + NVIDIA L4", "Synthetic x4"]


def test_the_machine_has_a_short_name_even_when_little_is_known() -> None:
    xeon = "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert machine({"cpu": {"model": xeon, "cores": 4}}) == "Xeon Platinum 8481C x4"
    assert machine({}) == "unknown x?"


def test_a_failure_never_finished(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        folder.append(stored("s1"))
        folder.append(stored("s2", status=Status.timeout))
        folder.append(stored("s3", leading_silence_s=None))
    frame = read(tmp_path)
    assert latencies(frame, "ttfa_ms") == [30.0, math.inf, 30.0]
    assert latencies(frame, "ttfa_audible_ms") == [50.0, math.inf, math.inf]


def test_the_fixture_runs_are_what_their_script_makes(tmp_path: Path) -> None:
    SCRIPT["make"](tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    kept = sorted(p.relative_to(RUNS) for p in RUNS.rglob("*") if p.is_file())
    assert made == kept
    assert all((tmp_path / p).read_bytes() == (RUNS / p).read_bytes() for p in made)
    assert all("synthetic" in run.header for run in load(RUNS))


def test_what_was_recorded_as_ended_and_as_cancelled_has_ended(tmp_path: Path) -> None:
    with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
        folder.append(stored(id="a"))
        folder.append(stored(id="a", status="cancelled"))
        folder.finish(valid={"ok": True, "reasons": []})
    assert [record["status"] for record in load(tmp_path)[0].records] == ["ok"]


def test_threads_that_the_user_limits_make_other_numbers() -> None:
    def fingerprint(code: str = "pass", **variables: str) -> str:
        unset = {k: v for k, v in os.environ.items() if k not in environment.THREAD_VARIABLES}
        code = f"from stt import environment, process; {code}; print(environment.fingerprint())"
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, env={**unset, **variables}, text=True)

    assert fingerprint("process.settle()") == fingerprint()
    assert fingerprint("process.settle()", OMP_NUM_THREADS="1") != fingerprint()


def test_a_folder_is_not_kept_for_warm_ups_alone_unless_it_held_something_before(
    tmp_path: Path,
) -> None:
    def session(*phases: str) -> list[str]:
        with closing(RunFolder.open(tmp_path, header(), resume=False)) as folder:
            for number, phase in enumerate(phases):
                folder.append(stored(f"s{number}", session=folder.session, phase=phase))
        return sorted(path.name for path in tmp_path.iterdir())

    assert session("cold", "warmup") == []
    assert session("cold", "measure") == ["records.jsonl", "run.json"]
    assert session("cold") == ["records.jsonl", "run.json"]
    assert [r["phase"] for r in load(tmp_path)[0].records] == ["cold", "measure", "cold"]
