"""One GPU's share of distillation: translate with the ensemble, choose, tokenize, and score soft labels.

    python distill.py --models RUN_DIR ... --back RUN_DIR --pairs gold.tsv --data DATA_DIR --spm MODEL --shard 0/4
                      --gold gold0.npz --out distilled0.tsv --seconds 120

Forward, the ensemble translates the English sources; of the beam the best and the one nearest (chrF) to the reference are
kept. Backward, `--back` gives the Japanese references other English sources (kept in `back0.tsv` too); the everyday ones go forward again.
`distilled0.npz`, `distilled0.soft.npz` and `gold0.soft.npz` are written beside `--out`, and with `--dev` what the ensemble
reaches on held-out pairs. Time that runs out leaves a random part undone, never a broken file.
"""

import time

BEGAN = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from multiprocessing.pool import Pool  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from batches import TOP, Pairs, encode_pair, sides, store  # noqa: E402
from corpus import Held, Pair, everyday, read_pairs, write_pairs  # noqa: E402
from decode import best, translate  # noqa: E402
from gold import held_out  # noqa: E402
from model import Transformer, load  # noqa: E402

LOOP = re.compile(r"(.{2,12}?)\1{3,}")
FORWARD, BACKWARD, GOLD, AGAIN, SCORED = 0.4, 0.52, 0.65, 0.75, 0.95  # ends, shares of the budget
VARIANTS = 3
Entry = tuple[Pair, list[np.ndarray]]
BACK_TRANSLATIONS = {True: 4, False: 1}  # of an everyday pair, of a technical one
_share: tuple[Held, str]  # what the pool's processes inherit: held-out sentences, tokenizer


def acceptable(source: str, translation: str) -> bool:
    """Not empty, no loop, and of plausible length."""
    return (
        bool(source and translation)
        and len(translation) < 8 * len(source) + 10
        and not LOOP.search(translation)
    )


def nearest(reference: str, candidates: list[str]) -> str:
    """The candidate with the highest chrF against the reference."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    return max(candidates, key=lambda text: metric.sentence_score(text, [reference]).score)


def chosen(pair: Pair, candidates: list[str], back: bool, held: Held) -> list[Pair]:
    """New pairs from the candidate translations of `pair`, or (`back`) of its Japanese side."""
    english, japanese, tag = pair
    if back:
        texts = [text for text in dict.fromkeys(candidates) if acceptable(japanese, text)]
        new = [Pair(text, japanese, tag) for text in texts if text != english]
        new = new[: BACK_TRANSLATIONS[everyday(pair)]]
    else:
        texts = dict.fromkeys((candidates[0], nearest(japanese, candidates)))
        new = [Pair(english, text, tag) for text in texts if text != japanese]
        new = [pair for pair in new if acceptable(english, pair.japanese)]
    return [pair for pair in new if not held.overlap(pair)]


def choose(jobs: list[tuple[Pair, list[str]]], back: bool, seed: int) -> list[Entry]:
    """Chosen pairs with their tokens; runs in the pool's processes, which inherit `_share`."""
    held, spm_model = _share
    spm = sentencepiece.SentencePieceProcessor(model_file=spm_model)
    new = [made for pair, candidates in jobs for made in chosen(pair, candidates, back, held)]
    return [(pair, encode_pair(spm, seed + n, pair, VARIANTS)) for n, pair in enumerate(new)]


class Translating:
    """Translations of pairs, chosen and tokenized by other processes while the GPU goes on."""

    def __init__(self, pool: Pool, models: list[Transformer], pairs: list[Pair], back: bool, args: argparse.Namespace, share: float) -> None:  # fmt: skip
        spm = sentencepiece.SentencePieceProcessor(model_file=str(args.spm))
        texts = [pair.japanese if back else pair.english for pair in pairs]
        until, jobs, done = BEGAN + share * args.seconds, [], 0
        self.pending = []
        for i, candidates in translate(models, texts, spm, args.beam, back, until=until):
            jobs.append((pairs[i], candidates))
            done += 1
            if len(jobs) == 500:
                self.pending.append(pool.apply_async(choose, (jobs, back, 8 * done)))
                jobs = []
        self.pending.append(pool.apply_async(choose, (jobs, back, 8 * done)))
        stamp(f"{args.out.stem}: {done} of {len(texts)} translated{' back' * back}")

    def entries(self) -> list[Entry]:
        return [entry for result in self.pending for entry in result.get()]


