# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator, assignment"
"""What the phases of the decoder step are made of: tiles of rows, layer norm, attention.

A matrix row belongs to one warp, a head of the caches to one or two, so that sums are shuffles: each
trip through shared memory costs as much as the arithmetic of a whole tile. The shapes of the tiles
say so; Triton gives warps to the first dimension that the 16 bytes of each lane leave over.
"""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253

from stt.nllb.signals import _sums


@triton.jit
def _columns(COLS: tl.constexpr, L: tl.constexpr):
    """Columns [COLS // L, L] as the lanes of a warp take them."""
    return tl.arange(0, COLS // L)[:, None] * L + tl.arange(0, L)[None, :]


@triton.jit
def _tile(
    matrix, vectors, row, end, N, ROWS: tl.constexpr, COLS: tl.constexpr, L: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """Rows [row, row + ROWS) of a matrix [N, COLS] as [ROWS, COLS // L, L], with bias, scale, W gain.

    L columns are 16 bytes for each lane of a warp: the warps lie along the rows. Zeros from `end` on.
    """
    rows = row + tl.arange(0, ROWS)
    live = row < end
    here = matrix + rows[:, None, None] * COLS + _columns(COLS, L)[None, :, :]
    w = tl.load(here, mask=live, other=0)
    bias = tl.load(vectors + rows, mask=live, other=0.0)
    scale = tl.load(vectors + N + rows, mask=live, other=0.0)
    gained = bias
    if NORMED:
        gained = tl.load(vectors + 2 * N + rows, mask=live, other=0.0)
    return w, bias, scale, gained


@triton.jit
def _dot(w, h):
    """Rows of w [ROWS, C, L] times h [C, L]."""
    return tl.sum(tl.sum(w.to(tl.float32) * h[None, :, :], axis=1), axis=1)


@triton.jit
def _add(a, b, more_a, more_b):
    return a + more_a, b + more_b


@triton.jit
def _moments(x, D: tl.constexpr):
    """Mean and reciprocal deviation of x [D // L, L]."""
    x = tl.reshape(x, [D])
    total, square = tl.reduce((x, x * x), 0, _add)
    mean = total / D
    return mean, tl.rsqrt(tl.maximum(square / D - mean * mean, 0.0) + 1e-5)


@triton.jit
def _streams(
    parts, B: tl.constexpr, PARTS: tl.constexpr, D: tl.constexpr, L: tl.constexpr,
    PACK: tl.constexpr, CHECKED: tl.constexpr,
):  # fmt: skip
    """B rows of the residual stream [D // L, L], their means and their reciprocal deviations."""
    cols = _columns(D, L)
    here = ()
    for b in tl.static_range(B):
        here = here + (parts + b * PARTS * D + cols,)  # noqa: RUF005 - all Triton knows
    xs = _sums(here, cols < D, B, PARTS, D, PACK, CHECKED)
    means, deviations = (), ()
    for b in tl.static_range(B):
        mean, deviation = _moments(xs[b], D)
        means, deviations = means + (mean,), deviations + (deviation,)  # noqa: RUF005
    return xs, means, deviations


@triton.jit
def _normed(parts, gain, shift, PARTS: tl.constexpr, D: tl.constexpr, L: tl.constexpr):
    """Layer norm [D // L, L] of a residual; gain and shift [D] are in memory."""
    cols = _columns(D, L)
    gain, shift = tl.load(gain + cols), tl.load(shift + cols)
    xs, means, deviations = _streams(parts, 1, PARTS, D, L, 1, False)
    return (xs[0] - means[0]) * deviations[0] * gain + shift


@triton.jit
def _positions(start, BT: tl.constexpr, TL: tl.constexpr, TW: tl.constexpr):
    """Positions [TL, 1, TW, BT // TL // TW] of a block of the cache: TL in a warp, in TW warps."""
    return (
        start
        + tl.arange(0, TL)[:, None, None, None]
        + tl.arange(0, TW)[None, None, :, None] * TL
        + tl.arange(0, BT // TL // TW)[None, None, None, :] * (TL * TW)
    )


@triton.jit
def _cached(
    cache, at, low, high, table, beam, STRIDE: tl.constexpr, TABLE: tl.constexpr, GW: tl.constexpr,
    DH: tl.constexpr,
):  # fmt: skip
    """Rows [TL, heads, TW, TB, DH] of a cache at positions `at` [TL, 1, TW, TB] in [low, high)."""
    at = at[:, :, :, :, None]
    known = (at >= low) & (at < high)
    row = at * STRIDE + beam
    if TABLE:
        row = at * STRIDE + tl.load(table + at, mask=known, other=0, cache_modifier=".cg").to(
            tl.int32
        )
    cols = tl.arange(0, GW // DH)[None, :, None, None, None] * DH + tl.arange(0, DH)
    return tl.load(cache + row * GW + cols, mask=known, other=0.0, cache_modifier=".cg")


@triton.jit
def _block(q, k, v, known, top, total, out):
    """One block of keys and values into the running softmax of each head's warps.

    k, v [TL, heads, TW, TB, DH]; top and total [heads, TW]; out [heads, TW, DH]. No warp asks another.
    """
    s = tl.sum(k.to(tl.float32) * q, axis=4)
    s = tl.where(known, s, -1e30)
    now = tl.maximum(top, tl.max(tl.max(s, axis=3), axis=0))
    share = tl.where(known, tl.exp(s - now[None, :, :, None]), 0.0)
    old = tl.exp(top - now)
    total = total * old + tl.sum(tl.sum(share, axis=3), axis=0)
    value = tl.sum(tl.sum(v.to(tl.float32) * share[:, :, :, :, None], axis=3), axis=0)
    return now, total, out * old[:, :, None] + value


@triton.jit
def _join(top, total, out, top_2, total_2, out_2):
    """Two softmaxes over different positions as one."""
    now = tl.maximum(top, top_2)
    old, old_2 = tl.exp(top - now), tl.exp(top_2 - now)
    return now, total * old + total_2 * old_2, out * old + out_2 * old_2


@triton.jit
def _joined(x, new, at, known, length, ROWS: tl.constexpr):
    """Block x of a cache with the `new` rows [heads, DH] at positions `known` and on."""
    for r in tl.static_range(ROWS):
        here = (at == known + r) & (at < length)
        row = new[r].to(x.dtype)[None, :, None, None, :]
        x = tl.where(here[:, :, :, :, None], row, x)
    return x


@triton.jit
def _attend(
    q_ptr, k_ptr, v_ptr, k_new, v_new, k, v, known, length, table, beam,
    ROWS: tl.constexpr, STRIDE: tl.constexpr, TABLE: tl.constexpr, D: tl.constexpr,
    GW: tl.constexpr, DH: tl.constexpr, SCALE: tl.constexpr, BT: tl.constexpr, TL: tl.constexpr,
    TW: tl.constexpr, PACK: tl.constexpr, CHECKED: tl.constexpr,
):  # fmt: skip
    """Attention [heads, DH] of one query over `length` positions, BT at a time.

    Positions before `known` are in the caches, k and v are their first block; this step brings ROWS
    more at k_new and v_new.
    """
    HEADS: tl.constexpr = GW // DH
    cols = _columns(GW, DH)
    here = (q_ptr + cols,)
    for r in tl.static_range(ROWS):
        here = here + (k_new + r * D + cols, v_new + r * D + cols)  # noqa: RUF005 - all Triton knows
    brought = _sums(here, cols < GW, 1 + 2 * ROWS, 1, 0, PACK, CHECKED)
    q = (brought[0] * SCALE)[None, :, None, None, :]
    k_rows, v_rows = brought[1::2], brought[2::2]
    at = _positions(0, BT, TL, TW)
    k = _joined(k, k_rows, at, known, length, ROWS)
    v = _joined(v, v_rows, at, known, length, ROWS)
    top = tl.full([HEADS, TW], -1e30, tl.float32)
    total = tl.zeros([HEADS, TW], tl.float32)
    out = tl.zeros([HEADS, TW, DH], tl.float32)
    top, total, out = _block(q, k, v, at < length, top, total, out)
    for start in range(BT, length, BT):
        at = _positions(start, BT, TL, TW)
        k = _cached(k_ptr, at, 0, known, table, beam, STRIDE, TABLE, GW, DH)
        v = _cached(v_ptr, at, 0, known, table, beam, STRIDE, TABLE, GW, DH)
        k = _joined(k, k_rows, at, known, length, ROWS)
        v = _joined(v, v_rows, at, known, length, ROWS)
        top, total, out = _block(q, k, v, at < length, top, total, out)
    top = tl.broadcast_to(top[:, :, None], out.shape)
    total = tl.broadcast_to(total[:, :, None], out.shape)
    top, total, out = tl.reduce((top, total, out), 1, _join)
    return out / total
