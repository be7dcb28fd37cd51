"""Batched beam search with one model or an ensemble, on a GPU.

    python decode.py --models RUN_DIR ... --spm MODEL --pairs FILE.tsv --out FILE.jsonl [--shard 0/4]

Each output line is `[line number in FILE.tsv, [candidate, ...]]`, best first.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from batches import EOS, PAD, language_ids
from corpus import everyday, read_pairs
from model import MAX_TOKENS, Transformer, load
from torch import Tensor

UNK = 3


class Cached:
    """One model decoding rows in step: cross-attention keys and values per sentence, self-attention's per beam."""

    def __init__(
        self, model: Transformer, sources: list[np.ndarray], beam: int, limit: int
    ) -> None:
        self.model, self.beam = model, beam
        device, dtype = model.shared.weight.device, model.shared.weight.dtype
        width = max(map(len, sources))
        padded = np.stack(
            [np.pad(source, (0, width - len(source)), constant_values=PAD) for source in sources]
        )
        tokens = torch.from_numpy(padded).to(device)
        self.mask = (tokens != PAD)[:, None, None]
        memory = model.encode(
            tokens, torch.arange(width, device=device).expand_as(tokens), (tokens != PAD).long()
        )
        shape = len(sources) * beam, model.shape.heads, limit, 64
        self.cross, self.own = [], []
        for layer in model.decoder.layers:
            self.cross.append(
                [
                    x.transpose(1, 2).contiguous()
                    for x in layer.encoder_attn.project(memory, "k_proj", "v_proj")
                ]
            )
            self.own.append([torch.empty(shape, device=device, dtype=dtype) for _ in range(2)])

    def step(self, tokens: Tensor, at: int) -> Tensor:
        """Feed tokens [rows] at position `at`; returns probabilities [rows, vocabulary] in float32."""
        model = self.model
        x = model.shared(tokens) * model.shape.width**0.5 + model.positions[at]
        for layer, (cross_k, cross_v), (own_k, own_v) in zip(
            model.decoder.layers, self.cross, self.own, strict=True
        ):
            q, k, v = layer.self_attn.project(
                layer.self_attn_layer_norm(x), "q_proj", "k_proj", "v_proj"
            )
            own_k[:, :, at], own_v[:, :, at] = k, v
            y = F.scaled_dot_product_attention(
                q[:, :, None], own_k[:, :, : at + 1], own_v[:, :, : at + 1]
            )
            x = x + layer.self_attn.out_proj(y.flatten(1))
            (q,) = layer.encoder_attn.project(layer.encoder_attn_layer_norm(x), "q_proj")
            q = q.unflatten(0, (-1, self.beam)).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, cross_k, cross_v, attn_mask=self.mask)
            x = layer.feed_forward(
                x + layer.encoder_attn.out_proj(y.transpose(1, 2).reshape(len(x), -1))
            )
        return F.linear(model.decoder.layer_norm(x), model.shared.weight).float().softmax(-1)

    def select(self, rows: Tensor, filled: int) -> None:
        """Reorder the beams: row i goes on from row `rows[i]`."""
        for caches in self.own:
            for cache in caches:
                cache[:, :, :filled] = cache[rows, :, :filled]

    def keep(self, sentences: Tensor) -> None:
        """Drop every sentence but these."""
        self.mask = self.mask[sentences]
        self.cross = [[x[sentences] for x in pair] for pair in self.cross]
        rows = (
            sentences[:, None] * self.beam + torch.arange(self.beam, device=sentences.device)
        ).flatten()
        self.own = [[x[rows] for x in pair] for pair in self.own]


