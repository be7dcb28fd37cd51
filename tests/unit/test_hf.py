"""transformers runs the packaged checkpoint as it is, and says clearly what is missing."""

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from stt import embedded
from stt.device import Device, require
from stt.engine import load
from stt.errors import EngineError, EngineUnavailable, UnsupportedDevice
from stt.translator.hf import Compile, Precision, Transformers

pytestmark = pytest.mark.engine
LONG = "I would like to go to the station, but it is raining and I have no umbrella."


def engine(**changes):
    values = {
        "model": "embedded",
        "revision": None,
        "precision": Precision.float32,
        "beam": 1,
        "max_length": 256,
        "compile": Compile.none,
        "source_language": "eng_Latn",
        "target_language": "jpn_Jpan",
    }
    return Transformers(**{**values, **changes})


@pytest.fixture(scope="module")
def loaded():
    pytest.importorskip("torch", reason="needs the extra torch")
    pytest.importorskip("transformers", reason="needs the extra torch")
    translator = engine()
    translator.load(Device("cpu", 2))
    yield translator
    translator.close()


def test_a_sentence_is_one_final_counted_clause(loaded):
    (clause,) = loaded.translate(LONG)
    assert clause.final
    assert not clause.truncated
    assert clause.tokens > 5
    assert clause.text.endswith("。")


def test_the_weights_are_the_dequantized_checkpoint_and_the_head_is_tied(loaded):
    import torch

    state = loaded._model.state_dict()
    for name, tensor in embedded.dequantized(embedded.tensors()).items():
        assert torch.equal(state[name], torch.from_numpy(tensor)), name
    shared = loaded._model.model.shared.weight.data_ptr()
    assert loaded._model.lm_head.weight.data_ptr() == shared


def test_computed_positions_equal_those_of_transformers(loaded):
    theirs = loaded._model.model.encoder.embed_positions.weights.numpy()[2:]
    ours = embedded.positions(len(theirs), theirs.shape[1])
    assert abs(ours - theirs).max() < 1e-4


def test_token_ids_of_transformers_and_of_the_derived_vocabulary_are_the_same(loaded):
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor(model_file=str(embedded.FOLDER / embedded.SENTENCEPIECE))
    ids = {token: i for i, token in enumerate(embedded.vocabulary())}
    for row in (embedded.FOLDER.parent / "speech.tsv").read_text(encoding="utf-8").splitlines():
        text = row.split("\t")[2]
        tokens = ["eng_Latn", *pieces.encode(text, out_type=str), "</s>"]
        ours = [ids.get(token, ids["<unk>"]) for token in tokens]
        assert loaded._tokenizer(text)["input_ids"] == ours


def test_what_runs_is_read_back(loaded):
    effective = loaded.effective()
    assert effective["precision"] == "float32"
    assert effective["beam"] == 1
    assert effective["device"] == "cpu"
    assert effective["threads"] == 2
    assert effective["max_length"] == 256


def test_a_translation_cut_off_by_the_limit_says_so(loaded):
    (whole,) = loaded.translate("Tom turned pale.")
    limit = loaded._model.generation_config.max_length
    loaded._model.generation_config.max_length = whole.tokens
    try:
        (clause,) = loaded.translate("Tom turned pale.")
    finally:
        loaded._model.generation_config.max_length = limit
    assert clause.truncated


@pytest.mark.parametrize("text", ["word " * 400, "word " * 200_000])
def test_a_sentence_that_is_too_long_is_refused_in_words(loaded, text):
    with pytest.raises(EngineError, match="max_length"):
        list(loaded.translate(text))


@pytest.mark.parametrize("text", ["", "🎉", "</s> <pad> jpn_Jpan"])
def test_odd_input_is_translated_to_something(loaded, text):
    (clause,) = loaded.translate(text)
    assert clause.final


def test_bfloat16_with_beams_is_what_the_weights_are_in():
    pytest.importorskip("torch", reason="needs the extra torch")
    translator = engine(precision=Precision.bfloat16, beam=3)
    translator.load(Device("cpu", 2))
    assert translator.effective()["precision"] == "bfloat16"
    assert translator.effective()["beam"] == 3
    (clause,) = translator.translate("Tom turned pale.")
    assert clause.text
    translator.close()


@pytest.fixture(scope="module")
def int8():
    pytest.importorskip("torch", reason="needs the extra torch")
    translator = engine(precision=Precision.int8)
    translator.load(Device("cpu", 2))
    yield translator
    translator.close()


