"""What stands in the cells of a report: times with their intervals, ratios, scores, counts, names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from stt.comparison import Ratio

FRESH = 5
"""Sessions from which the times of a cold start are said."""


def ms(value: float | None) -> str:
    """Milliseconds; None: too few values for this percentile; infinite: a failure, or what was never audible."""
    if value is None:
        return "n too small"
    if not math.isfinite(value):
        return "never"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def interval(values: Sequence[float], ids: Sequence[str], q: float) -> str:
    """A percentile with its 95 % interval, over sentences where some were repeated."""
    from stt.statistics import percentile_interval, tail

    n = len(set(ids))
    point = tail(values, q, n)
    found = None if point is None else percentile_interval(values, q, n)
    return ms(point) + (f" [{ms(found[0])}, {ms(found[1])}]" if found else "")


def ratio(found: Ratio | None, n: int) -> str:
    """How many times sooner, with its interval; ~ where chance explains it as well.

    It says how many of the `n` sentences it is about, if not about all: those that failed in a run are in no ratio.
    """
    if found is None:
        return "n too small"
    digits = 1 if found.low >= 2 else 2
    unclear = " ~" if found.p >= 0.05 else ""
    survivors = f" ({found.n} of {n})" if found.n < n else ""
    # Three digits that count, or a run a thousand times slower would be 0.00x.
    low, middle, high = (
        f"{x:#.3g}" if x < 1 else f"{x:.{digits}f}" for x in (found.low, found.ratio, found.high)
    )
    return f"{middle}x [{low}, {high}]{unclear}{survivors}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that also reads well as plain text."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return "\n".join(
        [line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]
    )


def quality(rows: pd.DataFrame) -> tuple[float, float] | None:
    """chrF and BLEU on characters of what was said in the first pass; None where no translation was."""
    from stt.quality import bleu, chrf, messages

    scored = rows[rows["translates"]]
    if (scored["translation"] == scored["source"]).all():  # nothing was translated
        return None
    said = messages(scored[["id", "pass", "status", "reference", "translation"]].to_dict("records"))
    if not any(said.values()):
        return None
    texts, references = list(said.values()), [reference for _, reference in said]
    return chrf(texts, references), bleu(texts, references)


def counts(rows: pd.DataFrame) -> str:
    """Utterances of each run: one number where all have as many."""
    sizes = [str(len(part)) for _, part in rows.groupby("run", sort=False)]
    return sizes[0] if len(set(sizes)) == 1 else "/".join(sizes)


def statuses(rows: pd.DataFrame) -> str:
    """How many utterances ended how."""
    return ", ".join(f"{count} {status}" for status, count in Counter(rows["status"]).most_common())


def loading(row: pd.Series[Any]) -> str | None:
    """What came before the first measured sentence of the run that `row` is of, and is in none of its times.

    Every session is a fresh process; fewer than five say nothing of how long a fresh process takes.
    """
    from stt.statistics import percentile

    sessions = {session["session"]: session for session in row["header"].get("sessions", [])}
    loads = [session.get("load") or {} for session in sessions.values()]
    load_s, first_ms = (
        [load[name] for load in loads if name in load] for name in ("load_s", "first_call_ms")
    )
    if not load_s:
        return None
    if len(load_s) < FRESH:
        said = f"loading and first sentence: n too small ({len(load_s)} of {FRESH} sessions)"
    else:
        said = f"loading {percentile(load_s, 50):.1f} s"
        effective = sessions[row["session"]].get("effective") or {}
        if used := [stage for stage in effective if effective[stage].get("used_in_load")]:
            said += f" ({' and '.join(used)} used in it)"
        if len(first_ms) >= FRESH:
            said += f", first sentence after it {percentile(first_ms, 50):.0f} ms"
        said += f" (medians of {len(load_s)} sessions)"
    if count := (row["load"].get("warmup") or {}).get("sentences"):
        said += f", {count} sentences of warm-up"
    return f"before that: {said}"


def engines(rows: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Translator, voice and pipeline of each run."""
    firsts = rows.groupby("run", sort=False)[["translator", "tts", "pipeline"]].first()
    return {str(row[0]): (row[1], row[2], row[3]) for row in firsts.itertuples(name=None)}


def own(rows: pd.DataFrame) -> dict[str, str]:
    """What tells each run from others of the same engines, in brackets: the settings in which they differ,
    or the run's name where there are none; empty for a run whose engines no other has."""
    headers = rows.groupby("run", sort=False)["header"].first()
    alike: dict[tuple[str, str, str], list[str]] = {}
    for run, names in engines(rows).items():
        alike.setdefault(names, []).append(run)
    found = {}
    for runs in alike.values():
        if len(runs) == 1:
            found[runs[0]] = ""
            continue
        asked = {run: _settings(headers[run]["config"]) for run in runs}
        shared = set.intersection(*map(set, asked.values()))
        said = {run: ", ".join(s for s in all_ if s not in shared) for run, all_ in asked.items()}
        many = Counter(said.values())
        for run, text in said.items():
            found[run] = f" ({text if text and many[text] == 1 else run})"
    return found


def _settings(config: dict[str, Any], prefix: str = "") -> list[str]:
    """A configuration as on the command line, without what says nothing of how a run speaks."""
    flat = []
    for key, value in config.items():
        if isinstance(value, dict):
            flat += _settings(value, f"{prefix}{key}.")
        elif key not in ("_target_", "against", "resume"):
            flat.append(f"{prefix}{key}={'null' if value is None else value}")
    return flat
