"""Make the student's training pairs from the teachers' translations, and score pairs into soft labels.

    python distill.py gold   --data DATA_DIR --out gold.tsv extra.tsv
    python distill.py select --pairs FILE.tsv --candidates FILE*.jsonl --data DATA_DIR --out distilled.tsv
    python distill.py soft   --models RUN_DIR ... --tokens FILE.npz --shard 0/4 --out SHARD.npz

`gold` drops what repeats a held-out sentence; `extra.tsv` gets concatenations and renamed words. `select` keeps the best translation and the one nearest (chrF) to the reference.
"""

import argparse
import json
import os
import random
import re
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from batches import TOP, Pairs, sides
from corpus import Held, Pair, concatenated, everyday, read_pairs, read_speech, renamed, write_pairs
from model import Transformer, load

LOOP = re.compile(r"(.{2,12}?)\1{3,}")


def held_out(data: Path) -> Held:
    """The sentences that must stay out: dev, test and, where it lies beside them, the speech benchmark."""
    speech = read_speech(data / "speech.txt") if (data / "speech.txt").exists() else []
    return Held(read_pairs(data / "dev.tsv") + read_pairs(data / "test.tsv") + speech)


def gold(
    data: Path, concatenations: int = 60_000, names: int = 20_000, seed: int = 1
) -> tuple[list[Pair], list[Pair]]:
    """Training pairs without repeats of held-out sentences; and concatenations and renamed words made of them."""
    held, rng = held_out(data), random.Random(seed)
    pairs = [pair for pair in read_pairs(data / "train.tsv") if not held.overlap(pair)]
    share = min(1.0, len(pairs) / 390_000)
    spoken = [pair for pair in pairs if everyday(pair)]
    joined = concatenated(pairs, int(concatenations * share * 0.6), rng) + concatenated(
        spoken, int(concatenations * share * 0.4), rng
    )
    return pairs, joined + renamed(pairs, int(names * share), rng)


def read_candidates(paths: list[Path]) -> dict[int, list[str]]:
    return dict(json.loads(line) for path in paths for line in path.open(encoding="utf8"))


def acceptable(english: str, japanese: str) -> bool:
    """Not empty, no loop, and of plausible length."""
    return (
        bool(english and japanese)
        and len(japanese) < 8 * len(english) + 10
        and not LOOP.search(japanese)
    )


def nearest(job: tuple[str, list[str]]) -> int:
    """Which candidate has the highest chrF against the reference?"""
    from sacrebleu.metrics import CHRF

    metric, (reference, candidates) = CHRF(), job
    scores = [metric.sentence_score(candidate, [reference]).score for candidate in candidates]
    return scores.index(max(scores))


def select(pairs: list[Pair], candidates: dict[int, list[str]], held: Held) -> list[Pair]:
    """For each source the first candidate and the one nearest to the reference, where they add something new."""
    numbers = sorted(candidates)
    jobs = [(pairs[i].japanese, candidates[i]) for i in numbers]
    with get_context("fork").Pool(min(os.cpu_count() or 1, 16)) as pool:
        near = pool.map(nearest, jobs, chunksize=500)
    chosen = []
    for i, k in zip(numbers, near, strict=True):
        english, japanese, tag = pairs[i]
        texts = dict.fromkeys((candidates[i][0], candidates[i][k]))
        new = [
            Pair(english, text, tag)
            for text in texts
            if text != japanese and acceptable(english, text)
        ]
        chosen += [pair for pair in new if not held.overlap(pair)]
    return chosen


@torch.inference_mode()
def soft_labels(
    models: list[Transformer], pairs: Pairs, chosen: np.ndarray, rows: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Top labels and probabilities [target tokens, TOP] of the averaged teachers, for `chosen` (a range)."""
    device = str(models[0].shared.weight.device)
    begin, end = pairs.target.starts[chosen[0]], pairs.target.starts[chosen[-1] + 1]
    labels, weights = (
        np.zeros((end - begin, TOP), np.int16),
        np.zeros((end - begin, TOP), np.float16),
    )
    packed = list(pairs.rows(chosen[pairs.usable[chosen]], variant=0))
    for first in range(0, len(packed), rows):
        batch = {
            name: tensor.to(device)
            for name, tensor in pairs.batch(packed[first : first + rows], 0).items()
        }
        real = batch["at"] >= 0
        mean = sum((m(*sides(batch))[real] @ m.shared.weight.T).float().softmax(-1) for m in models)
        best, label = mean.topk(TOP)
        at = (batch["at"][real] - begin).cpu().numpy()
        labels[at] = label.short().cpu().numpy()
        weights[at] = (best / best.sum(-1, keepdim=True)).half().cpu().numpy()
    return labels, weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("gold", "select", "soft"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--candidates", type=Path, nargs="+")
    parser.add_argument("--models", type=Path, nargs="+")
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--out", type=Path, nargs="+", required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.step == "gold":
        for pairs, path in zip(gold(args.data), args.out, strict=True):
            write_pairs(pairs, path)
    elif args.step == "select":
        write_pairs(
            select(read_pairs(args.pairs), read_candidates(args.candidates), held_out(args.data)),
            args.out[0],
        )
    else:
        shard, shards = map(int, args.shard.split("/"))
        dtype = torch.float32 if args.device == "cpu" else torch.bfloat16
        models = [load(path, args.device, dtype) for path in args.models]
        pairs = Pairs([args.tokens])
        chosen = np.array_split(np.arange(len(pairs.usable)), shards)[shard]
        labels, weights = soft_labels(models, pairs, chosen)
        np.savez(args.out[0], labels=labels, weights=weights)


if __name__ == "__main__":
    main()
