"""Every way of running the packaged model says the same, and every translator's YAML builds."""

from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from stt import quality
from stt.config import build, config_dir
from stt.device import Device
from stt.embedded import FOLDER
from stt.engine import Translator

SPEECH = FOLDER.parent / "speech.tsv"
ROWS = [line.split("\t") for line in SPEECH.read_text(encoding="utf-8").splitlines()]
MINE = [
    "echo",
    "embedded",
    "embedded_fp32_beam3",
    "embedded_hf",
    "embedded_hf_bf16",
    "embedded_hf_fp32_beam3",
    "embedded_onnx",
    "nllb600m_bf16",
    "nllb600m_fp32",
    "nllb600m_onnx",
]


def make(name, **changes):
    node = OmegaConf.load(config_dir() / "translator" / f"{name}.yaml")
    language = {"source": "eng_Latn", "target": "jpn_Jpan"}
    root = OmegaConf.create({"language": language, "translator": OmegaConf.merge(node, changes)})
    return build(root.translator, f"translator={name}")


def translations(name, rows, **changes):
    translator = make(name, **changes)
    translator.load(Device("cpu", 2))
    said = [[*translator.translate(row[2])] for row in rows]
    translator.close()
    return ["".join(clause.text for clause in clauses) for clauses in said]


@pytest.mark.parametrize("name", MINE)
def test_the_yaml_builds_its_engine_with_the_languages_of_the_configuration(name):
    translator = make(name)
    assert isinstance(translator, Translator)
    assert getattr(translator, "target_language", "jpn_Jpan") == "jpn_Jpan"
    keys = OmegaConf.load(config_dir() / "translator" / f"{name}.yaml").keys()
    assert set(keys) == {"_target_", *(field.name for field in fields(translator))}


def test_echo_says_the_source_itself():
    (clause,) = make("echo").translate("Hello, world.")
    assert (clause.text, clause.final) == ("Hello, world.", True)


@pytest.mark.engine
def test_int8_on_ctranslate2_is_as_good_as_float32_on_transformers():
    pytest.importorskip("torch", reason="needs the extra torch")
    references = [row[3] for row in ROWS]
    ours, exact = translations("embedded", ROWS), translations("embedded_hf", ROWS)
    for score in (quality.chrf, quality.bleu):
        assert abs(score(ours, references) - score(exact, references)) <= 0.5
    # Rounding activations to int8 changes a word here and there, not the model.
    assert sum(a == b for a, b in zip(ours, exact, strict=True)) >= 0.75 * len(ROWS)


@pytest.mark.engine
def test_float32_on_ctranslate2_says_what_float32_on_transformers_says():
    pytest.importorskip("torch", reason="needs the extra torch")
    rows = ROWS[::4]
    ours = translations("embedded", rows, precision="float32")
    exact = translations("embedded_hf", rows)
    assert sum(a == b for a, b in zip(ours, exact, strict=True)) >= len(rows) - 1


@pytest.mark.engine
def test_float32_on_onnx_runtime_says_what_float32_on_transformers_says():
    pytest.importorskip("torch", reason="needs the extra torch")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    rows = ROWS[::4]
    ours = translations("embedded_onnx", rows, precision="float32")
    exact = translations("embedded_hf", rows)
    assert sum(a == b for a, b in zip(ours, exact, strict=True)) >= len(rows) - 1


@pytest.mark.engine
def test_int8_on_onnx_runtime_is_as_good_as_on_ctranslate2():
    pytest.importorskip("onnx", reason="needs the extra onnx")
    references = [row[3] for row in ROWS]
    ours, theirs = translations("embedded_onnx", ROWS), translations("embedded", ROWS)
    for score in (quality.chrf, quality.bleu):
        assert abs(score(ours, references) - score(theirs, references)) <= 0.5
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 0.75 * len(ROWS)


@pytest.mark.engine
def test_no_translation_of_the_corpus_is_called_degenerate():
    said = translations("embedded", ROWS)
    blamed = [
        (row[2], text, quality.degeneration(row[2], text))
        for row, text in zip(ROWS, said, strict=True)
    ]
    assert [found for found in blamed if found[2]] == []


RUN_ON = (
    "she is likely to come it also doesn't talk about how to export items he sat in front of me "
    "does it synchronize with that external system the string that will be trimmed does it snow a "
    "lot in the winter i'm taking a walk in a park initialize an exporter and processor i'm glad "
    "you're OK use the reducer from your component i like spring the best my watch is more "
    "accurate than yours i'll call you up later tom's proposal is worth considering could you "
    "please speak a little bit more slowly the name of the field used with to free buffers used "
    "well I must be going he has been to the station to see her off if Tom comes please let me "
    "know"
)
"""Sentences of the packaged corpus without their ends, as a transcript has them."""


@pytest.mark.parametrize("segment", ["sentence", "clause"])
def test_text_without_punctuation_is_cut_where_the_model_still_finishes_it(segment):
    segmenter = build(OmegaConf.load(config_dir() / "segment" / f"{segment}.yaml"), segment)
    translator = make("embedded")
    translator.load(Device("cpu", 2))
    pieces = segmenter.push(RUN_ON) + segmenter.flush()
    clauses = [clause for piece in pieces for clause in translator.translate(piece.text)]
    translator.close()
    assert not any(clause.truncated for clause in clauses)
