"""The model in plain PyTorch ops: the encoder everywhere, one decoder step as the reference.

Everything has a static shape and lives in `State`, so a step can be captured in a CUDA graph and
the same step runs on a CPU. One sentence at a time; rows of a step are its beams.
"""

from __future__ import annotations

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor  # noqa: TID253

from stt.nllb.weights import Linear, Norm, Weights

GROUP = 256
"""Width of the groups of heads that the caches and kernels work in."""


class State:
    """All that changes while a sentence is decoded.

    Attributes:
        given: int64 [tokens + 2], what the host says of a sentence: `source` int64 [tokens], of which
            `length` int64 [1] are the sentence, and `forced` int64 [1], the target language.
        step: int64 [1], target position that the next step reads.
        x: float32 [beam, d], embedding of the token at `step`.
        keys: self-attention cache [layers, 2, groups, tokens, beam, group width].
        cross: keys and values of the source [layers, 2, groups, tokens, group width].
        table: int64 [beam, tokens], cache row of each earlier position of a beam.
        scores: float32 [beam], log-probability of the beams.
        record: float32 [tokens, candidates, 3], (token, parent beam, score) of each step.
        told: the same where the host reads it; kernels write it there themselves.
        done: int32 [1], the end token was chosen: later steps may do nothing.
    """

    def __init__(self, weights: Weights, beam: int, tokens: int, dtype: torch.dtype) -> None:
        shape, device = weights.shape, weights.embedding.device
        self.beam, self.tokens = beam, tokens
        width = min(GROUP, shape.d_model)
        groups, layers = shape.d_model // width, shape.decoder_layers
        self.given = torch.ones(tokens + 2, dtype=torch.long, device=device)
        self.source, self.length, self.forced = self.given.split((tokens, 1, 1))
        self.step = torch.zeros(1, dtype=torch.long, device=device)
        self.x = torch.zeros(beam, shape.d_model, device=device)
        self.keys = torch.zeros(layers, 2, groups, tokens, beam, width, dtype=dtype, device=device)
        self.cross = torch.zeros(layers, 2, groups, tokens, width, dtype=dtype, device=device)
        self.identity = torch.arange(beam, device=device)[:, None].repeat(1, tokens)
        self.table = self.identity.clone()
        self.first = torch.full((beam,), -1e9, device=device)
        self.first[0] = 0.0
        self.scores = self.first.clone()
        self.logits = torch.zeros(beam, weights.head.shape[0], device=device)
        self.candidates = 1 if beam == 1 else 2 * beam
        self.record = torch.zeros(tokens, self.candidates, 3, device=device)
        self.told = self.record
        if device.type == "cuda":
            self.told = torch.zeros(self.record.shape, pin_memory=True)
        self.done = torch.zeros(1, dtype=torch.int32, device=device)


def normed(x: Tensor, norm: Norm) -> Tensor:
    """Layer norm in the dtype of its parameters."""
    return F.layer_norm(x.to(norm.gain.dtype), norm.gain.shape, norm.gain, norm.shift, 1e-5)


def linear(x: Tensor, layer: Linear) -> Tensor:
    """x W^T + b."""
    return F.linear(x, layer.weight, layer.bias)


