"""The training pairs: the corpus without repeats of held-out sentences, and pairs made of it.

    python gold.py --data DATA_DIR --out gold.tsv extra.tsv

`extra.tsv` gets runs of several sentences (long inputs), shared names replaced by others (copying), and greetings before
everyday sentences (dialogue). What repeats a dev, test or benchmark sentence is dropped from both files.
"""

import argparse
import random
import re
from collections import defaultdict
from pathlib import Path

from corpus import Held, Pair, everyday, read_pairs, read_speech, write_pairs

LATIN_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{3,}(?![A-Za-z])")
LOWERED = frozenset(
    "a an are can could did do does have he her his how i'll is it it's let let's my our please she that the there "
    "these they this those was we what what's when where which who why will would you your".split()
)
OPENERS = {
    "Hello": "こんにちは", "Hi": "こんにちは", "Good morning": "おはようございます", "Good afternoon": "こんにちは",
    "Good evening": "こんばんは", "Thank you": "ありがとうございます", "Thanks": "ありがとう", "Sorry": "すみません",
    "I'm sorry": "すみません", "Excuse me": "すみません", "Yes": "はい", "No": "いいえ", "Okay": "わかりました",
    "Sure": "もちろん", "Of course": "もちろん", "All right": "わかりました", "Great": "素晴らしい",
}  # fmt: skip


def held_out(data: Path) -> Held:
    """The sentences that must stay out: dev, test and, where it lies beside them, the speech benchmark."""
    speech = read_speech(data / "speech.txt") if (data / "speech.txt").exists() else []
    return Held(read_pairs(data / "dev.tsv") + read_pairs(data / "test.tsv") + speech)


def concatenated(pairs: list[Pair], count: int, rng: random.Random) -> list[Pair]:
    """Draw `count` runs of 2 to 4 sentences of the same tag, so that long inputs are translated to their end."""
    by_tag = defaultdict(list)
    for pair in pairs:
        by_tag[pair.tag].append(pair)
    joined = []
    for first in rng.choices(pairs, k=count):
        run = [first, *rng.choices(by_tag[first.tag], k=rng.choice((1, 1, 1, 2, 3)))]
        english = " ".join(
            pair.english if pair.english[-1] in ".!?:" else pair.english + "." for pair in run
        )
        japanese = "".join(
            pair.japanese if pair.japanese[-1] in "。!?:" else pair.japanese + "。" for pair in run
        )
        joined.append(Pair(english, japanese, first.tag))
    return joined


def renamed(pairs: list[Pair], count: int, rng: random.Random) -> list[Pair]:
    """Replace a Latin word that both sides share by one from elsewhere or an invented one: teaches copying."""
    sharing = [
        (pair, word)
        for pair in pairs
        for word in LATIN_WORD.findall(pair.english)[:8]
        if word[0].isupper() and word in LATIN_WORD.findall(pair.japanese)
    ]
    words = [word for _, word in sharing]
    renamed_pairs = []
    for pair, old in rng.sample(sharing, min(count, len(sharing))):
        new = rng.choice(words)
        if (
            rng.random() < 0.5
        ):  # invent: the head of one word on the tail of another, sometimes with an accent
            other = rng.choice(words).lower()
            new = (new[: rng.randint(1, 4)] + other[rng.randint(0, 3) :]).capitalize()
            if rng.random() < 0.2:
                new = new.translate(str.maketrans("eouanc", "éöüáñç"))
        swap = re.compile(rf"(?<![A-Za-z]){old}(?![A-Za-z])")
        renamed_pairs.append(
            Pair(swap.sub(new, pair.english), swap.sub(new, pair.japanese), pair.tag)
        )
    return renamed_pairs


def greeted(pairs: list[Pair], count: int, rng: random.Random) -> list[Pair]:
    """Put a greeting or a short answer before short everyday sentences, behind a comma or as its own sentence."""
    short = [pair for pair in pairs if everyday(pair) and len(pair.english.split()) <= 10]
    made = []
    for pair in rng.sample(short, min(count, len(short))):
        (opener, meaning), english = rng.choice(list(OPENERS.items())), pair.english
        if rng.random() < 0.5:
            if english.split()[0].lower() in LOWERED:
                english = english[0].lower() + english[1:]
            made.append(Pair(f"{opener}, {english}", f"{meaning}、{pair.japanese}", pair.tag))
        else:
            made.append(Pair(f"{opener}. {english}", f"{meaning}。{pair.japanese}", pair.tag))
    return made


def gold(data: Path, seed: int = 1) -> tuple[list[Pair], list[Pair]]:
    """Training pairs without repeats of held-out sentences; and pairs made of them, a quarter of their number."""
    held, rng = held_out(data), random.Random(seed)
    pairs = [pair for pair in read_pairs(data / "train.tsv") if not held.overlap(pair)]
    spoken = [pair for pair in pairs if everyday(pair)]
    made = [
        *concatenated(pairs, len(pairs) // 10, rng),
        *concatenated(spoken, len(pairs) // 16, rng),
        *renamed(pairs, len(pairs) // 20, rng),
        *greeted(pairs, len(pairs) // 60, rng),
    ]
    return pairs, [pair for pair in made if not held.overlap(pair)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, nargs=2, required=True)
    args = parser.parse_args()
    for pairs, path in zip(gold(args.data), args.out, strict=True):
        write_pairs(pairs, path)


if __name__ == "__main__":
    main()
