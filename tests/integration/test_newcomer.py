"""The first mistakes of someone who adds an engine are answered in one sentence, before anything is measured."""

from __future__ import annotations

import pytest

from stt import results

HEAD = """\
from dataclasses import dataclass
import numpy as np
from stt.engine import Synthesizer, Translator, Unit
from stt.messages import AudioChunk, Clause
"""
TRANSLATOR = f"""{HEAD}
@dataclass
class Mine(Translator):
    marks: int

    def load(self, device):
        pass

    def effective(self):
        return {{"engine": "mine"}}

    def translate(self, text):
        yield Clause(text)
"""
VOICE = f"""{HEAD}
@dataclass
class Mine(Synthesizer):
    unit: Unit
    marks: int

    def load(self, device):
        pass

    def effective(self):
        return {{"engine": "mine"}}

    def synthesize(self, text):
        yield AudioChunk(0.3 * np.sin(np.arange(24000, dtype=np.float32)), 24000)
"""


def add(project, group, yaml=None, change=("", "")):
    """Write the engine `mine` with `change` (old, new) in its Python."""
    python = VOICE if group == "tts" else TRANSLATOR
    assert change[0] in python
    (project / "stt" / group / "mine.py").write_text(python.replace(*change))
    unit = "unit: clause\n" if group == "tts" else ""
    lines = yaml or f"_target_: stt.{group}.mine.Mine\nmarks: 3\n{unit}"
    (project / "conf" / group / "mine.yaml").write_text(lines)


@pytest.fixture
def run(project, stt_run):
    """Run a command line in the project."""
    environment = {"PYTHONPATH": str(project)}
    return lambda *arguments, module="stt.run": stt_run(
        *arguments, prefix=("-m", module), environment=environment, folder=project
    )


BAD = {
    "a tab": ("translator", "_target_: stt.translator.mine.Mine\n\tmarks: 3\n", ("", ""), "mine.yaml, line 2"),
    "syntax": ("translator", None, ("yield Clause(text)", "yield Clause(text"), "mine.py, line 17"),
    "import": ("translator", None, ("import numpy", "import nmupy"), "stt/translator/mine.py, line 2"),
    "base": ("translator", None, ("Mine(Translator)", "Mine"), "must derive from stt.engine.Translator"),
    "no unit": ("tts", "_target_: stt.tts.mine.Mine\nmarks: 3\n", ("    unit: Unit\n", ""), "a field `unit: Unit`"),
    "load": ("translator", None, ("        pass", "        {}['model']"), "'model' (stt/translator/mine.py, line 11)"),
    "effective": ("translator", None, ("return {", "{"), "must return a dict, not None"),
    "attribute": ("tts", None, ('"mine"', "self.rate"), "'rate' (stt/tts/mine.py, line 15)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_with_its_place_before_anything_is_measured(project, run, name):
    group, yaml, change, said = BAD[name]
    add(project, group, yaml, change)
    other = "tts=tone" if group == "translator" else "translator=echo"
    done = run(f"{group}=mine", other, "hydra.run.dir=r")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (project / "r").exists()
    examined = run(f"{group}=mine", module="stt.doctor")
    assert examined.returncode > 0
    assert "Traceback" not in examined.stdout + examined.stderr
    answer = " ".join((examined.stdout + examined.stderr).split())
    assert said in answer
    assert not answer.startswith("ok")


@pytest.mark.parametrize(
    ("group", "change", "said"),
    [
        ("translator", ("Clause(text)", "text"), "it must yield Clause(text)"),
        ("tts", ("AudioChunk(0.3 * np.sin(np.arange(24000, dtype=np.float32)), 24000)", "np.zeros(9)"), "not ndarray"),
        ("tts", ("0.3", "0"), "made only silence"),
        ("tts", ("np.sin", "np.sinus"), "stt/tts/mine.py, line 18"),
    ],
)  # fmt: skip
def test_the_doctor_calls_no_engine_ready_that_loses_every_sentence(
    project, run, group, change, said
):
    add(project, group, change=change)
    examined = run(f"{group}=mine", module="stt.doctor")
    assert examined.returncode == 1
    assert examined.stdout.startswith("--")
    assert said in " ".join(examined.stdout.split())


def test_what_does_not_translate_says_so_in_its_run(project, run):
    add(project, "translator", change=("    marks", "    translates = False\n    marks"))
    quick = ("measure.limit=2", "measure.warmup_max=0", "hydra.run.dir=r")
    done = run("translator=mine", "tts=tone", *quick)
    assert done.returncode == 0, done.stderr
    assert "chrF" not in done.stdout
    header = results.load(project / "r")[0].header
    assert header["effective"]["translator"]["translates"] is False
    assert not run("translator=mine", module="stt.doctor").returncode


def test_a_developer_sees_where_it_began(project, run):
    add(project, "translator", change=("        pass", "        {}['model']"))
    done = run("translator=mine", "tts=tone", "hydra.verbose=true", "hydra.run.dir=r")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "in load" in done.stderr
