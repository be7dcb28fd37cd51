"""The README is true: its engine works as printed, its commands name what exists, its links lead somewhere."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from stt import report, results
from stt.config import compose
from stt.embedded import FOLDER, sha256
from stt.errors import install

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADD = README.partition("## Add an engine\n")[2].partition("\n## ")[0]


def commands():
    """Arguments of every `python -m stt.run` in the README, each value of a sweep on its own."""
    # Ends at a backtick, a pipe, a comment or the end of the line.
    for words in re.findall(r"python -m stt\.run([^`|#\n]*)", README):
        given = [word for word in shlex.split(words) if "=" in word]
        if "translator=shout" in given:
            continue  # exists once the reader has added it
        choices = [
            [f"{name}={value}" for value in values.split(",")]
            for name, _, values in (word.partition("=") for word in given)
        ]
        yield from itertools.product(*choices)


@pytest.mark.parametrize("overrides", sorted(set(commands())), ids=" ".join)
def test_a_command_names_what_exists(overrides):
    cfg, _ = compose(list(overrides))
    assert cfg.translator._target_.startswith("stt.")


def test_errors_name_extras_as_the_readme_installs_them():
    assert install("speaker").partition(": ")[2] in README


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if "://" not in link]
    assert len(local) > 3
    assert [link for link in local if not (ROOT / link).exists()] == []


ROWS = (
    ("embedded", "overlapped"),
    ("embedded_hf_bf16", "sequential"),
    ("embedded_hf_fp32_beam3", "sequential"),
)
"""Translator and pipeline of the README's rows; the last is what the others are compared with."""


def test_the_measured_table_is_computed_again_from_the_stored_runs(published):
    frame = results.read(published)
    [usual] = frame.loc[frame["translator"] == ROWS[-1][0], "run"].unique()
    said = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in report.comparison(frame, usual).splitlines()
        if line.startswith("|")
    ]
    computed = {(row[0], row[2]): row[3:7] for row in said}
    sooner = {(row[0], row[2]): row[-2:] for row in said}[ROWS[0]]

    text = README.partition("\n| ")[2]
    head, _, *table = text.partition("\n\n")[0].splitlines()
    assert "first audible sample" in head
    shown = [[cell.strip(" *") for cell in line.strip("| ").split("|")][1:] for line in table]
    assert shown == [computed[row] for row in ROWS]
    for ratio, words in zip(sooner, ("audible {} times sooner", "total {} times"), strict=True):
        times, _, interval = ratio.partition("x ")
        assert f"{words.format(times)} {interval}" in text, ratio


def test_the_measured_default_spoke_with_the_model_that_ships(published):
    effective = {
        run.header["choices"]["translator"]: run.header["effective"]["translator"]
        for run in results.load(published)
    }
    assert effective["embedded"]["sha256"] == sha256(FOLDER / "model.safetensors")


def test_the_engine_printed_in_the_readme_is_two_files_and_runs(project, stt_run):
    [python] = re.findall(r"```python\n(.*?)```", ADD, re.DOTALL)
    [yaml] = re.findall(r"```yaml\n(.*?)```", ADD, re.DOTALL)
    [module] = set(re.findall(r"\b[\w/]+\.py\b", ADD))
    [choice] = set(re.findall(r"\b[\w/]+\.yaml\b", ADD))
    [command] = re.findall(r"`python -m stt\.run ([^`]*)`", ADD)
    for name, content in ((module, python), (choice, yaml)):
        (project / name).write_text(content, encoding="utf-8")

    arguments = [*shlex.split(command), "measure.limit=10", "measure.warmup_max=0"]
    environment = {"PYTHONPATH": str(project)}
    done = stt_run(
        *arguments, f"hydra.run.dir={project / 'r'}", environment=environment, folder=project
    )
    frame = results.read(project / "r")
    assert list(frame["translator"]) == ["shout"] * len(frame), done.stderr
    assert set(frame["status"]) == {"ok"}
    assert frame["translation"].str.endswith("!!!").all()
    assert (frame["total_ms"] > 0).all()
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stdout

    listed = stt_run("--help", environment=environment, folder=project).stdout
    assert re.search(r"\bshout +Says it louder\.", listed)

    contract = [str(ROOT / "tests" / "contract" / "test_yaml.py"), "-k", "shout"]
    kept = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *contract],
        env={**os.environ, **environment}, cwd=project, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert kept.returncode == 0, kept.stdout
    assert " passed" in kept.stdout


def test_the_study_of_load_is_computed_again_from_its_stored_runs(tmp_path):
    folder = ROOT / "experiments" / "load"
    script = [str(folder / "chart.py"), str(folder / "results"), "--out", str(tmp_path)]
    subprocess.run([sys.executable, *script], check=True, capture_output=True, timeout=120)
    table = (tmp_path / "load.md").read_text(encoding="utf-8")
    assert table == (folder / "load.md").read_text(encoding="utf-8")
    said = (folder / "README.md").read_text(encoding="utf-8").replace("*", "")
    for line in table.splitlines()[2:]:
        rate, _, *times, _ = [cell.strip() for cell in line.strip("| ").split("|")]
        assert f"| {' | '.join([rate, *times])} |" in said


def test_the_study_of_engines_is_computed_again_from_its_stored_runs():
    folder = ROOT / "experiments" / "engines"
    frame = results.read(folder / "results")
    [onnx] = frame.loc[frame["translator"] == "embedded_onnx", "run"].unique()
    said = (folder / "README.md").read_text(encoding="utf-8").replace("*", "")
    for line in report.comparison(frame, onnx).splitlines()[2:4]:
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        assert " | ".join(cells[3:7]) in said
        for ratio in cells[8:] if cells[0] == "embedded" else []:
            times, _, interval = ratio.partition("x ")
            assert f"{times} times" in said and interval in said
