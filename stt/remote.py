"""An arm in a process of its own: configurations that are compared share no memory, threads or caches of libraries."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stt import environment
from stt.arm import Arm
from stt.errors import ConfigError, EngineError, SttError

log = logging.getLogger(__name__)

_STOPPING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
FAREWELL_S = 30.0
"""How long the other process may take to write and close everything."""


class RemoteArm:
    """Does what `stt.arm.Arm` does, elsewhere. Its engines rest while another arm speaks: turns are whole messages."""

    def __init__(self, cfg: Any, chosen: dict[str, str], folder: Path) -> None:
        """Start the process and build every part in it.

        Raises:
            ConfigError, UnsupportedDevice: as `Arm.prepare`; or the source does not wait for its turn.
        """
        self.folder = folder
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, cfg, chosen, folder))
        # What is ignored here is ignored there from the first moment on: this process says when to stop.
        before = {n: signal.signal(n, signal.SIG_IGN) for n in _STOPPING}
        try:
            self._process.start()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        theirs.close()
        try:
            self.expected: int | None = self._ask("prepare")
        except SttError:
            self.finish()
            raise

    def load(self) -> None:
        """As `Arm.load`, with its errors."""
        self._ask("load")

    def warm_up(self) -> int:
        """As `Arm.warm_up`."""
        return int(self._ask("warm_up"))

    def warm_up_to(self, count: int) -> None:
        """As `Arm.warm_up_to`."""
        self._ask("warm_up_to", count)

    def messages(self) -> Iterator[bool]:
        """Speak and record one message each time it is asked for the next."""
        while self._ask("speak"):
            yield True

    def finish(self) -> None:
        """Let the process write what is known and end. Safe at any point."""
        try:
            self._calls.send(None)
        except OSError:
            pass  # it ended already
        self._process.join(FAREWELL_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def exit_status(self) -> int:
        """0 when the run is complete and every utterance was ok."""
        code = self._process.exitcode
        return 1 if code is None or code < 0 else code  # below 0: a signal ended it

    def _ask(self, *call: Any) -> Any:
        try:
            self._calls.send(call)
            answer = self._calls.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise EngineError(
                f"The process that measured {self.folder.name} ended with status "
                f"{self._process.exitcode}; what it finished is recorded there."
            ) from error
        if isinstance(answer, SttError):
            raise answer
        return answer


def _serve(calls: Connection, cfg: Any, chosen: dict[str, str], folder: Path) -> None:
    environment.settle()
    arm: Arm | None = None
    turns: Generator[Any] | None = None
    written = True
    try:
        while (asked := calls.recv()) is not None:
            call, *given = asked
            answer: Any = None
            try:
                if call == "prepare":
                    prepared = Arm.prepare(cfg, chosen, folder)
                    if not prepared.source.closed_loop:
                        raise ConfigError(
                            f"source={chosen['source']} goes on while another arm speaks, so measure.against "
                            "would time both at once. Compare with source=corpus_closed."
                        )
                    arm, turns, answer = prepared, prepared.messages(), prepared.expected
                elif call == "speak":
                    assert turns is not None
                    answer = next(turns, turns) is not turns
                else:
                    answer = getattr(arm, call)(*given)
            except SttError as error:
                answer = error
            calls.send(answer)
    except EOFError:
        pass  # the asking process is gone
    finally:
        if turns is not None and arm is not None:
            turns.close()
            try:
                arm.finish()
            except SttError as error:
                log.error("%s", error)
                written = False
    environment.leave(arm.exit_status if arm is not None and written else 2)
