"""`python -m stt.run`: compose, build, load, warm up, measure, record, print the verdict."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stt import process
from stt.errors import ConfigError, SttError, refusals, refused

INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM: what Ctrl-C does, and nobody else has heard of it."""


def _terminated(*_: object) -> None:
    raise Terminated


log = logging.getLogger("stt")


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 when every utterance was ok, 1 when one was not, 2 when nothing could be run.
    """
    arguments = sys.argv[1:] if argv is None else argv
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr
    )
    process.settle()
    signal.signal(signal.SIGTERM, _terminated)
    hangup = getattr(signal, "SIGHUP", None)  # the terminal was closed; nohup ignores it
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, _terminated)
    from stt.config import check_choices, check_options, config_dir, register

    # First, for Hydra takes no overrides on both sides of it.
    arguments = sorted(arguments, key=lambda a: a not in ("-m", "--multirun"))
    try:
        check_options(arguments)
        check_choices(arguments)
    except ConfigError as error:
        return _refuse(error)
    register()
    import hydra

    # Raise what is wrong, so that it is said here in one sentence.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    begun = False
    codes: list[int] = []
    sweep: list[tuple[Path, list[str]]] = []
    seed, live = 0, False

    def task(cfg: Any) -> None:
        nonlocal begun, seed, live
        begun, live = True, cfg.source._target_ == "stt.stdin.Stdin"
        seed = int(cfg.measure.seed)
        codes.append(_job(cfg, sweep))

    decorate = hydra.main(
        config_path=str(config_dir().absolute()), config_name="config", version_base="1.3"
    )
    sys.argv = [sys.argv[0], *arguments]
    try:
        decorate(task)()
        if len(sweep) > 1 and live:
            once = "standard input can be read once only, so that it cannot be swept over"
            return _refuse(ConfigError(f"{once}. Choose another source."))
        codes += _sweep(sweep, seed)
    except SttError as error:
        return _refuse(error)
    except refusals() as error:
        return _refuse(refused(error))
    except KeyboardInterrupt:  # between runs, in a sweep, or before the first one began
        print("stt: stopped; what was finished is recorded", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `--help | head -1`, or, when something has begun, `2>&1 | head -1`
        process.drop_output()
        return int(begun)
    except OSError as error:
        if begun:
            raise
        # Hydra makes the run folder before anything is checked.
        made = f"the run folder cannot be made: {error}. Choose another hydra.run.dir (of a sweep: hydra.sweep.dir)."
        return _refuse(ConfigError(made))
    finally:
        for folder, _ in sweep:
            _leave(folder)
            (folder.parent / "multirun.yaml").unlink(missing_ok=True)  # Hydra's; nothing reads it
    if len(sweep) > 1:
        try:
            _print_comparison({str(folder): arguments[:-1] for folder, arguments in sweep})
        except SttError as error:
            print(f"stt: no comparison: {error}", file=sys.stderr)
            return max(2, *codes)
    return max(codes, default=0)


def _refuse(error: SttError) -> int:
    """Say why nothing could be run; where it began is logged for developers."""
    log.debug("nothing was run", exc_info=error)
    print(f"stt: {error}", file=sys.stderr)
    return 2


def _job(cfg: Any, sweep: list[tuple[Path, list[str]]]) -> int:
    """Measure; of a sweep, only note the folder and the overrides of this configuration, or raise what is wrong with it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from stt.config import GROUPS

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    chosen = {g: str(c) for g, c in hydra_cfg.runtime.choices.items() if g in GROUPS}
    if hydra_cfg.mode == RunMode.MULTIRUN:
        from stt.arm import Arm

        sweep.append((folder, [*hydra_cfg.overrides.task, f"hydra.run.dir={_quoted(folder)}"]))
        Arm(cfg, chosen, folder)  # loads nothing, and says now what is wrong
        return 0
    try:
        return measure(cfg, chosen, folder)
    except SttError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        kept = f"what was finished is recorded in {folder}"
        kept = kept if any(folder.iterdir()) else "nothing was measured yet"
        print(f"stt: stopped; {kept}", file=sys.stderr)
        return INTERRUPTED
    finally:
        _leave(folder)


