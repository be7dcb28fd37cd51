"""A report as one self-contained HTML page: the tables, the charts, and every utterance with its texts and its timeline."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from stt import cells, charts, stored
from stt.messages import Status
from stt.sinks import spoken
from stt.statistics import percentile

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("id", "words", "status", "first chunk", "audible", "total", "timeline [ms]", "texts")
_NUMBERS = ("words", "first chunk", "audible", "total")
_WIDTH = 1000  # of a timeline, in units of its picture


def page(
    rows: pd.DataFrame,
    labels: dict[str, str],
    summaries: dict[str, str],
    pictures: dict[str, Path],
    *,
    overview: str,
    limit_ms: float,
    folder: Path,
) -> str:
    """The page, as HTML.

    Args:
        rows: measured rows of all runs, as `stt.summary.measured` gives them.
        labels: what each run is called.
        summaries: what is said of each, in Markdown, where the overview does not say it.
        pictures: charts as PNG files, and what they show.
        overview: what is said of all, in Markdown.
        limit_ms: shown in every timeline; NaN where the runs have different ones.
        folder: where the page will lie; links to audio files start there.
    """
    title = f"stt: {next(iter(labels.values())) if len(labels) == 1 else f'{len(labels)} runs'}"
    parts = [f"<h1>{html.escape(title)}</h1>", _rendered(overview)]
    parts += [_picture(*shown) for shown in pictures.items()]
    for run, label in labels.items():
        parts.append(f"<section><h2>{html.escape(label)}</h2>{_rendered(summaries.get(run, ''))}")
        parts += _utterances(rows[rows["run"] == run], limit_ms, folder)
        parts.append("</section>")
    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    script = template.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(template).substitute(
        title=html.escape(title), script_sha256=f"sha256-{digest}", body="\n".join(parts)
    )


def _rendered(document: str) -> str:
    """Tables and lines as HTML; what else looks like Markdown or HTML (in an error, an id) stays text."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("zero", {"breaks": True}).enable(["table", "newline"])
    said = str(markdown.render(document))
    return re.sub(r"(?<=_ms: )(PASS|FAIL|UNDECIDED)\b", r'<b class="\1">\1</b>', said)


def _picture(name: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    alt = html.escape(name.replace("_", " "))
    return f'<img alt="{alt}" src="data:image/png;base64,{content}">'


def _utterances(rows: pd.DataFrame, limit_ms: float, folder: Path) -> Iterator[str]:
    """Every utterance of a run, and what really ran."""
    finite = [ms for ms in rows["total_ms"] if math.isfinite(ms)]
    most = max([percentile(finite, 95)] if finite else [1.0])
    scale = _WIDTH / (1.1 * max(most, 0 if math.isnan(limit_ms) else limit_ms))
    heads = (
        f'<th class="{"number" if name in _NUMBERS else ""}"><button>{name}</button></th>'
        for name in COLUMNS
    )
    path = Path(rows["path"].iloc[0])
    held = rows["header"].iloc[0]
    audio = (held["config"].get("sink") or {}).get("path")
    yield _key(limit_ms)
    yield '<input type="search" placeholder="id, status or words" aria-label="Show utterances with"><output></output>'
    yield f'<div class="scroll"><table class="utterances"><thead><tr>{"".join(heads)}</tr></thead><tbody>'
    for _, row in rows.iterrows():
        yield _row(row, scale, limit_ms, _link(spoken(path, audio, str(row["id"])), folder))
    ran = {name: stored.latest(held, name) for name in ("effective", "load", "environment")}
    shown = json.dumps({**ran, "config": held["config"]}, indent=1, ensure_ascii=False)
    yield "</tbody></table></div><details><summary>What was asked and what really ran</summary>"
    yield f"<pre>{html.escape(shown)}</pre></details>"


def _key(limit_ms: float) -> str:
    inks = dict(charts.LEDGER[name][:2] for name in charts.LEDGER)
    inks[charts.ENDS["total_ms"][0]] = charts.ENDS["total_ms"][1]
    inks[f"| {charts.SHORT['ttfa_audible_ms']}"] = charts.DARK
    if not math.isnan(limit_ms):
        inks[f"| limit {limit_ms:g} ms"] = charts.LIMIT
    said = (
        f'<span><i style="background:{ink}"></i>{html.escape(name)}</span>'
        for name, ink in inks.items()
    )
    return f'<p class="key">{" ".join(said)}</p>'


def _row(row: pd.Series[Any], scale: float, limit_ms: float, audio: str | None) -> str:
    status = html.escape(str(row["status"]))
    name = html.escape(str(row["id"]))
    named = f'<a href="{html.escape(audio)}">{name} &#9654;</a>' if audio else name
    ok = row["status"] == Status.ok
    times = [
        row[metric] if ok else math.inf for metric in ("ttfa_ms", "ttfa_audible_ms", "total_ms")
    ]
    texts = [(kind, row[kind]) for kind in ("source", "translation", "reference", "error")]
    said = "".join(
        f'<p class="{kind}">{html.escape(text)}</p>'
        for kind, text in texts
        if isinstance(text, str)
    )
    return (
        f'<tr><td>{named}</td><td class="number" data-value="{row["source_words"]}">{row["source_words"]}</td>'
        f'<td class="{status}">{status}</td>{"".join(map(_time, times))}'
        f'<td class="bar" data-value="{row["total_ms"]}">{_timeline(row, scale, limit_ms)}</td>'
        f'<td class="texts">{said}</td></tr>'
    )


def _time(ms: float) -> str:
    shown = math.inf if math.isnan(ms) else ms
    value = "Infinity" if math.isinf(shown) else f"{shown:.6f}"
    return f'<td class="number" data-value="{value}">{cells.ms(shown)}</td>'


def _timeline(row: pd.Series[Any], scale: float, limit_ms: float) -> str:
    """The spans up to the first chunk, then up to the last one; a line where sound begins."""
    shapes, left = [], 0.0
    spans = [(row[name], ink) for name, (_, ink, _) in charts.LEDGER.items()]
    spans.append((row["total_ms"] - row["ttfa_ms"], charts.ENDS["total_ms"][1]))
    for width, ink in spans:
        if math.isfinite(width) and width > 0:
            shapes.append(
                f'<rect x="{left * scale:.1f}" y="2" width="{width * scale:.1f}" height="10" fill="{ink}"/>'
            )
            left += width
    for at, ink in ((row["ttfa_audible_ms"], charts.DARK), (limit_ms, charts.LIMIT)):
        if math.isfinite(at):
            shapes.append(f'<rect x="{at * scale:.1f}" y="0" width="5" height="14" fill="{ink}"/>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} 14" preserveAspectRatio="none" role="img">'
        f"{''.join(shapes)}</svg>"
    )


def _link(file: Path | None, start: Path) -> str | None:
    if file is None:
        return None
    from urllib.parse import quote

    return quote(Path(os.path.relpath(file, start)).as_posix())
