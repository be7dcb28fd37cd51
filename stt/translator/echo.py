"""A translator that says what it was given: measures everything else, and calibrates the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stt.device import Device
from stt.engine import Translator
from stt.messages import Clause


@dataclass
class Echo(Translator):
    """Returns the text itself as one clause.

    Attributes:
        delay_ms: sleeps this long first (what is measured must be that, within 1 ms or 2 %).
    """

    translates = False

    delay_ms: float

    def load(self, device: Device) -> None:
        """Nothing to load."""

    def effective(self) -> dict[str, Any]:
        """Name and delay."""
        return {"engine": "echo", "device": "cpu", "delay_ms": self.delay_ms}

    def translate(self, text: str) -> Iterator[Clause]:
        """Yield `text` as it is, after the delay."""
        if self.delay_ms > 0:
            time.sleep(self.delay_ms / 1e3)
        yield Clause(text, tokens=len(text.split()), source_tokens=len(text.split()))
