"""The statistics claim no more than the sample allows."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from stt.comparison import by_sentence, holm, paired, session_noise
from stt.metrics import samples
from stt.results import load
from stt.statistics import (
    Outcome,
    binomial_cdf,
    min_n,
    percentile,
    percentile_interval,
    steady,
    tail,
    trend,
    verdict,
)

ALLOWED = {59: 0, 93: 1, 124: 2, 153: 3, 181: 4, 208: 5}


def sample(n: int, misses: int) -> list[float]:
    return [200.0] * misses + [100.0] * (n - misses)


def test_percentiles_are_observed_values_by_nearest_rank() -> None:
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    found = [percentile(values, q) for q in (5, 30, 40, 50, 100)]
    assert found == [15.0, 20.0, 20.0, 35.0, 50.0]


def test_rounding_never_moves_a_rank() -> None:
    for n in range(20, 2001, 20):
        assert percentile(list(range(1, n + 1)), 95) == n * 95 // 100


def test_failures_push_percentiles_up_instead_of_leaving_the_sample() -> None:
    values = [100.0] * 90
    assert percentile([*values, *[math.inf] * 10], 50) == 100
    assert percentile([*values, *[math.inf] * 10], 95) == math.inf
    assert percentile([*values, *[math.nan] * 10], 95) == math.inf
    assert math.isnan(percentile([], 50))


@pytest.mark.parametrize(("q", "n"), [(90, 29), (95, 59), (99, 299)])
def test_a_high_percentile_is_printed_only_with_enough_sentences(q: int, n: int) -> None:
    assert min_n(q) == n
    assert tail([1.0] * (n - 1), q) is None
    assert tail([1.0] * n, q) == 1.0
    assert tail([1.0] * n, q, n=n // 3) is None  # three passes over a third of the sentences


def test_no_p99_from_ten_runs_but_always_a_median() -> None:
    assert tail([1.0] * 10, 99) is None
    assert tail([1.0] * 10, 50) == 1.0


@pytest.mark.parametrize(("n", "allowed"), ALLOWED.items())
def test_pass_needs_exactly_these_numbers(n: int, allowed: int) -> None:
    assert verdict(sample(n, allowed), 150).outcome is Outcome.PASS
    assert verdict(sample(n, allowed + 1), 150).outcome is not Outcome.PASS
    assert verdict(sample(n - 1, allowed), 150).outcome is Outcome.UNDECIDED


def test_undecided_says_how_many_more_are_needed_and_they_suffice() -> None:
    for n, misses in ((1, 0), (30, 0), (60, 1), (100, 2), (200, 6), (200, 9)):
        judged = verdict(sample(n, misses), 150)
        assert judged.outcome is Outcome.UNDECIDED
        longer = n + judged.needed
        assert verdict(sample(longer, misses), 150).outcome is Outcome.PASS
        assert verdict(sample(longer - 1, misses), 150).outcome is Outcome.UNDECIDED
    assert "at least 29 more needed" in str(verdict(sample(30, 0), 150))


def test_fail_only_when_the_lower_bound_excludes_the_limit() -> None:
    assert verdict(sample(200, 15), 150).outcome is Outcome.UNDECIDED  # P(15 or more) = 0.078
    assert verdict(sample(200, 16), 150).outcome is Outcome.FAIL  # P(16 or more) = 0.044
    assert verdict(sample(5, 5), 150).outcome is Outcome.FAIL
    assert verdict(sample(1, 1), 150).outcome is Outcome.FAIL  # P = 0.05


def test_no_sample_passes_nothing() -> None:
    judged = verdict([], 150)
    assert (judged.outcome, judged.needed) == (Outcome.UNDECIDED, 59)


@pytest.mark.parametrize("lost", [math.inf, math.nan])
def test_a_failed_or_missing_measurement_counts_as_a_miss(lost: float) -> None:
    judged = verdict([100.0] * 58 + [lost], 150)
    assert (judged.outcome, judged.misses) == (Outcome.UNDECIDED, 1)
    assert verdict([100.0] * 50 + [lost] * 50, 150).outcome is Outcome.FAIL


def test_repeating_twenty_sentences_three_times_is_not_sixty_sentences() -> None:
    ids = [f"s{i % 20}" for i in range(60)]
    judged = verdict([100.0] * 60, 150, ids=ids)
    assert (judged.outcome, judged.n, judged.needed) == (Outcome.UNDECIDED, 20, 39)
    assert "n too small for p95" in str(judged)


def test_repeats_that_miss_now_and_then_count_by_their_share() -> None:
    ids = [f"s{i % 100}" for i in range(300)]
    values = [200.0 if i in (0, 101, 202) else 100.0 for i in range(300)]
    judged = verdict(values, 150, ids=ids)
    assert judged.misses == pytest.approx(1)
    assert judged.outcome is Outcome.PASS
    values[3] = 200.0  # a third of a miss more is rounded up to two: 124 sentences needed
    judged = verdict(values, 150, ids=ids)
    assert (judged.outcome, judged.needed) == (Outcome.UNDECIDED, 24)


def test_the_limit_itself_is_within_the_limit() -> None:
    assert verdict([150.0] * 59, 150).outcome is Outcome.PASS


def test_the_verdict_tells_failures_from_slow_values() -> None:
    assert "measured 100.0 ms" in str(verdict(sample(200, 1), 150))
    assert "too many never got that far" in str(verdict([100.0] * 100 + [math.inf] * 20, 150))


def test_binomial_tail_is_exact() -> None:
    assert binomial_cdf(0, 59, 0.05) == pytest.approx(0.95**59, rel=1e-12)
    exact = sum(math.comb(208, k) * 0.05**k * 0.95 ** (208 - k) for k in range(6))
    assert binomial_cdf(5, 208, 0.05) == pytest.approx(exact, rel=1e-10)
    assert binomial_cdf(-1, 10, 0.5) == 0
    assert binomial_cdf(10, 10, 0.5) == pytest.approx(1)


def test_the_interval_of_a_median_has_the_textbook_ranks() -> None:
    # n = 20: order statistics 6 and 15 cover with 95.9 %, 7 and 14 with 88.5 %.
    assert percentile_interval(list(range(1, 21)), 50) == (6, 15)
    assert percentile_interval([1.0, 2.0, 3.0, 4.0, 5.0], 50) is None
    assert percentile_interval(list(range(72)), 95) is not None
    assert percentile_interval(list(range(71)), 95) is None


@pytest.mark.parametrize("q", [50, 95])
@pytest.mark.parametrize("repeats", [1, 3])
def test_intervals_cover_the_truth_as_often_as_they_say(q: int, repeats: int) -> None:
    """Repeats of a sentence differ by a tenth of what sentences differ by."""
    rng = np.random.default_rng(7)
    everything = rng.lognormal(0, 1, 200_000) * rng.lognormal(0, 0.1, 200_000)
    truth, covered = np.percentile(everything, q), 0
    for _ in range(400):
        sentences = rng.lognormal(0, 1, 100)
        values = sentences[:, None] * rng.lognormal(0, 0.1, (100, repeats))
        found = percentile_interval(values.ravel(), q, 100)
        assert found is not None
        covered += found[0] <= truth <= found[1]
    assert covered / 400 >= 0.93


def test_repeats_of_few_sentences_buy_no_interval() -> None:
    assert percentile_interval([20.0, 21.0, 22.0] * 5, 50, 3) is None
    once = np.random.default_rng(3).lognormal(4, 0.4, 60)
    assert percentile_interval(np.tile(once, 10), 50, 60) == percentile_interval(once, 50)


def arms(effect: float, n: int = 100, noise: float = 0.05) -> tuple[dict[str, list[float]], ...]:
    rng = np.random.default_rng(11)
    texts = rng.lognormal(4, 0.5, n)
    pair = []
    for factor in (1.0, effect):
        values = texts[:, None] * factor * rng.lognormal(0, noise, (n, 3))
        pair.append({f"s{i}": row.tolist() for i, row in enumerate(values)})
    return tuple(pair)


def test_a_paired_ratio_sees_ten_percent_through_very_different_texts() -> None:
    found = paired(*arms(1.1))
    assert found is not None
    assert found.low < 1.1 < found.high
    assert found.low > 1.05
    assert found.p < 0.01


def test_the_same_thing_twice_gives_a_detectable_effect() -> None:
    found = paired(*arms(1.0))
    assert found is not None
    assert found.low < 1 < found.high
    assert found.p > 0.05
    assert 0 < found.detectable < 0.03
    noisy = paired(*arms(1.0, noise=0.3))
    assert noisy is not None
    assert noisy.detectable > 3 * found.detectable


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says_with_few_sentences(
    published: list[Path],
) -> None:
    """Of ratios between the published runs, tails included; without its widening 92 % at n = 20."""
    rng = np.random.default_rng(2)
    runs = [dict(zip(*samples(run.records, "total_ms"), strict=True)) for run in load(published)]
    assert len(runs) >= 5
    covered = []
    for a, b in combinations(runs, 2):
        ratios = np.array([a[name] / b[name] for name in sorted(a.keys() & b.keys())])
        truth = math.exp(np.log(ratios).mean())
        for seed in range(400):
            drawn = {str(i): [x] for i, x in enumerate(rng.choice(ratios, 20))}
            found = paired({name: [1.0] for name in drawn}, drawn, draws=500, seed=seed)
            assert found is not None
            covered.append(found.low <= truth <= found.high)
    assert 0.93 < np.mean(covered) < 0.97  # of other draws, too: 93.9 to 94.8 %


def equal_sessions(
    rng: np.random.Generator, count: int, spread: float
) -> list[dict[str, list[float]]]:
    """The same code in different hours: what an hour does, it does to all of its sentences."""
    texts, hours = rng.lognormal(4, 0.5, 25), rng.lognormal(0, spread, count)
    times = texts * hours[:, None] * rng.lognormal(0, 0.08, (count, 25))
    return [{str(i): [x] for i, x in enumerate(row.tolist())} for row in times]


def over(sessions: list[dict[str, list[float]]], new: dict[str, list[float]]) -> float:
    every = {name: [held[name][0] for held in sessions] for name in new}
    found = paired(every, new, draws=10)
    assert found is not None
    return found.ratio - 1


@pytest.mark.parametrize("known", [2, 3, 5, 14])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_a_session_of_equal_code_is_rarely_over_the_noise_of_those_before(
    known: int, spread: float
) -> None:
    """One in twenty. The change between two sessions, taken for the noise, let one in four through."""
    rng = np.random.default_rng(known)
    alarms = []
    for _ in range(1000):
        *sessions, new = equal_sessions(rng, known + 1, spread)
        noise = session_noise(sessions)
        assert noise is not None
        alarms.append(over(sessions, new) > noise)
    assert 0.025 < np.mean(alarms) < 0.075


def test_three_quiet_sessions_are_enough_to_see_a_quarter() -> None:
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(200):
        *sessions, new = equal_sessions(rng, 4, 0.02)
        noise = session_noise(sessions)
        slower = {name: [1.25 * value] for name, (value,) in new.items()}
        seen.append(noise is not None and over(sessions, slower) > noise)
    assert np.mean(seen) > 0.95


def test_the_noise_of_one_session_or_of_few_common_sentences_is_unknown() -> None:
    one, other = equal_sessions(np.random.default_rng(3), 2, 0.1)
    assert session_noise([one, other]) is not None
    assert session_noise([one]) is None
    assert session_noise([]) is None
    few = {name: other[name] for name in list(other)[:19]}
    assert session_noise([one, few]) is None
    twice = [dict.fromkeys(one, (value,)) for value in (1.0, 1.1)]
    assert session_noise(twice) == pytest.approx(1.1 ** (6.314 * math.sqrt(0.5 * 1.5)) - 1)
    failed = {name: [math.inf if i < 6 else x for x in other[name]] for i, name in enumerate(other)}
    assert session_noise([one, failed]) is None


def test_too_few_common_sentences_give_no_ratio() -> None:
    base, new = arms(1.1, n=19)
    assert paired(base, new) is None
    assert paired({}, new) is None


def test_only_sentences_that_both_runs_hold_and_finished_are_paired() -> None:
    base, new = arms(1.1, n=40)
    new["s0"] = [math.inf, 1.0, 1.0]
    base["s1"] = [math.nan]
    base["s0"] = [math.inf]
    new["only here"] = [9e9]
    found = paired(base, new)
    assert found is not None
    assert found.n == 38


def test_values_are_grouped_under_their_sentence() -> None:
    assert by_sentence(["a", "b", "a"], [1, 2, 3]) == {"a": [1, 3], "b": [2]}


def test_holm_adjusts_for_the_number_of_comparisons() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_drift_that_nobody_notices_is_none() -> None:
    flat = np.random.default_rng(5).lognormal(0, 0.1, 200)
    assert steady((0.3 * flat * np.linspace(1.4, 1.0, 200)).tolist()) is True
    assert steady((30 * flat * np.linspace(1.4, 1.0, 200)).tolist()) is False


def test_a_run_that_warms_up_while_measured_is_not_steady() -> None:
    rng = np.random.default_rng(5)
    flat = rng.lognormal(4, 0.1, 200)
    assert steady(flat.tolist()) is True
    assert steady((flat * np.linspace(1.3, 1.0, 200)).tolist()) is False
    assert trend((flat * np.linspace(1.3, 1.0, 200)).tolist()).change == pytest.approx(
        -0.16, abs=0.05
    )


def test_a_corpus_sorted_by_length_is_not_mistaken_for_drift() -> None:
    rng = np.random.default_rng(6)
    words = np.sort(rng.integers(3, 30, 200))
    values = (20 + 2 * words) * rng.lognormal(0, 0.05, 200)
    assert steady(values.tolist()) is False
    assert steady(values.tolist(), words.tolist()) is True
    shuffled = rng.permutation(200)
    drifting = values[shuffled] * np.linspace(1, 1.5, 200)
    assert steady(drifting.tolist(), words[shuffled].tolist()) is False


def test_a_few_values_cannot_show_steadiness() -> None:
    assert steady([1.0] * 19) is None
    assert steady([1.0] * 20) is True
    assert steady([]) is None


def test_failures_do_not_break_the_trend_test() -> None:
    assert steady([1.0, math.inf, math.nan] * 20) is True
    assert steady([1.0, math.inf] * 30, [3.0] * 60) is True
