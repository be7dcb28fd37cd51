"""What a measurement was made on and with: machine, libraries, commit - and the name that follows from them."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stt.device import usable_cpus
from stt.process import SETTLED

PACKAGES = (
    "stt", "ctranslate2", "numpy", "sentencepiece", "pyopenjtalk-plus", "torch", "transformers",
    "onnxruntime", "piper-tts", "hydra-core", "triton",
)  # fmt: skip
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME",
    "TOKENIZERS_PARALLELISM", "GOMP_SPINCOUNT",
)  # fmt: skip


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=10, check=True
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def cpu() -> dict[str, Any]:
    """Model, usable cores, and the governor and container limit where the system tells them."""
    model = platform.processor() or platform.machine()
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    else:
        model = _output("sysctl", "-n", "machdep.cpu.brand_string") or model
    return {
        "model": model,
        "cores": usable_cpus(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cgroup_cpu_max": _read("/sys/fs/cgroup/cpu.max"),
    }


def gpu() -> dict[str, Any] | None:
    """First NVIDIA GPU as its driver describes it, or None."""
    fields = ("name", "driver_version", "clocks.sm", "clocks.mem", "power.limit", "memory.total")
    answer = _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    if not answer:
        return None
    values = answer.splitlines()[0].split(",")
    return dict(zip(fields, (value.strip() for value in values), strict=False))


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> dict[str, Any]:
    """Commit of the checkout this package runs from, and a hash of what differs from it.

    Results and documents are left out of the difference: writing a result must not change the identity
    of the next one.
    """
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    code = ("stt", "conf", "constraints.txt", "pyproject.toml")
    # The last commit that touched code: a commit of results does not make older numbers foreign.
    head = _output("git", "-C", str(root), "log", "-1", "--format=%H", "--", *code)
    changed = _output("git", "-C", str(root), "diff", "HEAD", "--", *code) or ""
    new = (
        _output("git", "-C", str(root), "ls-files", "-oz", "--exclude-standard", "--", *code) or ""
    )
    for name in filter(None, new.split("\0")):
        file = root / name  # or a link to a folder
        changed += name + (hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "")
    return {"commit": head or None, "dirty": _hash(changed) if changed else None}


def fingerprint() -> str:
    """Hash of what must be equal for two latencies to be comparable: machine, library versions, thread variables."""
    card = gpu()
    facts = [cpu(), card and [card["name"], card["driver_version"]], platform.system(), versions()]
    # Only what a user set: hashes of earlier runs stay true.
    asked = {n: v for n, v in _thread_variables().items() if v != SETTLED.get(n)}
    return _hash([*facts, asked] if asked else facts)


def describe() -> dict[str, Any]:
    """Everything recorded about the machine, the libraries and the code."""
    return {
        "fingerprint": fingerprint(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "gpu": gpu(),
        "memory_bytes": _memory_bytes(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": versions(),
        "thread_variables": _thread_variables(),
        "switch_interval_s": sys.getswitchinterval(),
        **commit(),
    }


def _thread_variables() -> dict[str, str]:
    return {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def run_key(config: dict[str, Any], choices: dict[str, str]) -> str:
    """Identity of a measurement: configuration, code and machine; equal keys share a folder.

    Args:
        config: resolved configuration as plain containers; `resume` does not count.
    """
    config = {name: value for name, value in config.items() if name != "resume"}
    corpus = config.get("source", {}).get("path")
    content = Path(corpus).read_bytes() if corpus and Path(corpus).is_file() else b""
    return _hash([config, choices, commit(), fingerprint(), hashlib.sha256(content).hexdigest()])


def folder_name(config: Any, chosen: dict[str, str]) -> str:
    """`<translator>-<tts>-<device>-<key>` for a configuration without its hydra node."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config, resolve=True)
    key = run_key(plain, chosen)
    return f"{chosen['translator']}-{chosen['tts']}-{chosen['device']}-{key}"


def run_name(root: Any) -> str:
    """`folder_name` for a configuration that still has its hydra node."""
    from stt.config import choices, without_hydra

    return folder_name(without_hydra(root), choices(root))
