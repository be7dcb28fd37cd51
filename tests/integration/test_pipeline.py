"""The pipeline with engines that misbehave."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from stt.charts import LEDGER
from stt.device import Device
from stt.engine import Synthesizer, Translator, Unit
from stt.errors import EngineError
from stt.messages import AudioChunk, Clause, Delta, Status
from stt.metrics import metrics
from stt.pipeline import Pipeline, Settings
from stt.segment import Segmenter
from stt.sinks import Discard
from stt.stored import record
from stt.timeline import ledger, monotonic_ns

NEVER = threading.Event()
SOUND = 0.5 * np.sin(np.arange(2400, dtype=np.float32) / 8)


@dataclass
class Words(Translator):
    """Says the text back; raises at 'raise', hangs at 'hang', says nothing at 'nothing'."""

    def load(self, device):
        pass

    def effective(self):
        return {}

    def translate(self, text):
        if "raise" in text:
            raise ValueError("no")
        if "hang" in text:
            NEVER.wait()
        if "nothing" in text:
            yield Clause("")
            return
        for index, word in enumerate(text.split()):
            yield Clause(f"はい{word}、", index, False, 1)
        yield Clause("終わり。", 9, True, 1)


@dataclass
class Beep(Synthesizer):
    """A tenth of a second of sound a call; hangs when told 'stuck'."""

    unit: Unit

    def load(self, device):
        pass

    def effective(self):
        return {}

    def synthesize(self, text):
        if "stuck" in text:
            NEVER.wait()
        yield AudioChunk(SOUND, 24000)


def pipeline(overlap=True, unit=Unit.clause, timeout_s=0.5, language="jpn_Jpan"):
    segmenter = Segmenter(Unit.sentence, 600, 24)
    settings = Settings(overlap, 2, timeout_s)
    return Pipeline(settings, segmenter, Words(), Beep(unit), Device("cpu", 1), language=language)


def speak(pipe, *texts, closed_loop=False):
    deltas = (
        Delta(text, monotonic_ns(), f"s{i}", True, None, None) for i, text in enumerate(texts)
    )
    return list(pipe.run(deltas, Discard(), closed_loop=closed_loop))


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("closed_loop", [True, False])
def test_every_sentence_is_spoken_in_order_and_its_ledger_balances(overlap, unit, closed_loop):
    said = speak(pipeline(overlap, unit), *["One two."] * 20, closed_loop=closed_loop)
    assert [u.sentence.id for u in said] == [f"s{i}" for i in range(20)]
    for u in said:
        assert u.status == Status.ok, u.error
        assert u.clauses == 3
        assert len(u.chunks) == (3 if unit is Unit.clause else 1)
        assert sum(ledger(u.marks_ns).values()) == u.marks_ns["first_chunk"] - u.marks_ns["arrived"]


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("Please raise.", Status.failed),
        ("Please hang.", Status.timeout),
        ("You are stuck.", Status.timeout),
        ("Say nothing.", Status.degenerate),
    ],
)
def test_a_bad_sentence_costs_only_itself(overlap, bad, status):
    said = speak(pipeline(overlap), "One.", bad, "Two.", "Three.")
    assert {u.sentence.id: u.status for u in said} == {
        "s0": Status.ok,
        "s1": status,
        "s2": Status.ok,
        "s3": Status.ok,
    }
    assert next(u for u in said if u.status == status).error


def test_a_chart_calls_time_in_front_of_a_full_pipeline_a_wait_for_earlier_sentences():
    class Slow(Beep):
        def synthesize(self, text):
            time.sleep(0.02)
            yield AudioChunk(SOUND, 24000)

    pipe = pipeline(unit=Unit.sentence)
    pipe.synthesizer = Slow(Unit.sentence)
    arrived_ns = monotonic_ns()  # of all at once
    deltas = (Delta("One.", arrived_ns, f"s{i}", True) for i in range(12))
    *_, last = pipe.run(deltas, Discard())
    took = metrics(record(last, session=1, pass_=1, phase="measure"))
    longest = max(LEDGER, key=lambda name: took[name])
    assert took[longest] > took["ttfa_ms"] / 2
    assert "earlier sentences" in LEDGER[longest][0]


def test_what_the_source_raises_reaches_the_caller_after_what_came_before():
    def deltas():
        yield Delta("One.", monotonic_ns(), "a", True)
        raise OSError("the cable")

    run = pipeline().run(deltas(), Discard())
    assert next(run).status == Status.ok
    with pytest.raises(OSError, match="cable"):
        next(run)


def test_a_run_that_is_broken_off_names_what_was_in_flight():
    pipe = pipeline(timeout_s=60)
    deltas = (Delta(t, monotonic_ns(), t, True) for t in ("One.", "Please hang.", "Two."))
    run = pipe.run(deltas, Discard())
    assert next(run).sentence.text == "One."
    run.close()
    left = pipe.cancelled()
    assert "Please hang." in [u.sentence.text for u in left]
    assert {u.status for u in left} == {Status.cancelled}


@pytest.mark.parametrize("overlap", [True, False])
def test_engines_that_are_closed_under_a_run_cancel_what_is_left_of_it(overlap, caplog):
    class Freed(Words):
        def close(self):
            self.model = None

        def translate(self, text):
            time.sleep(0.05)
            yield from super().translate(getattr(self, "model", text).strip())

    pipe = pipeline(overlap)
    pipe.translator = Freed()
    ended = []
    for utterance in pipe.run(
        (Delta(f"{n}.", monotonic_ns(), f"s{n}", True) for n in range(4)), Discard()
    ):
        ended.append(utterance)
        pipe.close()
    assert (ended[0].status, ended[0].error) == (Status.ok, None)
    assert {(u.status, u.error) for u in ended[2:]} == {(Status.cancelled, "the run was stopped")}
    assert not caplog.records, "nothing went wrong"


def test_an_engine_that_hung_and_cannot_be_loaded_again_costs_sentences_not_the_run():
    pipe = pipeline()

    def load(self, device):
        raise RuntimeError("CUDA out of memory")

    pipe.reload_translator = lambda: load(None, None)
    ended = speak(pipe, "One.", "Please hang.", "Two.", "Three.")
    assert [u.status for u in ended] == [Status.ok, Status.timeout, Status.failed, Status.failed]
    assert "CUDA out of memory" in ended[-1].error


def test_a_chunk_without_samples_is_no_speech():
    class Empty(Beep):
        def synthesize(self, text):
            yield AudioChunk(np.zeros(0, np.float32), 24000)

    pipe = pipeline()
    pipe.synthesizer = Empty(Unit.clause)
    (utterance,) = speak(pipe, "One.")
    assert utterance.status is Status.failed


@pytest.mark.parametrize(
    "samples",
    [np.zeros(24000, np.float32), np.full(24000, 0.3, np.float32), SOUND[:1000]],
    ids=["zeros", "a constant", "40 ms"],
)
def test_a_voice_that_makes_only_silence_has_failed(samples):
    class Silent(Beep):
        def synthesize(self, text):
            yield AudioChunk(samples, 24000)

    pipe = pipeline(unit=Unit.sentence)
    pipe.synthesizer = Silent(Unit.sentence)
    (utterance,) = speak(pipe, "One.")
    assert (utterance.status, utterance.error) == (
        Status.failed,
        "the synthesizer made only silence",
    )


@pytest.mark.parametrize("said", [[], [Clause("")]], ids=["nothing", "an empty clause"])
def test_a_translator_that_says_nothing_is_named_not_the_voice(said):
    class Mute(Words):
        translates = False

        def translate(self, text):
            yield from said

    pipe = pipeline()
    pipe.translator = Mute()
    (utterance,) = speak(pipe, "One.")
    assert (utterance.status, utterance.error) == (Status.failed, "the translator made no text")


def test_speech_is_audible_when_the_chunk_with_its_first_sample_arrives():
    class Late(Beep):
        def synthesize(self, text):
            yield AudioChunk(np.zeros(1, np.float32), 24000)
            time.sleep(0.3)
            yield AudioChunk(SOUND, 24000)

    pipe = pipeline(unit=Unit.sentence, timeout_s=5)
    pipe.synthesizer = Late(Unit.sentence)
    (utterance,) = speak(pipe, "One.")
    assert utterance.status is Status.ok
    values = metrics(record(utterance, session=1, pass_=1, phase="measure"))
    assert values["ttfa_audible_ms"] >= 300
    assert values["ttfa_audible_ms"] - values["total_ms"] < 1


def test_what_is_lost_is_said_at_once_and_once_of_each_kind(caplog):
    class Picky(Words):
        def translate(self, text):
            if "refuse" in text:
                raise EngineError(f"It cannot read {text!r}. Does it know English?")
            return super().translate(text)

    pipe = pipeline()
    pipe.translator = Picky()
    bad = ["Please refuse.", "Please hang.", "You are stuck.", "Please raise."]
    said = speak(pipe, "One.", *bad, "Two.", "I refuse.", "I hang.")
    assert sum(u.status is not Status.ok for u in said) == 6
    speak(pipe, "They refuse.")
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert told == [
        "translator: It cannot read 'Please refuse.'. Does it know English? Speech of s1 is lost; the run goes on",
        "the translator took longer than 0.5 s. Speech of s2 is lost; the run goes on",
        "the synthesizer took longer than 0.5 s. Speech of s3 is lost; the run goes on",
        f"{said[4].error}. Speech of s4 is lost; the run goes on",
    ]


@pytest.mark.parametrize(
    ("language", "status"), [("deu_Latn", Status.ok), ("jpn_Jpan", Status.degenerate)]
)
def test_a_translation_is_judged_in_the_language_that_was_asked_for(language, status):
    class German(Words):
        def translate(self, text):
            yield Clause("Der Server läuft wieder.")

    pipe = pipeline(language=language)
    pipe.translator = German()
    (utterance,) = speak(pipe, "The server is running again.")
    assert utterance.status is status


@pytest.mark.parametrize(
    ("said", "fault"), [("text", "Clause"), (Clause(None), "Clause"), (Clause(b"x"), "Clause")]
)
def test_a_translator_that_yields_something_else_costs_its_sentences_not_the_run(said, fault):
    class Wrong(Words):
        def translate(self, text):
            yield said

    pipe = pipeline()
    pipe.translator = Wrong()
    ended = speak(pipe, "One.", "Two.")
    assert [u.status for u in ended] == [Status.failed] * 2
    assert fault in ended[0].error


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(10, np.int16), 24000),
        (np.zeros((10, 2), np.float32), 24000),
        (np.full(10, np.nan, np.float32), 24000),
        (np.full(10, 1000, np.float32), 24000),
        (np.zeros(10, np.float32), 0),
        (np.zeros(10, np.float32), "24000"),
        (np.zeros(10, np.float32), 24000.0),
        ([0.0] * 10, 24000),
    ],
)
def test_what_is_no_audio_is_not_played_as_noise(samples, rate):
    class Wrong(Beep):
        def synthesize(self, text):
            yield AudioChunk(samples, rate)

    pipe = pipeline()
    pipe.synthesizer = Wrong(Unit.clause)
    (utterance,) = speak(pipe, "One.")
    assert utterance.status is Status.failed
    assert utterance.error.startswith("synthesizer: s")


def test_a_tensor_is_answered_with_how_to_make_an_array_of_it():
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    with pytest.raises(EngineError, match=r"NumPy array, not Tensor: .*\.cpu\(\)\.numpy\(\)"):
        AudioChunk(torch.zeros(10), 24000)


def test_a_whole_number_of_numpy_is_a_rate_and_can_be_recorded():
    chunk = AudioChunk(np.zeros(10, np.float32), np.int64(16000))
    assert json.dumps(chunk.sample_rate) == "16000"


def test_a_rate_that_changes_within_an_utterance_is_refused():
    class Wrong(Beep):
        def synthesize(self, text):
            for rate in (24000, 16000):
                yield AudioChunk(SOUND, rate)

    pipe = pipeline()
    pipe.synthesizer = Wrong(Unit.clause)
    (utterance,) = speak(pipe, "One.")
    assert "16000 Hz after 24000 Hz" in utterance.error


@pytest.mark.parametrize("method", ["write", "end"])
def test_a_sink_that_raises_anything_costs_its_sentence(method):
    class Broken(Discard):
        pass

    def fail(*_):
        raise ValueError("no disk")

    setattr(Broken, method, fail)
    deltas = (Delta(t, monotonic_ns(), t, True) for t in ("One.", "Two."))
    ended = list(pipeline().run(deltas, Broken()))
    assert [u.error for u in ended] == ["sink: ValueError: no disk"] * 2


def test_an_engine_is_asked_what_runs_when_it_is_loaded_and_never_while_it_works():
    class Asked(Words):
        times = 0

        def effective(self):
            Asked.times += 1
            return {"fallback": f"load {Asked.times}"}

    pipe = pipeline()
    pipe.translator = Asked()
    pipe.load()
    ended = speak(pipe, "One.", "Two.", "Please hang.", "Three.")
    reasons = {"s0": "load 1", "s1": "load 1", "s3": "load 2"}
    fallen_back = {u.sentence.id: u.error for u in ended if u.status is Status.fallback}
    assert fallen_back == reasons
    assert pipe.effective()["translator"] == {"fallback": "load 2"}
    assert Asked.times == 2


def test_a_voice_that_was_loaded_again_is_asked_again_what_runs():
    class Asked(Beep):
        times = 0

        def effective(self):
            Asked.times += 1
            return {"fallback": f"load {Asked.times}"}

    pipe = pipeline()
    pipe.synthesizer = Asked(Unit.clause)
    pipe.load()
    one, _, three = speak(pipe, "One.", "You are stuck.", "Three.")
    assert (one.error, three.error) == ("load 1", "load 2")
    assert pipe.effective()["tts"] == {"fallback": "load 2"}


def test_what_ends_a_thread_ends_the_run():
    class Leaves(Words):
        def translate(self, text):
            raise SystemExit(3)
            yield

    pipe = pipeline()
    pipe.translator = Leaves()
    with pytest.raises(SystemExit):
        speak(pipe, "One.")


def test_a_sink_slower_than_the_timeout_never_gets_audio_of_two_sentences_at_once():
    class Slow(Discard):
        inside, most = 0, 0

        def write(self, utterance_id, chunk):
            Slow.inside += 1
            Slow.most = max(Slow.most, Slow.inside)
            if utterance_id == "s0":
                time.sleep(1.0)
            Slow.inside -= 1

    deltas = (Delta("One.", monotonic_ns(), f"s{i}", True) for i in range(3))
    ended = list(pipeline(timeout_s=0.3).run(deltas, Slow()))
    assert [u.status for u in ended] == [Status.timeout, Status.ok, Status.ok]
    assert Slow.most == 1
