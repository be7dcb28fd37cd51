"""The whole recipe in stages, spread over the GPUs at hand; a finished piece is not made twice.

    python pipeline.py teachers --data DATA_DIR --work WORK --seconds 310
    python pipeline.py distill  --data DATA_DIR --work WORK
    python pipeline.py students --data DATA_DIR --work WORK --seconds 360 --shapes 8-2-512-1024 6-2-256-1024 ...

`teachers` trains four teachers; `distill` translates the training sources with their ensemble and scores soft labels;
`students` trains one student per shape. `--call` bounds this call's share of a training stage's `--seconds`.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
TEACHERS = {  # run name: shape, dropout, learning rate
    "teacher0": ("12-4-512-2048", 0.2, 8e-4),
    "teacher1": ("8-4-640-2560", 0.25, 7e-4),
    "teacher2": ("6-4-768-3072", 0.25, 6e-4),
    "teacher3": ("8-6-512-2048", 0.2, 8e-4),
}
GPUS = max(torch.cuda.device_count(), 1)


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def run(commands: list[list[str]]) -> None:
    """Run commands, at most one per GPU at a time; any failure stops the stage."""
    waiting, running = list(commands), {}
    while waiting or running:
        for gpu in range(GPUS):
            if gpu not in running and waiting:
                environment = os.environ | {
                    "CUDA_VISIBLE_DEVICES": str(gpu),
                    "PYTHONUNBUFFERED": "1",
                }
                running[gpu] = subprocess.Popen(waiting.pop(0), env=environment)
        time.sleep(0.1)
        for gpu, job in list(running.items()):
            if job.poll() is not None:
                del running[gpu]
                if job.returncode:
                    sys.exit(f"{' '.join(job.args)} ended with status {job.returncode}")


def chain(*commands: list[str]) -> list[str]:
    """One command that runs several, each after the success of the last."""
    return ["bash", "-c", " && ".join(map(shlex.join, commands))]


def stamp(label: str, began: float) -> None:
    print(f"[{time.monotonic() - began:.0f} s] {label}", flush=True)


def train(
    work: Path, name: str, tokens: list[Path], args: argparse.Namespace, *more: object
) -> list[str]:
    budget = ["--seconds", args.seconds, "--call", args.call]
    return command(
        "train.py", "--pairs", *tokens, "--run", work / name, *budget, *more, *args.train.split()
    )


def teachers(args: argparse.Namespace) -> None:
    began, work, spm = time.monotonic(), args.work, args.work / "sentencepiece.bpe.model"
    gold, extra, tokens = work / "gold.tsv", work / "extra.tsv", work / "gold.npz"
    if not extra.exists():
        run([command("distill.py", "gold", "--data", args.data, "--out", gold, extra)])
    if not spm.exists():
        run([command("corpus.py", "tokenizer", "--data", args.data, "--out", spm)])
    if not tokens.exists():
        run([command("batches.py", "--pairs", gold, extra, "--spm", spm, "--out", tokens)])
    stamp("tokenized", began)
    run([
        train(work, name, [tokens], args, "--shape", shape, "--dropout", dropout, "--lr", lr, "--seed", seed)
        for seed, (name, (shape, dropout, lr)) in enumerate(TEACHERS.items())
    ])  # fmt: skip
    stamp("teachers trained", began)


def distill(args: argparse.Namespace) -> None:
    """Each GPU takes a share of the sources all the way: translate, select, tokenize, score."""
    began, work = time.monotonic(), args.work
    models, spm, gold = (
        [work / name for name in TEACHERS],
        work / "sentencepiece.bpe.model",
        work / "gold.tsv",
    )
    chains = []
    for i in range(GPUS):
        found, chosen, tokens = (
            work / f"found{i}.jsonl",
            work / f"distilled{i}.tsv",
            work / f"distilled{i}.npz",
        )
        shard = ("--shard", f"{i}/{GPUS}")
        steps = {
            found: command("decode.py", "--models", *models, "--spm", spm, "--pairs", gold, *shard, "--out", found),
            chosen: command("distill.py", "select", "--pairs", gold, "--candidates", found, "--data", args.data, "--out", chosen),
            tokens: command("batches.py", "--pairs", chosen, "--spm", spm, "--variants", 3, "--out", tokens),
            work / f"soft-distilled{i}.npz": command("distill.py", "soft", "--models", *models, "--tokens", tokens, "--out", work / f"soft-distilled{i}.npz"),
            work / f"soft-gold{i}.npz": command("distill.py", "soft", "--models", *models, "--tokens", work / "gold.npz", *shard, "--out", work / f"soft-gold{i}.npz"),
        }  # fmt: skip
        if missing := [step for out, step in steps.items() if not out.exists()]:
            chains.append(chain(*missing))
    run(chains)
    stamp("distilled", began)


def students(args: argparse.Namespace) -> None:
    tokens = [args.work / "gold.npz", *sorted(args.work.glob("distilled*.npz"))]
    soft = sorted(args.work.glob("soft-gold*.npz")) + sorted(args.work.glob("soft-distilled*.npz"))
    run([
        train(args.work, f"student-{shape}", tokens, args, "--soft", *soft, "--shape", shape, "--dropout", 0.05,
              "--smoothing", 0.0, "--hard", 0.2, "--lr", 1e-3)
        for shape in args.shapes
    ])  # fmt: skip
    for shape in args.shapes:
        shutil.copy(args.work / "sentencepiece.bpe.model", args.work / f"student-{shape}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("teachers", "distill", "students"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=450, help="training budget of each model")
    parser.add_argument("--call", type=float, default=float("inf"), help="this call's share of it")
    parser.add_argument("--shapes", nargs="+", default=["8-2-512-1024"])
    parser.add_argument("--train", default="", help="more options for train.py")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"teachers": teachers, "distill": distill, "students": students}[args.stage](args)


if __name__ == "__main__":
    main()
