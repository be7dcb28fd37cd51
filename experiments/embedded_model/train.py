"""Train one model on token arrays for a budget of seconds, over as many calls as needed.

    python train.py --pairs FILE.npz ... --run RUN_DIR --shape 6-2-512-1536 --seconds 1200 [--init MODEL_DIR] [--soft]

`--seconds` is the whole budget (the learning rate ends near 0 there; loading and compiling count), `--call` this call's
share; a later call goes on from RUN_DIR/checkpoint.safetensors. RUN_DIR/model.safetensors is the running average of the
weights, rewritten every minute. With WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set, processes train one
model together, each on its own batches. `--dev` writes RUN_DIR/score.json (greedy) at the end.
"""

import time

BEGAN = time.monotonic()  # importing torch is part of the budget

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402
from batches import ROW, Batches, Pairs, loader, sides  # noqa: E402
from grow import grow  # noqa: E402
from model import Shape, Transformer, cross_entropy, load  # noqa: E402
from run import RANK, WORLD, Run  # noqa: E402
from torch import distributed  # noqa: E402

CLOCK_EVERY = 10  # steps between looks at the clock, which all processes share
SAVE_EVERY_S = 60


def schedule(fraction: float, step: int, warmup_steps: int) -> float:
    """Learning rate factor: linear warm-up, flat to a third of the budget, then linear to 1/200."""
    return min(1.0, (step + 1) / warmup_steps) * max(0.005, min(1.0, (1 - fraction) / 0.67))


def latest(elapsed_s: float, device: str) -> float:
    """The clock of the process that is furthest, so that all of them stop at the same step."""
    if WORLD == 1:
        return elapsed_s
    clock = torch.tensor(elapsed_s, dtype=torch.float64, device=device)
    distributed.all_reduce(clock, distributed.ReduceOp.MAX)
    return clock.item()


