"""Drivers fitted to the gate: what a part says becomes the right input, and a missing one is no crash."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gpiozero import OutputDevice

from drivers.camera import Health, SeenCode, SourceKind
from drivers.errors import DeviceNotAvailable
from drivers.mlx90614 import CONFIG1, EMISSIVITY, VARIANTS, Measurement, Outcome
from drivers.pins import open_pin_factory
from drivers.sim.mlx90614 import Fault, SimMlx90614
from drivers.sim.pins import SimEcho, close_contact, is_high, open_contact
from gate.app.hardware import (
    CameraPart,
    Opened,
    ThermometerPart,
    as_measurement,
    camera_settings,
    open_pins,
)
from gate.app.simulated import PINS
from gate.config import CameraSection, Config, GateSection, MqttSection, PinsSection, ThermometerSection
from gate.core.effects import LightSignal
from gate.core.events import Origin, device_checked, encode
from gate.core.evidence import THERMOMETER_FAULTS, MaskStatus, Reading, Unmeasured
from gate.core.inputs import (
    ArmTurned,
    AttendantConfirmed,
    AttendantRefused,
    CodesRead,
    Device,
    DeviceFailed,
    DeviceRecovered,
    FireAlarmChanged,
    Input,
    MaskSeen,
    PersonArrived,
    PersonLeft,
    SensorChecked,
)
from gate.core.moment import Moment
from gate.demo.witness import event_validator
from gate.sim.timeline import Timeline
from tests.brokers import wait_for

# --- the thermometer


def test_a_good_measurement_keeps_every_number() -> None:
    measured = Measurement(
        Outcome.OK,
        samples_cc=(3371, 3373, 3372),
        value_cc=3651,
        low_cc=3640,
        high_cc=3662,
        raw_cc=3372,
        spread_cc=2,
        ambient_cc=2201,
        corrections=(("supply_voltage", -18), ("ambient_to_core", 297)),
    )
    assert as_measurement(measured) == Reading(
        value_cc=3651,
        low_cc=3640,
        high_cc=3662,
        samples_cc=(3371, 3373, 3372),
        spread_cc=2,
        ambient_cc=2201,
        corrections=(("supply_voltage", -18), ("ambient_to_core", 297)),
    )


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_no_other_outcome_has_a_value(outcome: Outcome) -> None:
    measured = Measurement(outcome, "what was seen", samples_cc=(3650,), raw_cc=3650, spread_cc=0)
    assert as_measurement(measured) == Unmeasured(str(outcome), "what was seen")


def test_the_core_knows_the_words_of_the_part() -> None:
    visitors_doing = {Outcome.UNSTEADY, Outcome.OUT_OF_WINDOW}
    of_the_part = (
        {str(outcome) for outcome in Outcome} - {"ok"} - {str(outcome) for outcome in visitors_doing}
    )
    assert of_the_part | {"not_available", "no_answer"} == THERMOMETER_FAULTS


class CountedBus(SimMlx90614):
    """A simulated part that counts how often its bus was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> CountedBus:
    """Give a part in virtual time, which the driver's waiting spends."""
    time = Timeline()
    monkeypatch.setattr("gate.app.hardware.sleep", time.sleep)
    return CountedBus(VARIANTS["DCC"], monotonic=time.monotonic, sleep=time.sleep)


def a_part(opened: Callable[[], Any]) -> tuple[ThermometerPart, list[Input]]:
    posted: list[Input] = []
    return ThermometerPart(ThermometerSection(), posted.append, opened), posted


def test_a_part_that_is_there_is_opened_once_and_says_nothing(bus: CountedBus) -> None:
    opened: list[int] = []

    def open_bus() -> CountedBus:
        opened.append(1)
        return bus

    part, posted = a_part(open_bus)
    part.prepare()
    assert isinstance(part.measure(), Reading)
    assert isinstance(part.measure(), Reading)
    assert (len(opened), bus.closed, posted) == (1, 0, [])


def test_a_bus_that_is_not_there_is_told_at_the_start_and_tried_again(
    bus: CountedBus, caplog: pytest.LogCaptureFixture
) -> None:
    there = False

    def open_bus() -> CountedBus:
        if not there:
            raise DeviceNotAvailable("/dev/i2c-1", "no such I2C bus", "enable I2C")
        return bus

    part, posted = a_part(open_bus)
    part.prepare()
    assert posted == [DeviceFailed(Device.THERMOMETER, "no such I2C bus; enable I2C")]
    assert "/dev/i2c-1: no such I2C bus; enable I2C" in caplog.text
    assert part.measure() == Unmeasured("not_available", "no such I2C bus; enable I2C")
    there = True
    assert isinstance(part.measure(), Reading)


