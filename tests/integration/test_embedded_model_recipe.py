"""The recipe of the embedded model, run small on a CPU: it learns, resumes, keeps held-out sentences out and exports."""

import copy
import importlib
import itertools
import json
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

RECIPE = Path(__file__).parents[2] / "experiments" / "embedded_model"
MODULES = (
    "export", "corpus", "gold", "model", "grow", "batches", "train", "decode", "distill", "evaluate",
    "reward", "refine", "run", "muon", "splice", "agree",
)  # fmt: skip
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
    for seconds in (12, 24):
        args = recipe.train.parse([
            "--pairs", str(work / "pairs.npz"), "--run", str(work), "--shape", "2-1-128-256", "--vocabulary", str(PIECES + 4),
            "--dropout", "0", "--tokens", "1280", "--lr", "2e-3", "--warmup", "30", "--horizon", "40", "--smoothing", "0", "--log", "10",
            "--tatoeba", "1", "--seconds", "24", "--call", str(seconds - (12 if losses else 0)), "--device", "cpu",
        ])  # fmt: skip
        training = recipe.train.begin(args)
        began = time.monotonic()
        losses.append(recipe.train.train(training, recipe.batches.Pairs(args.pairs), args, began))
        training.save()
    torch.set_num_threads(threads)
    return SimpleNamespace(path=work, losses=losses, steps=training.step, spent_s=training.spent_s)


def learn(recipe, training, batch, lr=1.0, smoothing=0.0):
    """One step towards the references of a batch."""
    labels, weights = recipe.train.targets(batch, None, 0.0)
    hidden = training.model(*recipe.batches.sides(batch))
    shared = training.model.shared.weight
    loss = recipe.model.cross_entropy(hidden, shared, labels, weights, smoothing)
    training.update(loss, lr, 40)


@pytest.fixture
def beginner(recipe, run, tmp_path):
    """A tiny model of 80 steps, however fast the machine is: it still errs."""
    import torch

    torch.manual_seed(1)
    shape = recipe.model.Shape.parse("2-1-128-256", vocabulary=PIECES + 4, dropout=0)
    training = recipe.run.Run(recipe.model.Transformer(shape), tmp_path / "beginner", "cpu", 2e-3)
    batches = recipe.batches.Batches(recipe.batches.Pairs([run.path / "pairs.npz"]), 4, 1.0, [1])
    for step, batch in enumerate(itertools.islice(batches, 80)):
        learn(recipe, training, batch, lr=min(1.0, (step + 1) / 30))
    training.publish()
    shutil.copy(run.path / "sentencepiece.bpe.model", training.directory)
    return training.directory


def test_training_lowers_the_loss_and_resumes_where_it_stopped(run):
    first, second = run.losses
    assert first[-1] < 0.7 * first[0]
    assert second[0] < first[0]
    progress = json.loads((run.path / "training.json").read_text())
    assert progress["step"] == run.steps > 10 * len(first)
    assert 23 < progress["spent_s"] < 28


