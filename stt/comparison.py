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
_T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""Student's t, one-sided 95 %, for 1 to 10 degrees of freedom; more need no more."""


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


def paired(
    base: Mapping[str, Sequence[float]],
    new: Mapping[str, Sequence[float]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Ratio | None:
    """Compare two runs over the same sentences by their log-ratios; repeats are averaged first.

    Args:
        base: values by sentence id, positive; a sentence with a failure (inf, NaN) is left out, so
            count failures first.
        new: likewise.

    Returns:
        None with fewer than `MIN_N` sentences in common.
    """
    both = [name for name in base if name in new]
    logs = np.array([_log_mean(new[name]) - _log_mean(base[name]) for name in both])
    logs = logs[np.isfinite(logs)]
    n = len(logs)
    if n < MIN_N:
        return None
    rng = np.random.default_rng(seed)
    means = resamples(rng, n, draws) @ logs / n
    # The draws know the spread of these n only, which is itself uncertain: Student's t for the normal.
    means = logs.mean() + (means - logs.mean()) * np.sqrt(n / rng.chisquare(n - 1, draws))
    low, high = between(means)
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


def session_noise(sessions: Sequence[Mapping[str, Sequence[float]]]) -> float | None:
    """How much slower than the mean of these sessions, which are of equal code, one more may be.

    The session is the unit: the one-sided 95 % prediction limit, as a relative change. It knows the
    hours in which these were measured.

    Args:
        sessions: values by sentence id, as `paired` takes them.

    Returns:
        None with fewer than two sessions, or fewer than `MIN_N` sentences that all of them finished.
    """
    k = len(sessions)
    common = set.intersection(*(set(held) for held in sessions)) if k > 1 else set()
    logs = np.array([[_log_mean(held[name]) for held in sessions] for name in common])
    logs = logs[np.isfinite(logs).all(axis=1)] if len(logs) else logs
    if len(logs) < MIN_N:
        return None
    t = _T95[min(k - 1, len(_T95)) - 1]
    return math.expm1(t * float(logs.mean(axis=0).std(ddof=1)) * math.sqrt(1 + 1 / k))


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


def in_turns(
    sessions: list[list[dict[str, Any]]], new: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """The session that took turns with `new` (`measure.against`), if one did: the machine was the same to both."""
    turns = {stored.get("turns") for stored in new}
    alike = [held for held in sessions if {stored.get("turns") for stored in held} == turns]
    return [] if None in turns else alike


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

    Tokens, calls (clauses), `samples` (unless the voice draws its durations) with the first chunk.
    """
    pairs = _same_texts(old, new)
    sums = (
        [Counter(_work(a, samples)) for a, _ in pairs],
        [Counter(_work(b, samples)) for _, b in pairs],
    )
    before, after = (sum(counts, Counter()) for counts in sums)
    return [
        f"{name} {before[name]} -> {after[name]} in {len(pairs)} sentences with the same texts"
        for name in after
        if after[name] > before[name]
    ]


def more_breaks(sessions: list[list[dict[str, Any]]], new: list[dict[str, Any]]) -> str | None:
    """Says that speech breaks more often than in each of `sessions` though the texts are the same, or None.

    On the virtual player: sentences that got worse clearly outnumber those that got better (sign
    test, 5 %). Chunks that come late do that, so that it is as noisy as latencies are.
    """
    said = None
    for old in sessions:
        pairs = _same_texts(old, new)
        changes = [metrics(b)["underruns"] - metrics(a)["underruns"] for a, b in pairs]
        worse, better = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        if binomial_cdf(better, worse + better, 0.5) > 0.05:
            return None
        said = said or f"speech breaks more often in {worse} sentences, less often in {better}"
    return said


def worse_said(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str | None:
    """Says that what was said in both is a worse translation by chrF than that of `old`, or None (paired bootstrap, 5 %)."""
    from stt.quality import chrf, messages, paired_p

    was, is_ = (messages(records) for records in (old, new))
    both = [message for message in is_ if is_[message] and was.get(message)]
    if not both or all(was[message] == is_[message] for message in both):
        return None
    references = [reference for _, reference in both]
    before, after = ([said[message] for message in both] for said in (was, is_))
    scores = chrf(before, references), chrf(after, references)
    if scores[1] >= scores[0] or paired_p(after, before, references)["chrf"] >= 0.05:
        return None
    return f"translations are worse than the baseline's (chrF {scores[1]:.1f} instead of {scores[0]:.1f})"


def _same_texts(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The first records of each sentence that both finished with the same translation."""
    was = {r["id"]: r for r in reversed(old) if r["status"] == Status.ok}
    is_ = {r["id"]: r for r in reversed(new) if r["status"] == Status.ok}
    return [
        (was[name], now)
        for name, now in is_.items()
        if name in was and now["translation"] == was[name]["translation"]
    ]


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
