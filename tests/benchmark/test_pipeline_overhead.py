"""What the pipeline itself costs; the bound is far above the budget, the printed figures are the point."""

from __future__ import annotations

import sys

import pytest

from stt.config import build, compose
from stt.messages import Delta, Status
from stt.pipeline import Pipeline
from stt.sinks import Discard
from stt.sources import CorpusClosed
from stt.statistics import percentile
from stt.timeline import monotonic_ns

PARTS = ("pipeline", "segment", "translator", "tts", "device")
BOUND_MS = 5.0


@pytest.fixture
def eager_switching():
    """Threads take turns as often as they do in `python -m stt.run`."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("choice", ["overlapped", "sequential"])
def test_the_pipeline_adds_a_fraction_of_a_millisecond_to_a_sentence(benchmark, choice):
    cfg, _ = compose([f"pipeline={choice}", "translator=echo", "tts=tone"])
    parts = (build(cfg[part], part) for part in PARTS)
    pipeline = Pipeline(*parts, language="jpn_Jpan")
    pipeline.load()
    lines = CorpusClosed(None).lines
    took_ms = []

    def speak():
        deltas = (Delta(line.text, monotonic_ns(), line.id, final=True) for line in lines)
        said = list(pipeline.run(deltas, Discard(), closed_loop=True))
        assert {u.status for u in said} == {Status.ok}
        took_ms.extend((u.chunks[-1][0] - u.marks_ns["arrived"]) / 1e6 for u in said)

    benchmark.pedantic(speak, rounds=5, warmup_rounds=1)
    p50, p99 = percentile(took_ms, 50), percentile(took_ms, 99)
    benchmark.extra_info.update(p50_ms=p50, p99_ms=p99)
    print(f"\npipeline={choice}: p50 {p50:.3f} ms, p99 {p99:.3f} ms a sentence (budget 0.15 and 1)")
    assert p50 < BOUND_MS
