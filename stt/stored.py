"""The files of a run folder: one record as it is stored, and everything as it is read back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from stt import jsonl
from stt.errors import ResultsError
from stt.messages import Status, Utterance
from stt.metrics import TIMES, imbalance
from stt.timeline import MARKS

_log = logging.getLogger(__name__)

SCHEMA = 1
HEADER = "run.json"
RECORDS = "records.jsonl"

_FIELDS = (
    ("phase", str), ("session", int), ("pass", int), ("id", str), ("status", str), ("source", str),
    ("translation", str), ("chunks", list), ("marks_ns", dict), ("sample_rate", int),
    ("source_tokens", int), ("target_tokens", int), ("clauses", int), ("reference", str | type(None)),
    ("turns", str | type(None)),
)  # fmt: skip


def record(utterance: Utterance, *, session: int, pass_: int, phase: str) -> dict[str, Any]:
    """The stored form of an utterance; times in integer ns relative to `arrived`, which is there on the machine's clock.

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
        "arrived_ns": int(arrived_ns),
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


def target(held: dict[str, Any], folder: Path | str) -> dict[str, Any]:
    """What a run was asked to reach: metrics, percentile, limit_ms.

    Args:
        held: the content of `run.json`.
        folder: where it lies, for the message.

    Raises:
        ResultsError: nothing can be judged by it.
    """
    asked = held["config"].get("target")
    asked = asked if isinstance(asked, dict) else {}
    metrics, q, limit_ms = (asked.get(name) for name in ("metrics", "percentile", "limit_ms"))
    known = isinstance(metrics, list) and all(m in TIMES for m in metrics)
    if not (metrics and known and _number(q) and 0 < q < 100 and _number(limit_ms)):
        raise ResultsError(
            f"{Path(folder) / HEADER} names no target that this version knows (metrics, percentile "
            "and limit_ms). Restore it, or leave this folder out."
        )
    return {"metrics": metrics, "percentile": q, "limit_ms": limit_ms}


def translates(held: dict[str, Any]) -> bool:
    """Is the output of a run with this `run.json` a translation? Older ones tell only by their engine."""
    effective = latest(held, "effective").get("translator") or {}
    made_up = (
        str(effective.get("weights")).startswith("random") or effective.get("engine") == "echo"
    )
    return bool(effective.get("translates", not made_up))


def latest(held: dict[str, Any], name: str) -> dict[str, Any]:
    """What a `run.json` says of its last session: `environment`, `effective` or `load`; {} if nothing."""
    session = (held.get("sessions") or [{}])[-1]
    return session.get(name) or held.get(name) or {}


def busy(environment: dict[str, Any]) -> str:
    """Says that more was running than the machine has CPUs for when a session began; "" if it was not."""
    load, cores = environment.get("load_average"), (environment.get("cpu") or {}).get("cores")
    if not (load and cores and load[0] > cores):
        return ""
    return f"when it began, {load[0]:.1f} processes wanted {cores} CPUs: alone, it would have been sooner"


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
    whole = [stored for stored in found if _whole(stored)]
    corrupt += len(found) - len(whole)
    if corrupt:
        _log.warning("%s: %d unreadable lines left out", folder / RECORDS, corrupt)
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


def faults(session: dict[str, Any], measured: Sequence[dict[str, Any]], corrupt: int) -> list[str]:
    """Why the records of a session cannot be trusted to be all of it, and true; empty if they can.

    Args:
        session: its entry in `run.json`.
        measured: its records of the measured phase.
        corrupt: unreadable lines in the folder.
    """
    valid = session.get("valid") or {}
    found = [] if valid.get("ok") else list(valid.get("reasons") or ["no reason was stored"])
    if corrupt:
        found.append(f"{corrupt} unreadable lines in {RECORDS}")
    statuses = Counter(stored["status"] for stored in measured)
    if "counts" in session and session["counts"] != statuses:
        found.append(f"records are missing: {dict(statuses)} found, {session['counts']} written")
    spoken = Counter((stored["pass"], stored["id"]) for stored in measured)
    if repeated := [name for (_, name), times in spoken.items() if times > 1]:
        found.append(f"{len(repeated)} sentences are there twice in a pass ({repeated[0]})")
    if len(set(Counter(number for number, _ in spoken).values())) > 1:
        found.append("passes hold different numbers of sentences")
    return list(dict.fromkeys(found + unbalanced(measured)))  # the run itself may have said so


def unbalanced(measured: Sequence[dict[str, Any]]) -> list[str]:
    """In a sentence, how many of these records have times that do not add up; empty if none."""
    ok = [(stored["id"], imbalance(stored)) for stored in measured if stored["status"] == Status.ok]
    wrong = {name: reasons for name, reasons in ok if reasons}
    if not wrong:
        return []
    name, reasons = next(iter(wrong.items()))
    return [f"times of {len(wrong)} sentences do not add up ({name}: {reasons[0]})"]


def _whole(stored: dict[str, Any]) -> bool:
    """Whether all that is computed from a record is there, so that no reader need ask again."""
    typed = all(isinstance(stored.get(name), kind) for name, kind in _FIELDS)
    if not (typed and all(isinstance(c, list) and len(c) == 2 for c in stored["chunks"])):
        return False
    facts = stored.get("facts", {})
    if not (isinstance(facts, dict) and isinstance(stored.get("arrived_ns", 0), int)):
        return False
    chunks, silence_s = stored["chunks"], stored.get("leading_silence_s", "missing")
    free_ns = facts.get("loudspeaker_free_ns", 0)
    times = [*stored["marks_ns"].values(), *(number for chunk in chunks for number in chunk)]
    return (
        all(isinstance(number, int) and _number(number) for number in [*times, free_ns])
        and (stored["sample_rate"] > 0 or not chunks)
        and _number(stored.get("audio_s"))
        and (silence_s is None or (_number(silence_s) and silence_s >= 0))
    )


def _number(value: object) -> TypeGuard[int | float]:
    """NaN, infinity, and integers that no float can hold are none."""
    return isinstance(value, int | float) and abs(value) < 2**63


def _require_schema(stored: dict[str, Any], path: Path) -> None:
    if stored.get("schema") != SCHEMA:
        raise ResultsError(
            f"{path} has schema {stored.get('schema')}; this version reads schema {SCHEMA}. "
            "Read it with the version that wrote it (environment.commit in run.json)."
        )
