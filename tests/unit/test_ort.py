"""ONNX Runtime over the packaged model: the graphs say what the other engines say, and what runs is told."""

import copy
import json
import shutil
import sys
import time

import numpy as np
import pytest
from omegaconf import OmegaConf

from stt import embedded
from stt.device import Device
from stt.engine import load
from stt.errors import ConfigError, EngineError, EngineUnavailable, UnsupportedDevice
from stt.translator.ct2 import CTranslate2
from stt.translator.ort import OnnxRuntime, Precision

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytestmark = pytest.mark.engine
LONG = "If it rains tomorrow, the game will be cancelled, so please check the website."
LOOPS = "a b c d " * 25
ROWS = (embedded.FOLDER.parent / "speech.tsv").read_text(encoding="utf-8").splitlines()
TEXTS = [row.split("\t")[2] for row in ROWS]


def engine(kind=OnnxRuntime, **changes):
    values = {
        "model": "embedded",
        "precision": Precision.float32,
        "max_length": 256,
        "threads": 1,
        "min_clause_chars": 1,
        "source_language": "eng_Latn",
        "target_language": "jpn_Jpan",
    }
    beam = {"beam": 1} if kind is CTranslate2 else {}
    translator = kind(**{**values, **beam, **changes})
    translator.load(Device("cpu", 2))
    return translator


@pytest.fixture(scope="module")
def loaded():
    translator = engine()
    yield translator
    translator.close()


@pytest.fixture(scope="module")
def int8():
    translator = engine(precision=Precision.int8)
    yield translator
    translator.close()


def said(clauses):
    return "".join(clause.text for clause in clauses)


@pytest.mark.parametrize("max_length", [12, 256])
def test_float32_says_clause_by_clause_what_ctranslate2_says_to_the_limit_and_in_loops(max_length):
    ours, theirs = (engine(kind, max_length=max_length) for kind in (OnnxRuntime, CTranslate2))
    texts = [t for t in TEXTS if len(theirs._pieces.encode(t)) + 2 <= max_length][::4]
    texts += [LOOPS, LONG, "It costs $250,000.", "Go, go, go, go."] if max_length == 256 else []
    pairs = [([*ours.translate(text)], [*theirs.translate(text)]) for text in texts]
    assert sum(mine == other for mine, other in pairs) >= len(texts) - 1  # rounding
    assert any(len(mine) > 1 for mine, _ in pairs)
    assert any(mine[-1].truncated for mine, _ in pairs)
    ours.close(), theirs.close()


def test_the_loop_of_the_test_above_is_one(loaded):
    source = loaded._pieces.encode(LOOPS, out_type=str)
    looping = loaded._decode(["eng_Latn", *source, "</s>"], lambda _: False, [], [])
    assert said(loaded.translate(LOOPS)) != loaded._pieces.decode(looping[:-1])


def test_int8_is_the_same_model(int8, loaded):
    texts = TEXTS[::5]
    same = sum(said(int8.translate(t)) == said(loaded.translate(t)) for t in texts)
    assert same >= 0.75 * len(texts)


def test_tokens_that_are_given_are_not_computed_again_one_by_one(loaded):
    source = ["eng_Latn", *loaded._pieces.encode(LONG, out_type=str), "</s>"]
    told = []
    whole = loaded._decode(source, lambda _: False, [], [])
    again = loaded._decode(source, told.append, whole[:6], [])
    assert again == whole == told


def test_a_sequence_that_is_forbidden_does_not_come(loaded):
    source = ["eng_Latn", *loaded._pieces.encode(LONG, out_type=str), "</s>"]
    whole = loaded._decode(source, lambda _: False, [], [])
    other = loaded._decode(source, lambda _: False, [], [whole[2:4]])
    assert other[:3] == whole[:3]
    assert other[3] != whole[3]


def test_the_graphs_are_valid_onnx_and_have_no_row_for_what_is_never_produced(loaded):
    from stt.onnx import build

    rows = loaded._runner._decoder.get_outputs()[-1].shape[-1]
    shape = embedded.config()
    assert rows == shape["vocab_size"] - len(shape["never_produced"])
    for graph in build.graphs(embedded.tensors(), shape, list(range(10)), int8=True):
        onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


