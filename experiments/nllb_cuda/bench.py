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
    tiling=None,
):
    """One way of ours: ms per sentence (all tokens on the host), first clause, device step."""
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

        packed = Kernels(
            loaded, state, precision == "int8", kernels == "persistent", Tiling(**(tiling or {}))
        )
        loaded.decoder, loaded.embedding, loaded.head = [], loaded.embedding.to(to), None
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
    wide_head = {"head_rows": 16, "head_programs": 4}
    attempt("600M full persistent, head 16x4", lambda: ours(s, tiling=wide_head))
    blocks = {"cache_rows": 16}
    attempt(
        "600M 32k persistent, blocks of 16",
        lambda: ours(s, vocabulary=32000, tiling=blocks),
    )


def part_fused() -> None:
    s = weights.SHAPES["600M"]
    attempt("600M full fused", lambda: ours(s, kernels="fused"))
    attempt("600M 32k fused", lambda: ours(s, kernels="fused", vocabulary=32000))
    attempt(
        "600M 32k int8 fused",
        lambda: ours(s, kernels="fused", precision="int8", vocabulary=32000),
    )


def part_tilings() -> None:
    s = weights.SHAPES["3.3B"]
    for rows, out_rows, ffn_rows, warps in (
        (8, 32, 16, 8),
        (4, 16, 4, 4),
        (4, 32, 8, 4),
        (16, 64, 16, 8),
    ):
        tiling = {"rows": rows, "out_rows": out_rows, "ffn_rows": ffn_rows, "warps": warps}
        attempt(
            f"3.3B 32k fused {rows} {out_rows} {ffn_rows} x{warps}",
            lambda t=tiling: ours(s, vocabulary=32000, kernels="fused", tiling=t, n=6),
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


def part_large() -> None:
    s = weights.SHAPES["3.3B"]
    small = {"rows": 8, "out_rows": 32, "ffn_rows": 8}
    attempt("3.3B 32k persistent", lambda: ours(s, vocabulary=32000, tiling=small, n=10))
    attempt(
        "3.3B 32k fused", lambda: ours(s, vocabulary=32000, kernels="fused", tiling=small, n=10)
    )


def part_hf() -> None:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

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
    attempt("600M transformers bf16 torch.compile", lambda: generate(4, num_beams=1), 90)


def part_embedded() -> None:
    from transformers import AutoTokenizer, M2M100ForConditionalGeneration

    from stt import embedded
    from stt.nllb.pack import Kernels, Tiling

    folder = ROOT / "stt" / "assets" / "embedded"
    lines = (ROOT / "stt/assets/speech.tsv").read_text(encoding="utf-8").splitlines()
    texts = [
        line.split("\t")[2]
        for line in lines
        if line.count("\t") >= 2 and not line.startswith("id\t")
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder, src_lang="eng_Latn")
    language = tokenizer.convert_tokens_to_ids("jpn_Jpan")
    sources = [tokenizer(text)["input_ids"] for text in texts]
    stored = embedded.dequantized(embedded.tensors(folder))
    from transformers import AutoConfig

    hf = M2M100ForConditionalGeneration.from_pretrained(
        None, config=AutoConfig.from_pretrained(folder), dtype=torch.float32,
        state_dict={name: torch.from_numpy(t) for name, t in stored.items()},
    ).eval().cuda()  # fmt: skip

    def reference(source: list[int], beam: int) -> list[int]:
        with torch.inference_mode():
            ids = torch.tensor([source], device="cuda")
            return hf.generate(
                ids, forced_bos_token_id=language, max_length=256, num_beams=beam, do_sample=False
            )[0].tolist()[1:]

    greedy = [reference(s, 1) for s in sources]
    beams = [reference(s, 4) for s in sources[:60]]

    def agreement(precision: str, kernels: str, beam: int) -> dict[str, Any]:
        to = torch.float32 if precision == "fp32" else torch.bfloat16
        loaded = weights.read(folder, to, torch.float32 if precision == "int8" else to, "cuda")
        state = model.State(loaded, beam, 255, to)
        packed = None
        if kernels != "torch":
            packed = Kernels(loaded, state, precision == "int8", kernels == "persistent", Tiling())
        decoder = decode.Decoder(loaded, state, packed, graph=True)
        wanted = greedy if beam == 1 else beams
        times, same, tokens_same, tokens_all = [], 0, 0, 0
        for source, want in zip(sources, wanted, strict=False):
            begun = time.perf_counter()
            got = (
                list(decoder.greedy(source, language))
                if beam == 1
                else decoder.beam(source, language)
            )
            times.append((time.perf_counter() - begun) * 1e3)
            same += got == want
            tokens_same += sum(a == b for a, b in zip(got, want, strict=False))
            tokens_all += len(want)
        out = {"equal": same, "of": len(wanted), "tokens_equal": tokens_same / tokens_all,
               "ms": statistics.median(times[8:]), "weights": "embedded checkpoint"}  # fmt: skip
        if beam == 1:
            out["logit_error"] = logit_error(decoder, loaded, state, packed, sources[0])
        return out

    def logit_error(decoder: Any, loaded: Any, state: Any, packed: Any, source: list[int]) -> float:
        """Relative error of the second step's logits against float64 on the CPU."""
        exact = weights.read(folder, torch.float64, torch.float64, "cpu")
        wide = model.State(exact, 1, 64, torch.float64)
        reference = decode.Decoder(exact, wide, None, graph=False)
        next(iter(reference.records(source, language)))
        model.layers(exact, wide, 16, decode.bucket_of(len(source), 64))
        next(iter(decoder.records(source, language)))
        torch.cuda.synchronize()
        with torch.inference_mode():
            decoder._begin(source, language)
            if packed is None:
                model.layers(loaded, state, 16, decode.bucket_of(len(source), 255))
                got = state.logits[0]
            else:
                packed.layers(state)
                x = packed.x.sum(1)[0].double()
                norm = packed.norm.double().view(2, -1)
                x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * norm[0] + norm[1]
                got = (packed.head.double() * packed.head_scale.double()[:, None]) @ x
        want = wide.logits[0].double()
        return float((got.double().cpu() - want).norm() / want.norm())

    for kernels in ("fused", "persistent", "torch"):
        for precision in ("fp32", "bf16", "int8") if kernels != "torch" else ("fp32", "bf16"):
            attempt(
                f"embedded {precision} {kernels} greedy",
                lambda p=precision, k=kernels: agreement(p, k, 1),
            )
    for kernels in ("fused", "persistent"):
        attempt(f"embedded fp32 {kernels} beam 4", lambda k=kernels: agreement("fp32", k, 4))
    attempt("embedded bf16 persistent beam 4", lambda: agreement("bf16", "persistent", 4))


def main() -> None:
    part, out = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(time.time_ns() % 2**31)
    facts = {"part": part, "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
             "read_bytes_s": bandwidth()}  # fmt: skip
    torch.cuda.empty_cache()
    try:
        globals()[f"part_{part}"]()
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
    main()
