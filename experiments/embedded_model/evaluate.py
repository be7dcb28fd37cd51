"""Score a model on held-out pairs: BLEU (characters) and chrF, everyday and technical, and degenerate translations.

    python evaluate.py --model MODEL_DIR --pairs test.tsv [--beam 1] [--engine package|ctranslate2|torch] [--compute int8] [--out FILE.json]

MODEL_DIR is an exported directory (int8 or fp16) or a run directory with `sentencepiece.bpe.model` beside the weights.
`package` is the engine that ships (int8 on a CPU, converted as the package does); `ctranslate2` converts a directory of any precision and
quantizes it (again), which changes one translation in forty; `torch` scores float32 weights, on a GPU if there is one.
"""

import argparse
import json
import random
import re
import time
from pathlib import Path

import sentencepiece
from corpus import Pair, everyday, read_pairs

LOOP = re.compile(r"(.{2,16}?)\1{3,}|([^\s.\-=*_#])\2{7,}")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
PROBES = (
    "Hello, how are you today?", "Let me read the file and fix the bug.", "I have finished the task. All tests pass now.",
    "What would you like to do next?", "I found the problem: the configuration file was missing.", "Good morning.",
    "The test failed because the server did not respond in time.", "Thank you very much for your help.", "See you tomorrow!",
    "Please wait a moment while I search for the answer.", "Nice to meet you, my name is Alice Kowalczyk.", "I'm sorry, I don't understand.",
    "Quantum computers use qubits instead of classical bits.", "The weather is nice today, so let's go for a walk.",
)  # fmt: skip
LONG = (
    "When you open the settings page for the first time after the update, the application checks whether the old configuration file still exists, "
    "copies every value that it can read into the new format, writes a short report into the log folder, and finally asks you to restart the program "
    "so that the changes can take effect, because otherwise the server will not start tomorrow.",
    "Yesterday morning I went to the station with my sister, bought two tickets, waited almost an hour because the train was late, and then we "
    "finally arrived at our grandmother's house in the evening, where she had already cooked dinner for us and was waiting in front of the door "
    "with her old dog, who was very happy to see us again after such a long time.",
)


def degenerate(source: str, translation: str) -> str | None:
    """Name what is wrong with a translation ("empty", "loop", "script", "length"), or None."""
    if not translation.strip():
        return "empty"
    if (found := LOOP.search(translation)) and found.group() not in source:
        return "loop"
    if (
        not JAPANESE.search(translation)
        and len(re.findall(r"[a-z]{2,}", source)) > 2
        and translation.strip() != source.strip()
    ):
        return "script"
    if len(translation) > 6 * len(source) + 20:
        return "length"
    return None


def packaged_model(path: Path, compute: str, threads: int):
    """An exported int8 directory as the package loads it: its int8 rows, bit for bit."""
    import tempfile

    import ctranslate2

    from stt.embedded import derive_ctranslate2

    with tempfile.TemporaryDirectory() as folder:
        derive_ctranslate2(path, Path(folder))
        translator = ctranslate2.Translator(folder, compute_type=compute, intra_threads=threads)
    return translator, sentencepiece.SentencePieceProcessor(
        model_file=str(path / "sentencepiece.bpe.model")
    )


def ctranslate2_model(path: Path, compute: str, threads: int):
    """Convert a model directory in memory of a temporary folder and load it on the CPU."""
    import tempfile

    import ctranslate2
    import torch
    from ctranslate2.converters.transformers import M2M100Loader
    from export import load_state
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    model = M2M100ForConditionalGeneration(M2M100Config.from_pretrained(path)).eval()
    state = {
        name: torch.from_numpy(tensor)
        for name, tensor in load_state(path / "model.safetensors").items()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    tied = {
        "lm_head.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
    }
    if set(missing) - tied or unexpected:
        raise ValueError(f"{path} lacks {set(missing) - tied} or has unknown {unexpected}")
    model.tie_weights()
    spm = sentencepiece.SentencePieceProcessor(model_file=str(path / "sentencepiece.bpe.model"))
    pieces = [spm.id_to_piece(i) for i in range(3, spm.vocab_size())]
    spec = M2M100Loader().get_model_spec(model)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "<mask>", "eng_Latn", "jpn_Jpan"]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.decoder_start_token, spec.config.bos_token, spec.config.eos_token = (
        "</s>",
        "<s>",
        "</s>",
    )
    spec.config.add_source_eos = spec.config.add_source_bos = False
    spec.validate()
    spec.optimize(quantization=None if compute == "float32" else compute)
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        return ctranslate2.Translator(
            folder, device="cpu", compute_type=compute, intra_threads=threads
        ), spm


