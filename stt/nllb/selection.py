# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"
"""Triton kernels around the layers: a sentence's start, output head, argmax or beams, embedding."""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253

from stt.nllb.kernels import _columns, _dot, _normed


@triton.jit
def _next(token, b, position, embedding, scales, positions, x, pad, EMBED: tl.constexpr,
          D: tl.constexpr, PARTS: tl.constexpr):  # fmt: skip
    """Embed the token that the next step of beam b reads; clear the other parts of its residual."""
    cols = tl.arange(0, D)
    row = tl.load(embedding + token.to(tl.int64) * D + cols).to(tl.float32)
    row *= tl.load(scales + token) * EMBED
    row += tl.load(positions + position * D + cols, mask=(cols >= 0) & (token != pad), other=0.0)
    tl.store(x + b * PARTS * D + cols, row)
    for p in tl.static_range(1, PARTS):
        tl.store(x + (b * PARTS + p) * D + cols, tl.zeros([D], tl.float32))


@triton.jit
def begin_kernel(
    forced, embedding, scales, positions, rows, record, step, done, table, scores, start, pad,
    K: tl.constexpr, B: tl.constexpr, T: tl.constexpr, T2: tl.constexpr, EMBED: tl.constexpr,
    D: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Forget the last sentence; rows 0 and 1 become the start token and the forced language.

    Beams share these two positions: row 0 of the cache.
    """
    past = tl.arange(0, T2)
    for b in tl.static_range(B):
        tl.store(table + b * T + past, tl.where(past < 2, 0, b).to(tl.int64), mask=past < T)
        tl.store(scores + b, 0.0 if b == 0 else -1e9)
    token = tl.load(forced)
    for j in tl.static_range(K):
        tl.store(record + j * 3, token.to(tl.float32))
    tl.store(step, 1)
    tl.store(done, 0)
    _next(start, 0, 0, embedding, scales, positions, rows, pad, EMBED, D, PARTS)
    _next(token, 1, 1, embedding, scales, positions, rows, pad, EMBED, D, PARTS)


@triton.jit
def _forget(space, words, SLICE: tl.constexpr):
    """This program's slice of `space`, whose readers are done, back to all bits set."""
    at = tl.program_id(0) * SLICE + tl.arange(0, SLICE)
    tl.store(space + at, tl.full([SLICE], -1, tl.int32), mask=at < words)


@triton.jit
def head_kernel(
    x, norm, head, scales, best_value, best_row, arrived, ids, embedding, embedding_scales,
    positions, record, step, done, space, words, V, end, pad,
    D: tl.constexpr, PARTS: tl.constexpr, BV: tl.constexpr, L: tl.constexpr, N: tl.constexpr,
    N2: tl.constexpr, SLICE: tl.constexpr, IDS: tl.constexpr, EMBED: tl.constexpr,
):  # fmt: skip
    """Final norm, output rows and the running argmax of each program; the last one chooses (greedy)."""
    if tl.load(done) != 0:
        return
    pid = tl.program_id(0)
    slot = tl.arange(0, BV)
    cols = _columns(D, L)[None, :, :]
    tiles = tl.cdiv(V, BV)
    rows = pid * BV + slot
    here = head + rows.to(tl.int64)[:, None, None] * D + cols
    w = tl.load(here, mask=(rows < V)[:, None, None], other=0)
    _forget(space, words, SLICE)
    h = _normed(x, norm, norm + D, PARTS, D, L)
    value = tl.full([BV], float("-inf"), tl.float32)
    row = tl.zeros([BV], tl.int32)
    for i in range(pid, tiles, N):
        # The next tile is on its way while this one is multiplied.
        ahead = (i + N) * BV + slot
        there = head + ahead.to(tl.int64)[:, None, None] * D + cols
        w_next = tl.load(there, mask=(ahead < V)[:, None, None], other=0)
        rows = i * BV + slot
        y = _dot(w, h) * tl.load(scales + rows, mask=rows < V, other=0.0)
        y = tl.where(y == y, y, float("inf"))  # NaN must win, and be seen
        y = tl.where(rows < V, y, float("-inf"))
        row = tl.where(y > value, rows, row)
        value = tl.maximum(value, y)
        w = w_next
    top = tl.max(value, axis=0)
    tl.store(best_value + pid, top)
    tl.store(best_row + pid, tl.min(tl.where(value == top, row, 2147483647), axis=0))
    tl.debug_barrier()
    if tl.atomic_add(arrived, 1) == N - 1:
        tl.store(arrived, 0)
        _choose(best_value, best_row, ids, embedding, embedding_scales, positions, x, record, step,
                done, end, pad, N, N2, IDS, EMBED, D, PARTS)  # fmt: skip


@triton.jit
def _choose(
    best_value, best_row, ids, embedding, scales, positions, x, record, step, done, end, pad,
    N: tl.constexpr, N2: tl.constexpr, IDS: tl.constexpr, EMBED: tl.constexpr, D: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """The best of all programs: record, end flag, next embedding."""
    slot = tl.arange(0, N2)
    value = tl.load(best_value + slot, mask=slot < N, other=float("-inf"), cache_modifier=".cg")
    row = tl.load(best_row + slot, mask=slot < N, other=2147483647, cache_modifier=".cg")
    t = tl.load(step)
    top = tl.max(value, axis=0)
    token = tl.min(tl.where(value == top, row, 2147483647), axis=0).to(tl.int64)
    if IDS:
        token = tl.load(ids + token)
    tl.store(record + t * 3, token.to(tl.float32))
    tl.store(record + t * 3 + 1, 0.0)
    tl.store(record + t * 3 + 2, top)
    tl.store(done, (token == end).to(tl.int32))
    tl.debug_barrier()
    tl.store(step, t + 1)
    _next(token, 0, t + 1, embedding, scales, positions, x, pad, EMBED, D, PARTS)


@triton.jit
def norm_kernel(x, norm, out, D: tl.constexpr, PARTS: tl.constexpr, L: tl.constexpr):
    """Final norm of every beam, out [beam, D] (beam search: the head reads it 16 rows wide)."""
    b = tl.program_id(0)
    h = _normed(x + b * PARTS * D, norm, norm + D, PARTS, D, L)
    tl.store(out + b * D + _columns(D, L), h.to(out.dtype.element_ty))


@triton.jit
def logits_kernel(
    h, head, scales, logits, space, words, V, B: tl.constexpr, D: tl.constexpr,
    BV: tl.constexpr, BK: tl.constexpr, SLICE: tl.constexpr,
):  # fmt: skip
    """Logits [B, V] of all beams: each row of the head is read once (h is padded to 16 rows)."""
    _forget(space, words, SLICE)
    rows = tl.program_id(0) * BV + tl.arange(0, BV)
    beams = tl.arange(0, 16)
    acc = tl.zeros([BV, 16], tl.float32)
    for start in range(0, D, BK):
        k = start + tl.arange(0, BK)
        w = tl.load(
            head + rows.to(tl.int64)[:, None] * D + k[None, :], mask=(rows < V)[:, None], other=0
        )
        x = tl.load(h + beams[None, :] * D + k[:, None], mask=(beams < B)[None, :], other=0)
        acc = tl.dot(w.to(x.dtype), x, acc, input_precision="ieee")
    acc = acc * tl.load(scales + rows, mask=rows < V, other=0.0)[:, None]
    place = logits + beams.to(tl.int64)[None, :] * V + rows[:, None]
    tl.store(place, acc, mask=(rows < V)[:, None] & (beams < B)[None, :])


@triton.jit
def candidates_kernel(logits, values, rows_out, tops, sums, V, K: tl.constexpr, C: tl.constexpr):
    """The K best logits of one beam in one chunk of C, and the chunk's maximum and sum of exp."""
    b, chunk, chunks = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    at = chunk * C + tl.arange(0, C)
    y = tl.load(logits + b.to(tl.int64) * V + at, mask=at < V, other=float("-inf"))
    y = tl.where(y == y, y, float("inf"))  # NaN must win, and be seen
    top = tl.max(y, axis=0)
    place = b * chunks + chunk
    tl.store(tops + place, top)
    tl.store(sums + place, tl.sum(tl.exp(y - top), axis=0))
    for j in tl.static_range(K):
        best = tl.max(y, axis=0)
        where = tl.min(tl.where(y == best, at, 2147483647), axis=0)
        tl.store(values + place * K + j, best)
        tl.store(rows_out + place * K + j, where)
        y = tl.where(at == where, float("-inf"), y)


@triton.jit
def choose_beams_kernel(
    values, rows, tops, sums, chosen, moved, ids, embedding, scales, positions, x, record, step,
    scores, table, end, pad, CHUNKS, SLOTS, C2: tl.constexpr, N2: tl.constexpr, K: tl.constexpr,
    IDS: tl.constexpr, EMBED: tl.constexpr, B: tl.constexpr, T: tl.constexpr, T2: tl.constexpr,
    D: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Beam selection by one program: the K best continuations, the B running beams, their caches."""
    slot = tl.arange(0, N2)
    chunk = tl.arange(0, C2)
    total = tl.load(values + slot, mask=slot < B * SLOTS, other=float("-inf"))
    for b in tl.static_range(B):
        top = tl.load(tops + b * CHUNKS + chunk, mask=chunk < CHUNKS, other=float("-inf"))
        part = tl.load(sums + b * CHUNKS + chunk, mask=chunk < CHUNKS, other=0.0)
        best = tl.max(top, axis=0)
        shift = tl.load(scores + b) - best - tl.log(tl.sum(part * tl.exp(top - best), axis=0))
        shift = tl.where(shift == shift, shift, float("inf"))  # NaN must win, and be seen
        total = tl.where(slot // SLOTS == b, total + shift, total)
    t = tl.load(step)
    tl.debug_barrier()
    kept = 0
    for j in tl.static_range(K):
        best = tl.max(total, axis=0)
        where = tl.min(tl.where(total == best, slot, 2147483647), axis=0)
        token = tl.load(rows + where).to(tl.int64)
        if IDS:
            token = tl.load(ids + token)
        parent = where // SLOTS
        place = record + (t * K + j) * 3
        tl.store(place, token.to(tl.float32))
        tl.store(place + 1, parent.to(tl.float32))
        tl.store(place + 2, best)
        keep = (token != end) & (kept < B)
        tl.store(chosen + kept * 2, token, mask=keep)
        tl.store(chosen + kept * 2 + 1, parent.to(tl.int64), mask=keep)
        tl.store(scores + kept, best, mask=keep)
        kept += keep.to(tl.int32)
        total = tl.where(slot == where, float("-inf"), total)
    tl.debug_barrier()
    past = tl.arange(0, T2)
    for b in tl.static_range(B):
        parent = tl.load(chosen + b * 2 + 1)
        row = tl.load(table + parent * T + past, mask=past < T, other=0)
        tl.store(moved + b * T + past, tl.where(past == t, parent, row), mask=past <= t)
    tl.debug_barrier()
    for b in tl.static_range(B):
        row = tl.load(moved + b * T + past, mask=past <= t, other=0)
        tl.store(table + b * T + past, row, mask=past <= t)
        token = tl.load(chosen + b * 2)
        _next(token, b, t + 1, embedding, scales, positions, x, pad, EMBED, D, PARTS)
    tl.store(step, t + 1)
