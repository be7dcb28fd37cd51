"""Latency and quality of model shapes: one-sentence latency in CTranslate2 int8 on this machine's CPU, and a chart.

    python front.py --pairs dev.tsv --out results/front.json --chart front.png [--trained results/*-test-int8-greedy.json]

Every shape gets RANDOM weights and translates the same sentences to the length of the reference, so latencies compare
shapes and nothing else. Quality comes from the score files of the shapes that were trained. Shapes take turns, so that
a noisy machine slows all of them alike.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import sentencepiece
from corpus import read_pairs
from evaluate import ctranslate2_model
from model import Shape, Transformer, save

SHIPPED = "6-2-512-1536"
SHAPES = (
    "6-2-512-1536", "8-2-512-1024", "6-1-512-1536", "10-1-512-1024", "12-1-512-1024", "6-2-384-1536", "6-1-384-1536",
    "6-2-256-1024", "6-1-256-1024",
)  # fmt: skip


def latencies_ms(
    shapes: list[str], spm_model: Path, pairs: list, threads: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds per sentence of every shape, `rounds` per sentence, shapes interleaved."""
    spm = sentencepiece.SentencePieceProcessor(model_file=str(spm_model))
    translators = {}
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            model = Transformer(Shape.parse(shape))
            save(dict(model.named_parameters()), model.shape, Path(folder))
            (Path(folder) / "sentencepiece.bpe.model").write_bytes(spm_model.read_bytes())
            translators[shape] = ctranslate2_model(Path(folder), "int8", threads)[0]
    spent: dict[str, list[float]] = {shape: [] for shape in shapes}
    for turn in range(rounds + 1):  # the first is warm-up
        for pair in pairs:
            source = ["eng_Latn", *spm.encode(pair.english, out_type=str), "</s>"]
            length = len(spm.encode(pair.japanese)) + 2
            for shape, translator in translators.items():
                began = time.perf_counter_ns()
                translator.translate_batch([source], target_prefix=[["jpn_Jpan"]], beam_size=1,
                                           min_decoding_length=length, max_decoding_length=length)  # fmt: skip
                if turn:
                    spent[shape].append((time.perf_counter_ns() - began) / 1e6)
    return spent


def draw(report: dict, chart: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for shape, entry in report["shapes"].items():
        x, y = entry["median_ms"], entry.get("mean_chrf")
        if y is None:
            axes.axvline(x, color="0.85", linewidth=1)
            axes.annotate(
                f"{shape} (not trained)",
                (x, 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=7,
                color="0.5",
            )
        else:
            axes.plot(x, y, "o", color="tab:blue")
            axes.annotate(shape, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
    for number, (name, y) in enumerate(report.get("shipped", {}).items()):
        x, aside = report["shapes"][SHIPPED]["median_ms"], (5, -17)[number % 2]
        axes.plot(x, y, "s", color="tab:orange")
        axes.annotate(name, (x, y), textcoords="offset points", xytext=(aside, 3), fontsize=8)
    axes.set_xlabel(
        f"median ms per sentence, CTranslate2 int8, {report['threads']} threads, random weights"
    )
    axes.set_ylabel("chrF, mean of everyday and technical (test, greedy, int8)")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(chart, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--spm", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chart", type=Path, required=True)
    parser.add_argument(
        "--trained", type=Path, nargs="*", default=[], help="score files named after their shape"
    )
    parser.add_argument(
        "--shipped", type=Path, nargs="*", default=[], help="score files of models that shipped"
    )
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    pairs = read_pairs(args.pairs)
    pairs = pairs[:: len(pairs) // args.sentences]
    spent = latencies_ms(list(SHAPES), args.spm, pairs, args.threads, args.rounds)
    report: dict = {
        "engine": "CTranslate2 int8",
        "weights": "random",
        "threads": args.threads,
        "sentences": len(pairs),
        "shapes": {},
    }
    for shape, values in spent.items():
        parameters = sum(p.numel() for p in Transformer(Shape.parse(shape)).parameters())
        decile = statistics.quantiles(values, n=10)
        report["shapes"][shape] = {"parameters": parameters, "median_ms": round(statistics.median(values), 2),
                                   "p10_ms": round(decile[0], 2), "p90_ms": round(decile[-1], 2)}  # fmt: skip
    for path in (*args.trained, *args.shipped):
        scores = json.loads(path.read_text())
        kinds = {kind: scores[kind] for kind in ("everyday", "technical")}
        mean = round(statistics.mean(k["chrf"] for k in kinds.values()), 2)
        if path in args.shipped:
            report.setdefault("shipped", {})[scores["model"]] = mean
        elif shape := next((s for s in SHAPES if path.name.startswith(s)), None):
            report["shapes"][shape] |= kinds | {"mean_chrf": mean}
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    draw(report, args.chart)
    for shape, entry in report["shapes"].items():
        print(
            f"| {shape} | {entry['parameters'] / 1e6:.1f} M | {entry['median_ms']} ({entry['p10_ms']}-{entry['p90_ms']}) | {entry.get('mean_chrf', '-')} |"
        )


if __name__ == "__main__":
    main()
