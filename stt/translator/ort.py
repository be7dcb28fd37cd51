"""ONNX Runtime: the packaged model as graphs built at load, or an exported one; clauses stream while it decodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt import embedded
from stt.device import Device
from stt.engine import Translator
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import Clause
from stt.onnx import run
from stt.translator import check_languages, check_length, encode
from stt.translator.plain import characters
from stt.translator.streaming import Step, Streaming, limit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Precision(StrEnum):
    """What the matrices are multiplied in; activations between them are float32."""

    int8 = "int8"
    float32 = "float32"


SUFFIX = {Precision.int8: "_quantized", Precision.float32: ""}
"""Of exported graphs' names, as Optimum and Transformers.js have them."""


@dataclass
class OnnxRuntime(Translator):
    """An NLLB-style model through ONNX Runtime, greedy.

    Attributes:
        model: `embedded`, or a folder as Optimum exports it (merged decoder), its graphs in it or in its folder `onnx`.
        max_length: longest sentence and longest translation, in tokens.
        threads: of one matrix product; null = device.threads.
        min_clause_chars: a shorter clause waits for the next one.
    """

    extra = "onnx"
    devices = ("cpu", "cuda", "coreml")

    model: str
    precision: Precision
    max_length: int
    threads: int | None
    min_clause_chars: int
    source_language: str
    target_language: str

    def __post_init__(self) -> None:
        """No model yet: `load` brings it."""
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"translator.threads={self.threads}: choose 1 or more.")
        self._runner: run.Runner | None = None
        self._streaming: Streaming | None = None

    def load(self, device: Device) -> None:
        """Build or read the graphs, and open a session for each."""
        import onnxruntime
        from sentencepiece import SentencePieceProcessor

        packaged = self.model == embedded.EMBEDDED
        folder = embedded.FOLDER if packaged else Path(self.model).expanduser()
        files = [] if packaged else self._exported(folder)
        shape = embedded.config(folder)
        known = embedded.vocabulary(folder) if packaged else _tokens(folder / "tokenizer.json")
        check_length(self.model, self.max_length, shape["max_position_embeddings"])
        check_languages(self.model, known, self.source_language, self.target_language)
        self._known = characters(known) if packaged else frozenset()
        self._ids = {token: i for i, token in enumerate(known)}
        never = set(shape.get("never_produced", ())) if packaged else set()
        rows = [i for i in range(len(known)) if i not in never]
        self._produced = [known[i] for i in rows]
        self._rows = {token: row for row, token in enumerate(self._produced)}
        self._start = self._rows[known[shape["decoder_start_token_id"]]]
        self._pieces = SentencePieceProcessor(model_file=str(folder / embedded.SENTENCEPIECE))
        graphs: list[Any] = files
        if packaged:
            from stt.onnx import build

            int8 = self.precision == Precision.int8
            graphs = list(build.graphs(embedded.tensors(folder), shape, rows, int8))
        threads = self.threads or device.threads
        encoder, decoder = (run.session(graph, device, threads) for graph in graphs)
        self._runner = run.Runner(encoder, decoder, device)
        self._facts = {
            "engine": f"onnxruntime {onnxruntime.__version__}",
            "model": self.model,
            "sha256": embedded.sha256(folder / "model.safetensors") if packaged else None,
            "graphs": {
                name: embedded.sha256(g) if isinstance(g, Path) else hashlib.sha256(g).hexdigest()
                for name, g in zip(("encoder", "decoder"), graphs, strict=True)
            },
            "precision": self._runner.precision,
            "device": device.name,
            "providers": decoder.get_providers(),
            "products": {"encoder": run.products(encoder), "decoder": run.products(decoder)},
            "threads": decoder.get_session_options().intra_op_num_threads,
            "beam": 1,
            "max_length": self.max_length,
            "streaming": True,
            "used_in_load": "translates nothing, to see that the graphs run",
        }
        try:
            self._decode([self.source_language, "</s>"], lambda _: False, [], [])
        except EngineError as error:
            raise EngineUnavailable(
                f"device={device.name}: the model loads, but does not run ({error}). "
                f"Choose device=cpu, or another translator."
            ) from error
        self._streaming = Streaming(self.min_clause_chars)

    def _exported(self, folder: Path) -> list[Path]:
        """The graphs of a folder: encoder, decoder.

        Raises:
            EngineUnavailable: something is missing.
        """
        at = folder / "onnx" if (folder / "onnx").is_dir() else folder
        suffix = SUFFIX[self.precision]
        graphs = [at / f"{name}{suffix}.onnx" for name in ("encoder_model", "decoder_model_merged")]
        others = ("config.json", "tokenizer.json", embedded.SENTENCEPIECE)
        needed = [*graphs, *(folder / name for name in others)]
        if missing := [str(path.relative_to(folder)) for path in needed if not path.is_file()]:
            there = ", ".join(sorted(path.name for path in at.glob("*.onnx"))) or "none"
            raise EngineUnavailable(
                f"translator.model={self.model}: {', '.join(missing)} not found there (graphs there: {there}). "
                f"translator.precision={self.precision.value} needs the graphs named so. Export them with "
                f"`optimum-cli export onnx --task text2text-generation-with-past --model NAME {folder}`, "
                f"or leave translator.model out for the packaged model (translator=embedded_onnx)."
            )
        return graphs

    def effective(self) -> dict[str, Any]:
        """What ONNX Runtime reports; `products` counts the matrix products that each provider runs."""
        return dict(self._facts)

    def translate(self, text: str) -> Iterator[Clause]:
        """Yield clauses as they are decoded; decoding goes on while the caller uses them."""
        if self._streaming is None:
            raise EngineError("The translator is closed.")
        source, stand_ins = encode(
            text, self.max_length, self._known, self._pieces, self.source_language
        )

        def decode(step: Step, given: list[str], forbidden: list[list[str]]) -> list[str]:
            return self._decode(source, step, given, forbidden)

        yield from self._streaming.clauses(decode, len(source), text, stand_ins)

    def _decode(
        self, source: list[str], step: Step, given: list[str], forbidden: list[list[str]]
    ) -> list[str]:
        """The likeliest token, again and again (`stt.translator.streaming.Decode`)."""
        runner = self._runner
        assert runner is not None
        unknown = self._ids["<unk>"]
        tokens = [*given]
        for token in given:
            step(token)
        new = [self._start, *(self._rows[token] for token in (self.target_language, *given))]
        try:
            runner.begin([self._ids.get(token, unknown) for token in source])
            while len(tokens) + 1 < limit(len(source), self.max_length):
                row = self._best(runner.step(new), tokens, forbidden)
                tokens.append(self._produced[row])
                if step(tokens[-1]) or tokens[-1] == "</s>":
                    break
                new = [row]
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise EngineError(f"ONNX Runtime failed: {error}") from error
        return tokens

    def _best(
        self, logits: NDArray[np.float32], tokens: list[str], forbidden: list[list[str]]
    ) -> int:
        import numpy as np

        for *before, last in forbidden:
            if tokens[-len(before) :] == before:
                logits[self._rows[last]] = -np.inf
        row = int(logits[: len(self._produced)].argmax())  # an export may have rows of no token
        if not np.isfinite(logits[row]):
            raise EngineError(
                "The model computed values that are not finite, so no token can be chosen. "
                "Choose another translator.precision or device."
            )
        return row

    def close(self) -> None:
        """Free the model, as soon as a sentence that is being decoded is."""
        if self._streaming is not None:
            self._streaming.close()
        self._streaming = self._runner = None


def _tokens(path: Path) -> list[str]:
    """Every token of a `tokenizer.json`, in the order of its id."""
    described = json.loads(path.read_text(encoding="utf-8"))
    learned = described["model"]["vocab"]  # of a unigram model: [[token, score], ...]
    ids = learned if isinstance(learned, dict) else {t: i for i, (t, _) in enumerate(learned)}
    ids = ids | {token["content"]: token["id"] for token in described["added_tokens"]}
    return sorted(ids, key=lambda token: int(ids[token]))
