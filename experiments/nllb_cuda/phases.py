"""Where a step's time goes: device time of each phase of the layers, of the head and of the choice.

python experiments/nllb_cuda/phases.py          600M shape, random weights
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from stt.nllb import kernels, model, selection, weights
from stt.nllb.pack import Kernels, Tiling


def timed(work, repeat: int) -> float:
    """Microseconds of one of `repeat` equal pieces inside one graph."""
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
    return statistics.median(times) * 1e3 / repeat


def main() -> None:
    for beam in (1, 4):
        for tiling in (
            Tiling(),
            Tiling(warps=4),
            Tiling(warps=4, rows=4, out_rows=16, ffn_rows=16),
        ):
            shape = weights.SHAPES["600M"]
            loaded = weights.random(shape, torch.bfloat16, torch.bfloat16, "cuda")
            state = model.State(loaded, beam, 255, torch.bfloat16)
            packed = Kernels(loaded, state, False, True, tiling)
            state.length.fill_(24)
            state.step.fill_(12)
            a = (packed.matrices, packed.vectors, state.keys, state.cross, packed.x, packed.self_parts,
                 packed.cross_parts, packed.q, packed.hidden, packed.counters, state.step, state.length,
                 state.table, state.done)  # fmt: skip
            print(beam, tiling, flush=True)
            for phase in range(6):

                def chain(phase=phase):
                    for _ in range(2):
                        for layer in range(12):
                            kernels.layers_kernel[(packed.tiles[phase],)](
                                *a, layer, layer + 1, PHASE=phase, **packed.constants
                            )

                print(f"   phase {phase} {timed(chain, 24):6.2f} us", flush=True)

            def layers():
                packed.counters.zero_()
                packed.layers(state)

            print(f"   persistent layers {timed(layers, 1):7.2f} us", flush=True)

            def tail():
                state.step.fill_(12)
                packed.head_and_select(loaded, state)

            print(f"   head and choice {timed(tail, 1):7.2f} us", flush=True)
            if beam == 4:
                rows = packed.head.shape[0]
                k = state.candidates
                print(
                    f"   norm {timed(lambda: selection.norm_kernel[(beam,)](packed.x, packed.norm, packed.h, D=1024, PARTS=4), 1):7.2f}"
                )
                print(
                    f"   logits {timed(lambda: selection.logits_kernel[(rows // 64 + 1,)](packed.h, packed.head, packed.head_scale, state.logits, rows, B=4, D=1024, BV=64, BK=128, num_warps=4, num_stages=4), 1):7.2f}"
                )
                print(
                    f"   candidates {timed(lambda: selection.candidates_kernel[(beam, packed.chunks)](state.logits, packed.values, packed.value_rows, packed.tops, packed.sums, rows, K=k, C=2048), 1):7.2f}"
                )


main()
