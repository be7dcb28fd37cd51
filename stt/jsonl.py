"""JSON files that outlive a kill, a full disk and a second writer: appended lines, whole files."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

from stt.errors import ResultsError

_log = logging.getLogger(__name__)


class Appender:
    """An append-only file of JSON lines, held by one process until `close` (or until it dies)."""

    def __init__(self, path: Path) -> None:
        """Open and lock the file, creating it if needed.

        Raises:
            ResultsError: another process holds it.
            OSError: it cannot be opened.
        """
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o644)
        try:
            _lock(self._descriptor)
        except (BlockingIOError, PermissionError) as error:
            self.close()
            raise ResultsError(
                f"{path.parent} is being written by another run. Wait for it to end, "
                "or choose another hydra.run.dir."
            ) from error
        except OSError as error:  # some network file systems have no locks; a run is still a run
            _log.warning("%s has no lock (%s): start no second run there", path, error.strerror)

    def mend(self) -> None:
        """Cut off a half-written last line; a whole one that only lost its newline is kept."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end == len(content):
            return
        if parse(content[end:]) is not None:
            os.write(self._descriptor, b"\n")
        else:
            _log.warning("%s: dropped a torn last line (%d bytes)", self.path, len(content) - end)
            os.ftruncate(self._descriptor, end)

    def append(self, value: dict[str, Any]) -> None:
        """Write one line, whole or not at all.

        Raises:
            OSError: the disk is full or refuses; the file is as it was.
        """
        line = dumps(value) + b"\n"
        before = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            while written < len(line):  # a nearly full disk takes a part, then refuses the rest
                written += os.write(self._descriptor, line[written:])
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read(path: Path, start: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Readable lines from byte `start` on, and how many were not; a torn last line is dropped uncounted."""
    with path.open("rb") as file:
        file.seek(start)
        *lines, tail = file.read().split(b"\n")
    parsed = [parse(line) for line in lines if line]
    values = [value for value in [*parsed, parse(tail)] if value is not None]
    return values, parsed.count(None)


def replace(path: Path, value: dict[str, Any]) -> None:
    """Write a whole file; a reader sees the old one or the new one, never a part.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(dumps(value, indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def parse(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line, or None."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def dumps(value: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON of anything: NumPy becomes numbers, NaN null, an unknown object its text."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent, separators=separators)
    # A lone surrogate (undecodable input) becomes its JSON escape, so that no record is unwritable.
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 2**40, os.SEEK_SET)  # far beyond the records: readers stay free
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
