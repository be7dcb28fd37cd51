"""A device knows its place: threads that this process has CPUs for."""

from __future__ import annotations

import logging

import pytest

from stt.device import Device, usable_cpus
from stt.errors import ConfigError


def test_more_threads_than_cpus_are_said(caplog):
    with caplog.at_level(logging.WARNING):
        Device("cpu", usable_cpus())
        assert not caplog.records
        Device("cpu", usable_cpus() + 1)
    assert f"this process may use {usable_cpus()} CPUs" in caplog.text


def test_no_threads_are_refused():
    with pytest.raises(ConfigError, match=r"device\.threads=0: choose 1 or more"):
        Device("cpu", 0)
