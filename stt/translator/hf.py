"""Hugging Face transformers: the packaged checkpoint or a hub model, on CPU, CUDA or MPS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stt import embedded
from stt.device import Device, torch_device
from stt.engine import Translator
from stt.errors import EngineError, EngineUnavailable
from stt.messages import Clause
from stt.translator import not_here, tidy, too_long
from stt.translator.loops import without_loops
from stt.translator.plain import characters


class Precision(StrEnum):
    """What weights and activations are kept in; int8 is what linear layers multiply, and float32 lies between them."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


class Compile(StrEnum):
    """Mode of `torch.compile` for the forward pass; it costs minutes at the first calls."""

    none = "none"
    default = "default"
    max_autotune = "max_autotune"


@dataclass
class Transformers(Translator):
    """A model as AutoModelForSeq2SeqLM loads it, decoded with `generate`; a sentence is one clause.

    Attributes:
        model: `embedded`, a hub name, or a folder with the files of one.
        revision: branch or commit on the hub; null = main.
        beam: 1 is greedy.
        max_length: longest sentence and longest translation, in tokens.
    """

    extra = "torch"

    model: str
    revision: str | None
    precision: Precision
    beam: int
    max_length: int
    compile: Compile
    source_language: str
    target_language: str

    def __post_init__(self) -> None:
        """No model yet: `load` brings it."""
        self._model: Any = None
        self._known: frozenset[str] = frozenset()

    @property
    def devices(self) -> tuple[str, ...]:  # type: ignore[override]
        """Where this precision runs."""
        return ("cpu",) if self.precision == Precision.int8 else ("cpu", "cuda", "mps")

    def load(self, device: Device) -> None:
        """Read the weights; a hub model must have been downloaded before."""
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        name = torch_device(device)
        int8 = self.precision == Precision.int8
        dtype = torch.float32 if int8 else getattr(torch, self.precision.value)
        if self.model == embedded.EMBEDDED:
            self._load_embedded(dtype)
        else:
            self._load_downloaded(dtype)
        model = self._model.to(name).eval()
        if int8:
            from stt.translator.int8 import quantize

            quantize(model)
        model.generation_config.update(
            forced_bos_token_id=self._tokenizer.convert_tokens_to_ids(self.target_language),
            max_length=self.max_length,
            num_beams=self.beam,
            do_sample=False,
        )
        self._versions = f"transformers {transformers.__version__} torch {torch.__version__}"
        self._threads = torch.get_num_threads()
        if self.compile != Compile.none:
            mode = self.compile.value.replace("_", "-")
            model.forward = torch.compile(model.forward, mode=mode, dynamic=True)
            try:
                list(self.translate("The first call compiles."))
            except EngineError as error:
                raise EngineUnavailable(
                    f"torch.compile does not work here: {error}. "
                    f"Install a C++ compiler, or choose translator.compile=none."
                ) from error

    def _load_embedded(self, dtype: Any) -> None:
        import torch
        from transformers import AutoConfig, AutoTokenizer, M2M100ForConditionalGeneration

        folder = embedded.FOLDER
        self._revision: str | None = embedded.sha256(folder / "model.safetensors")
        stored = embedded.dequantized(embedded.tensors(folder))
        self._model = M2M100ForConditionalGeneration.from_pretrained(
            None,
            config=AutoConfig.from_pretrained(folder),
            state_dict={name: torch.from_numpy(tensor) for name, tensor in stored.items()},
            dtype=dtype,
        )
        self._tokenizer = AutoTokenizer.from_pretrained(folder, src_lang=self.source_language)
        self._known = characters(embedded.vocabulary())

    def _load_downloaded(self, dtype: Any) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        # Only files of this machine: a download would be measured, and hang without a network.
        options: dict[str, Any] = {"revision": self.revision or "main", "local_files_only": True}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                self.model, src_lang=self.source_language, **options
            )
            self._model = AutoModelForSeq2SeqLM.from_pretrained(
                self.model, dtype=dtype, use_safetensors=True, **options
            )
        except (OSError, ValueError) as error:
            raise not_here(self.model, self.revision, "embedded") from error
        self._revision = getattr(self._model.config, "_commit_hash", None) or self.revision

    def effective(self) -> dict[str, Any]:
        """Read back from the loaded model."""
        from stt.translator.int8 import linears

        model = self._model
        counted, scheme = linears(model)
        return {
            "engine": self._versions,
            "model": self.model,
            "sha256" if self.model == embedded.EMBEDDED else "revision": self._revision,
            "precision": " and ".join(counted),
            "linears": counted,
            "scheme": scheme,
            "attention": model.config._attn_implementation,
            "device": model.device.type,
            "threads": self._threads,
            "beam": model.generation_config.num_beams,
            "max_length": model.generation_config.max_length,
            "compile": self.compile.value,
            "streaming": False,
            "used_in_load": None if self.compile == Compile.none else "one sentence, to compile",
        }

    def translate(self, text: str) -> Iterator[Clause]:
        """Yield the whole translation as one clause."""
        import torch

        said, stand_ins = tidy(text, self.max_length, self._known)
        source = self._tokenizer(said, return_tensors="pt", split_special_tokens=True)
        source_tokens = source["input_ids"].shape[1]
        if source_tokens > self.max_length:
            raise too_long(text, self.max_length)
        source = source.to(self._model.device)
        found: list[int] = []

        def decode(forbidden: list[list[str]]) -> list[str]:
            nonlocal found
            banned = [self._tokenizer.convert_tokens_to_ids(tokens) for tokens in forbidden]
            found = self._model.generate(**source, bad_words_ids=banned or None)[0].tolist()
            return list(self._tokenizer.convert_ids_to_tokens(found))

        try:
            with torch.inference_mode():
                without_loops(decode, text)
        except Exception as error:  # torch raises many kinds, out of memory to compiler errors
            raise EngineError(f"transformers cannot translate this sentence: {error}") from error
        pad, end = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        target = [token for token in found[2:] if token != pad]  # [2:] skips </s> and the language
        yield Clause(
            stand_ins.written(str(self._tokenizer.decode(target, skip_special_tokens=True))),
            tokens=len(target),
            source_tokens=source_tokens,
            truncated=target[-1:] != [end],
        )

    def close(self) -> None:
        """Free the model."""
        self._model = None
