"""Shared by all tests: the command line as a user runs it, and a checkout to change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def stt_run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m stt.run` to its end; `prefix` replaces the interpreter's own arguments."""

    def run(
        *arguments: str,
        prefix: tuple[str, ...] = ("-m", "stt.run"),
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *prefix, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )

    return run


@pytest.fixture(scope="session")
def published() -> list[Path]:
    """Run folders that came with the checkout; a user's own are not among them."""
    command = ["git", "-C", str(ROOT), "ls-files", "results/runs/*/run.json"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        pytest.skip("not a git checkout: which runs are published is unknown")
    return [(ROOT / name).parent for name in listed.splitlines()]


@pytest.fixture(scope="module")
def say() -> Iterator[Callable[[str], str]]:
    """What the packaged model says of a text, as `translator=embedded` runs it."""
    from stt.device import Device
    from stt.translator.ct2 import CTranslate2, Precision

    translator = CTranslate2("embedded", Precision.int8, 1, 256, 2, 1, "eng_Latn", "jpn_Jpan")
    translator.load(Device("cpu", 2))
    yield lambda text: "".join(clause.text for clause in translator.translate(text))
    translator.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout to add files to."""
    ignored = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "stt", tmp_path / "stt", ignore=ignored)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "stt" / "assets").symlink_to(ROOT / "stt" / "assets")
    return tmp_path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem for a server here, in the name of edge-tts's service: gTTS asks for none."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the server's certificate")
    folder = tmp_path_factory.mktemp("tls")
    host = "speech.platform.bing.com"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command += ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder
