# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator, assignment"
"""The decoder layers of the batch-1 step in Triton: what is between two dependencies is one phase.

A layer has six phases; `layers_kernel` runs one of them (a launch each, "fused") or all of all layers
with counters in between ("persistent": every program must be resident, so at most one per SM).

    0  layer norm, query, key and value rows      3  cross attention, output projection, residual
    1  attention of a group of heads, output      4  layer norm, FC1 rows, ReLU
       projection of the group, residual          5  FC2 of a group of columns, residual
    2  layer norm, cross query rows

A phase loads what does not depend on others before it waits. What phases give each other lies in
`space`, all of whose bits are set before a step: with CHECKED a value that reads so is read again
until it has come. So the counters are only a hint when it is worth looking, no fence has to make
stores visible first, and the order in which they are seen does not matter. Without CHECKED the
counters release and acquire.
While a phase multiplies a tile of rows the next one is on its way. A layer norm is applied after its
matrix, so that its sums and the products run side by side: (W (gain x) - mean W gain) deviation +
W shift + bias. The residual stream is kept as a sum of parts, one per group of columns, in a fixed
order: no atomics on values, so results do not change from run to run.
"""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253

from stt.nllb.kernels import _attend, _cached, _columns, _dot, _positions, _streams, _tile
from stt.nllb.signals import _arrive, _prefetch, _sums, _wait


