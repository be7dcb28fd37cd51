"""What `pip install` gives a user who never saw the repository."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from stt import results

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
pytestmark = pytest.mark.slow


def pip(*arguments):
    done = subprocess.run(
        [*PIP, *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling builds the wheel and is not installed")
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(ROOT))
    [built] = out.glob("stt-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def test_a_wheel_holds_all_that_runs_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {name.partition("/")[0] for name in there}
    assert "stt" in tops
    assert all(top == "stt" or top.endswith(".dist-info") for top in tops), tops
    ignored = {"__pycache__", ".DS_Store"}
    wanted = {
        path.relative_to(root).as_posix()
        for root, folder in ((ROOT, "stt"), (ROOT, "conf"))
        for path in (root / folder).rglob("*")
        if path.is_file() and not ignored & set(path.parts)
    }
    wanted = {name if name.startswith("stt/") else f"stt/{name}" for name in wanted}
    assert wanted == {name for name in there if name.startswith("stt/")}
    assert {"stt/conf/config.yaml", "stt/assets/speech.tsv"} <= there
    licences = {name.partition("/licenses/")[2] for name in there if "/licenses/" in name}
    assert licences == {"LICENSE", "stt/assets/SOURCES.md"}  # the model's sources want to be named


def test_the_source_archive_holds_what_its_readme_and_tests_read(tmp_path):
    pytest.importorskip("hatchling", reason="builds the archive")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=240, check=True)
    [built] = tmp_path.glob("stt-*.tar.gz")
    with tarfile.open(built) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    linked = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    wanted = {*linked, "notebooks/analysis.ipynb", "experiments/embedded_model/train.py"}
    assert wanted - there == set()


def test_an_installed_wheel_speaks_from_an_empty_folder(installed, tmp_path, stt_run):
    environment = {"PYTHONPATH": str(installed)}
    where = stt_run(
        prefix=("-c", "import stt; print(stt.__file__)"), environment=environment, folder=tmp_path
    )
    assert where.stdout.startswith(str(installed)), "another stt would be tested"
    done = stt_run(
        "measure.limit=2", "measure.warmup_max=0", environment=environment, folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
    frame = results.read(tmp_path / "results" / "runs")
    assert list(frame["status"]) == ["ok", "ok"]
    assert set(frame["translator"]) == {"embedded"}
    assert set(frame["tts"]) == {"openjtalk"}
    assert frame["reference"].notna().all()


def test_an_installed_wheel_knows_its_engines(installed, tmp_path, stt_run):
    environment = {"PYTHONPATH": str(installed)}
    done = stt_run("--help", environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in (ROOT / "conf" / "translator").glob("*.yaml"):
        assert path.stem in done.stdout
