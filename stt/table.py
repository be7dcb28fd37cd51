"""Runs as one pandas table: a row a record, with the choices behind it and every metric."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from stt.metrics import METRICS, metrics
from stt.stored import busy, faults, translates

if TYPE_CHECKING:
    import pandas as pd

    from stt.results import Run

COLUMNS = (
    *("run", "path", "key", "translator", "tts", "device", "segment", "source_name", "pipeline"),
    *("machine", "session", "sessions", "pass", "phase", "id", "bucket", "status"),
    *("source", "translation", "reference", "source_tokens", "target_tokens", "source_words"),
    *(
        "clauses",
        "audio_s",
        "leading_silence_s",
        "sample_rate",
        "error",
        "busy",
        "load",
        "header",
        "valid",
        "faults",
        "translates",
        "turns",
        "record",
    ),
    *METRICS,
)
"""`source` is the text, `source_name` the choice in the configuration, `sessions` the number of the run's last
session, measured or not; `faults` why the session cannot be trusted, or ""; `translates` is False for output
that is not judged; `busy` says that the machine was, or ""; `load` is what loading and warming up took; `header` is the run's `run.json`; `turns` is the same in runs that took turns; a metric may be NaN; `record` is what all of it was made of."""


def table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a record, with `COLUMNS`; `attrs["corrupt_lines"]` counts lines that were lost."""
    import pandas as pd

    runs = list(runs)
    rows = [row for run, name in zip(runs, _names(runs), strict=True) for row in _rows(run, name)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.astype(dict.fromkeys((*METRICS, "audio_s", "leading_silence_s"), float))
    frame = frame.astype({"valid": bool, "translates": bool})
    frame.attrs["corrupt_lines"] = sum(run.corrupt for run in runs)
    return frame


def _names(runs: list[Run]) -> list[str]:
    """A name for each run: its folder's, or the whole path where two folders have the same name."""
    paths = [run.path.resolve() for run in runs]
    shared = Counter(path.name for path in paths)
    return [path.name if shared[path.name] == 1 else str(path) for path in paths]


def _rows(run: Run, name: str) -> Iterator[dict[str, Any]]:
    choices = run.header.get("choices", {})
    shared = {
        "run": name,
        "path": str(run.path),
        "key": run.header.get("key"),
        "source_name": choices.get("source"),
        "translates": translates(run.header),
        **{
            group: choices.get(group)
            for group in ("translator", "tts", "device", "segment", "pipeline")
        },
    }
    sessions = {entry["session"]: entry for entry in run.header.get("sessions", [])}
    measured: dict[int, list[dict[str, Any]]] = {r["session"]: [] for r in run.records}
    for stored in run.records:  # once: a folder of live runs has as many sessions as runs
        if stored["phase"] == "measure":
            measured[stored["session"]].append(stored)
    doubted = {
        number: "; ".join(faults(sessions.get(number, {}), records, run.corrupt))
        for number, records in measured.items()
    }
    for stored in run.records:
        session = sessions.get(stored["session"], {})
        environment = session.get("environment") or run.header.get("environment") or {}
        yield {
            **stored,
            **shared,
            "record": stored,
            "machine": machine(environment),
            "busy": busy(environment),
            "load": session.get("load") or {},
            "header": run.header,
            "sessions": max(sessions, default=stored["session"]),
            "source_words": len(stored["source"].split()),
            "valid": bool((session.get("valid") or {}).get("ok")),
            "faults": doubted[stored["session"]],
            **metrics(stored),
        }


def machine(environment: dict[str, Any]) -> str:
    """A short name of the hardware: `Xeon Gold 6338 x4 + NVIDIA L4`."""
    cpu, gpu = environment.get("cpu") or {}, environment.get("gpu")
    model = re.sub(r"\((R|TM)\)|\bCPU\b|\bIntel\b|@.*", "", str(cpu.get("model") or "unknown"))
    name = f"{' '.join(model.split())} x{cpu.get('cores', '?')}"
    card = gpu.get("name") if isinstance(gpu, dict) else gpu
    return f"{name} + {card}" if card else name
