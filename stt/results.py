"""Run folders: raw records written as they happen, read back as one table. Nothing is overwritten.

A folder holds `run.json` (what was asked, what really ran, one entry a session) and `records.jsonl`
(append-only, one utterance a line). `read` is the only door for report and notebooks.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt import jsonl, stored
from stt.errors import ResultsError
from stt.messages import Status
from stt.stored import HEADER, RECORDS, SCHEMA
from stt.table import table

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_UNFINISHED = {"ok": False, "reasons": ["the session did not finish"]}  # until `finish` says more


class RunFolder:
    """A run folder open for writing, by one process at a time. Use `RunFolder.open`.

    Attributes:
        path: the folder.
        header: the content of `run.json`.
        session: number of the session being written, from 1.
        done: (pass, sentence id) already measured by the session that is resumed. A cancelled
            utterance is not done.
        empty: nothing was measured in this session so far.
    """

    def __init__(self, path: Path, lines: jsonl.Appender) -> None:
        self.path = path
        self.header: dict[str, Any] = {}
        self.session = 1
        self.done: set[tuple[int, str]] = set()
        self.empty = True
        self._lines = lines
        self._start = 0  # of this session's records, in bytes
        self._made = False  # by this session

    @classmethod
    def open(cls, path: Path, header: dict[str, Any], *, resume: bool) -> RunFolder:
        """Create the folder, or open it for one more session (with `resume`: the last one again).

        Args:
            header: key, config, choices, effective, environment, corpus_sha256.

        Raises:
            ResultsError: the folder holds another configuration or corpus, is in use, is damaged,
                or cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path, jsonl.Appender(path / RECORDS))
            try:
                folder._begin(header, resume=resume)
            except BaseException:
                folder.close()
                raise
        except OSError as error:
            raise _unwritable(path, error) from error
        return folder

    def _begin(self, header: dict[str, Any], *, resume: bool) -> None:
        held = stored.header(self.path) if (self.path / HEADER).exists() else {}
        if not held and (self.path / RECORDS).stat().st_size:
            raise ResultsError(
                f"{self.path} holds records but no {HEADER}. Restore that, or choose another "
                "hydra.run.dir."
            )
        if held and held["key"] != header["key"]:
            raise ResultsError(
                f"{self.path} holds results of another configuration (key {held['key']}; this run "
                f"is {header['key']}). Choose another hydra.run.dir."
            )
        if held and held.get("corpus_sha256") != header.get("corpus_sha256"):
            raise ResultsError(
                f"{self.path} holds results of another text: the corpus file changed since. "
                "Choose another hydra.run.dir."
            )
        self._lines.mend()
        self._made = not held
        sessions: list[dict[str, Any]] = held.get("sessions", [])
        ran = {name: header.get(name) for name in ("effective", "environment")}
        if resume and sessions:
            entry = sessions[-1]
            entry.setdefault("resumed", []).append({"at": _now(), **ran})
        else:
            number = sessions[-1]["session"] + 1 if sessions else 1
            self._start = (self.path / RECORDS).stat().st_size
            entry = {"session": number, "started": _now(), **ran, "load": {}}
            sessions.append(entry)
        self.session = entry["session"]
        before = self.measured()
        self.empty = not before
        self.done = {(r["pass"], r["id"]) for r in before if r["status"] != Status.cancelled}
        entry.update(ended=None, valid=dict(_UNFINISHED))
        state = {"load": entry["load"], "valid": entry["valid"], "sessions": sessions}
        self.header = {"schema": SCHEMA, **held, **header, **state}
        jsonl.replace(self.path / HEADER, self.header)

    def measured(self) -> list[dict[str, Any]]:
        """Measured records of this session, also from before it was resumed."""
        records, _ = stored.records(self.path, self._start)
        return _measured(records, self.session)

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, whole or not at all; it survives the end of this process.

        Raises:
            ResultsError: the disk is full or refuses; earlier records are safe.
        """
        self.empty = self.empty and not _measured([record], self.session)
        try:
            self._lines.append(record)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def finish(self, **facts: Any) -> None:
        """Store in `run.json` how the session ended: `load`, `valid`, ..., counts by status.

        Raises:
            ResultsError: `run.json` cannot be written; the old one and all records are safe.
        """
        counts = Counter(r["status"] for r in self.measured())
        self.header["sessions"][-1].update(facts, ended=_now(), counts=dict(counts))
        self.header.update(facts)
        try:
            jsonl.replace(self.path / HEADER, self.header)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def spoil(self, why: str) -> None:
        """Say that the session is not valid after all, for one more reason.

        Raises:
            ResultsError: see `finish`.
        """
        log.error("%s", why)
        reasons = [*self.header["valid"]["reasons"], why]
        self.finish(valid={"ok": False, "reasons": reasons})

    def close(self) -> None:
        """Let go of the folder; files that this session made it removes if it measured nothing. Safe to call twice."""
        if self._made and self.empty:
            # Still locked, so that nobody else has begun. A system may refuse for that: then both stay.
            with suppress(OSError):
                (self.path / RECORDS).unlink()
                (self.path / HEADER).unlink(missing_ok=True)
        self._made = False
        self._lines.close()


@dataclass(frozen=True)
class Run:
    """A run folder as read: header, records in order, and lines that could not be read."""

    path: Path
    header: dict[str, Any]
    records: list[dict[str, Any]]
    corrupt: int


def load(paths: Path | str | Iterable[Path | str]) -> list[Run]:
    """Every run under `paths`: run folders, folders that contain some, or `records.jsonl` files.

    A torn last line is dropped, as is a cancelled utterance that the same session measured, too.

    Raises:
        ResultsError: a path does not exist, holds no run, or one of another schema.
    """
    return [Run(path, stored.header(path), *stored.records(path)) for path in _found(paths)]


def sessions(run: Run) -> list[list[dict[str, Any]]]:
    """Measured records by session, newest first: the last session, and the valid ones before it."""
    entries = run.header.get("sessions", [])
    known = [s for s in entries[:-1] if (s.get("valid") or {}).get("ok")] + entries[-1:]
    found: dict[int, list[dict[str, Any]]] = {s["session"]: [] for s in reversed(known)}
    for r in run.records:
        if r["phase"] == "measure" and r["session"] in found:
            found[r["session"]].append(r)
    return list(found.values())


def last_session(run: Run, back: int = 1) -> list[dict[str, Any]]:
    """Measured records of the last session (`back=2`: the last valid one before); empty if none."""
    found = sessions(run)
    return found[back - 1] if len(found) >= back else []


def read(paths: Path | str | Iterable[Path | str]) -> pd.DataFrame:
    """All records under `paths` as one table, one row a record (columns: `table.COLUMNS`).

    Raises:
        ResultsError: see `load`.
    """
    return table(load(paths))


def latencies(frame: pd.DataFrame, metric: str) -> list[float]:
    """Values of `metric`, one a row of a `read` table; inf where there is no `ok` result.

    A failure never finished: its own time says nothing, but it stays in the denominator.
    """
    ok = (frame["status"] == Status.ok) & frame[metric].notna()
    return [float(value) for value in frame[metric].where(ok, math.inf)]


def _measured(records: list[dict[str, Any]], session: int) -> list[dict[str, Any]]:
    return [r for r in records if r["session"] == session and r["phase"] == "measure"]


def _found(paths: Path | str | Iterable[Path | str]) -> Iterable[Path]:
    """The run folders under `paths`, each once."""
    found: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        folders = list(_folders(Path(path)))
        if not folders:
            raise ResultsError(f"{path} holds no run. Name a folder written by python -m stt.run.")
        for folder in folders:
            found.setdefault(folder.resolve(), folder)
    return found.values()


def _folders(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise ResultsError(f"{path} does not exist. Name a run folder, or one that contains runs.")
    own = path if path.name == RECORDS else path / RECORDS
    try:
        # A run is itself, whatever lies inside its folder.
        for file in [own] if own.is_file() else sorted(path.rglob(RECORDS)):
            if file.stat().st_size or (file.parent / HEADER).exists():  # else: never began
                yield file.parent
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}).") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unwritable(path: Path, error: OSError) -> ResultsError:
    try:
        safe = len(jsonl.read(path / RECORDS)[0])
    except OSError:
        safe = 0
    return ResultsError(
        f"Cannot write to {path} ({error.strerror}). {safe} records there are safe. Make room (or "
        "fix permissions) and repeat (a corpus goes on with resume=true), or choose another hydra.run.dir."
    )
