# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"
"""The encoder in Triton: seven kernels a layer. `model.encode` in PyTorch ops is its reference.

A sentence is 16 to 64 rows, so a matrix is read once and a kernel's time is its launch and those bytes.
Matrices that end in the residual stream store float32 parts, one per range of columns, so that enough
programs read them; the layer norm that follows adds the parts and their bias. The last matrix stores
keys and values where the decoder reads them.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253
import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253
from torch import Tensor  # noqa: TID253

from stt.nllb.model import State
from stt.nllb.weights import Linear, Norm, Weights

ROWS = 64
"""Source tokens of one program at most."""
COLUMNS = 1024
"""Columns of a matrix that ends in the residual stream, of one part."""


@triton.jit
def embed_kernel(source, embedding, scales, positions, x, EMBED: tl.constexpr, D: tl.constexpr):
    """Row `program` of x [tokens, D]: scaled embedding and position."""
    at = tl.program_id(0)
    cols = tl.arange(0, D)
    token = tl.load(source + at)
    row = tl.load(embedding + token * D + cols).to(tl.float32)
    row = row * (tl.load(scales + token) * EMBED) + tl.load(positions + at * D + cols)
    tl.store(x + at * D + cols, row)


@triton.jit
def norm_kernel(
    x, parts, bias, gain, shift, out, PARTS: tl.constexpr, T: tl.constexpr, D: tl.constexpr
):
    """Row `program` of out [T, D]: layer norm of x, which the parts [PARTS, T, D] and bias join first."""
    at = tl.program_id(0) * D + tl.arange(0, D)
    cols = tl.arange(0, D)
    row = tl.load(x + at)
    if PARTS:
        row += tl.load(bias + cols)
        for p in tl.static_range(PARTS):
            row += tl.load(parts + p * T * D + at)
        tl.store(x + at, row)
    row -= tl.sum(row, axis=0) / D
    row *= tl.rsqrt(tl.sum(row * row, axis=0) / D + 1e-5)
    row = row * tl.load(gain + cols) + tl.load(shift + cols)
    tl.store(out + at, row.to(out.dtype.element_ty))


@triton.jit(do_not_specialize=["M"])
def linear_kernel(
    x, weight, bias, out, M, N,
    K: tl.constexpr, SPAN: tl.constexpr, RELU: tl.constexpr, GW: tl.constexpr, T: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """out [T, N] = x [T, K] weight [N, K]^T + bias, with GW as [N // GW, T, GW].

    With SPAN < K, parts [K // SPAN, T, N] over SPAN columns each, without bias.
    """
    rows = tl.program_id(1) * BM + tl.arange(0, BM)
    cols = tl.program_id(0) * BN + tl.arange(0, BN)
    first = tl.program_id(2) * SPAN
    inside = (rows < M)[:, None]
    acc = tl.zeros([BM, BN], tl.float32)
    for k in range(0, SPAN, BK):
        at = first + k + tl.arange(0, BK)
        a = tl.load(x + rows[:, None] * K + at[None, :], mask=inside, other=0.0)
        w = tl.load(weight + cols[None, :] * K + at[:, None])
        acc = tl.dot(a, w, acc, input_precision="ieee")
    place = out + rows[:, None] * N + cols[None, :]
    if bias is None:
        place += tl.program_id(2) * T * N
    else:
        acc += tl.load(bias + cols)[None, :]
    if RELU:
        acc = tl.maximum(acc, 0.0)
    if GW:
        place = out + (cols // GW * T * GW + cols % GW)[None, :] + rows[:, None] * GW
    tl.store(place, acc.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["M"])
def attention_kernel(
    qkv, out, length, M, D: tl.constexpr, DH: tl.constexpr, SCALE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Attention of one head (program 0) of BM rows (program 1) over `length` tokens; qkv [M, 3 D]."""
    rows = tl.program_id(1) * BM + tl.arange(0, BM)
    cols = tl.program_id(0) * DH + tl.arange(0, DH)
    known = tl.load(length).to(tl.int32)
    q = tl.load(qkv + rows[:, None] * (3 * D) + cols[None, :], mask=(rows < M)[:, None], other=0.0)
    top = tl.full([BM], -1e30, tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, DH], tl.float32)
    for start in range(0, known, BN):
        at = start + tl.arange(0, BN)
        here = qkv + at[:, None] * (3 * D) + cols[None, :]
        k = tl.load(here + D, mask=(at < known)[:, None], other=0.0)
        v = tl.load(here + 2 * D, mask=(at < known)[:, None], other=0.0)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") * SCALE
        s = tl.where((at < known)[None, :], s, -1e30)
        now = tl.maximum(top, tl.max(s, axis=1))
        share = tl.exp(s - now[:, None])
        old = tl.exp(top - now)
        total = total * old + tl.sum(share, axis=1)
        acc = tl.dot(share.to(v.dtype), v, acc * old[:, None], input_precision="ieee")
        top = now
    place = out + rows[:, None] * D + cols[None, :]
    tl.store(place, (acc / total[:, None]).to(out.dtype.element_ty), mask=(rows < M)[:, None])


class Encoder:
    """Launches of the encoder; `embedding` may be int8 rows with their `scales`."""

    def __init__(self, weights: Weights, state: State, embedding: Tensor, scales: Tensor) -> None:
        self.weights, self.embedding, self.scales = weights, embedding, scales
        shape, tokens = weights.shape, state.tokens
        d, device = shape.d_model, embedding.device
        kept: dict[str, Any] = {"dtype": weights.encoder_norm.gain.dtype, "device": device}
        most = max(1, shape.ffn // COLUMNS, d // COLUMNS)
        self.x = torch.zeros(tokens, d, device=device)
        self.parts = torch.zeros(most, tokens, d, device=device)
        self.normed = torch.zeros(tokens, d, **kept)
        self.qkv = torch.zeros(tokens, 3 * d, **kept)
        self.y = torch.zeros(tokens, d, **kept)
        self.hidden = torch.zeros(tokens, shape.ffn, **kept)

    def __call__(self, state: State, bucket: int) -> None:
        """Encode the first `bucket` source tokens into `state.cross`."""
        weights, shape = self.weights, self.weights.shape
        d, width, rows = shape.d_model, shape.d_model // shape.heads, tile(bucket)
        embed_kernel[(bucket,)](
            state.source, self.embedding, self.scales, weights.positions, self.x,
            EMBED=shape.embedding_scale, D=d,
        )  # fmt: skip
        before = None
        for layer in weights.encoder:
            self._norm(layer.attention_norm, before, bucket)
            self._linear(self.normed, layer.qkv, self.qkv, bucket)
            attention_kernel[(shape.heads, triton.cdiv(bucket, rows))](
                self.qkv, self.y, state.length, bucket, D=d, DH=width, SCALE=width**-0.5,
                BM=rows, BN=rows,
            )  # fmt: skip
            self._linear(self.y, layer.out, self.parts, bucket)
            self._norm(layer.ffn_norm, layer.out, bucket)
            self._linear(self.normed, layer.fc1, self.hidden, bucket, relu=True)
            self._linear(self.hidden, layer.fc2, self.parts, bucket)
            before = layer.fc2
        self._norm(weights.encoder_norm, before, bucket)
        self._linear(self.normed, weights.cross_kv, state.cross, bucket)

    def _norm(self, norm: Norm, before: Linear | None, bucket: int) -> None:
        """`normed` from the residual stream, which takes in the parts that `before` left."""
        norm_kernel[(bucket,)](
            self.x, self.parts, before.bias if before else norm.gain, norm.gain, norm.shift,
            self.normed, PARTS=parts(before) if before else 0, T=self.x.shape[0], D=self.x.shape[1],
        )  # fmt: skip

    def _linear(
        self, x: Tensor, linear: Linear, out: Tensor, bucket: int, relu: bool = False
    ) -> None:
        n, k = linear.weight.shape
        residual, rows = out is self.parts, tile(bucket)
        split = parts(linear) if residual else 1
        cols = 16 if residual else 32 if n <= 8192 else 64
        linear_kernel[(n // cols, triton.cdiv(bucket, rows), split)](
            x, linear.weight, None if residual else linear.bias, out, bucket, n,
            K=k, SPAN=k // split, RELU=relu, GW=out.shape[-1] if out.ndim > 3 else 0,
            T=self.x.shape[0], BM=rows, BN=cols, BK=128 if x.dtype != torch.float32 else 32,
            num_warps=4, num_stages=4,
        )  # fmt: skip


def tile(bucket: int) -> int:
    """Rows of a program."""
    return min(max(16, int(triton.next_power_of_2(bucket))), ROWS)


def parts(linear: Linear) -> int:
    """Column ranges of a matrix that ends in the residual stream."""
    columns = linear.weight.shape[1]
    return columns // COLUMNS if columns % COLUMNS == 0 else 1
