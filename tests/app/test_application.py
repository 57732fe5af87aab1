"""The whole gate on simulated hardware, as a visitor, a thief, a broken wire and a power cut meet it."""

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from drivers.sim.mlx90614 import Fault
from gate.app.application import StateFolderError
from gate.app.desk import DeskError, ask
from gate.app.simulated import PINS
from gate.config import CameraSection, Config, MqttSection, ThermometerSection
from gate.core import actor
from gate.core.effects import Effect, HoldOpen, Record, Unlock
from gate.core.events import Kind, gate_stopped
from gate.core.evidence import Direction
from gate.core.inputs import (
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DocumentReceived,
    FireAlarmChanged,
    Input,
    LedgerOpened,
    PersonArrived,
    ReadingTaken,
    RecordFailed,
    Started,
)
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.core.uses import Use
from gate.demo.witness import event_validator
from gate.shell.desk import SOCKET_NAME
from gate.shell.inbox import INBOX_MAX
from gate.sinks.connection import Connection
from gate.sinks.faults import LinkDown
from gate.store.ledger import Ledger, verify
from tests.app.running_gate import GATE, SITE, RunningGate, a_config
from tests.brokers import HOST, Mosquitto, Subscriber, free_port, password_file, wait_for
from tests.integration.test_mosquitto import Authority, a_tls_broker

pytestmark = pytest.mark.apart


def relay(place: Any) -> bool:
    return bool(place.relay_on)


