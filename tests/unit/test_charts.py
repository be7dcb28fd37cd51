"""Charts show the limit, every run, and the failures; read from the Axes, and once from the pixels."""

from __future__ import annotations

import math
import runpy
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from stt import charts, report, results
from stt.config import Target
from stt.messages import Status
from stt.statistics import percentile

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"
SCRIPT = runpy.run_path(str(RUNS.parent / "make_runs.py"))
write, header = SCRIPT["write"], SCRIPT["header"]
TARGET = Target(["ttfa_audible_ms", "total_ms"], 95, 150)
DRAWN = (charts.stage_budget, charts.distribution, charts.length)
LABELS = {f"synthetic-{name}": name for name in ("fast", "slow", "flawed")}


@pytest.fixture(scope="module")
def frame():
    return report.measured(results.read([RUNS / name for name in LABELS]))


def draw(chart, frame, *names, target=TARGET):
    """The visible panels of a chart of these runs (all: none named)."""
    labels = {run: label for run, label in LABELS.items() if label in names or not names}
    figure = chart(frame, labels, target, "the caption")
    return [axes for axes in figure.axes if axes.get_visible()], figure


def limits(axes):
    """Where the lines labelled as the limit are."""
    lines = [line for line in axes.get_lines() if str(line.get_label()).startswith("limit")]
    return [(line.get_label(), set(line.get_xdata()), set(line.get_ydata())) for line in lines]


def labelled(axes, text):
    return [line for line in axes.get_lines() if text in str(line.get_label())]


@pytest.mark.parametrize("limit_ms", [150, 90])
@pytest.mark.parametrize("chart", DRAWN, ids=lambda chart: chart.__name__)
def test_the_limit_is_drawn_in_every_panel_and_named_in_the_legend(frame, chart, limit_ms):
    panels, figure = draw(chart, frame, target=Target(TARGET.metrics, 95, limit_ms))
    for axes in panels:
        [(label, x, y)] = limits(axes)
        assert label == f"limit {limit_ms} ms"
        across = chart is charts.length
        assert (y if across else x) == {limit_ms}
        low, high = axes.get_ylim() if across else axes.get_xlim()
        assert low < limit_ms < high, "the limit lies outside of what is shown"
    names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert f"limit {limit_ms} ms" in names


@pytest.mark.parametrize("chart", DRAWN, ids=lambda chart: chart.__name__)
def test_axes_have_units_and_the_figure_says_what_was_measured(frame, chart):
    panels, figure = draw(chart, frame)
    assert figure.get_suptitle() == "the caption"
    for axes in panels:
        assert "[ms]" in axes.get_xlabel() + axes.get_ylabel()
        assert axes.get_title(loc="left")


def test_stacked_spans_are_the_medians_of_the_ledger_in_its_order(frame):
    [axes], _ = draw(charts.stage_budget, frame, "slow")
    rows = frame[frame["run"] == "synthetic-slow"]
    stacks = defaultdict(list)
    for bar in axes.patches:
        stacks[round(bar.get_y(), 3)].append(bar)
    assert len(stacks) == 2  # to the first audible sample, and to the end
    for bars in stacks.values():
        widths = [bar.get_width() for bar in bars]
        expected = [percentile(list(rows[name]), 50) for name in charts.LEDGER]
        assert widths[: len(expected)] == pytest.approx(expected)
        assert [bar.get_x() for bar in bars] == pytest.approx(
            [sum(widths[:i]) for i in range(len(widths))]
        )
    audible, total = (sum(bar.get_width() for bar in stacks[y]) for y in sorted(stacks))
    assert audible < total < 1.1 * percentile(list(rows["total_ms"]), 50)


