"""Charts of measured runs: stage budget, latency distribution, latency against length, each with the limit in it."""

from __future__ import annotations

import math
import textwrap
from itertools import cycle
from typing import TYPE_CHECKING, Any

from stt.config import Target
from stt.results import latencies
from stt.statistics import percentile, tail

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision; each further round has another dash.
BLUE, ORANGE, SKY = "#0072B2", "#E69F00", "#56B4E9"
INKS = (BLUE, "#D55E00", "#009E73", "#CC79A7")
DARK, GREY, LIMIT = "#333333", "#999999", "#B00020"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 150,
}
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}
"""Behind text, which the line of the limit would run through."""
LEDGER = {
    "segment_ms": ("wait for its end, or for earlier sentences", DARK, ""),
    "wait_translate_ms": ("wait in a queue", GREY, ""),
    "translate_first_ms": ("translate up to the first clause", BLUE, ""),
    "wait_synthesize_ms": ("wait in a queue", GREY, ""),
    "synthesize_first_ms": ("synthesize up to the first chunk", ORANGE, ""),
}
"""Spans up to the first audio chunk, in order: legend, colour, hatch."""
ENDS = {
    "ttfa_audible_ms": ("leading silence", "white", "////"),
    "total_ms": ("the rest of translation and speech", SKY, ""),
}
"""What lies between the first chunk and the end of the metric."""
SHORT = {
    "ttfa_audible_ms": "first audible sample",
    "total_ms": "last audio chunk",
    "ttfa_ms": "first audio chunk",
}


def stage_budget(
    frame: pd.DataFrame, labels: dict[str, str], target: Target, caption: str
) -> Figure:
    """Two stacked bars a run, to first audible sample and to the end: medians of the spans, with p50-p95 of the whole.

    Medians of spans need not add up to the median of their sum, so the sum has a marker of its own.
    """
    fig, (axes,) = _figure(9.0, 1.5 + 0.95 * len(labels), 1, 1)
    for row, (run, label) in enumerate(labels.items()):
        rows = frame[frame["run"] == run]
        axes.text(
            0,
            row - 0.36,
            label,
            transform=axes.get_yaxis_transform(),
            weight="bold",
            va="bottom",
            bbox=BOX,
        )
        for offset, metric in ((-0.16, "ttfa_audible_ms"), (0.2, "total_ms")):
            _stack(axes, row + offset, rows, metric, target)
    axes.set_ylim(len(labels) - 0.5, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, max(1.45 * axes.dataLim.x1, 1.1 * target.limit_ms))
    _limit_line(axes, target, vertical=True)
    axes.set_xlabel("time since the last source character arrived [ms]")
    axes.set_title(
        f"Where the time goes: median of each span; whisker: p50 to p{target.percentile} of the whole",
        loc="left",
    )
    _legend(fig, axes, 3)
    return _captioned(fig, caption)


def distribution(
    frame: pd.DataFrame, labels: dict[str, str], target: Target, caption: str
) -> Figure:
    """Share of all utterances finished within a time; a failure never finishes, so its curve ends below 100 %."""
    names = ("ttfa_audible_ms", "total_ms")
    fig, panels = _figure(9.0, 4.0 + 0.2 * len(labels), 1, 2)
    for axes, metric in zip(panels, names, strict=True):
        for (run, label), (ink, dash) in zip(labels.items(), _inks(), strict=False):
            rows = frame[frame["run"] == run]
            values = latencies(rows, metric)
            times = sorted(value for value in values if math.isfinite(value))
            steps = [*times[:1], *times]  # from 0 % on: one utterance is a line, too
            shares = [100 * i / len(values) for i in range(len(steps))]
            name = f"{label} (n={len(values)})"
            axes.step(
                steps, shares, where="post", color=ink, linestyle=dash, linewidth=1.6, label=name
            )
            high = _tail(rows, values, target)
            if math.isfinite(high):
                axes.plot([high], [target.percentile], "o", color=ink, markersize=5, clip_on=False)
        axes.axhline(target.percentile, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_ylim(0, 101)
        _limit_line(axes, target, vertical=True)
        axes.set_xlabel(f"{metric.removesuffix('_ms')} [ms]")
        axes.set_title(f"To the {SHORT[metric]}; dot: p{target.percentile}", loc="left")
    _time_axis(panels[0], frame, labels, names, vertical=False)
    panels[0].set_ylabel("share of utterances [%]")
    _legend(fig, panels[0], 1)
    return _captioned(fig, caption)


def length(frame: pd.DataFrame, labels: dict[str, str], target: Target, caption: str) -> Figure:
    """Latency against source words, a panel a run: every utterance, and the median of its neighbours in length: longer text takes longer."""
    columns = math.ceil(math.sqrt(len(labels)))
    lines = math.ceil(len(labels) / columns)
    fig, panels = _figure(max(5.5, 3.6 * columns), 1.2 + 2.6 * lines, lines, columns)
    for axes, (run, label) in zip(panels, labels.items(), strict=False):
        rows = frame[(frame["run"] == run) & (frame["phase"] == "measure")]
        words = [int(count) for count in rows["source_words"]]
        for metric, ink, mark in (("total_ms", ORANGE, "s"), ("ttfa_audible_ms", BLUE, "o")):
            values = latencies(rows, metric)
            axes.plot(words, values, mark, color=ink, markersize=3, alpha=0.4, markeredgewidth=0)
            counts = sorted(set(words))
            axes.plot(
                counts,
                [_near_median(words, values, count) for count in counts],
                color=ink,
                linewidth=2,
                label=f"to the {SHORT[metric]}: running median",
            )
        lost = [
            count for count, status in zip(words, rows["status"], strict=True) if status != "ok"
        ]
        if lost:
            top = axes.get_xaxis_transform()
            axes.plot(lost, [0.98] * len(lost), "x", color=LIMIT, transform=top, label="not ok")
        axes.set_title(textwrap.fill(label, 34 if columns > 1 else 70), loc="left")
        _limit_line(axes, target, vertical=False)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        axes.set_xlabel("source length [words]")
        axes.set_ylabel("latency [ms]")
    _time_axis(panels[0], frame, labels, ("ttfa_audible_ms", "total_ms"), vertical=True)
    for axes in panels[len(labels) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(labels) - columns) : len(labels)]:  # also above an empty place
        axes.xaxis.set_tick_params(labelbottom=True)
    _legend(
        fig, max(panels[: len(labels)], key=lambda a: len(a.get_lines())), 1 if columns == 1 else 2
    )
    return _captioned(fig, caption)