def targets(
    batch: dict[str, torch.Tensor], soft: list[torch.Tensor] | None, hard_share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels [N, k] and their weights: the reference, mixed with the teachers' soft labels where there are any."""
    labels = batch["labels"][..., None]
    weights = (batch["at"] >= 0)[..., None].float()
    if soft is None:
        return labels, weights
    soft_labels, soft_weights = (tensor[batch["at"].clamp(min=0)] for tensor in soft)
    soft_weights = (1 - hard_share) * weights * soft_weights.float()
    rest = weights - soft_weights.sum(-1, keepdim=True)
    return torch.cat([labels, soft_labels.long()], -1), torch.cat([rest, soft_weights], -1)


def train(run: Run, pairs: Pairs, args: argparse.Namespace, began: float) -> list[float]:
    """Train for this call's share of the budget, which began at `began`; returns the losses logged."""
    model, device = run.model.train(), run.device
    soft = [tensor.to(device) for tensor in pairs.soft] if pairs.soft else None
    pairs.soft = None
    loss_of = cross_entropy
    if device != "cpu" and not args.eager:
        model.compile_layers()
        loss_of = torch.compile(cross_entropy, dynamic=False)
    rows, seed = max(1, args.tokens // (2 * ROW)), [args.seed, RANK, run.step]
    before_s, logged, published = run.spent_s, [], 0.0
    elapsed, last = 0.0, (time.monotonic() - began, run.step, run.tokens)
    for batch in loader(Batches(pairs, rows, args.tatoeba, seed), device):
        if WORLD == 1 or run.step % CLOCK_EVERY == 0:
            elapsed = latest(time.monotonic() - began, device)
        run.spent_s = before_s + elapsed
        if elapsed > args.call or run.spent_s > args.seconds:
            break
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            hidden = model(*sides(batch))
            labels, weights = targets(batch, soft, args.hard)
            loss = loss_of(hidden, run.model.shared.weight, labels, weights, args.smoothing)
        run.update(loss, schedule(run.spent_s / args.seconds, run.step, args.warmup), args.horizon)
        run.tokens += WORLD * (batch["source"].numel() + batch["target"].numel())
        if RANK:
            continue
        if elapsed - published > SAVE_EVERY_S:
            published = elapsed
            run.publish()
        if run.step % args.log == 0 or run.step in (1, 20):
            logged.append(loss.item())
            now = time.monotonic() - began
            rate = (run.tokens - last[2]) / (now - last[0])
            pace_ms = 1000 * (now - last[0]) / (run.step - last[1])
            last = (now, run.step, run.tokens)
            print(f"{args.run.name} step {run.step} {before_s + now:.0f} s loss {logged[-1]:.3f} "
                  f"{pace_ms:.1f} ms/step {rate:.0f} tokens/s", flush=True)  # fmt: skip
    return logged


def score_dev(run: Run, args: argparse.Namespace) -> None:
    """Score the published weights on --dev, greedy, into RUN_DIR/score.json."""
    from corpus import read_pairs
    from evaluate import score, translate_torch

    shutil.copyfile(args.spm, args.run / "sentencepiece.bpe.model")
    dev = read_pairs(args.dev)
    report = score(dev, translate_torch(args.run, [pair.english for pair in dev], beam=1))
    (args.run / "score.json").write_text(json.dumps(report, ensure_ascii=False) + "\n")
    print(
        args.run.name,
        run.step,
        report.get("everyday"),
        report.get("technical"),
        len(report["degenerate"]),
        flush=True,
    )


def mean_score(directory: Path, metrics: tuple[str, ...] = ("bleu_char", "chrf")) -> float:
    """Mean of metrics over the kinds of sentences in score.json; -1 where a run has none."""
    path = directory / "score.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    kinds = [report[kind] for kind in ("everyday", "technical") if kind in report]
    values = [kind[metric] for kind in kinds for metric in metrics]
    return sum(values) / len(values) if values else -1.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--soft", action="store_true", help="learn from FILE.soft.npz too")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="grow this model instead of starting at random")
    parser.add_argument(
        "--shape", required=True, help="encoder-decoder-width-ffn, such as 6-2-512-1536"
    )
    parser.add_argument("--vocabulary", type=int, default=12288)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--smoothing", type=float, default=0.1)
    parser.add_argument(
        "--hard", type=float, default=0.2, help="share of the reference beside soft labels"
    )
    parser.add_argument(
        "--tatoeba", type=float, default=3.0, help="times a pair from Tatoeba appears per epoch"
    )
    parser.add_argument("--tokens", type=int, default=51_200, help="tokens per step, both sides")
    parser.add_argument(
        "--muon",
        action="store_true",
        help="for the hidden matrices: from scratch, with --lr 2.5e-3",
    )
    parser.add_argument("--lr", type=float, default=9e-4)
    parser.add_argument("--warmup", type=int, default=600)
    parser.add_argument(
        "--horizon", type=int, default=2000, help="steps the weight average spans at most"
    )
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--call", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=int, default=500)
    parser.add_argument("--dev", type=Path, help="pairs to score at the end")
    parser.add_argument("--spm", type=Path, help="the tokenizer, for --dev")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def begin(args: argparse.Namespace) -> Run:
    """The run as its last call left it, or a new one."""
    torch.manual_seed(args.seed)
    shape = Shape.parse(args.shape, vocabulary=args.vocabulary, dropout=args.dropout)
    model = grow(load(args.init, "cpu"), shape) if args.init else Transformer(shape)
    run = Run(model, args.run, args.device, args.lr, muon=args.muon)
    if run.checkpoint.exists():
        run.resume()
    return run


def main() -> None:
    args = parse()
    if WORLD > 1:
        if args.device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if args.device == "cuda" else "gloo")
    torch.set_float32_matmul_precision("high")
    run = begin(args)
    torch.manual_seed(1000 * args.seed + RANK)  # every process drops out other neurons
    train(run, Pairs(args.pairs, args.soft), args, BEGAN)
    if WORLD > 1:
        distributed.destroy_process_group()
    if RANK == 0:
        run.publish()
        if args.dev:
            score_dev(run, args)
        if run.spent_s < args.seconds:
            run.save()


if __name__ == "__main__":
    main()
