"""Fine-tune a trained model on what its greedy translations are judged by: BLEU on characters and chrF.

    python refine.py --pairs gold.tsv extra.tsv --init MODEL_DIR --run RUN_DIR --dev dev.tsv --seconds 300

Of every source several translations are sampled; those that raise the corpus scores more than their siblings do become
likelier (policy gradient with the siblings' mean as baseline: Kool et al. 2019; minimum risk training: Shen et al. 2016).
Maximum likelihood leaves a student that is too short and that only beams bring to its best; this trains the output itself.
"""

import time

BEGAN = time.monotonic()

import argparse  # noqa: E402
import copy  # noqa: E402
import shutil  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from batches import EOS, LIMIT, PAD, encode_pair, of_like_length, padded  # noqa: E402
from corpus import Pair, everyday, read_pairs, tatoeba  # noqa: E402
from decode import Cached, banned, encoded, forbid  # noqa: E402
from model import Transformer, load, same_sentence  # noqa: E402
from reward import Judge, characters, spell, spelling  # noqa: E402
from run import Run  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from train import mean_score, schedule, score_dev  # noqa: E402

CHUNK = 32_768  # target tokens whose logits exist at a time


class Sources(torch.utils.data.IterableDataset):
    """Endless batches of like length: source and target tokens, reference characters, kind (1: everyday)."""

    def __init__(
        self, pairs: list[Pair], spm: Path, slots: int, times: float, seed: list[int]
    ) -> None:
        self.pairs, self.spm, self.slots, self.seed = pairs, str(spm), slots, seed
        weights = np.array([times if tatoeba(pair) else 1.0 for pair in pairs])
        self.weights = weights / weights.sum()

    def encoded(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, Pair]]:
        spm = sentencepiece.SentencePieceProcessor(model_file=self.spm)
        for i in rng.choice(len(self.pairs), 8000, p=self.weights):
            clean, noisy, target = encode_pair(spm, int(rng.integers(2**40)), self.pairs[i], 2)
            source = noisy if rng.random() < 0.5 else clean
            if 2 < min(len(source), len(target)) and max(len(source), len(target)) <= LIMIT:
                yield source, target, self.pairs[i]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self.seed, worker.id if worker else 0])
        while True:
            entries = list(self.encoded(rng))
            batches = of_like_length(entries, self.slots, lambda e: max(len(e[0]), len(e[1])))
            batches = [batch for batch in batches if len(batch) >= 8]
            rng.shuffle(batches)
            for batch in batches:
                sources, targets, pairs = zip(*batch, strict=True)
                yield {
                    "source": padded(sources, PAD),
                    "target": padded(targets, EOS),
                    "reference": padded([characters(pair.japanese) for pair in pairs], 0),
                    "kind": torch.tensor([everyday(pair) for pair in pairs]).long(),
                }


@torch.no_grad()
def sample(model: Transformer, sources: Tensor, to: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw `count` translations of each source [N, L].

    Returns labels [N, count, T], `to` first, EOS from the end on, and the log probability each was drawn with.
    """
    device, limit = sources.device, min(LIMIT, int(1.5 * sources.shape[1]) + 12)
    cache = Cached(model, sources, count, limit)
    own = torch.eye(count, dtype=torch.bool, device=device)[None, None]
    tokens = torch.full((len(sources), count, limit), EOS, device=device)
    tokens[:, :, 1] = to
    logs = torch.zeros(tokens.shape, device=device)
    done = torch.zeros(len(sources), count, dtype=torch.bool, device=device)
    forbidden = banned(model)
    for at in range(limit - 1):
        probability = cache.step(tokens[:, :, at], at, own.repeat(1, 1, 1, at + 1))
        if at == 0:
            continue  # the language token is given
        forbid(probability, forbidden, at)
        noise = torch.empty_like(probability).exponential_()
        drawn = (probability / noise).argmax(-1)
        logs[:, :, at + 1] = probability.gather(-1, drawn[..., None])[..., 0].log()
        tokens[:, :, at + 1] = torch.where(done, EOS, drawn)
        done |= drawn == EOS
        if at % 8 == 0 and done.all():
            break
    return tokens[:, :, 1 : at + 3], logs[:, :, 1 : at + 3]


def log_probability(hidden: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Log probabilities of labels [M] given decoder outputs [M, width]; the logits are made twice, never kept."""

    def part(x: Tensor, chosen: Tensor) -> Tensor:
        return -F.cross_entropy(F.linear(x, embedding).float(), chosen, reduction="none")

    parts = zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True)
    return torch.cat([checkpoint(part, x, y, use_reentrant=False) for x, y in parts])


