"""The watchdog is fed while every loop goes round, and only then (a real socket, time as made here)."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gate.core.evidence import Measurement, Reading
from gate.core.inputs import Device, Input, SensorChecked
from gate.service_manager import ServiceManager, watchdog_period_s
from gate.shell.reading import ReadingThread
from gate.shell.watchdog import (
    FEEDS_PER_PERIOD,
    LOOK_EVERY_S,
    Watchdog,
    status_words,
)
from tests.brokers import wait_for
from tests.service_manager import ServiceManagerStandIn

PERIOD_S = 20.0
BOUND_S = 30.0


class Gate:
    """A watchdog in virtual time, with the real socket of a service manager at its other end."""

    def __init__(self, systemd: ServiceManagerStandIn) -> None:
        self.now_s = 1000.0
        self.systemd = systemd
        self.words = "serving"
        self.manager = ServiceManager(systemd.environment(PERIOD_S, os.getpid()))
        self.watchdog = Watchdog(lambda: self.words, self.manager, lambda: self.now_s)

    def pass_s(self, seconds: float, *loops: Callable[[], None]) -> list[str]:
        """Let time pass as a brain does that goes round twice a second; return what was said meanwhile."""
        before, until = len(self.systemd.said()), self.now_s + seconds
        while self.now_s < until:
            self.now_s += 0.5
            for loop in loops:
                loop()
            self.watchdog.turn()
        return self.systemd.said()[before:]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with ServiceManagerStandIn(tmp_path) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
        gate = Gate(systemd)
        yield gate
        gate.manager.close()


def test_the_first_turn_says_ready_and_how_the_gate_stands(gate: Gate) -> None:
    assert gate.systemd.said() == []
    gate.watchdog.turn()
    assert gate.systemd.said() == ["READY=1", "STATUS=serving", "WATCHDOG=1"]


def test_it_is_fed_often_enough_and_no_more_while_every_loop_goes_round(gate: Gate) -> None:
    first, second = gate.watchdog.loop("first", BOUND_S), gate.watchdog.loop("second", BOUND_S)
    said = gate.pass_s(10 * PERIOD_S, first, second)
    assert said.count("READY=1") == 1
    # Whoever looks every second may be late by one.
    assert 10 * FEEDS_PER_PERIOD * 0.8 <= said.count("WATCHDOG=1") <= 10 * FEEDS_PER_PERIOD + 1
    assert PERIOD_S / FEEDS_PER_PERIOD + LOOK_EVERY_S <= PERIOD_S / 2, "systemd wants it twice in its time"


def test_a_loop_that_hangs_ends_the_feeding_within_its_bound_and_is_named_before(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = gate.watchdog.loop("first", BOUND_S), gate.watchdog.loop("second", BOUND_S)
    gate.pass_s(5, first, second)
    assert "WATCHDOG=1" in gate.pass_s(BOUND_S - 1, first)
    assert not caplog.records
    assert "WATCHDOG=1" not in gate.pass_s(10 * BOUND_S, first)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the loop second hangs"]
    assert caplog.records[0].levelno == logging.ERROR
    # It is systemd that decides; should the loop go on, so does the gate.
    assert "WATCHDOG=1" in gate.pass_s(PERIOD_S, first, second)
    assert caplog.records[-1].getMessage() == "the loop second goes on"


def test_a_loop_that_has_never_begun_counts_from_when_the_gate_was_ready(gate: Gate) -> None:
    gate.watchdog.loop("never", BOUND_S)
    gate.now_s += 100 * BOUND_S  # a large ledger takes long to open
    assert "WATCHDOG=1" in gate.pass_s(BOUND_S)
    gate.pass_s(1)
    assert "WATCHDOG=1" not in gate.pass_s(10 * BOUND_S)


def test_a_loop_may_say_that_it_takes_longer_this_once(gate: Gate) -> None:
    slow = gate.watchdog.loop("slow", BOUND_S)
    gate.now_s += 1
    slow(5 * BOUND_S)
    gate.pass_s(2 * BOUND_S)
    assert "WATCHDOG=1" in gate.pass_s(2 * BOUND_S)  # being ready does not shorten what was said
    slow()
    gate.pass_s(BOUND_S + 1)
    assert "WATCHDOG=1" not in gate.pass_s(BOUND_S)


def test_a_brain_that_hangs_feeds_nothing(gate: Gate) -> None:
    loop = gate.watchdog.loop("loop", BOUND_S)
    gate.pass_s(5, loop)
    before = len(gate.systemd.said())
    for _ in range(100):
        gate.now_s += 0.5
        loop()
    assert len(gate.systemd.said()) == before


def test_a_new_state_is_told_within_a_second_and_only_then(gate: Gate) -> None:
    gate.pass_s(2)
    assert not [said for said in gate.pass_s(60) if said.startswith("STATUS")]
    gate.words = "degraded; without camera"
    assert "STATUS=degraded; without camera" in gate.pass_s(LOOK_EVERY_S)


def test_stopping_is_the_last_that_is_said(gate: Gate) -> None:
    gate.pass_s(2)
    gate.watchdog.stopping()
    assert gate.systemd.said()[-2:] == ["STOPPING=1", "STATUS=stopping"]
    assert gate.pass_s(60) == []


class Hanging:
    """A real thermometer thread whose part can be made to hang for good."""

    def __init__(self, gate: Gate) -> None:
        self.in_it, self.let_go = threading.Event(), threading.Event()
        self.turns = 0
        loop = gate.watchdog.loop("thermometer", BOUND_S)

        def turn() -> None:
            loop()
            self.turns += 1

        self.posted: list[Input] = []
        self.thread = ReadingThread(
            self._measure,
            self.posted.append,
            lambda: None,
            lambda: SensorChecked(Device.THERMOMETER, ()),
            turn=turn,
        )

    def _measure(self) -> Measurement:
        self.in_it.set()
        self.let_go.wait(30)
        return Reading(3650, 3640, 3660)


def test_a_thread_that_really_hangs_ends_the_feeding_and_one_that_waits_for_requests_does_not(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.shell.reading.TURN_S", 0.01)
    part = Hanging(gate)
    part.thread.start()
    try:
        for _ in range(5):  # two hours and a half of nobody at the gate
            turns = part.turns
            wait_for(lambda before=turns: part.turns > before + 1, 3, "the thread to go round while it waits")
            assert "WATCHDOG=1" in gate.pass_s(BOUND_S - 1)
        part.thread.request("a")
        assert part.in_it.wait(3)
        gate.pass_s(BOUND_S + 1)
        assert "WATCHDOG=1" not in gate.pass_s(10 * BOUND_S)
        part.let_go.set()
        turns = part.turns
        wait_for(lambda: part.turns > turns + 1, 3, "the thread to go on")
        assert "WATCHDOG=1" in gate.pass_s(PERIOD_S)
    finally:
        part.let_go.set()
        part.thread.stop(5)
    assert len(part.posted) == 2, "one check and one reading"


@pytest.mark.parametrize(
    ("environment", "period_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        # Inherited by a child, which is not the one that is watched.
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_the_time_is_taken_from_the_environment(environment: dict[str, str], period_s: float | None) -> None:
    assert watchdog_period_s(environment) == period_s


def test_without_a_service_manager_nothing_is_sent_and_a_loop_that_hangs_is_named_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 0.0
    watchdog = Watchdog(lambda: "serving", ServiceManager({}), lambda: now_s)
    watchdog.loop("loop", BOUND_S)
    watchdog.turn()
    now_s = BOUND_S + 1
    watchdog.turn()
    watchdog.stopping()
    assert "the loop loop hangs" in caplog.text


def test_a_service_manager_that_is_gone_or_takes_nothing_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "hung")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hung:
        hung.bind(address)
        manager = ServiceManager()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood, pytest.raises(BlockingIOError):
            flood.setblocking(False)
            while True:
                flood.sendto(b"X=1", address)
        brain = threading.Thread(target=manager.notify, args=("WATCHDOG=1",), daemon=True)
        brain.start()
        brain.join(5)
        assert not brain.is_alive()
    manager.notify("WATCHDOG=1")
    manager.close()
    manager.notify("WATCHDOG=1")


def test_the_words_say_the_mode_and_what_is_missing() -> None:
    words = status_words("serving", failed=(), stale=(), unwritten=0, connected=True)
    assert words == "serving"
    words = status_words(
        "closed_hours", failed={"fire_contact", "camera"}, stale={"site_list"}, unwritten=3, connected=False
    )
    assert words == (
        "closed hours; without camera, fire contact; out of date: site list; the ledger cannot be written; "
        "not connected to the broker"
    )