def test_a_step_copies_the_cache_nowhere_but_to_its_next_place(loaded):
    from stt.onnx import build

    _, decoder = build.graphs(embedded.tensors(), embedded.config(), list(range(10)), int8=True)
    graph = onnx.load_from_string(decoder).graph
    makes = {output: node.op_type for node in graph.node for output in node.output}
    caches = [o.name for o in graph.output if o.name.startswith("present.")]
    assert len(caches) == 2 * embedded.config()["decoder_layers"]
    assert {makes[name] for name in caches} == {"Concat"}


@pytest.mark.parametrize("precision", Precision)
def test_what_runs_is_read_back(loaded, int8, precision):
    effective = {Precision.float32: loaded, Precision.int8: int8}[precision].effective()
    assert effective["precision"] == precision.value
    assert effective["providers"] == ["CPUExecutionProvider"]
    assert (effective["threads"], effective["device"], effective["beam"]) == (1, "cpu", 1)
    assert all(set(runs) == {"CPUExecutionProvider"} for runs in effective["products"].values())
    assert {len(sha) for sha in effective["graphs"].values()} == {64}
    assert effective["sha256"] == embedded.sha256(embedded.FOLDER / "model.safetensors")


def test_decoding_goes_on_while_the_caller_speaks(int8):
    stream = int8.translate(LONG)
    next(stream)
    time.sleep(0.5)
    began = time.perf_counter()
    assert list(stream)[-1].final
    assert time.perf_counter() - began < 0.2


def test_a_caller_that_walks_away_does_not_disturb_the_next_sentence(loaded):
    expected = said(loaded.translate(LONG))
    stream = loaded.translate("First of all, we wait, then we go, and at last, we come back.")
    next(stream)
    stream.close()
    assert said(loaded.translate(LONG)) == expected


@pytest.mark.parametrize("text", ["word " * 400, "don’t " * 200_000])
def test_a_sentence_that_is_too_long_is_refused_in_words(loaded, text):
    with pytest.raises(EngineError, match="max_length"):
        list(loaded.translate(text))


@pytest.mark.parametrize("text", ["", " ", "🎉", "</s> <pad> jpn_Jpan", "…", "x" * 200])
def test_odd_input_is_translated_to_something(loaded, text):
    assert list(loaded.translate(text))[-1].final


def test_the_cpu_rests_when_nothing_is_translated():
    translator = engine(threads=2)
    list(translator.translate(LONG))
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05
    translator.close()


