"""Batched beam search with one model or an ensemble, on a GPU.

Beams never move: a beam's query sees the keys of all beams of its sentence and a mask of the slots of its own ancestors,
so that a step writes one slot per beam and copies no cache.
"""

import random
import time
from collections.abc import Iterator

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from batches import EOS, PAD, language_ids, padded, wrap
from model import MAX_TOKENS, Transformer
from torch import Tensor

UNK = 3
LONGEST = 140  # source tokens kept


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """q [sentences, H, beam, D], k and v [sentences, H, slots, D], mask broadcasts to [sentences, H, beam, slots]."""
    scores = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, -1e4).softmax(-1, dtype=torch.float32).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def encoded(model: Transformer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's output [sentences, longest, width] for padded sources, and 1 where a token is, else 0."""
    real = (tokens != PAD).long()
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    return model.encode(tokens, places, real), real


class Cached:
    """One model decoding beams [sentences, beam] in step; caches are [sentences, H, slots, D], slot = position * beam + beam."""

    def __init__(self, model: Transformer, tokens: Tensor, beam: int, limit: int) -> None:
        """`tokens` [sentences, longest]: the sources, padded."""
        self.model, self.beam = model, beam
        device, dtype = tokens.device, model.shared.weight.dtype
        memory, real = encoded(model, tokens)
        self.mask = real.bool()[:, None, None]
        shape = len(tokens), model.shape.heads, limit * beam, 64
        self.cross, self.own = [], []
        for layer in model.decoder.layers:
            projected = layer.encoder_attn.project(memory, "k_proj", "v_proj")
            self.cross.append([x.transpose(1, 2).contiguous() for x in projected])
            self.own.append([torch.empty(shape, device=device, dtype=dtype) for _ in range(2)])

    def step(self, tokens: Tensor, at: int, ancestors: Tensor) -> Tensor:
        """Feed tokens [sentences, beam] at position `at`; returns probabilities [sentences, beam, vocabulary] in float32.

        ancestors [sentences, 1, beam, slots up to and with `at`]: which slots a beam descends from.
        """
        model, slots = self.model, (at + 1) * self.beam
        x = model.shared(tokens) * model.shape.width**0.5 + model.positions[at]
        for layer, cross, own in zip(model.decoder.layers, self.cross, self.own, strict=True):
            y = layer.self_attn_layer_norm(x)
            q, k, v = layer.self_attn.project(y, "q_proj", "k_proj", "v_proj")
            for cache, new in zip(own, (k, v), strict=True):
                cache[:, :, slots - self.beam : slots] = new.transpose(1, 2)
            y = attend(q.transpose(1, 2), own[0][:, :, :slots], own[1][:, :, :slots], ancestors)
            x = x + layer.self_attn.out_proj(y)
            (q,) = layer.encoder_attn.project(layer.encoder_attn_layer_norm(x), "q_proj")
            y = attend(q.transpose(1, 2), *cross, self.mask)
            x = layer.feed_forward(x + layer.encoder_attn.out_proj(y))
        logits = F.linear(model.decoder.layer_norm(x), model.shared.weight)
        return logits.softmax(-1, dtype=torch.float32)

    def keep(self, sentences: Tensor) -> None:
        """Drop every sentence but these."""
        self.mask = self.mask[sentences]
        self.cross = [[x[sentences] for x in pair] for pair in self.cross]
        self.own = [[x[sentences] for x in pair] for pair in self.own]


def banned(model: Transformer) -> Tensor:
    """Ids that are no text: <s>, <pad>, <unk>, <mask> and the languages."""
    rows = model.shape.vocabulary
    return torch.tensor([0, PAD, UNK, *range(rows - 3, rows)], device=model.shared.weight.device)


def forbid(probability: Tensor, forbidden: Tensor, at: int) -> None:
    """Rule out what may not follow position `at`: `forbidden` ids, and an end before anything was said."""
    probability[:, :, forbidden] = 0
    if at == 1:
        probability[:, :, EOS] = 0


@torch.inference_mode()
def search(
    models: list[Transformer], sources: list[np.ndarray], to: int, beam: int = 4
) -> list[list[list[int]]]:
    """Translate token sequences; returns up to `beam` hypotheses each (ids without specials), best first.

    Beams of a sentence compete by summed log probability of the averaged distributions; a finished one keeps its place.
    The last ranking is by log probability per token.
    """
    device, count = models[0].shared.weight.device, len(sources)
    limit = min(MAX_TOKENS, int(1.6 * max(map(len, sources))) + 14)
    source_tokens = padded(sources, PAD).to(device)
    caches = [Cached(model, source_tokens, beam, limit) for model in models]
    forbidden = banned(models[0])
    self_slot = torch.eye(beam, dtype=torch.bool, device=device)[None, None]
    ancestors = torch.zeros(count, 1, beam, limit * beam, dtype=torch.bool, device=device)
    number = torch.arange(count, device=device)
    tokens = torch.full((count, beam, limit), EOS, device=device)
    tokens[:, :, 1] = to
    scores = torch.full((count, beam), -torch.inf, device=device)
    scores[:, 0] = 0
    done = torch.zeros_like(scores, dtype=torch.bool)
    found: list[list[list[int]]] = [[] for _ in sources]

    def collect(chosen: Tensor) -> None:
        lengths = (tokens[chosen, :, 2:] != EOS).sum(-1) + 1
        rank = scores[chosen] / lengths - 5.0 * ~done[chosen]
        for i, order, beams in zip(
            number[chosen].tolist(),
            rank.argsort(1, descending=True).tolist(),
            tokens[chosen, :, 2:].cpu().numpy(),
            strict=True,
        ):
            found[i] = [beams[k][beams[k] != EOS].tolist() for k in order]

    for at in range(limit - 1):
        slots = (at + 1) * beam
        ancestors[:, :, :, slots - beam : slots] = self_slot
        probability = caches[0].step(tokens[:, :, at], at, ancestors[..., :slots])
        for cache in caches[1:]:
            probability += cache.step(tokens[:, :, at], at, ancestors[..., :slots])
        if at == 0:
            continue  # the language token is given
        forbid(probability, forbidden, at)
        best, piece = probability.topk(beam)
        best = (best / len(caches)).log()
        stay = torch.full_like(best, -torch.inf)
        stay[:, :, 0] = 0
        best = torch.where(done[:, :, None], stay, best)
        piece = torch.where(done[:, :, None], EOS, piece)
        scores, choice = (scores[:, :, None] + best).flatten(1).topk(beam)
        parent = choice // beam
        tokens = tokens.gather(1, parent[:, :, None].expand_as(tokens))
        tokens[:, :, at + 1] = piece.flatten(1).gather(1, choice)
        ancestors = ancestors.gather(2, parent[:, None, :, None].expand_as(ancestors))
        done = tokens[:, :, at + 1] == EOS
        if at % 4 == 0:
            over = done[:, 0] & (done.sum(1) * 2 >= beam)
            left = len(over) - int(over.sum())
            if left == 0:
                break
            if left < 0.7 * len(over):
                collect(over.nonzero()[:, 0])
                alive = (~over).nonzero()[:, 0]
                number, tokens, scores, done, ancestors = (
                    x[alive] for x in (number, tokens, scores, done, ancestors)
                )
                for cache in caches:
                    cache.keep(alive)
    collect(torch.arange(len(number), device=device))
    return found


def translate(
    models: list[Transformer], texts: list[str], spm: sentencepiece.SentencePieceProcessor, beam: int,
    reverse: bool = False, slots: int = 400_000, until: float = float("inf"),
) -> Iterator[tuple[int, list[str]]]:  # fmt: skip
    """Translate texts in batches of about `slots` source tokens times beams; yields (number, candidates).

    `reverse` translates Japanese to English.
    Batches hold texts of like length and come in random order: what `until` (monotonic seconds) cuts off is a random part.
    """
    start, to = language_ids(spm)[::-1] if reverse else language_ids(spm)
    sources = [wrap(start, pieces)[-LONGEST:] for pieces in spm.encode(texts, num_threads=8)]
    order, batches = sorted(range(len(texts)), key=lambda i: -len(sources[i])), []
    while order:
        size = max(1, slots // (beam * (len(sources[order[0]]) + 8)))
        batches.append(order[:size])
        order = order[size:]
    random.Random(1).shuffle(batches)
    for batch in batches:
        if time.monotonic() > until:
            return
        found = search(models, [sources[i] for i in batch], to, beam)
        ids = [[t - 1 for t in tokens] for candidates in found for tokens in candidates]
        flat = spm.decode(ids, num_threads=8)
        for n, i in enumerate(batch):
            yield i, flat[n * beam : (n + 1) * beam]


def best(
    models: list[Transformer],
    texts: list[str],
    spm: sentencepiece.SentencePieceProcessor,
    beam: int,
) -> list[str]:
    """The best translation of each text."""
    found = dict(translate(models, texts, spm, beam))
    return [found[i][0] for i in range(len(texts))]