@pytest.mark.parametrize("fault", [Fault.NACK, Fault.BAD_PEC, Fault.HANG])
def test_a_part_that_does_not_answer_leaves_no_bus_open(bus: CountedBus, fault: Fault) -> None:
    part, posted = a_part(lambda: bus)
    bus.inject(fault)
    part.prepare()
    measured = part.measure()
    assert isinstance(measured, Unmeasured)
    assert measured.reason == "not_available"
    assert [type(happened) for happened in posted] == [DeviceFailed]
    assert bus.closed == 2, "as often as it was opened"
    bus.recover()
    assert isinstance(part.measure(), Reading)


def test_a_part_that_somebody_has_changed_is_not_measured_with(bus: CountedBus) -> None:
    bus.words[EMISSIVITY] = 0x8000
    part, posted = a_part(lambda: bus)
    part.prepare()
    assert isinstance(part.measure(), Unmeasured)
    assert posted == [
        DeviceFailed(Device.THERMOMETER, "its emissivity has been changed; replace the part"),
    ]


def test_faults_of_the_bus_during_a_reading_are_outcomes(bus: CountedBus) -> None:
    part, _ = a_part(lambda: bus)
    part.prepare()
    for fault, reason in ((Fault.NACK, "bus_error"), (Fault.ERROR_FLAG, "sensor_error")):
        bus.inject(fault)
        measured = part.measure()
        assert isinstance(measured, Unmeasured)
        assert measured.reason == reason
        assert measured.detail


def test_a_check_says_what_the_part_says_of_itself(bus: CountedBus) -> None:
    part, posted = a_part(lambda: bus)
    part.prepare()
    found = part.check()
    assert isinstance(found, SensorChecked)
    facts = dict(found.facts)
    assert found.device is Device.THERMOMETER
    assert facts["emissivity"] == "ffff"
    assert facts["config"] == f"{bus.words[CONFIG1]:04x}"
    assert len(str(facts["serial"])) == len(str(facts["fingerprint"])) == 16
    assert facts["ambient_cc"] == pytest.approx(2218, abs=20)  # as it is, with the rise by the supply
    assert "spread_cc" not in facts
    reading = part.measure()
    assert isinstance(reading, Reading)
    again = part.check()
    assert isinstance(again, SensorChecked)
    assert dict(again.facts)["spread_cc"] == reading.spread_cc
    assert (posted, bus.closed) == ([], 0)


def test_what_a_check_says_fits_its_record(bus: CountedBus) -> None:
    part, _ = a_part(lambda: bus)
    part.measure()
    found = part.check()
    assert isinstance(found, SensorChecked)
    event = device_checked(found.device, dict(found.facts))
    body = encode(event, Origin("hall", "g1", "e1", "b"), 1, Moment(1, 1, clock_trusted=True))
    assert event_validator()(body) is None


def test_a_part_that_was_changed_meanwhile_fails_its_check_and_measures_no_more(bus: CountedBus) -> None:
    part, _ = a_part(lambda: bus)
    assert isinstance(part.measure(), Reading)
    bus.words[EMISSIVITY] = 0x8000
    failed = DeviceFailed(Device.THERMOMETER, "its emissivity has been changed; replace the part")
    assert part.check() == failed
    assert bus.closed == 1
    measured = part.measure()
    assert isinstance(measured, Unmeasured)
    assert measured.reason == "not_available"
    bus.words[EMISSIVITY] = 0xFFFF
    assert isinstance(part.check(), SensorChecked)
    assert isinstance(part.measure(), Reading)


@pytest.mark.parametrize("fault", [Fault.NACK, Fault.BAD_PEC, Fault.HANG, Fault.ERROR_FLAG])
def test_a_part_that_fails_its_check_is_opened_anew(bus: CountedBus, fault: Fault) -> None:
    opened: list[int] = []
    part, _ = a_part(lambda: opened.append(1) or bus)  # type: ignore[func-returns-value]
    part.prepare()
    bus.inject(fault)
    assert isinstance(part.check(), DeviceFailed)
    assert isinstance(part.check(), DeviceFailed)
    bus.recover()
    assert isinstance(part.check(), SensorChecked)
    assert len(opened) == bus.closed + 1


