"""Time and check the hand-written NLLB decoder on one GPU; one part per process, one JSON each.

    python experiments/nllb_cuda/bench.py PART OUT      PART: one of the functions `part_*`

Random weights unless a name says `embedded`. Fresh random source tokens in every repetition.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stt.nllb import decode, model, weights  # noqa: E402

SOURCE, TARGET, CLAUSE = 24, 24, 8
ROWS: list[dict[str, Any]] = []


def attempt(name: str, work: Any, limit_s: int = 60) -> None:
    """Run one variant; a failure is a row of the table."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"over {limit_s} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit_s)
    begun = time.perf_counter()
    try:
        row = work()
    except BaseException as error:
        traceback.print_exc()
        row = {"error": f"{type(error).__name__}: {error}"[:300]}
    signal.alarm(0)
    row = {"name": name, **row, "took_s": round(time.perf_counter() - begun, 1)}
    ROWS.append(row)
    print(json.dumps(row), flush=True)
    torch.cuda.empty_cache()


def bandwidth() -> float:
    """Bytes per second of reading 4 GiB (a sum), best of 10."""
    x = torch.ones(2**31, dtype=torch.bfloat16, device="cuda").view(torch.int32)
    best = 1e9
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        x.max()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end))
    return x.numel() * 4 / best * 1e3


