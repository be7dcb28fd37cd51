# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"
"""Triton kernels of the batch-1 decoder step: what is between two dependencies is one phase.

A layer has six phases; `_layers` runs one of them (a launch each, "fused") or all of all layers with
counters in between ("persistent": every program must be resident, so at most one per SM).

    0  layer norm, query, key and value rows      3  cross attention, output projection, residual
    1  attention of a group of heads, output      4  layer norm, FC1 rows, ReLU
       projection of the group, residual          5  FC2 of a group of columns, residual
    2  layer norm, cross query rows

Each phase loads its weights before it waits for its input: memory never idles at a dependency.
The residual stream is kept as a sum of parts, one per group of columns, in a fixed order: no atomics
on values, so results do not change from run to run.
"""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253


@triton.jit
def _wait(counter, target, PERSISTENT: tl.constexpr, ASM: tl.constexpr):
    """Spin until `target` tiles have arrived (persistent only)."""
    if PERSISTENT:
        if ASM:
            # One thread reads; an atomic in its place would make 128 programs queue at one address.
            tl.inline_asm_elementwise(
                "{ .reg .pred p; .reg .u32 t; .reg .s32 v; mov.u32 t, %tid.x; setp.ne.u32 p, t, 0;"
                "@p bra DONE; AGAIN: ld.acquire.gpu.global.s32 v, [$1]; setp.lt.s32 p, v, $2;"
                "@p bra AGAIN; DONE: mov.u32 $0, 0; }",
                "=r,l,r",
                [counter, target],
                dtype=tl.int32,
                is_pure=False,
                pack=1,
            )
        else:
            while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < target:
                pass
        tl.debug_barrier()


