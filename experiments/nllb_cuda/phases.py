"""Where a step's time goes: every program's clock at each wait and arrival of the persistent kernel.

    python experiments/nllb_cuda/phases.py          600M shape, 32k rows, random weights

Cycles of a multiprocessor, medians over programs and layers: from a program's last arrival to its wait (its
stores become visible, the next tile's loads are issued), waiting for the others, and from there to its
arrival (the phase's own work). Then the device time of the pieces of a sentence, in graphs of their own.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import torch
import triton
import triton.language as tl

sys.path.insert(0, str(Path(__file__).parents[2]))

from stt.nllb import layers, model, weights
from stt.nllb.pack import Kernels, Tiling

PROGRAMS, COUNTERS = 128, 2048
NAMES = ("qkv", "self", "cross q", "cross", "fc1", "fc2")


@triton.jit
def _clock():
    return tl.inline_asm_elementwise(
        "mov.u32 $0, %clock;", "=r,r", [tl.program_id(0)], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def _stamped_wait(counter, target, PERSISTENT: tl.constexpr):
    at = counter + 2048 * (1 + tl.program_id(0))
    tl.store(at + 2048 * 128, _clock())
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
    tl.debug_barrier()
    tl.store(at + 2 * 2048 * 128, _clock())


@triton.jit
def _stamped_arrive(counter, PERSISTENT: tl.constexpr):
    tl.debug_barrier()
    now = _clock()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    tl.store(counter + 2048 * (1 + tl.program_id(0)), now)


def cycles(packed: Kernels, state: model.State) -> None:
    """Print the clocks of one step."""
    wait, arrive, kernel = layers._wait, layers._arrive, layers.layers_kernel
    layers._wait, layers._arrive = _stamped_wait, _stamped_arrive
    layers.layers_kernel = triton.jit(kernel.fn, do_not_specialize=["layer_first", "layer_last"])
    space = torch.zeros(COUNTERS * (1 + 3 * PROGRAMS), dtype=torch.int32, device="cuda")
    counters, packed.counters = packed.counters, space[:COUNTERS]
    for _ in range(3):
        space.zero_()
        packed.layers(state)
    torch.cuda.synchronize()
    at = space[COUNTERS:].view(3, PROGRAMS, COUNTERS).cpu().long()
    layers._wait, layers._arrive, layers.layers_kernel = wait, arrive, kernel
    packed.counters = counters
    spent: dict[str, list[list[int]]] = {name: [[], [], []] for name in NAMES}
    for p in range(PROGRAMS):
        quarter = p // 32
        waits = (80 - 96, quarter, 16, 32 + quarter, 48, 64 + quarter)
        arrivals = (quarter, 16, 32 + quarter, 48, 64 + quarter, 80)
        last = 0
        for layer in range(1, 12):
            for name, w, a in zip(NAMES, waits, arrivals, strict=True):
                begun, ended = (int(at[i, p, layer * 96 + w]) for i in (1, 2))
                arrived = int(at[0, p, layer * 96 + a])
                for kind, value in enumerate((begun - last, ended - begun, arrived - ended)):
                    if last:
                        spent[name][kind].append(value % 2**32)
                last = arrived
    for name, kinds in spent.items():
        to_wait, waiting, work = (statistics.median(kind) for kind in kinds)
        print(f"   {name:8} to the wait {to_wait:6.0f}  waiting {waiting:6.0f}  work {work:6.0f}")


def timed(work) -> float:
    """Microseconds of `work` in a graph of its own."""
    work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    times = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times) * 1e3


@torch.inference_mode()
def main() -> None:
    shape = weights.SHAPES["600M"]
    for int8 in (False, True):
        to = torch.bfloat16
        loaded = weights.random(shape, to, torch.float32 if int8 else to, "cuda")
        weights.trim(loaded, torch.arange(32000))
        state = model.State(loaded, 1, 255, to)
        packed = Kernels(loaded, state, int8, True, Tiling())
        state.source.random_(4, shape.vocab_size)
        state.length.fill_(24)
        packed.begin(state)
        state.step.fill_(12)

        def step(packed=packed, state=state) -> None:
            packed.counters.zero_()
            packed.layers(state)

        def tail(packed=packed, state=state, loaded=loaded) -> None:
            state.step.fill_(12)
            packed.head_and_select(loaded, state)

        print("int8" if int8 else "bf16")
        cycles(packed, state)
        print(f"   encoder (32 rows) {timed(lambda p=packed, s=state: p.encode(s, 32)):7.1f} us")
        print(f"   in PyTorch ops    {timed(lambda w=loaded, s=state: model.encode(w, s, 32)):7.1f} us")  # fmt: skip
        print(f"   start, language   {timed(lambda p=packed, s=state: p.begin(s)):7.1f} us")
        state.step.fill_(12)
        print(f"   layers of a step  {timed(step):7.1f} us")
        print(f"   head and choice   {timed(tail):7.1f} us")


main()
