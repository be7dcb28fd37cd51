"""What one translation adds to the corpus scores, BLEU on characters and chrF, on the GPU.

Both scores are functions of sums over the corpus: matched, produced and expected n-grams of characters. The reward of a
translation is the derivative of their logarithms along its own counts, so that rewards add up as the scores do, the
brevity penalty included. Counts are those of sacrebleu (`tokenize="char"`; white space does not count).
"""

from collections.abc import Sequence

import numpy as np
import sentencepiece
import torch
from torch import Tensor

ORDERS = 6  # of chrF; BLEU takes the first 4
BETA2 = 4  # chrF2 weighs recall twice
MEMORY = 0.98  # share of the sums that a batch leaves


def characters(text: str) -> np.ndarray:
    """Code points without white space."""
    return np.array([ord(c) for c in "".join(text.split())], np.int64)


def spelling(spm: sentencepiece.SentencePieceProcessor) -> Tensor:
    """Code points of every token id (piece id + 1): [ids, longest piece], 0 where there is none."""
    pieces = ["" if spm.is_control(i) or spm.is_unknown(i) else spm.id_to_piece(i).replace("\u2581", "")
              for i in range(spm.vocab_size())]  # fmt: skip
    table = np.zeros((len(pieces) + 5, max(map(len, pieces))), np.int64)
    for i, piece in enumerate(pieces, 1):
        table[i, : len(piece)] = characters(piece)
    return torch.from_numpy(table)


def spell(tokens: Tensor, table: Tensor) -> Tensor:
    """Characters [B, longest] of token rows [B, T], 0 behind the end."""
    spread = table[tokens].flatten(1)
    real = spread > 0
    texts = torch.zeros(
        len(spread), int(real.sum(1).max()) + 1, dtype=spread.dtype, device=spread.device
    )
    place = torch.where(real, real.cumsum(1) - 1, texts.shape[1] - 1)
    return texts.scatter_(1, place, torch.where(real, spread, 0))


def matches(texts: Tensor, references: Tensor) -> Tensor:
    """Clipped n-gram matches of texts [B, L] with references [B, R], orders 1 to 6: [B, 6].

    An n-gram at a place counts if it occurred less often before, in the text, than the reference has it.
    """
    first = (texts[:, :, None] == references[:, None]) & (texts > 0)[:, :, None]
    again = (texts[:, :, None] == texts[:, None]) & (texts > 0)[:, :, None]
    found, equal, repeat = [], first, again
    for n in range(ORDERS):
        if n:
            equal = equal[:, :-1, :-1] & first[:, n:, n:]
            repeat = repeat[:, :-1, :-1] & again[:, n:, n:]
        found.append((repeat.tril(-1).sum(2) < equal.sum(2)).sum(1))
    return torch.stack(found, 1)


def totals(texts: Tensor) -> Tensor:
    """Number of n-grams of each order: [..., 6]."""
    return ((texts > 0).sum(-1, keepdim=True) - torch.arange(ORDERS, device=texts.device)).clamp(
        min=0
    )


class Judge:
    """Rewards against running corpus sums, kept for everyday and technical sentences apart.

    Translations below `length` (of technical sentences, of everyday ones; or one for both) times the references' length
    are taken as too short. `chrf` is the weight of chrF in a reward (likewise), the rest is BLEU's.
    """

    def __init__(self, device: str, length: Sequence[float] = (1.0,), chrf: Sequence[float] = (0.5,)) -> None:  # fmt: skip
        self.length = torch.tensor([length[0], length[-1]], dtype=torch.float64, device=device)
        share = torch.tensor([chrf[0], chrf[-1]], dtype=torch.float64, device=device)
        self.weights = torch.stack([1 - share, share])
        self.sums = torch.zeros(2, 3, ORDERS, dtype=torch.float64, device=device)
        self.sentences = torch.zeros(2, dtype=torch.float64, device=device)

    def __call__(self, texts: Tensor, references: Tensor, kind: Tensor) -> Tensor:
        """Rewards [N, K] of texts [N * K, L] against references [N, R] of kinds [N] (0 or 1)."""
        each = len(texts) // len(references)
        expected = totals(references)
        size = max(1, 400_000_000 // (texts.shape[1] * max(texts.shape[1], references.shape[1])))
        repeated = references.repeat_interleave(each, 0)
        matched = torch.cat(
            [matches(*part) for part in zip(texts.split(size), repeated.split(size), strict=True)]
        )
        counts = torch.stack(
            [matched.view(-1, each, ORDERS), totals(texts).view(-1, each, ORDERS)], 2
        ).double()
        self.remember(counts.mean(1), expected.double(), kind)
        return (self.slopes()[kind][:, None] * counts).sum((2, 3)).float()

    def remember(self, produced: Tensor, expected: Tensor, kind: Tensor) -> None:
        new = torch.cat([produced, expected[:, None]], 1)
        for k in range(2):
            if (kind == k).any():
                self.sums[k] = MEMORY * self.sums[k] + new[kind == k].sum(0)
                self.sentences[k] = MEMORY * self.sentences[k] + (kind == k).sum()

    def scores(self, sums: Tensor) -> Tensor:
        """Logarithms of BLEU and chrF, each [2], of sums [2, 3, 6]: matched, produced, expected."""
        matched, produced, expected = sums.clamp(min=1e-9).unbind(1)
        precision, recall = matched / produced, matched / expected
        short = (1 - self.length * expected[:, 0] / produced[:, 0]).clamp(max=0)
        bleu = precision[:, :4].log().mean(1) + short
        p, r = precision.mean(1), recall.mean(1)
        return torch.stack([bleu, ((1 + BETA2) * p * r / (BETA2 * p + r)).log()])

    def slopes(self) -> Tensor:
        """Derivatives of the weighted log scores of a corpus of one sentence by matched and produced counts: [2, 2, 6]."""
        sums = self.sums.clone().requires_grad_()
        (self.weights * self.scores(sums)).sum().backward()
        return sums.grad[:, :2] * self.sentences[:, None, None]

    def __str__(self) -> str:
        bleu, chrf = (100 * self.scores(self.sums).exp()).tolist()
        lengths = (self.sums[:, 1, 0] / self.sums[:, 2, 0].clamp(min=1)).tolist()
        return f"technical {bleu[0]:.2f} / {chrf[0]:.2f} x{lengths[0]:.3f} everyday {bleu[1]:.2f} / {chrf[1]:.2f} x{lengths[1]:.3f}"
