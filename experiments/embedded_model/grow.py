"""Grow a trained model into a larger one that computes the same function, to start a teacher from.

New layers add nothing at first (zero output projections), new feed-forward neurons have zero outgoing weights; everything
else of them is random, so that they learn. After Net2Net (Chen et al. 2016) and progressive stacking.
"""

import torch
from model import Shape, Transformer


def places(old: int, new: int) -> list[int]:
    """Which of `new` layers the `old` ones become, evenly spread, the last one last."""
    return [(i + 1) * new // old - 1 for i in range(old)]


@torch.no_grad()
def grow(small: Transformer, shape: Shape) -> Transformer:
    """A model of `shape` (same width and vocabulary, nothing smaller) that computes what `small` does."""
    old = small.shape
    if (shape.width, shape.vocabulary) != (old.width, old.vocabulary):
        raise ValueError(f"{shape} must keep the width and vocabulary of {old}")
    big = Transformer(shape)
    big.shared.load_state_dict(small.shared.state_dict())
    for side in ("encoder", "decoder"):
        mine, theirs = getattr(big, side), getattr(small, side)
        mine.layer_norm.load_state_dict(theirs.layer_norm.state_dict())
        for layer in mine.layers:
            layer.fc2.weight.zero_()
            layer.self_attn.out_proj.weight.zero_()
            if layer.cross:
                layer.encoder_attn.out_proj.weight.zero_()
        for place, layer in zip(places(len(theirs.layers), len(mine.layers)), theirs.layers, strict=True):  # fmt: skip
            state = mine.layers[place].state_dict()
            for name, tensor in layer.state_dict().items():
                state[name][tuple(slice(size) for size in tensor.shape)] = tensor
    return big
