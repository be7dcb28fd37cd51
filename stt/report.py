"""`python -m stt.report RUN...`: tables in Markdown and CSV, charts, and the verdict."""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt.environment import reader_may_go
from stt.errors import ConfigError, ResultsError, SttError

if TYPE_CHECKING:
    import pandas as pd

    from stt.comparison import Ratio

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


def _ms(value: float | None) -> str:
    if value is None:
        return "n too small"
    if not math.isfinite(value):
        return "failed"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _interval(values: Sequence[float], ids: Sequence[str], q: float) -> str:
    from stt.statistics import bootstrap_percentile, percentile_interval, tail

    n = len(set(ids))
    point = tail(values, q, n)
    found = None
    if point is not None:
        repeated = n < len(values)
        found = bootstrap_percentile(values, ids, q) if repeated else percentile_interval(values, q)
    return _ms(point) + (f" [{_ms(found[0])}, {_ms(found[1])}]" if found else "")


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "n too small"
    unclear = " ~" if ratio.p >= 0.05 else ""
    return f"{ratio.ratio:.1f}x [{ratio.low:.1f}, {ratio.high:.1f}]{unclear}"


def _median(values: Sequence[float]) -> float:
    from stt.statistics import percentile

    return percentile(values, 50)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that also reads well as plain text."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return "\n".join(
        [line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]
    )


def _quality(rows: pd.DataFrame) -> tuple[float, float] | None:
    from stt.quality import bleu, chrf

    scored = rows[rows["reference"].notna() & (rows["pass"] == rows["pass"].min())]
    if scored.empty or (scored["translation"] == scored["source"]).all():  # nothing was translated
        return None
    # A corpus line of two sentences is two utterances (s007, s007.2) with one reference.
    message = scored["id"].str.replace(r"\.\d+$", "", regex=True)
    said = (
        scored["translation"].fillna("").groupby([message, scored["reference"]], sort=False).sum()
    )
    texts, references = said.tolist(), said.index.get_level_values("reference").tolist()
    return chrf(texts, references).value, bleu(texts, references).value


def _counts(rows: pd.DataFrame) -> str:
    """Utterances of each run: one number where all have as many."""
    sizes = [str(len(part)) for _, part in rows.groupby("run", sort=False)]
    return sizes[0] if len(set(sizes)) == 1 else "/".join(sizes)


def _statuses(rows: pd.DataFrame) -> str:
    return ", ".join(f"{count} {status}" for status, count in Counter(rows["status"]).most_common())


def summary(frame: pd.DataFrame, target: dict[str, Any]) -> str:
    """One run: latency, stages, quality, failures; the verdict is the last lines."""
    from stt.results import latencies
    from stt.statistics import verdict

    rows = measured(frame)
    first = rows.iloc[0]
    n = len(rows)
    limit = f"{target['limit_ms']:g}"
    lines = [
        f"{first['translator']} + {first['tts']} on {first['device']} ({first['machine']}), "
        f"pipeline {first['pipeline']}, {first['source_name']}, n={n}",
        "",
    ]
    table = [
        [
            name,
            *(_interval(latencies(rows, name), list(rows["id"]), q) for q in (50, 95)),
            limit if name in target["metrics"] else "",
        ]
        for name in MAIN
    ]
    lines += [_table(("metric", "p50 [95 % interval]", "p95 [95 % interval]", "limit"), table), ""]
    ok = rows[rows["status"] == "ok"]
    stages = [[name, f"{ok[name].median():.2f}"] for name in STAGES if ok[name].notna().any()]
    lines += [_table(("stage (ok only)", "median"), stages), ""]
    quality = _quality(rows)
    if quality:
        lines.append(f"quality: chrF {quality[0]:.2f}, BLEU(char) {quality[1]:.2f}")
    lines.append(f"utterances: {_statuses(rows)}")
    bad = rows[rows["status"] != "ok"]
    lines += [f"  {row.id}: {row.status}: {row.error}" for row in bad.head(10).itertuples()]
    if not bool(rows["valid"].all()):
        lines.append("INVALID run: see valid.reasons in run.json")
    lines.append("")
    for name in target["metrics"]:
        judged = verdict(
            latencies(rows, name), target["limit_ms"], ids=list(rows["id"]), q=target["percentile"]
        )
        lines.append(f"{name}: {judged}")
    return "\n".join(lines)


