"""What runs on this machine: each translator, voice and sink is loaded and used once, in a process of its own.

    python -m stt.doctor [device=cuda] [translator=NAME ...]

Without names all are tried. What does not run says what is missing and how to get it; nothing is
downloaded, and nothing is sent to the network.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stt import engine
from stt.audio import NO_AUDIO, SILENCE, Onset
from stt.config import build, check_choices, compose, options
from stt.device import device_of_voice, require
from stt.engine import Synthesizer, Translator
from stt.errors import EngineError, SttError, reason
from stt.process import reader_may_go

TRIED = ("translator", "tts", "sink")
NEEDED = ("translator", "tts")
"""Their defaults must run, or the exit status is 1."""
LIMIT_S = 120


def examine(choice: str, overrides: list[str]) -> str:
    """Load and use what `choice` (such as tts=piper) names; returns what to say of it.

    Raises:
        SttError: it does not run here; the message says what to do.
    """
    group, _, _ = choice.partition("=")
    cfg, _ = compose([choice, *overrides])
    part = build(cfg[group], choice)
    began_s = time.perf_counter()
    if group == "sink":
        with tempfile.TemporaryDirectory() as folder:
            part.open(Path(folder))
            part.close()
        return "ready"
    device = build(cfg.device, "device")
    if group == "tts":
        device = device_of_voice(part, device)
    require(part, device, choice)
    engine.load(part, device)
    load_s = time.perf_counter() - began_s
    if part.network:
        return "installed; it speaks over the network, which was not tried"
    try:
        (_translate if group == "translator" else _speak)(part)
    except Exception as error:
        raise EngineError(f"loads in {load_s:.1f} s, but fails: {reason(error)}") from error
    part.close()
    return f"ready; loads in {load_s:.1f} s"


def _translate(translator: Translator) -> None:
    made = translator.translate("The server is back.")
    if not "".join(engine.clause(each).text for each in made).strip():
        raise EngineError("it says nothing")


def _speak(voice: Synthesizer) -> None:
    onset = None
    for made in voice.synthesize("サーバーが戻りました。"):
        chunk = engine.chunk(made)
        onset = onset or Onset(chunk.sample_rate)
        onset.feed(chunk.samples)
    if onset is None:
        raise EngineError(NO_AUDIO)
    if onset.leading_silence_s is None:
        raise EngineError(SILENCE)


def ask(choice: str, overrides: list[str]) -> tuple[bool, str]:
    """`examine` in a fresh process: whether it runs, and what there is to say."""
    command = [sys.executable, "-m", "stt.doctor", "--examine", choice, *overrides]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return False, f"did not answer within {LIMIT_S} s."
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, said[-1] if said else f"ended with status {done.returncode}."


def _one_each(named: Sequence[str]) -> bool:
    """Is no group named twice, so that all named choices make one configuration?"""
    groups = [choice.partition("=")[0] for choice in named]
    return len(set(groups)) == len(groups)


def _fitting(choice: str, overrides: Sequence[str]) -> list[str]:
    """Those of `overrides` that mean this choice: not the settings of another group that is tried."""
    own = choice.partition("=")[0]
    others = tuple(f"{group}." for group in TRIED if group != own)
    return [o for o in overrides if not o.lstrip("+").startswith(others)]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when the default translator and voice run, 1 when not, 2 for a bad request, 130 when stopped."""
    parser = argparse.ArgumentParser("python -m stt.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("overrides", nargs="*", help="group=name to try only that; others apply to all")  # fmt: skip
    parser.add_argument("--examine", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    try:
        if asked.examine:
            print(examine(asked.examine, asked.overrides))
            return 0
        check_choices(asked.overrides)
        named = [o for o in asked.overrides if o.partition("=")[0] in TRIED]
        others = [o for o in asked.overrides if o not in named]
        defaults = compose([*named, *others] if _one_each(named) else others)[1]
    except SttError as error:
        print(f"stt.doctor: {error}" if not asked.examine else error, file=sys.stderr)
        return 2
    tried = named or [f"{group}={name}" for group in TRIED for name in options(group)]
    width = max(map(len, tried))
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2))
    answers = pool.map(lambda choice: ask(choice, _fitting(choice, others)), tried)
    runs = {}
    try:
        with reader_may_go():
            for choice, (well, said) in zip(tried, answers, strict=True):
                runs[choice] = well
                head = f"{'ok' if well else '--'}  {choice:<{width}}  "
                print(textwrap.fill(said, 110, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False), flush=True)  # fmt: skip
    except KeyboardInterrupt:
        print("stt.doctor: stopped", file=sys.stderr)
        return 130
    finally:
        pool.shutdown(cancel_futures=True)  # where nobody reads on, the rest is not tried
    needed = named or [f"{group}={defaults[group]}" for group in NEEDED]
    return 0 if all(runs.get(choice) for choice in needed) else 1


if __name__ == "__main__":
    sys.exit(main())
