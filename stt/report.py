"""`python -m stt.report RUN...`: tables, charts, a page with every utterance, a trace, and the verdict."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt import cells
from stt.errors import ConfigError, SttError
from stt.process import reader_may_go
from stt.summary import MAIN, STAGES, comparison, measured, summary

if TYPE_CHECKING:
    import pandas as pd

    from stt.config import Target


def labels(rows: pd.DataFrame) -> dict[str, str]:
    """What to call each run: its engines, and where these do not tell it from another, what does."""
    own = cells.own(rows)
    return {r: "{} + {}, {}".format(*names) + own[r] for r, names in cells.engines(rows).items()}


def targets(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The target each run was asked to reach; raises as `stt.stored.target` does."""
    from stt import stored

    firsts = rows.groupby("run", sort=False)[["header", "path"]].first()
    return {str(run): stored.target(held, at) for run, held, at in firsts.itertuples(name=None)}


def limit(targets: dict[str, dict[str, Any]]) -> Target:
    """What charts of these runs show: the first one's target, without a limit if the limits differ."""
    from stt.config import Target

    first, *others = targets.values()
    same = all(other["limit_ms"] == first["limit_ms"] for other in others)
    return Target(**first | ({} if same else {"limit_ms": math.nan}))


def caption(rows: pd.DataFrame) -> str:
    """Where and what was measured, of all runs."""
    machines, texts = (
        "; ".join(map(str, rows[name].unique())) for name in ("machine", "source_name")
    )
    return f"{machines}; n={cells.counts(rows)} utterances; {texts}"


def _named(rows: pd.DataFrame, wanted: str) -> str:
    """The name of the run that `wanted`, a name or a folder, means.

    Raises:
        ConfigError: none of these runs.
    """
    folders = {str(run): Path(part["path"].iloc[0]) for run, part in rows.groupby("run")}
    for run, folder in folders.items():
        if wanted == run or Path(wanted).resolve() == folder.resolve():
            return run
    raise ConfigError(
        f"--baseline {wanted} is none of the measured runs given. Choose from: {', '.join(folders)}."
    )


class Report:
    """What is said of runs: tables and verdicts, made once for the files and for the terminal.

    Attributes:
        summaries: what is said of each run, by its name.
        overview: how they compare; of one run, its summary.
    """

    def __init__(self, frame: pd.DataFrame, baseline: str | None = None) -> None:
        """Compute all that is said.

        Args:
            baseline: name or folder of the run that the others are compared with; None: the last one.

        Raises:
            ResultsError, ConfigError: nothing was measured, it cannot be compared, or not with that.
        """
        rows = self._rows = measured(frame)
        self._targets, self._labels = targets(rows), labels(rows)
        last = str(rows["run"].iloc[-1])
        baseline = last if baseline is None else _named(rows, baseline)
        self.summaries = {
            str(run): summary(part, self._targets[str(run)])
            for run, part in rows.groupby("run", sort=False)
        }
        several = len(self.summaries) > 1
        self.overview = comparison(rows, baseline) if several else self.summaries[last]
        self._parts = self.summaries if several else {}  # else the overview says it all

    @property
    def text(self) -> str:
        """All of it, in Markdown."""
        parts = (f"## {self._labels[run]}\n\n{said}" for run, said in self._parts.items())
        return "\n\n".join([self.overview, *parts])

    def write(self, out: Path) -> list[Path]:
        """Write tables (report.md, report.csv), charts, page (report.html) and trace.json into `out`; return the files."""
        from stt import charts
        from stt.page import page
        from stt.trace import trace

        rows, names = self._rows, self._labels
        drawn, text, pictures = limit(self._targets), caption(rows), {}
        out.mkdir(parents=True, exist_ok=True)
        for name in ("stage_budget", "distribution", "length"):
            pictures[name] = out / f"{name}.png"
            getattr(charts, name)(rows, names, drawn, text).savefig(pictures[name])
        spoken = zip(rows["run"].map(names), rows["record"], strict=True)
        texts = {
            out / "report.md": self.text + "\n",
            out / "report.csv": _csv(rows),
            out / "report.html": page(
                rows,
                names,
                self._parts,
                pictures,
                overview=f"{text}\n\n{self.overview}",
                limit_ms=drawn.limit_ms,
                folder=out,
            ),
            out / "trace.json": json.dumps(trace(spoken), ensure_ascii=False),
        }
        for path, content in texts.items():
            path.write_text(content, encoding="utf-8", newline="")
        return [*texts, *pictures.values()]


def _csv(rows: pd.DataFrame) -> str:
    from stt.results import latencies
    from stt.statistics import percentile, tail

    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(("run", "metric", "n", "p50", "p95"))
    for run, part in rows.groupby("run", sort=False):
        ok = part[part["status"] == "ok"]  # a stage that a failure never reached took no time
        for name in (*MAIN, *STAGES):
            values = latencies(ok if name in STAGES else part, name)
            p95 = tail(values, 95, part["id"].nunique())
            writer.writerow((run, name, len(values), percentile(values, 50), p95))
    return file.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 2 when there is nothing to report."""
    parser = argparse.ArgumentParser("python -m stt.report", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, help="run folders, or folders that contain some"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the files (default: the run folder, or results/tables)"
    )
    parser.add_argument("--baseline", help="run folder, or its name, the others are compared with")
    asked = parser.parse_args(argv)
    try:
        from stt import results

        frame = results.read(asked.runs)
        found = frame["path"].unique()
        out = asked.out or Path(found[0] if len(found) == 1 else "results/tables")
        report = Report(frame, asked.baseline)
        written = report.write(out)
        with reader_may_go():
            print(*written, report.text, sep="\n")
    except SttError as error:
        print(f"stt.report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        wrong = f"{error.filename or 'it'} cannot be written ({error.strerror})"
        print(f"stt.report: {wrong}. Choose another --out.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
