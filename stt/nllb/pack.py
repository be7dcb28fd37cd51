"""The decoder's weights as the kernels read them, and the launches of one step.

All matrices of a layer lie in one row (`matrices`), all its vectors in another (`vectors`), each
matrix row with a scale (1 unless int8). Output projections are stored by column group. What a layer
norm adds to its matrix is in the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253
import triton  # noqa: TID253
from torch import Tensor  # noqa: TID253

from stt.errors import EngineUnavailable
from stt.nllb import encoder, layers, selection
from stt.nllb.model import State
from stt.nllb.weights import DecoderLayer, Linear, Norm, Shape, Weights, quantize

PHASES = 6
CHUNK = 2048
"""Logits that one program searches for beam candidates."""


@dataclass(frozen=True)
class Tiling:
    """Tile sizes and launch shapes; the defaults were the fastest tried on an H100 (600M).

    Attributes:
        rows, out_rows, ffn_rows: matrix rows of a tile in phases 0 and 2, in 1, 3 and 5, in 4.
        head_rows, head_warps, head_programs: of the output head; programs per multiprocessor.
        cache_rows: cached positions that attention takes at a time.
        checked: values tell themselves whether they have come, see `layers.py` (persistent).
    """

    rows: int = 8
    out_rows: int = 32
    ffn_rows: int = 32
    warps: int = 8
    head_rows: int = 8
    head_warps: int = 4
    head_programs: int = 8
    cache_rows: int = 32
    checked: bool = True

    @classmethod
    def of(cls, shape: Shape, beam: int) -> Tiling:
        """The fastest tried for a shape and a number of beams."""
        if shape.d_model > 1024:
            return cls(rows=4, ffn_rows=8, checked=False)
        return cls(checked=beam == 1)


class Kernels:
    """One decoder step in Triton; see `kernels.py`.

    Args:
        int8: keep matrices as int8 rows with a scale.
        persistent: all layers in one launch instead of six a layer.

    Raises:
        EngineUnavailable: a width of the model is not one the kernels can tile.
    """

    def __init__(
        self, weights: Weights, state: State, int8: bool, persistent: bool, tiling: Tiling
    ) -> None:
        shape = weights.shape
        d, ffn = shape.d_model, shape.ffn
        group = state.keys.shape[-1]
        ffn_group = next((n for n in (1024, 512, 256, 128, 64) if ffn % n == 0), 0)
        if d & (d - 1) or not ffn_group or group % (d // shape.heads):
            raise EngineUnavailable(
                f"The Triton kernels need a power of two as model width (here {d}) and a "
                f"feed-forward width divisible by 64 (here {ffn}): choose translator.kernels=torch."
            )
        self.int8, self.persistent, self.tiling = int8, persistent, tiling
        self.layer_count, self.parts = shape.decoder_layers, ffn // ffn_group
        device, groups = weights.embedding.device, d // group
        packed = [self._layer(layer, group, ffn_group) for layer in weights.decoder]
        self.matrices = torch.stack([matrices for matrices, _ in packed])
        self.vectors = torch.stack([vectors for _, vectors in packed])
        self.head, self.head_scale = self._matrix(weights.head)
        self.embedding, self.embedding_scale = (
            (self.head, self.head_scale) if weights.ids is None else self._matrix(weights.embedding)
        )
        self.norm = torch.cat([t.float() for t in weights.decoder_norm])
        beam = state.beam
        # Row 0 is the start token's, the others the beams'; a sentence starts with rows 0 and 1.
        self.rows = torch.zeros(1 + beam, self.parts, d, device=device)
        self.x = self.rows[1:]
        wide = max(beam, 2)
        # What the phases of a layer give each other; all bits set: not there yet.
        floats = shape.decoder_layers * wide * (4 * d + ffn + (2 * groups + self.parts) * d)
        floats += shape.decoder_layers * 96  # the counters
        self.unset = torch.full((floats,), -1, dtype=torch.int32, device=device)
        self.space = self.unset.view(torch.float32)
        self.arrived = torch.zeros(1, dtype=torch.int32, device=device)
        rows = self.head.shape[0]
        processors = 128
        if device.type == "cuda":
            processors = torch.cuda.get_device_properties(device).multi_processor_count
        self.head_grid = min(triton.cdiv(rows, tiling.head_rows), processors * tiling.head_programs)
        self.best_value = torch.zeros(self.head_grid, device=device)
        self.best_row = torch.zeros(self.head_grid, dtype=torch.int32, device=device)
        dtype = torch.bfloat16 if self.matrices.dtype != torch.float32 else torch.float32
        self.h = torch.zeros(16, d, dtype=dtype, device=device)
        k = state.candidates
        self.chunks = triton.cdiv(rows, CHUNK)
        self.values = torch.zeros(beam, self.chunks, k, device=device)
        self.value_rows = torch.zeros(beam, self.chunks, k, dtype=torch.int32, device=device)
        self.tops = torch.zeros(beam, self.chunks, device=device)
        self.sums = torch.zeros(beam, self.chunks, device=device)
        self.chosen = torch.zeros(beam, 2, dtype=torch.long, device=device)
        self.moved = torch.zeros_like(state.table)
        # Programs that wait for each other must all be resident: at most one per multiprocessor.
        self.programs = 2 ** (processors.bit_length() - 1)
        width, item = d // shape.heads, self.matrices.element_size()
        lanes, warps = 512 // width // state.keys.element_size(), tiling.warps * width // group
        spread = {"TL": max(lanes, 1), "TW": max(warps, 1)}
        self.lanes = min(512 // item, d)
        self.constants: dict[str, Any] = {
            "M_LAYER": self.matrices.shape[1], "V_LAYER": self.vectors.shape[1],
            "R": wide, "THREADS": 32 * tiling.warps, "BEAMS": beam, "D": d, "F": ffn, "DH": width,
            "T": state.tokens, "GW": group, "GF": ffn_group, "BM": tiling.rows, "BO": tiling.out_rows, "B1": tiling.ffn_rows,
            "BT": max(tiling.cache_rows, spread["TL"] * spread["TW"]), **spread,
            "CHECKED": tiling.checked, "L": self.lanes, "SCALE": width**-0.5, "CACHE_BYTES": state.keys.element_size(),
            "num_warps": tiling.warps, "num_stages": 1,
        }  # fmt: skip
        self.encoder = encoder.Encoder(weights, state, self.embedding, self.embedding_scale)
        self.positions, self.ids, self.shape = weights.positions, weights.ids, shape

    def _matrix(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        if self.int8:
            return quantize(matrix)
        return matrix.contiguous(), torch.ones(matrix.shape[0], device=matrix.device)

    def _layer(self, layer: DecoderLayer, group: int, ffn_group: int) -> tuple[Tensor, Tensor]:
        matrices, vectors = [], []
        norms: tuple[Norm, ...] = (layer.attention_norm, layer.cross_norm, layer.ffn_norm)
        vectors += [norm.gain.float() for norm in norms]
        qkv, cross, ffn = norms
        plan: tuple[tuple[Linear, Norm | None, int], ...] = (
            (layer.qkv, qkv, 0), (layer.out, None, group), (layer.cross_q, cross, 0),
            (layer.cross_out, None, group), (layer.fc1, ffn, 0), (layer.fc2, None, ffn_group),
        )  # fmt: skip
        for linear, norm, width in plan:
            values, scale = self._matrix(linear.weight)
            bias, gained = linear.bias.float(), None
            if norm:
                # W (gain x) and W shift: the kernels apply the norm after the matrix.
                wide = values.float() * scale[:, None]
                bias, gained = bias + wide @ norm.shift.float(), wide @ norm.gain.float()
            if width:  # [out, groups * width] -> [groups, out, width]
                values = values.unflatten(1, (-1, width)).transpose(0, 1)
            matrices.append(values.reshape(-1))
            vectors += [bias, scale] if gained is None else [bias, scale, gained]
        return torch.cat(matrices), torch.cat(vectors)

    @property
    def launches(self) -> int:
        """Kernel launches of one step."""
        layers = 1 if self.persistent else PHASES * self.layer_count
        return layers + (1 if self.x.shape[0] == 1 else 4)

    def encode(self, state: State, bucket: int) -> None:
        """Fill `state.cross` from the first `bucket` source tokens."""
        self.encoder(state, bucket)

    def begin(self, state: State) -> None:
        """Forget the last sentence; the start token and `state.forced` go through the layers together."""
        selection.begin_kernel[(1,)](
            state.forced, self.embedding, self.embedding_scale, self.positions, self.rows,
            state.told, state.step, state.done, state.table, state.scores, self.shape.start,
            self.shape.pad, K=state.candidates, B=state.beam, T=state.tokens, T2=triton.next_power_of_2(state.tokens),
            EMBED=self.shape.embedding_scale, D=self.shape.d_model, PARTS=self.parts,
        )  # fmt: skip
        self._layers(state, self.rows, 2, first=True)
        if state.beam > 1:
            self.rows[2:] = self.rows[1]

    def layers(self, state: State) -> None:
        """All decoder layers on the input of the next step."""
        self._layers(state, self.x, state.beam, first=False)

    def _layers(self, state: State, x: Tensor, rows: int, first: bool) -> None:
        d, ffn, tiling = self.shape.d_model, self.shape.ffn, self.tiling
        out = d // self.constants["GW"] * d // tiling.out_rows
        tiles = (
            d // tiling.rows,
            rows * out,
            ffn // tiling.ffn_rows,
            self.parts * d // tiling.out_rows,
        )
        each = [1] * 4
        if self.persistent:
            each = [triton.next_power_of_2(triton.cdiv(n, self.programs)) for n in tiles]
        grids = [n // k for n, k in zip(tiles, each, strict=True)]
        arguments = (
            self.matrices, self.vectors, state.keys, state.cross, x, self.space, state.step,
            state.length, state.table, state.done, self.unset[-self.layer_count * 96 :],
        )  # fmt: skip
        constants = {
            **self.constants, "B": rows, "FIRST": first,
            "PQ": each[0], "PO": each[1], "P1": each[2], "P2": each[3],
        }  # fmt: skip
        if self.persistent:
            layers.layers_kernel[(max(grids),)](
                *arguments, 0, self.layer_count, PHASE=-1, **constants
            )
            return
        for layer in range(self.layer_count):
            for phase, kind in enumerate((0, 1, 0, 1, 2, 3)):
                layers.layers_kernel[(grids[kind],)](
                    *arguments, layer, layer + 1, PHASE=phase, **constants
                )

    def head_and_select(self, weights: Weights, state: State) -> None:
        """From the layers' output to the next input, record and flags."""
        d, tiling = weights.shape.d_model, self.tiling
        rows = self.head.shape[0]
        ids = state.step if weights.ids is None else weights.ids
        shared: dict[str, Any] = {
            "IDS": weights.ids is not None, "EMBED": weights.shape.embedding_scale, "D": d,
            "PARTS": self.parts,
        }  # fmt: skip
        table = (ids, self.embedding, self.embedding_scale, weights.positions)
        words = self.unset.numel()

        def slice_of(programs: int) -> int:
            return int(triton.next_power_of_2(triton.cdiv(words, programs)))

        if state.beam == 1:
            selection.head_kernel[(self.head_grid,)](
                self.x, self.norm, self.head, self.head_scale, self.best_value, self.best_row,
                self.arrived, *table, state.told, state.step, state.done, self.unset, words, rows,
                weights.shape.end, weights.shape.pad, BV=tiling.head_rows, L=self.lanes,
                N=self.head_grid, N2=triton.next_power_of_2(self.head_grid),
                SLICE=slice_of(self.head_grid), num_warps=tiling.head_warps, **shared,
            )  # fmt: skip
            return
        k, slots = state.candidates, self.chunks * state.candidates
        selection.norm_kernel[(state.beam,)](
            self.x, self.norm, self.h, D=d, PARTS=self.parts, L=self.lanes
        )
        programs = triton.cdiv(rows, 64)
        selection.logits_kernel[(programs,)](
            self.h, self.head, self.head_scale, state.logits, self.unset, words, rows,
            B=state.beam, D=d, BV=64, BK=min(128, d), SLICE=slice_of(programs), num_warps=4,
            num_stages=4,
        )  # fmt: skip
        selection.candidates_kernel[(state.beam, self.chunks)](
            state.logits, self.values, self.value_rows, self.tops, self.sums, rows, K=k, C=CHUNK
        )
        selection.choose_beams_kernel[(1,)](
            self.values, self.value_rows, self.tops, self.sums, self.chosen, self.moved, *table,
            self.x, state.told, state.step, state.scores, state.table,
            weights.shape.end, weights.shape.pad, self.chunks, slots, C2=triton.next_power_of_2(self.chunks),
            N2=triton.next_power_of_2(state.beam * slots), K=k, B=state.beam, T=state.tokens,
            T2=triton.next_power_of_2(state.tokens), num_warps=8, **shared,
        )  # fmt: skip
