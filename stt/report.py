"""`python -m stt.report RUN...`: tables in Markdown and CSV, charts, and the verdict."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt import cells
from stt.errors import ConfigError, ResultsError, SttError
from stt.process import reader_may_go

if TYPE_CHECKING:
    import pandas as pd

    from stt.config import Target

MAIN = ("ttfa_ms", "ttfa_audible_ms", "total_ms")
STAGES = (
    "segment_ms", "wait_translate_ms", "translate_first_ms", "wait_synthesize_ms",
    "synthesize_first_ms", "translate_ms", "synthesize_ms", "rtf", "gap_ms", "underruns",
)  # fmt: skip


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the measured phase, of the last session of each run.

    Raises:
        ResultsError: there are none.
    """
    rows = frame[frame["phase"] == "measure"]
    rows = rows[rows["session"] == rows.groupby("run")["session"].transform("max")]
    if rows.empty:
        raise ResultsError(
            "No measured utterance in these runs: only warm-up, or nothing at all. Run again."
        )
    return rows


def summary(frame: pd.DataFrame, target: dict[str, Any]) -> str:
    """One run: latency, stages, quality, failures; the verdict is the last lines."""
    from stt.results import latencies
    from stt.statistics import Outcome, percentile, verdict

    rows = measured(frame)
    first = rows.iloc[0]
    n = len(rows)
    limit = f"{target['limit_ms']:g}"
    lines = []
    if first["session"] != first["sessions"]:
        lines.append(
            f"Session {first['sessions']} measured nothing; this is session {first['session']}."
        )
    lines += [
        f"{first['translator']} + {first['tts']} on {first['device']} ({first['machine']}), "
        f"pipeline {first['pipeline']}, {first['source_name']}, n={n}",
        "",
    ]
    table = [
        [
            name,
            *(cells.interval(latencies(rows, name), list(rows["id"]), q) for q in (50, 95)),
            limit if name in target["metrics"] else "",
        ]
        for name in MAIN
    ]
    lines += [
        cells.table(("metric", "p50 [95 % interval]", "p95 [95 % interval]", "limit"), table),
        "",
    ]
    ok = rows[rows["status"] == "ok"]
    known = [name for name in STAGES if ok[name].notna().any()]
    stages = [[name, f"{percentile(ok[name].dropna(), 50):.2f}"] for name in known]
    lines += [cells.table(("stage (ok only)", "median"), stages), ""]
    quality = cells.quality(rows)
    if quality:
        lines.append(f"quality: chrF {quality[0]:.2f}, BLEU(char) {quality[1]:.2f}")
    lines.append(f"utterances: {cells.statuses(rows)}")
    lines += [said for said in (cells.loading(first), first["busy"]) if said]
    late_s = [value / 1e3 for value in ok["lag_ms"]]
    if late_s and percentile(late_s, 95) > 1 + max(ok["total_ms"]) / 1e3:
        lines.append(
            "heard later than these times say, for the speech before it still went on: p50 "
            f"{percentile(late_s, 50):.1f} s, at most {max(late_s):.1f} s (lag_ms)"
        )
    if silent := int(ok["leading_silence_s"].isna().sum()):
        lines.append(
            f"{silent} of {len(ok)} ok utterances have no audible sample: all of them below -40 dBFS"
        )
    bad = rows[rows["status"] != "ok"]
    lines += [f"  {row.id}: {row.status}: {row.error}" for row in bad.head(10).itertuples()]
    if first["faults"]:
        lines.append(f"INVALID run: {first['faults']}")
    lines.append("")
    for name in target["metrics"]:
        judged = verdict(
            latencies(rows, name), target["limit_ms"], ids=list(rows["id"]), q=target["percentile"]
        )
        if first["faults"]:
            judged = replace(judged, outcome=Outcome.UNDECIDED)
        lines.append(f"{name}: {judged}")
    return "\n".join(lines)


