"""An arm in a process of its own: configurations that are compared share no memory, threads or caches of libraries."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stt import environment, process
from stt.arm import Arm
from stt.errors import ConfigError, EngineError, SttError

log = logging.getLogger(__name__)

_STOPPING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
FAREWELL_S = 30.0
"""How long the other process may take to write and close everything."""


class RemoteArm:
    """Does what `stt.arm.Arm` does, elsewhere. Its engines rest while another arm speaks: turns are whole messages."""

    def __init__(self, cfg: Any, chosen: dict[str, str], folder: Path, turns: str) -> None:
        """Start the process and build every part in it.

        Args:
            turns: the same for all arms that take turns.

        Raises:
            ConfigError, UnsupportedDevice: as `Arm`; or the source does not wait for its turn.
        """
        self.folder = folder
        context = multiprocessing.get_context("spawn")
        self._calls, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, cfg, chosen, folder, turns))
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


def other(
    name: str, mine: dict[str, str], folder: Path, cfg: Any
) -> tuple[Any, dict[str, str], Path]:
    """Another experiment under the conditions of this run: its configuration, choices and folder.

    It keeps its engines and whether they overlap, and of device and pipeline what it sets itself, which is said.
    """
    from omegaconf import OmegaConf

    from stt.config import compose

    (made, chosen), (usual, _) = compose([f"+experiment={name}"]), compose([])
    plain = copy.deepcopy(cfg)
    OmegaConf.resolve(plain)
    for part in ("source", "segment", "sink", "language", "measure", "target", "resume"):
        made[part] = plain[part]
    made.measure.against = []
    if made.sink.get("path"):
        made.sink.path = None  # its own folder, or the audio of both would lie in one
    own = []
    for part, keys in (("device", ("name", "threads")), ("pipeline", ("in_flight", "timeout_s"))):
        for key in keys:
            if made[part][key] == usual[part][key]:
                made[part][key] = plain[part][key]
            elif made[part][key] != plain[part][key]:
                own.append(f"{part}.{key}={made[part][key]}")
    same = ("source", "segment", "sink", *(["device"] * (made.device.name == cfg.device.name)))
    chosen |= {group: mine[group] for group in same}
    if own:
        print(f"stt: {name} is measured with its own {', '.join(own)}", file=sys.stderr)
    return made, chosen, folder.parent / environment.folder_name(made, chosen)


def _serve(calls: Connection, cfg: Any, chosen: dict[str, str], folder: Path, turns: str) -> None:
    process.settle()
    arm: Arm | None = None
    messages: Generator[Any] | None = None
    written = True
    try:
        while (asked := calls.recv()) is not None:
            call, *given = asked
            answer: Any = None
            try:
                if call == "prepare":
                    prepared = Arm(cfg, chosen, folder, turns)
                    goes_on = "goes on while another arm speaks, so measure.against would time both at once"
                    if not prepared.source.closed_loop:
                        raise ConfigError(
                            f"source={chosen['source']} {goes_on}. Compare with source=corpus_closed."
                        )
                    if cfg.sink._target_ == "stt.speaker.Speaker":
                        raise ConfigError(
                            f"sink={chosen['sink']} {goes_on}. Compare with sink=wav."
                        )
                    arm, messages, answer = prepared, prepared.messages(), prepared.expected
                elif call == "speak":
                    assert messages is not None
                    answer = next(messages, messages) is not messages
                else:
                    answer = getattr(arm, call)(*given)
            except SttError as error:
                answer = error
            calls.send(answer)
    except EOFError:
        pass  # the asking process is gone
    finally:
        if messages is not None and arm is not None:
            messages.close()
            try:
                arm.finish()
            except SttError as error:
                log.error("%s", error)
                written = False
    process.leave(arm.exit_status if arm is not None and written else 2)