# --- the camera

HEALTHY = Health(12.0, 90.0, 4.0, False, 20, 100, 0, 0, 60.0)


@pytest.fixture
def camera(tmp_path: Path) -> tuple[CameraPart, list[Input]]:
    posted: list[Input] = []
    return CameraPart(CameraSection(source="synthetic", path=tmp_path / "scene"), posted.append), posted


def test_reads_become_bytes(camera: tuple[CameraPart, list[Input]]) -> None:
    part, posted = camera
    part._reads((SeenCode(b"\xff\x00", "zxing", "plain", False),), 1)
    part._reads(
        (SeenCode(b"a", "zxing", "plain", False), SeenCode(b"b", "pyzbar", "blue", True)), 2
    )  # one of two is a fragment
    assert posted == [CodesRead((b"\xff\x00",)), CodesRead((b"a", b"b"), fragment=True)]


@pytest.mark.parametrize(
    ("health", "problem"),
    [
        (replace(HEALTHY, frozen=True), "frozen"),
        (replace(HEALTHY, brightness=2.0), "dark"),
        (replace(HEALTHY, brightness=254.0), "overexposed"),
    ],
)
def test_bad_health_is_posted_once_and_its_end_too(
    camera: tuple[CameraPart, list[Input]], health: Health, problem: str
) -> None:
    part, posted = camera
    for each in (HEALTHY, health, health, HEALTHY, HEALTHY):
        part._health(each)
    assert posted == [DeviceFailed(Device.CAMERA, problem), DeviceRecovered(Device.CAMERA)]


def test_a_fault_lasts_until_a_frame_is_seen(
    camera: tuple[CameraPart, list[Input]], caplog: pytest.LogCaptureFixture
) -> None:
    part, posted = camera
    part._fault("crashed", "it is restarted")
    part._fault("crashed", "it is restarted")
    part._health(replace(HEALTHY, brightness=None, sharpness=None))  # a new child, no frame yet
    assert posted == [DeviceFailed(Device.CAMERA, "crashed; it is restarted")]
    part._health(HEALTHY)
    assert posted[1:] == [DeviceRecovered(Device.CAMERA)]
    assert "camera crashed; it is restarted" in caplog.text


def test_camera_settings_come_from_the_configuration(tmp_path: Path) -> None:
    v4l2 = camera_settings(CameraSection(device="/dev/v4l/by-id/x", width=320, height=240, fps=5))
    assert (v4l2.kind, v4l2.path, v4l2.width, v4l2.height, v4l2.fps) == (
        SourceKind.V4L2,
        "/dev/v4l/by-id/x",
        320,
        240,
        5,
    )
    folder = camera_settings(CameraSection(source="folder", path=tmp_path, memory_mb_max=99), seed=4)
    assert (folder.path, folder.memory_mb_max, folder.seed) == (str(tmp_path), 99, 4)


# --- what hangs on pins


def a_config(pins: PinsSection = PINS) -> Config:
    return Config(gate=GateSection(site="s", id="g"), mqtt=MqttSection(host="h"), pins=pins)


class Board:
    """A simulated board with everything of a configuration opened on it."""

    def __init__(self, pins: PinsSection = PINS) -> None:
        self.factory = open_pin_factory("mock")
        self.posted: list[Input] = []
        self.pins = pins

    def open(self) -> Opened:
        return open_pins(a_config(self.pins), self.posted.append, self.factory)

    def wait_posted(self, happened: Input) -> None:
        wait_for(lambda: happened in self.posted, 3, f"{happened}; there came {self.posted}")


@pytest.fixture
def board() -> Board:
    return Board()


def close(opened: Opened) -> None:
    for part in opened.closing:
        part.close()


@pytest.mark.parametrize(
    ("name", "happened"),
    [
        ("confirm", AttendantConfirmed()),
        ("refuse", AttendantRefused()),
        ("mask_on", MaskSeen(MaskStatus.WORN)),
        ("mask_off", MaskSeen(MaskStatus.MISSING)),
        ("passage", ArmTurned()),
        ("beam", PersonArrived()),
    ],
)
def test_each_contact_means_one_thing(board: Board, name: str, happened: Input) -> None:
    close_contact(board.factory, board.pins.fire or 0)
    opened = board.open()
    board.posted.clear()
    close_contact(board.factory, getattr(board.pins, name))
    board.wait_posted(happened)
    open_contact(board.factory, getattr(board.pins, name))
    if name == "beam":
        board.wait_posted(PersonLeft())
    close(opened)
    assert set(map(type, board.posted)) <= {type(happened), PersonLeft}


