"""What the simulated turnstile writes down: a line for each pulse, whatever tears, fails or starts again."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from drivers.errors import DeviceFailed
from drivers.pins import open_pin_factory
from drivers.sim.pins import SimTurnstileArm, is_high
from drivers.sim.pulses import Pulse, PulseLog, read_pulses
from drivers.turnstile import Turnstile

RELAY, PASSAGE = 17, 27


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pulses.jsonl"


def append(path: Path, times: int = 1) -> None:
    log = PulseLog(path, count(1000).__next__)
    for _ in range(times):
        log.append()
    log.close()


def test_each_pulse_is_a_line_of_its_own(path):
    append(path, 2)
    assert path.read_bytes() == (
        b'{"pulse": 1, "at_ms": 1000, "pid": %d}\n{"pulse": 2, "at_ms": 1001, "pid": %d}\n'
        % (os.getpid(), os.getpid())
    )


def test_the_next_run_goes_on_counting(path):
    append(path, 3)
    append(path, 2)
    assert [pulse.pulse for pulse in read_pulses(path)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "torn", [b'{"pul', b'{"pulse": 2, "at_ms": 1', b"7", b"\xff", b"[]", b'{"pulse": null}']
)
def test_a_torn_line_is_no_pulse_and_spoils_no_other(path, torn):
    append(path)
    with path.open("ab") as file:
        file.write(torn)
    assert [pulse.pulse for pulse in read_pulses(path)] == [1]
    append(path)
    assert [pulse.pulse for pulse in read_pulses(path)] == [1, 2]


def test_a_line_that_is_not_written_whole_is_no_pulse(path, monkeypatch):
    log = PulseLog(path, lambda: 5)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:9] if len(line) > 9 else line))
    with pytest.raises(OSError, match="not written whole"):
        log.append()
    monkeypatch.undo()
    log.append()
    log.close()
    assert list(read_pulses(path)) == [Pulse(1, 5, os.getpid())]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        PulseLog(tmp_path / "nowhere" / "pulses.jsonl", lambda: 0)


def a_turnstile(factory):
    return Turnstile(
        RELAY,
        PASSAGE,
        pin_factory=factory,
        unlock_ms_max=1000,
        on_turned=lambda: None,
        on_failed=lambda _: None,
    )


def test_the_line_is_there_before_the_relay_is_on():
    factory = open_pin_factory("mock")
    seen = []
    SimTurnstileArm(factory, RELAY, PASSAGE, on_pulse=lambda: seen.append(is_high(factory, RELAY)))
    turnstile = a_turnstile(factory)
    assert turnstile.unlock(500)
    assert not turnstile.unlock(500), "a pulse is running"
    turnstile.lock()
    assert turnstile.unlock(500)
    turnstile.close()
    assert seen == [False, False]


def test_a_pulse_that_cannot_be_written_down_does_not_happen():
    def full() -> None:
        raise OSError(28, "no space left on device")

    factory = open_pin_factory("mock")
    SimTurnstileArm(factory, RELAY, PASSAGE, on_pulse=full)
    turnstile = a_turnstile(factory)
    with pytest.raises(DeviceFailed, match="no space left"):
        turnstile.unlock(500)
    assert not is_high(factory, RELAY)
    turnstile.close()
