# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator, assignment"
"""The decoder layers of the batch-1 step in Triton: what is between two dependencies is one phase.

A layer has six phases; `layers_kernel` runs one of them (a launch each, "fused") or all of all layers
with counters in between ("persistent": every program must be resident, so at most one per SM).

    0  layer norm, query, key and value rows      3  cross attention, output projection, residual
    1  attention of a group of heads, output      4  layer norm, FC1 rows, ReLU
       projection of the group, residual          5  FC2 of a group of columns, residual
    2  layer norm, cross query rows

A phase loads what does not depend on others before it waits, and while it multiplies a tile of rows
the next one is on its way. A layer norm is applied after its matrix, so that its sums and the
products run side by side: (W (gain x) - mean W gain) deviation + W shift + bias.
The residual stream is kept as a sum of parts, one per group of columns, in a fixed order: no atomics
on values, so results do not change from run to run.
"""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253

from stt.nllb.kernels import (
    _arrive,
    _attend,
    _cached,
    _columns,
    _dot,
    _moments,
    _positions,
    _prefetch,
    _residual,
    _stream,
    _tile,
    _wait,
)


@triton.jit(do_not_specialize=["layer_first", "layer_last"])
def layers_kernel(
    matrices, vectors, keys, cross, x, self_parts, cross_parts, q_buf, hidden, counters,
    step, length, table, done, layer_first, layer_last, M_LAYER, V_LAYER,
    B: tl.constexpr, FIRST: tl.constexpr, BEAMS: tl.constexpr, D: tl.constexpr, F: tl.constexpr,
    DH: tl.constexpr, T: tl.constexpr, GW: tl.constexpr, GF: tl.constexpr, BM: tl.constexpr,
    BO: tl.constexpr, B1: tl.constexpr, BT: tl.constexpr, TL: tl.constexpr, TW: tl.constexpr, L: tl.constexpr,
    SCALE: tl.constexpr, PHASE: tl.constexpr, AHEAD: tl.constexpr, PQ: tl.constexpr, PO: tl.constexpr, P1: tl.constexpr,
    P2: tl.constexpr, CACHE_BYTES: tl.constexpr,
):  # fmt: skip
    """Phases of decoder layers [layer_first, layer_last): one (PHASE 0-5) or all (PHASE -1).

    B rows of x, each FC2's parts [F // GF, D]: the beams at one position, or with FIRST the first
    positions of the sentence. A program takes PQ, PO, P1, P2 tiles of phases 0 and 2, 1 and 3, 4, 5.
    """
    if tl.load(done) != 0:
        return
    ALL: tl.constexpr = PHASE < 0
    G: tl.constexpr = D // GW
    PF: tl.constexpr = F // GF
    NO: tl.constexpr = G * (D // BO)
    LG: tl.constexpr = min(L, GW)
    LF: tl.constexpr = min(L, GF)
    WB: tl.constexpr = matrices.dtype.element_ty.primitive_bitwidth // 8
    # With AHEAD, what is asked into L2 while memory idles, in pieces that do not delay the signals:
    # halves of a program's first rows of FC1 and FC2, and its query, key and value rows.
    HALF_1: tl.constexpr = min(P1 * B1 * D // 2, 32768 // WB)
    HALF_2: tl.constexpr = min(P2 * BO * GF // 2, 32768 // WB)
    HEAD: tl.constexpr = min(PQ * BM * D, 32768 // WB)
    pid = tl.program_id(0)
    t = 0
    if not FIRST:
        t = tl.load(step).to(tl.int32)
    n_source = tl.load(length).to(tl.int32)
    cols = _columns(D, L)
    for layer in range(layer_first, layer_last):
        m = matrices + layer * M_LAYER
        v = vectors + layer * V_LAYER
        k_cache = keys + layer * 2 * G * T * BEAMS * GW
        v_cache = k_cache + G * T * BEAMS * GW
        k_cross = cross + layer * 2 * G * T * GW
        v_cross = k_cross + G * T * GW
        count = counters + layer * 96
        # matrices: qkv, out, cross query, cross out, fc1, fc2
        # vectors: 3 gains, then bias, scale (and W gain) of qkv, out, cq, co, fc1, fc2
        s_qkv, s_out, s_cq, s_co = v + 3 * D, v + 12 * D, v + 14 * D, v + 17 * D
        s_1, s_2 = v + 19 * D, v + 19 * D + 3 * F
        ahead_1 = m + 6 * D * D + pid * P1 * B1 * D
        ahead_2 = m + 6 * D * D + F * D + pid * P2 * BO * GF
        has_1, has_2 = pid * P1 * B1 < F, pid * P2 < PF * (D // BO)
        if ALL or PHASE == 0:
            row = pid * (PQ * BM)
            end = row + PQ * BM
            if row < D:
                wq, bq, sq, gq = _tile(m, s_qkv, row, end, 3 * D, BM, D, L, True)
                wk, bk, sk, gk = _tile(m + D * D, s_qkv + D, row, end, 3 * D, BM, D, L, True)
                wv, bv, sv, gv = _tile(
                    m + 2 * D * D, s_qkv + 2 * D, row, end, 3 * D, BM, D, L, True
                )
                gain = tl.load(v + cols)
                group = row // GW
                old = t * BEAMS * GW * CACHE_BYTES
                _prefetch(k_cache + group * T * BEAMS * GW, old, old > 0, ALL)
                _prefetch(v_cache + group * T * BEAMS * GW, old, old > 0, ALL)
                if layer > layer_first:
                    _wait(count - 96 + 80, PF * (D // BO) // P2, ALL)
                xs = ()
                for b in tl.static_range(B):
                    xs = xs + (_stream(x + b * PF * D, PF, D, L),)  # noqa: RUF005 - all Triton knows
                for _ in range(PQ):
                    rows = row + tl.arange(0, BM)
                    row += BM
                    nq = _tile(m, s_qkv, row, end, 3 * D, BM, D, L, True)
                    nk = _tile(m + D * D, s_qkv + D, row, end, 3 * D, BM, D, L, True)
                    nv = _tile(m + 2 * D * D, s_qkv + 2 * D, row, end, 3 * D, BM, D, L, True)
                    for b in tl.static_range(B):
                        mean, deviation = _moments(xs[b], D)
                        h = xs[b] * gain
                        place = q_buf + b * D + rows
                        tl.store(place, (_dot(wq, h) * sq - mean * gq) * deviation + bq)
                        k_new = (_dot(wk, h) * sk - mean * gk) * deviation + bk
                        v_new = (_dot(wv, h) * sv - mean * gv) * deviation + bv
                        at, beam = t, b
                        if FIRST:
                            at, beam = b, 0
                        place = ((group * T + at) * BEAMS + beam) * GW + rows - group * GW
                        tl.store(k_cache + place, k_new.to(keys.dtype.element_ty))
                        tl.store(v_cache + place, v_new.to(keys.dtype.element_ty))
                    wq, bq, sq, gq = nq
                    wk, bk, sk, gk = nk
                    wv, bv, sv, gv = nv
                _arrive(count + group, ALL)
        if ALL or PHASE == 1:
            tile = pid * PO
            if tile < NO * B:
                b, group = tile // NO, tile % NO // (D // BO)
                row = tile % (D // BO) * BO
                end = row + PO * BO
                w_matrix = m + 3 * D * D + group * D * GW
                w, bias, scale, _g = _tile(w_matrix, s_out, row, end, D, BO, GW, LG, False)
                k_here, v_here = k_cache + group * T * BEAMS * GW, v_cache + group * T * BEAMS * GW
                until, beam = t + 1, b
                if FIRST:
                    until, beam = b + 1, 0
                at = _positions(0, BT, TL, TW)
                TABLE: tl.constexpr = (BEAMS > 1) and (not FIRST)
                k0 = _cached(k_here, at, 0, t, table + b * T, beam, BEAMS, TABLE, GW, DH)
                v0 = _cached(v_here, at, 0, t, table + b * T, beam, BEAMS, TABLE, GW, DH)
                _wait(count + group, GW // (BM * PQ), ALL)
                _prefetch(ahead_1, HALF_1 * WB, has_1, AHEAD)
                before = _residual(x + b * PF * D, row + tl.arange(0, BO), group, PF, D)
                y = _attend(q_buf + b * D + group * GW, k_here, v_here, k0, v0, t, until,
                            table + b * T, beam, True, BEAMS, TABLE, GW, DH, SCALE, BT, TL, TW)  # fmt: skip
                y = tl.reshape(y, [GW // LG, LG])
                for _ in range(PO):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_out, row, end, D, BO, GW, LG, False)
                    ahead = _residual(x + b * PF * D, rows + BO, group, PF, D)
                    out = _dot(w, y) * scale + tl.where(group == 0, bias, 0.0) + before
                    tl.store(self_parts + (b * G + group) * D + rows, out)
                    w, bias, scale, _g = nw
                    before = ahead
                _arrive(count + 16, ALL)
        if ALL or PHASE == 2:
            row = pid * (PQ * BM)
            end = row + PQ * BM
            if row < D:
                w, bias, scale, gained = _tile(m + 4 * D * D, s_cq, row, end, D, BM, D, L, True)
                gain = tl.load(v + D + cols)
                group = row // GW
                _wait(count + 16, NO * B // PO, ALL)
                _prefetch(ahead_1 + HALF_1, HALF_1 * WB, has_1, AHEAD)
                xs = ()
                for b in tl.static_range(B):
                    xs = xs + (_stream(self_parts + b * G * D, G, D, L),)  # noqa: RUF005 - all Triton knows
                for _ in range(PQ):
                    rows = row + tl.arange(0, BM)
                    row += BM
                    nw = _tile(m + 4 * D * D, s_cq, row, end, D, BM, D, L, True)
                    for b in tl.static_range(B):
                        mean, deviation = _moments(xs[b], D)
                        h = xs[b] * gain
                        out = (_dot(w, h) * scale - mean * gained) * deviation + bias
                        tl.store(q_buf + b * D + rows, out)
                    w, bias, scale, gained = nw
                _arrive(count + 32 + group, ALL)
        if ALL or PHASE == 3:
            tile = pid * PO
            if tile < NO * B:
                b, group = tile // NO, tile % NO // (D // BO)
                row = tile % (D // BO) * BO
                end = row + PO * BO
                w_matrix = m + 5 * D * D + group * D * GW
                w, bias, scale, _g = _tile(w_matrix, s_co, row, end, D, BO, GW, LG, False)
                at = _positions(0, BT, TL, TW)
                k_here, v_here = k_cross + group * T * GW, v_cross + group * T * GW
                k0 = _cached(k_here, at, 0, n_source, table, 0, 1, False, GW, DH)
                v0 = _cached(v_here, at, 0, n_source, table, 0, 1, False, GW, DH)
                _wait(count + 32 + group, GW // (BM * PQ), ALL)
                _prefetch(ahead_2, HALF_2 * WB, has_2, AHEAD)
                before = _residual(self_parts + b * G * D, row + tl.arange(0, BO), group, G, D)
                y = _attend(q_buf + b * D + group * GW, k_here, v_here, k0, v0, n_source, n_source,
                            table, 0, False, 1, False, GW, DH, SCALE, BT, TL, TW)  # fmt: skip
                y = tl.reshape(y, [GW // LG, LG])
                for _ in range(PO):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_co, row, end, D, BO, GW, LG, False)
                    ahead = _residual(self_parts + b * G * D, rows + BO, group, G, D)
                    out = _dot(w, y) * scale + tl.where(group == 0, bias, 0.0) + before
                    tl.store(cross_parts + (b * G + group) * D + rows, out)
                    w, bias, scale, _g = nw
                    before = ahead
                _arrive(count + 48, ALL)
        if ALL or PHASE == 4:
            row = pid * (P1 * B1)
            end = row + P1 * B1
            if row < F:
                w, bias, scale, gained = _tile(m + 6 * D * D, s_1, row, end, F, B1, D, L, True)
                gain = tl.load(v + 2 * D + cols)
                group = row // GF
                _wait(count + 48, NO * B // PO, ALL)
                _prefetch(ahead_2 + HALF_2, HALF_2 * WB, has_2, AHEAD)
                xs = ()
                for b in tl.static_range(B):
                    xs = xs + (_stream(cross_parts + b * G * D, G, D, L),)  # noqa: RUF005 - all Triton knows
                for _ in range(P1):
                    rows = row + tl.arange(0, B1)
                    row += B1
                    nw = _tile(m + 6 * D * D, s_1, row, end, F, B1, D, L, True)
                    for b in tl.static_range(B):
                        mean, deviation = _moments(xs[b], D)
                        h = xs[b] * gain
                        out = (_dot(w, h) * scale - mean * gained) * deviation + bias
                        tl.store(hidden + b * F + rows, tl.maximum(out, 0.0))
                    w, bias, scale, gained = nw
                _arrive(count + 64 + group, ALL)
        if ALL or PHASE == 5:
            tile = pid * P2
            if tile < PF * (D // BO):
                group = tile // (D // BO)
                row = tile % (D // BO) * BO
                end = row + P2 * BO
                w_matrix = m + 6 * D * D + F * D + group * D * GF
                w, bias, scale, _g = _tile(w_matrix, s_2, row, end, D, BO, GF, LF, False)
                _wait(count + 64 + group, GF // (B1 * P1), ALL)
                more = (layer + 1 < layer_last) & (pid * PQ * BM < D)
                for which in tl.static_range(3):
                    there = m + M_LAYER + (which * D + pid * PQ * BM) * D
                    _prefetch(there, HEAD * WB, more, AHEAD)
                here = hidden + group * GF + _columns(GF, LF)
                ys = ()
                for b in tl.static_range(B):
                    ys = ys + (tl.load(here + b * F, cache_modifier=".cg"),)  # noqa: RUF005 - all Triton knows
                for _ in range(P2):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_2, row, end, D, BO, GF, LF, False)
                    for b in tl.static_range(B):
                        before = _residual(cross_parts + b * G * D, rows, group, G, D)
                        out = _dot(w, ys[b]) * scale + tl.where(group == 0, bias, 0.0) + before
                        tl.store(x + (b * PF + group) * D + rows, out)
                    w, bias, scale, _g = nw
                _arrive(count + 80, ALL)