def test_the_fire_contact_is_told_at_the_start_and_at_each_change(board: Board) -> None:
    opened = board.open()
    assert FireAlarmChanged(active=True) in board.posted, "a loop that is not there means fire"
    close_contact(board.factory, board.pins.fire or 0)
    board.wait_posted(FireAlarmChanged(active=False))
    close(opened)


def test_the_configured_mock_board_has_an_intact_fire_loop() -> None:
    posted: list[Input] = []
    opened = open_pins(a_config(), posted.append)
    close(opened)
    assert posted == [FireAlarmChanged(active=False)], "or trying the gate without pins would be a fire"


def test_outputs_are_off_when_opened_and_when_closed(board: Board) -> None:
    opened = board.open()
    outputs = [board.pins.relay, board.pins.green, board.pins.yellow, board.pins.red, board.pins.buzzer]
    assert not any(is_high(board.factory, pin) for pin in outputs if pin)
    opened.turnstile.hold_open()
    opened.lights.show(LightSignal.GO)
    assert is_high(board.factory, board.pins.relay)
    assert is_high(board.factory, board.pins.green or 0)
    assert opened.closing[0] is opened.turnstile._driver, "the turnstile is closed first"
    close(opened)
    assert not any(is_high(board.factory, pin) for pin in outputs if pin)


def test_without_pins_the_turnstile_has_failed_and_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    posted: list[Input] = []
    opened = open_pins(a_config(replace(PINS, factory="lgpio")), posted.append)
    assert [getattr(happened, "device", None) for happened in posted] == [Device.TURNSTILE]
    assert "GPIO chip" in caplog.text
    assert opened.closing == ()
    assert not opened.turnstile.unlock(300)
    opened.turnstile.hold_open()
    opened.turnstile.lock()
    opened.lights.show(LightSignal.GO)
    assert len(posted) == 1


@pytest.mark.parametrize("act", ["unlock", "hold_open"])
def test_a_relay_that_breaks_is_posted(board: Board, act: str) -> None:
    opened = board.open()
    board.factory.pin(board.pins.relay).broken = True
    board.posted.clear()
    turnstile = opened.turnstile
    assert not (turnstile.unlock(300) if act == "unlock" else turnstile.hold_open())
    assert [getattr(happened, "device", None) for happened in board.posted] == [Device.TURNSTILE]
    board.factory.pin(board.pins.relay).broken = False
    turnstile.lock()
    close(opened)
    assert not is_high(board.factory, board.pins.relay)


def test_a_lamp_that_breaks_is_logged_once_and_the_others_go_on(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    opened = board.open()
    board.factory.pin(board.pins.green).broken = True
    board.posted.clear()
    for signal in (LightSignal.GO, LightSignal.GO, LightSignal.STOP):
        opened.lights.show(signal)
    assert is_high(board.factory, board.pins.red or 0)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "green lamp" in errors[0].message
    assert board.posted == []
    board.factory.pin(board.pins.green).broken = False
    close(opened)


def test_a_distance_sensor_says_who_is_there_and_when_it_is_silent() -> None:
    pins = PinsSection(factory="mock", beam=None, fire=None, distance_trigger=24, distance_echo=25)
    board = Board(pins)
    echo = SimEcho(board.factory, 24, 25, distance_cm=150)
    opened = board.open()
    board.wait_posted(DeviceRecovered(Device.PRESENCE))
    echo.distance_cm = 30
    board.wait_posted(PersonArrived())
    echo.silent = True
    wait_for(partial(_failed, board.posted, Device.PRESENCE), 4, "the silence to be noticed")
    close(opened)
    assert PersonLeft() not in board.posted, "silence is not absence"


def _failed(posted: list[Input], device: Device) -> bool:
    return any(isinstance(happened, DeviceFailed) and happened.device is device for happened in posted)


def test_a_pin_that_is_taken_fails_its_part_alone(board: Board) -> None:
    with OutputDevice(board.pins.beam, pin_factory=board.factory):
        opened = board.open()
        assert [h.device for h in board.posted if isinstance(h, DeviceFailed)] == [Device.PRESENCE]
        assert opened.turnstile.unlock(300)
        close(opened)
