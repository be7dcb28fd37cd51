"""Latency against load: a table and a chart of runs with `source=corpus_poisson`.

    python experiments/load/chart.py RUN... --out FOLDER

RUN: run folders, or folders that contain some.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stt import cells, charts, results, stored
from stt.metrics import samples
from stt.statistics import percentile, tail, verdict

METRICS = ("ttfa_ms", "ttfa_audible_ms", "total_ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    runs = results.load(args.runs)
    target = stored.target(runs[0].header, runs[0].path)
    limit_ms = target["limit_ms"]
    by_rate = {float(run.header["config"]["source"]["per_s"]): run for run in runs}
    lines, found = [], {name: [] for name in METRICS}
    for rate, run in sorted(by_rate.items()):
        records = results.last_session(run)
        n = len({r["id"] for r in records})
        line = [f"{rate:g}", str(len(records))]
        for name in METRICS:
            ids, values = samples(records, name)
            p50, p95 = percentile(values, 50), tail(values, 95, n)
            found[name].append((rate, p50, p95))
            line.append(f"{cells.ms(p50)} / {cells.ms(p95)}")
        invalid = stored.faults(run.header["sessions"][-1], records, run.corrupt)
        judged = {
            m: verdict(samples(records, m)[1], limit_ms, ids=ids, q=target["percentile"])
            for m in target["metrics"]
        }
        line += ["; ".join(invalid) or ", ".join(str(judged[m].outcome) for m in target["metrics"])]
        lines.append(line)
    head = ("sentences/s", "n", *(f"{name.removesuffix('_ms')} p50 / p95" for name in METRICS),
            "verdict: " + ", ".join(target["metrics"]))  # fmt: skip
    table = cells.table(head, lines)
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "load.md").write_text(table + "\n", encoding="utf-8")
    draw(found, limit_ms).savefig(args.out / "load.png", dpi=150)


def draw(found: dict[str, list[tuple[float, float, float | None]]], limit_ms: float) -> Figure:
    """Median (line) and p95 (dashes) of each metric against the rate."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, points), ink in zip(found.items(), charts.INKS, strict=False):
        rates, p50, p95 = zip(*points, strict=True)
        axes.plot(rates, p50, "o-", color=ink, label=f"{charts.SHORT[name]}, p50")
        axes.plot(rates, p95, "o--", color=ink, mfc="white", label=f"{charts.SHORT[name]}, p95")
    axes.axhline(limit_ms, color=charts.LIMIT, ls="--", lw=1.2, label=f"limit {limit_ms:g} ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("sentences per second, at random times")
    axes.set_ylabel("latency [ms]")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
