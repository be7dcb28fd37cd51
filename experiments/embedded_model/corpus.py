"""Sentence pairs as text: reading the TSV corpus, noise, tokenizer training, and the overlap check.

    python corpus.py overlap --data DATA_DIR [--speech speech.txt] [--extra DISTILLED.tsv ...] [--out FILE.json]
    python corpus.py tokenizer --data DATA_DIR --out sentencepiece.bpe.model

DATA_DIR holds `train.tsv.xz` (or `train.tsv`), `dev.tsv` and `test.tsv`: english, japanese, source tag per line.
"""

import argparse
import io
import json
import lzma
import random
import re
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

PIECES = 12284  # + <pad>, <mask>, eng_Latn, jpn_Jpan = 12,288 rows of embedding
EVERYDAY = ("tatoeba", "tanaka")


class Pair(NamedTuple):
    english: str
    japanese: str
    tag: str


def everyday(pair: Pair) -> bool:
    """Is the pair conversational (as opposed to technical documentation)?"""
    return pair.tag.startswith(EVERYDAY)


def tatoeba(pair: Pair) -> bool:
    """Is the pair in the style of dev's and test's everyday sentences, all from Tatoeba?

    The others of the training data, Tanaka's, are older and stiffer: 8 % of their questions end in ?, of Tatoeba's 58 %.
    """
    return pair.tag.startswith("tatoeba")


def read_pairs(path: Path) -> list[Pair]:
    """Read a TSV of pairs; `path` may lack the `.xz` of a compressed file."""
    compressed = path if path.suffix == ".xz" else path.with_name(path.name + ".xz")
    opened = (
        lzma.open(compressed, "rt", encoding="utf8")
        if compressed.exists()
        else path.open(encoding="utf8")
    )
    with opened as lines:
        return [Pair(*line.rstrip("\n").split("\t")[:3]) for line in lines]


def write_pairs(pairs: list[Pair], path: Path) -> None:
    with path.open("w", encoding="utf8") as lines:
        lines.writelines(
            "\t".join(" ".join(field.split()) for field in pair) + "\n" for pair in pairs
        )


def noisy(english: str, rng: random.Random) -> str:
    """Case and punctuation as a careless writer or a speech recognizer leaves them (13 % of the time)."""
    roll = rng.random()
    if roll < 0.06:
        return english.lower()
    if roll < 0.08:
        return re.sub(r"[,.!?;:\"]", "", english).lower() or english
    if roll < 0.12:
        return english.rstrip(".!?") or english
    if roll < 0.13:
        return english.upper()
    return english


def train_tokenizer(pairs: list[Pair], out: Path, pieces: int = PIECES, threads: int = 4) -> None:
    """Train the joint BPE model; digits stand alone so that numbers are copied, not remembered."""
    import sentencepiece

    pairs = pairs + [pair for pair in pairs if everyday(pair)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(text for pair in pairs for text in pair[:2]),
        model_writer=model,
        vocab_size=pieces,
        model_type="bpe",
        character_coverage=0.9999,
        required_chars="".join(chr(c) for c in range(33, 127))
        + "áéíóúàèìòùâêîôûäëïöüãõñçøåæœßÀÉÖÜÅØÇÑ",
        normalization_rule_name="nmt_nfkc",
        split_digits=True,
        num_threads=threads,
        minloglevel=2,
    )
    out.write_bytes(model.getvalue())


def normalized(text: str) -> str:
    """Fold case, width, space and punctuation: two texts that read alike compare equal."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).lower()).strip()


class Held:
    """The held-out sentences, and whether a pair repeats one of them exactly or nearly."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.english = {normalized(pair.english) for pair in pairs}
        self.japanese = {normalized(pair.japanese) for pair in pairs}
        self.sentences = [self.trigrams(text) for text in sorted(self.english)]
        self.containing = defaultdict(list)
        for number, trigrams in enumerate(self.sentences):
            for trigram in trigrams:
                self.containing[trigram].append(number)

    @staticmethod
    def trigrams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    def overlap(self, pair: Pair) -> str | None:
        """Name the kind of repetition ("english", "japanese", "near": trigram Jaccard >= 0.6), or None."""
        english = normalized(pair.english)
        if english in self.english:
            return "english"
        if normalized(pair.japanese) in self.japanese:
            return "japanese"
        trigrams = self.trigrams(english)
        shared = defaultdict(int)
        for trigram in trigrams:
            for number in self.containing.get(trigram, ()):
                shared[number] += 1
        near = any(
            count >= 0.6 * len(trigrams | self.sentences[number])
            for number, count in shared.items()
        )
        return "near" if near else None


def read_speech(path: Path) -> list[Pair]:
    """Read a benchmark corpus: id, bucket, english, japanese per line."""
    fields = [line.split("\t") for line in path.read_text(encoding="utf8").splitlines()]
    return [Pair(english, japanese, "speech") for _, _, english, japanese in fields]


def overlap_report(
    train: dict[str, list[Pair]], held: dict[str, list[Pair]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Count, for each training file and held-out set, the pairs that repeat a held-out sentence."""
    report = {}
    for held_name, held_pairs in held.items():
        known = Held(held_pairs)
        for name, pairs in train.items():
            kinds = [known.overlap(pair) for pair in pairs]
            counts = {kind: kinds.count(kind) for kind in ("english", "japanese", "near")}
            report.setdefault(held_name, {})[name] = {"pairs": len(pairs), **counts}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("overlap", "tokenizer"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--speech", type=Path)
    parser.add_argument(
        "--extra", type=Path, nargs="*", default=[], help="distilled pairs, checked like train"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    train = read_pairs(args.data / "train.tsv")
    if args.step == "tokenizer":
        train_tokenizer(train, args.out)
        return
    held = {name: read_pairs(args.data / f"{name}.tsv") for name in ("dev", "test")}
    if args.speech:
        held["speech"] = read_speech(args.speech)
    report = overlap_report(
        {"train": train} | {path.name: read_pairs(path) for path in args.extra}, held
    )
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