@triton.jit(do_not_specialize=["layer_first", "layer_last"])
def layers_kernel(
    matrices, vectors, keys, cross, x, space, step, length, table, done, counters, layer_first,
    layer_last, M_LAYER, V_LAYER,
    B: tl.constexpr, R: tl.constexpr, FIRST: tl.constexpr, BEAMS: tl.constexpr, D: tl.constexpr,
    F: tl.constexpr, DH: tl.constexpr, T: tl.constexpr, GW: tl.constexpr, GF: tl.constexpr,
    BM: tl.constexpr, BO: tl.constexpr, B1: tl.constexpr, BT: tl.constexpr, TL: tl.constexpr,
    TW: tl.constexpr, L: tl.constexpr, SCALE: tl.constexpr, PHASE: tl.constexpr,
    PQ: tl.constexpr, PO: tl.constexpr, P1: tl.constexpr, P2: tl.constexpr,
    CACHE_BYTES: tl.constexpr, THREADS: tl.constexpr, CHECKED: tl.constexpr,
):  # fmt: skip
    """Phases of decoder layers [layer_first, layer_last): one (PHASE 0-5) or all (PHASE -1).

    B rows of x, each FC2's parts [F // GF, D]: the beams at one position, or with FIRST the first
    positions of the sentence. What phases give each other lies in `space`, with room for R rows.
    A program takes PQ, PO, P1, P2 tiles of phases 0 and 2, 1 and 3, 4, 5.
    """
    ALL: tl.constexpr = PHASE < 0
    SURE: tl.constexpr = ALL and CHECKED
    G: tl.constexpr = D // GW
    PF: tl.constexpr = F // GF
    NO: tl.constexpr = G * (D // BO)
    PACK: tl.constexpr = max(D // THREADS, 1)
    PACK_G: tl.constexpr = max(GW // THREADS, 1)
    PACK_F: tl.constexpr = max(GF // THREADS, 1)
    LG: tl.constexpr = min(L, GW)
    LF: tl.constexpr = min(L, GF)
    pid = tl.program_id(0)
    if tl.load(done) != 0:
        return
    t = 0
    if not FIRST:
        t = tl.load(step).to(tl.int32)
    n_source = tl.load(length).to(tl.int32)
    cols = _columns(D, L)
    before = x
    for layer in range(layer_first, layer_last):
        m = matrices + layer * M_LAYER
        vector = vectors + layer * V_LAYER
        k_cache = keys + layer * 2 * G * T * BEAMS * GW
        v_cache = k_cache + G * T * BEAMS * GW
        k_cross = cross + layer * 2 * G * T * GW
        v_cross = k_cross + G * T * GW
        # space: query, key, value, cross query, FC1, parts of self attention, cross attention, FC2
        q_self = space + layer * R * (4 * D + F + (2 * G + PF) * D)
        k_new, v_new, q_cross = q_self + R * D, q_self + 2 * R * D, q_self + 3 * R * D
        hidden = q_cross + R * D
        self_parts = hidden + R * F
        cross_parts = self_parts + R * G * D
        count = counters + layer * 96
        after = cross_parts + R * G * D
        if layer + 1 == layer_last:
            after = x
        # matrices: qkv, out, cross query, cross out, fc1, fc2
        # vectors: 3 gains, then bias, scale (and W gain) of qkv, out, cq, co, fc1, fc2
        s_qkv, s_out, s_cq, s_co = vector + 3 * D, vector + 12 * D, vector + 14 * D, vector + 17 * D
        s_1, s_2 = vector + 19 * D, vector + 19 * D + 3 * F
        if ALL or PHASE == 0:
            row = pid * (PQ * BM)
            end = row + PQ * BM
            if row < D:
                wq, bq, sq, gq = _tile(m, s_qkv, row, end, 3 * D, BM, D, L, True)
                wk, bk, sk, gk = _tile(m + D * D, s_qkv + D, row, end, 3 * D, BM, D, L, True)
                wv, bv, sv, gv = _tile(
                    m + 2 * D * D, s_qkv + 2 * D, row, end, 3 * D, BM, D, L, True
                )
                gain = tl.load(vector + cols)
                group = row // GW
                old = t * BEAMS * GW * CACHE_BYTES
                _prefetch(k_cache + group * T * BEAMS * GW, old, old > 0, ALL)
                _prefetch(v_cache + group * T * BEAMS * GW, old, old > 0, ALL)
                last = tl.where(layer > layer_first, -16, 95)  # the counter at 95 stays as it is
                _wait(
                    count + last,
                    tl.where(layer > layer_first, PF * (D // BO) // P2, 0),
                    ALL,
                    CHECKED,
                )
                xs, means, deviations = _streams(before, B, PF, D, L, PACK, SURE)
                for _ in range(PQ):
                    rows = row + tl.arange(0, BM)
                    row += BM
                    nq = _tile(m, s_qkv, row, end, 3 * D, BM, D, L, True)
                    nk = _tile(m + D * D, s_qkv + D, row, end, 3 * D, BM, D, L, True)
                    nv = _tile(m + 2 * D * D, s_qkv + 2 * D, row, end, 3 * D, BM, D, L, True)
                    for b in tl.static_range(B):
                        mean, deviation, h = means[b], deviations[b], xs[b] * gain
                        place = q_self + b * D + rows
                        tl.store(place, (_dot(wq, h) * sq - mean * gq) * deviation + bq)
                        k = (_dot(wk, h) * sk - mean * gk) * deviation + bk
                        v = (_dot(wv, h) * sv - mean * gv) * deviation + bv
                        tl.store(k_new + b * D + rows, k)
                        tl.store(v_new + b * D + rows, v)
                        at, beam = t, b
                        if FIRST:
                            at, beam = b, 0
                        place = ((group * T + at) * BEAMS + beam) * GW + rows - group * GW
                        tl.store(k_cache + place, k.to(keys.dtype.element_ty))
                        tl.store(v_cache + place, v.to(keys.dtype.element_ty))
                    wq, bq, sq, gq = nq
                    wk, bk, sk, gk = nk
                    wv, bv, sv, gv = nv
                _arrive(count + group, ALL, CHECKED)
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
                new = b * D + group * GW
                if FIRST:
                    new = group * GW
                ROWS: tl.constexpr = 2 if FIRST else 1
                _wait(count + group, GW // (BM * PQ), ALL, CHECKED)
                rows = row + tl.arange(0, BO)
                here = (before + b * PF * D + rows,)
                old = _sums(here, (rows < end) & (group == 0), 1, PF, D, 1, SURE)
                y = _attend(q_self + b * D + group * GW, k_here, v_here, k_new + new, v_new + new, k0,
                            v0, t, until, table + b * T, beam, ROWS, BEAMS, TABLE, D, GW, DH, SCALE,
                            BT, TL, TW, PACK_G, SURE)  # fmt: skip
                y = tl.reshape(y, [GW // LG, LG])
                for _ in range(PO):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_out, row, end, D, BO, GW, LG, False)
                    out = _dot(w, y) * scale + tl.where(group == 0, bias, 0.0) + old[0]
                    tl.store(self_parts + (b * G + group) * D + rows, out)
                    here = (before + b * PF * D + rows + BO,)
                    old = _sums(here, (rows + BO < end) & (group == 0), 1, PF, D, 1, SURE)
                    w, bias, scale, _g = nw
                _arrive(count + 16, ALL, CHECKED)
        if ALL or PHASE == 2:
            row = pid * (PQ * BM)
            end = row + PQ * BM
            if row < D:
                w, bias, scale, gained = _tile(m + 4 * D * D, s_cq, row, end, D, BM, D, L, True)
                gain = tl.load(vector + D + cols)
                group = row // GW
                _wait(count + 16, NO * B // PO, ALL, CHECKED)
                xs, means, deviations = _streams(self_parts, B, G, D, L, PACK, SURE)
                for _ in range(PQ):
                    rows = row + tl.arange(0, BM)
                    row += BM
                    nw = _tile(m + 4 * D * D, s_cq, row, end, D, BM, D, L, True)
                    for b in tl.static_range(B):
                        out = (_dot(w, xs[b] * gain) * scale - means[b] * gained) * deviations[b]
                        tl.store(q_cross + b * D + rows, out + bias)
                    w, bias, scale, gained = nw
                _arrive(count + 32 + group, ALL, CHECKED)
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
                _wait(count + 32 + group, GW // (BM * PQ), ALL, CHECKED)
                rows = row + tl.arange(0, BO)
                here = (self_parts + b * G * D + rows,)
                old = _sums(here, (rows < end) & (group == 0), 1, G, D, 1, SURE)
                y = _attend(q_cross + b * D + group * GW, k_here, v_here, q_cross, q_cross, k0, v0,
                            n_source, n_source, table, 0, 0, 1, False, D, GW, DH, SCALE, BT, TL, TW,
                            PACK_G, SURE)  # fmt: skip
                y = tl.reshape(y, [GW // LG, LG])
                for _ in range(PO):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_co, row, end, D, BO, GW, LG, False)
                    out = _dot(w, y) * scale + tl.where(group == 0, bias, 0.0) + old[0]
                    tl.store(cross_parts + (b * G + group) * D + rows, out)
                    here = (self_parts + b * G * D + rows + BO,)
                    old = _sums(here, (rows + BO < end) & (group == 0), 1, G, D, 1, SURE)
                    w, bias, scale, _g = nw
                _arrive(count + 48, ALL, CHECKED)
        if ALL or PHASE == 4:
            row = pid * (P1 * B1)
            end = row + P1 * B1
            if row < F:
                w, bias, scale, gained = _tile(m + 6 * D * D, s_1, row, end, F, B1, D, L, True)
                gain = tl.load(vector + 2 * D + cols)
                group = row // GF
                _wait(count + 48, NO * B // PO, ALL, CHECKED)
                xs, means, deviations = _streams(cross_parts, B, G, D, L, PACK, SURE)
                for _ in range(P1):
                    rows = row + tl.arange(0, B1)
                    row += B1
                    nw = _tile(m + 6 * D * D, s_1, row, end, F, B1, D, L, True)
                    for b in tl.static_range(B):
                        out = (_dot(w, xs[b] * gain) * scale - means[b] * gained) * deviations[b]
                        tl.store(hidden + b * F + rows, tl.maximum(out + bias, 0.0))
                    w, bias, scale, gained = nw
                _arrive(count + 64 + group, ALL, CHECKED)
        if ALL or PHASE == 5:
            tile = pid * P2
            if tile < PF * (D // BO):
                group = tile // (D // BO)
                row = tile % (D // BO) * BO
                end = row + P2 * BO
                w_matrix = m + 6 * D * D + F * D + group * D * GF
                w, bias, scale, _g = _tile(w_matrix, s_2, row, end, D, BO, GF, LF, False)
                at = _columns(GF, LF)
                _wait(count + 64 + group, GF // (B1 * P1), ALL, CHECKED)
                rows = row + tl.arange(0, BO)
                place, here = (), ()
                for b in tl.static_range(B):
                    place = place + (cross_parts + b * G * D + rows,)  # noqa: RUF005
                    here = here + (hidden + b * F + group * GF + at,)  # noqa: RUF005 - all Triton knows
                old = _sums(place, (rows < end) & (group == 0), B, G, D, 1, SURE)
                ys = _sums(here, at < GF, B, 1, 0, PACK_F, SURE)
                for _ in range(P2):
                    rows = row + tl.arange(0, BO)
                    row += BO
                    nw = _tile(w_matrix, s_2, row, end, D, BO, GF, LF, False)
                    for b in tl.static_range(B):
                        out = _dot(w, ys[b]) * scale + tl.where(group == 0, bias, 0.0) + old[b]
                        tl.store(after + (b * PF + group) * D + rows, out)
                    place = ()
                    for b in tl.static_range(B):
                        place = place + (cross_parts + b * G * D + rows + BO,)  # noqa: RUF005
                    old = _sums(place, (rows + BO < end) & (group == 0), B, G, D, 1, SURE)
                    w, bias, scale, _g = nw
                _arrive(count + 80, ALL, CHECKED)
        before = after
