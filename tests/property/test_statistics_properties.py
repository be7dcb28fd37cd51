"""What holds for every sample."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from stt.comparison import holm, paired
from stt.statistics import (
    Outcome,
    percentile,
    percentile_interval,
    trend,
    verdict,
)

latency = st.floats(0.01, 1e5)
anything = latency | st.just(math.inf) | st.just(math.nan)
samples = st.lists(latency, min_size=1, max_size=300)
RANK = {Outcome.PASS: 0, Outcome.UNDECIDED: 1, Outcome.FAIL: 2}


@given(samples, st.integers(1, 100))
def test_a_percentile_is_an_observed_value_with_the_right_share_at_or_below(
    values: list[float], q: int
) -> None:
    found = percentile(values, q)
    assert found in values
    assert sum(v <= found for v in values) * 100 >= q * len(values)
    assert sum(v < found for v in values) * 100 < q * len(values)


@given(samples, st.integers(1, 99), st.integers(1, 99))
def test_percentiles_never_cross(values: list[float], one: int, other: int) -> None:
    assert percentile(values, min(one, other)) <= percentile(values, max(one, other))


@given(samples, st.sampled_from([50, 90, 95]))
def test_an_interval_holds_its_percentile(values: list[float], q: int) -> None:
    found = percentile_interval(values, q)
    if found is not None:
        assert found[0] <= percentile(values, q) <= found[1]


@given(st.lists(anything, max_size=300), st.floats(1, 1e4))
def test_turning_a_value_into_a_failure_never_helps_the_verdict(
    values: list[float], limit_ms: float
) -> None:
    before = verdict(values, limit_ms)
    assert before.misses == sum(not v <= limit_ms for v in values)
    if values:
        after = verdict([math.nan, *values[1:]], limit_ms)
        assert RANK[after.outcome] >= RANK[before.outcome]
        assert after.misses >= before.misses


@given(st.lists(latency, min_size=1, max_size=80), st.integers(2, 4))
def test_repeating_every_sentence_changes_no_verdict(values: list[float], times: int) -> None:
    ids = [str(i) for i in range(len(values))]
    once = verdict(values, 150, ids=ids)
    again = verdict(values * times, 150, ids=ids * times)
    assert (once.outcome, once.n, once.needed) == (again.outcome, again.n, again.needed)


@given(st.lists(latency, min_size=20, max_size=60), st.floats(0.1, 10))
@settings(max_examples=30)
def test_a_ratio_finds_a_constant_factor_and_inverts_when_the_arms_swap(
    values: list[float], factor: float
) -> None:
    base = {str(i): [v] for i, v in enumerate(values)}
    new = {str(i): [v * factor] for i, v in enumerate(values)}
    there, back = paired(base, new, draws=100), paired(new, base, draws=100)
    assert there is not None
    assert back is not None
    assert math.isclose(there.ratio, factor, rel_tol=1e-9)
    assert math.isclose(there.ratio * back.ratio, 1, rel_tol=1e-9)
    assert there.low <= there.ratio * (1 + 1e-9)
    assert there.high >= there.ratio * (1 - 1e-9)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(a <= 1 for a in adjusted)
    ordered = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in ordered] == sorted(adjusted)


@given(st.lists(latency, max_size=60))
def test_running_backwards_turns_the_trend_around(values: list[float]) -> None:
    there, back = trend(values), trend(values[::-1])
    assert 0 <= there.p <= 1
    assert math.isclose(there.p, back.p, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose((1 + there.change) * (1 + back.change), 1, rel_tol=1e-6)
