"""A training run: the model, its optimizers, the running average of its weights, and their checkpoint."""

import json
import os
from pathlib import Path

import torch
from model import Transformer, save
from muon import Muon
from safetensors import safe_open
from safetensors.torch import save_file
from torch import distributed

AVERAGE_EVERY = 8  # steps between updates of the running average
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def average_decay(step: int, horizon_steps: int) -> float:
    """Weight of the old average at an update: a window that grows to `horizon_steps` steps."""
    return 1 - AVERAGE_EVERY / min(horizon_steps, step / 2 + 2 * AVERAGE_EVERY)


class Run:
    """Model, optimizer and running average, with their checkpoint. All gradients are views of one flat tensor."""

    def __init__(self, model: Transformer, directory: Path, device: str, lr: float, muon: bool = False) -> None:  # fmt: skip
        self.directory, self.device, self.lr = directory, device, lr
        self.model = model.to(device)
        self.parameters = dict(self.model.named_parameters())
        sizes = [parameter.numel() for parameter in self.parameters.values()]
        self.gradient = torch.zeros(sum(sizes), device=device)
        for parameter, part in zip(
            self.parameters.values(), self.gradient.split(sizes), strict=True
        ):
            parameter.grad = part.view_as(parameter)
        matrices = {
            name: parameter
            for name, parameter in self.parameters.items()
            if muon and parameter.ndim == 2 and name != "shared.weight"
        }
        self.muon = Muon(list(matrices.values()))
        self.optimizer = torch.optim.AdamW(
            [parameter for name, parameter in self.parameters.items() if name not in matrices],
            lr=lr,
            betas=(0.9, 0.98),
            eps=1e-8,
            weight_decay=0.01,
            fused=True,
        )
        self.average = {
            name: parameter.detach().clone() for name, parameter in self.parameters.items()
        }
        self.step, self.spent_s, self.tokens = 0, 0.0, 0

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint.safetensors"

    def publish(self) -> None:
        """Write the averaged weights."""
        save(self.average, self.model.shape, self.directory)
        progress = {"step": self.step, "spent_s": round(self.spent_s, 1), "tokens": self.tokens}
        (self.directory / "training.json").write_text(json.dumps(progress) + "\n")

    def save(self) -> None:
        self.publish()
        tensors = {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach()
            if parameter in self.muon.momentum:
                tensors[f"momentum.{name}"] = self.muon.momentum[parameter]
            else:
                tensors |= {
                    f"{key}.{name}": self.optimizer.state[parameter][key]
                    for key in ("exp_avg", "exp_avg_sq")
                }
        progress = {"step": self.step, "spent_s": self.spent_s, "tokens": self.tokens}
        partial = self.checkpoint.with_suffix(".partial")
        save_file(
            {name: tensor.cpu() for name, tensor in tensors.items()},
            partial,
            {"progress": json.dumps(progress)},
        )
        partial.replace(self.checkpoint)

    def resume(self) -> None:
        with safe_open(self.checkpoint, "pt", device=self.device) as stored, torch.no_grad():
            progress = json.loads(stored.metadata()["progress"])
            self.step, self.spent_s, self.tokens = (
                progress["step"],
                progress["spent_s"],
                progress["tokens"],
            )
            for name, parameter in self.parameters.items():
                parameter.copy_(stored.get_tensor(f"model.{name}"))
                self.average[name].copy_(stored.get_tensor(f"average.{name}"))
                if parameter in self.muon.momentum:
                    self.muon.momentum[parameter].copy_(stored.get_tensor(f"momentum.{name}"))
                    continue
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step), device=self.device),
                    **{
                        key: stored.get_tensor(f"{key}.{name}") for key in ("exp_avg", "exp_avg_sq")
                    },
                }

    def update(self, loss: torch.Tensor, factor: float, horizon_steps: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
        self.gradient.zero_()
        loss.backward()
        if WORLD > 1:
            distributed.all_reduce(self.gradient)
        # the mean of the processes' gradients, clipped to norm 1
        self.gradient *= 1 / torch.clamp(self.gradient.norm(), min=WORLD)
        self.optimizer.step()
        self.muon.step(self.lr * factor)
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            with torch.no_grad():
                new = [parameter.detach() for parameter in self.parameters.values()]
                torch._foreach_lerp_(
                    list(self.average.values()), new, 1 - average_decay(self.step, horizon_steps)
                )
