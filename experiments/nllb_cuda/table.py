"""The table of README.md, from the tracked JSON: python experiments/nllb_cuda/table.py"""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SENTENCE = ("persistent", "fused", "beam", "large", "torch", "hf")


def main() -> None:
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    print(
        "| way | ms | first clause ms | ms a step | GB a step | share of read bandwidth | launches |"
    )
    print("|---|---|---|---|---|---|---|")
    for part in SENTENCE:
        for row in parts[part]["rows"]:
            if "error" in row:
                print(f"| {row['name']} | {row['error']} | | | | | |")
            elif "step_ms" not in row:
                print(f"| {row['name']} | {row['ms']:.1f} | | | | | |")
            else:
                share = row["bytes_s"] / parts[part]["read_bytes_s"]
                print(
                    f"| {row['name']} | {row['ms']:.2f} | {row['first_clause_ms']:.2f} "
                    f"({row['first_clause_ms'] / row['ms']:.0%}) | {row['step_ms']:.3f} "
                    f"| {row['bytes_step'] / 1e9:.3f} | {share:.0%} | {row['launches'] or ''} |"
                )
    print(
        "\n| embedded checkpoint, speech corpus | sentences equal | tokens equal | ms | logit error |"
    )
    print("|---|---|---|---|---|")
    for row in parts["embedded"]["rows"]:
        error = f"{row['logit_error']:.1e}" if "logit_error" in row else ""
        print(
            f"| {row['name'].removeprefix('embedded ')} | {row['equal']} of {row['of']} "
            f"| {row['tokens_equal']:.1%} | {row['ms']:.2f} | {error} |"
        )


if __name__ == "__main__":
    main()