def encode(weights: Weights, state: State, bucket: int) -> None:
    """Encode the first `bucket` source tokens and fill `state.cross`; padding is masked."""
    shape = weights.shape
    heads, d = shape.heads, shape.d_model
    known = torch.arange(bucket, device=state.source.device) < state.length
    mask = known[None, None, None, :]
    x = weights.embedding[state.source[:bucket]].float() * shape.embedding_scale
    x = (x + weights.positions[:bucket]).to(weights.encoder_norm.gain.dtype)
    for layer in weights.encoder:
        qkv = linear(normed(x, layer.attention_norm), layer.qkv)
        q, k, v = qkv.view(1, bucket, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + linear(y.transpose(1, 2).reshape(bucket, d), layer.out)
        x = x + linear(F.relu(linear(normed(x, layer.ffn_norm), layer.fc1)), layer.fc2)
    kv = linear(normed(x, weights.encoder_norm), weights.cross_kv)
    layers, _, groups, _, width = state.cross.shape
    state.cross[:, :, :, :bucket] = kv.view(bucket, layers, 2, groups, width).permute(1, 2, 3, 0, 4)


def layers(weights: Weights, state: State, bucket: int, source_bucket: int) -> None:
    """One decoder step over all layers, from `state.x` to `state.logits`.

    Args:
        bucket: cache positions that are looked at; more than `state.step`.
    """
    shape, beam = weights.shape, state.beam
    heads, d = shape.heads, shape.d_model
    past = (torch.arange(bucket, device=state.x.device) <= state.step)[None, None, :]
    known = (torch.arange(source_bucket, device=state.x.device) < state.length)[None, None, :]
    at = torch.arange(bucket, device=state.x.device)
    x = state.x
    for i, layer in enumerate(weights.decoder):
        q, k, v = linear(normed(x, layer.attention_norm), layer.qkv).view(beam, 3, d).unbind(1)
        for which, new in enumerate((k, v)):
            rows = new.view(beam, -1, state.keys.shape[-1]).transpose(0, 1)[:, None]
            state.keys[i, which].index_copy_(1, state.step, rows.to(state.keys.dtype))
        # [groups, beam, bucket, width] -> [beam, heads, bucket, head width]
        k, v = (
            state.keys[i, j][:, at[None, :], state.table[:, :bucket]]
            .to(q.dtype)
            .unflatten(-1, (-1, d // heads))
            .permute(1, 0, 3, 2, 4)
            .reshape(beam, heads, bucket, d // heads)
            for j in (0, 1)
        )
        x = x + linear(_attend(q, k, v, past), layer.out)
        q = linear(normed(x, layer.cross_norm), layer.cross_q)
        k, v = (
            state.cross[i, j][:, :source_bucket]
            .to(q.dtype)
            .unflatten(-1, (-1, d // heads))
            .permute(0, 2, 1, 3)
            .reshape(1, heads, source_bucket, d // heads)
            for j in (0, 1)
        )
        x = x + linear(_attend(q, k, v, known), layer.cross_out)
        x = x + linear(F.relu(linear(normed(x, layer.ffn_norm), layer.fc1)), layer.fc2)
    state.logits.copy_(F.linear(normed(x, weights.decoder_norm), weights.head))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of one query per beam: q [beam, d], k and v [beam or 1, heads, positions, width]."""
    beam, heads, width = q.shape[0], k.shape[1], k.shape[3]
    q = q.view(beam, heads, width) * width**-0.5
    scores = torch.einsum("bhw,bhtw->bht", q, k.expand(beam, -1, -1, -1))
    shares = scores.float().masked_fill(~mask, float("-inf")).softmax(-1).to(v.dtype)
    return torch.einsum("bht,bhtw->bhw", shares, v.expand(beam, -1, -1, -1)).reshape(beam, -1)


def begin(weights: Weights, state: State) -> None:
    """Forget the last sentence; the next step reads the start token."""
    for tensor in (state.step, state.done):
        tensor.zero_()
    state.table.copy_(state.identity)
    state.scores.copy_(state.first)
    _embed(weights, state, torch.full_like(state.identity[:, 0], weights.shape.start))


def force(weights: Weights, state: State) -> None:
    """Take `state.forced` as the next token, whatever the logits are (the target language)."""
    state.record[0, :, 0] = state.forced.float()
    state.step += 1
    _embed(weights, state, state.forced.expand(state.beam))


def select(weights: Weights, state: State) -> None:
    """Choose the next tokens from `state.logits` on the device, and embed them."""
    beam = state.beam
    if beam == 1:
        score, row = state.logits.max(1)
        token = row if weights.ids is None else weights.ids[row]
        candidates = torch.stack([token.float(), torch.zeros_like(score), score], 1)
        state.done |= (token == weights.shape.end).int()
    else:
        total = state.logits.log_softmax(1) + state.scores[:, None]
        score, flat = total.flatten().topk(state.candidates)
        parent, row = flat // total.shape[1], flat % total.shape[1]
        token = row if weights.ids is None else weights.ids[row]
        candidates = torch.stack([token.float(), parent.float(), score], 1)
        # Sorted by score: the running beams are the first ones that did not end.
        keep = torch.sort((token == weights.shape.end).int(), stable=True)[1][:beam]
        token, parent = token[keep], parent[keep]
        state.scores.copy_(score[keep])
        at = torch.arange(state.tokens, device=parent.device)[None, :]
        moved = torch.where(at == state.step, parent[:, None], state.table[parent])
        state.table.copy_(torch.where(at <= state.step, moved, state.identity))
    state.record.index_copy_(0, state.step, candidates[None])
    state.step += 1
    _embed(weights, state, token)


def _embed(weights: Weights, state: State, token: Tensor) -> None:
    """Embed the tokens [beam] at `state.step`; transformers gives a chosen pad token no position."""
    position = weights.positions.index_select(0, state.step) * (token != weights.shape.pad)[:, None]
    state.x.copy_(weights.embedding[token].float() * weights.shape.embedding_scale + position)
