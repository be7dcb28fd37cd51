"""The files of a run folder: one record as it is stored, and everything as it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stt import jsonl
from stt.errors import ResultsError
from stt.messages import Status, Utterance
from stt.timeline import MARKS

SCHEMA = 1
HEADER = "run.json"
RECORDS = "records.jsonl"

_FIELDS = (
    ("phase", str), ("session", int), ("pass", int), ("id", str), ("status", str), ("source", str),
    ("translation", str), ("chunks", list), ("marks_ns", dict),
)  # fmt: skip


def record(utterance: Utterance, *, session: int, pass_: int, phase: str) -> dict[str, Any]:
    """The stored form of an utterance; times in integer ns relative to `arrived`.

    Args:
        phase: "measure", "warmup" or "cold".
    """
    sentence = utterance.sentence
    arrived_ns = utterance.marks_ns["arrived"]
    samples = sum(count for _, count in utterance.chunks)
    reached = [name for name in MARKS if name in utterance.marks_ns]
    stored = {
        "schema": SCHEMA,
        "session": session,
        "pass": pass_,
        "phase": phase,
        "id": sentence.id,
        "bucket": sentence.bucket,
        "status": str(utterance.status),
        "source": sentence.text,
        "translation": utterance.translation,
        "reference": sentence.reference,
        "source_tokens": utterance.source_tokens,
        "target_tokens": utterance.target_tokens,
        "clauses": utterance.clauses,
        "marks_ns": {name: int(utterance.marks_ns[name] - arrived_ns) for name in reached},
        "chunks": [[int(at_ns - arrived_ns), int(count)] for at_ns, count in utterance.chunks],
        "sample_rate": utterance.sample_rate,
        "audio_s": samples / utterance.sample_rate if utterance.sample_rate else 0.0,
        "leading_silence_s": utterance.leading_silence_s,
        "error": utterance.error,
    }
    if utterance.facts:
        stored["facts"] = utterance.facts
    return stored


def header(folder: Path) -> dict[str, Any]:
    """The content of `run.json`.

    Raises:
        ResultsError: it cannot be read, is damaged, or of another schema.
    """
    path = folder / HEADER
    try:
        held = jsonl.parse(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}). Restore it.") from error
    if held is None or not isinstance(held.get("config"), dict):
        raise ResultsError(f"{path} is damaged. Restore it, or leave this folder out.")
    _require_schema(held, path)
    return held


def records(folder: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Records from byte `start` on without what is void, and the number of unreadable lines before the last.

    Raises:
        ResultsError: they cannot be read, or are of another schema.
    """
    try:
        found, corrupt = jsonl.read(folder / RECORDS, start)
    except OSError as error:
        raise ResultsError(f"{folder / RECORDS} cannot be read ({error.strerror}).") from error
    for stored in found:
        _require_schema(stored, folder / RECORDS)
    whole = [stored for stored in found if all(isinstance(stored.get(k), t) for k, t in _FIELDS)]
    corrupt += len(found) - len(whole)
    names = [(r["phase"], r["session"], r["pass"], r["id"]) for r in whole]
    cancelled = [stored["status"] == Status.cancelled for stored in whole]
    ended = {name for name, void in zip(names, cancelled, strict=True) if not void}
    last = {name: i for i, name in enumerate(names)}
    kept = [
        stored
        for i, stored in enumerate(whole)
        if not cancelled[i] or (names[i] not in ended and last[names[i]] == i)
    ]
    return kept, corrupt


def _require_schema(stored: dict[str, Any], path: Path) -> None:
    if stored.get("schema") != SCHEMA:
        raise ResultsError(
            f"{path} has schema {stored.get('schema')}; this version reads schema {SCHEMA}. "
            "Read it with the version that wrote it (environment.commit in run.json)."
        )
