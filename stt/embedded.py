"""The packaged English-Japanese model: one int8 checkpoint, and what engines derive from it.

`stt/assets/embedded/model.safetensors` names its tensors as transformers' M2M100 model does.
A 2-D weight is int8 [out, in] with `<name>_scale` float32 [out] (W = int8 * scale[:, None]);
biases and norms are floating point; positions are computed; the output head is the embedding.
Shapes: `config.json`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt.errors import EngineUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

log = logging.getLogger(__name__)

EMBEDDED = "embedded"
"""What a translator's `model` is called for the packaged one."""
FOLDER = Path(__file__).parent / "assets" / "embedded"
SENTENCEPIECE = "sentencepiece.bpe.model"
SUMS = "SHA256SUMS"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
"""The first ids of every NLLB vocabulary (the fairseq order)."""


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal.

    Raises:
        EngineUnavailable: the file is not there.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineUnavailable(
            f"The model file {path} cannot be read ({error.strerror}). "
            f"If it belongs to the package, reinstall that from your checkout or wheel."
        ) from error


def config(directory: Path = FOLDER) -> dict[str, Any]:
    """The model's `config.json`: layers, widths, special ids, ids that are `never_produced`."""
    found: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return found


def tensors(directory: Path = FOLDER) -> Tensors:
    """All tensors as stored: int8 weights with their scales, and floating-point vectors."""
    from safetensors.numpy import load_file

    stored: Tensors = load_file(directory / "model.safetensors")
    return stored


def dequantized(stored: Tensors) -> Tensors:
    """The float32 state dict that `stored` stands for."""
    import numpy as np

    state = {}
    for name, tensor in stored.items():
        if name.endswith("_scale"):
            continue
        state[name] = tensor.astype(np.float32)
        if (scale := stored.get(f"{name}_scale")) is not None:
            state[name] *= scale[:, None]
    return state


def vocabulary(directory: Path = FOLDER) -> list[str]:
    """Every token in the order of its id: special tokens, pieces, `<mask>`, languages."""
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(directory / SENTENCEPIECE))
    described = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    learned = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]  # <unk> <s> </s>
    return [*SPECIAL_TOKENS, *learned, "<mask>", *described["extra_special_tokens"]]


def positions(count: int, width: int) -> NDArray[np.float32]:
    """Sinusoidal encodings [count, width] as M2M100 computes them, from its first position (2) on.

    Source: fairseq's SinusoidalPositionalEmbedding; sines in the first half, cosines in the second.
    """
    import numpy as np

    half = width // 2
    step = np.float32(np.log(10000.0) / (half - 1))
    frequency = np.exp(np.arange(half, dtype=np.float32) * -step)
    angle = np.arange(2, count + 2, dtype=np.float32)[:, None] * frequency
    encoded = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    return np.pad(encoded, ((0, 0), (0, width % 2))).astype(np.float32)