def likelihoods(model: Transformer, sources: Tensor, labels: Tensor) -> Tensor:
    """Log probabilities [N, K, T] of labels [N, K, T] (EOS from the end on) given sources [N, L]; 0 behind the end."""
    count, kinds, length = labels.shape
    memory, real = encoded(model, sources)
    memory = memory.repeat_interleave(kinds, 0)
    labels = labels.flatten(0, 1)
    tokens = torch.cat([torch.full_like(labels[:, :1], EOS), labels[:, :-1]], 1)
    x = model.embed(tokens, torch.arange(length, device=tokens.device).expand_as(tokens))
    ones = torch.ones_like(tokens)
    seen = same_sentence(ones, ones, causal=True)
    across = same_sentence(ones, real.repeat_interleave(kinds, 0))
    for layer in model.decoder.layers:
        x = layer(x, seen, memory, across)
    x = model.decoder.layer_norm(x)
    ended = (labels == EOS).cumsum(1)
    inside = (ended == 0) | ((ended == 1) & (labels == EOS))
    inside[:, 0] = False  # the language token is given
    each = torch.zeros(labels.shape, device=x.device)
    each[inside] = log_probability(x[inside], model.shared.weight, labels[inside])
    return each.view(count, kinds, length)


def go_back(run: Run, best: Path) -> None:
    """Go on from the weights in `best`, with half the learning rate and nothing left of the optimizer's momentum."""
    with torch.no_grad():
        for name, parameter in load(best, run.device).named_parameters():
            run.parameters[name].copy_(parameter)
            run.average[name].copy_(parameter)
    run.optimizer.state.clear()
    run.lr /= 2
    print(f"{run.directory.name} step {run.step}: back to the best, learning rate {run.lr:.1e}", flush=True)  # fmt: skip


def keep_best(run: Run, args: argparse.Namespace) -> None:
    """Score the averaged weights on dev; what scored best so far stays in RUN_DIR/best, to which a run that fell returns."""
    run.publish()
    score_dev(run, args)
    best = args.run / "best"
    fall = mean_score(best) - mean_score(args.run)
    if fall < 0:
        best.mkdir(exist_ok=True)
        for name in ("model.safetensors", "config.json", "score.json", "training.json"):
            shutil.copyfile(args.run / name, best / name)
    elif fall > args.fall:
        go_back(run, best)