def test_values_that_are_not_finite_are_an_error_and_no_token(loaded):
    with pytest.raises(EngineError, match="not finite"):
        loaded._best(np.full(len(loaded._produced), np.nan, "float32"), [], [])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"target_language": "fra_Latn"}, r"fra_Latn.*jpn_Jpan"),
        ({"max_length": 5000}, "positions"),
        ({"threads": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, match):
    with pytest.raises(ConfigError, match=match):
        engine(**changes)


@pytest.mark.parametrize("device", ["cuda", "coreml"])
def test_a_provider_that_is_not_here_is_refused(device):
    from stt.onnx.run import PROVIDERS

    if PROVIDERS[device][0] in onnxruntime.get_available_providers():
        pytest.skip(f"this machine has {device}")
    with pytest.raises(UnsupportedDevice, match=f"device={device}.*Choose device=cpu"):
        OnnxRuntime("embedded", Precision.int8, 256, 1, 1, "eng_Latn", "jpn_Jpan").load(
            Device(device, 1)
        )


def test_a_provider_that_leaves_the_work_to_the_cpu_is_found(monkeypatch):
    from stt.onnx import run

    idle = "AzureExecutionProvider"  # takes operators of Azure's only
    if idle not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {idle}")
    monkeypatch.setitem(run.PROVIDERS, "cuda", (idle, {}))
    with pytest.raises(UnsupportedDevice, match="takes 0 of the 38 matrix products"):
        OnnxRuntime("embedded", Precision.float32, 256, 1, 1, "eng_Latn", "jpn_Jpan").load(
            Device("cuda", 1)
        )


def test_without_the_extra_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    translator = OnnxRuntime("embedded", Precision.int8, 256, 1, 1, "eng_Latn", "jpn_Jpan")
    with pytest.raises(EngineUnavailable, match=r"pip install -c constraints.txt -e '\.\[onnx\]'"):
        load(translator, Device("cpu", 1))


def test_a_folder_without_graphs_says_which_and_how_to_make_them(tmp_path):
    (tmp_path / "encoder_model_fp16.onnx").touch()
    with pytest.raises(EngineUnavailable, match=r"encoder_model.onnx.*_fp16.*optimum-cli export"):
        engine(model=str(tmp_path))


def test_an_exported_model_in_a_folder_is_used_like_the_packaged_one(tmp_path, loaded):
    graphs = exported()
    (tmp_path / "onnx").mkdir()
    for name, graph in zip(("encoder_model", "decoder_model_merged"), graphs, strict=True):
        onnx.save(graph, tmp_path / "onnx" / f"{name}.onnx")
    tokens = embedded.vocabulary()
    learned, added = tokens[:-2], tokens[-2:]
    tokenizer = {
        "model": {"vocab": {token: i for i, token in enumerate(learned)}},
        "added_tokens": [{"content": t, "id": len(learned) + i} for i, t in enumerate(added)],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    for name in ("config.json", embedded.SENTENCEPIECE):
        shutil.copy(embedded.FOLDER / name, tmp_path)
    translator = engine(model=str(tmp_path))
    for text in (LONG, LOOPS, *TEXTS[::40]):
        assert said(translator.translate(text)) == said(loaded.translate(text))
    assert translator.effective()["precision"] == "float32"
    assert translator.effective()["sha256"] is None
    translator.close()


def exported():
    """Our graphs in the form of Optimum's: hidden states, masks, a branch for the first step, all rows."""
    from onnx import helper

    from stt.onnx import build

    shape = embedded.config()
    layout = embedded.tensors(), shape, list(range(shape["vocab_size"])), False
    encoder, decoder = map(onnx.load_from_string, build.graphs(*layout))
    present = [value.name for value in encoder.graph.output]
    past = [name.replace("present", "past_key_values") for name in present]

    def described(kind, *names):
        kind = getattr(onnx.TensorProto, kind)
        return [helper.make_tensor_value_info(name, kind, None) for name in names]

    def renamed(nodes, name):
        for node in nodes:
            node.input[:] = map(name, node.input)
            node.output[:] = map(name, node.output)
        return nodes

    # What the encoder does behind its last norm becomes the decoder's branch of the first step.
    nodes = list(encoder.graph.node)
    cut = max(i for i, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    hidden = nodes[cut].output[0]
    del encoder.graph.node[cut + 1 :], encoder.graph.output[:]
    renamed(encoder.graph.node, lambda v: "last_hidden_state" if v == hidden else v)
    encoder.graph.input.extend(described("INT64", "attention_mask"))
    encoder.graph.output.extend(described("FLOAT", "last_hidden_state"))
    crossing = renamed(
        nodes[cut + 1 :], lambda v: "encoder_hidden_states" if v == hidden else f"x{v}"
    )
    used = {value for node in crossing for value in node.input}
    held = [copy.deepcopy(c) for c in encoder.graph.initializer if f"x{c.name}" in used]
    for constant in held:
        constant.name = f"x{constant.name}"
    copies = [helper.make_node("Identity", [p], [f"y{p}"]) for p in past]
    first = described("FLOAT", *(f"x{name}" for name in present))
    later = described("FLOAT", *(f"y{name}" for name in past))
    branch = helper.make_node(
        "If",
        ["use_cache_branch"],
        present,
        then_branch=helper.make_graph(copies, "later", [], later),
        else_branch=helper.make_graph(crossing, "first", [], first, held),
    )
    graph = decoder.graph
    renamed(graph.node, lambda v: present[past.index(v)] if v in past else v)
    graph.node.insert(0, branch)
    graph.output.extend(described("FLOAT", *present))
    graph.input.extend(described("INT64", "encoder_attention_mask"))
    graph.input.extend(described("FLOAT", "encoder_hidden_states"))
    graph.input.extend(described("BOOL", "use_cache_branch"))
    return encoder, decoder


def test_the_fields_are_a_schema_that_omegaconf_understands():
    merged = OmegaConf.merge(OmegaConf.structured(OnnxRuntime), {"precision": "int8"})
    assert merged.precision is Precision.int8


def test_close_may_be_called_twice_and_a_closed_translator_says_so():
    translator = engine()
    translator.close()
    translator.close()
    with pytest.raises(EngineError, match="closed"):
        list(translator.translate(LONG))