def comparison(frame: pd.DataFrame, target: dict[str, Any], baseline: str | None) -> str:
    """One line a run; with a baseline (a folder name), how many times sooner on the same sentences.

    A difference that the number of comparisons explains as well is marked with ~.

    Raises:
        ResultsError: the runs did not speak the same text.
    """
    from stt.comparison import sooner
    from stt.results import latencies

    rows = measured(frame)
    texts = rows.groupby("id")["source"].nunique()
    if (texts > 1).any():
        raise ResultsError(
            "These runs spoke different text under the same ids; latencies of different text say nothing."
        )
    lines = []
    ratios = {} if baseline is None else sooner(rows, baseline, ("ttfa_audible_ms", "total_ms"))
    engines = rows.groupby(["translator", "tts", "pipeline"])["run"].nunique()
    for run, part in rows.groupby("run", sort=False):
        quality = _quality(part)
        choices = [str(part.iloc[0][name]) for name in ("translator", "tts", "pipeline")]
        cells = list(choices)
        if engines[tuple(choices)] > 1:  # what tells them apart is in their run.json
            cells[0] += f" ({run})"
        for name in MAIN:
            values = latencies(part, name)
            cells.append(
                f"{_ms(_median(values))} / {_interval(values, list(part.id), 95).partition(' [')[0]}"
            )
        cells.append(f"{quality[0]:.1f} / {quality[1]:.1f}" if quality else "-")
        cells.append(str(int((part["status"] != "ok").sum())))
        own = [ratio for (name, _), ratio in ratios.items() if name == run]
        cells += ["1", "1"] if run == baseline else [_ratio(ratio) for ratio in own]
        lines.append(cells)
    counts = _counts(rows)
    head = (
        "translator", "voice", "pipeline", "ttfa p50 / p95", "audible p50 / p95", "total p50 / p95",
        "chrF / BLEU", "not ok", "audible sooner", "total sooner",
    )  # fmt: skip
    if baseline is None:
        return _table(head[:-2], lines) + f"\nms; n={counts}"
    note = (
        f"ms; n={counts}; sooner: geometric mean of paired ratios to {baseline}, "
        "95 % bootstrap interval"
    )
    if any(cell.endswith("~") for line in lines for cell in line):
        note += f"; ~: p >= 0.05, Holm's correction for {len(ratios)} comparisons"
    return _table(head, lines) + "\n" + note


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


def write(paths: Sequence[Path], out: Path, baseline: str | None = None) -> list[Path]:
    """Write report.md, report.csv and the charts for `paths` into `out`; return the files."""
    from stt import charts, results
    from stt.config import Target
    from stt.results import latencies
    from stt.statistics import percentile, tail

    frame = results.read(paths)
    rows = measured(frame)
    target = results.runs(paths)[0]["config"]["target"]
    if baseline is not None:
        baseline = _named(rows, baseline)
    elif rows["run"].nunique() > 1:
        baseline = str(rows["run"].iloc[-1])
    out.mkdir(parents=True, exist_ok=True)
    parts = [comparison(frame, target, baseline)] if rows["run"].nunique() > 1 else []
    parts += [summary(part, target) for _, part in rows.groupby("run", sort=False)]
    document = out / "report.md"
    document.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    table = out / "report.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("run", "metric", "n", "p50", "p95"))
        for run, part in rows.groupby("run", sort=False):
            for name in (*MAIN, *STAGES):
                values = latencies(part, name)
                p95 = tail(values, 95, part["id"].nunique())
                writer.writerow((run, name, len(values), percentile(values, 50), p95))
    written = [document, table]
    labels = {
        str(run): f"{p.iloc[0]['translator']} + {p.iloc[0]['tts']}, {p.iloc[0]['pipeline']}"
        for run, p in rows.groupby("run", sort=False)
    }
    caption = (
        f"{rows['machine'].iloc[0]}; n={_counts(rows)} utterances; {rows['source_name'].iloc[0]}"
    )
    typed = Target(**target)
    for name, draw in (
        ("stage_budget", charts.stage_budget),
        ("distribution", charts.distribution),
        ("length", charts.length),
    ):
        path = out / f"{name}.png"
        draw(rows, labels, typed, caption).savefig(path)
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

        found = [Path(header["path"]) for header in results.runs(asked.runs)]
        out = asked.out or (found[0] if len(found) == 1 else Path("results/tables"))
        written = write(found, out, asked.baseline)
        with reader_may_go():
            print(*written, (out / "report.md").read_text(encoding="utf-8"), sep="\n")
    except (SttError, OSError) as error:
        print(f"stt.report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
