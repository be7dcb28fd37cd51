"""Piper with a tiny voice made here: a real ONNX graph in Piper's format, synthetic, not speech."""

import json

import numpy as np
import pytest

from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.tts.piper import Piper

SAMPLES_PER_ID = 256


def piper(model, threads=2, speaker=None):
    return Piper(Unit.sentence, None if model is None else str(model), threads, speaker)


@pytest.fixture(scope="module")
def voice_file(tmp_path_factory):
    """`audio = 0.3 sin(0.7 input)`, each phoneme id held for 256 samples."""
    pytest.importorskip("piper", reason="needs the extra piper")
    onnx = pytest.importorskip("onnx", reason="needs the extra dev")
    from onnx import TensorProto, helper

    def constant(name, kind, values):
        return helper.make_tensor(name, kind, [len(values)], values)

    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "rate"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["sine"]),
        helper.make_node("Mul", ["sine", "level"], ["quiet"]),
        helper.make_node("Unsqueeze", ["quiet", "last"], ["column"]),
        helper.make_node("Tile", ["column", "held"], ["tiled"]),
        helper.make_node("Reshape", ["tiled", "shape"], ["output"]),
        helper.make_node("Identity", ["input_lengths"], ["unused_lengths"]),
        helper.make_node("Identity", ["scales"], ["unused_scales"]),
    ]
    graph = helper.make_graph(
        nodes,
        "synthetic voice",
        [
            helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])],
        [
            constant("rate", TensorProto.FLOAT, [0.7]),
            constant("level", TensorProto.FLOAT, [0.3]),
            constant("last", TensorProto.INT64, [2]),
            constant("held", TensorProto.INT64, [1, 1, SAMPLES_PER_ID]),
            constant("shape", TensorProto.INT64, [1, 1, 1, -1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("voice") / "synthetic.onnx"
    onnx.save(model, str(path))
    symbols = ["_", "^", "$", *"aiueoNkstnhmyrwgzdbpɕɯɾ :?ˈ.,"]
    settings = {
        "audio": {"sample_rate": 22050},
        "espeak": {"voice": "ja"},
        "phoneme_type": "japanese",
        "num_symbols": len(symbols),
        "num_speakers": 1,
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(symbols)},
    }
    path.with_name("synthetic.onnx.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def voice(voice_file):
    engine = piper(voice_file)
    engine.load(Device("cpu", 1))
    yield engine
    engine.close()
    engine.close()


pytestmark = [
    pytest.mark.engine,
    # Piper's Japanese phonemizer is pyopenjtalk, see test_openjtalk.
    pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning"),
]


def test_each_sentence_is_one_chunk_at_the_voices_rate(voice):
    chunks = list(voice.synthesize("今日はいい天気です。明日は雨です。"))
    assert len(chunks) == 2
    for chunk in chunks:
        assert chunk.sample_rate == 22050
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert chunk.samples.size % SAMPLES_PER_ID == 0


def test_loudness_is_the_voices_own_in_every_chunk(voice):
    peaks = [np.abs(chunk.samples).max() for chunk in voice.synthesize("あ。今日はいい天気です。")]
    assert max(peaks) <= 0.3 + 1e-6  # normalized, each would be 1


def test_what_runs_is_reported(voice):
    effective = voice.effective()
    assert effective["threads"] == 2
    assert effective["providers"] == ["CPUExecutionProvider"]
    assert effective["model"] == voice.model  # what was asked for, or the run counts as another
    assert len(effective["sha256"]) == 64
    assert effective["sample_rate"] == 22050


def test_nothing_to_say_gives_no_audio(voice):
    assert list(voice.synthesize("")) == []


def test_no_voice_says_how_to_get_one():
    with pytest.raises(ConfigError, match=r"tts\.model=/path/to/voice\.onnx"):
        piper(None).load(Device("cpu", 1))


def test_a_missing_file_is_named(voice_file, tmp_path):
    with pytest.raises(EngineUnavailable, match=r"nowhere\.onnx and .*nowhere\.onnx\.json"):
        piper(tmp_path / "nowhere.onnx").load(Device("cpu", 1))
    (tmp_path / "alone.onnx").write_bytes(voice_file.read_bytes())
    with pytest.raises(EngineUnavailable, match=r"alone\.onnx\.json not found"):
        piper(tmp_path / "alone.onnx").load(Device("cpu", 1))


def test_a_file_that_is_no_voice_is_named(voice_file, tmp_path):
    (tmp_path / "text.onnx").write_text("not a model")
    settings = voice_file.with_name("synthetic.onnx.json").read_text(encoding="utf-8")
    (tmp_path / "text.onnx.json").write_text(settings, encoding="utf-8")
    with pytest.raises(EngineUnavailable, match="not a Piper voice"):
        piper(tmp_path / "text.onnx").load(Device("cpu", 1))
    (tmp_path / "text.onnx.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match="not a Piper voice"):
        piper(tmp_path / "text.onnx").load(Device("cpu", 1))


def test_a_speaker_the_voice_does_not_have_is_refused(voice_file):
    with pytest.raises(ConfigError, match="1 speakers"):
        piper(voice_file, speaker=3).load(Device("cpu", 1))


def test_a_failing_run_costs_one_sentence(voice_file):
    engine = piper(voice_file)
    engine.load(Device("cpu", 1))
    engine._voice.config.num_speakers = 2  # the graph has no input for a speaker
    with pytest.raises(EngineError, match="Piper failed on"):
        list(engine.synthesize("今日は。"))
    engine._voice.config.num_speakers = 1
    assert list(engine.synthesize("今日は。"))