def comparison(frame: pd.DataFrame, baseline: str | None) -> str:
    """One line a run; with a baseline (a folder name), how many times sooner on the same sentences.

    A difference that the number of comparisons explains as well is marked with ~.

    Raises:
        ResultsError: the runs did not speak the same text.
    """
    from stt.comparison import sooner
    from stt.results import latencies
    from stt.statistics import percentile

    rows = measured(frame)
    texts = rows.groupby("id")["source"].nunique()
    if (texts > 1).any():
        raise ResultsError(
            "These runs spoke different text under the same ids; latencies of different text say nothing."
        )
    n = len(texts)
    spoken = rows.groupby("run")["id"].nunique()
    if (spoken < n).any() and spoken.sum() == n:
        raise ResultsError(
            "These runs have no sentence in common; latencies of different text say nothing."
        )
    lines = []
    ratios = {} if baseline is None else sooner(rows, baseline, ("ttfa_audible_ms", "total_ms"))
    engines, own = cells.engines(rows), cells.own(rows)
    for run, part in rows.groupby("run", sort=False):
        quality = cells.quality(part)
        line = list(engines[str(run)])
        line[0] += own[str(run)]
        for name in MAIN:
            values = latencies(part, name)
            line.append(
                f"{cells.ms(percentile(values, 50))} / {cells.interval(values, list(part.id), 95).partition(' [')[0]}"
            )
        line.append(f"{quality[0]:.1f} / {quality[1]:.1f}" if quality else "-")
        line.append(str(int((part["status"] != "ok").sum())))
        found = [ratio for (name, _), ratio in ratios.items() if name == run]
        line += ["1", "1"] if run == baseline else [cells.ratio(ratio, n) for ratio in found]
        lines.append(line)
    counts = cells.counts(rows)
    head = (
        "translator", "voice", "pipeline", "ttfa p50 / p95", "audible p50 / p95", "total p50 / p95",
        "chrF / BLEU", "not ok", "audible sooner", "total sooner",
    )  # fmt: skip
    note = f"ms; n={counts}"
    if (spoken < n).any():
        note += "; not every run spoke every sentence: compare the ratios, not the times"
    if rows["machine"].nunique() > 1:
        note += "; measured on different machines: times are not those of the engines alone"
    if invalid := list(rows.loc[rows["faults"] != "", "run"].unique()):
        note += f"; invalid: {', '.join(invalid)}"
    if baseline is None:
        return cells.table(head[:-2], lines) + "\n" + note
    note += f"; sooner: geometric mean of paired ratios to {baseline}, 95 % bootstrap interval"
    if (
        rows["turns"].notna().any()
        and rows.groupby("run")["turns"].unique().map(tuple).nunique() > 1
    ):
        note += (
            "; not all took turns: where the machine was slower to one, the ratios hold that, too"
        )
    if any("~" in cell for line in lines for cell in line):
        note += f"; ~: p >= 0.05, Holm's correction for {len(ratios)} comparisons"
    return cells.table(head, lines) + "\n" + note


def labels(rows: pd.DataFrame) -> dict[str, str]:
    """What to call each run: its engines, and where these do not tell it from another, what does."""
    own = cells.own(rows)
    return {r: "{} + {}, {}".format(*names) + own[r] for r, names in cells.engines(rows).items()}


def targets(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The target each run was asked to reach; raises as `stt.stored.target` does."""
    from stt import stored

    paths = rows.groupby("run", sort=False)["path"].first()
    return {str(run): stored.target(stored.header(Path(at)), at) for run, at in paths.items()}


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


def write(frame: pd.DataFrame, out: Path, baseline: str | None = None) -> list[Path]:
    """Write report.md, report.csv and the charts of these runs into `out`; return the files."""
    from stt import charts
    from stt.results import latencies
    from stt.statistics import percentile, tail

    rows = measured(frame)
    asked = targets(rows)
    if baseline is not None:
        baseline = _named(rows, baseline)
    elif rows["run"].nunique() > 1:
        baseline = str(rows["run"].iloc[-1])
    out.mkdir(parents=True, exist_ok=True)
    names = labels(rows)
    several = len(names) > 1
    parts = [comparison(frame, baseline)] if several else []
    for run, part in rows.groupby("run", sort=False):
        head = f"## {names[str(run)]}\n\n" if several else ""
        parts.append(head + summary(part, asked[str(run)]))
    document = out / "report.md"
    document.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    table = out / "report.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("run", "metric", "n", "p50", "p95"))
        for run, part in rows.groupby("run", sort=False):
            ok = part[part["status"] == "ok"]  # a stage that a failure never reached took no time
            for name in (*MAIN, *STAGES):
                values = latencies(ok if name in STAGES else part, name)
                p95 = tail(values, 95, part["id"].nunique())
                writer.writerow((run, name, len(values), percentile(values, 50), p95))
    written = [document, table]
    drawn, text = limit(asked), caption(rows)
    for name, draw in (
        ("stage_budget", charts.stage_budget),
        ("distribution", charts.distribution),
        ("length", charts.length),
    ):
        path = out / f"{name}.png"
        draw(rows, names, drawn, text).savefig(path)
        written.append(path)
    return written


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
        written = write(frame, out, asked.baseline)
        with reader_may_go():
            print(*written, (out / "report.md").read_text(encoding="utf-8"), sep="\n")
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
