"""The CTranslate2 model equals the checkpoint it is derived from, and its cache can be trusted."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest

from stt import embedded
from stt.errors import EngineUnavailable

pytestmark = pytest.mark.engine
DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read_model_bin(content):
    """Variables and aliases of CTranslate2's binary format (version 6)."""
    at = 4

    def take(form):
        nonlocal at
        values = struct.unpack_from(form, content, at)
        at += struct.calcsize(form)
        return values[0]

    def name():
        size = take("<H")
        return take(f"{size}s").rstrip(b"\0").decode()

    name(), take("<I")
    variables = {}
    for _ in range(take("<I")):
        key = name()
        shape = [take("<I") for _ in range(take("<B"))]
        dtype, size = np.dtype(DTYPES[take("<B")]), take("<I")
        variables[key] = np.frombuffer(content, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
    return variables, {name(): name() for _ in range(take("<I"))}


def test_every_int8_matrix_is_the_stored_one_bit_for_bit(cache):
    files, _ = embedded.ctranslate2_files()
    variables, aliases = read_model_bin(files["model.bin"])
    stored, shape = embedded.tensors(), embedded.config()

    def same(name, *sources, rows=slice(None)):
        want = np.concatenate([stored[f"{source}.weight"] for source in sources])[rows]
        scale = np.concatenate([stored[f"{source}.weight_scale"] for source in sources])[rows]
        assert variables[f"{name}/weight"].dtype == np.int8
        np.testing.assert_array_equal(variables.pop(f"{name}/weight"), want)
        np.testing.assert_array_equal(variables.pop(f"{name}/weight_scale"), np.float32(1) / scale)

    same("encoder/embeddings_0", "model.shared")
    produced = np.setdiff1d(np.arange(shape["vocab_size"]), shape["never_produced"])
    same("decoder/embeddings", "model.shared", rows=produced)
    assert aliases["decoder/projection/weight"] == "decoder/embeddings/weight"
    for side in ("encoder", "decoder"):
        for i in range(shape[f"{side}_layers"]):
            ours, theirs = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            qkv = [f"{ours}.self_attn.{x}_proj" for x in "qkv"]
            same(f"{theirs}/self_attention/linear_0", *qkv)
            same(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
            if side == "decoder":
                same(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn.q_proj")
                kv = [f"{ours}.encoder_attn.{x}_proj" for x in "kv"]
                same(f"{theirs}/attention/linear_1", *kv)
                same(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
            same(f"{theirs}/ffn/linear_0", f"{ours}.fc1")
            same(f"{theirs}/ffn/linear_1", f"{ours}.fc2")
    assert not [name for name, value in variables.items() if value.dtype == np.int8 and value.ndim]


def test_the_decoder_knows_every_token_but_those_that_are_never_produced(cache):
    files, _ = embedded.ctranslate2_files()
    every, shape = embedded.vocabulary(), embedded.config()
    left_out = {every[i] for i in shape["never_produced"]}
    assert json.loads(files["source_vocabulary.json"]) == every
    assert json.loads(files["target_vocabulary.json"]) == [t for t in every if t not in left_out]
    assert not left_out & {*embedded.SPECIAL_TOKENS, "eng_Latn", "jpn_Jpan", "。", "の", "a"}


def test_the_second_call_reads_what_the_first_one_derived(cache):
    first, checksum = embedded.ctranslate2_files()
    (folder,) = cache.iterdir()
    written = (folder / "model.bin").stat().st_mtime_ns
    assert embedded.ctranslate2_files() == (first, checksum)
    assert (folder / "model.bin").stat().st_mtime_ns == written
    assert checksum == embedded.sha256(embedded.FOLDER / "model.safetensors")


@pytest.mark.parametrize("damage", ["flipped", "truncated", "unsummed", "gone"])
def test_a_damaged_cache_is_rebuilt_and_never_loaded(cache, damage):
    sound, _ = embedded.ctranslate2_files()
    (folder,) = cache.iterdir()
    model = folder / "model.bin"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flipped":
            model.write_bytes(content)
        case "truncated":
            model.write_bytes(content[: len(content) // 3])
        case "unsummed":
            (folder / embedded.SUMS).write_text("", encoding="utf-8")
        case "gone":
            model.unlink()
    assert embedded.ctranslate2_files()[0] == sound
    assert model.read_bytes() == sound["model.bin"]
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_processes_that_derive_at_the_same_time_end_with_one_sound_model(cache):
    script = (
        "from stt import embedded; import hashlib; "
        "print(hashlib.sha256(embedded.ctranslate2_files()[0]['model.bin']).hexdigest())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    (folder,) = cache.iterdir()
    assert said == {embedded.sha256(folder / "model.bin") + "\n"}


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("STT_CACHE", str(tmp_path / "file"))
    files, _ = embedded.ctranslate2_files()
    assert "model.bin" in files
    assert "STT_CACHE" in caplog.text


def test_dequantized_weights_are_int8_times_scale():
    stored = embedded.tensors()
    state = embedded.dequantized(stored)
    name = "model.encoder.layers.0.fc1.weight"
    np.testing.assert_array_equal(
        state[name][5], stored[name][5].astype(np.float32) * stored[f"{name}_scale"][5]
    )
    assert {tensor.dtype for tensor in state.values()} == {np.dtype(np.float32)}
    assert not [name for name in state if name.endswith("_scale")]


def test_the_package_stays_small():
    assert sum(path.stat().st_size for path in embedded.FOLDER.iterdir()) <= 32e6


def test_a_missing_checkpoint_says_how_to_get_it_back(tmp_path):
    with pytest.raises(EngineUnavailable, match="reinstall that from your checkout or wheel"):
        embedded.sha256(tmp_path / "model.safetensors")