def _stack(axes: Axes, y: float, rows: pd.DataFrame, metric: str, target: Target) -> None:
    spans = [(percentile(latencies(rows, name), 50), *look) for name, look in LEDGER.items()]
    values = latencies(rows, metric)
    middle, high = percentile(values, 50), _tail(rows, values, target)
    first = percentile(latencies(rows, "ttfa_ms"), 50)
    left = 0.0
    for width, label, ink, hatch in [*spans, (max(0.0, middle - first), *ENDS[metric])]:
        if math.isfinite(width):
            edge = DARK if hatch else ink
            axes.barh(
                y,
                width,
                0.3,
                left,
                color=ink,
                edgecolor=edge,
                hatch=hatch,
                linewidth=0.6,
                label=label,
            )
            left += width
    lost = int((rows["status"] != "ok").sum())
    told = [f"{name} {value:.{'0f' if value >= 10 else '2g'}}" for name, value in (("p50", middle), (f"p{target.percentile}", high))
            if math.isfinite(value)]  # fmt: skip
    if ends := [value for value in (middle, high) if math.isfinite(value)]:
        axes.plot(ends, [y] * len(ends), color=DARK, linewidth=1, marker="|", markersize=7)
        left = max(left, *ends)
    note = f"{' · '.join(told)} ms  to {SHORT[metric]}" if told else f"no {metric}"
    note += f", {lost} of {len(rows)} not ok" if lost else ""
    axes.annotate(
        note,
        (left, y),
        (7, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=DARK,
        bbox=BOX,
    )


def _tail(rows: pd.DataFrame, values: list[float], target: Target) -> float:
    """The target's percentile, as the table has it; NaN: n too small."""
    found = tail(values, target.percentile, rows["id"].nunique())
    return math.nan if found is None else found


def _near_median(words: list[int], values: list[float], count: int) -> float:
    """Median latency of the utterances within two words, or a tenth, of `count`."""
    reach = max(2, count // 10)
    return percentile(
        [v for w, v in zip(words, values, strict=True) if abs(w - count) <= reach], 50
    )


def _inks() -> Any:
    return cycle([(ink, dash) for dash in ("-", "--", "-.", ":") for ink in INKS])


def _figure(width: float, height: float, lines: int, columns: int) -> tuple[Figure, list[Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        fig = Figure(figsize=(width, height), layout="constrained")
        grid = fig.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    return fig, list(grid.flat)


def _time_axis(
    axes: Axes,
    frame: pd.DataFrame,
    labels: dict[str, str],
    names: tuple[str, ...],
    *,
    vertical: bool,
) -> None:
    """For all panels, once everything is drawn: limits set earlier would cut off what comes later.

    Logarithmic when the slowest run is several times the fastest, or the fast ones could not be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    medians = [
        percentile(latencies(frame[frame["run"] == run], name), 50)
        for run in labels
        for name in names
    ]
    finite = [value for value in medians if math.isfinite(value) and value > 0]
    which = axes.yaxis if vertical else axes.xaxis
    if finite and max(finite) > 8 * min(finite):
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        which.set_major_locator(LogLocator(subs=(1, 2, 5)))
        which.set_major_formatter("{x:g}")
        which.set_minor_formatter(NullFormatter())
    else:
        (axes.set_ylim if vertical else axes.set_xlim)(0, None)


def _limit_line(axes: Axes, target: Target, *, vertical: bool) -> None:
    if math.isnan(target.limit_ms):  # the runs have different ones
        return
    draw = axes.axvline if vertical else axes.axhline
    draw(
        target.limit_ms,
        color=LIMIT,
        linewidth=1.2,
        linestyle="--",
        label=f"limit {target.limit_ms:g} ms",
    )


def _legend(fig: Figure, axes: Axes, columns: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    fig.legend(
        list(once.values()),
        list(once),
        loc="outside lower left",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )


def _captioned(fig: Figure, caption: str) -> Figure:
    fig.suptitle(
        textwrap.fill(caption, int(fig.get_figwidth() * 15)),
        fontsize=8,
        color=DARK,
        x=0.01,
        ha="left",
    )
    return fig
