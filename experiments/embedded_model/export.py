"""Write a trained model as the product reads it: int8 weights with one scale per row, or fp16, in safetensors.

    python export.py --model RUN_DIR --out MODEL_DIR [--precision int8|fp16] [--targets gold.tsv extra.tsv]

RUN_DIR holds `model.safetensors` (M2M100 names; fp16, fp32 or int8-row), `config.json` and `sentencepiece.bpe.model`.
Unknown characters fall on the id of <pad> in training; its embedding is cleared so that <pad> is never produced.
Pieces that the Japanese sides of --targets hold fewer than ten times are listed as `never_produced`: engines may leave them out of the decoder.
A 2-D weight W [out, in] becomes int8 `q` and float32 `<name>_scale` [out] with W ~ q * scale[:, None] and max |q| = 127.
"""

import argparse
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

FORMAT = "stt-int8-row"
PAD = 1
RARE = 10  # occurrences below which a piece is taken as never produced
TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")


def quantize_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each row of `weight` [out, in] to int8: returns (q [out, in], scale [out])."""
    scale = np.abs(weight).max(axis=1).astype(np.float32) / 127
    scale[scale == 0] = 1
    return np.rint(weight / scale[:, None]).clip(-127, 127).astype(np.int8), scale


def quantize(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Store 2-D weights as int8 rows, everything else (biases, layer norms) as fp16."""
    stored = {}
    for name, tensor in state.items():
        if tensor.ndim == 2:
            stored[name], stored[f"{name}_scale"] = quantize_rows(tensor.astype(np.float32))
        else:
            stored[name] = tensor.astype(np.float16)
    return stored


def load_state(path: Path) -> dict[str, np.ndarray]:
    """Read `model.safetensors` in any precision as float32, without the tied copies of the embedding."""
    stored = load_file(path)
    state = {}
    for name, tensor in stored.items():
        if name.endswith("_scale") or name in TIED or "embed_positions" in name:
            continue
        state[name] = tensor.astype(np.float32)
        if (scale := stored.get(f"{name}_scale")) is not None:
            state[name] *= scale[:, None]
    return state


def write_tokenizer(spm_model: Path, out: Path) -> None:
    """Copy the sentencepiece model and describe it as an NllbTokenizer with two languages."""
    shutil.copyfile(spm_model, out / "sentencepiece.bpe.model")
    specials = {
        "bos": "<s>",
        "cls": "<s>",
        "eos": "</s>",
        "sep": "</s>",
        "pad": "<pad>",
        "unk": "<unk>",
        "mask": "<mask>",
    }
    tokenizer = {
        "tokenizer_class": "NllbTokenizer",
        "src_lang": "eng_Latn",
        "tgt_lang": "jpn_Jpan",
        "extra_special_tokens": ["eng_Latn", "jpn_Jpan"],
        "legacy_behaviour": False,
        **{f"{name}_token": text for name, text in specials.items()},
    }
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2) + "\n")


def never_produced(spm_model: Path, targets: list[Path]) -> list[int]:
    """Ids (piece id + 1) of learned pieces that occur fewer than RARE times in the Japanese of these pairs."""
    import sentencepiece
    from corpus import read_pairs

    spm = sentencepiece.SentencePieceProcessor(model_file=str(spm_model))
    counts = Counter(
        piece
        for path in targets
        for pair in read_pairs(path)
        for piece in spm.encode(pair.japanese)
    )
    learned = range(3, spm.vocab_size())  # behind <unk>, <s>, </s>
    return [piece + 1 for piece in learned if counts[piece] < RARE]


def averaged(models: list[Path], weights: list[float] | None = None) -> dict[str, np.ndarray]:
    """The mean of the weights of runs that began at the same model (Wortsman et al. 2022).

    With a share for each, negative ones too: away from where a run began is a step further in its direction
    (Ilharco et al. 2023).
    """
    shares = weights or [1 / len(models)] * len(models)
    states = [load_state(model / "model.safetensors") for model in models]
    return {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
        for name in states[0]
    }


def export(
    models: list[Path], out: Path, precision: str, source: str, weights: list[float] | None = None,
    targets: list[Path] | None = None,
) -> None:  # fmt: skip
    """Write the shipped directory `out` from run directories, whose weights are averaged."""
    out.mkdir(parents=True, exist_ok=True)
    model, state = models[0], averaged(models, weights)
    state["model.shared.weight"][PAD] = 0
    config = json.loads((model / "config.json").read_text())
    if precision == "int8":
        save_file(
            quantize(state),
            out / "model.safetensors",
            metadata={"format": FORMAT, "source": source},
        )
    else:
        half = {name: tensor.astype(np.float16) for name, tensor in state.items()}
        save_file(half, out / "model.safetensors", metadata={"format": "pt", "source": source})
    config["dtype"] = "float16"
    config.pop("never_produced", None)
    if targets:
        config["never_produced"] = never_produced(model / "sentencepiece.bpe.model", targets)
    text = json.dumps(config, indent=2)
    text = re.sub(r"(?<=[\[\d,])\s+(?=[\d\]])", " ", text)  # numbers of a list on one line
    (out / "config.json").write_text(text + "\n")
    ids = {
        name: config[name]
        for name in ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    }
    generation = {
        **ids,
        "forced_bos_token_id": config["vocab_size"] - 1,
        "max_length": config["max_position_embeddings"],
    }
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    write_tokenizer(model / "sentencepiece.bpe.model", out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="several are averaged")
    parser.add_argument(
        "--weights",
        type=float,
        nargs="+",
        help="a share for each model, 1 in all; equal ones if not given",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--precision", choices=("int8", "fp16"), default="int8")
    parser.add_argument(
        "--targets", type=Path, nargs="+", help="pairs whose Japanese the model may produce"
    )
    parser.add_argument(
        "--source", default="experiments/embedded_model", help="recorded in the file's metadata"
    )
    args = parser.parse_args()
    if args.weights and (len(args.weights) != len(args.model) or abs(sum(args.weights) - 1) > 1e-6):
        parser.error("--weights needs one share for each --model, 1 in all")
    export(args.model, args.out, args.precision, args.source, args.weights, args.targets)
    with safe_open(args.out / "model.safetensors", "np") as stored:
        print(stored.metadata(), len(list(stored.keys())), "tensors")
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:>12,} bytes  {path.name}")


if __name__ == "__main__":
    main()
