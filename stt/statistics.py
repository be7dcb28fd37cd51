"""What the raw values of one run allow one to say: percentiles, intervals, verdicts, drift.

Values are latencies, one an utterance; inf stands for a failure, which never finished. The sentence
is the unit: repeats of a sentence say little about others, so they are nested under its id.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
RISK = 1 - 0.95  # rounded as 1 - q / 100 is
"""Intervals and verdicts are made at 95 % confidence."""
STEADY_MIN_N = 20
NOTICED_MS = 0.5
"""Less drift is of no account, whatever share it is: the pipeline without engines takes 0.2 ms, which halves as caches fill."""


def percentile(values: Iterable[float], q: float) -> float:
    """Nearest-rank percentile: an observed value, not an interpolated one. NaN if there is none.

    A missing value (NaN) counts as inf.
    """
    ordered = _ordered(values)
    return float(ordered[_rank(q, len(ordered)) - 1]) if len(ordered) else math.nan


def min_n(q: float) -> int:
    """Smallest sample that holds a value beyond percentile `q` with 95 % confidence: 29/59/299."""
    return math.ceil(math.log(RISK) / math.log(q / 100))


def tail(values: Sequence[float], q: float, n: int | None = None) -> float | None:
    """`percentile`, above the median only with enough sentences (`min_n`); None: n too small.

    Args:
        n: distinct sentences, when they repeat; `len(values)` otherwise.
    """
    enough = q <= 50 or (len(values) if n is None else n) >= min_n(q)
    return percentile(values, q) if enough else None


def percentile_interval(
    values: Iterable[float], q: float, n: int | None = None
) -> tuple[float, float] | None:
    """Distribution-free interval of a percentile.

    Its ends are order statistics (David and Nagaraja, Order Statistics, section 7.1). Where sentences repeat, the ranks are
    those of the sentences: repeats make the values between them denser, not surer. None when n is too small for both ends.

    Args:
        n: distinct sentences, when they repeat; as many as values otherwise.
    """
    ordered = _ordered(values)
    n = len(ordered) if n is None else n
    side = RISK / 2
    below = np.cumsum(_binomial(n, q / 100))  # below[k] = P(at most k values under the percentile)
    low = int(np.searchsorted(below, side, side="right"))  # rank l: P(B <= l - 1) <= side
    high = int(np.searchsorted(below, 1 - side, side="left")) + 1  # rank u: P(B >= u) <= side
    if low < 1 or high > n:
        return None
    each = len(ordered) / n
    return (
        float(ordered[math.floor((low - 1) * each)]),
        float(ordered[math.ceil(high * each) - 1]),
    )


class Outcome(StrEnum):
    """What a sample says about a limit."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether `percentile` of the population is within `limit_ms`, at 95 % confidence.

    Attributes:
        n: distinct sentences.
        misses: sentences over the limit or failed; a fraction where some repeats missed.
        observed: the percentile of this sample (inf: too many failed, or were never audible).
        needed: sentences without a miss that would turn UNDECIDED into PASS; else 0.
    """

    outcome: Outcome
    percentile: float
    limit_ms: float
    n: int
    misses: float
    observed: float
    needed: int = 0

    def __str__(self) -> str:
        seen = (
            f"measured {self.observed:.1f} ms"
            if math.isfinite(self.observed)
            else "too many never got that far"
        )
        if self.n < min_n(self.percentile):
            seen = f"n too small for p{self.percentile:g}"
        more = f"; at least {self.needed} more needed" if self.needed else ""
        return (
            f"{self.outcome}: p{self.percentile:g} <= {self.limit_ms:g} ms "
            f"({seen}; {round(self.misses, 1):g} of {self.n} sentences missed it{more})"
        )


def verdict(
    values: Sequence[float],
    limit_ms: float,
    *,
    ids: Sequence[str] | None = None,
    q: float = 95,
) -> Verdict:
    """Judge `percentile q <= limit_ms` by the exact binomial bound on the share of misses.

    PASS when so few misses would be unlikely if only q % were within the limit; FAIL when so many
    would be unlikely then. A failed (inf) or missing (NaN) value is a miss. A sentence that repeats
    counts once, by the share of its repeats that missed; the sum is rounded away from a verdict,
    so that repeats never buy certainty.

    Args:
        values: one an utterance.
        ids: the sentence of each value; None when all are distinct.
    """
    repeats: dict[str, list[bool]] = defaultdict(list)
    for name, value in zip(ids or map(str, range(len(values))), values, strict=True):
        repeats[name].append(not value <= limit_ms)
    misses = math.fsum(sum(missed) / len(missed) for missed in repeats.values())
    n, rate = len(repeats), 1 - q / 100
    most, least = math.ceil(misses - 1e-9), math.floor(misses + 1e-9)
    outcome, needed = Outcome.UNDECIDED, 0
    if n and binomial_cdf(most, n, rate) <= RISK:
        outcome = Outcome.PASS
    elif n and 1 - binomial_cdf(least - 1, n, rate) <= RISK:
        outcome = Outcome.FAIL
    else:
        needed = _enough(most, rate) - n
    return Verdict(outcome, q, limit_ms, n, misses, percentile(values, q), needed)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(at most k of n), exact up to rounding; 0 for k < 0."""
    return float(min(1.0, math.fsum(_binomial(n, p)[: k + 1].tolist()))) if k >= 0 else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """Drift over a run.

    Attributes:
        change: relative change from the first third to the last (0.1: 10 % slower at the end).
        p: two-sided p-value of Spearman's rank correlation with time.
    """

    change: float
    p: float

    @property
    def steady(self) -> bool:
        """No drift that is both real (p >= 0.01) and worth a word (5 %)."""
        return self.p >= 0.01 or abs(self.change) < 0.05


