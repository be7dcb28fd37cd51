"""Every voice fits the contract, and the streaming one says what the library's own says."""

import threading
from dataclasses import MISSING, fields, replace

import numpy as np
import pytest
from omegaconf import OmegaConf

from stt.audio import Onset
from stt.config import build, config_dir, options
from stt.device import Device
from stt.embedded import FOLDER
from stt.engine import Synthesizer, Unit
from stt.errors import ConfigError

VOICES = list(options("tts"))
SPEECH = FOLDER.parent / "speech.tsv"
REFERENCES = [row.split("\t")[3] for row in SPEECH.read_text(encoding="utf-8").splitlines()]
engine = pytest.mark.engine
# SudachiPy 0.7 deprecated what pyopenjtalk-plus 0.4.1 calls once a thread.
pytestmark = pytest.mark.filterwarnings("ignore:Dictionary.create:DeprecationWarning")


def make(name, **changes):
    node = OmegaConf.load(config_dir() / "tts" / f"{name}.yaml")
    return build(OmegaConf.merge(node, changes), f"tts={name}")


def loaded(name, **changes):
    voice = make(name, **changes)
    voice.load(Device("cpu", 1))
    return voice


@pytest.fixture(scope="module")
def streaming():
    voice = loaded("openjtalk")
    yield voice
    voice.close()


@pytest.fixture(scope="module")
def stock():
    voice = loaded("openjtalk_stock")
    yield voice
    voice.close()


def speak(voice, text):
    chunks = list(voice.synthesize(text))
    assert len({chunk.sample_rate for chunk in chunks}) <= 1
    return np.concatenate([chunk.samples for chunk in chunks]), chunks[0].sample_rate


@pytest.mark.parametrize("name", VOICES)
def test_the_yaml_writes_every_field_of_the_class(name):
    node = OmegaConf.load(config_dir() / "tts" / f"{name}.yaml")
    voice = make(name)
    assert isinstance(voice, Synthesizer)
    assert {field.name for field in fields(voice)} == set(node) - {"_target_"}
    assert all(field.default is MISSING for field in fields(voice))
    assert isinstance(voice.unit, Unit)
    assert len(options("tts")[name]) > 20


@pytest.mark.parametrize("name", VOICES)
def test_a_wrong_type_is_refused_by_name(name):
    with pytest.raises(ConfigError, match="unit"):
        make(name, unit="paragraph")


@pytest.mark.parametrize("name", ["openjtalk", "openjtalk_stock", "tone"])
@engine
def test_a_voice_reports_what_runs_and_speaks_float32_in_range(name, capfd):
    voice = loaded(name)
    effective = voice.effective()
    keys = {"engine", "version", "sample_rate", "device", "threads", "fallback"}
    assert keys <= set(effective)
    assert effective["fallback"] is None
    samples, rate = speak(voice, "サーバーが復旧し、全てのテストが通りました。")
    assert rate == effective["sample_rate"]
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.05 < np.abs(samples).max() <= 1.0
    assert list(voice.synthesize("")) == []
    voice.close()
    assert capfd.readouterr().out == ""


@engine
def test_the_streaming_voice_is_as_loud_and_as_long_as_the_librarys_own(streaming, stock):
    def speech(samples, rate):
        frames = samples[: samples.size // (rate // 100) * (rate // 100)].reshape(-1, rate // 100)
        power = (frames**2).mean(axis=1)
        heard = np.flatnonzero(power > 10 ** (-45 / 10))
        inside = power[heard[0] : heard[-1] + 1]
        return len(inside) / 100, 10 * np.log10(inside.mean())

    ours, theirs = (
        np.array([speech(*speak(voice, text)) for text in REFERENCES[5::12]])
        for voice in (streaming, stock)
    )
    longer_s, louder_db = (ours - theirs).T
    # Where a text fades out through -45 dBFS is the only difference: durations are the same.
    assert np.median(np.abs(longer_s)) <= 0.02
    assert np.abs(longer_s).max() <= 0.1
    assert abs(louder_db.mean()) < 0.8
    # The library levels each text by itself, this voice does not: a text may differ more.
    assert np.abs(louder_db).max() < 4
    assert ours[:, 1].std() < theirs[:, 1].std()


@engine
def test_leading_silence_is_trimmed_on_the_whole_corpus(streaming):
    silences = []
    for text in REFERENCES[::4]:
        chunks = streaming.synthesize(text)
        onset = Onset(24000)
        for chunk in chunks:
            onset.feed(chunk.samples)
            if onset.leading_silence_s is not None:
                break
        silences.append(onset.leading_silence_s)
    assert None not in silences
    assert sorted(silences)[len(silences) // 2] <= 0.02
    assert sum(silence <= 0.03 for silence in silences) >= 0.9 * len(silences)


@engine
def test_clauses_follow_each_other_without_a_click(streaming):
    parts = [speak(streaming, text)[0] for text in ("サーバーが復旧し、", "テストが通りました。")]
    joined = np.concatenate(parts)
    seam = parts[0].size
    steps = np.abs(np.diff(joined))
    assert steps[seam - 240 : seam + 120].max() < 0.01
    assert steps.max() > 0.05


@engine
def test_a_fresh_copy_speaks_while_the_first_still_speaks(streaming):
    # The pipeline replaces an engine that hangs; the two then live side by side.
    text = "全てのテストが通りました。"
    expected = speak(streaming, text)[0]
    fresh = replace(streaming)
    fresh.load(Device("cpu", 1))
    results = {}

    def run(name, voice):
        results[name] = [speak(voice, text)[0] for _ in range(10)]

    threads = [
        threading.Thread(target=run, args=(name, voice))
        for name, voice in (("first", streaming), ("fresh", fresh))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh.close()
    for spoken in (*results["first"], *results["fresh"]):
        assert np.array_equal(spoken, expected)


@engine
@pytest.mark.slow
def test_memory_stays_flat_over_many_utterances(streaming):
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()

    def resident_after(count):
        for number in range(count):
            for _ in streaming.synthesize(REFERENCES[number % 20]):
                pass
        return process.memory_info().rss

    before = resident_after(60)
    assert resident_after(400) - before < 8e6
