"""Where engines run: a device name and its thread budget."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stt.errors import ConfigError, UnsupportedDevice

if TYPE_CHECKING:
    from stt.engine import Engine


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes:
        name: cpu, cuda, mps or coreml; engines say which they know (`Engine.devices`).
        threads: CPU threads a translator may use; synthesizers state their own (their sum stays within the cores).
    """

    name: str
    threads: int

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError(f"device.threads={self.threads}: choose 1 or more.")
        if self.threads > (cpus := usable_cpus()):
            log.warning(
                "device.threads=%d: this process may use %d CPUs, so threads wait for each other",
                *(self.threads, cpus),
            )


def require(engine: Engine, device: Device, choice: str) -> None:
    """Refuse a device the engine does not know, before anything is loaded.

    Args:
        choice: how the user named the engine, e.g. `tts=xtts`.

    Raises:
        UnsupportedDevice: with the devices that would do.
    """
    if device.name not in engine.devices:
        raise UnsupportedDevice(
            f"{choice} cannot run on device={device.name}: it supports {', '.join(engine.devices)}. "
            f"Choose one of those with device=, or another engine."
        )


def device_of_voice(voice: Engine, device: Device) -> Device:
    """`device`, or the CPU for a voice that only knows that, whatever the translator runs on."""
    return device if device.name in voice.devices else Device("cpu", device.threads)


def torch_device(device: Device) -> str:
    """The torch name of `device`, after checking that torch sees it; also pins torch's CPU threads.

    Raises:
        UnsupportedDevice: torch has no such device on this machine.
    """
    import torch

    torch.set_num_threads(device.threads)
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.name, False):
        there = ", ".join(name for name, here in present.items() if here)
        raise UnsupportedDevice(
            f"device={device.name}: torch {torch.__version__} finds no such device on this machine (it has: {there}). "
            f"Choose device=cpu, or install a torch build and driver for {device.name}."
        )
    return device.name


def usable_cpus() -> int:
    """How many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def native_threads() -> set[int]:
    """Ids of this process's threads, those of libraries included; empty where the system does not tell."""
    task = Path("/proc/self/task")
    return {int(path.name) for path in task.iterdir()} if task.is_dir() else set()


def part(threads: set[int]) -> list[list[int]]:
    """Give each of two threads that work as a team its own half of the usable CPUs.

    A team that slept is often woken on one CPU, where one waits for the other until the scheduler moves it:
    a first clause after a pause came after 40 instead of 14 ms. Every other CPU rather than neighbours, so
    that a half reaches into each socket. Larger teams stay as they are: their threads end and start anew
    while they work (OpenMP), and a new one would inherit the first one's share.

    Returns:
        The CPUs of each thread, in order of thread id; empty where nothing was changed.
    """
    if len(threads) != 2 or not hasattr(os, "sched_setaffinity"):
        return []
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return []
    halves = [cpus[::2], cpus[1::2]]
    for thread, half in zip(sorted(threads), halves, strict=True):
        os.sched_setaffinity(thread, half)
    return halves
