"""What the terminal and the report say of runs: latency, stages, quality, failures, verdict, comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stt import cells
from stt.errors import ResultsError
from stt.messages import LOST

if TYPE_CHECKING:
    import pandas as pd

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
        lost = rows["status"].isin(LOST).any()
        note = " (what was not spoken to its end counts as nothing said)" if lost else ""
        lines.append(f"quality: chrF {quality[0]:.2f}, BLEU(char) {quality[1]:.2f}{note}")
    lines.append(f"utterances: {cells.statuses(rows)}")
    lines += [said for said in (cells.loading(first), first["busy"]) if said]
    if held := first["load"].get("peak_memory_bytes"):
        lines.append(f"memory: at most {held / 1e6:.0f} MB (resident, of the process that spoke)")
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
    if len(bad) > 10:
        lines.append(f"  and {len(bad) - 10} more: report.html has them all")
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


def same_text(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of runs that can be compared with each other; all in one where none can be with another.

    Raises:
        ResultsError: nothing was measured.
    """
    groups: list[tuple[dict[str, str], list[str]]] = []
    for run, part in measured(frame).groupby("run", sort=False):
        spoken = dict(zip(part["id"], part["source"], strict=True))
        for texts, runs in groups:
            common = texts.keys() & spoken.keys()
            if common and all(texts[name] == spoken[name] for name in common):
                texts |= spoken
                runs.append(str(run))
                break
        else:
            groups.append((spoken, [str(run)]))
    if len(groups) == frame["run"].nunique():
        return [frame]
    return [frame[frame["run"].isin(runs)] for _, runs in groups]


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
            "These runs spoke different text under the same ids (other corpora, or segment=clause and sentence); "
            "latencies of different text say nothing. Compare those that spoke the same: `python -m stt.report RUN...`."
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
        return cells.table(head[:-2], lines) + "\n\n" + note
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
    return cells.table(head, lines) + "\n\n" + note