def test_bars_are_of_all_utterances_as_the_numbers_beside_them(tmp_path):
    """Were failures left out of the bars alone, these would end far before their own p50."""
    longest = sorted(range(64), key=lambda number: number % 16)[36:]
    lost = dict.fromkeys(longest, Status.timeout)
    run = write(tmp_path / "r", header("r"), passes=1, failures=lost)
    frame = report.measured(results.read([run]))
    [axes] = charts.stage_budget(frame, {"r": "r"}, TARGET, "").axes
    rows = defaultdict(float)
    for bar in axes.patches:
        rows[round(bar.get_y(), 3)] = max(
            rows[round(bar.get_y(), 3)], bar.get_x() + bar.get_width()
        )
    for y, metric in zip(sorted(rows), ("ttfa_audible_ms", "total_ms"), strict=True):
        assert rows[y] == pytest.approx(percentile(results.latencies(frame, metric), 50), rel=0.05)


def test_the_whisker_of_a_budget_reaches_from_p50_to_p95(frame):
    [axes], _ = draw(charts.stage_budget, frame, "slow")
    rows = frame[frame["run"] == "synthetic-slow"]
    whiskers = [line for line in axes.get_lines() if not limits_line(line)]
    for line, name in zip(whiskers, ("ttfa_audible_ms", "total_ms"), strict=True):
        values = list(rows[name])
        assert list(line.get_xdata()) == [percentile(values, 50), percentile(values, 95)]
    notes = " ".join(text.get_text() for text in axes.texts)
    assert f"p95 {percentile(list(rows['total_ms']), 95):.0f} ms  to last audio chunk" in notes


def limits_line(line):
    return str(line.get_label()).startswith("limit")


def test_a_failure_never_finishes_so_the_curve_ends_below_all(frame):
    panels, _ = draw(charts.distribution, frame)
    for axes in panels:
        ends = {}
        for label in LABELS.values():
            [curve] = labelled(axes, f"{label} (n=")
            times, shares = curve.get_xdata(), curve.get_ydata()
            assert list(times) == sorted(times)
            assert all(math.isfinite(time) for time in times)
            assert shares[0] == 0, "one utterance would be a point, which is not drawn"
            ends[label] = shares[-1]
        assert ends == {"fast": 100, "slow": 100, "flawed": pytest.approx(100 * 60 / 64)}
        assert labelled(axes, "flawed (n=64)")


def test_the_dot_of_a_distribution_is_its_p95_and_a_failing_run_has_none(frame):
    dots = {}
    for label in LABELS.values():
        [_, axes], _ = draw(charts.distribution, frame, label)
        lines = [line for line in axes.get_lines() if line.get_marker() == "o"]
        dots[label] = [(*line.get_xdata(), *line.get_ydata()) for line in lines]
    fast = percentile(list(frame.loc[frame["run"] == "synthetic-fast", "total_ms"]), 95)
    assert dots["fast"] == [(fast, 95)]
    assert len(dots["slow"]) == 1
    assert dots["flawed"] == []


@pytest.mark.parametrize("chart", DRAWN[1:], ids=lambda chart: chart.__name__)
def test_every_run_and_its_slowest_utterance_is_within_what_is_shown(frame, chart):
    panels, _ = draw(chart, frame)
    for axes in panels:
        for line in axes.get_lines():
            if line.get_transform() != axes.transData or limits_line(line):
                continue
            across = chart is charts.length
            values = line.get_ydata() if across else line.get_xdata()
            shown = [value for value in values if math.isfinite(value)]
            low, high = axes.get_ylim() if across else axes.get_xlim()
            assert low <= min(shown), line.get_label()
            assert max(shown) <= high, line.get_label()


def test_every_utterance_is_a_point_at_its_length_and_failures_are_crossed(frame):
    panels, _ = draw(charts.length, frame)
    assert len(panels) == 3
    for axes, run in zip(panels, LABELS, strict=True):
        rows = frame[frame["run"] == run]
        points = next(line for line in axes.get_lines() if line.get_marker() == "s")
        assert list(points.get_xdata()) == list(rows["source_words"])
        lost = [line for line in axes.get_lines() if line.get_label() == "not ok"]
        crosses = sum(len(line.get_xdata()) for line in lost)
        assert crosses == (rows["status"] != "ok").sum() == (4 if run.endswith("flawed") else 0)


