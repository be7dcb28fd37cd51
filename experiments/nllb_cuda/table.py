"""The table of README.md, from the tracked JSON: python experiments/nllb_cuda/table.py"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SENTENCE = ("persistent", "fused", "beam", "large", "torch", "hf")


def main() -> None:
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    print(
        "| way | ms | first clause ms | begin ms | ms a step | GB a step | share of read bandwidth | launches |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for part in SENTENCE:
        for row in parts[part]["rows"]:
            if "error" in row:
                print(f"| {row['name']} | {row['error']} | | | | | | |")
            elif "step_ms" not in row:
                times = f" ({row['times_ours']:.1f} x ours)" if row.get("times_ours") else ""
                print(f"| {row['name']} | {row['ms']:.1f}{times} | | | | | | |")
            else:
                read = parts[part].get("read_bytes_s", parts["persistent"]["read_bytes_s"])
                share = row["bytes_s"] / read
                print(
                    f"| {row['name']} | {row['ms']:.2f} | {row['first_clause_ms']:.2f} "
                    f"({row['first_clause_ms'] / row['ms']:.0%}) | {row['begin_ms']:.2f} "
                    f"| {row['step_ms']:.3f} "
                    f"| {row['bytes_step'] / 1e9:.3f} | {share:.0%} | {row['launches'] or ''} |"
                )
    print("\n| embedded checkpoint, speech corpus | sentences equal | tokens equal | logit error |")
    print("|---|---|---|---|")
    for row in parts["embedded"]["rows"]:
        error = f"{row['logit_error']:.1e}" if "logit_error" in row else ""
        print(
            f"| {row['name'].removeprefix('embedded ')} | {row['equal']} of {row['of']} "
            f"| {row['tokens_equal']:.1%} | {error} |"
        )
    print("\n| output rows | tokens equal | sentences equal |")
    print("|---|---|---|")
    for row in parts["vocabulary"]["rows"]:
        sentences = f"{row['sentences_inside']} of {parts['vocabulary']['test_sentences']}"
        print(f"| {row['rows']} | {row['tokens_equal']:.2%} | {sentences} |")


if __name__ == "__main__":
    main()