def ours(
    shape: Any,
    *,
    precision="bf16",
    kernels="persistent",
    vocabulary=None,
    beam=1,
    n=30,
    checked=None,
):
    """One way of ours: ms per sentence (all tokens on the host), first clause, device step.

    `checked` is `Tiling.checked`, None as the engine has it.
    """
    to = torch.bfloat16 if precision != "fp32" else torch.float32
    loaded = weights.random(
        shape, to, torch.float32 if precision == "int8" and kernels != "torch" else to, "cuda"
    )
    if vocabulary:
        ids = torch.randperm(shape.vocab_size)[:vocabulary].sort()[0]
        weights.trim(loaded, ids)
    state = model.State(loaded, beam, 255, to)
    packed = None
    if kernels != "torch":
        from stt.nllb.pack import Kernels, Tiling

        tiling = Tiling.of(shape, beam)
        if checked is not None:
            tiling = replace(tiling, checked=checked)
        packed = Kernels(loaded, state, precision == "int8", kernels == "persistent", tiling)
        loaded.decoder, loaded.embedding, loaded.head = [], None, None
    decoder = decode.Decoder(loaded, state, packed, graph=True)
    torch.cuda.synchronize()

    def sentence() -> tuple[float, float, list[float]]:
        source = torch.randint(4, shape.vocab_size, (SOURCE,)).tolist()
        state.done.zero_()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for at, row in enumerate(decoder.records(source, 256047 % shape.vocab_size)):
            if at == CLAUSE - 1:
                first = time.perf_counter() - begun
            if at == TARGET - 1:
                total = time.perf_counter() - begun
                break
        torch.cuda.synchronize()
        return total * 1e3, first * 1e3, row[0]

    for _ in range(4):
        sentence()
    times = [sentence() for _ in range(n)]
    begin_ms = event_ms(lambda: decoder._begin(list(range(4, 4 + SOURCE)), 5))

    def step() -> None:
        state.step.fill_(TARGET // 2)
        decoder._launch(TARGET // 2, decode.bucket_of(SOURCE, 255))

    step_ms = event_ms(step)
    head_bytes = (vocabulary or shape.vocab_size) * shape.d_model
    layer_bytes = shape.decoder_layers * (6 * shape.d_model**2 + 2 * shape.d_model * shape.ffn)
    size = {"fp32": 4, "bf16": 2, "int8": 1}[precision]
    read = (head_bytes + layer_bytes) * size
    out = {
        "ms": statistics.median(t for t, _, _ in times), "first_clause_ms": statistics.median(f for _, f, _ in times),
        "ms_all": [round(t, 3) for t, _, _ in times], "begin_ms": begin_ms, "step_ms": step_ms, "bytes_step": read,
        "bytes_s": read / step_ms * 1e3, "launches": packed.launches if packed else None, "last": times[-1][2],
        "weights": "random", "memory_bytes": torch.cuda.max_memory_allocated(),
    }  # fmt: skip
    return out


def event_ms(work: Any, n: int = 60) -> float:
    """Device time of one call, median of pairs of events (a small fill included)."""
    times = []
    for _ in range(n):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.inference_mode():
            start.record()
            work()
            end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def part_persistent() -> None:
    s = weights.SHAPES["600M"]
    attempt("600M full persistent", lambda: ours(s))
    attempt("600M 32k persistent", lambda: ours(s, vocabulary=32000))
    attempt("600M 32k int8 persistent", lambda: ours(s, precision="int8", vocabulary=32000))
    attempt("600M full int8 persistent", lambda: ours(s, precision="int8"))


def part_fused() -> None:
    s = weights.SHAPES["600M"]
    attempt("600M full fused", lambda: ours(s, kernels="fused"))
    attempt("600M 32k fused", lambda: ours(s, kernels="fused", vocabulary=32000))
    attempt(
        "600M 32k int8 fused",
        lambda: ours(s, kernels="fused", precision="int8", vocabulary=32000),
    )


def part_torch() -> None:
    s = weights.SHAPES["600M"]
    attempt("600M full torch ops", lambda: ours(s, kernels="torch", n=10))
    attempt("600M 32k torch ops", lambda: ours(s, kernels="torch", vocabulary=32000, n=10))


def part_beam() -> None:
    s = weights.SHAPES["600M"]
    for kernels in ("persistent", "fused"):
        attempt(f"600M full beam 4 {kernels}", lambda k=kernels: ours(s, beam=4, kernels=k))
        attempt(
            f"600M 32k beam 4 {kernels}",
            lambda k=kernels: ours(s, beam=4, kernels=k, vocabulary=32000),
        )
    attempt("600M full beam 4 persistent, checked", lambda: ours(s, beam=4, checked=True))


def part_large() -> None:
    s = weights.SHAPES["3.3B"]
    for kernels in ("persistent", "fused"):
        attempt(f"3.3B 32k {kernels}", lambda k=kernels: ours(s, vocabulary=32000, kernels=k, n=10))
    attempt("3.3B 32k persistent, checked", lambda: ours(s, vocabulary=32000, n=10, checked=True))


def part_hf() -> None:
    """transformers' ways, and one of ours in the same process."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    attempt("600M full persistent, same process", lambda: ours(weights.SHAPES["600M"]))
    config = M2M100Config(vocab_size=256206, d_model=1024, encoder_layers=12, decoder_layers=12, encoder_ffn_dim=4096,
                          decoder_ffn_dim=4096, encoder_attention_heads=16, decoder_attention_heads=16)  # fmt: skip
    with torch.device("cuda"):
        hf = M2M100ForConditionalGeneration(config).eval()

    def generate(n: int, **options: Any) -> dict[str, Any]:
        times = []
        for i in range(n + 3):
            ids = torch.randint(4, 256206, (1, SOURCE), device="cuda")
            torch.cuda.synchronize()
            begun = time.perf_counter()
            with torch.inference_mode():
                hf.generate(
                    ids,
                    forced_bos_token_id=256047,
                    min_new_tokens=TARGET,
                    max_new_tokens=TARGET,
                    do_sample=False,
                    **options,
                )
            torch.cuda.synchronize()
            times.append((time.perf_counter() - begun) * 1e3)
        return {"ms": statistics.median(times[3:]), "ms_all": times[3:], "weights": "random"}

    attempt("600M transformers fp32 beam 3", lambda: generate(4, num_beams=3))
    hf.to(torch.bfloat16)
    attempt("600M transformers bf16 greedy", lambda: generate(6, num_beams=1))
    attempt(
        "600M transformers bf16 static cache",
        lambda: generate(6, num_beams=1, cache_implementation="static"),
        90,
    )
    plain = hf.forward
    hf.forward = torch.compile(plain, dynamic=True)
    attempt("600M transformers bf16 torch.compile", lambda: generate(4, num_beams=1), 110)
    attempt("600M full persistent, same process again", lambda: ours(weights.SHAPES["600M"]))
    for row in ROWS[1:-1]:
        row["times_ours"] = row["ms"] / ROWS[0]["ms"] if "ms" in row else None
        print(f"{row['name']}: {row['times_ours']} times ours")


def record(part: str, work: Callable[[], None], out: Path) -> None:
    """Run one part and keep its rows and facts, whatever happens."""
    torch.manual_seed(time.time_ns() % 2**31)
    facts = {"part": part, "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
             "read_bytes_s": bandwidth()}  # fmt: skip
    torch.cuda.empty_cache()
    try:
        work()
    finally:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{part}.json").write_text(json.dumps({**facts, "rows": ROWS}, indent=1) + "\n")
    print(f"{facts['gpu']} read {facts['read_bytes_s'] / 1e12:.2f} TB/s")
    for row in ROWS:
        if "step_ms" in row:
            print(f"{row['name']:<44} {row['ms']:7.2f} ms  first {row['first_clause_ms']:6.2f}  begin {row['begin_ms']:5.2f}"
                  f"  step {row['step_ms']:6.3f}  {row['bytes_s'] / facts['read_bytes_s']:4.0%}")  # fmt: skip
        else:
            print(
                f"{row['name']:<44} "
                + str({k: v for k, v in row.items() if k not in ("name", "ms_all")})[:150]
            )


if __name__ == "__main__":
    record(sys.argv[1], globals()[f"part_{sys.argv[1]}"], Path(sys.argv[2]))
