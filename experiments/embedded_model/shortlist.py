"""Which target tokens each source token makes likely, so that the output layer need not score all of them.

    python shortlist.py --model MODEL_DIR --pairs gold.tsv [--count 180000 --out MODEL_DIR/shortlist.safetensors]

The model translates `--count` sources, a third of them everyday; IBM model 1 (Brown et al. 1993) aligns its translations
with them, and the targets that a source token explains most often are kept, its own spelling among them. Of a tenth of the
sources, held out, it prints how many translations need a token that no list holds.
The file: `always` [A] uint16, `ends` [vocabulary] uint32, `likely` [ends[-1]] uint16: source token i makes
likely[ends[i - 1]:ends[i]] likely.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
from corpus import everyday, read_pairs
from evaluate import ctranslate2_model
from safetensors.numpy import save_file

from stt.embedded import vocabulary

Tokens = tuple[np.ndarray, np.ndarray]  # of a source and of its translation
NULL = 0  # <s>: explains what no source token does
EVERYDAY = 1 / 3
RARE = 0.0005  # expected occurrences below which an alignment is noise
SPACE, CJK = "\u2581", "\u3100"


def translated(model: Path, sources: list[str], workers: int) -> tuple[list[Tokens], list[str]]:
    """Token ids of sources and of their greedy translations, and the vocabulary."""
    translator, spm = ctranslate2_model(model, "int8", 1, workers)
    tokens = vocabulary(model)
    ids = {token: i for i, token in enumerate(tokens)}
    encoded = [["eng_Latn", *spm.encode(text, out_type=str), "</s>"] for text in sources]
    results = translator.translate_batch(
        encoded, target_prefix=[["jpn_Jpan"]] * len(encoded), beam_size=1,
        max_batch_size=2048, batch_type="tokens", max_decoding_length=200,
    )  # fmt: skip
    pairs = []
    for source, result in zip(encoded, results, strict=True):
        known = [ids[token] for token in source if token in ids]
        target = [ids[token] for token in result.hypotheses[0][1:]]
        pairs.append((np.unique([NULL, *known]), np.array(target, np.int64)))
    return [pair for pair in pairs if len(pair[1])], tokens


def align(pairs: list[Tokens], size: int, rounds: int = 4) -> np.ndarray:
    """How often each source token explains each target token: expected counts [size, size] of IBM model 1."""
    keys = np.concatenate([(t[:, None] + s[None] * size).ravel() for s, t in pairs])
    lengths = np.concatenate([np.full(len(t), len(s)) for s, t in pairs])
    starts = np.cumsum(lengths) - lengths
    probability = np.ones(size * size, np.float32)
    for _ in range(rounds):
        share = probability[keys]
        share /= np.repeat(np.add.reduceat(share, starts), lengths)
        counts = np.bincount(keys, share, size * size).astype(np.float32).reshape(size, size)
        probability = (counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)).ravel()
    return counts


def choose(
    counts: np.ndarray, frequency: np.ndarray, tokens: list[str], each: int, always: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Tokens that are always scored, and those that each source token adds."""
    # Kana, Latin letters, digits and signs spell what no list foresees.
    letters = [
        i for i, token in enumerate(tokens) if len(word := token.lstrip(SPACE)) < 2 and word < CJK
    ]
    common = np.union1d(np.argsort(-frequency)[:always], letters)
    counts = counts.copy()
    counts[:, common] = 0
    ids = {token: i for i, token in enumerate(tokens)}
    likely = []
    for token, row in zip(tokens, counts, strict=True):
        best = np.argsort(-row)[:each]
        word = token.lstrip(SPACE)
        spellings = (
            space + text
            for space in ("", SPACE)
            for text in (word, word.lower(), word.capitalize())
        )
        own = [ids[text] for text in spellings if text in ids]
        likely.append(np.setdiff1d(np.union1d(best[row[best] > RARE], own), common))
    return common, likely


def missed(
    pairs: list[Tokens], common: np.ndarray, likely: list[np.ndarray]
) -> tuple[float, float]:
    """Share of sentences with a token that no list holds, and the mean number of tokens scored."""
    missing, scored = 0, 0
    for source, target in pairs:
        held = np.unique(np.concatenate([common, *(likely[i] for i in source)]))
        missing += not np.isin(target, held).all()
        scored += len(held)
    return missing / len(pairs), scored / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=180_000)
    parser.add_argument("--each", type=int, default=2000, help="targets of a source token at most")
    parser.add_argument("--always", type=int, default=3000, help="most frequent targets")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began, rng = time.monotonic(), random.Random(4)
    pairs = [pair for path in args.pairs for pair in read_pairs(path)]
    kinds = [[pair.english for pair in pairs if everyday(pair) == kind] for kind in (True, False)]
    spoken = min(int(EVERYDAY * args.count), len(kinds[0]))
    chosen = rng.sample(kinds[0], spoken)
    chosen += rng.sample(kinds[1], min(args.count - spoken, len(kinds[1])))
    rng.shuffle(chosen)
    found, tokens = translated(args.model, chosen, args.workers)
    print(f"[{time.monotonic() - began:.0f} s] {len(found)} translated", flush=True)
    learned, held_out = found[len(found) // 10 :], found[: len(found) // 10]
    counts = align(learned, len(tokens))
    frequency = np.bincount(
        np.concatenate([target for _, target in learned]), minlength=len(tokens)
    )
    common, likely = choose(counts, frequency, tokens, args.each, args.always)
    missing, scored = missed(held_out, common, likely)
    print(f"[{time.monotonic() - began:.0f} s] held out: {missing:.2%} of {len(held_out)} sentences need a token that is not listed, "
          f"{scored:.0f} tokens scored of {len(tokens)}", flush=True)  # fmt: skip
    ends = np.cumsum([len(row) for row in likely]).astype(np.uint32)
    out = args.out or args.model / "shortlist.safetensors"
    facts = {
        "sources": len(learned),
        "held_out_sentences_missed": round(missing, 5),
        "tokens_scored": round(scored),
    }
    save_file(
        {"always": common.astype(np.uint16), "ends": ends, "likely": np.concatenate(likely).astype(np.uint16)},
        out, metadata={"facts": json.dumps(facts)},
    )  # fmt: skip
    print(f"{out.stat().st_size:,} bytes  {out}")


if __name__ == "__main__":
    main()
