"""CTranslate2: int8 or float32 on CPU, clauses given out while decoding goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from stt import embedded
from stt.device import Device, native_threads, part
from stt.engine import Translator
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.messages import Clause
from stt.translator import check_languages, check_length, encode
from stt.translator.clauses import Detokenizer
from stt.translator.loops import without_loops
from stt.translator.plain import characters
from stt.translator.stand_ins import StandIns
from stt.translator.streaming import Step, Streaming, limit


class Precision(StrEnum):
    """What the matrices are multiplied in; activations between them are float32."""

    int8 = "int8"
    float32 = "float32"


@dataclass
class CTranslate2(Translator):
    """An NLLB-style model through CTranslate2.

    Attributes:
        model: `embedded`, or a folder with a converted model and its `sentencepiece.bpe.model`.
        beam: 1 is greedy and gives clauses as they are decoded; more gives the whole at once.
        max_length: longest sentence and longest translation, in tokens.
        threads: of one matrix product; null = device.threads.
        min_clause_chars: a shorter clause waits for the next one.
    """

    model: str
    precision: Precision
    beam: int
    max_length: int
    threads: int | None
    min_clause_chars: int
    source_language: str
    target_language: str

    def __post_init__(self) -> None:
        """No model yet: `load` brings it."""
        if self.beam < 1 or (self.threads is not None and self.threads < 1):
            raise ConfigError("translator.beam and translator.threads must be 1 or more.")
        self._translator: Any = None
        self._streaming: Streaming | None = None

    def load(self, device: Device) -> None:
        """Read the model, and derive it first if this user never did."""
        import ctranslate2
        from sentencepiece import SentencePieceProcessor

        folder = (
            embedded.FOLDER if self.model == embedded.EMBEDDED else Path(self.model).expanduser()
        )
        files, known = self._read(folder)
        self._known = characters(known) if self.model == embedded.EMBEDDED else frozenset()
        self._threads = self.threads or device.threads
        before = native_threads()
        # On a thread that ends: OpenMP keeps a team for each thread that ever asked for one,
        # and when all teams exceed the CPUs, every wait sleeps instead of spinning (3.6 times
        # slower).
        with ThreadPoolExecutor(1, thread_name_prefix="load") as loading:
            self._translator = loading.submit(
                ctranslate2.Translator,
                str(folder),
                device.name,
                compute_type=self.precision.value,
                intra_threads=self._threads,
                files=files,
            ).result()
        check_languages(self.model, known, self.source_language, self.target_language)
        self._pieces = SentencePieceProcessor(model_file=str(folder / embedded.SENTENCEPIECE))
        self._version = ctranslate2.__version__
        self._decode(self._encode("Hello.")[0])  # now the team of threads exists
        self._cpus = part(native_threads() - before)
        self._streaming = Streaming(self.min_clause_chars)

    def _read(self, folder: Path) -> tuple[dict[str, bytes] | None, list[str]]:
        """Model files in memory (None: CTranslate2 reads the folder) and the vocabulary."""
        if self.model == embedded.EMBEDDED:
            positions = embedded.config(folder)["max_position_embeddings"]
            check_length(self.model, self.max_length, positions)
            files, self._sha256 = embedded.ctranslate2_files(folder)
            return files, embedded.vocabulary(folder)
        # A model that does not produce every token has two.
        apart = (folder / "source_vocabulary.json").is_file()
        vocabulary = "source_vocabulary.json" if apart else "shared_vocabulary.json"
        needed = ("model.bin", vocabulary, embedded.SENTENCEPIECE)
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise EngineUnavailable(
                f"translator.model={self.model}: {', '.join(missing)} not found there. "
                f"Make it with `ct2-transformers-converter --model NAME --output_dir DIR "
                f"--copy_files {embedded.SENTENCEPIECE}`, or choose translator=embedded."
            )
        self._sha256 = embedded.sha256(folder / "model.bin")
        return None, json.loads((folder / vocabulary).read_text(encoding="utf-8"))

    def effective(self) -> dict[str, Any]:
        """What CTranslate2 reports."""
        compute_type = self._translator.compute_type
        return {
            "engine": f"ctranslate2 {self._version}",
            "model": self.model,
            "sha256": self._sha256,
            "precision": "int8" if compute_type == "int8_float32" else compute_type,
            "compute_type": compute_type,
            "device": self._translator.device,
            "threads": self._threads,
            "cpus": self._cpus,
            "beam": self.beam,
            "max_length": self.max_length,
            "streaming": self.beam == 1,
            "used_in_load": "one word, for the threads that it starts",
        }

    def translate(self, text: str) -> Iterator[Clause]:
        """Yield clauses as they are decoded; decoding goes on while the caller uses them."""
        source, stand_ins = self._encode(text)
        if self.beam == 1:
            yield from self._stream(source, text, stand_ins)
            return
        tokens = without_loops(
            lambda forbidden: self._decode(
                source, beam_size=self.beam, suppress_sequences=forbidden
            ),
            text,
        )
        detokenizer = Detokenizer()
        whole = "".join(map(detokenizer.feed, tokens)) + detokenizer.finish()
        truncated = tokens[-1:] != ["</s>"]
        yield Clause(stand_ins.written(whole), 0, True, len(tokens), len(source), truncated)

    def close(self) -> None:
        """Free the model, as soon as a sentence that is being decoded is."""
        if self._streaming is not None:
            self._streaming.close()
        self._streaming = self._translator = None

    def _encode(self, text: str) -> tuple[list[str], StandIns]:
        """As `stt.translator.encode`."""
        return encode(text, self.max_length, self._known, self._pieces, self.source_language)

    def _decode(self, source: list[str], given: Sequence[str] = (), **options: Any) -> list[str]:
        """Target tokens after the language; the last is `</s>` unless the limit came first.

        `given`: what they must begin with.
        """
        try:
            found = self._translator.translate_batch(
                [source],
                target_prefix=[[self.target_language, *given]],
                max_decoding_length=limit(len(source), self.max_length),
                return_end_token=True,
                **options,
            )
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"CTranslate2 could not translate this sentence: {error}") from error
        tokens: list[str] = found[0].hypotheses[0]
        return tokens[1:]

    def _stream(self, source: list[str], text: str, stand_ins: StandIns) -> Iterator[Clause]:
        if self._streaming is None:
            raise EngineError("The translator is closed.")

        def decode(step: Step, given: list[str], forbidden: list[list[str]]) -> list[str]:
            def told(result: Any) -> bool:
                return result.step > 0 and step(result.token)  # 0 is the language

            return self._decode(
                source, given, beam_size=1, callback=told, suppress_sequences=forbidden
            )

        return self._streaming.clauses(decode, len(source), text, stand_ins)
