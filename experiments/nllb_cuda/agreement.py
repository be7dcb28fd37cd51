"""Tokens of the hand-written decoder against transformers in fp32, on the packaged checkpoint and one GPU.

python experiments/nllb_cuda/agreement.py OUT
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from bench import ROOT, attempt, record
from transformers import AutoConfig, AutoTokenizer, M2M100ForConditionalGeneration

from stt import embedded
from stt.nllb import decode, model, weights
from stt.nllb.pack import Kernels, Tiling


def part_embedded() -> None:
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
            tiling = Tiling.of(loaded.shape, beam)
            packed = Kernels(loaded, state, precision == "int8", kernels == "persistent", tiling)
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


if __name__ == "__main__":
    record("embedded", part_embedded, Path(sys.argv[1]))
