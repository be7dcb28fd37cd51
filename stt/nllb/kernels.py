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
