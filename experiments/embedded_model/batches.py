"""Sentence pairs as token arrays, and packed batches drawn from them.

    python batches.py --pairs FILE.tsv ... --spm MODEL --out FILE.npz [--variants 4] [--reverse]

Ids are sentencepiece ids + 1; `<mask>`, `eng_Latn`, `jpn_Jpan` come last. A source is `eng_Latn tokens </s>`, labels are
`jpn_Jpan tokens </s>`, and the decoder reads the labels shifted right behind `</s>`. An unknown character becomes id 1
(`<pad>`), as in the first model; export.py sees to it that the shipped one never produces that.
"""

import argparse
import os
import random
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import sentencepiece
import torch
from corpus import Pair, noisy, read_pairs, tatoeba
from torch import Tensor

EOS, PAD = 2, 1
Entry = TypeVar("Entry")
ROW = 160  # tokens in a row of a batch, on either side
LIMIT = 140  # longest side of a training pair, in tokens
TOP = 16  # soft labels kept per target token


def language_ids(spm: sentencepiece.SentencePieceProcessor) -> tuple[int, int]:
    """Ids of eng_Latn and jpn_Jpan: the pieces (with the offset of 1) are followed by <mask>."""
    return spm.vocab_size() + 2, spm.vocab_size() + 3


class Flat(NamedTuple):
    """Sequences end to end: tokens [N], starts [sequences + 1]."""

    tokens: np.ndarray
    starts: np.ndarray

    @classmethod
    def pack(cls, sequences: list[np.ndarray]) -> "Flat":
        return cls.pack_lengths(
            np.concatenate(sequences), np.array([len(sequence) for sequence in sequences])
        )

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @classmethod
    def join(cls, parts: list["Flat"]) -> "Flat":
        return cls.pack_lengths(
            np.concatenate([p.tokens for p in parts]), np.concatenate([p.lengths for p in parts])
        )

    @classmethod
    def pack_lengths(cls, tokens: np.ndarray, lengths: np.ndarray) -> "Flat":
        return cls(tokens, np.concatenate([[0], np.cumsum(lengths)]))


