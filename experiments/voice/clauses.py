"""What speaking a sentence clause by clause changes, against the sentence spoken whole.

    OPENBLAS_NUM_THREADS=1 PYTHONPATH=. python experiments/voice/clauses.py

"cut" labels a clause as a sentence of its own; "continued" is what `Frontend.labels` does with a
clause that ends in a comma. Parameters of the voice without global variance, so that only the
labels differ.
"""

import re
from pathlib import Path

import numpy as np

from stt.tts.labels import Frontend, phoneme
from stt.tts.openjtalk import _CALIBRATION
from stt.tts.openjtalk_stock import StockVoice
from stt.tts.trajectory import UNVOICED, Trajectories

CORPUS = Path(__file__).parents[2] / "stt" / "assets" / "speech.tsv"
CENTS = 1200 / np.log(2)
SILENT = (b"sil", b"pau")


def phonemes(trajectories, labels):
    """(frames, log F0) of each label, silence left out."""
    spoken = trajectories._plain.parameters(labels)
    ends = np.cumsum(spoken.durations)
    ratio, shift = trajectories._log_f0
    return [
        (int(n), np.where(f0 > UNVOICED, f0 * ratio + shift, f0))
        for n, f0, label in zip(
            spoken.durations, np.split(spoken.log_f0, ends[:-1]), labels, strict=True
        )
        if phoneme(label) not in SILENT
    ]


def compare(reference, spoken):
    """Differences of duration in ms, and of log F0 at ten points of each phoneme in cents."""
    durations, cents = [], []
    for (n, f0), (m, other) in zip(reference, spoken, strict=True):
        durations.append(5.0 * (m - n))
        points = np.arange(10) / 10
        a, b = f0[(points * n).astype(int)], other[(points * m).astype(int)]
        voiced = (a > UNVOICED) & (b > UNVOICED)
        cents.append(np.where(voiced, (b - a) * CENTS, np.nan))
    return np.array(durations), np.array(cents)


def rms(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def main():
    frontend, stock = Frontend(), StockVoice()
    calibration = [frontend.labels(text) for text in _CALIBRATION]
    trajectories = Trajectories(stock.library, stock.voice, calibration)
    found = {"continued": [], "cut": [], "last": []}
    for row in CORPUS.read_text(encoding="utf-8").splitlines():
        text = row.split("\t")[3]
        clauses = re.findall(r"[^、]+、|[^、]+$", text)
        whole = phonemes(trajectories, frontend.labels(text))
        labelled = [[frontend.labels(clause) for clause in clauses]]
        labelled.append([frontend._labels(frontend._features(clause)) for clause in clauses])
        sizes = [sum(phoneme(x) not in SILENT for x in labels) for labels in labelled[0]]
        if len(clauses) < 2 or sum(sizes) != len(whole):
            continue  # the split changed a reading
        start = 0
        for number, size in enumerate(sizes):
            reference = whole[start : start + size]
            start += size
            last = number == len(sizes) - 1
            for name, all_labels in zip(("continued", "cut"), labelled, strict=True):
                spoken = phonemes(trajectories, all_labels[number])
                if last:
                    name = "last"
                found[name].append(compare(reference, spoken))
    print("| clause | n | durations rms ms | last phoneme ms | F0 rms cents | last phoneme cents |")
    print("|---|---|---|---|---|---|")
    for name, results in found.items():
        durations, cents = (np.concatenate(column) for column in zip(*results, strict=True))
        last_ms = rms([d[-1] for d, _ in results])
        last_cents = rms(np.concatenate([c[-1] for _, c in results]))
        count = len(results) // 2 if name == "last" else len(results)
        print(
            f"| {name} | {count} | {rms(durations):.1f} | {last_ms:.1f} "
            f"| {rms(cents):.0f} | {last_cents:.0f} |"
        )


if __name__ == "__main__":
    main()
