"""What an engine already does in `load` of what a call does, it says: a second call must not pass for the first."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytest

from stt.config import build, compose, options
from stt.device import Device
from stt.engine import Engine, Translator
from stt.errors import SttError

ENGINES = [(group, name) for group in ("translator", "tts") for name in options(group)]
TOOLS = {*sys.stdlib_module_names, "numpy", "torch"}
"""Shared by loading and calling without either being the other."""


def used(work: Callable[[], object]) -> set[tuple[str, str]]:
    """Functions of this program, and of the libraries as it calls them, that `work` uses on any thread."""
    found = set()

    def see(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_code.co_name.startswith("__"):
            return
        module = frame.f_globals.get("__name__", "")
        caller = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
        ours = module.startswith("stt.")
        if ours or (caller.startswith("stt.") and module.partition(".")[0] not in TOOLS):
            found.add((module, frame.f_code.co_qualname))

    before = sys.getprofile()
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return found


def call(made: object) -> None:
    spoken = (
        made.translate("The server is back.")
        if isinstance(made, Translator)
        else made.synthesize("サーバーが戻りました。")
    )
    assert list(spoken)


def loaded(made: Engine) -> tuple[set[tuple[str, str]], object]:
    """What `load` used, and what the engine says of it."""
    try:
        seen = used(lambda: made.load(Device("cpu", 2)))
    except (SttError, ImportError) as error:
        pytest.skip(str(error))
    return seen, made.effective().get("used_in_load")


@pytest.mark.engine
@pytest.mark.parametrize(("group", "name"), ENGINES)
def test_an_engine_says_what_it_already_does_in_load(group, name):
    cfg, _ = compose([f"{group}={name}"])
    made = build(cfg[group], f"{group}={name}")
    if made.network:
        pytest.skip("a call leaves this machine")
    in_load, said = loaded(made)
    try:
        shared = in_load & used(lambda: call(made))
    finally:
        made.close()
    assert bool(shared) == bool(said), (
        f"load and a call both use {sorted(shared)}; effective()['used_in_load'] is {said!r}. "
        "Leave it out of load, or say there what load uses it for."
    )


class Hides(Translator):
    """Loads as fast as it says, and is warm already."""

    def load(self, device):
        list(self.translate("Hello."))

    def effective(self):
        return {"engine": "hides"}

    def translate(self, text):
        from stt.messages import Clause

        yield Clause(text)


Hides.__module__ = "stt.translator.hides"


def test_a_hidden_call_is_found(monkeypatch):
    monkeypatch.setitem(globals(), "__name__", "stt.translator.hides")
    made = Hides()
    in_load, said = loaded(made)
    assert ("stt.translator.hides", "Hides.translate") in in_load & used(lambda: call(made))
    assert said is None