def cache_dir() -> Path:
    """Where this user's derived files live; `STT_CACHE` overrides the platform's place."""
    if chosen := os.environ.get("STT_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "stt/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/stt"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stt"


def ctranslate2_files(directory: Path = FOLDER) -> tuple[dict[str, bytes], str]:
    """The CTranslate2 model of a checkpoint by file name, and the checkpoint's SHA-256.

    The first call derives it into the user's cache; later ones read it back. What is returned
    is what was checksummed, so a broken or half-written cache is rebuilt, never loaded.
    Processes that derive at the same time work in private folders and move the result into
    place in one step. A cache that cannot be written costs the derivation at each start, and
    a warning.
    """
    import ctranslate2

    checkpoint = sha256(directory / "model.safetensors")
    described = hashlib.sha256(checkpoint.encode())
    for name in ("config.json", "tokenizer_config.json", SENTENCEPIECE):
        described.update((directory / name).read_bytes())
    # The version stands for the format's revision; asking for that would import torch, if
    # installed.
    key = f"ct2-{described.hexdigest()[:16]}-{ctranslate2.__version__}"
    cached = cache_dir() / key
    if files := _read_verified(cached):
        return files, checkpoint
    with tempfile.TemporaryDirectory(prefix="stt-") as scratch:
        built = Path(scratch)
        derive_ctranslate2(directory, built)
        sums = {path.name: sha256(path) for path in built.iterdir()}
        lines = [f"{checksum}  {name}\n" for name, checksum in sorted(sums.items())]
        (built / SUMS).write_text("".join(lines), encoding="utf-8")
        files = {name: (built / name).read_bytes() for name in sums}
        _publish(built, cached)
    return files, checkpoint


def _read_verified(directory: Path) -> dict[str, bytes] | None:
    """Files of a cached model; None when anything is missing or differs from its checksum."""
    try:
        lines = (directory / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
        files = {name: (directory / name).read_bytes() for name in sums}
    except (OSError, ValueError):
        return None
    intact = all(hashlib.sha256(files[name]).hexdigest() == sums[name] for name in sums)
    return files if intact and "model.bin" in files else None


def _publish(built: Path, cached: Path) -> None:
    """Copy `built` next to its place in the cache and rename it in one step."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".building-") as scratch:
            copy = Path(shutil.copytree(built, Path(scratch) / "model"))
            if _read_verified(cached):  # another process was faster
                return
            if cached.exists():
                cached.rename(Path(scratch) / "broken")
            copy.rename(cached)
    except OSError as error:
        if not _read_verified(cached):
            log.warning(
                "The model cache %s cannot be written (%s): every start derives the model again. "
                "Set STT_CACHE to a folder that can be written.",
                cached.parent,
                error,
            )


def derive_ctranslate2(directory: Path, out: Path) -> None:
    """Write the CTranslate2 model of a checkpoint into `out`; int8 matrices are copied bit for bit.

    CTranslate2 stores the reciprocal of our scale (W = int8 / weight_scale) and stacks
    projections that read the same input into one matrix. Everything is NumPy; nothing is
    quantized again. Tokens that `config.json` lists as `never_produced` have no row in the
    decoder: half of a step's weights are its output layer.

    Raises:
        EngineUnavailable: the checkpoint and its description do not fit each other.
    """
    import numpy as np
    from ctranslate2.specs import Activation, TransformerSpec

    stored, shape, tokens = tensors(directory), config(directory), vocabulary(directory)
    if len(tokens) != shape["vocab_size"]:
        raise EngineUnavailable(
            f"{directory} is damaged: {len(tokens)} tokens, but vocab_size={shape['vocab_size']}. "
            f"If it belongs to the package, reinstall that from your checkout or wheel."
        )
    spec = TransformerSpec.from_config(
        (shape["encoder_layers"], shape["decoder_layers"]),
        shape["encoder_attention_heads"],
        activation={"relu": Activation.RELU, "gelu": Activation.GELU}[shape["activation_function"]],
    )
    encodings = positions(shape["max_position_embeddings"] + 2, shape["d_model"])
    produced = sorted(set(range(len(tokens))) - set(shape.get("never_produced", ())))
    spec.decoder.num_heads = np.dtype("int16").type(shape["decoder_attention_heads"])
    _set_weight(spec.encoder.embeddings[0], stored, "model.shared")
    for layer in (spec.decoder.embeddings, spec.decoder.projection):
        _set_weight(layer, stored, "model.shared")
        layer.weight, layer.weight_scale = layer.weight[produced], layer.weight_scale[produced]
    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.scale_embeddings = shape["d_model"] ** 0.5 if shape["scale_embedding"] else 1.0
        stack.position_encodings.encodings = encodings
        _set_norm(stack.layer_norm, stored, f"model.{side}.layer_norm")
        for i, layer in enumerate(stack.layer):
            name = f"model.{side}.layers.{i}"
            _set_attention(layer.self_attention, stored, f"{name}.self_attn", ["qkv"])
            if side == "decoder":
                _set_attention(layer.attention, stored, f"{name}.encoder_attn", ["q", "kv"])
            _set_norm(layer.ffn.layer_norm, stored, f"{name}.final_layer_norm")
            _set_weight(layer.ffn.linear_0, stored, f"{name}.fc1")
            _set_weight(layer.ffn.linear_1, stored, f"{name}.fc2")
    spec.config.decoder_start_token = tokens[shape["decoder_start_token_id"]]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary([tokens[i] for i in produced])
    spec.validate()
    spec.optimize()  # stores what is equal once
    spec.save(str(out))


def _set_weight(spec: Any, stored: Tensors, *names: str) -> None:
    """Fill a linear or embedding spec with the rows of one or several stored weights."""
    import numpy as np

    spec.weight = np.concatenate([stored[f"{name}.weight"] for name in names])
    scale = np.concatenate([stored[f"{name}.weight_scale"] for name in names])
    spec.weight_scale = np.float32(1) / scale
    if f"{names[0]}.bias" in stored:
        spec.bias = np.concatenate([stored[f"{name}.bias"] for name in names]).astype(np.float32)


def _set_norm(spec: Any, stored: Tensors, name: str) -> None:
    import numpy as np

    spec.gamma = stored[f"{name}.weight"].astype(np.float32)
    spec.beta = stored[f"{name}.bias"].astype(np.float32)


def _set_attention(spec: Any, stored: Tensors, name: str, fused: list[str]) -> None:
    """Fill one attention block; each string of `fused` names the projections of one matrix."""
    for linear, letters in zip(spec.linear, fused, strict=False):
        _set_weight(linear, stored, *(f"{name}.{letter}_proj" for letter in letters))
    _set_weight(spec.linear[-1], stored, f"{name}.out_proj")
    _set_norm(spec.layer_norm, stored, f"{name}_layer_norm")
