"""The hand-written NLLB decoder (`stt.nllb`): CUDA graphs and Triton kernels, plain torch on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from stt import embedded
from stt.device import Device, torch_device
from stt.engine import Translator
from stt.errors import ConfigError, EngineError, EngineUnavailable, UnsupportedDevice
from stt.messages import Clause
from stt.translator import not_here, tidy, too_long
from stt.translator.clauses import Clauses
from stt.translator.plain import characters
from stt.translator.stand_ins import StandIns

RANDOM = "random-"
"""Before the name of a shape: that shape with random weights and the packaged tokenizer, for speed only."""
WIDEST_BEAM = 5
OLDEST = (8, 0)
"""Compute capability of the first GPUs with bfloat16."""
TRITON_FROM = (9, 0)
"""The Triton kernels ask for ranges in L2, an instruction of Hopper."""


class Precision(StrEnum):
    """What the decoder's weights are stored in; int8 has a scale per row and bfloat16 activations."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class Kernels(StrEnum):
    """What a decoder step runs as; auto = torch on a CPU, persistent on a GPU that has Triton's needs."""

    auto = "auto"
    torch = "torch"
    fused = "fused"
    persistent = "persistent"


@dataclass
class NllbCuda(Translator):
    """NLLB decoded on the device; greedy decoding streams clauses, beams give whole sentences.

    Attributes:
        model: `embedded`, a hub name, a folder with a checkpoint in safetensors, or `random-600M`,
            `random-1.3B`, `random-3.3B`: synthetic weights, as many target tokens as source tokens.
        revision: branch or commit on the hub; null = main.
        graph: capture the encoder and the step in CUDA graphs; null = where there is a GPU.
        vocabulary: `full`, or a UTF-8 file with the tokens that may be chosen, one a line.
        beam: 1 (greedy) to 5.
        max_length: longest sentence and longest translation, in tokens.
        min_clause_chars: a shorter clause waits for the next one.
    """

    extra = "torch"
    devices = ("cpu", "cuda")

    model: str
    revision: str | None
    precision: Precision
    kernels: Kernels
    graph: bool | None
    vocabulary: str
    beam: int
    max_length: int
    min_clause_chars: int
    source_language: str
    target_language: str

    def __post_init__(self) -> None:
        """Check what needs no model; `load` brings that."""
        if not 1 <= self.beam <= WIDEST_BEAM:
            raise ConfigError(f"translator.beam={self.beam}: choose 1 (greedy) to {WIDEST_BEAM}.")
        if not 8 <= self.max_length <= 1024:
            raise ConfigError(f"translator.max_length={self.max_length}: choose 8 to 1024.")
        self._decoder: Any = None
        self._random = self.model.startswith(RANDOM)

    @property
    def translates(self) -> bool:  # type: ignore[override]
        """False for random weights, whose output nobody should judge."""
        return not self._random

    def load(self, device: Device) -> None:
        """Read the weights, compile the kernels, capture the graphs."""
        import torch
        import transformers

        name = torch_device(device)
        way = self._way(name)
        folder = self._folder()
        shape = self._shape(folder)
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            folder, src_lang=self.source_language
        )
        if len(tokenizer) < 0.99 * shape.vocab_size and not self._random:
            raise EngineUnavailable(
                f"{folder} holds no tokenizer for the {shape.vocab_size} tokens of the model. "
                f"Download the checkpoint again, with all *.json and *.model files."
            )
        for language in (self.source_language, self.target_language):
            if tokenizer.convert_tokens_to_ids(language) == tokenizer.unk_token_id:
                raise ConfigError(
                    f"The model {self.model} does not know the language {language}. "
                    f"Choose another language.source or language.target."
                )
        checkpoint = folder / "model.safetensors"
        known = (
            checkpoint.exists() and not self._random
        )  # a checkpoint in parts has no one checksum
        self._sha256 = embedded.sha256(checkpoint) if known else None
        self._tokenizer = tokenizer
        packaged = folder == embedded.FOLDER
        self._known = characters(embedded.vocabulary()) if packaged else frozenset()
        self._language = tokenizer.convert_tokens_to_ids(self.target_language)
        try:
            self._build(folder, shape, name, way)
        except torch.cuda.OutOfMemoryError as error:
            self.close()
            raise EngineUnavailable(
                f"The GPU has not enough memory for {self.model} in {self.precision.value} "
                f"({error}). Choose translator.precision=int8, a smaller model, or free the GPU."
            ) from error
        self._engine = f"stt.nllb torch {torch.__version__}"
        self._where = torch.cuda.get_device_name() if name == "cuda" else "cpu"
        self._device = name
        self._threads = torch.get_num_threads()

    def _way(self, name: str) -> Kernels:
        """Which kernels really run.

        Raises:
            UnsupportedDevice: they do not run on this device.
        """
        import torch

        wants_triton = self.kernels in (Kernels.fused, Kernels.persistent)
        if name == "cpu" and self.graph:
            raise UnsupportedDevice(
                "translator.graph=true needs device=cuda. "
                "Choose translator.graph=null, which captures graphs where there is a GPU."
            )
        if name == "cpu":
            if wants_triton:
                raise UnsupportedDevice(
                    f"translator.kernels={self.kernels.value} needs device=cuda. "
                    f"Choose translator.kernels=auto, which takes PyTorch ops on a CPU."
                )
            return Kernels.torch
        capability = torch.cuda.get_device_capability()
        needed = TRITON_FROM if wants_triton else OLDEST
        if capability < needed:
            raise UnsupportedDevice(
                f"{torch.cuda.get_device_name()} has compute capability {capability}; "
                f"translator.kernels={self.kernels.value} needs {needed} or newer. "
                f"Choose translator.kernels=torch (from {OLDEST}), or device=cpu."
            )
        if self.kernels != Kernels.auto:
            return self.kernels
        return Kernels.torch if capability < TRITON_FROM else Kernels.persistent

    def _folder(self) -> Path:
        if self.model == embedded.EMBEDDED or self._random:
            return embedded.FOLDER
        if (folder := Path(self.model).expanduser()).is_dir():
            return folder
        from huggingface_hub import snapshot_download

        try:  # only files of this machine: a download would be measured, and hang offline
            return Path(
                snapshot_download(self.model, revision=self.revision, local_files_only=True)
            )
        except (OSError, ValueError) as error:
            raise not_here(self.model, self.revision, "embedded_cuda") from error

    def _shape(self, folder: Path) -> Any:
        from stt.nllb import weights

        shapes = {RANDOM + name: shape for name, shape in weights.SHAPES.items()}
        if self._random and self.model not in shapes:
            raise ConfigError(f"translator.model={self.model}: choose {', '.join(shapes)}.")
        return shapes[self.model] if self._random else weights.read_shape(folder)

    def _build(self, folder: Path, shape: Any, name: str, way: Kernels) -> None:
        import torch

        from stt.nllb import decode, model, vocabulary, weights

        triton = way in (Kernels.fused, Kernels.persistent)
        wide, int8 = self.precision == Precision.float32, self.precision == Precision.int8
        dtype = torch.float32 if wide or (int8 and name == "cpu") else torch.bfloat16
        dtypes = dtype, torch.float32 if int8 and triton else dtype
        if self._random:
            loaded = weights.random(shape, *dtypes, name)
        else:
            loaded = weights.read(folder, *dtypes, name)
        if self.vocabulary != "full":
            always = {self._tokenizer.eos_token_id, self._language}
            kept = vocabulary.kept(self.vocabulary, self._tokenizer, always)
            weights.trim(loaded, torch.tensor(kept))
        state = model.State(loaded, self.beam, self.max_length - 1, dtype)
        step: Any = None
        if triton:
            try:
                from stt.nllb import pack
            except ImportError as error:
                raise EngineUnavailable(
                    f"translator.kernels={way.value} needs Triton, which is not installed "
                    f"({error}). Run: pip install triton - or choose translator.kernels=torch."
                ) from error
            tiling = pack.Tiling.of(shape, self.beam)
            step = pack.Kernels(loaded, state, int8, way == Kernels.persistent, tiling)
            # What the kernels hold a copy of is not needed a second time.
            loaded.decoder = []
            loaded.head = loaded.embedding = loaded.embedding.new_empty(0)
        elif int8:
            weights.through_int8(loaded)
        self._decoder = decode.Decoder(loaded, state, step, self.graph is not False)
        self._decoder.warm_up()
        self._way_taken, self._dtype, self._rows = way, dtype, state.logits.shape[1]

    def effective(self) -> dict[str, Any]:
        """Read back from the loaded decoder."""
        return {
            "engine": self._engine,
            "model": self.model,
            "sha256": self._sha256,
            "weights": "random (synthetic)" if self._random else "checkpoint",
            "precision": self.precision.value,
            "dtype": str(self._dtype).removeprefix("torch."),
            "step": self._way_taken.value,
            "graph": self._decoder.graph,
            "output_rows": self._rows,
            "device": self._device,
            "device_name": self._where,
            "threads": self._threads,
            "beam": self.beam,
            "max_length": self.max_length,
            "streaming": self.beam == 1,
            "used_in_load": "every step, to compile and capture" if self._decoder.cuda else None,
        }

    def translate(self, text: str) -> Iterator[Clause]:
        """Yield clauses as they are decoded; the device runs a few steps ahead of the reader."""
        if self._decoder is None:
            raise EngineError("The translator is closed. Load it again before translating.")
        said, stand_ins = tidy(text, self.max_length, self._known)
        source = self._tokenizer(said, split_special_tokens=True)["input_ids"]
        if len(source) > self._decoder.limit:
            raise too_long(text, self.max_length)
        try:
            yield from self._clauses(source, stand_ins)
        except RuntimeError as error:
            raise EngineError(f"The device could not decode this sentence: {error}") from error

    def _clauses(self, source: list[int], stand_ins: StandIns) -> Iterator[Clause]:
        clauses = Clauses(self.min_clause_chars, stand_ins)
        decoder, end = self._decoder, self._tokenizer.eos_token_id
        index = tokens = given = 0
        last, whole = None, ""
        found = decoder.greedy if self.beam == 1 else decoder.beam
        for tokens, last in enumerate(found(source, self._language)):  # 0 is the language
            if tokens == 0:
                continue
            known = last % len(self._tokenizer)  # a random model has more rows than the tokenizer
            for clause in clauses.feed(self._tokenizer.convert_ids_to_tokens(known)):
                if self.beam > 1:  # the whole sentence is known: one clause
                    whole += clause
                    continue
                yield Clause(clause, index, False, tokens - given, len(source))
                given, index = tokens, index + 1
            if self._random and tokens == len(source):
                last = end
                break
        yield Clause(whole + clauses.rest(), index, True, tokens - given, len(source), last != end)

    def close(self) -> None:
        """Free the weights, caches and graphs."""
        self._decoder = None