def padded(sequences: Sequence[np.ndarray], filler: int) -> Tensor:
    """Sequences as rows of a matrix [sequences, longest]."""
    matrix = np.full((len(sequences), max(map(len, sequences))), filler, np.int64)
    for row, sequence in zip(matrix, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(matrix)


def of_like_length(entries: list[Entry], slots: int, length: Callable[[Entry], int]) -> list[list[Entry]]:  # fmt: skip
    """Batches of entries of like length, the longest first: as many as `slots` allow, each as long as the longest and 8."""
    entries, batches = sorted(entries, key=length), []
    while entries:
        size = max(1, slots // (length(entries[-1]) + 8))
        batches.append(entries[-size:])
        del entries[-size:]
    return batches


def wrap(first: int, pieces: list[int]) -> np.ndarray:
    return np.array([first, *(piece + 1 for piece in pieces), EOS], np.int16)


def encode_pair(
    spm: sentencepiece.SentencePieceProcessor,
    number: int,
    pair: Pair,
    variants: int,
    reverse: bool = False,
) -> list[np.ndarray]:
    """Tokens of the source (clean, then noisy variants with BPE dropout) and, last, of the target.

    `reverse` makes Japanese the source.
    """
    rng, source, target = random.Random(number), pair.english, pair.japanese
    start, to = language_ids(spm)
    if reverse:
        source, target, start, to = target, source, to, start
    encoded = [wrap(start, spm.encode(source))]
    for _ in range(variants - 1):
        sampled = (
            {"enable_sampling": True, "alpha": 0.1, "nbest_size": -1} if rng.random() < 0.6 else {}
        )
        encoded.append(wrap(start, spm.encode(noisy(source, rng), **sampled)))
    return [*encoded, wrap(to, spm.encode(target))]


def encode_part(part: tuple[int, list[Pair], str, int, bool]) -> list[list[np.ndarray]]:
    """Encode pairs numbered from the first field on; the others: pairs, tokenizer, variants, direction."""
    first, pairs, spm_model, *how = part
    spm = sentencepiece.SentencePieceProcessor(model_file=spm_model)
    return [encode_pair(spm, number, pair, *how) for number, pair in enumerate(pairs, first)]


def store(pairs: list[Pair], encoded: list[list[np.ndarray]], out: Path) -> None:
    """Write pairs that `encode_pair` has encoded to `out` (.npz)."""
    arrays, variants = {}, len(encoded[0]) - 1
    for name, sequences in zip(
        [*(f"source{v}" for v in range(variants)), "target"],
        zip(*encoded, strict=True),
        strict=True,
    ):
        arrays[f"{name}_tokens"], arrays[f"{name}_starts"] = Flat.pack(sequences)
    partial = out.with_suffix(".partial.npz")
    np.savez(partial, tatoeba=np.array([tatoeba(pair) for pair in pairs]), **arrays)
    partial.replace(out)


def encode(
    pairs: list[Pair], spm_model: Path, out: Path, variants: int = 4, reverse: bool = False
) -> None:
    """Tokenize `pairs` on all cores into `out` (.npz)."""
    parts = [
        (first, pairs[first : first + 2000], str(spm_model), variants, reverse)
        for first in range(0, len(pairs), 2000)
    ]
    with get_context("fork").Pool(min(os.cpu_count() or 1, 32)) as pool:
        encoded = [tokens for part in pool.imap(encode_part, parts) for tokens in part]
    store(pairs, encoded, out)


class Row:
    """An open row of a batch: the pairs placed in it and the room left on both sides."""

    def __init__(self) -> None:
        self.pairs: list[int] = []
        self.room = [ROW, ROW]


class Pairs:
    """Tokenized pairs; with `soft`, also the teachers' labels of the pairs they have scored (`FILE.soft.npz`)."""

    def __init__(self, paths: list[Path], soft: bool = False) -> None:
        parts = [dict(np.load(path)) for path in paths]
        variants = min(sum(name.startswith("source") for name in part) // 2 for part in parts)
        names = [*(f"source{v}" for v in range(variants)), "target"]
        *self.sources, self.target = (
            Flat.join([Flat(part[f"{name}_tokens"], part[f"{name}_starts"]) for part in parts])
            for name in names
        )
        self.tatoeba = np.concatenate([part["tatoeba"] for part in parts])
        lengths = np.stack([flat.lengths for flat in (*self.sources, self.target)])
        self.usable = (lengths.min(0) > 2) & (lengths.max(0) <= LIMIT)
        self.soft = self.labels(paths, parts) if soft else None

    @staticmethod
    def labels(paths: list[Path], parts: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels and weights [target tokens, TOP]; weights are 0 where no teacher has scored."""
        found: tuple[list, list] = ([], [])
        for path, part in zip(paths, parts, strict=True):
            scored, size = path.with_suffix(".soft.npz"), (len(part["target_tokens"]), TOP)
            stored = dict(np.load(scored)) if scored.exists() else {}
            found[0].append(stored.get("labels", np.zeros(size, np.int16)))
            found[1].append(stored.get("weights", np.zeros(size, np.float16)))
        labels, weights = (torch.from_numpy(np.concatenate(part)) for part in found)
        return labels, weights

    def batch(self, rows: list[list[int]], variant: int) -> dict[str, torch.Tensor]:
        """Lay out the given pairs: [rows, ROW] tokens, positions, sentence numbers; `at` indexes the target tokens."""
        source, target = self.sources[variant], self.target
        names = (
            "source",
            "source_positions",
            "source_sentences",
            "target",
            "target_positions",
            "target_sentences",
            "labels",
            "at",
        )
        batch = {name: np.zeros((len(rows), ROW), np.int64) for name in names}
        batch["source"][:], batch["target"][:], batch["at"][:] = PAD, PAD, -1
        for r, row in enumerate(rows):
            left, right = 0, 0
            for number, pair in enumerate(row, 1):
                begin, end = source.starts[pair], source.starts[pair + 1]
                here, left = slice(left, left + end - begin), left + end - begin
                batch["source"][r, here] = source.tokens[begin:end]
                batch["source_positions"][r, here] = np.arange(end - begin)
                batch["source_sentences"][r, here] = number
                begin, end = target.starts[pair], target.starts[pair + 1]
                here, right = slice(right, right + end - begin), right + end - begin
                batch["labels"][r, here] = target.tokens[begin:end]
                batch["target"][r, here] = np.concatenate([[EOS], target.tokens[begin : end - 1]])
                batch["target_positions"][r, here] = np.arange(end - begin)
                batch["target_sentences"][r, here] = number
                batch["at"][r, here] = np.arange(begin, end)
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def rows(self, order: np.ndarray, variant: int, open_rows: int = 24) -> Iterator[list[int]]:
        """Place pairs into rows by first fit among a few open rows; a row that is full enough is yielded."""
        needs = np.stack(
            [self.sources[variant].lengths[order], self.target.lengths[order]], 1
        ).tolist()
        opened = [Row() for _ in range(open_rows)]
        for pair, (left, right) in zip(order.tolist(), needs, strict=True):
            for row in opened:
                if row.room[0] >= left and row.room[1] >= right:
                    break
            else:
                fullest = min(range(open_rows), key=lambda i: min(opened[i].room))
                yield opened[fullest].pairs
                row = opened[fullest] = Row()
            row.pairs.append(pair)
            row.room[0] -= left
            row.room[1] -= right
        yield from (row.pairs for row in opened if row.pairs)


class Batches(torch.utils.data.IterableDataset):
    """Endless shuffled batches of `rows` rows; pairs from Tatoeba appear `tatoeba` times per epoch."""

    def __init__(self, pairs: Pairs, rows: int, tatoeba: float, seed: list[int]) -> None:
        self.pairs, self.size, self.tatoeba, self.seed = pairs, rows, tatoeba, seed

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        times = np.where(self.pairs.tatoeba, self.tatoeba, 1.0) * self.pairs.usable
        while True:
            order = np.repeat(
                np.arange(len(times)), np.floor(times + rng.random(len(times))).astype(int)
            )
            rng.shuffle(order)
            for part in np.array_split(
                order, max(1, len(order) // 20_000)
            ):  # a variant of the noise for every part
                variant = int(rng.integers(len(self.pairs.sources)))
                batch = []
                for row in self.pairs.rows(part, variant):
                    batch.append(row)
                    if len(batch) == self.size:
                        yield self.pairs.batch(batch, variant)
                        batch = []


def loader(batches: Batches, device: str) -> Iterator[dict[str, torch.Tensor]]:
    """Build batches in other processes and copy them to the device."""
    workers = (
        {} if device == "cpu" else {"num_workers": 4, "pin_memory": True, "prefetch_factor": 6}
    )
    for batch in torch.utils.data.DataLoader(batches, batch_size=None, **workers):
        yield {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def sides(batch: dict[str, Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Arguments of `Transformer.forward`."""
    return tuple(
        tuple(batch[name + part] for part in ("", "_positions", "_sentences"))
        for name in ("source", "target")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--spm", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=4)
    parser.add_argument("--reverse", action="store_true", help="from Japanese to English")
    args = parser.parse_args()
    pairs = [pair for path in args.pairs for pair in read_pairs(path)]
    encode(pairs, args.spm, args.out, args.variants, args.reverse)


if __name__ == "__main__":
    main()
