"""Train one model on token arrays for a budget of seconds, over as many calls as needed.

    python train.py --pairs FILE.npz ... --run RUN_DIR --shape 6-2-512-1536 --seconds 1200 --call 500 [--soft SHARD.npz ...]

`--seconds` is the whole budget (the learning rate ends near 0 there), `--call` this call's share; a later call goes on from
RUN_DIR/checkpoint.safetensors. RUN_DIR/model.safetensors is the running average of the weights, rewritten at each call's end.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from batches import ROW, Batches, Pairs, loader, sides
from model import Shape, Transformer, cross_entropy, load, save
from safetensors import safe_open
from safetensors.torch import save_file

AVERAGE_EVERY = 8  # steps between updates of the running average


def schedule(fraction: float, step: int, warmup_steps: int) -> float:
    """Learning rate factor: linear warm-up, flat to a third of the budget, then linear to 1/200."""
    return min(1.0, (step + 1) / warmup_steps) * max(0.005, min(1.0, (1 - fraction) / 0.67))


def average_decay(step: int, horizon_steps: int) -> float:
    """Weight of the old average at an update: a window that grows to `horizon_steps` steps."""
    return 1 - AVERAGE_EVERY / min(horizon_steps, step / 2 + 2 * AVERAGE_EVERY)


class Run:
    """Model, optimizer and running average, with their checkpoint."""

    def __init__(self, shape: Shape, directory: Path, device: str, lr: float) -> None:
        self.directory, self.shape, self.device, self.lr = directory, shape, device, lr
        self.model = Transformer(shape).to(device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
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

    def save(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        tensors = {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach()
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
        save(self.average, self.shape, self.directory)
        (self.directory / "training.json").write_text(json.dumps(progress) + "\n")

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
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step), device=self.device),
                    **{
                        key: stored.get_tensor(f"{key}.{name}") for key in ("exp_avg", "exp_avg_sq")
                    },
                }

    def update(self, loss: torch.Tensor, factor: float, horizon_steps: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        if self.step % AVERAGE_EVERY == 0:
            with torch.no_grad():
                new = [parameter.detach() for parameter in self.parameters.values()]
                torch._foreach_lerp_(
                    list(self.average.values()), new, 1 - average_decay(self.step, horizon_steps)
                )


def targets(
    batch: dict[str, torch.Tensor], soft: list[torch.Tensor] | None, hard_share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [N, k] and their weights: the reference alone, or mixed with the teachers' soft labels."""
    labels = batch["labels"][..., None]
    weights = (batch["at"] >= 0)[..., None].float()
    if soft is None:
        return labels, weights
    soft_labels, soft_weights = (tensor[batch["at"].clamp(min=0)] for tensor in soft)
    return (
        torch.cat([labels, soft_labels.long()], -1),
        torch.cat([hard_share * weights, (1 - hard_share) * weights * soft_weights.float()], -1),
    )


def train(run: Run, pairs: Pairs, args: argparse.Namespace) -> list[float]:
    """Train for this call's share of the budget; returns the losses logged."""
    model, device = run.model.train(), run.device
    soft = [tensor.to(device) for tensor in pairs.soft] if pairs.soft else None
    loss_of = cross_entropy
    if device != "cpu" and not args.eager:
        model.compile_layers()
        loss_of = torch.compile(cross_entropy, dynamic=False)
    batches = Batches(
        pairs, max(1, args.tokens // (2 * ROW)), args.everyday, args.seed + 1000 * run.step
    )
    began, before_s, logged, last = time.monotonic(), run.spent_s, [], (0.0, run.step, run.tokens)
    for batch in loader(batches, device):
        elapsed = time.monotonic() - began
        run.spent_s = before_s + elapsed
        if elapsed > args.call or run.spent_s > args.seconds:
            break
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            hidden = model(*sides(batch))
            labels, weights = targets(batch, soft, args.hard)
            loss = loss_of(hidden, run.model.shared.weight, labels, weights, args.smoothing)
        run.update(loss, schedule(run.spent_s / args.seconds, run.step, args.warmup), args.horizon)
        run.tokens += batch["source"].numel() + batch["target"].numel()
        if run.step % args.log == 0 or run.step == 20:
            logged.append(loss.item())
            elapsed = time.monotonic() - began
            rate = (run.tokens - last[2]) / (elapsed - last[0])
            pace_ms = 1000 * (elapsed - last[0]) / (run.step - last[1])
            last = (elapsed, run.step, run.tokens)
            print(
                f"{args.run.name} step {run.step} {run.spent_s:.0f} s loss {logged[-1]:.3f} {pace_ms:.1f} ms/step {rate:.0f} tokens/s",
                flush=True,
            )
    return logged


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--soft", type=Path, nargs="*", default=[])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="start from the weights of this model directory")
    parser.add_argument(
        "--shape", required=True, help="encoder-decoder-width-ffn, such as 6-2-512-1536"
    )
    parser.add_argument("--vocabulary", type=int, default=12288)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument(
        "--hard", type=float, default=0.3, help="share of the reference beside soft labels"
    )
    parser.add_argument(
        "--everyday", type=float, default=3.0, help="times an everyday pair appears per epoch"
    )
    parser.add_argument("--tokens", type=int, default=51_200, help="tokens per step, both sides")
    parser.add_argument("--lr", type=float, default=9e-4)
    parser.add_argument("--warmup", type=int, default=600)
    parser.add_argument(
        "--horizon", type=int, default=2000, help="steps the weight average spans at most"
    )
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--call", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=int, default=500)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    shape = Shape.parse(args.shape, vocabulary=args.vocabulary, dropout=args.dropout)
    run = Run(shape, args.run, args.device, args.lr)
    if run.checkpoint.exists():
        run.resume()
    elif args.init:
        run.model.load_state_dict(load(args.init, args.device).state_dict())
        torch._foreach_copy_(
            list(run.average.values()), [p.detach() for p in run.parameters.values()]
        )
    train(run, Pairs(args.pairs, args.soft), args)
    run.save()


if __name__ == "__main__":
    main()
