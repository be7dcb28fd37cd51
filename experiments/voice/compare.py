"""How the streaming voice differs from the library's own, and how long both take.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=. python experiments/voice/compare.py

Prints Markdown tables and writes spectrogram.png beside itself. No listening test.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import re
import statistics
import time
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from stt.audio import Onset
from stt.config import build, config_dir
from stt.device import Device
from stt.tts.trajectory import UNVOICED, _is_speech
from stt.tts.vocoder import Vocoder

CORPUS = Path(__file__).parents[2] / "stt" / "assets" / "speech.tsv"
RATE, HOP = 24000, 120
DB, CENTS = 20 / np.log(10), 1200 / np.log(2)


def load(name):
    engine = build(OmegaConf.load(config_dir() / "tts" / f"{name}.yaml"), f"tts={name}")
    engine.load(Device("cpu", 1))
    return engine


def to_rate(samples, rate):
    size = len(samples) * RATE // rate
    return np.fft.irfft(np.fft.rfft(samples)[: size // 2 + 1], size) * RATE / rate


def mel(samples, bands=80, size=1024):
    padded = np.pad(samples, size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    edges = 700 * (10 ** (np.linspace(89, 2890, bands + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.clip(
        np.minimum((hertz - low) / (mid - low), (high - hertz) / (high - mid)), 0, None
    )
    return 10 * np.log10(power @ weights.T + 1e-9)


def distance(a, b):
    """Mel RMSE in dB and level difference in dB, at the best alignment within 5 ms."""
    ours = mel(a)
    best = (np.inf, 0.0)
    for shift in range(-HOP, HOP + 1, 10):
        theirs = mel(np.roll(b, shift))
        frames = min(len(ours), len(theirs))
        heard = theirs[:frames].max(axis=1) > theirs.max() - 50
        difference = (ours[:frames] - theirs[:frames])[heard]
        best = min(best, (float(np.sqrt((difference**2).mean())), float(difference.mean())))
    return best


def speak(vocoder, windows):
    parts = [vocoder.push(w.cepstrum, w.log_f0, w.mixing) for w in windows]
    return np.concatenate([*parts, vocoder.flush()])


def compare(voice, stock, labels):
    trajectories = voice._trajectories
    windows = list(trajectories.generate(labels))
    whole = trajectories.voice.parameters(labels)
    cepstrum = np.concatenate([w.cepstrum for w in windows])
    log_f0 = np.concatenate([w.log_f0 for w in windows])
    speech = _is_speech(labels, whole.durations)
    voiced = (log_f0 > UNVOICED) & (whole.log_f0 > UNVOICED)
    error = (cepstrum - whole.cepstrum)[speech, 1:]
    source = trajectories.voice
    other_seed = Vocoder(
        RATE,
        source_rate=source.sample_rate,
        period=source.period,
        order=cepstrum.shape[1] - 1,
        taps=whole.mixing.shape[1],
        alpha=source.alpha,
        overlap=5,
        seed=2,
    )
    ours = speak(voice._vocoder, windows)
    theirs = to_rate(stock._voice.speak(labels), stock._voice.sample_rate)
    apart, level = distance(ours, theirs)
    return {
        "duration_frames": abs(len(cepstrum) - len(whole.cepstrum)),
        "mcd_db": float(np.sqrt((error**2).sum(axis=1) / 2).mean() * DB),
        "f0_cents": float(CENTS * np.sqrt(((log_f0 - whole.log_f0)[voiced] ** 2).mean())),
        "exact_db": distance(speak(voice._vocoder, [whole]), theirs)[0],
        "mel_db": apart,
        "level_db": level,
        "seed_db": distance(ours, speak(other_seed, windows))[0],
    }


def timed(engine, text):
    start = time.perf_counter()
    first, chunks = 0.0, []
    for chunk in engine.synthesize(text):
        first = first or time.perf_counter() - start
        chunks.append(chunk)
    total = time.perf_counter() - start
    onset = Onset(chunks[0].sample_rate)
    for chunk in chunks:
        onset.feed(chunk.samples)
    seconds = sum(chunk.samples.size for chunk in chunks) / chunks[0].sample_rate
    return 1e3 * first, 1e3 * total, 1e3 * (onset.leading_silence_s or 0.0), seconds


def picture(voice, stock, text):
    from matplotlib.figure import Figure
    from PIL import Image

    labels = voice._frontend.labels(text)
    theirs = to_rate(stock._voice.speak(labels), stock._voice.sample_rate)
    ours = speak(voice._vocoder, list(voice._trajectories.generate(labels)))
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, samples, title in zip(
        figure.subplots(2, sharex=True, sharey=True),
        (theirs, ours),
        ("library's own vocoder", "streaming vocoder"),
        strict=True,
    ):
        axes.specgram(samples / 65536 + 1e-9, NFFT=512, Fs=RATE, noverlap=392, vmin=-150, vmax=-50)
        axes.set(title=title, ylabel="Hz")
    axes.set_xlabel("s")
    path = Path(__file__).parent / "spectrogram.png"
    figure.savefig(path, dpi=80)
    Image.open(path).quantize(24).save(path, optimize=True)


def show(*rows):
    for row in rows:
        print(f"| {' | '.join(row)} |")


def differences(voice, stock, texts):
    results = []
    for text in texts:
        labels = voice._frontend.labels(text)
        results.append({"labels": len(labels), **compare(voice, stock, labels)})
    keys = [key for key in results[0] if key != "labels"]
    show(["labels", "n", *keys], ["---"] * (len(keys) + 2))
    for low, high in ((0, 24), (25, 60), (61, 999)):
        those = [row for row in results if low <= row["labels"] <= high]
        means = [f"{statistics.fmean(row[key] for row in those):.2f}" for key in keys]
        show([f"{low}-{high}", str(len(those)), *means])
    levels = [row["level_db"] for row in results]
    print(f"\nlevel_db over all: {np.mean(levels):.2f}, sd {np.std(levels):.2f}\n")


def times(engines):
    names = ["engine", "texts", "first chunk ms", "leading silence ms", "total ms", "RTF"]
    show(names, ["---"] * len(names))
    for name, engine, texts in engines:
        for text in texts[:5]:
            timed(engine, text)
        columns = np.array([timed(engine, text) for text in texts])
        p50, p95 = np.percentile(columns, [50, 95], axis=0, method="inverted_cdf")
        cells = [f"{a:.1f} / {b:.1f}" for a, b in zip(p50[[0, 2, 1]], p95[[0, 2, 1]], strict=True)]
        rtf = columns[:, 1].sum() / columns[:, 3].sum() / 1e3
        show([name, f"{len(texts)}", *cells, f"{rtf:.4f}"])


def main():
    voice, stock = load("openjtalk"), load("openjtalk_stock")
    rows = [line.split("\t")[3] for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    clauses = [clause for row in rows for clause in re.findall(r"[^、]+、?", row)]
    differences(voice, stock, rows[::4])
    times(
        [
            ("openjtalk, sentences", voice, rows),
            ("openjtalk, clauses", voice, clauses),
            ("openjtalk_stock, sentences", stock, rows[::4]),
        ]
    )
    picture(voice, stock, "昨日の会議では、新しい製品の開発計画について、議論が続きました。")


if __name__ == "__main__":
    main()