def stamp(label: str) -> None:
    print(f"[{time.monotonic() - BEGAN:.0f} s] {label}", flush=True)


@torch.inference_mode()
def soft_labels(models: list[Transformer], pairs: Pairs, until: float, rows: int = 192) -> dict[str, np.ndarray]:  # fmt: skip
    """Top labels and probabilities [target tokens, TOP] of the averaged teachers, 0 where time did not suffice."""
    device, size = models[0].shared.weight.device, (len(pairs.target.tokens), TOP)
    labels, weights = np.zeros(size, np.int16), np.zeros(size, np.float16)
    order = np.random.default_rng(1).permutation(np.flatnonzero(pairs.usable))
    packed = list(pairs.rows(order, variant=0))
    for first in range(0, len(packed), rows):
        if time.monotonic() > until:
            break
        batch = pairs.batch(packed[first : first + rows], 0)
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        real = batch["at"] >= 0
        total = 0
        for model in models:
            total += (model(*sides(batch))[real] @ model.shared.weight.T).softmax(-1, torch.float32)
        top, label = total.topk(TOP)
        at = batch["at"][real].cpu().numpy()
        labels[at] = label.short().cpu().numpy()
        weights[at] = (top / top.sum(-1, keepdim=True)).half().cpu().numpy()
    return {"labels": labels, "weights": weights}


def save_soft(models: list[Transformer], tokens: Path, until: float) -> None:
    scored = soft_labels(models, Pairs([tokens]), until)
    partial = tokens.with_suffix(".soft.partial.npz")
    np.savez(partial, **scored)
    partial.replace(tokens.with_suffix(".soft.npz"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--back", type=Path, help="a model from Japanese to English")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="with the sentences to keep out")
    parser.add_argument("--spm", type=Path, required=True)
    parser.add_argument("--gold", type=Path, required=True, help="token arrays to score as well")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th pair from i")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--dev", type=Path, help="held-out pairs to score the ensemble on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def score_ensemble(models: list[Transformer], args: argparse.Namespace) -> None:
    from evaluate import score

    dev, spm = (
        read_pairs(args.dev),
        sentencepiece.SentencePieceProcessor(model_file=str(args.spm)),
    )
    translations = best(models, [pair.english for pair in dev], spm, args.beam)
    report = score(dev, translations) | {"beam": args.beam}
    (args.out.parent / "ensemble.json").write_text(json.dumps(report, ensure_ascii=False) + "\n")
    print("ensemble", report["everyday"], report["technical"], flush=True)


def main() -> None:
    global _share
    args = parse()
    torch.set_float32_matmul_precision("high")
    shard, shards = map(int, args.shard.split("/"))
    pairs = read_pairs(args.pairs)[shard::shards]
    _share = (held_out(args.data), str(args.spm))
    workers = max(1, (os.cpu_count() or 1) // shards - 2)
    with get_context("fork").Pool(workers) as pool:  # before the GPU is touched
        dtype = torch.float32 if args.device == "cpu" else torch.bfloat16
        models = [load(path, args.device, dtype) for path in args.models]
        forward = Translating(pool, models, pairs, False, args, FORWARD)
        going = None
        if args.back:
            reverse = [load(args.back, args.device, dtype)]
            going = Translating(pool, reverse, pairs, True, args, BACKWARD)
        save_soft(models, args.gold, BEGAN + GOLD * args.seconds)  # the pool goes on meanwhile
        back, again = [], []
        if going:
            back = going.entries()
            invented = [pair for pair, _ in back if everyday(pair)]
            again = Translating(pool, models, invented, False, args, AGAIN).entries()
        new = forward.entries() + back + again
    random.Random(1).shuffle(new)
    write_pairs([pair for pair, _ in new], args.out)
    write_pairs(
        [pair for pair, _ in back], args.out.with_name(args.out.name.replace("distilled", "back"))
    )
    store([pair for pair, _ in new], [tokens for _, tokens in new], args.out.with_suffix(".npz"))
    stamp(f"{args.out.stem}: {len(new)} pairs, {len(back)} back, {len(again)} again")
    save_soft(models, args.out.with_suffix(".npz"), BEGAN + SCORED * args.seconds)
    stamp(f"{args.out.stem}: scored")
    if args.dev:
        score_ensemble(models, args)


if __name__ == "__main__":
    main()
