"""English sentences that are new and fluent: two training sentences of one kind, joined where they share two words.

    python splice.py --pairs gold.tsv --data DATA_DIR --out spliced.tsv [--everyday 400000 --technical 400000]

Everyday ones are made of Tatoeba's sentences. Their Japanese column is empty: `agree.py` fills it.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from corpus import Pair, everyday, read_pairs, tatoeba, write_pairs
from gold import held_out

WORDS = 3, 32  # of a new sentence


def splices(sentences: list[list[str]], rng: random.Random) -> Iterator[str]:
    """Endless new sentences: the beginning of one and the end of another, from the two words on that both have."""
    places = defaultdict(list)
    for number, words in enumerate(sentences):
        for at in range(len(words) - 2):
            places[words[at], words[at + 1]].append((number, at))
    while True:
        first = rng.choice(sentences)
        if len(first) < 4:
            continue
        at = rng.randrange(len(first) - 2)
        number, there = rng.choice(places[first[at], first[at + 1]])
        words = first[:at] + sentences[number][there:]
        if WORDS[0] <= len(words) <= WORDS[1] and words not in (first, sentences[number]):
            yield " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="with the sentences to keep out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--everyday", type=int, default=400_000)
    parser.add_argument("--technical", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    pairs, held, rng = read_pairs(args.pairs), held_out(args.data), random.Random(args.seed)
    known, new = {pair.english for pair in pairs}, []
    kinds = {
        "tatoeba-spliced": ([p for p in pairs if tatoeba(p)], args.everyday),
        "spliced": ([p for p in pairs if not everyday(p)], args.technical),
    }
    for tag, (of, count) in kinds.items():
        made = {}
        for english in splices([pair.english.split() for pair in of], rng):
            if english not in known and english not in made:
                made[english] = Pair(english, "", tag)
            if len(made) == count:
                break
        new += made.values()
    new = [pair for pair in new if not held.overlap(pair)]
    rng.shuffle(new)
    write_pairs(new, args.out)


if __name__ == "__main__":
    main()
