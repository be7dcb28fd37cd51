# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator, assignment, var-annotated"
"""How the programs of one launch wait for each other: counters, and values that tell whether they have come."""

from __future__ import annotations

import triton  # noqa: TID253
import triton.language as tl  # noqa: TID253


@triton.constexpr_function
def _until_there(tensors, parts, stride, pack):
    """PTX: while a value is missing (all bits set) load it again; then add the parts in order."""
    n = tensors * pack
    # Operands: the sums, then each tensor's parts, then each tensor's pointers, `pack` of each.
    given = [
        [f"${n + (i // pack * parts + part) * pack + i % pack}" for part in range(parts)]
        for i in range(n)
    ]
    at = [f"${n + tensors * parts * pack + i}" for i in range(n)]
    v = [[f"v{i * parts + part}" for part in range(parts)] for i in range(n)]
    every = [(i, part) for i in range(n) for part in range(parts)]
    copy = [f"mov.b32 {v[i][part]}, {given[i][part]};" for i, part in every]
    missing = [f"setp.eq.or.s32 p, {v[i][part]}, -1, p;" for i, part in every[1:]]
    again = [
        f"setp.eq.s32 q, {v[i][part]}, -1;"
        f"@q ld.relaxed.gpu.global.b32 {v[i][part]}, [{at[i]}+{4 * stride * part}];"
        for i, part in every
    ]
    add = [f"add.f32 {v[i][0]}, {v[i][0]}, {v[i][part]};" for i, part in every if part]
    give = [f"mov.b32 ${i}, {v[i][0]};" for i in range(n)]
    return "\n".join([
        f"{{ .reg .pred p, q; .reg .b32 v<{n * parts}>;", *copy,
        "AGAIN: setp.eq.s32 p, v0, -1;", *missing, "@!p bra DONE;", *again, "bra AGAIN;",
        "DONE:", *add, *give, "}",
    ])  # fmt: skip


@triton.constexpr_function
def _registers(tensors, parts, pack):
    outs, ins = ["=f"] * tensors * pack, ["f"] * tensors * parts * pack
    return ",".join([*outs, *ins, *["l"] * tensors * pack])


@triton.constexpr_function
def _floats(tensors):
    return (tl.float32,) * tensors


@triton.jit
def _sums(
    here, wanted, N: tl.constexpr, PARTS: tl.constexpr, STRIDE: tl.constexpr, PACK: tl.constexpr,
    CHECKED: tl.constexpr,
):  # fmt: skip
    """For each of the N tensors of pointers the sum of PARTS values STRIDE apart, 0 if not wanted.

    With CHECKED, a value that nobody has stored yet (all bits set, a NaN that no arithmetic gives)
    is read again until somebody has. PACK: values of each tensor that a thread holds.
    """
    read, places = (), ()
    for i in tl.static_range(N):
        places = places + (here[i].to(tl.int64),)  # noqa: RUF005 - all Triton knows
        for part in tl.static_range(PARTS):
            place = here[i] + part * STRIDE
            value = tl.load(place, mask=wanted, other=0.0, cache_modifier=".cg")
            read = read + (value,)  # noqa: RUF005
    sums = ()
    if CHECKED:
        sums = tl.inline_asm_elementwise(
            _until_there(N, PARTS, STRIDE, PACK),
            _registers(N, PARTS, PACK),
            read + places,
            dtype=_floats(N),
            is_pure=False,
            pack=PACK,
        )
    else:
        for i in tl.static_range(N):
            total = read[i * PARTS]
            for part in tl.static_range(1, PARTS):
                total += read[i * PARTS + part]
            sums = sums + (total,)  # noqa: RUF005
    return sums


@triton.constexpr_function
def _spin(checked):
    load = "ld.relaxed" if checked else "ld.acquire"
    return (
        "{ .reg .pred p; .reg .u32 t; .reg .s32 v; mov.u32 t, %tid.x; setp.ne.u32 p, t, 0;"
        f"@p bra DONE; AGAIN: {load}.gpu.global.s32 v, [$1]; setp.lt.s32 p, v, $2;"
        "@p bra AGAIN; DONE: mov.u32 $0, 0; }"
    )


@triton.jit
def _wait(counter, target, PERSISTENT: tl.constexpr, CHECKED: tl.constexpr):
    """Spin until `target` programs have arrived (persistent only); counters start at -1."""
    if PERSISTENT:
        tl.debug_barrier()  # or the compiler moves the loads above behind the waiting
        # One thread reads; an atomic in its place would make 128 programs queue at one address.
        tl.inline_asm_elementwise(
            _spin(CHECKED),
            "=r,l,r",
            [counter, target - 1],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
        tl.debug_barrier()


@triton.jit
def _arrive(counter, PERSISTENT: tl.constexpr, CHECKED: tl.constexpr):
    """Count this program. With CHECKED that is a hint: nobody waits for its stores to be seen."""
    if PERSISTENT:
        if CHECKED:
            tl.inline_asm_elementwise(
                "{ .reg .pred p; .reg .u32 t; mov.u32 t, %tid.x; setp.eq.u32 p, t, 0;"
                "@p red.relaxed.gpu.global.add.s32 [$1], 1; mov.u32 $0, 0; }",
                "=r,l",
                [counter],
                dtype=tl.int32,
                is_pure=False,
                pack=1,
            )
        else:
            tl.debug_barrier()
            tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def _prefetch(pointer, n_bytes, wanted, ON: tl.constexpr):
    """Ask for `n_bytes` in L2, one instruction from one thread, if `wanted`."""
    if ON:
        tl.inline_asm_elementwise(
            "{ .reg .pred p; .reg .u32 t; mov.u32 t, %tid.x; setp.lt.u32 p, t, $3;"
            "@p cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0; }",
            "=r,l,r,r",
            [pointer, n_bytes, wanted.to(tl.int32)],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
