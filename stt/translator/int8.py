"""Linear layers that multiply in int8: weights rounded once, activations as they come.

What PyTorch calls dynamic quantization. `torch.ao.quantization.quantize_dynamic` and the quantized tensors that
it makes are deprecated; docs/decisions/0001-foundation.md says why its successor, torchao, is not used either.
"""

from __future__ import annotations

from collections import Counter

import torch  # noqa: TID253 - imported by an engine's load alone
from torch import Tensor, nn  # noqa: TID253

from stt.errors import EngineUnavailable

_LEVELS = 127
_SMALLEST = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """A `Linear` of float32 in which only int8 numbers are multiplied; it keeps no other weights.

    Attributes:
        scheme: what is rounded how, and by whom multiplied.
        weight: int8, (outputs, inputs).
        scale: float32, one of each output.
        bias: float32, (outputs,), or None.
    """

    scheme = "int8 weights a row, int8 activations a row, int32 sums: onednn"

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        wide = linear.weight.detach().float()
        scale = (wide.abs().amax(1) / _LEVELS).clamp_min(_SMALLEST)
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", (wide / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """`x` times the weights, (..., inputs) to (..., outputs); each row of `x` has a scale of its own."""
        rows = x.reshape(-1, x.shape[-1])
        scale = (rows.abs().amax(1, keepdim=True) / _LEVELS).clamp_min(_SMALLEST)
        sums = torch._int_mm((rows / scale).round().to(torch.int8), self.weight.t())
        made = sums * scale * self.scale
        if self.bias is not None:
            made += self.bias
        return made.view(*x.shape[:-1], -1)


def quantize(model: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every `Linear` of `model` (of more than one input).

    Raises:
        EngineUnavailable: this machine does not multiply int8 exactly.
    """
    _require_engine()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            # Of one input, torch 2.13 multiplies wrongly.
            if isinstance(child, nn.Linear) and child.in_features > 1:
                setattr(parent, name, Int8Linear(child))


def linears(model: nn.Module) -> tuple[dict[str, int], str | None]:
    """How many linear layers hold weights of which type, and the scheme of those in int8."""
    found = [layer for layer in model.modules() if isinstance(layer, nn.Linear | Int8Linear)]
    kinds = Counter(str(layer.weight.dtype).removeprefix("torch.") for layer in found)
    schemes = {layer.scheme for layer in found if isinstance(layer, Int8Linear)}
    return dict(sorted(kinds.items())), ", ".join(schemes) or None


def _require_engine() -> None:
    """Refuse what would be slow loops (no oneDNN), or wrong (a processor whose sums stop at 16 bits)."""
    onednn = torch.backends.mkldnn
    there = onednn.is_available() and onednn.enabled  # type: ignore[no-untyped-call]
    largest = torch.full((8, 64), _LEVELS, dtype=torch.int8)
    if there and torch._int_mm(largest, largest.t()).eq(64 * _LEVELS**2).all():
        return
    why = "multiplies int8 wrongly here" if there else "was built without oneDNN, or it is off"
    raise EngineUnavailable(
        f"translator.precision=int8: torch {torch.__version__} {why}. Choose "
        "translator.precision=float32, or translator=embedded, which is int8 through CTranslate2."
    )