def test_muon_takes_the_steps_that_torch_takes(recipe):
    import torch

    torch.manual_seed(3)
    sizes = (64, 64), (128, 64), (64, 64), (64, 128)
    start = [torch.randn(size) for size in sizes]
    ours = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    theirs = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    muon = recipe.muon.Muon(ours)
    torchs = torch.optim.Muon(theirs, 1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for matrix, other in zip(ours, theirs, strict=True):
            matrix.grad = torch.randn(matrix.shape)
            other.grad = matrix.grad.clone()
        muon.step(1e-2)
        torchs.step()
    for begun, matrix, other in zip(start, ours, theirs, strict=True):
        assert (matrix - other).norm() < 0.05 * (other - begun).norm()  # bfloat16


def test_a_run_with_muon_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(
    recipe, run, tmp_path
):
    import torch

    start = recipe.model.load(run.path, "cpu")
    pairs = recipe.batches.Pairs([run.path / "pairs.npz"])

    def begun(folder):
        return recipe.run.Run(copy.deepcopy(start), tmp_path / folder, "cpu", 1e-3, muon=True)

    def update(training, number):
        batch = pairs.batch([[number, number + 1], [number + 2]], 0)
        learn(recipe, training, batch, smoothing=0.1)

    whole, first = begun("whole"), begun("parts")
    for number in range(3):
        update(whole, number)
    update(first, 0)
    first.save()
    second = begun("parts")
    second.resume()
    update(second, 1)
    update(second, 2)
    for name, parameter in whole.parameters.items():
        torch.testing.assert_close(second.parameters[name], parameter, rtol=0, atol=0)


def test_the_exported_int8_model_reproduces_the_pairs_it_was_trained_on(recipe, run, pairs):
    out = run.path / "shipped"
    recipe.export.export([run.path], out, "int8", "test")
    translations = recipe.evaluate.translate_torch(out, [p.english for p in pairs], beam=1)
    right = sum(pair.japanese == text for pair, text in zip(pairs, translations, strict=True))
    assert right >= 180


def test_exported_rows_use_the_whole_int8_range_and_rebuild_the_weights(recipe, run):
    import numpy as np
    from safetensors import safe_open

    recipe.export.export([run.path], run.path / "int8", "int8", "test")
    weights = recipe.export.load_state(run.path / "model.safetensors")
    weights["model.shared.weight"][recipe.export.PAD] = 0
    with safe_open(run.path / "int8" / "model.safetensors", "np") as stored:
        assert stored.metadata() == {"format": "stt-int8-row", "source": "test"}
        for name, weight in weights.items():
            tensor = stored.get_tensor(name)
            if weight.ndim == 2:
                scale = stored.get_tensor(f"{name}_scale")
                assert tensor.dtype == np.int8
                assert (np.abs(tensor.astype(int)).max(axis=1) == 127)[weight.any(axis=1)].all()
                assert (np.abs(tensor * scale[:, None] - weight) <= 0.51 * scale[:, None]).all()


def test_a_grown_model_computes_what_the_small_one_does_and_can_learn_everywhere(recipe, run):
    import torch

    small = recipe.model.load(run.path, "cpu")
    shape = recipe.model.Shape.parse("5-3-128-384", vocabulary=PIECES + 4, dropout=0.0)
    big = recipe.grow.grow(small, shape)
    pairs = recipe.batches.Pairs([run.path / "pairs.npz"])
    batch = pairs.batch([[0, 1, 2], [3, 4]], 0)
    real = batch["at"] >= 0
    wanted, hidden = (model(*recipe.batches.sides(batch))[real] for model in (small, big))
    torch.testing.assert_close(hidden, wanted, rtol=0, atol=1e-5)
    hidden.square().sum().backward()
    assert all(layer.fc2.weight.grad.any() for layer in big.encoder.layers)
    assert all(layer.encoder_attn.out_proj.weight.grad.any() for layer in big.decoder.layers)


def test_a_beam_that_changes_its_parent_decodes_as_if_alone(recipe, run):
    """Beams share one cache; each must see the slots of its own ancestors and no others."""
    import torch

    torch.manual_seed(3)
    model, beam, steps = recipe.model.load(run.path, "cpu"), 3, 6
    source = torch.randint(4, PIECES, (7,))
    cache = recipe.decode.Cached(model, source[None], beam, limit=steps)
    ancestors = torch.zeros(1, 1, beam, steps * beam, dtype=torch.bool)
    histories = torch.zeros(beam, 0, dtype=torch.long)
    for at in range(steps):
        parent = torch.randint(0, beam, (beam,))
        histories = torch.cat([histories[parent], torch.randint(4, PIECES, (beam, 1))], 1)
        ancestors = ancestors[:, :, parent]
        ancestors[0, 0, :, at * beam : (at + 1) * beam] = torch.eye(beam)
        sides = [
            (ids, torch.arange(ids.shape[1]).expand_as(ids), torch.ones_like(ids))
            for ids in (source.expand(beam, -1), histories)
        ]
        with torch.inference_mode():
            found = cache.step(histories[None, :, at], at, ancestors[..., : (at + 1) * beam])[0]
            alone = (model(*sides)[:, -1] @ model.shared.weight.T).softmax(-1)
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-5)


