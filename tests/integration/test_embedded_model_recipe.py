"""The recipe of the embedded model, run small on a CPU: it learns, resumes, keeps held-out sentences out and exports."""

import importlib
import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

RECIPE = Path(__file__).parents[2] / "experiments" / "embedded_model"
MODULES = ("export", "corpus", "model", "batches", "train", "decode", "evaluate")
PIECES = 400


@pytest.fixture(scope="module")
def recipe():
    """The recipe's modules, which import each other by bare name as its commands do."""
    for package in ("torch", "sentencepiece", "safetensors", "sacrebleu"):
        pytest.importorskip(package, reason=f"the recipe needs {package}")
    sys.path.insert(0, str(RECIPE))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    sys.path.remove(str(RECIPE))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pairs(recipe):
    """200 pairs: five people, five times, eight deeds."""
    people = {
        "Ken": "健",
        "Mary": "メアリー",
        "the teacher": "先生",
        "my sister": "妹",
        "Tom": "トム",
    }
    times = {
        "today": "今日",
        "yesterday": "昨日",
        "every day": "毎日",
        "tomorrow": "明日",
        "now": "今",
    }
    deeds = {"reads a book": "本を読む", "drinks water": "水を飲む", "goes home": "家に帰る", "sings a song": "歌を歌う",
             "opens the door": "ドアを開ける", "eats fish": "魚を食べる", "writes a letter": "手紙を書く", "buys a car": "車を買う"}  # fmt: skip
    return [
        recipe.corpus.Pair(f"{who} {deed} {when}.", f"{whom}は{then}{does}。", "tatoeba")
        for (who, whom), (when, then), (deed, does) in itertools.product(
            people.items(), times.items(), deeds.items()
        )
    ]


@pytest.fixture(scope="module")
def run(recipe, pairs, tmp_path_factory):
    """A tiny model trained on the pairs in two calls, with the losses logged."""
    import torch

    work = tmp_path_factory.mktemp("recipe")
    spm = work / "sentencepiece.bpe.model"
    recipe.corpus.train_tokenizer(pairs, spm, pieces=PIECES, threads=1)
    recipe.batches.encode(pairs, spm, work / "pairs.npz", variants=2)
    losses, threads = [], torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(1)
    for seconds in (8, 16):
        args = recipe.train.parse([
            "--pairs", str(work / "pairs.npz"), "--run", str(work), "--shape", "2-1-128-256", "--vocabulary", str(PIECES + 4),
            "--dropout", "0", "--tokens", "1280", "--lr", "2e-3", "--warmup", "30", "--horizon", "40", "--smoothing", "0", "--log", "10",
            "--everyday", "1", "--seconds", "16", "--call", str(seconds - (8 if losses else 0)), "--device", "cpu",
        ])  # fmt: skip
        shape = recipe.model.Shape.parse(args.shape, vocabulary=args.vocabulary, dropout=0.0)
        training = recipe.train.Run(shape, args.run, "cpu", args.lr)
        if training.checkpoint.exists():
            training.resume()
        losses.append(recipe.train.train(training, recipe.batches.Pairs(args.pairs), args))
        training.save()
    torch.set_num_threads(threads)
    return SimpleNamespace(path=work, losses=losses, steps=training.step, spent_s=training.spent_s)


def test_training_lowers_the_loss_and_resumes_where_it_stopped(run):
    first, second = run.losses
    assert first[-1] < 0.7 * first[0]
    assert second[0] < first[0]
    progress = json.loads((run.path / "training.json").read_text())
    assert progress["step"] == run.steps > 10 * len(first)
    assert 15 < progress["spent_s"] < 20


def test_the_exported_int8_model_reproduces_the_pairs_it_was_trained_on(recipe, run, pairs):
    out = run.path / "shipped"
    recipe.export.export(run.path, out, "int8", "test")
    translations = recipe.evaluate.translate_torch(out, [p.english for p in pairs], beam=1)
    right = sum(pair.japanese == text for pair, text in zip(pairs, translations, strict=True))
    assert right >= 180


def test_exported_rows_use_the_whole_int8_range_and_rebuild_the_weights(recipe, run):
    import numpy as np
    from safetensors import safe_open

    recipe.export.export(run.path, run.path / "int8", "int8", "test")
    weights = recipe.export.load_state(run.path / "model.safetensors")
    with safe_open(run.path / "int8" / "model.safetensors", "np") as stored:
        assert stored.metadata() == {"format": "stt-int8-row", "source": "test"}
        for name, weight in weights.items():
            tensor = stored.get_tensor(name)
            if weight.ndim == 2:
                scale = stored.get_tensor(f"{name}_scale")
                assert tensor.dtype == np.int8
                assert (np.abs(tensor.astype(int)).max(axis=1) == 127).all()
                assert (np.abs(tensor * scale[:, None] - weight) <= 0.51 * scale[:, None]).all()


def test_a_repeat_of_a_held_out_sentence_is_found(recipe):
    pair = recipe.corpus.Pair
    held = recipe.corpus.Held(
        [
            pair(
                "Where did you put the old red bicycle?",
                "古い赤い自転車をどこに置いたの?",
                "tatoeba",
            )
        ]
    )
    assert held.overlap(pair("where did you put the old red bicycle", "x", "t")) == "english"
    assert held.overlap(pair("Unrelated.", "古い赤い自転車をどこに置いたの", "t")) == "japanese"
    assert held.overlap(pair("So where did you put the old red bicycle?", "x", "t")) == "near"
    assert held.overlap(pair("Where is the new blue car parked today?", "y", "t")) is None


def test_loops_empty_output_and_the_wrong_script_count_as_degenerate(recipe):
    degenerate = recipe.evaluate.degenerate
    assert degenerate("Good morning.", "おはようございます。") is None
    assert degenerate("Good morning.", " ") == "empty"
    assert degenerate("Good morning.", "はいはいはいはいはいはい") == "loop"
    assert degenerate("this is not translated at all", "this was left in English") == "script"
