"""How often does a trimmed output vocabulary hold the token that the full one would choose?

    python experiments/nllb_cuda/vocabulary.py TRAIN.tsv.xz TEST.tsv OUT.json [FILE]

TRAIN and TEST: English, tab, Japanese, whatever follows.
Counts the tokens of TRAIN's Japanese side with the packaged tokenizer, decodes TEST's English greedily
with the packaged checkpoint (fp32, CPU) with every row, and again with the rows kept. FILE: where to
write the tokens of the largest vocabulary, for translator.vocabulary=FILE.
"""

from __future__ import annotations

import json
import lzma
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stt.nllb import decode, model, weights  # noqa: E402

FOLDER = ROOT / "stt" / "assets" / "embedded"
SIZES = (1000, 2000, 4000, 6000, 8000)


def column(path: Path, at: int) -> list[str]:
    """One language of a corpus file."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [line.split("\t")[at].strip() for line in file]


def main() -> None:
    from transformers import AutoTokenizer

    train, test, out = (Path(argument) for argument in sys.argv[1:4])
    tokenizer: Any = AutoTokenizer.from_pretrained(FOLDER, src_lang="eng_Latn")
    language, end = tokenizer.convert_tokens_to_ids("jpn_Jpan"), tokenizer.eos_token_id
    counts: Counter[int] = Counter()
    japanese = column(train, 1)
    for start in range(0, len(japanese), 10000):
        batch = tokenizer(text_target=japanese[start : start + 10000], add_special_tokens=False)
        for ids in batch["input_ids"]:
            counts.update(ids)
    ranked = [token for token, _ in counts.most_common()]
    sources = [tokenizer(text)["input_ids"] for text in column(test, 0)]

    def decoded(kept: list[int] | None) -> tuple[list[list[int]], float]:
        loaded = weights.read(FOLDER, torch.float32, torch.float32, "cpu")
        if kept is not None:
            weights.trim(loaded, torch.tensor(kept))
        state = model.State(loaded, 1, 255, torch.float32)
        decoder = decode.Decoder(loaded, state, None, graph=False)
        begun = time.perf_counter()
        found = [list(decoder.greedy(source, language)) for source in sources]
        return found, time.perf_counter() - begun

    full, full_s = decoded(None)
    chosen = [token for tokens in full for token in tokens[1:]]
    rows = []
    for size in (*(size for size in SIZES if size < len(ranked)), len(ranked)):
        kept = sorted({*ranked[:size], end, language})
        inside = set(kept)
        row = {
            "rows": len(kept),
            "tokens_equal": sum(token in inside for token in chosen) / len(chosen),
            "sentences_inside": sum(inside.issuperset(tokens) for tokens in full),
        }
        if size in (SIZES[2], len(ranked)):  # decoding again says the same, token by token
            again, row["seconds"] = decoded(kept)
            row["sentences_equal"] = sum(a == b for a, b in zip(again, full, strict=True))
        rows.append(row)
        print(json.dumps(row), flush=True)
    facts = {
        "train_sentences": len(japanese), "test_sentences": len(sources), "tokens": len(chosen),
        "all_rows": tokenizer.vocab_size, "all_seconds": full_s,
        "checkpoint": "embedded, fp32, greedy, CPU", "rows": rows,
    }  # fmt: skip
    out.write_text(json.dumps(facts, indent=1) + "\n")
    if len(sys.argv) > 4:
        kept = sorted({*ranked, end, language})
        Path(sys.argv[4]).write_text("\n".join(tokenizer.convert_ids_to_tokens(kept)) + "\n", encoding="utf-8")  # fmt: skip


if __name__ == "__main__":
    main()
