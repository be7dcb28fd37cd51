"""Weights of an M2M100/NLLB checkpoint, in the layout the decoder reads them in.

Reads safetensors (one file or shards), floating point or int8 rows with `<name>_scale`. Query, key
and value are merged; the cross-attention keys and values of all layers become one matrix.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch  # noqa: TID253 - this package is imported by an engine's load alone
from torch import Tensor  # noqa: TID253

from stt.errors import EngineUnavailable

Get = Callable[[str, tuple[int, ...]], Tensor]
"""Name and shape -> tensor, on any device, in any dtype."""


@dataclass(frozen=True)
class Shape:
    """What `config.json` says of the model."""

    d_model: int
    heads: int
    ffn: int
    encoder_layers: int
    decoder_layers: int
    vocab_size: int
    start: int = 2
    end: int = 2
    pad: int = 1
    scale_embedding: bool = True

    @property
    def embedding_scale(self) -> float:
        """Factor of an embedding before its position is added."""
        return math.sqrt(self.d_model) if self.scale_embedding else 1.0


SHAPES = {
    "600M": Shape(1024, 16, 4096, 12, 12, 256206),
    "1.3B": Shape(1024, 16, 8192, 24, 24, 256206),
    "3.3B": Shape(2048, 16, 8192, 24, 24, 256206),
}


class Linear(NamedTuple):
    """y = x W^T + b, W [out, in]."""

    weight: Tensor
    bias: Tensor


class Norm(NamedTuple):
    """Layer norm, epsilon 1e-5."""

    gain: Tensor
    shift: Tensor


@dataclass
class EncoderLayer:
    """Pre-norm self-attention, then pre-norm feed-forward; qkv [3d, d]."""

    attention_norm: Norm
    qkv: Linear
    out: Linear
    ffn_norm: Norm
    fc1: Linear
    fc2: Linear


@dataclass
class DecoderLayer:
    """An encoder layer with cross-attention between; its keys and values are in `cross_kv`."""

    attention_norm: Norm
    qkv: Linear
    out: Linear
    cross_norm: Norm
    cross_q: Linear
    cross_out: Linear
    ffn_norm: Norm
    fc1: Linear
    fc2: Linear


@dataclass
class Weights:
    """A whole model.

    Attributes:
        embedding: [vocab_size, d]; also the output head.
        ids: output row -> token id, int64 [rows]; None = every token.
        positions: sinusoids float32 [count, d], the first one is M2M100's position 2.
        cross_kv: weight [layers * 2 * d, d].
    """

    shape: Shape
    embedding: Tensor
    head: Tensor
    ids: Tensor | None
    positions: Tensor
    encoder: list[EncoderLayer]
    encoder_norm: Norm
    cross_kv: Linear
    decoder: list[DecoderLayer]
    decoder_norm: Norm


def read_shape(folder: Path) -> Shape:
    """The shape of the checkpoint in `folder`.

    Raises:
        EngineUnavailable: there is none, or its architecture is another one.
    """
    try:
        found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"{folder} holds no readable config.json ({error}). "
            f"Name the folder of an NLLB checkpoint in translator.model."
        ) from error
    kind, activation = found.get("model_type"), found.get("activation_function", "relu")
    if kind != "m2m_100" or activation != "relu":
        raise EngineUnavailable(
            f"{folder} is a {kind} model with {activation}; this decoder knows m2m_100 (NLLB) "
            f"with relu. Choose such a checkpoint, or translate with translator=embedded_hf."
        )
    return Shape(
        found["d_model"],
        found["decoder_attention_heads"],
        found["decoder_ffn_dim"],
        found["encoder_layers"],
        found["decoder_layers"],
        found["vocab_size"],
        found.get("decoder_start_token_id", 2),
        found.get("eos_token_id", 2),
        found.get("pad_token_id", 1),
        found.get("scale_embedding", True),
    )


def read(folder: Path, dtype: torch.dtype, decoder_dtype: torch.dtype, device: str) -> Weights:
    """The checkpoint in `folder`, on `device`.

    Raises:
        EngineUnavailable: a file or tensor is missing, or has another shape.
    """
    from safetensors import safe_open

    shape = read_shape(folder)
    paths = sorted(folder.glob("*.safetensors"))
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, "pt")) for path in paths]
        place = {name: file for file in files for name in file.keys()}

        def get(name: str, size: tuple[int, ...]) -> Tensor:
            full = name if name in place else f"model.{name}"
            if full not in place:
                raise EngineUnavailable(
                    f"{folder} has no tensor {name} in its {len(paths)} safetensors files: "
                    f"download the checkpoint again, with all *.safetensors."
                )
            tensor: Tensor = place[full].get_tensor(full).to(device)
            if f"{full}_scale" in place:
                scale = place[f"{full}_scale"].get_tensor(f"{full}_scale").to(device)
                tensor = tensor.float() * scale[:, None]
            if tensor.shape != size:
                raise EngineUnavailable(
                    f"{folder}: {name} is {tuple(tensor.shape)}, config.json says {size}. "
                    f"The files do not belong together: download the checkpoint again."
                )
            return tensor

        return build(shape, get, dtype, decoder_dtype)


def random(shape: Shape, dtype: torch.dtype, decoder_dtype: torch.dtype, device: str) -> Weights:
    """Random weights of a shape, for measuring speed where no checkpoint can be had."""
    generator = torch.Generator(device).manual_seed(0)

    def get(name: str, size: tuple[int, ...]) -> Tensor:
        noise = torch.randn(size, generator=generator, device=device) * 0.02
        return noise + 1 if "norm.weight" in name else noise

    return build(shape, get, dtype, decoder_dtype)


def build(shape: Shape, get: Get, dtype: torch.dtype, decoder_dtype: torch.dtype) -> Weights:
    """Ask `get` for every tensor and merge them; vectors are float32 in the decoder."""
    d, ffn = shape.d_model, shape.ffn

    def linear(names: list[str], out: int, into: int, to: torch.dtype) -> Linear:
        weight = [get(f"{name}.weight", (out, into)).to(to) for name in names]
        bias = [get(f"{name}.bias", (out,)).to(to) for name in names]
        return Linear(torch.cat(weight), torch.cat(bias))

    def norm(name: str, to: torch.dtype) -> Norm:
        return Norm(get(f"{name}.weight", (d,)).to(to), get(f"{name}.bias", (d,)).to(to))

    def attention(name: str, letters: str, to: torch.dtype) -> Linear:
        return linear([f"{name}.{letter}_proj" for letter in letters], d, d, to)

    def block(side: str, i: int, to: torch.dtype) -> dict[str, Any]:
        name = f"{side}.layers.{i}"
        return {
            "attention_norm": norm(f"{name}.self_attn_layer_norm", to),
            "qkv": attention(f"{name}.self_attn", "qkv", to),
            "out": linear([f"{name}.self_attn.out_proj"], d, d, to),
            "ffn_norm": norm(f"{name}.final_layer_norm", to),
            "fc1": linear([f"{name}.fc1"], ffn, d, to),
            "fc2": linear([f"{name}.fc2"], d, ffn, to),
        }

    def cross(i: int) -> dict[str, Any]:
        name = f"decoder.layers.{i}.encoder_attn"
        return {
            "cross_norm": norm(f"{name}_layer_norm", decoder_dtype),
            "cross_q": attention(name, "q", decoder_dtype),
            "cross_out": linear([f"{name}.out_proj"], d, d, decoder_dtype),
        }

    embedding = get("shared.weight", (shape.vocab_size, d)).to(decoder_dtype)
    layers = range(shape.decoder_layers)
    kv = [f"decoder.layers.{i}.encoder_attn.{x}_proj" for i in layers for x in "kv"]
    return Weights(
        shape=shape,
        embedding=embedding,
        head=embedding,
        ids=None,
        positions=sinusoids(1026, d, embedding.device),
        encoder=[EncoderLayer(**block("encoder", i, dtype)) for i in range(shape.encoder_layers)],
        encoder_norm=norm("encoder.layer_norm", dtype),
        cross_kv=linear(kv, d, d, dtype),
        decoder=[DecoderLayer(**block("decoder", i, decoder_dtype), **cross(i)) for i in layers],
        decoder_norm=norm("decoder.layer_norm", decoder_dtype),
    )


def sinusoids(count: int, width: int, device: torch.device) -> Tensor:
    """Position encodings float32 [count, width], computed as transformers' M2M100 does."""
    half = width // 2
    frequency = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angle = torch.arange(2, count + 2).float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(device)


def trim(weights: Weights, ids: Tensor) -> None:
    """Keep only the output rows of `ids` (int64, ascending): exact where the full argmax is inside."""
    weights.ids = ids.to(weights.embedding.device)
    weights.head = weights.embedding[weights.ids].contiguous()


def quantize(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 rows and their float32 scale; exact for a matrix that came from such rows."""
    wide = matrix.float()
    scale = wide.abs().amax(1).clamp_min(1e-12) / 127
    return torch.round(wide / scale[:, None]).to(torch.int8), scale


def through_int8(weights: Weights) -> None:
    """Round the decoder's matrices to what int8 stores, for the path that multiplies in floats."""

    def rounded(matrix: Tensor) -> Tensor:
        values, scale = quantize(matrix)
        return (values.float() * scale[:, None]).to(matrix.dtype)

    for layer in weights.decoder:
        for field in fields(layer):
            old = getattr(layer, field.name)
            if isinstance(old, Linear):
                setattr(layer, field.name, Linear(rounded(old.weight), old.bias))
    weights.embedding = rounded(weights.embedding)
    weights.head = weights.embedding if weights.ids is None else weights.embedding[weights.ids]
