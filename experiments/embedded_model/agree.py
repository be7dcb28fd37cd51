"""The translation of each source on which a model agrees most with itself: of many samples the one nearest to the others.

    python agree.py --pairs spliced.tsv --model MODEL_DIR --out agreed0.tsv --shard 0/2 --seconds 240

Minimum Bayes risk decoding (Kumar and Byrne 2004; Freitag et al. 2022) with the corpus scores of `reward.py` as utility. Samples are
drawn without dropout; sources are taken in random order until the time is over.
"""

import time

BEGAN = time.monotonic()

import argparse  # noqa: E402
import random  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from batches import EOS, PAD, language_ids, of_like_length, padded, wrap  # noqa: E402
from corpus import Pair, everyday, read_pairs, write_pairs  # noqa: E402
from distill import acceptable  # noqa: E402
from model import Transformer, load  # noqa: E402
from refine import sample  # noqa: E402
from reward import Judge, spell, spelling  # noqa: E402
from torch import Tensor  # noqa: E402

TOGETHER = 20_000  # sources sorted by length at a time
LONGEST = 90  # source tokens


def agreed(model: Transformer, sources: Tensor, kind: Tensor, to: int, samples: int, judge: Judge, table: Tensor) -> Tensor:  # fmt: skip
    """Of translations drawn of each source [N, L], the one with the highest reward against its siblings: tokens [N, T]."""
    drawn, _ = sample(model, sources, to, samples)
    texts = spell(drawn[:, :, 1:].flatten(0, 1), table).unflatten(0, (-1, samples))
    value = torch.zeros(drawn.shape[:2], device=drawn.device)
    for turn in range(1, samples):
        sides = texts.flatten(0, 1), texts.roll(turn, 1).flatten(0, 1)
        value += judge(*sides, kind.repeat_interleave(samples)).view(value.shape)
    return drawn[torch.arange(len(drawn)), value.argmax(1), 1:]


def shuffled_batches(
    pairs: list[Pair], spm: sentencepiece.SentencePieceProcessor, start: int, slots: int
) -> Iterator[list[tuple[np.ndarray, Pair]]]:
    """Source tokens and pairs, of like length; the batches of some thousand pairs in random order."""
    rng = random.Random(1)
    for first in range(0, len(pairs), TOGETHER):
        part = [(wrap(start, spm.encode(p.english)), p) for p in pairs[first : first + TOGETHER]]
        part = [entry for entry in part if len(entry[0]) <= LONGEST]
        made = of_like_length(part, slots, lambda entry: len(entry[0]))
        rng.shuffle(made)
        yield from made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th source from i")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--slots", type=int, default=16_000)
    parser.add_argument(
        "--length",
        type=float,
        nargs="+",
        default=[1.0],
        help="wanted, times the other samples': of technical and everyday sentences; or one for both",
    )
    parser.add_argument(
        "--chrf", type=float, nargs="+", default=[0.5],
        help="weight of chrF, in technical and everyday sentences, or one for both; the rest is BLEU's",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    shard, shards = map(int, args.shard.split("/"))
    pairs = read_pairs(args.pairs)[shard::shards]
    spm = sentencepiece.SentencePieceProcessor(
        model_file=str(args.model / "sentencepiece.bpe.model")
    )
    start, to = language_ids(spm)
    model = load(args.model, args.device, torch.float32 if args.device == "cpu" else torch.bfloat16)
    judge, table = Judge(args.device, args.length, args.chrf), spelling(spm).to(args.device)
    found, tried = [], 0
    for batch in shuffled_batches(pairs, spm, start, args.slots):
        if time.monotonic() - BEGAN > args.seconds:
            break
        tokens, of = zip(*batch, strict=True)
        kind = torch.tensor([everyday(pair) for pair in of]).long().to(args.device)
        sources = padded(tokens, PAD).to(args.device)
        best = agreed(model, sources, kind, to, args.samples, judge, table).cpu().numpy()
        tried += len(batch)
        for pair, ids in zip(of, best, strict=True):
            text = spm.decode([int(i) - 1 for i in ids if i != EOS])
            if acceptable(pair.english, text):
                found.append(Pair(pair.english, text, pair.tag))
    write_pairs(found, args.out)
    print(
        f"{args.out.stem}: {len(found)} of {tried} in {time.monotonic() - BEGAN:.0f} s; {judge}",
        flush=True,
    )


if __name__ == "__main__":
    main()
