"""Two runs over the same sentences: paired ratios, their noise, and many comparisons at once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stt.messages import Status
from stt.metrics import metrics
from stt.statistics import DRAWS, between, binomial_cdf, resamples

if TYPE_CHECKING:
    import pandas as pd

MIN_N = 20


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean of new / base over paired sentences, with its bootstrap interval.

    Attributes:
        p: two-sided bootstrap p-value of ratio = 1; of several comparisons, adjusted by `holm`.
        detectable: smallest relative change seen with 80 % power, from the spread of these pairs.
        n: sentences in both runs.
    """

    ratio: float
    low: float
    high: float
    p: float
    detectable: float
    n: int

    @property
    def floor(self) -> float:
        """Largest relative change within the interval; of an A/A run, the noise floor."""
        return math.expm1(max(abs(math.log(self.low)), abs(math.log(self.high))))


def paired(
    base: Mapping[str, Sequence[float]],
    new: Mapping[str, Sequence[float]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
) -> Ratio | None:
    """Compare two runs over the same sentences by their log-ratios; repeats are averaged first.

    Args:
        base: values by sentence id, positive; a sentence with a failure (inf, NaN) is left out, so
            count failures first.
        new: likewise.

    Returns:
        None with fewer than `MIN_N` sentences in common: a bootstrap of less is too narrow.
    """
    both = [name for name in base if name in new]
    logs = np.array([_log_mean(new[name]) - _log_mean(base[name]) for name in both])
    logs = logs[np.isfinite(logs)]
    n = len(logs)
    if n < MIN_N:
        return None
    means = resamples(np.random.default_rng(seed), n, draws) @ logs / n
    low, high = between(means, confidence)
    fewer = min((means <= 0).sum(), (means >= 0).sum())
    spread = float(logs.std(ddof=1)) / math.sqrt(n)
    return Ratio(
        ratio=math.exp(logs.mean()),
        low=math.exp(low),
        high=math.exp(high),
        p=min(1.0, 2 * (int(fewer) + 1) / (draws + 1)),
        detectable=math.expm1((1.960 + 0.842) * spread),
        n=n,
    )


def sooner(
    rows: pd.DataFrame, baseline: str, metrics: Sequence[str]
) -> dict[tuple[str, str], Ratio | None]:
    """How many times sooner every other run is than `baseline`, by (run, metric).

    The p-values are adjusted for all of these comparisons (`holm`).

    Args:
        rows: measured utterances of all runs (see `stt.results.read`).
    """
    from stt.results import latencies

    values = {
        (str(run), name): by_sentence(part["id"], latencies(part, name))
        for run, part in rows.groupby("run", sort=False)
        for name in metrics
    }
    others = [key for key in values if key[0] != baseline]
    draws = max(DRAWS, 100 * len(others))  # or no p-value could be small enough for `holm`
    ratios = {
        (run, name): paired(values[run, name], values[baseline, name], draws=draws)
        for run, name in others
    }
    adjusted = iter(holm([ratio.p for ratio in ratios.values() if ratio]))
    return {key: ratio and replace(ratio, p=next(adjusted)) for key, ratio in ratios.items()}


def by_sentence(ids: Iterable[str], values: Iterable[float]) -> dict[str, list[float]]:
    """Values grouped by sentence, as `paired` takes them."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(ids, values, strict=True):
        grouped[name].append(value)
    return dict(grouped)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for having made all these comparisons (Holm 1979), in the given order."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for done, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _log_mean(values: Sequence[float]) -> float:
    sample = np.asarray(values, float)
    return float(np.log(sample).mean()) if np.isfinite(sample).all() else math.nan


def more_work(
    old: list[dict[str, Any]], new: list[dict[str, Any]], *, samples: bool = True
) -> list[str]:
    """Work that grew although source and translation are the same: no clock, so no flakes.

    Tokens, calls (clauses), `samples` (unless the voice draws its durations) with the first chunk;
    and underruns of the virtual player, where sentences that got worse clearly outnumber those that
    got better (sign test, 5 %).
    """
    was = {r["id"]: r for r in reversed(old) if r["status"] == Status.ok}
    is_ = {r["id"]: r for r in reversed(new) if r["status"] == Status.ok}
    pairs = [
        (was[name], now)
        for name, now in is_.items()
        if name in was and now["translation"] == was[name]["translation"]
    ]
    sums = (
        [Counter(_work(a, samples)) for a, _ in pairs],
        [Counter(_work(b, samples)) for _, b in pairs],
    )
    before, after = (sum(counts, Counter()) for counts in sums)
    grown = [
        f"{name} {before[name]} -> {after[name]} in {len(pairs)} sentences with the same texts"
        for name in after
        if after[name] > before[name]
    ]
    changes = [metrics(b)["underruns"] - metrics(a)["underruns"] for a, b in pairs]
    worse, better = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
    if worse and binomial_cdf(better, worse + better, 0.5) <= 0.05:
        grown.append(f"speech breaks more often in {worse} sentences, less often in {better}")
    return grown


def _work(stored: dict[str, Any], samples: bool) -> dict[str, int]:
    work = {name: stored[name] for name in ("source_tokens", "target_tokens", "clauses")}
    if not samples:
        return work
    counts = [count for _, count in stored["chunks"]]
    return {
        **work,
        "samples": sum(counts),
        "samples of the first chunk": counts[0] if counts else 0,
    }