def refine(run: Run, args: argparse.Namespace) -> None:
    model, device = run.model.train(), run.device
    actor = copy.deepcopy(model).to(torch.float32 if device == "cpu" else torch.bfloat16)
    actor.train().requires_grad_(False)
    spm = sentencepiece.SentencePieceProcessor(model_file=str(args.spm))
    pairs = [pair for path in args.pairs for pair in read_pairs(path)]
    data = Sources(pairs, args.spm, args.slots, args.tatoeba, [args.seed, run.step])
    workers = {} if device == "cpu" else {"num_workers": args.workers, "prefetch_factor": 4}
    table, judge = spelling(spm).to(device), Judge(device, args.length, args.chrf)
    scored, began = -torch.inf, run.spent_s
    for batch in torch.utils.data.DataLoader(data, batch_size=None, **workers):
        elapsed = time.monotonic() - BEGAN
        run.spent_s = began + elapsed
        if elapsed > args.call or run.spent_s > args.seconds:
            break
        if elapsed - scored > args.score:
            scored = elapsed
            keep_best(run, args)
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        torch._foreach_copy_(list(actor.parameters()), [p.detach() for p in model.parameters()])
        to = int(batch["target"][0, 0])
        drawn, drawn_logs = sample(actor, batch["source"], to, args.samples)
        texts = spell(drawn[:, :, 1:].flatten(0, 1), table)
        rewards = judge(texts, batch["reference"], batch["kind"])  # [N, samples]
        advantage = rewards - (rewards.sum(1, keepdim=True) - rewards) / (args.samples - 1)
        length = drawn.shape[2]
        sides = drawn, batch["target"][:, None]
        width = max(side.shape[2] for side in sides)
        labels = torch.cat(
            [F.pad(side, (0, width - side.shape[2]), value=EOS) for side in sides], 1
        )
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logs = likelihoods(model, batch["source"], labels)
        reference, logs = logs[:, -1].sum(-1).mean(), logs[:, :-1, :length]
        # The sampler dropped other neurons. What the learner would hardly draw it must not be pushed from further and further.
        alike = (logs.detach() - drawn_logs).clamp(max=0).exp()
        loss = -(advantage * (alike * logs).sum(-1)).mean() - args.reference * reference
        run.update(loss, schedule(run.spent_s / args.seconds, run.step, args.warmup), args.horizon)
        run.tokens += labels.numel()
        if run.step % args.log == 0 or run.step in (1, 10):
            print(f"{args.run.name} step {run.step} {run.spent_s:.0f} s {judge} nll {-reference:.2f} alike {alike[logs < 0].mean():.3f} "
                  f"sources {len(logs)} spread {rewards.std(1).mean():.3f}", flush=True)  # fmt: skip


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--init", type=Path, required=True, help="the model to refine, with its tokenizer"
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8, help="translations drawn of each source")
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.25,
        help="in samples too: without it the model recites what it has learned",
    )
    parser.add_argument(
        "--reference", type=float, default=0.02, help="weight of the reference's likelihood"
    )
    parser.add_argument(
        "--length", type=float, nargs="+", default=[1.0],
        help="wanted length, times the references', of technical and everyday sentences, or one for both: samples of known sentences are longer than translations of new ones",
    )  # fmt: skip
    parser.add_argument(
        "--chrf", type=float, nargs="+", default=[0.5],
        help="weight of chrF, in technical and everyday sentences, or one for both; the rest is BLEU's",
    )  # fmt: skip
    parser.add_argument(
        "--tatoeba",
        type=float,
        default=6.0,
        help="times likelier that a pair from Tatoeba is drawn",
    )
    parser.add_argument(
        "--slots", type=int, default=16_000, help="sources times (longest side + 8) in a batch"
    )
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument(
        "--fall", type=float, default=0.4,
        help="below the best mean score on --dev: the run goes back there",
    )  # fmt: skip
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--horizon", type=int, default=200)
    parser.add_argument(
        "--seconds", type=float, required=True, help="the whole budget; --call: this call's share"
    )
    parser.add_argument("--call", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=int, default=50)
    parser.add_argument("--score", type=float, default=30, help="seconds between scores on --dev")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(arguments)
    args.spm = args.init / "sentencepiece.bpe.model"
    return args


def main() -> None:
    args = parse()
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(args.seed)
    model = load(args.init, "cpu")
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.dropout = args.dropout
    run = Run(model, args.run, args.device, args.lr)
    if run.checkpoint.exists():
        run.resume()
    refine(run, args)
    keep_best(run, args)
    if run.spent_s < args.seconds:
        run.save()
    else:
        shutil.copytree(args.run / "best", args.run, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
