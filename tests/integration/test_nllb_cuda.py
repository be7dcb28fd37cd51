"""The Triton kernels and the engine on a CUDA device, on the packaged checkpoint."""

import gc
import math

import pytest

from stt import embedded
from stt.device import Device
from stt.errors import EngineError, EngineUnavailable

torch = pytest.importorskip("torch", reason="the hand-written decoder needs torch")
transformers = pytest.importorskip("transformers", reason="the engine reads its tokenizer")

from stt.nllb import decode, model, weights  # noqa: E402
from stt.translator.cuda import Kernels, NllbCuda, Precision  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device in this machine"),
]
FOLDER = embedded.FOLDER
TEXT = "When we started out, there were things we didn't know."


@pytest.fixture(scope="module")
def sources():
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER, src_lang="eng_Latn")
    lines = (FOLDER.parent / "speech.tsv").read_text(encoding="utf-8").splitlines()[::4]
    return [tokenizer(line.split("\t")[2])["input_ids"] for line in lines]


def decoder(beam, kernels, dtype=torch.float32, int8=False, tokens=255, device="cuda"):
    pack = pytest.importorskip("stt.nllb.pack", reason="Triton is not installed")
    wide = torch.float32 if int8 else dtype
    loaded = weights.read(FOLDER, dtype, wide, device)
    state = model.State(loaded, beam, tokens, dtype)
    step = None
    if kernels != "torch":
        tiling = pack.Tiling(checked=kernels != "fences")  # the other way to wait, see layers.py
        step = pack.Kernels(loaded, state, int8, kernels != "fused", tiling)
    return decode.Decoder(loaded, state, step, graph=True)


def translated(ours, sources, beam):
    language = 12287
    return [
        list(ours.greedy(s, language)) if beam == 1 else ours.beam(s, language) for s in sources
    ]


@pytest.mark.parametrize(
    ("kernels", "beam"),
    [*((k, n) for k in ("persistent", "fences") for n in range(1, 6)), ("fused", 1), ("fused", 4)],
)
def test_triton_tokens_equal_those_of_the_torch_step_exactly(sources, kernels, beam):
    some = sources if beam in (1, 4) else sources[:10]
    exact = translated(decoder(beam, "torch", device="cpu"), some, beam)
    assert translated(decoder(beam, kernels), some, beam) == exact


def test_a_long_sentence_reads_more_than_one_block_of_the_caches(sources):
    long = [
        [token for source in sources[i : i + 12] for token in source[:-1]][:200] for i in (0, 9)
    ]
    exact = translated(decoder(1, "torch", device="cpu"), long, 1)
    assert translated(decoder(1, "persistent"), long, 1) == exact


@pytest.mark.parametrize("int8", [False, True])
def test_results_do_not_change_from_run_to_run(sources, int8):
    ours = decoder(1, "persistent", torch.bfloat16, int8)
    assert translated(ours, sources, 1) == translated(ours, sources, 1)


def engine(**changes):
    chosen = {
        "model": "embedded", "revision": None, "precision": Precision.bfloat16,
        "kernels": Kernels.auto, "graph": True, "vocabulary": "full", "beam": 1,
        "max_length": 64, "min_clause_chars": 1, "source_language": "eng_Latn",
        "target_language": "jpn_Jpan",
    }  # fmt: skip
    return NllbCuda(**{**chosen, **changes})


def spoken(translator):
    return "".join(clause.text for clause in translator.translate(TEXT))


@pytest.mark.parametrize("kernels", list(Kernels))
def test_clauses_stream_and_every_kind_of_step_says_what_ran(kernels):
    translator = engine(kernels=kernels, precision=Precision.float32)
    translator.load(Device("cuda", 1))
    ran = translator.effective()
    assert ran["graph"] is True
    assert ran["step"] == ("persistent" if kernels == Kernels.auto else kernels.value)
    clauses = list(translator.translate(TEXT))
    assert len(clauses) > 1
    assert [clause.final for clause in clauses] == [False] * (len(clauses) - 1) + [True]
    assert spoken(translator) == "".join(clause.text for clause in clauses)
    translator.close()


def test_a_sentence_longer_than_the_cache_is_an_error_and_the_next_one_is_fine():
    translator = engine()
    translator.load(Device("cuda", 1))
    with pytest.raises(EngineError, match="max_length"):
        list(translator.translate("word " * 100))
    assert spoken(translator)


def nan_costs_one_sentence(translator, weight):
    before = spoken(translator)
    whole = weight.clone()
    weight[0] = math.nan
    with pytest.raises(EngineError, match="not finite"):
        list(translator.translate(TEXT))
    weight.copy_(whole)
    assert spoken(translator) == before


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kernels", [Kernels.persistent, Kernels.torch])
def test_logits_that_are_not_finite_are_an_error_and_the_next_sentence_is_fine(kernels, beam):
    translator = engine(kernels=kernels, beam=beam)
    translator.load(Device("cuda", 1))
    step = translator._decoder.kernels
    norm = step.norm if step else translator._decoder.weights.decoder_norm.gain
    nan_costs_one_sentence(translator, norm)


@pytest.mark.parametrize("beam", [1, 4])
def test_a_layer_that_gives_nan_does_not_make_the_programs_wait_for_ever(beam):
    translator = engine(kernels=Kernels.persistent, beam=beam)
    translator.load(Device("cuda", 1))
    nan_costs_one_sentence(translator, translator._decoder.kernels.vectors)


def test_too_little_memory_is_said_and_a_smaller_model_still_loads():
    free = torch.cuda.mem_get_info()[0] / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(free, 0.02))
    try:
        with pytest.raises(EngineUnavailable, match="memory"):
            engine(model="random-3.3B").load(Device("cuda", 1))
        gc.collect()
        torch.cuda.empty_cache()
        translator = engine()
        translator.load(Device("cuda", 1))
        assert spoken(translator)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