def _sweep(sweep: list[tuple[Path, list[str]]], seed: int) -> list[int]:
    """Run the configurations of a sweep, in shuffled order: what drifts must not look like what was swept.

    Every configuration gets a fresh process: no other engine's memory or threads.
    """
    import random

    codes = []
    for _, arguments in random.Random(seed).sample(sweep, len(sweep)):
        print(f"stt: {' '.join(arguments[:-1])}", file=sys.stderr, flush=True)
        with subprocess.Popen([sys.executable, "-m", "stt.run", *arguments]) as job:
            try:
                code = job.wait()
            except KeyboardInterrupt as stop:
                if isinstance(stop, Terminated):  # Ctrl-C reached the job, too
                    job.terminate()
                job.wait()  # it records what it has
                raise
        if code < 0:
            print(f"stt: signal {-code} ended {arguments[-1]}; what it finished is recorded", file=sys.stderr)  # fmt: skip
        codes.append(1 if code < 0 else code)
    return codes


def _leave(folder: Path) -> None:
    """Remove a run folder, which Hydra makes before anything is checked, if nothing was run in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"


def measure(cfg: Any, chosen: dict[str, str], folder: Path) -> int:
    """Speak what the configuration says, record it in `folder`, print the verdict; return the exit status."""
    from stt.arm import Arm

    arms: list[Any] = []
    with ExitStack() as finishing:  # every arm, whatever becomes of the others
        if cfg.measure.against:
            from stt.remote import RemoteArm, other

            turns = uuid.uuid4().hex[:12]
            others = (other(name, chosen, folder, cfg) for name in cfg.measure.against)
            for asked in ((cfg, chosen, folder), *others):
                arms.append(RemoteArm(*asked, turns))
                finishing.callback(arms[-1].finish)
        else:
            arms.append(Arm(cfg, chosen, folder))
            finishing.callback(arms[-1].finish)
        for arm in arms:
            arm.load()
        most = max([arm.warm_up() for arm in arms])
        for arm in arms:
            arm.warm_up_to(most)
        if cfg.measure.against:
            _take_turns(arms, int(cfg.measure.seed))
        else:
            _measure(arms[0])
    written = _print([arm.folder for arm in arms])
    return max(int(arm.exit_status) for arm in arms) or int(not written)


def _measure(arm: Any) -> None:
    from stt.progress import progress

    expected = arm.expected
    with progress(expected) as advance:
        for _ in arm.utterances() if expected is None else arm.messages():
            advance()


def _take_turns(arms: list[Any], seed: int) -> None:
    """Every arm speaks a message before any speaks the next, in balanced random order."""
    import random

    from stt.progress import progress

    order = random.Random(seed)
    turns = [arm.messages() for arm in arms]
    forward = True
    with progress(arms[0].expected) as advance:
        left = list(range(len(arms)))
        sequence = list(left)
        while left:
            if forward:
                order.shuffle(sequence)
            else:
                sequence.reverse()  # ABBA: each order is followed by its mirror image
            forward = not forward
            for index in [i for i in sequence if i in left]:
                if not next(turns[index], False):
                    left.remove(index)
                elif index == 0:
                    advance()


def _print(paths: list[Path]) -> bool:
    """Report and verdict; False when the files of the report could not be written."""
    from stt import results
    from stt.report import Report
    from stt.table import table

    report, files = Report(table(results.load(paths))), []
    try:
        files = report.write(paths[0])
    except OSError as error:
        print(
            f"stt: the report could not be written ({error.strerror}). All records are safe: make "
            f"room, then `python -m stt.report {paths[0]}`.",
            file=sys.stderr,
        )
    with process.reader_may_go():
        for path in files:
            print(path)
        if len(paths) > 1:
            print(report.overview)
        print(next(iter(report.summaries.values())))
    return bool(files)


def _print_comparison(sweep: dict[str, list[str]]) -> None:
    """Compare runs of a sweep, by folder, that spoke the same text; say what was asked of these only."""
    from stt import results, stored
    from stt.summary import comparison, same_text

    there = [path for path in map(Path, sweep) if (path / stored.RECORDS).exists()]
    if not there:
        return
    everywhere = set.intersection(*map(set, sweep.values()))
    with process.reader_may_go():
        for part in same_text(results.read(there)):
            first, *others = paths = list(part["path"].unique())
            for argument in sweep[first]:
                if argument not in everywhere and all(argument in sweep[path] for path in others):
                    print(argument)
            print(comparison(part, None))
            print(f"\ncharts: python -m stt.report {shlex.join(paths)}\n")


if __name__ == "__main__":
    process.leave(main())
