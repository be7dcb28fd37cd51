"""The hand-written decoder against transformers and float64, on the packaged checkpoint."""

import math

import pytest

from stt import embedded
from stt.device import Device
from stt.errors import ConfigError, EngineError, EngineUnavailable, UnsupportedDevice

torch = pytest.importorskip("torch", reason="the hand-written decoder needs torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")

from stt.nllb import decode, model, weights  # noqa: E402
from stt.translator.cuda import Kernels, NllbCuda, Precision  # noqa: E402

pytestmark = pytest.mark.engine
FOLDER = embedded.FOLDER
SPEECH = FOLDER.parent / "speech.tsv"


@pytest.fixture(scope="module")
def reference():
    state = {k: torch.from_numpy(v) for k, v in embedded.dequantized(embedded.tensors()).items()}
    config = transformers.AutoConfig.from_pretrained(FOLDER)
    hf = transformers.M2M100ForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32
    )
    return hf.eval()


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER, src_lang="eng_Latn")


def sources(tokenizer, every):
    lines = SPEECH.read_text(encoding="utf-8").splitlines()[::every]
    return [tokenizer(line.split("\t")[2])["input_ids"] for line in lines]


def decoder(beam=1, dtype=torch.float32, tokens=255, device="cpu"):
    loaded = weights.read(FOLDER, dtype, dtype, device)
    return decode.Decoder(loaded, model.State(loaded, beam, tokens, dtype), None, graph=True)


def generated(hf, source, language, beam):
    with torch.inference_mode():
        found = hf.generate(
            torch.tensor([source]),
            forced_bos_token_id=language,
            max_length=256,
            num_beams=beam,
            do_sample=False,
        )
    return found[0].tolist()[1:]


@pytest.mark.parametrize(("beam", "every"), [(1, 2), (2, 20), (4, 10)])
def test_tokens_equal_those_of_transformers_exactly(reference, tokenizer, beam, every):
    language = tokenizer.convert_tokens_to_ids("jpn_Jpan")
    ours = decoder(beam)
    for source in sources(tokenizer, every):
        found = ours.greedy(source, language) if beam == 1 else ours.beam(source, language)
        assert list(found) == generated(reference, source, language, beam)


def test_bf16_agreement_is_high_and_printed(tokenizer, capsys):
    language = tokenizer.convert_tokens_to_ids("jpn_Jpan")
    exact, rounded = decoder(), decoder(dtype=torch.bfloat16)
    some = sources(tokenizer, 10)
    same = sum(
        list(exact.greedy(source, language)) == list(rounded.greedy(source, language))
        for source in some
    )
    with capsys.disabled():
        print(f"\nbf16 sentences equal to fp32: {same} of {len(some)}")
    assert same >= 0.75 * len(some)


def test_logits_are_those_of_float64():
    logits = []
    for dtype in (torch.float64, torch.float32):
        ours = decoder(dtype=dtype, tokens=32)
        next(iter(ours.records([40, 50, 60, 2], 12287)))
        with torch.inference_mode():
            model.layers(ours.weights, ours.state, 16, 16)
        logits.append(ours.state.logits.double())
    assert (logits[0] - logits[1]).norm() < 1e-5 * logits[0].norm()


def test_a_trimmed_vocabulary_is_exact_where_it_holds_the_best_token(tokenizer):
    language = tokenizer.convert_tokens_to_ids("jpn_Jpan")
    source = sources(tokenizer, 50)[0]
    full = list(decoder().greedy(source, language))
    loaded = weights.read(FOLDER, torch.float32, torch.float32, "cpu")
    weights.trim(loaded, torch.tensor(sorted({*full, *range(5000)})))
    trimmed = decode.Decoder(loaded, model.State(loaded, 1, 255, torch.float32), None, graph=False)
    assert list(trimmed.greedy(source, language)) == full


def test_a_damaged_weight_is_an_error_of_the_sentence_and_the_next_one_is_fine(tokenizer):
    language = tokenizer.convert_tokens_to_ids("jpn_Jpan")
    ours = decoder(tokens=32)
    gain = ours.weights.decoder_norm.gain
    whole = gain.clone()
    gain[0] = math.nan
    with pytest.raises(EngineError, match="not finite"):
        list(ours.greedy([40, 2], language))
    gain.copy_(whole)
    assert list(ours.greedy([40, 2], language))


def engine(**changes):
    chosen = {
        "model": "embedded", "revision": None, "precision": Precision.float32,
        "kernels": Kernels.auto, "graph": None, "vocabulary": "full", "beam": 1,
        "max_length": 256, "min_clause_chars": 1, "source_language": "eng_Latn",
        "target_language": "jpn_Jpan",
    }  # fmt: skip
    return NllbCuda(**{**chosen, **changes})


def test_clauses_stream_and_join_to_the_whole_translation():
    translator = engine(max_length=64)
    translator.load(Device("cpu", 1))
    text = "When we started out, there were things we didn't know."
    clauses = list(translator.translate(text))
    assert len(clauses) > 1
    assert [clause.final for clause in clauses] == [False] * (len(clauses) - 1) + [True]
    with pytest.raises(EngineError, match="max_length"):
        list(translator.translate("word " * 100))
    assert "".join(clause.text for clause in translator.translate(text)) == "".join(
        clause.text for clause in clauses
    )
    translator.close()


def test_triton_kernels_on_a_cpu_are_refused():
    with pytest.raises(UnsupportedDevice, match="device=cuda"):
        engine(kernels=Kernels.fused).load(Device("cpu", 1))


def test_another_architecture_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(EngineUnavailable, match="t5"):
        engine(model=str(tmp_path)).load(Device("cpu", 1))


def test_a_checkpoint_without_its_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_bytes((FOLDER / "config.json").read_bytes())
    with pytest.raises(EngineUnavailable, match="tokenizer"):
        engine(model=str(tmp_path)).load(Device("cpu", 1))


def test_graphs_are_for_a_gpu_and_what_runs_is_said():
    with pytest.raises(UnsupportedDevice, match="graph"):
        engine(graph=True).load(Device("cpu", 1))
    translator = engine(max_length=32)
    translator.load(Device("cpu", 1))
    assert translator.effective()["graph"] is False


def test_random_weights_are_labelled_and_never_judged(monkeypatch):
    shape = weights.Shape(128, 4, 256, 1, 1, 20000)
    monkeypatch.setitem(weights.SHAPES, "tiny", shape)
    translator = engine(model="random-tiny", max_length=32)
    translator.load(Device("cpu", 1))
    assert "random" in translator.effective()["weights"]
    assert not translator.translates
    clauses = list(translator.translate("We speak as long as the source is."))
    assert clauses[-1].final and not clauses[-1].truncated
    assert sum(clause.tokens for clause in clauses) == clauses[-1].source_tokens
    with pytest.raises(ConfigError, match="random-600M"):
        engine(model="random-7B").load(Device("cpu", 1))


def test_a_vocabulary_file_of_another_model_is_refused(tmp_path, tokenizer):
    file = tmp_path / "tokens.txt"
    file.write_text("\n".join(tokenizer.convert_ids_to_tokens(range(5, 300))), encoding="utf-8")
    translator = engine(vocabulary=str(file), max_length=32)
    translator.load(Device("cpu", 1))
    assert translator.effective()["output_rows"] == 297
    file.write_text("no-such-token-anywhere", encoding="utf-8")
    with pytest.raises(ConfigError, match="no-such-token"):
        engine(vocabulary=str(file)).load(Device("cpu", 1))
