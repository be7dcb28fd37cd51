"""python -m stt.gate RUN [--against BASE]: exit 0 pass, 1 too slow, 2 cannot judge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stt import jsonl
from stt.errors import ResultsError
from stt.judgement import CANNOT_JUDGE, Judgement, judge
from stt.process import reader_may_go
from stt.results import Run, load


def _one(path: Path) -> Run:
    found = load(path)
    if len(found) > 1:
        raise ResultsError(f"{path} holds {len(found)} runs. Name one of them.")
    return found[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the judgement, its last line being the verdict; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stt.gate",
        description="Judge a measured run. Exit status: 0 pass, 1 too slow, 2 cannot judge.",
        epilog="With --against, the exit status follows from the comparison alone; the verdict "
        "against the limit is printed all the same.",
    )
    parser.add_argument("run", type=Path, help="run folder; its last session is judged")
    parser.add_argument("--against", type=Path, metavar="BASE", help="run folder to compare with")
    parser.add_argument(
        "--allow-other-machine", action="store_true", help="compare even if the machines differ"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    asked = parser.parse_args(argv)
    try:
        run, base = _one(asked.run), None if asked.against is None else _one(asked.against)
        if base is not None and base.path.resolve() == run.path.resolve():
            raise ResultsError(
                f"{asked.run} would be compared with itself: measured again, a run adds a session to its folder. "
                "Copy the folder, measure again, and compare with the copy."
            )
        found = judge(run, base, allow_other_machine=asked.allow_other_machine)
    except ResultsError as error:
        found = Judgement(doubts=[str(error)])
    try:
        with reader_may_go():
            _print(found, asked.run, asked.json)
    except OSError as error:  # 1 would say "too slow"
        print(f"stt.gate: the judgement cannot be written ({error.strerror})", file=sys.stderr)
        return CANNOT_JUDGE
    return found.exit_status


def _print(found: Judgement, run: Path, as_json: bool) -> None:
    if as_json:
        facts = {"run": run, "exit_status": found.exit_status, "verdict": found.verdict}
        print(jsonl.dumps({**facts, **asdict(found)}, indent=1).decode())
        return
    print(f"run {run}")
    for name, absolute in found.verdicts.items():
        print(f"{name} {absolute}")
    for name, ratio in found.ratios.items():
        bounds = f"[{ratio.low:.3f}, {ratio.high:.3f}]"
        noise = "spoken in turns with it"
        if floor := found.floors[name]:
            noise = f"a session of equal code may be {1 + floor:.3f}x"
        elif floor is None:
            noise = "the noise between sessions is unknown"
        print(f"{name} {ratio.ratio:.3f}x the baseline {bounds} over {ratio.n} sentences; {noise}")
    for note in found.notes:
        print(f"note: {note}")
    print(found.verdict)


if __name__ == "__main__":
    sys.exit(main())