def test_soft_labels_follow_the_teacher_and_the_reference_stands_in_where_time_ran_out(recipe, run):
    import torch

    tokens = run.path / "pairs.npz"
    pairs = recipe.batches.Pairs([tokens])
    teacher = recipe.model.load(run.path, "cpu")
    full = recipe.distill.soft_labels([teacher, teacher], pairs, until=float("inf"))
    right = full["labels"][:, 0] == pairs.target.tokens
    assert right.mean() > 0.95  # the teacher has learned these pairs
    assert abs(full["weights"].astype(float).sum(1) - 1).max() < 0.01

    batch = pairs.batch([[0, 1], [2]], 0)
    real = batch["at"] >= 0
    nothing = recipe.distill.soft_labels([teacher], pairs, until=0)
    for scored, hard in ((full, 0.2), (nothing, 1.0)):
        soft = [torch.from_numpy(scored[name]) for name in ("labels", "weights")]
        _, weights = recipe.train.targets(batch, soft, hard_share=0.2)
        assert torch.allclose(weights.sum(-1), real.float(), atol=1e-2)
        assert torch.allclose(weights[..., 0][real], torch.tensor(hard), atol=1e-2)


def test_several_runs_are_exported_as_their_mean(recipe, run, tmp_path):
    import numpy as np

    state = recipe.export.load_state(run.path / "model.safetensors")
    shape = recipe.model.load(run.path, "cpu").shape
    import torch

    for name, factor in (("half", 0.5), ("more", 1.5)):
        scaled = {
            key.removeprefix("model."): torch.from_numpy(factor * tensor)
            for key, tensor in state.items()
        }
        recipe.model.save(scaled, shape, tmp_path / name)
    mean = recipe.export.averaged([tmp_path / "half", tmp_path / "more"])
    assert all(
        np.allclose(mean[key], tensor, rtol=2e-3, atol=1e-4) for key, tensor in state.items()
    )


def test_rewards_follow_the_scores_they_stand_for(recipe):
    """BLEU and chrF from counts on the device are sacrebleu's, and a reward is a derivative of them."""
    import sacrebleu
    import torch

    texts = ["今日は雨が降る。", "猫が猫を見る", "ああああ", "本を 三冊 買った。", "はい"]
    references = [
        "今日は雨です。",
        "猫は犬を見た。",
        "ああ、そうか。",
        "本を三冊買いました。",
        "はい",
    ]
    rows = [
        recipe.batches.padded([recipe.reward.characters(text) for text in side], 0)
        for side in (texts, references)
    ]
    judge, kind = recipe.reward.Judge("cpu"), torch.ones(5, dtype=torch.long)
    rewards = judge(*rows, kind)[:, 0]
    found = 100 * judge.scores(judge.sums).exp()[:, 1]
    bleu = sacrebleu.corpus_bleu(texts, [references], tokenize="char").score
    chrf = sacrebleu.corpus_chrf(texts, [references]).score
    assert torch.allclose(found, torch.tensor([bleu, chrf], dtype=found.dtype), atol=1e-2)

    before = judge.scores(judge.sums)[:, 1].mean()
    counts = torch.stack([recipe.reward.matches(*rows), recipe.reward.totals(rows[0])], 1).double()
    for number in range(5):
        sums = judge.sums.clone()
        sums[1, :2] += 1e-6 * counts[number]
        change = (judge.scores(sums)[:, 1].mean() - before) / 1e-6 * len(texts)
        assert abs(change - rewards[number]) < 1e-3


def test_more_length_is_wanted_of_one_kind_of_sentence_only(recipe):
    """A translation that is too short for its corpus loses by each character it lacks, where that length is wanted."""
    import torch

    texts = ["今日は雨が", "猫が猫を見る"]
    references = ["今日は雨です。", "猫は犬を見た。"]
    rows = [
        recipe.batches.padded([recipe.reward.characters(text) for text in side], 0)
        for side in (texts, references)
    ]
    worth = {}
    for wanted in ((0.5,), (0.5, 1.5)):
        judge = recipe.reward.Judge("cpu", wanted)
        judge(*rows, torch.tensor([0, 1]))
        worth[wanted] = judge.slopes()[:, 1, 0]  # of one more character
    technical, everyday = worth[0.5, 1.5] - worth[0.5,]
    assert technical == 0 < everyday


def test_spliced_sentences_are_new_and_made_of_two_that_share_two_words(recipe):
    import random

    sentences = [
        text.split()
        for text in ("I went to the old station .", "She lives near the old town .", "Birds sing .")
    ]
    made = set(itertools.islice(recipe.splice.splices(sentences, random.Random(1)), 20))
    assert made == {"I went to the old town .", "She lives near the old station ."}


