"""The whole recipe over the GPUs at hand, every stage bounded in time; a finished stage is not repeated.

    python pipeline.py --data DATA_DIR --work WORK --init MODEL_DIR [--teachers-s 670 --distill-s 125 --student-s 380 --refine-s 300]

WORK gets `gold.tsv` and `extra.tsv` (unless they are there), token arrays, three teachers that start at random, one back
from Japanese grown from `--init`, the teachers' and `--init`'s translations and soft labels, `student`, which starts from
`--init` and which all GPUs train together, and `refined0` and on, one a GPU, whose average (`export.py`) is the model.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from train import mean_score

HERE = Path(__file__).parent
TEACHERS = {  # run name: shape, dropout, learning rate
    "teacher0": ("12-4-512-2048", 0.25, 2.5e-3),
    "teacher1": ("8-4-512-3072", 0.25, 2.5e-3),
    "teacher2": ("6-4-640-2560", 0.25, 2.5e-3),
}
BACK = ("6-4-512-2048", 0.2, 1e-3)
STUDENT = ("6-2-512-1536", 0.15, 5e-4)
LENGTHS = 1.0, 1.02, 1.03, 1.04  # wanted by the refining runs
GPUS = max(torch.cuda.device_count(), 1)
BEGAN = time.monotonic()


def stamp(label: str) -> None:
    print(f"[{time.monotonic() - BEGAN:.0f} s] {label}", flush=True)


def command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / script), *map(str, arguments)]


def run(commands: list[list[str]], seconds: float, together: int = 0) -> None:
    """Run commands, at most one per GPU at a time; after `seconds` what still runs is killed.

    With `together`, the one command runs in that many processes that train one model.
    """
    until, running = time.monotonic() + seconds, {}
    waiting = list(commands) * max(together, 1)
    joined = {"WORLD_SIZE": str(together), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    while waiting or running:
        for gpu in range(max(together, GPUS)):
            if gpu not in running and waiting:
                only = (
                    joined | {"RANK": str(gpu), "LOCAL_RANK": str(gpu)}
                    if together
                    else {"CUDA_VISIBLE_DEVICES": str(gpu)}
                )
                environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"} | only
                running[gpu] = subprocess.Popen(
                    waiting.pop(0), env=environment, start_new_session=True
                )
        time.sleep(0.1)
        late = time.monotonic() > until
        for gpu, job in list(running.items()):
            if late:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
                waiting.clear()
            if job.poll() is not None:
                del running[gpu]
                if job.returncode:
                    stamp(f"{'cut off' if late else f'status {job.returncode}'}: {' '.join(job.args)[:200]}")  # fmt: skip


def prepare(args: argparse.Namespace) -> None:
    """Text and tokens, one shard per GPU."""
    work, spm = args.work, args.work / "sentencepiece.bpe.model"
    shutil.copyfile(args.init / "sentencepiece.bpe.model", spm)
    gold, extra = work / "gold.tsv", work / "extra.tsv"
    if not extra.exists():
        run([command("gold.py", "--data", args.data, "--out", gold, extra)], 600)
    pairs = [line for path in (gold, extra) for line in path.open(encoding="utf8")]
    jobs = []
    for i in range(GPUS):
        shard = work / f"gold{i}.tsv"
        shard.write_text("".join(pairs[i::GPUS]), encoding="utf8")
        out = shard.with_suffix(".npz")
        jobs.append(command("batches.py", "--pairs", shard, "--spm", spm, "--out", out))
    run(jobs, 300)
    back = ("--variants", 3, "--reverse", "--out", work / "back.npz")
    run([command("batches.py", "--pairs", gold, "--spm", spm, *back)], 300)
    stamp("tokenized")


def tokens(work: Path, kind: str) -> list[Path]:
    return [work / f"{kind}{i}.npz" for i in range(GPUS) if (work / f"{kind}{i}.npz").exists()]


def train(args: argparse.Namespace, name: str, pairs: list[Path], seconds: float, of: tuple, *more: object) -> list[str]:  # fmt: skip
    shape, dropout, lr = of
    return command("train.py", "--pairs", *pairs, "--run", args.work / name, "--shape", shape,
                   "--dropout", dropout, "--lr", lr, "--seconds", seconds, "--tatoeba", 3,
                   "--warmup", 300, "--horizon", 1000, *more, *args.train.split())  # fmt: skip


def teachers(args: argparse.Namespace) -> None:
    work, spm = args.work, args.work / "sentencepiece.bpe.model"
    dev = ("--dev", args.data / "dev.tsv", "--spm", spm)
    turns = -(-(len(TEACHERS) + 1) // GPUS)
    seconds = args.teachers_s / turns - 12  # for scoring and saving
    jobs = [
        train(args, name, tokens(work, "gold"), seconds, of, *dev, "--muon", "--seed", seed)
        for seed, (name, of) in enumerate(TEACHERS.items())
    ]
    jobs.append(train(args, "back", [work / "back.npz"], seconds, BACK, "--init", args.init))
    run(jobs, args.teachers_s)
    stamp(
        f"teachers trained, dev chrF {[round(mean_score(work / name, ('chrf',)), 2) for name in TEACHERS]}"
    )


def distill(args: argparse.Namespace) -> None:
    work = args.work
    chrf = {work / name: mean_score(work / name, ("chrf",)) for name in TEACHERS}
    models = [path for path, score in chrf.items() if score > max(0, max(chrf.values()) - 1.5)]
    if not models:
        sys.exit(f"No teacher in {work} has a score.json: see the training's messages above.")
    jobs = [
        command("distill.py", "--models", *models, args.init, "--back", work / "back", "--pairs", work / "gold.tsv", "--data", args.data,
                "--spm", work / "sentencepiece.bpe.model", "--shard", f"{i}/{GPUS}", "--gold", work / f"gold{i}.npz",
                "--out", work / f"distilled{i}.tsv", "--seconds", args.distill_s,
                *(("--dev", args.data / "dev.tsv") if i == 0 else ()))
        for i in range(GPUS)
    ]  # fmt: skip
    run(jobs, args.distill_s + 15)
    stamp("distilled")


def student(args: argparse.Namespace) -> None:
    work = args.work
    pairs = tokens(work, "gold") + tokens(work, "distilled")
    more = ("--soft", "--smoothing", 0.0, "--init", args.init)
    job = train(args, "student", pairs, args.student_s - 6, STUDENT, *more)
    run([job], args.student_s + 15, together=args.processes)
    shutil.copyfile(work / "sentencepiece.bpe.model", work / "student" / "sentencepiece.bpe.model")
    stamp("student trained")


def refine(args: argparse.Namespace) -> None:
    work = args.work
    gold, made = work / "gold.tsv", (work / "extra.tsv", *sorted(work.glob("back*.tsv")))
    # Runs that saw other data and want other lengths differ more, and what differs averages better.
    jobs = [
        command("refine.py", "--pairs", gold, *(made if i % 2 else ()), "--init", work / "student", "--run", work / f"refined{i}",
                "--dev", args.data / "dev.tsv", "--seconds", args.refine_s - 12, "--seed", i + 1,
                "--tatoeba", 3 if i % 2 else 6, "--length", LENGTHS[i % len(LENGTHS)], *args.refine.split())
        for i in range(GPUS)
    ]  # fmt: skip
    run(jobs, args.refine_s + 15)
    stamp("refined")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--init", type=Path, required=True, help="the model to improve")
    parser.add_argument("--teachers-s", type=float, default=670)
    parser.add_argument("--distill-s", type=float, default=125)
    parser.add_argument("--student-s", type=float, default=380)
    parser.add_argument("--refine-s", type=float, default=300)
    parser.add_argument("--processes", type=int, default=GPUS, help="that train the student")
    parser.add_argument("--train", default="", help="more options for train.py")
    parser.add_argument("--refine", default="", help="more options for refine.py")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for stage in (prepare, teachers, distill, student, refine):
        finished = args.work / f"{stage.__name__}.done"
        if not finished.exists():
            stage(args)
            finished.touch()


if __name__ == "__main__":
    main()