@triton.jit
def _arrive(counter, PERSISTENT: tl.constexpr):
    """Publish this program's stores and count its tile."""
    if PERSISTENT:
        tl.debug_barrier()
        tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def _prefetch(pointer, n_bytes, ON: tl.constexpr):
    """Ask for `n_bytes` in L2, one instruction from one thread."""
    if ON:
        tl.inline_asm_elementwise(
            "{ .reg .pred p; .reg .u32 t; mov.u32 t, %tid.x; setp.eq.u32 p, t, 0;"
            "@p cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0; }",
            "=r,l,r",
            [pointer, n_bytes],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def _tile(pointer, first, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Rows [first, first + ROWS) of a row-major matrix with COLS columns."""
    rows = first + tl.arange(0, ROWS)
    return tl.load(pointer + rows[:, None] * COLS + tl.arange(0, COLS)[None, :])


@triton.jit
def _dot(w, h):
    return tl.sum(w.to(tl.float32) * h[None, :], axis=1)


@triton.jit
def _normed(parts, gain, shift, PARTS: tl.constexpr, D: tl.constexpr):
    """Layer norm of a residual kept as PARTS parts [PARTS, D]; gain and shift [D] are loaded."""
    cols = tl.arange(0, D)
    x = tl.load(parts + cols, cache_modifier=".cg")
    for p in tl.static_range(1, PARTS):
        x += tl.load(parts + p * D + cols, cache_modifier=".cg")
    x -= tl.sum(x, axis=0) / D
    variance = tl.sum(x * x, axis=0) / D
    return x * tl.rsqrt(variance + 1e-5) * gain + shift


@triton.jit
def _attend(
    q_ptr, k_ptr, v_ptr, length, table, beam,
    STRIDE: tl.constexpr, TABLE: tl.constexpr, GW: tl.constexpr, DH: tl.constexpr,
    SCALE: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Attention [GW] of one query group over `length` cached rows, in blocks of BT, online softmax."""
    HPG: tl.constexpr = GW // DH
    cols = tl.arange(0, GW)
    q = tl.load(q_ptr + cols, cache_modifier=".cg") * SCALE
    top = tl.full([HPG], -1e30, tl.float32)
    total = tl.zeros([HPG], tl.float32)
    out = tl.zeros([HPG, DH], tl.float32)
    for start in range(0, length, BT):
        at = start + tl.arange(0, BT)
        known = at < length
        row = at * STRIDE + beam
        if TABLE:
            row = at * STRIDE + tl.load(table + at, mask=known, other=0, cache_modifier=".cg").to(
                tl.int32
            )
        place = row[:, None] * GW + cols[None, :]
        k = tl.load(k_ptr + place, mask=known[:, None], other=0.0, cache_modifier=".cg")
        v = tl.load(v_ptr + place, mask=known[:, None], other=0.0, cache_modifier=".cg")
        s = tl.sum(tl.reshape(k.to(tl.float32) * q[None, :], [BT, HPG, DH]), axis=2)
        s = tl.where(known[:, None], s, -1e30)
        now = tl.maximum(top, tl.max(s, axis=0))
        share = tl.where(known[:, None], tl.exp(s - now[None, :]), 0.0)
        old = tl.exp(top - now)
        total = total * old + tl.sum(share, axis=0)
        v3 = tl.reshape(v.to(tl.float32), [BT, HPG, DH])
        out = out * old[:, None] + tl.sum(v3 * share[:, :, None], axis=0)
        top = now
    return tl.reshape(out / total[:, None], [GW])


@triton.jit
def _residual(before, rows, group, PARTS: tl.constexpr, D: tl.constexpr):
    """The residual at `rows` for column group 0, which carries it on; zero for the others."""
    mine = (rows >= 0) & (group == 0)
    x = tl.load(before + rows, mask=mine, other=0.0, cache_modifier=".cg")
    for p in tl.static_range(1, PARTS):
        x += tl.load(before + p * D + rows, mask=mine, other=0.0, cache_modifier=".cg")
    return x


@triton.jit
def layers_kernel(
    matrices, vectors, keys, cross, x, self_parts, cross_parts, q_buf, hidden, counters,
    step, length, table, done, layer_first, layer_last,
    M_LAYER, V_LAYER,
    B: tl.constexpr, D: tl.constexpr, F: tl.constexpr, DH: tl.constexpr, T: tl.constexpr,
    GW: tl.constexpr, GF: tl.constexpr, BM: tl.constexpr, BO: tl.constexpr, B1: tl.constexpr,
    BT: tl.constexpr, SCALE: tl.constexpr, PHASE: tl.constexpr, ASM: tl.constexpr,
    CACHE_BYTES: tl.constexpr,
):  # fmt: skip
    """Phases of decoder layers [layer_first, layer_last): one (PHASE 0-5) or all (PHASE -1).

    x holds FC2's parts [B, F // GF, D] and starts as the embedding (other parts zero).
    """
    if tl.load(done) != 0:
        return
    ALL: tl.constexpr = PHASE < 0
    G: tl.constexpr = D // GW
    PF: tl.constexpr = F // GF
    NQ: tl.constexpr = D // BM
    NO: tl.constexpr = G * (D // BO)
    N1: tl.constexpr = F // B1
    N2: tl.constexpr = PF * (D // BO)
    pid = tl.program_id(0)
    programs = tl.num_programs(0)
    t = tl.load(step).to(tl.int32)
    n_source = tl.load(length).to(tl.int32)
    cols = tl.arange(0, D)
    for layer in range(layer_first, layer_last):
        m = matrices + layer * M_LAYER
        v = vectors + layer * V_LAYER
        k_cache = keys + layer * 2 * G * T * B * GW
        v_cache = k_cache + G * T * B * GW
        k_cross = cross + layer * 2 * G * T * GW
        v_cross = k_cross + G * T * GW
        count = counters + layer * 96
        w_out, w_cq = m + 3 * D * D, m + 4 * D * D
        w_co, w_1, w_2 = m + 5 * D * D, m + 6 * D * D, m + 6 * D * D + F * D
        # vectors: 3 norms [gain, shift], then (bias, scale) of qkv, out, cq, co, fc1, fc2
        s_qkv, s_out, s_cq, s_co = v + 6 * D, v + 12 * D, v + 14 * D, v + 16 * D
        s_1, s_2 = v + 18 * D, v + 18 * D + 2 * F
        if ALL or PHASE == 0:
            for i in range(pid, NQ, programs):
                wq = _tile(m, i * BM, BM, D)
                wk = _tile(m, D + i * BM, BM, D)
                wv = _tile(m, 2 * D + i * BM, BM, D)
                rows = i * BM + tl.arange(0, BM)
                gain, shift = tl.load(v + cols), tl.load(v + D + cols)
                bq, sq = tl.load(s_qkv + rows), tl.load(s_qkv + 3 * D + rows)
                bk, sk = tl.load(s_qkv + D + rows), tl.load(s_qkv + 4 * D + rows)
                bv, sv = tl.load(s_qkv + 2 * D + rows), tl.load(s_qkv + 5 * D + rows)
                group = i * BM // GW
                _prefetch(k_cache + group * T * B * GW, (t + 1) * B * GW * CACHE_BYTES, ASM)
                _prefetch(v_cache + group * T * B * GW, (t + 1) * B * GW * CACHE_BYTES, ASM)
                if layer > layer_first:
                    _wait(count - 96 + 80, N2, ALL, ASM)
                for b in tl.static_range(B):
                    h = _normed(x + b * PF * D, gain, shift, PF, D)
                    tl.store(q_buf + b * D + rows, _dot(wq, h) * sq + bq)
                    place = ((group * T + t) * B + b) * GW + rows - group * GW
                    tl.store(k_cache + place, (_dot(wk, h) * sk + bk).to(keys.dtype.element_ty))
                    tl.store(v_cache + place, (_dot(wv, h) * sv + bv).to(keys.dtype.element_ty))
                _arrive(count + group, ALL)
        if ALL or PHASE == 1:
            for j in range(pid, NO * B, programs):
                i, b = j % NO, j // NO
                group = i // (D // BO)
                rows = i % (D // BO) * BO + tl.arange(0, BO)
                w = _tile(w_out + group * D * GW, i % (D // BO) * BO, BO, GW)
                bias, scale = tl.load(s_out + rows), tl.load(s_out + D + rows)
                bias = tl.where(group == 0, bias, 0.0)
                _wait(count + group, NQ // G, ALL, ASM)
                bias += _residual(x + b * PF * D, rows, group, PF, D)
                y = _attend(q_buf + b * D + group * GW, k_cache + group * T * B * GW,
                            v_cache + group * T * B * GW, t + 1, table + b * T, b,
                            B, B > 1, GW, DH, SCALE, BT)  # fmt: skip
                tl.store(self_parts + (b * G + group) * D + rows, _dot(w, y) * scale + bias)
                _arrive(count + 16, ALL)
        if ALL or PHASE == 2:
            for i in range(pid, NQ, programs):
                w = _tile(w_cq, i * BM, BM, D)
                rows = i * BM + tl.arange(0, BM)
                gain, shift = tl.load(v + 2 * D + cols), tl.load(v + 3 * D + cols)
                bias, scale = tl.load(s_cq + rows), tl.load(s_cq + D + rows)
                group = i * BM // GW
                _prefetch(k_cross + group * T * GW, n_source * GW * CACHE_BYTES, ASM)
                _prefetch(v_cross + group * T * GW, n_source * GW * CACHE_BYTES, ASM)
                _wait(count + 16, NO * B, ALL, ASM)
                for b in tl.static_range(B):
                    h = _normed(self_parts + b * G * D, gain, shift, G, D)
                    tl.store(q_buf + b * D + rows, _dot(w, h) * scale + bias)
                _arrive(count + 32 + group, ALL)
        if ALL or PHASE == 3:
            for j in range(pid, NO * B, programs):
                i, b = j % NO, j // NO
                group = i // (D // BO)
                rows = i % (D // BO) * BO + tl.arange(0, BO)
                w = _tile(w_co + group * D * GW, i % (D // BO) * BO, BO, GW)
                bias, scale = tl.load(s_co + rows), tl.load(s_co + D + rows)
                bias = tl.where(group == 0, bias, 0.0)
                _wait(count + 32 + group, NQ // G, ALL, ASM)
                bias += _residual(self_parts + b * G * D, rows, group, G, D)
                y = _attend(q_buf + b * D + group * GW, k_cross + group * T * GW,
                            v_cross + group * T * GW, n_source, table, 0,
                            1, False, GW, DH, SCALE, BT)  # fmt: skip
                tl.store(cross_parts + (b * G + group) * D + rows, _dot(w, y) * scale + bias)
                _arrive(count + 48, ALL)
        if ALL or PHASE == 4:
            for i in range(pid, N1, programs):
                w = _tile(w_1, i * B1, B1, D)
                rows = i * B1 + tl.arange(0, B1)
                gain, shift = tl.load(v + 4 * D + cols), tl.load(v + 5 * D + cols)
                bias, scale = tl.load(s_1 + rows), tl.load(s_1 + F + rows)
                _wait(count + 48, NO * B, ALL, ASM)
                for b in tl.static_range(B):
                    h = _normed(cross_parts + b * G * D, gain, shift, G, D)
                    tl.store(hidden + b * F + rows, tl.maximum(_dot(w, h) * scale + bias, 0.0))
                _arrive(count + 64 + i * B1 // GF, ALL)
        if ALL or PHASE == 5:
            for i in range(pid, N2, programs):
                group = i // (D // BO)
                rows = i % (D // BO) * BO + tl.arange(0, BO)
                w = _tile(w_2 + group * D * GF, i % (D // BO) * BO, BO, GF)
                bias, scale = tl.load(s_2 + rows), tl.load(s_2 + D + rows)
                bias = tl.where(group == 0, bias, 0.0)
                _wait(count + 64 + group, N1 // PF, ALL, ASM)
                here = hidden + group * GF + tl.arange(0, GF)
                for b in tl.static_range(B):
                    y = tl.load(here + b * F, cache_modifier=".cg")
                    before = _residual(cross_parts + b * G * D, rows, group, G, D)
                    place = x + (b * PF + group) * D + rows
                    tl.store(place, _dot(w, y) * scale + bias + before)
                _arrive(count + 80, ALL)


@triton.jit
def head_kernel(
    x, norm, head, scales, best_value, best_row, done, V,
    D: tl.constexpr, PARTS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Final norm, output rows and the running argmax of each program (greedy)."""
    if tl.load(done) != 0:
        return
    pid = tl.program_id(0)
    programs = tl.num_programs(0)
    slot = tl.arange(0, BV)
    cols = tl.arange(0, D)
    tiles = tl.cdiv(V, BV)
    rows = pid * BV + slot
    here = head + rows.to(tl.int64)[:, None] * D + cols[None, :]
    w = tl.load(here, mask=(rows < V)[:, None], other=0)
    h = _normed(x, tl.load(norm + cols), tl.load(norm + D + cols), PARTS, D)
    value = tl.full([BV], float("-inf"), tl.float32)
    row = tl.zeros([BV], tl.int32)
    for i in range(pid, tiles, programs):
        # The next tile is on its way while this one is multiplied.
        ahead = (i + programs) * BV + slot
        there = head + ahead.to(tl.int64)[:, None] * D + cols[None, :]
        w_next = tl.load(there, mask=(ahead < V)[:, None], other=0)
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
def choose_kernel(
    best_value, best_row, ids, embedding, scales, positions, x, record, step, done, counters, end, pad,
    N: tl.constexpr, N2: tl.constexpr, COUNTERS: tl.constexpr, IDS: tl.constexpr,
    EMBED: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Greedy selection by one program: record, end flag, next embedding, counters back to zero."""
    at = tl.arange(0, COUNTERS)
    tl.store(counters + at, tl.zeros([COUNTERS], tl.int32))
    if tl.load(done) != 0:
        return
    slot = tl.arange(0, N2)
    value = tl.load(best_value + slot, mask=slot < N, other=float("-inf"))
    row = tl.load(best_row + slot, mask=slot < N, other=2147483647)
    top = tl.max(value, axis=0)
    token = tl.min(tl.where(value == top, row, 2147483647), axis=0).to(tl.int64)
    if IDS:
        token = tl.load(ids + token)
    t = tl.load(step)
    tl.store(record + t * 3, token.to(tl.float32))
    tl.store(record + t * 3 + 1, 0.0)
    tl.store(record + t * 3 + 2, top)
    tl.store(done, (token == end).to(tl.int32))
    tl.debug_barrier()
    tl.store(step, t + 1)
    _next(token, 0, t + 1, embedding, scales, positions, x, pad, EMBED, D, PARTS)


@triton.jit
def norm_kernel(x, norm, out, D: tl.constexpr, PARTS: tl.constexpr):
    """Final norm of every beam, out [beam, D] (beam search: the head reads it 16 rows wide)."""
    b = tl.program_id(0)
    cols = tl.arange(0, D)
    h = _normed(x + b * PARTS * D, tl.load(norm + cols), tl.load(norm + D + cols), PARTS, D)
    tl.store(out + b * D + cols, h.to(out.dtype.element_ty))


@triton.jit
def logits_kernel(
    h, head, scales, logits, V, B: tl.constexpr, D: tl.constexpr, BV: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    """Logits [B, V] of all beams: each row of the head is read once (h is padded to 16 rows)."""
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
    scores, table, counters, end, pad, CHUNKS, SLOTS, C2: tl.constexpr, N2: tl.constexpr,
    K: tl.constexpr, COUNTERS: tl.constexpr, IDS: tl.constexpr, EMBED: tl.constexpr,
    B: tl.constexpr, T: tl.constexpr, T2: tl.constexpr, D: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Beam selection by one program: the K best continuations, the B running beams, their caches."""
    at = tl.arange(0, COUNTERS)
    tl.store(counters + at, tl.zeros([COUNTERS], tl.int32))
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