def translate_ctranslate2(
    translator, spm: sentencepiece.SentencePieceProcessor, texts: list[str], beam: int
) -> list[str]:
    from stt.translator.loops import without_loops

    sources = [["eng_Latn", *spm.encode(text, out_type=str), "</s>"] for text in texts]
    options = {
        "beam_size": beam,
        "max_batch_size": 2048,
        "batch_type": "tokens",
        "max_decoding_length": 250,
    }

    def decoded(rows: list[int], **more) -> list[list[str]]:
        found = translator.translate_batch(
            [sources[i] for i in rows], target_prefix=[["jpn_Jpan"]] * len(rows), **options, **more
        )
        return [result.hypotheses[0][1:] for result in found]

    translations = decoded(list(range(len(texts))))
    for i, text in enumerate(texts):  # loops are decoded again, as the package does
        translations[i] = without_loops(
            lambda forbidden, i=i: (
                decoded([i], suppress_sequences=forbidden)[0] if forbidden else translations[i]
            ),
            text,
        )
    return [spm.decode_pieces(tokens) for tokens in translations]


def translate_torch(path: Path, texts: list[str], beam: int) -> list[str]:
    import torch
    from decode import best
    from model import load

    device = "cuda" if torch.cuda.is_available() else "cpu"
    spm = sentencepiece.SentencePieceProcessor(model_file=str(path / "sentencepiece.bpe.model"))
    return best([load(path, device)], texts, spm, beam)


def score(pairs: list[Pair], translations: list[str]) -> dict:
    """BLEU on characters, chrF and degenerate counts for each kind of sentence."""
    import sacrebleu

    report: dict = {}
    for kind in ("everyday", "technical"):
        numbers = [i for i, pair in enumerate(pairs) if everyday(pair) == (kind == "everyday")]
        if numbers:
            hypotheses, references = (
                [translations[i] for i in numbers],
                [[pairs[i].japanese for i in numbers]],
            )
            bleu = sacrebleu.corpus_bleu(hypotheses, references, tokenize="char").score
            chrf = sacrebleu.corpus_chrf(hypotheses, references).score
            report[kind] = {
                "sentences": len(numbers),
                "bleu_char": round(bleu, 2),
                "chrf": round(chrf, 2),
            }
    found = [
        (degenerate(p.english, t), p.english, t) for p, t in zip(pairs, translations, strict=True)
    ]
    report["degenerate"] = [entry for entry in found if entry[0]]
    return report


def long_inputs(pairs: list[Pair], words: int = 60, count: int = 60) -> list[list[Pair]]:
    """Random runs of sentences of one kind with at least `words` words, half everyday and half technical."""
    rng, runs = random.Random(3), []
    for spoken in (True, False):
        whole = [p for p in pairs if everyday(p) == spoken and p.english[-1] in ".!?" and p.japanese[-1] in "。!?"]  # fmt: skip
        for _ in range(count // 2 if whole else 0):
            run = [rng.choice(whole)]
            while sum(len(pair.english.split()) for pair in run) < words:
                run.append(rng.choice(whole))
            runs.append(run)
    return runs


def score_long(runs: list[list[Pair]], translations: list[str]) -> dict:
    """Of each kind: chrF, and how many sentences went in and came out."""
    import sacrebleu

    report = {}
    for kind in ("everyday", "technical"):
        of = [(run, text) for run, text in zip(runs, translations, strict=True)
              if everyday(run[0]) == (kind == "everyday")]  # fmt: skip
        if of:
            references = ["".join(pair.japanese for pair in run) for run, _ in of]
            chrf = sacrebleu.corpus_chrf([text for _, text in of], [references]).score
            report[kind] = {"inputs": len(of), "chrf": round(chrf, 2),
                            "sentences_in": sum(len(re.findall("[。!?]", text)) for text in references),
                            "sentences_out": sum(len(re.findall("[。!?]", text)) for _, text in of)}  # fmt: skip
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--engine", choices=("package", "ctranslate2", "torch"), default="package")
    parser.add_argument("--compute", choices=("int8", "float32"), default="int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    pairs = read_pairs(args.pairs)
    runs = long_inputs(pairs)
    texts = [pair.english for pair in pairs] + [*PROBES, *LONG]
    texts += [" ".join(pair.english for pair in run) for run in runs]
    began = time.monotonic()
    if args.engine == "torch":
        translations = translate_torch(args.model, texts, args.beam)
    else:
        load = packaged_model if args.engine == "package" else ctranslate2_model
        loaded = load(args.model, args.compute, args.threads)
        translations = translate_ctranslate2(*loaded, texts, args.beam)
    report = {
        "model": args.model.name,
        "pairs": args.pairs.name,
        "engine": args.engine,
        "beam": args.beam,
    }
    report |= {"compute": args.compute} if args.engine != "torch" else {}
    report |= score(pairs, translations[: len(pairs)]) | {
        "seconds": round(time.monotonic() - began, 1)
    }
    last = len(texts) - len(runs)
    report["long_inputs"] = score_long(runs, translations[last:])
    probes = slice(len(pairs), last)
    report["probes"] = dict(zip(texts[probes], translations[probes], strict=True))
    text = json.dumps(report, indent=1, ensure_ascii=False)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