def trend(values: Sequence[float], sizes: Sequence[float] | None = None) -> Trend:
    """Test positive values, in the order they were taken, for drift.

    Args:
        values: inf and NaN are left out.
        sizes: length of each text (words or tokens); its share in the values is fitted (log-log,
            quadratic) and taken out, so that a corpus sorted by length does not look like drift.
    """
    sample = np.asarray(values, float)
    keep = np.isfinite(sample)
    logs = np.log(sample[keep])
    if sizes is not None:
        lengths = np.log1p(np.asarray(sizes, float)[keep])
        degree = min(2, len(np.unique(lengths)) - 1)
        if degree > 0:
            logs = logs - np.polynomial.Polynomial.fit(lengths, logs, degree)(lengths)
    n, third = len(logs), len(logs) // 3
    if third == 0 or np.ptp(logs) < 1e-12:
        return Trend(0.0, 1.0)
    correlation = float(np.corrcoef(np.arange(n), _ranks(logs))[0, 1])
    change = math.expm1(float(np.median(logs[-third:]) - np.median(logs[:third])))
    return Trend(change, math.erfc(abs(correlation) * math.sqrt((n - 1) / 2)))


def steady(values: Sequence[float], sizes: Sequence[float] | None = None) -> bool | None:
    """Whether a run was warm from first to last (see `trend`); None when n is too small to tell.

    Args:
        values: in ms.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < STEADY_MIN_N:
        return None
    found = trend(values, sizes)
    return found.steady or abs(found.change) * percentile(finite, 50) < NOTICED_MS


def _ordered(values: Iterable[float]) -> Floats:
    return np.sort(np.nan_to_num(np.array(list(values), float), nan=np.inf, posinf=np.inf))


def _rank(q: float, n: int) -> int:
    return max(1, math.ceil(round(q * n / 100, 9)))  # 0.95 * 20 must not become 20


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts + 1) / 2)[inverse], float)


def _binomial(n: int, p: float) -> Floats:
    """Probabilities of 0..n successes."""
    of_n = math.lgamma(n + 1)
    return np.exp(
        [
            of_n
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log1p(-p)
            for k in range(n + 1)
        ]
    )


def _enough(misses: int, rate: float) -> int:
    """Smallest n at which this many misses still pass."""
    low, high = misses, misses + 1
    while binomial_cdf(misses, high, rate) > RISK:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        passes = binomial_cdf(misses, middle, rate) <= RISK
        low, high = (low, middle) if passes else (middle, high)
    return high


def resamples(rng: np.random.Generator, n: int, draws: int) -> NDArray[np.int64]:
    """How often each of n sentences is drawn, with replacement; shape (draws, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)


def between(found: Floats) -> tuple[float, float]:
    """95 % percentile interval of bootstrap draws."""
    side = 50 * RISK
    return percentile(found, side), percentile(found, 100 - side)
