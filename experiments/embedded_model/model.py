"""The M2M100 transformer in plain PyTorch, for training on packed rows.

Parameter names are those of transformers' M2M100 state dict without the leading `model.`. A row of a batch holds several
sentences end to end; `sentences` numbers them (0 is padding) and attention stays inside a sentence.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from export import load_state
from safetensors.torch import save_file
from torch import Tensor, nn

MAX_TOKENS = 256  # longest sentence


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; `vocabulary` counts every row of the tied embedding."""

    encoder: int = 6
    decoder: int = 2
    width: int = 512
    ffn: int = 1536
    vocabulary: int = 12288
    dropout: float = 0.1

    @classmethod
    def parse(cls, text: str, **more: float) -> "Shape":
        """Read `8-2-512-1024` as encoder layers, decoder layers, width, feed-forward width."""
        return cls(*map(int, text.split("-")), **more)

    @property
    def heads(self) -> int:
        return self.width // 64

    def config(self) -> dict:
        """The M2M100Config fields of this shape."""
        sides = {
            f"{side}_{name}": value
            for side, layers in (("encoder", self.encoder), ("decoder", self.decoder))
            for name, value in {
                "layers": layers,
                "ffn_dim": self.ffn,
                "attention_heads": self.heads,
                "layerdrop": 0.0,
            }.items()
        }
        return {
            "architectures": ["M2M100ForConditionalGeneration"], "model_type": "m2m_100", "tokenizer_class": "NllbTokenizer",
            "vocab_size": self.vocabulary, "d_model": self.width, **sides, "activation_function": "relu",
            "dropout": self.dropout, "attention_dropout": 0.0, "activation_dropout": 0.0, "init_std": 0.02,
            "max_position_embeddings": MAX_TOKENS, "scale_embedding": True, "is_encoder_decoder": True, "use_cache": True,
            "tie_word_embeddings": True, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
        }  # fmt: skip

    @classmethod
    def of(cls, config: dict) -> "Shape":
        return cls(config["encoder_layers"], config["decoder_layers"], config["d_model"], config["encoder_ffn_dim"],
                   config["vocab_size"], config["dropout"])  # fmt: skip


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Dense attention: q [rows, Lq, H, D], k and v [rows, Lk, H, D], mask [rows, 1, Lq, Lk] bool -> [rows, Lq, H * D].

    Written out so that the compiler fuses mask and softmax: sentences are short, and a flash kernel with one tile per
    sentence spent half of a training step on empty tiles.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    weights = scores.float().masked_fill(~mask, -1e9).softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def same_sentence(queries: Tensor, keys: Tensor, causal: bool = False) -> Tensor:
    """Mask [rows, 1, Lq, Lk] from sentence numbers [rows, L]: tokens see their own sentence, with `causal` no later token."""
    mask = queries[:, None, :, None] == keys[:, None, None, :]
    return mask.tril() if causal else mask


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(shape.width, shape.width))

    def project(self, x: Tensor, *names: str) -> tuple[Tensor, ...]:
        """Apply several projections to x [..., width] in one matrix product; each result is [..., heads, 64]."""
        linears = [getattr(self, name) for name in names]
        y = F.linear(
            x, torch.cat([m.weight for m in linears]), torch.cat([m.bias for m in linears])
        )
        return tuple(part.unflatten(-1, (self.heads, -1)) for part in y.chunk(len(names), -1))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        if x is memory:
            q, k, v = self.project(x, "q_proj", "k_proj", "v_proj")
        else:
            (q,) = self.project(x, "q_proj")
            k, v = self.project(memory, "k_proj", "v_proj")
        return self.out_proj(attend(q, k, v, mask))


class Layer(nn.Module):
    """A pre-norm layer; with `cross` it also attends to the encoder's output."""

    def __init__(self, shape: Shape, cross: bool) -> None:
        super().__init__()
        self.dropout = shape.dropout
        self.self_attn = Attention(shape)
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        if cross:
            self.encoder_attn = Attention(shape)
            self.encoder_attn_layer_norm = nn.LayerNorm(shape.width)
        self.cross = cross
        self.fc1 = nn.Linear(shape.width, shape.ffn)
        self.fc2 = nn.Linear(shape.ffn, shape.width)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.fc2(self.drop(F.relu(self.fc1(self.final_layer_norm(x))))))

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        y = self.self_attn_layer_norm(x)
        x = x + self.drop(self.self_attn(y, y, mask))
        if memory is not None:
            x = x + self.drop(
                self.encoder_attn(self.encoder_attn_layer_norm(x), memory, memory_mask)
            )
        return self.feed_forward(x)


