"""What is not installed is named with the line that installs it; the rest works without it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from stt import results

BLOCK = """
import os, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["MISSING"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
EXTRAS = "torch transformers triton piper onnx onnxruntime gtts requests soundfile httpx2 edge_tts av sounddevice"


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The environment of a Python that does not have the modules named (space between)."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text(BLOCK)
    return lambda modules: {"PYTHONPATH": str(folder), "MISSING": modules}


@pytest.mark.parametrize(
    ("missing", "choice", "line"),
    [
        ("torch", "translator=embedded_hf", "pip install -c constraints.txt -e '.[torch]'"),
        (
            "transformers",
            "translator=nllb600m_bf16",
            "pip install -c constraints.txt -e '.[torch]'",
        ),
        (
            "torch transformers triton",
            "translator=embedded_cuda",
            "pip install -c constraints.txt -e '.[torch]'",
        ),
        ("piper", "tts=piper", "pip install -c constraints.txt -e '.[piper]'"),
        ("onnx", "translator=embedded_onnx", "pip install -c constraints.txt -e '.[onnx]'"),
        ("onnxruntime", "tts=piper", "pip install -c constraints.txt -e '.[piper]'"),
        ("edge_tts", "tts=edge", "pip install -c constraints.txt -e '.[edge]'"),
        ("av", "tts=edge", "pip install -c constraints.txt -e '.[edge]'"),
        ("gtts", "tts=gtts", "pip install -c constraints.txt -e '.[gtts]'"),
        ("httpx2", "tts=openai", "pip install -c constraints.txt -e '.[openai]'"),
        pytest.param(
            "soundfile",
            "tts=gtts",
            "pip install -c constraints.txt -e '.[gtts]'",
            marks=pytest.mark.skipif(not find_spec("gtts"), reason="gTTS is missing, too"),
        ),
    ],
)
def test_an_engine_without_its_extra_says_what_to_install(
    without, tmp_path, stt_run, missing, choice, line
):
    arguments = [choice, "measure.limit=1", f"hydra.run.dir={tmp_path / 'r'}"]
    arguments.append("tts=tone" if choice.startswith("translator") else "translator=echo")
    if choice == "tts=piper":
        (tmp_path / "voice.onnx").touch()
        arguments.append(f"tts.model={tmp_path / 'voice.onnx'}")
    done = stt_run(*arguments, environment=without(missing))
    assert done.returncode == 2
    assert line in done.stderr
    first = missing.split()[0]
    assert re.search(f"needs {first}, which is not installed|No module named '{first}'", done.stderr)  # fmt: skip
    assert ".py, line" not in done.stderr, "nothing is wrong with the engine"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.engine
def test_the_default_speaks_without_any_extra(without, tmp_path, stt_run):
    done = stt_run(
        "measure.limit=3",
        "measure.warmup_max=0",
        f"hydra.run.dir={tmp_path / 'r'}",
        environment=without(EXTRAS),
    )
    assert done.returncode == 0, done.stderr
    assert list(results.read(tmp_path / "r")["status"]) == ["ok"] * 3


def test_the_doctor_asks_for_an_engines_extra_before_its_voice(without):
    command = [sys.executable, "-m", "stt.doctor", "tts=piper"]
    for missing, wanted in (("piper", "'.[piper]'"), ("", "tts.model=/path/to/voice.onnx")):
        if not missing and not find_spec("piper"):
            continue
        environment = {**os.environ, **without(missing)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 1
        assert wanted in done.stdout
        assert ("tts.model" in done.stdout) == (not missing)