def test_of_many_samples_the_one_that_the_others_resemble_is_kept(recipe, run, pairs, monkeypatch):
    import sentencepiece
    import torch

    spm = sentencepiece.SentencePieceProcessor(model_file=str(run.path / "sentencepiece.bpe.model"))
    _, to = recipe.batches.language_ids(spm)
    drawn = ["車を買う。", "先生は今日本を読む。", "先生は今日本を歌う。", "先生は明日本を読む。"]
    rows = recipe.batches.padded(
        [recipe.batches.wrap(to, spm.encode(text)) for text in drawn], recipe.batches.EOS
    )
    monkeypatch.setattr(recipe.agree, "sample", lambda *_: (rows[None], None))
    judge, table = recipe.reward.Judge("cpu"), recipe.reward.spelling(spm)
    (kept,) = recipe.agree.agreed(None, None, torch.tensor([1]), to, len(drawn), judge, table)
    pieces = [int(token) - 1 for token in kept if token != recipe.batches.EOS]
    assert spm.decode(pieces) == drawn[1]


def test_refinement_raises_the_score_of_what_is_drawn(
    recipe, beginner, pairs, tmp_path, monkeypatch
):
    """With half of its neurons dropped the tiny model errs more; refinement teaches it to err less."""
    import torch

    recipe.corpus.write_pairs(pairs, tmp_path / "gold.tsv")
    args = recipe.refine.parse([
        "--pairs", str(tmp_path / "gold.tsv"), "--init", str(beginner), "--run", str(tmp_path / "run"),
        "--dev", str(tmp_path / "gold.tsv"), "--seconds", "1e9", "--slots", "600", "--samples", "4", "--score", "1e9",
        "--dropout", "0.5", "--lr", "1e-3", "--reference", "0", "--device", "cpu",
    ])  # fmt: skip
    scores = []

    class Enough(Exception):
        pass

    class Watched(recipe.reward.Judge):
        def __call__(self, *given):
            rewards = super().__call__(*given)
            scores.append(self.scores(self.sums)[:, 1].mean().item())
            if len(scores) == 60:
                raise Enough
            return rewards

    monkeypatch.setattr(recipe.refine, "Judge", Watched)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(1)
    model = recipe.model.load(beginner, "cpu")
    for layer in (*model.encoder.layers, *model.decoder.layers):
        layer.dropout = args.dropout
    with pytest.raises(Enough):
        recipe.refine.refine(recipe.run.Run(model, args.run, "cpu", args.lr), args)
    torch.set_num_threads(threads)
    assert scores[-1] > scores[5] + 0.2


def test_refinement_that_gets_worse_goes_back_to_what_scored_best_on_dev(
    recipe, run, tmp_path, monkeypatch
):
    args = recipe.refine.parse([
        "--pairs", "none", "--init", str(run.path), "--run", str(tmp_path), "--dev", "none", "--seconds", "1", "--device", "cpu",
        "--fall", "5",
    ])  # fmt: skip
    refined = recipe.run.Run(recipe.model.load(run.path, "cpu"), tmp_path, "cpu", args.lr)
    written = []
    for score in (10, 30, 26, 20):
        report = {"everyday": {"bleu_char": score, "chrf": score + 1}}
        monkeypatch.setattr(
            recipe.refine,
            "score_dev",
            lambda *_, report=report: (tmp_path / "score.json").write_text(json.dumps(report)),
        )
        refined.average["shared.weight"] += score
        recipe.refine.keep_best(refined, args)
        written.append((tmp_path / "model.safetensors").read_bytes())
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == written[1]
    assert json.loads((tmp_path / "best" / "score.json").read_text())["everyday"]["chrf"] == 31
    refined.publish()
    assert (tmp_path / "model.safetensors").read_bytes() == written[1]
    assert refined.lr == args.lr / 2


def test_pairs_made_for_training_repeat_no_held_out_sentence(recipe, pairs, tmp_path):
    recipe.corpus.write_pairs(pairs, tmp_path / "train.tsv")
    recipe.corpus.write_pairs(pairs[:20], tmp_path / "dev.tsv")
    recipe.corpus.write_pairs(pairs[20:30], tmp_path / "test.tsv")
    gold, extra = recipe.gold.gold(tmp_path)
    held = recipe.gold.held_out(tmp_path)
    assert 0 < len(gold) <= 170
    assert extra
    assert not [pair for pair in gold + extra if held.overlap(pair)]


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
