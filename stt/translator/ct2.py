"""CTranslate2: int8 or float32 on CPU, clauses given out while decoding goes on."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Callable, Iterator, Sequence
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
from stt.translator import tidy, too_long
from stt.translator.clauses import Clauses, Detokenizer
from stt.translator.loops import ATTEMPTS, loop, without_loops
from stt.translator.numbers import Numbers
from stt.translator.plain import characters


class Precision(StrEnum):
    """What the matrices are multiplied in; activations between them are float32."""

    int8 = "int8"
    float32 = "float32"


_TIMES, _MORE = 2, 24
"""Tokens a translation may have, from those of its source: of 60,000 references none has more than twice as many and 5."""


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
        self._decoding: ThreadPoolExecutor | None = None

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
        for language in (self.source_language, self.target_language):
            if language not in known:
                raise ConfigError(
                    f"The model {self.model} does not know the language {language}. Choose "
                    f"language.source and language.target from: "
                    f"{', '.join(t for t in known if re.fullmatch('[a-z]{3}_[A-Z][a-z]{3}', t))}."
                )
        self._pieces = SentencePieceProcessor(model_file=str(folder / embedded.SENTENCEPIECE))
        self._version = ctranslate2.__version__
        self._decode(self._encode("Hello.")[0])  # now the team of threads exists
        self._cpus = part(native_threads() - before)
        self._decoding = ThreadPoolExecutor(1, thread_name_prefix="decode")

    def _read(self, folder: Path) -> tuple[dict[str, bytes] | None, list[str]]:
        """Model files in memory (None: CTranslate2 reads the folder) and the vocabulary."""
        if self.model == embedded.EMBEDDED:
            longest = embedded.config(folder)["max_position_embeddings"]
            if self.max_length > longest:
                raise ConfigError(
                    f"translator.max_length={self.max_length}: the embedded model has {longest} "
                    f"positions. Choose {longest} or fewer."
                )
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
        source, numbers = self._encode(text)
        if self.beam == 1:
            yield from self._stream(source, text, numbers)
            return
        tokens = without_loops(
            lambda forbidden: self._decode(
                source, beam_size=self.beam, suppress_sequences=forbidden
            ),
            text,
        )
        detokenizer = Detokenizer()
        whole = "".join(map(detokenizer.feed, tokens)) + detokenizer.finish()
        yield self._last(numbers.written(whole), 0, tokens, 0, source)

    def close(self) -> None:
        """Free the model, as soon as a sentence that is being decoded is."""
        if self._decoding is not None:
            self._decoding.shutdown(wait=False, cancel_futures=True)
        self._decoding = self._translator = None

    def _encode(self, text: str) -> tuple[list[str], Numbers]:
        """Source tokens, language first, and what stands for numbers among them.

        Raises:
            EngineError: longer than the model can read, or nothing it can read.
        """
        said, numbers = tidy(text, self.max_length, self._known)
        pieces = self._pieces.encode(said, out_type=str)
        if len(pieces) + 2 > self.max_length:
            raise too_long(text, self.max_length)
        return [self.source_language, *pieces, "</s>"], numbers

    def _decode(self, source: list[str], given: Sequence[str] = (), **options: Any) -> list[str]:
        """Target tokens after the language; the last is `</s>` unless the limit came first.

        `given`: what they must begin with.
        """
        try:
            found = self._translator.translate_batch(
                [source],
                target_prefix=[[self.target_language, *given]],
                max_decoding_length=min(self.max_length, _TIMES * len(source) + _MORE),
                return_end_token=True,
                **options,
            )
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"CTranslate2 could not translate this sentence: {error}") from error
        tokens: list[str] = found[0].hypotheses[0]
        return tokens[1:]

    def _stream(self, source: list[str], text: str, numbers: Numbers) -> Iterator[Clause]:
        """Decode on another thread; hand over each clause the moment its last token is known."""
        if self._decoding is None:
            raise EngineError("The translator is closed.")
        found: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        growing = _Growing(text, lambda: Clauses(self.min_clause_chars, numbers))
        abandoned = False

        def step(result: Any) -> bool:
            if result.step > 0:  # 0 is the language
                for clause in growing.feed(result.token):
                    found.put((clause, result.step))
            return abandoned or bool(growing.loop)

        def decode() -> list[str]:
            forbidden: list[list[str]] = []
            tokens = self._decode(source, beam_size=1, callback=step)
            while growing.loop and len(forbidden) < ATTEMPTS and not abandoned:
                forbidden.append(2 * growing.loop)
                given = growing.again()
                tokens = self._decode(
                    source, given, beam_size=1, callback=step, suppress_sequences=forbidden
                )
            return tokens

        decoding = self._decoding.submit(decode)
        decoding.add_done_callback(lambda _: found.put(None))
        given_tokens = index = 0
        try:
            while (clause := found.get()) is not None:
                part, so_far = clause
                yield Clause(part, index, False, so_far - given_tokens, len(source))
                given_tokens, index = so_far, index + 1
            tokens = decoding.result()
        finally:
            abandoned = True
        yield self._last(growing.clauses.rest(), index, tokens, given_tokens, source)

    def _last(
        self, text: str, index: int, tokens: list[str], given_tokens: int, source: list[str]
    ) -> Clause:
        truncated = tokens[-1:] != ["</s>"]
        return Clause(text, index, True, len(tokens) - given_tokens, len(source), truncated)


class _Growing:
    """A translation while its tokens arrive: complete clauses, and the loop it may run into."""

    def __init__(self, source: str, clauses: Callable[[], Clauses]) -> None:
        self._source, self._clauses = source, clauses
        self._given: list[str] = []  # tokens up to the last clause handed over
        self._handed_over = 0
        self._begin()

    def _begin(self) -> None:
        self.loop: list[str] = []
        self._tokens: list[str] = []
        self.clauses = self._clauses()
        self._seen = 0

    def feed(self, token: str) -> Iterator[str]:
        """Take the next token; yield the clauses that are now complete, each only once."""
        self._tokens.append(token)
        # A clause that completes a loop is not handed over: what was, must come again.
        self.loop = loop(self._tokens, self._source)
        for clause in self.clauses.feed(token):
            self._seen += 1
            if self._seen > self._handed_over and not self.loop:
                self._handed_over, self._given = self._seen, self._tokens.copy()
                yield clause

    def again(self) -> list[str]:
        """Start over; returns the tokens that must come again, since their clauses were handed over."""
        self._begin()
        return self._given