@torch.inference_mode()
def search(
    models: list[Transformer], sources: list[np.ndarray], to: int, beam: int = 4
) -> list[list[list[int]]]:
    """Translate token sequences; returns up to `beam` hypotheses each (ids without specials), best first.

    Beams of a sentence compete by summed log probability of the averaged distributions; a finished one keeps its place.
    The last ranking is by log probability per token.
    """
    device = models[0].shared.weight.device
    limit = min(MAX_TOKENS, int(1.6 * max(map(len, sources))) + 14)
    caches = [Cached(model, sources, beam, limit) for model in models]
    banned = torch.tensor(
        [0, PAD, UNK, *range(models[0].shape.vocabulary - 3, models[0].shape.vocabulary)],
        device=device,
    )
    number = torch.arange(len(sources), device=device)
    tokens = torch.full((len(sources), beam, limit), EOS, device=device)
    tokens[:, :, 1] = to
    scores = torch.full((len(sources), beam), -torch.inf, device=device)
    scores[:, 0] = 0
    done = torch.zeros_like(scores, dtype=torch.bool)
    found: list[list[list[int]]] = [[] for _ in sources]

    def collect(chosen: Tensor) -> None:
        lengths = (tokens[chosen, :, 2:] != EOS).sum(-1) + 1
        ranked = (
            (scores[chosen] / lengths - 5.0 * ~done[chosen]).argsort(1, descending=True).tolist()
        )
        for i, order, beams in zip(
            number[chosen].tolist(), ranked, tokens[chosen, :, 2:].tolist(), strict=True
        ):
            found[i] = [[t for t in beams[k] if t != EOS] for k in order]

    for at in range(limit - 1):
        probability = sum(cache.step(tokens[:, :, at].flatten(), at) for cache in caches) / len(
            caches
        )
        if at == 0:
            continue
        probability[:, banned] = 0
        if at == 1:
            probability[:, EOS] = 0
        best, piece = probability.log().topk(beam)
        best, piece = (x.unflatten(0, (-1, beam)) for x in (best, piece))
        stay = torch.full_like(best, -torch.inf)
        stay[:, :, 0] = 0
        best = torch.where(done[:, :, None], stay, best)
        piece = torch.where(done[:, :, None], EOS, piece)
        scores, choice = (scores[:, :, None] + best).flatten(1).topk(beam)
        parent = choice // best.shape[2]
        tokens = tokens.gather(1, parent[:, :, None].expand_as(tokens))
        tokens[:, :, at + 1] = piece.flatten(1).gather(1, choice)
        done = tokens[:, :, at + 1] == EOS
        if beam > 1:
            rows = (torch.arange(len(tokens), device=device)[:, None] * beam + parent).flatten()
            for cache in caches:
                cache.select(rows, at + 1)
        if at % 4 == 0:
            over = done[:, 0] & (done.sum(1) * 2 >= beam)
            if over.all():
                break
            if over.float().mean() > 0.3:
                collect(over.nonzero()[:, 0])
                alive = (~over).nonzero()[:, 0]
                number, tokens, scores, done = (x[alive] for x in (number, tokens, scores, done))
                for cache in caches:
                    cache.keep(alive)
    collect(torch.arange(len(number), device=device))
    return found


def translate(models: list[Transformer], texts: list[str], spm: sentencepiece.SentencePieceProcessor, beam: int,
              rows: int = 6144) -> Iterator[tuple[int, list[str]]]:  # fmt: skip
    """Translate texts, longest first, in batches of about `rows` beams; yields (number, candidates)."""
    start, to = language_ids(spm)
    sources = [
        np.array([start, *(p + 1 for p in pieces), EOS])[-140:]
        for pieces in spm.encode(texts, num_threads=8)
    ]
    order = sorted(range(len(texts)), key=lambda i: -len(sources[i]))
    at = 0
    while at < len(order):
        scale = min(3.0, max(0.3, 30 / len(sources[order[at]])))
        chunk = order[at : at + int(rows * scale) // beam]
        at += len(chunk)
        found = search(models, [sources[i] for i in chunk], to, beam)
        flat = spm.decode(
            [[t - 1 for t in tokens] for candidates in found for tokens in candidates],
            num_threads=8,
        )
        for n, i in enumerate(chunk):
            yield i, flat[n * beam : (n + 1) * beam]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--spm", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--everyday-beam", type=int, default=4)
    parser.add_argument(
        "--technical-beam", type=int, default=2, help="documentation is most of the time"
    )
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th pair from i")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    shard, shards = map(int, args.shard.split("/"))
    dtype = torch.float32 if args.device == "cpu" else torch.bfloat16
    models = [load(path, args.device, dtype) for path in args.models]
    spm = sentencepiece.SentencePieceProcessor(model_file=str(args.spm))
    numbered = list(enumerate(read_pairs(args.pairs)))[shard::shards]
    with args.out.with_suffix(".partial").open("w", encoding="utf8") as lines:
        for spoken, beam in ((True, args.everyday_beam), (False, args.technical_beam)):
            part = [(n, pair.english) for n, pair in numbered if everyday(pair) == spoken]
            for i, candidates in translate(models, [text for _, text in part], spm, beam):
                lines.write(json.dumps([part[i][0], candidates], ensure_ascii=False) + "\n")
    args.out.with_suffix(".partial").replace(args.out)


if __name__ == "__main__":
    main()