def test_words_are_counted_in_whole_numbers(tmp_path):
    alike = write(tmp_path / "alike", header("alike"), sentences=2, passes=1)
    frame = report.measured(results.read([alike]))
    frame["source_words"] = 4
    axes = charts.length(frame, {"alike": "alike"}, TARGET, "").axes[0]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_runs_of_very_different_speed_are_both_readable(frame):
    import pandas as pd

    [first, _], _ = draw(charts.distribution, frame, "fast", "flawed")
    assert first.get_xscale() == "linear"
    fast = frame[frame["run"] == "synthetic-fast"]
    times = {name: fast[name] * 20 for name in ("ttfa_audible_ms", "total_ms")}
    very_slow = fast.assign(run="synthetic-slow", **times)
    both = pd.concat([fast, very_slow])
    [first, _], figure = draw(charts.distribution, both, "fast", "slow")
    assert first.get_xscale() == "log"
    figure.draw_without_rendering()
    low, high = first.get_xlim()
    ticks = first.xaxis.get_major_ticks() + first.xaxis.get_minor_ticks()
    told = [t.label1.get_window_extent() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]  # fmt: skip
    told.sort(key=lambda box: box.x0)
    assert len(told) >= 3
    assert all(left.x1 < right.x0 for left, right in pairwise(told)), "labels over each other"


def test_the_curves_of_sixteen_runs_are_told_apart(frame):
    import pandas as pd

    fast = frame[frame["run"] == "synthetic-fast"]
    names = {f"r{i}": f"r{i}" for i in range(16)}
    runs = pd.concat([fast.assign(run=run) for run in names])
    figure = charts.distribution(runs, names, TARGET, "")
    curves = labelled(figure.axes[0], "(n=")
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == 16


def test_the_limit_does_not_run_through_the_text_of_a_fast_run(frame):
    import numpy as np
    from matplotlib import colors
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    [axes], figure = draw(charts.stage_budget, frame, "fast", target=Target(TARGET.metrics, 95, 90))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255  # row 0 is the lowest
    [(_, x, _)] = limits(axes)
    column = round(axes.transData.transform((x.pop(), 0))[0])
    crossed = 0
    for text in axes.texts:
        box = text.get_window_extent()
        if box.x0 < column < box.x1:
            crossed += 1
            area = shown[int(box.y0) : int(box.y1), column - 1 : column + 2]
            assert not (np.abs(area - colors.to_rgb(charts.LIMIT)).max(axis=-1) < 0.1).any()
    assert crossed


@pytest.mark.parametrize("runs", [["synthetic-flawed"], list(LABELS)], ids=["one run", "three"])
def test_the_stored_files_are_images_with_something_on_them(tmp_path, runs):
    import numpy as np
    from matplotlib import colors, image

    written = report.Report(results.read([RUNS / run for run in runs])).write(tmp_path)
    pictures = [path for path in written if path.suffix == ".png"]
    assert len(pictures) == 3
    for path in pictures:
        pixels = image.imread(path)[..., :3]
        height, width = pixels.shape[:2]
        assert 800 <= width <= 2000, path.name
        assert 300 <= height <= 2000, path.name
        assert 0.005 < (pixels < 0.98).any(axis=-1).mean() < 0.6, f"{path.name} is blank or black"
        for ink in (charts.LIMIT, charts.BLUE):
            near = np.abs(pixels - colors.to_rgb(ink)).max(axis=-1) < 0.02
            assert near.sum() > 50, f"{path.name} has no {ink}"


def test_a_chart_claims_no_more_than_the_table(tmp_path):
    """Few sentences have no p95, and failures are named beside the bars of what survived them."""
    few = write(
        tmp_path / "few", header("few"), sentences=20, passes=1, failures={3: Status.failed}
    )
    frame = report.measured(results.read([few]))
    figure = charts.stage_budget(frame, {"few": "few"}, TARGET, "")
    told = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "p95" not in told
    assert "1 of 20 not ok" in told
    ticks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "|"]
    medians = [percentile(results.latencies(frame, name), 50) for name in charts.ENDS]
    assert [list(tick.get_xdata()) for tick in ticks] == [[median] for median in medians]
    figure = charts.distribution(frame, {"few": "few"}, TARGET, "")
    assert not [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