class Stack(nn.Module):
    def __init__(self, shape: Shape, layers: int, cross: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(shape, cross) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(shape.width)


class Transformer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.shared = nn.Embedding(shape.vocabulary, shape.width)
        self.encoder = Stack(shape, shape.encoder, cross=False)
        self.decoder = Stack(shape, shape.decoder, cross=True)
        for name, parameter in self.named_parameters():
            if "shared" in name:
                nn.init.normal_(parameter, std=shape.width**-0.5)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        half = shape.width // 2
        frequency = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        angle = (
            torch.arange(2, MAX_TOKENS + 2)[:, None] * frequency
        )  # M2M100 counts positions from 2
        self.register_buffer(
            "positions", torch.cat([angle.sin(), angle.cos()], 1), persistent=False
        )

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.shared(tokens) * self.shape.width**0.5 + self.positions[positions]
        return F.dropout(x, self.shape.dropout, self.training)

    def encode(self, tokens: Tensor, positions: Tensor, sentences: Tensor) -> Tensor:
        x, mask = self.embed(tokens, positions), same_sentence(sentences, sentences)
        for layer in self.encoder.layers:
            x = layer(x, mask)
        return self.encoder.layer_norm(x)

    def forward(
        self, source: tuple[Tensor, Tensor, Tensor], target: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """(tokens, positions, sentences), each [rows, L], of both sides -> decoder output [rows, L_target, width]."""
        memory = self.encode(*source)
        tokens, positions, sentences = target
        x = self.embed(tokens, positions)
        masks = (
            same_sentence(sentences, sentences, causal=True),
            same_sentence(sentences, source[2]),
        )
        for layer in self.decoder.layers:
            x = layer(x, masks[0], memory, masks[1])
        return self.decoder.layer_norm(x)

    def compile_layers(self) -> None:
        """Compile one layer of each kind; layers of a kind share the compiled code."""
        for layer in (*self.encoder.layers, *self.decoder.layers):
            layer.compile(dynamic=False)


def cross_entropy(
    x: Tensor, embedding: Tensor, labels: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Mean cross entropy of tied logits against sparse soft labels.

    x [..., width]; labels [..., k] ids; weights [..., k] probabilities summing to 1 (or all 0: the row is ignored).
    """
    logits = F.linear(x, embedding).float()
    expected = (logits.gather(-1, labels) * weights).sum(-1)
    mass = weights.sum(-1)
    loss = mass * (logits.logsumexp(-1) - smoothing * logits.mean(-1)) - (1 - smoothing) * expected
    return loss.sum() / mass.sum().clamp(min=1)


def save(model_state: dict[str, Tensor], shape: Shape, path: Path) -> None:
    """Write `model.safetensors` (fp16) and `config.json`, as export.py reads them."""
    path.mkdir(parents=True, exist_ok=True)
    state = {
        f"model.{name}": tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in model_state.items()
    }
    (path / "config.json").write_text(json.dumps(shape.config(), indent=2) + "\n")
    partial = path / "model.partial"
    save_file(state, partial, metadata={"format": "pt"})
    partial.replace(path / "model.safetensors")


def load(path: Path, device: str, dtype: torch.dtype = torch.float32) -> Transformer:
    shape = Shape.of(json.loads((path / "config.json").read_text()))
    model = Transformer(shape)
    state = load_state(path / "model.safetensors")
    model.load_state_dict(
        {
            name.removeprefix("model."): torch.from_numpy(np.ascontiguousarray(t))
            for name, t in state.items()
        }
    )
    return model.to(device, dtype).eval()


def describe(shape: Shape) -> dict:
    return asdict(shape) | {"parameters": sum(p.numel() for p in Transformer(shape).parameters())}
