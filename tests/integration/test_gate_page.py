"""The commands of docs/gate.md, as they stand there: equal code passes, more work does not."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
[SCRIPT] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/gate.md").read_text(encoding="utf-8"), re.S)
QUICK = ["translator=echo", "tts=tone", "measure.limit=25", "measure.warmup_max=5"]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("slower", [False, True])
def test_the_commands_pass_equal_code_and_find_more_work(project, tmp_path, slower):
    """A voice that says the same with 30 % more samples is more work, whatever a clock says."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for part in ("stt", "conf"):
        (project / part).rename(checkout / part)
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "base")
    git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD")
    if slower:
        voice = checkout / "stt" / "tts" / "tone.py"
        spoken = 'len("".join(text.split()))'
        assert spoken in voice.read_text()
        voice.write_text(voice.read_text().replace(spoken, f"1.3 * {spoken}"))
        git(checkout, "commit", "-qam", "new")
    python = shlex.quote(sys.executable)
    script = re.sub(r"\bpython -m ([\w.]+)", lambda m: f"{python} -m {m[1]}", SCRIPT)
    script = script.replace("stt.run", f"stt.run {shlex.join(QUICK)}").rstrip() + " --json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout, capture_output=True, text=True, timeout=240,
        env={**environment, "PYTHONSAFEPATH": "", "PYTHONPATH": "."},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    judged = json.loads(done.stdout[done.stdout.rindex("\n{\n") :])
    assert any("samples" in found for found in judged["slow"]) == slower, judged
    doubted = judged["doubts"] or judged["unsure"]  # a clock on a busy machine
    assert doubted or judged["verdict"].startswith("TOO SLOW" if slower else "PASS")
    assert done.returncode == judged["exit_status"], "a busy machine may leave a doubt"