def test_a_visit_is_durable_before_the_relay_and_arrives_whole(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        with RunningGate(a_config(tmp_path, broker.port)) as gate:
            assert not relay(gate.place), "the relay is off at the start"
            seen: list[tuple[bool, int]] = []

            def meddle(_happened: Input, effect: Effect | None) -> None:
                if isinstance(effect, Record) and effect.event.data.get("stage") == "authorised":
                    seen.append((relay(gate.place), len(gate.bodies())))

            gate.meddle = meddle
            gate.visit()
            assert seen == [(False, 3)], "durable, and only then the relay"
            assert [type(effect) for _, effect, _ in gate.steps].count(Unlock) == 1
        assert not relay(gate.place), "the relay is off after the stop"
        assert [event["type"] for event in gate.events()] == [
            "hg.gate.started.v1",
            "hg.device.checked.v1",
            "hg.visit.decided.v1",
            "hg.visit.closed.v1",
            "hg.gate.stopped.v1",
        ]
        wait_for(lambda: len(subscriber.bodies()) >= 5, 5, "five events")
        assert subscriber.bodies() == gate.bodies()
        assert [event_validator()(body) for body in gate.bodies()] == [None] * 5
        assert told(subscriber)["state"] == "disconnected"
    assert verify(gate.ledger).ok


# --- the outputs are safe whatever happens


def test_an_error_in_the_brain_ends_the_gate_with_the_relay_off(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with RunningGate(a_config(tmp_path)) as gate:
        on: list[bool] = []

        def meddle(_happened: Input, effect: Effect | None) -> None:
            if isinstance(effect, Unlock):
                on.append(relay(gate.place))
                raise ZeroDivisionError("a programming error in the middle of a pulse")

        gate.meddle = meddle
        wait_for(lambda: gate.app.camera_pid is not None, 10, "the camera child")
        child = gate.app.camera_pid
        gate.come(gate.issuer.issue())
        assert isinstance(gate.take_error(), ZeroDivisionError)
        assert on == [True]
        assert not relay(gate.place)
        assert child is not None
        assert not Path(f"/proc/{child}").exists(), "the camera child is gone"
        left = [thread.name for thread in threading.enumerate() if thread not in threads]
        assert left == [], "no thread is left"
        assert threading.excepthook is not gate.app._thread_failed
        assert gate.events()[-1]["data"]["stage"] == "authorised", "what was open is left to the next start"


def test_an_error_in_another_thread_ends_the_gate_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def measure(_: object) -> None:
        raise ZeroDivisionError("a programming error in the thermometer's thread")

    monkeypatch.setattr("gate.app.hardware.Mlx90614.measure", measure)
    with RunningGate(a_config(tmp_path)) as gate:
        gate.place.step_up()
        assert isinstance(gate.take_error(), ZeroDivisionError)
    assert "thread thermometer failed" in caplog.text
    assert not relay(gate.place)


def crash_at_the_unlock(gate: RunningGate) -> None:
    """Let somebody come, and end the gate by an error between the record and the arm."""

    def meddle(_happened: Input, effect: Effect | None) -> None:
        if isinstance(effect, Unlock):
            raise ZeroDivisionError

    gate.meddle = meddle
    gate.come(gate.issuer.issue())
    gate.take_error()


def test_the_next_start_closes_what_a_crash_left_open(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with RunningGate(config) as gate:
        crash_at_the_unlock(gate)
    visit = gate.events()[-1]["data"]["visit"]
    with RunningGate(config) as again:
        again.wait_recorded(Kind.VISIT_CLOSED, visit=visit, result="interrupted", duration_ms=None)
    assert verify(gate.ledger).ok


def test_a_stop_during_a_pulse_locks_at_once(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        stopped_ns: list[int] = []

        def meddle(_happened: Input, effect: Effect | None) -> None:
            if isinstance(effect, Unlock):
                assert relay(gate.place)
                gate.app.stop()
                stopped_ns.append(time.monotonic_ns())

        gate.meddle = meddle
        gate.come(gate.issuer.issue())
        wait_for(lambda: stopped_ns and not relay(gate.place), 5, "the relay to be off")
        assert time.monotonic_ns() - stopped_ns[0] < 250_000_000, "sooner than the pulse of 300 ms"
        gate.wait_ended()
        assert [event["data"].get("result") for event in gate.events()[-2:]] == ["interrupted", None]
        assert gate.events()[-1]["type"] == "hg.gate.stopped.v1"


def test_a_relay_that_cannot_be_driven_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.place._factory.pin(PINS.relay).broken = True
        gate.come(gate.issuer.issue())
        failed = gate.wait_recorded(Kind.DEVICE_FAILED, device="turnstile")
        assert "wiring" in failed["problem"]
        wait_for(lambda: gate.app.actor.mode is Mode.FAULT, 3, "the mode to be fault")
        gate.wait_recorded(Kind.VISIT_CLOSED, result="not_passed")
        gate.place._factory.pin(PINS.relay).broken = False


def test_a_lamp_that_cannot_be_driven_keeps_nobody_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.place._factory.pin(PINS.green).broken = True
        gate.visit()
        assert gate.app.actor.mode is Mode.SERVING
        gate.place._factory.pin(PINS.green).broken = False
    assert "green lamp" in caplog.text


# --- fire


def test_a_fire_alarm_at_the_start_opens_within_a_second(tmp_path: Path) -> None:
    began = time.monotonic()
    with RunningGate(a_config(tmp_path), before=lambda place: place.fire(active=True)) as gate:
        wait_for(lambda: relay(gate.place), 1, "the relay to be held")
        assert time.monotonic() - began < 2
        gate.place.step_up()
        wait_for(lambda: gate.handled(PersonArrived), 2, "an arrival")
        assert gate.app.actor.visit is None
        gate.place.fire(active=False)
        wait_for(lambda: not relay(gate.place), 1, "the relay to be released")
    assert [event["data"]["active"] for event in gate.events() if "fire" in event["type"]] == [True, False]


def test_a_fire_during_a_visit_opens_within_a_second(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.come(gate.issuer.issue(), mask=False)
        wait_for(lambda: gate.handled(CodesRead) and gate.handled(ReadingTaken), 5, "evidence")
        gate.place.fire(active=True)
        wait_for(lambda: relay(gate.place), 1, "the relay to be held")
        gate.wait_recorded(Kind.FIRE_ALARM, active=True)
        alarm = [effect for happened, effect, _ in gate.steps if isinstance(happened, FireAlarmChanged)]
        assert isinstance(alarm[2], HoldOpen), "before every record"  # the start said: no alarm; then None
        gate.wait_recorded(Kind.VISIT_CLOSED, result="interrupted")
        assert gate.unlocks() == 0


# --- parts that fail


def test_without_any_device_the_gate_says_what_to_do_and_admits_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(
        a_config(tmp_path),
        pins=replace(PINS, factory="lgpio"),
        thermometer=ThermometerSection(bus=str(tmp_path / "i2c-1")),
        camera=CameraSection(source="v4l2", device="/dev/v4l/by-id/none", path=tmp_path / "scene.json"),
    )
    everything = {Device.TURNSTILE, Device.THERMOMETER, Device.CAMERA}
    with RunningGate(config, world_of=lambda real: replace(real, pin_factory=None, open_bus=None)) as gate:
        wait_for(lambda: gate.app.actor.failed_devices == everything, 10, "all parts to be missed")
        assert gate.app.actor.mode is Mode.FAULT
        assert gate.shown()[-1] is Key.GATE_FAULT
    failed = [event["data"] for event in gate.events() if event["type"] == "hg.device.failed.v1"]
    assert {data["device"] for data in failed} == {str(device) for device in everything}
    for data, advice in zip(
        sorted(failed, key=lambda data: str(data["device"])),
        (["plug the camera in"], ["enable I2C"], ["run on a Raspberry Pi", "python3-lgpio"]),
        strict=True,
    ):
        assert any(word in data["problem"] for word in advice), data
        assert any(word in caplog.text for word in advice), advice


def test_without_a_thermometer_everybody_goes_to_staff_until_it_is_there(tmp_path: Path) -> None:
    config = replace(a_config(tmp_path), thermometer=ThermometerSection(bus=str(tmp_path / "i2c-1")))
    with RunningGate(config, world_of=lambda real: replace(real, open_bus=None)) as gate:
        failed = gate.wait_recorded(Kind.DEVICE_FAILED, device="thermometer")
        assert "enable I2C" in failed["problem"], "known before anybody came"
        assert gate.app.actor.mode is Mode.DEGRADED
        gate.come(gate.issuer.issue())
        decided = gate.wait_recorded(Kind.VISIT_DECIDED)
        assert decided["stage"] == "referred"
        assert decided["evidence"]["temperature"][0]["unmeasured"] == "not_available"
        assert gate.unlocks() == 0


def test_a_thermometer_that_hangs_sends_to_staff_and_recovers(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.place._sensor.inject(Fault.HANG)
        began = time.monotonic()
        gate.come(gate.issuer.issue())
        gate.wait_recorded(Kind.DEVICE_FAILED, device="thermometer")
        assert time.monotonic() - began < 5
        gate.wait_recorded(Kind.VISIT_DECIDED, stage="referred")
        assert gate.unlocks() == 0
        gate.place.press("refuse")
        gate.wait_recorded(Kind.VISIT_CLOSED)
        gate.leave()
        gate.place._sensor.recover()
        gate.visit()
        gate.wait_recorded(Kind.DEVICE_RECOVERED, device="thermometer")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_camera_child_that_dies_or_hangs_is_noticed_and_replaced(
    tmp_path: Path, blow: signal.Signals
) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.come("https://tickets.example/r/8F2C")
        wait_for(lambda: gate.handled(CodesRead), 10, "the camera to see")
        child = gate.app.camera_pid
        assert child is not None
        os.kill(child, blow)
        gate.place.show(gate.issuer.issue())
        gate.wait_recorded(Kind.DEVICE_FAILED, within_s=5, device="camera")
        assert gate.app.actor.mode is Mode.DEGRADED
        gate.wait_recorded(Kind.DEVICE_RECOVERED, device="camera")
        assert gate.app.camera_pid not in {None, child}
        assert not Path(f"/proc/{child}").exists()
        # By now the visitor has passed on what the new child saw, or was sent to staff without a code.
        decided = gate.wait_recorded(Kind.VISIT_DECIDED)
        code = decided["evidence"]["code"]
        assert (decided["stage"] == "authorised") == (code is not None and code["reason"] == "ok"), decided


# --- time, inputs, places


def test_without_a_trusted_clock_passes_go_to_staff_and_every_event_says_so(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path), trusted=False) as gate:
        gate.come(gate.issuer.issue())
        decided = gate.wait_recorded(Kind.VISIT_DECIDED)
        assert decided["stage"] == "referred"
        assert decided["evidence"]["code"]["reason"] == "clock_untrusted"
        assert gate.unlocks() == 0
        gate.place.press("confirm")
        gate.wait_recorded(Kind.VISIT_DECIDED, stage="authorised")
    assert {event["data"]["clock"]["trusted"] for event in gate.events()} == {False}


def test_lost_inputs_are_recorded_and_a_fire_alarm_is_never_lost(tmp_path: Path) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def meddle(happened: Input, _effect: Effect | None) -> None:
        if isinstance(happened, PersonArrived):
            busy.set()
            go_on.wait(10)

    with RunningGate(a_config(tmp_path)) as gate:
        gate.meddle = meddle
        gate.place.step_up()
        assert busy.wait(5)
        before = gate.app._inbox._queue.qsize()
        for _ in range(INBOX_MAX - before + 17):
            gate.app._inbox.post(CodesRead((b"the same",)))
        gate.place.fire(active=True)
        wait_for(lambda: gate.app._inbox._queue.qsize() > INBOX_MAX, 2, "the alarm to be posted")
        gate.meddle = lambda _happened, _effect: None
        go_on.set()
        lost = gate.wait_recorded(Kind.ANOMALY, what="inbox_overflowed")
        number = int(lost["detail"].split()[0])
        assert 17 <= number < 50, "17, and what the camera said meanwhile"
        wait_for(lambda: relay(gate.place), 2, "the relay to be held")


def test_a_second_gate_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with RunningGate(config) as gate:
        with pytest.raises(StateFolderError, match=r"another gate is running on .*; stop it first"):
            RunningGate(config)
        gate.visit()
    with RunningGate(config):
        pass
    assert verify(gate.ledger).ok


# --- the ledger fails


def noise(config: Config) -> None:
    config.gate.state_dir.mkdir(parents=True)
    (config.gate.state_dir / "ledger.db").write_bytes(os.urandom(40_000))


def of_another_gate(config: Config) -> None:
    config.gate.state_dir.mkdir(parents=True)
    path = config.gate.state_dir / "ledger.db"
    ledger = Ledger(path, site=SITE, gate="south-9", new_epoch="ab" * 8, boot_id="boot")
    ledger.append(gate_stopped(), Moment(1, 1, clock_trusted=True))
    ledger.close()


@pytest.mark.parametrize("spoil", [noise, of_another_gate])
def test_a_ledger_that_cannot_be_used_closes_the_gate_and_stays_as_it_is(
    tmp_path: Path, spoil: Callable[[Config], None], caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        config = a_config(tmp_path, broker.port)
        spoil(config)
        caplog.set_level(logging.INFO, "gate.app")
        path = config.gate.state_dir / "ledger.db"
        before = path.read_bytes()
        with RunningGate(config) as gate:
            wait_for(lambda: gate.app.actor.mode is Mode.FAULT, 3, "the gate to be closed")
            wait_for(lambda: subscriber.bodies("state"), 3, "the state to be told")
            wait_for(lambda: told(subscriber)["mode"] == "fault", 3, "the state to say so")
            gate.wait_shown(Key.GATE_FAULT)
            gate.place.step_up()
            wait_for(lambda: gate.handled(PersonArrived), 3, "an arrival")
            assert gate.app.actor.visit is None
            gate.place.fire(active=True)
            wait_for(lambda: relay(gate.place), 1, "the relay to be held all the same")
        assert path.read_bytes() == before
        assert subscriber.bodies() == [], "nothing of what was found there is sent as this gate's"
    assert "empty state folder" in caplog.text or "state folder of its own" in caplog.text
    assert "in fault, not serving: the ledger cannot be opened" in caplog.text
    assert "mode fault, before serving" in caplog.text
    assert "serving; ledger of" not in caplog.text


def told(subscriber: Subscriber) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(subscriber.bodies("state")[-1])
    return state


def test_a_ledger_that_can_be_used_again_is_sent_behind_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "LEDGER_RETRY_NS", 300_000_000)
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        config = a_config(tmp_path, broker.port)
        with RunningGate(config) as gate:
            gate.visit()
        path, aside = gate.ledger, tmp_path / "aside.db"
        path.rename(aside)
        path.write_bytes(os.urandom(5000))
        with RunningGate(config) as gate:
            wait_for(lambda: gate.app.actor.mode is Mode.FAULT, 3, "the gate to be closed")
            wait_for(lambda: told(subscriber).get("mode") == "fault", 3, "the state to say so")
            path.unlink()
            aside.rename(path)
            wait_for(lambda: gate.app.actor.mode is Mode.SERVING, 3, "the gate to serve again")
            gate.issuer.issue()  # the first pass of either run is the same, and has been used
            gate.visit()
        assert subscriber.bodies() == gate.bodies(), "each once, in order"
    assert verify(path).ok


def test_what_was_on_record_before_is_taken_up_when_the_ledger_opens_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "LEDGER_RETRY_NS", 300_000_000)
    config = a_config(tmp_path)
    with RunningGate(config) as gate:
        gate.visit()
        crash_at_the_unlock(gate)
    visit = gate.events()[-1]["data"]["visit"]
    path, aside = gate.ledger, tmp_path / "aside.db"
    path.rename(aside)
    path.write_bytes(os.urandom(5000))
    with RunningGate(config) as again:
        wait_for(lambda: again.app.actor.mode is Mode.FAULT, 3, "the gate to be closed")
        assert not again.handled(LedgerOpened)
        path.unlink()
        aside.rename(path)
        again.wait_recorded(Kind.VISIT_CLOSED, visit=visit, result="interrupted", duration_ms=None)
        wait_for(lambda: again.app.actor.mode is Mode.SERVING, 5, "the gate to serve again")
        again.come(again.issuer.issue())  # the first pass of either run is the same
        decided = again.wait_recorded(Kind.VISIT_DECIDED)
        assert (decided["stage"], decided["evidence"]["code"]["reason"]) == ("referred", "replay")
        assert again.count(LedgerOpened) == 1
    assert verify(path).ok


def test_a_ledger_that_was_open_from_the_start_is_not_taken_up_twice(tmp_path: Path) -> None:
    with RunningGate(a_config(tmp_path)) as gate:
        gate.visit()
    assert not gate.handled(LedgerOpened)


@pytest.mark.parametrize("trusted", [True, False])
def test_uses_are_forgotten_only_by_a_clock_that_is_trusted(tmp_path: Path, trusted: bool) -> None:
    config = a_config(tmp_path)
    config.gate.state_dir.mkdir()
    path = config.gate.state_dir / "ledger.db"
    long_ago = Use("counter/cafe0001", Direction.IN, 1_600_000_000_000, 1_600_000_000)
    ledger = Ledger(path, site=SITE, gate=GATE, new_epoch="ab" * 8, boot_id="boot")
    ledger.append(gate_stopped(), Moment(1, 1, clock_trusted=True), long_ago)
    ledger.close()
    with RunningGate(config, trusted=trusted) as gate:
        (started,) = [happened for happened, _, _ in gate.steps if isinstance(happened, Started)][:1]
    assert started.uses == (() if trusted else (long_ago,))


def desk_answers(config: Config) -> bool:
    try:
        return bool(ask(config.gate.state_dir / SOCKET_NAME, {"show": True})["ok"])
    except DeskError:
        return False


def test_without_a_desk_everybody_is_served_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = a_config(tmp_path)
    config.gate.state_dir.mkdir()
    taken = config.gate.state_dir / SOCKET_NAME
    taken.write_text("precious")
    with RunningGate(config) as gate:
        failed = gate.wait_recorded(Kind.DEVICE_FAILED, device="desk")
        assert "remove what is there" in failed["problem"]
        gate.visit()
        assert gate.app.actor.mode is Mode.SERVING
        assert gate.app.actor.failed_devices == {Device.DESK}
        assert not desk_answers(config)
    assert "the desk cannot be opened" in caplog.text
    assert taken.read_text() == "precious"
    taken.unlink()
    with RunningGate(config) as again:
        wait_for(lambda: desk_answers(config), 3, "the desk to answer")
        assert again.app.actor.failed_devices == frozenset()
    assert not taken.exists()


def test_what_is_said_at_the_desk_is_said_of_the_visitor_who_is_there(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with RunningGate(config) as gate:
        socket_path = config.gate.state_dir / SOCKET_NAME
        gate.come(mask=False)
        visit = gate.wait_recorded(Kind.VISIT_DECIDED, stage="referred")["visit"]
        assert ask(socket_path, {"refuse": True, "visit": visit})["visit"] == visit
        gate.wait_recorded(Kind.VISIT_CLOSED, visit=visit)
        gate.leave()
        with pytest.raises(DeskError, match="that visitor has gone"):
            ask(socket_path, {"confirm": True, "visit": visit})
    said = [happened for happened, _, _ in gate.steps if isinstance(happened, AttendantRefused)]
    assert {word.visit for word in said} == {visit}
    assert not gate.handled(AttendantConfirmed)


def test_documents_come_right_after_the_start_before_anything_else(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    folder = config.gate.state_dir / "documents"
    folder.mkdir(parents=True)
    for name in ("b", "a"):
        (folder / f"{name}.hgd").write_text(f"HGD1:{name}\n")
    with RunningGate(config, before=lambda place: place.fire(active=True)) as gate:
        wait_for(lambda: gate.handled(FireAlarmChanged), 3, "the alarm")
    happened = [happened for happened, effect, _ in gate.steps if effect is None]
    assert isinstance(happened[0], Started)
    assert happened[1:3] == [DocumentReceived(b"HGD1:a"), DocumentReceived(b"HGD1:b")]
    assert gate.app.actor.failed_devices == frozenset(), "a document that is refused was read"


def test_documents_that_cannot_be_read_are_a_part_that_failed(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    config.gate.state_dir.mkdir()
    (config.gate.state_dir / "documents").write_text("no folder")
    with RunningGate(config) as gate:
        failed = gate.wait_recorded(Kind.DEVICE_FAILED, device="documents")
        assert str(config.gate.state_dir / "documents") in failed["problem"]
        wait_for(lambda: gate.app.actor.mode is Mode.DEGRADED, 3, "the mode to say so")
        gate.visit()
    assert [event["type"] for event in gate.events()][:2] == ["hg.gate.started.v1", "hg.device.failed.v1"]


def test_a_full_disk_closes_the_gate_says_so_and_loses_nothing_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "LEDGER_RETRY_NS", 300_000_000)
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        with RunningGate(a_config(tmp_path, broker.port)) as gate:
            gate.visit()
            gate.place.step_up()
            writer = gate.app._ledger._ledger
            assert writer is not None
            (pages,) = writer._db.execute("PRAGMA page_count").fetchone()
            writer._db.execute(f"PRAGMA max_page_count = {pages}")
            while not gate.handled(RecordFailed):  # until the last page is full
                gate.place.force()
            wait_for(lambda: gate.app.actor.mode is Mode.FAULT, 3, "the gate to be closed")
            wait_for(lambda: told(subscriber)["mode"] == "fault", 3, "the retained state to say so")
            assert gate.app.actor.visit is None
            assert not relay(gate.place)
            unlocks = gate.unlocks()
            gate.leave()
            gate.place.step_up()
            gate.place.force()
            writer._db.execute("PRAGMA max_page_count = 1000000")
            wait_for(lambda: gate.app.actor.mode is Mode.SERVING, 5, "the gate to serve again")
            wait_for(lambda: told(subscriber)["mode"] == "serving", 3, "the retained state to say so")
            assert gate.unlocks() == unlocks
            gate.leave()
            gate.visit()
        wait_for(lambda: len(subscriber.bodies()) >= len(gate.bodies()), 5, "all events")
        assert subscriber.bodies() == gate.bodies()
    assert any(event["data"].get("late") for event in gate.events())
    modes = [event["data"]["mode"] for event in gate.events() if event["type"] == "hg.gate.mode.v1"]
    assert modes == ["fault", "serving"]
    assert verify(gate.ledger).ok


# --- the broker fails


@dataclass
class Trouble:
    """A broker that does not take records, what the gate says of it, and how it is mended."""

    broker: Mosquitto
    section: MqttSection
    words: str
    mend: Callable[[], object]
    listen: Callable[[], Subscriber]


def away(folder: Path) -> Trouble:
    broker = Mosquitto(folder)
    section = MqttSection(host=HOST, port=broker.port)
    return Trouble(broker, section, "nothing listens", lambda: None, lambda: Subscriber(broker.port, qos=1))


def wrong_password(folder: Path) -> Trouble:
    broker = Mosquitto(folder, f"password_file {password_file(folder, 'gate', 'changed')}")
    broker.start()
    (folder / "password").write_text("secret\n")
    section = MqttSection(host=HOST, port=broker.port, username="gate", password_file=folder / "password")
    return Trouble(
        broker,
        section,
        "check user name, password",
        lambda: password_file(folder, "gate", "secret"),
        lambda: Subscriber(broker.port, qos=1, login=("gate", "secret")),
    )


def expired(folder: Path) -> Trouble:
    authority, plain = Authority(folder / "ca"), free_port()
    files = authority.issue("broker", days=(-10, -1))
    broker = a_tls_broker(folder, authority, files, f"listener {plain} {HOST}")
    broker.start()
    section = MqttSection(host=HOST, port=broker.port, ca_file=authority.ca_file)

    def listen() -> Subscriber:
        wait_for(lambda: listens(plain), 3, "the second port to be open")
        return Subscriber(plain, qos=1)

    return Trouble(broker, section, "has expired", lambda: authority.issue("broker"), listen)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


@pytest.mark.parametrize("trouble", [away, wrong_password, expired])
def test_visits_go_on_without_the_broker_and_everything_arrives_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Path], Trouble]
) -> None:
    monkeypatch.setattr("gate.sinks.mqtt.retry_delay_s", lambda *_, **__: 0.5)
    held, really_open = threading.Event(), Connection.open

    def open_unless_held(link: Connection, *args: Any) -> None:
        if held.is_set():
            raise LinkDown("held back until somebody listens")
        really_open(link, *args)

    monkeypatch.setattr(Connection, "open", open_unless_held)
    the = trouble(tmp_path / "broker")
    with RunningGate(a_config(tmp_path, the.section)) as gate:
        status = gate.app.sink.status
        wait_for(lambda: the.words in (status().last_error or ""), 8, f"{the.words!r}")
        gate.visit()
        wait_for(lambda: status().head == 4, 3, "the outbox to grow")
        assert (status().connected, status().acknowledged) == (False, 0)
        assert (status().oldest_unacknowledged_age_s or 0) > 0.5
        assert gate.app.actor.mode is Mode.SERVING
        with contextlib.ExitStack() as stack:
            held.set()
            the.broker.__exit__()
            the.mend()
            stack.enter_context(the.broker)
            subscriber = stack.enter_context(the.listen())
            held.clear()
            wait_for(lambda: status().acknowledged == 4, 8, "the acknowledgements")
            wait_for(lambda: len(subscriber.bodies()) >= 4, 3, "the events")
            assert subscriber.bodies() == gate.bodies()
            assert (told(subscriber)["mode"], told(subscriber)["seq"]) == ("serving", 4)
            gate.app.stop()
            gate.wait_ended()
