"""Loops: a group of tokens that greedy decoding repeats instead of going on.

Whoever finds one decodes the sentence again with the doubled group forbidden, which costs nothing where there is no loop
and changes nothing elsewhere (forbidding every repeated n-gram does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stt.quality import repeats

LONGEST_GROUP = 8
ATTEMPTS = 3
"""How often a sentence is decoded again, each time with one more group forbidden."""


def loop(tokens: Sequence[str], source: str) -> list[str]:
    """The group that `tokens` end on, as often as `stt.quality` calls a loop; empty if there is none.

    What the source text repeats, too, is none.
    """
    for size in range(1, LONGEST_GROUP + 1):
        group = list(tokens[-size:])
        if list(tokens[-2 * size : -size]) != group:
            continue
        text = "".join(group).replace("▁", " ").strip()
        times = repeats(text)
        repeated = list(tokens[-times * size :]) == times * group
        if repeated and any(char.isalpha() for char in text) and source.count(text) < 2:
            return group
    return []


def first_loop(tokens: Sequence[str], source: str) -> list[str]:
    """The first loop anywhere in `tokens`; empty if there is none."""
    return next((g for end in range(1, len(tokens) + 1) if (g := loop(tokens[:end], source))), [])


def without_loops(decode: Callable[[list[list[str]]], list[str]], source: str) -> list[str]:
    """Tokens that `decode` says, given the sequences it may not say: none at first, then twice each group it looped in."""
    forbidden: list[list[str]] = []
    tokens = decode(forbidden)
    while (group := first_loop(tokens, source)) and len(forbidden) < ATTEMPTS:
        forbidden.append(2 * group)
        tokens = decode(forbidden)
    return tokens