def test_int8_is_what_every_linear_layer_holds_and_multiplies(loaded, int8):
    """Not what was asked but what runs: the profiler sees each product of a translation."""
    from torch.profiler import profile

    exact, rounded = loaded.effective(), int8.effective()
    assert (exact["precision"], exact["scheme"]) == ("float32", None)
    assert rounded["precision"] == "int8"
    assert rounded["linears"] == {"int8": exact["linears"]["float32"]}
    assert "int8 activations" in rounded["scheme"]
    for translator, runs, does_not in (
        (loaded, "aten::linear", "aten::_int_mm"),
        (int8, "aten::_int_mm", "aten::linear"),
    ):
        with profile() as seen:
            list(translator.translate(LONG))
        calls = {event.key: event.count for event in seen.key_averages()}
        assert calls[runs] >= rounded["linears"]["int8"]
        assert does_not not in calls


def test_layers_left_in_float32_are_told_so_that_the_run_is_not_valid(int8):
    import torch

    layer = int8._model.model.encoder.layers[0]
    rounded, layer.fc1 = layer.fc1, torch.nn.Linear(2, 2)
    try:
        effective = int8.effective()
    finally:
        layer.fc1 = rounded
    assert effective["precision"] == "float32 and int8"
    assert effective["linears"]["float32"] == 1


@given(
    rows=st.integers(1, 40),
    inputs=st.integers(2, 70),
    outputs=st.integers(1, 50),
    magnitude=st.floats(1e-20, 1e20),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=50)
def test_an_int8_layer_is_as_near_as_rounding_to_127_steps_lets_it(
    rows, inputs, outputs, magnitude, bias, seed
):
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    from stt.translator.int8 import Int8Linear

    torch.manual_seed(seed)
    layer = torch.nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(2, rows, inputs) * magnitude
    with torch.inference_mode():
        exact, near = layer(x), Int8Linear(layer)(x)
    largest = x.abs().amax(-1, keepdim=True) * layer.weight.abs().amax(1)
    assert near.shape == exact.shape
    # Half a step of either factor, times the other, in each of the sums; the rest is float32's own
    # rounding, which alone counts beside a bias that is far larger than the product.
    limit = 1.2 * inputs * largest / 127 + 2 * torch.finfo(torch.float32).eps * exact.abs()
    assert ((near - exact).abs() <= limit).all()


def test_a_layer_of_one_input_stays_as_it_is_for_torch_multiplies_that_wrongly():
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    from stt.translator.int8 import linears, quantize

    model = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Linear(4, 2))
    quantize(model)
    assert linears(model)[0] == {"float32": 1, "int8": 1}


def test_an_int8_layer_of_zeros_says_zero():
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    from stt.translator.int8 import Int8Linear

    layer = torch.nn.Linear(8, 3, bias=False)
    layer.weight.data.zero_()
    assert not Int8Linear(layer)(torch.zeros(1, 8)).any()


def test_int8_runs_on_the_cpu_only_and_says_so_before_anything_is_loaded():
    for device in ("cuda", "mps"):
        with pytest.raises(UnsupportedDevice, match=f"device={device}: it supports cpu"):
            require(engine(precision=Precision.int8), Device(device, 1), "translator=it")
        require(engine(), Device(device, 1), "translator=it")


@pytest.mark.parametrize("fault", ["no oneDNN", "sums of 16 bits"])
def test_a_machine_that_cannot_multiply_int8_is_refused_in_words(monkeypatch, fault):
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    if fault == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:
        stops = torch.iinfo(torch.int16).max
        real = torch._int_mm
        monkeypatch.setattr(torch, "_int_mm", lambda a, b: real(a, b).clamp(-stops, stops))
    with pytest.raises(EngineUnavailable, match=r"precision=int8: .*Choose .*precision=float32"):
        engine(precision=Precision.int8).load(Device("cpu", 1))


def test_compiling_calls_the_model_in_load_and_says_so(loaded, monkeypatch):
    import torch

    assert loaded.effective()["used_in_load"] is None
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    translator = engine(compile=Compile.default)
    translator.load(Device("cpu", 2))
    assert "compile" in translator.effective()["used_in_load"]
    translator.close()


def test_a_hub_model_that_is_not_here_says_at_once_what_to_run_or_choose(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the extra torch")
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()
    with pytest.raises(EngineUnavailable, match=r"hf download nobody/none .*translator=embedded"):
        engine(model="nobody/none").load(Device("cpu", 1))
    assert time.perf_counter() - start < 30


def test_without_torch_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable, match=r"pip install -c constraints.txt -e '\.\[torch\]'"):
        load(engine(), Device("cpu", 1))


def test_a_device_that_is_not_here_is_refused():
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    if torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    with pytest.raises(UnsupportedDevice, match="mps"):
        engine().load(Device("mps", 1))


def test_the_fields_are_a_schema_that_omegaconf_understands():
    values = {"precision": "bfloat16", "compile": "none"}
    merged = OmegaConf.merge(OmegaConf.structured(Transformers), values)
    assert merged.precision is Precision.bfloat16
    assert merged.compile is Compile.none
