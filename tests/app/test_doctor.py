"""The doctor: each check on both sides, beside a running gate, with a broken configuration, in time."""

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt import publish
from pytest import MonkeyPatch, fixture, mark

from drivers.camera import Health
from drivers.i2c import I2cBus, open_bus
from drivers.mlx90614 import EMISSIVITY, VARIANTS
from drivers.pins import open_pin_factory
from drivers.sim.mlx90614 import Fault, SimMlx90614
from gate.app import doctor, hardware
from gate.app.application import World, claim
from gate.app.board import Board
from gate.app.doctor import Check, Status, broker, devices, machine, raspberry_pi
from gate.app.doctor.check import Part, Running
from gate.app.documents import DocumentFolder
from gate.config import (
    CameraSection,
    CentreSection,
    Config,
    GateSection,
    MqttSection,
    PinsSection,
    ThermometerSection,
    load_config,
)
from gate.core import events
from gate.core.delivery import Ask, Receipt
from gate.core.documents import Document, Occupancy, sign_document
from gate.core.mode import Mode
from gate.core.moment import Moment
from gate.shell.desk import SOCKET_NAME, DeskServer, DeskStatus
from gate.sinks.connection import Connection
from gate.store.ledger import Ledger, Outbox
from tests.app.bounded import in_time
from tests.brokers import HOST, Mosquitto, StrictBroker, Subscriber, free_port, password_file, wait_for
from tests.centre import CENTRE_KEY, DEVICE_KEY, public
from tests.integration.test_mosquitto import Authority, a_tls_broker
from tests.sinks.test_mqtt_documents import DocumentBroker

NOW = Moment(mono_ns=1_000_000_000, wall_ms=1_800_000_000_000, clock_trusted=True)
HOUR_MS = 3_600_000


def only(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


# Configuration


def write_config(folder: Path, *, port: int = 1, extra: str = "", gate: str = "") -> Path:
    (folder / "scene.json").write_text('{"codes": []}')
    key = {"issuer": "counter", "issuer_name": "Counter", "public_key": "ab" * 32}
    lines = [f'{name} = "{value}"' for name, value in key.items()]
    (folder / "keys.toml").write_text("\n".join(["[[keys]]", *lines, 'purposes = ["visitor"]\n']))
    path = folder / "gate.toml"
    path.write_text(f"""
[gate]
site = "north-hall"
id = "gate-1"
state_dir = "{folder / "state"}"
clock = "always_trusted"
trust_files = ["{folder / "keys.toml"}"]
{gate}
[mqtt]
host = "{HOST}"
port = {port}
[camera]
device = "/dev/v4l/by-id/none"
{extra}
""")
    return path


def test_a_good_configuration_is_named_with_its_policy_and_keys(tmp_path: Path) -> None:
    found = machine.Found()
    checks = by_name(machine.configuration(write_config(tmp_path), found))
    assert {check.status for check in checks.values()} == {Status.OK}
    assert checks["policy"].value.startswith("township-routine, version 2, ")
    assert checks["trusted keys"].value == "1, of counter"
    assert found.config is not None


def test_every_problem_of_the_configuration_is_listed(tmp_path: Path) -> None:
    path = write_config(tmp_path, extra='fsp = 3\nwidth = "big"')
    check = only(machine.configuration(path, machine.Found()))
    assert (check.status, check.value) == (Status.FAILED, f"{path}: 2 problems")
    assert "did you mean 'fps'?" in check.advice
    assert "camera.width" in check.advice


def test_a_policy_and_keys_that_do_not_exist_are_each_named(tmp_path: Path) -> None:
    path = write_config(tmp_path, gate='policy = "county-hal"')
    text = path.read_text().replace("keys.toml", "none-1.toml", 1)
    path.write_text(text.replace('none-1.toml"', f'none-1.toml", "{tmp_path}/none-2.toml"'))
    checks = by_name(machine.configuration(path, machine.Found()))
    assert "did you mean 'county-hall'?" in checks["policy"].advice
    keys = checks["trusted keys"]
    assert keys.status is Status.FAILED
    assert "none-1.toml" in keys.advice
    assert "none-2.toml" in keys.advice


# Documents of the day and health services

COUNTER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)


def office(tmp_path: Path) -> Config:
    path = write_config(tmp_path)
    (tmp_path / "keys.toml").write_text(
        f"""[[keys]]
issuer = "counter"
issuer_name = "Counter"
public_key = "{COUNTER.public_key().public_bytes_raw().hex()}"
purposes = ["documents"]
"""
    )
    return load_config(path)


def keep(config: Config, name: str, count: int, ends_s: int, *, site: str = "north-hall") -> None:
    now_s = NOW.wall_ms // 1000
    content = Occupancy(count, now_s)
    document = Document(site, "counter", 3, now_s - 10, now_s + ends_s, content)
    DocumentFolder(config.gate.state_dir / "documents").keep(name, sign_document(COUNTER, document).encode())


def test_no_documents_at_all(tmp_path: Path) -> None:
    check = only(machine.documents(office(tmp_path), NOW))
    assert (check.status, check.value) == (Status.OK, "none")


@mark.parametrize(("ends_s", "status"), [(0, Status.OK), (-1, Status.WARNING)])
def test_documents_that_are_out_of_their_time(tmp_path: Path, ends_s: int, status: Status) -> None:
    config = office(tmp_path)
    config.gate.state_dir.mkdir()
    keep(config, "occupancy-counter", 5, ends_s)
    check = only(machine.documents(config, NOW))
    assert (check.status, check.value) == (status, "occupancy 3")
    assert ("occupancy is out of its time" in check.advice) is (status is Status.WARNING)
    unsure = only(machine.documents(config, replace(NOW, clock_trusted=False)))
    assert unsure.status is Status.WARNING


def test_documents_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    config = office(tmp_path)
    config.gate.state_dir.mkdir()
    (config.gate.state_dir / "documents").write_text("no folder")
    check = only(machine.documents(config, NOW))
    assert (check.status, check.value) == (Status.WARNING, "none")
    assert f"documents in {config.gate.state_dir / 'documents'} cannot be read: " in check.advice


def test_a_document_for_another_site_is_not_taken(tmp_path: Path) -> None:
    config = office(tmp_path)
    config.gate.state_dir.mkdir()
    keep(config, "occupancy-counter", 5, 10, site="south-hall")
    check = only(machine.documents(config, NOW))
    assert (check.status, check.value) == (Status.WARNING, "none")
    assert "wrong_site" in check.advice


def test_a_health_service_without_its_secret_is_a_failure(tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / "docs/codes.md").read_text("utf-8").split("```toml")[1]
    secret = tmp_path / "secret"
    service = example.split("```")[0].replace("/etc/gate/verify-secret", str(secret))
    path = write_config(tmp_path, extra=service)
    check = by_name(machine.configuration(path, machine.Found()))["health services"]
    assert check.status is Status.FAILED
    assert str(secret) in check.advice
    secret.write_bytes(b"0123456789abcdef")
    check = by_name(machine.configuration(path, machine.Found()))["health services"]
    assert (check.status, check.value) == (Status.OK, "CN-31")


def test_keys_that_contradict_each_other_are_a_problem(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    name = f'"{tmp_path / "keys.toml"}"'
    path.write_text(path.read_text().replace(name, f"{name}, {name}"))
    keys = by_name(machine.configuration(path, machine.Found()))["trusted keys"]
    assert keys.status is Status.FAILED
    assert "listed 2 times" in keys.advice


def test_a_gate_that_trusts_nobody_and_simulates_is_warned_about(tmp_path: Path) -> None:
    path = write_config(tmp_path, extra='[pins]\nfactory = "mock"\n[thermometer]\nbus = "simulated"')
    path.write_text(path.read_text().replace(f'"{tmp_path / "keys.toml"}"', ""))
    checks = by_name(machine.configuration(path, machine.Found()))
    assert checks["configuration"].status is Status.WARNING
    assert checks["configuration"].value.endswith("simulated: thermometer, pins")
    assert (checks["trusted keys"].status, checks["trusted keys"].value) == (Status.WARNING, "none")


def test_of_a_simulation_nothing_is_said_about_hardware(tmp_path: Path) -> None:
    path = write_config(tmp_path, extra=f'[simulation]\nworld_log = "{tmp_path / "world.jsonl"}"')
    path.write_text(path.read_text().replace('[camera]\ndevice = "/dev/v4l/by-id/none"', ""))
    check = by_name(machine.configuration(path, machine.Found()))["configuration"]
    assert (check.status, check.value) == (
        Status.WARNING, f"{path}, all simulated: visitors come by themselves",
    )  # fmt: skip
    assert "take [simulation] out" in check.advice
    with claim(tmp_path / "state"):
        checks = by_name(doctor.examine(path))
    assert checks["gate"].value == "running"
    names = (*devices.NAMES, *raspberry_pi.RASPBERRY_PI)
    assert {checks[name].value for name in names} == {"all hardware is simulated"}


# State folder


def test_a_state_folder_that_is_there(tmp_path: Path) -> None:
    checks = by_name(machine.storage(tmp_path))
    assert checks["state folder"].value == str(tmp_path)
    assert {check.status for check in checks.values()} == {Status.OK}
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_to_come_is_not_created_by_looking(tmp_path: Path) -> None:
    checks = by_name(machine.storage(tmp_path / "a" / "b"))
    assert checks["state folder"].value.endswith("will be created")
    assert checks["state folder"].status is Status.OK
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/gate")):
        check = only(machine.storage(folder))
        assert check.status is Status.FAILED
        assert "the gate's user owns" in check.advice


@mark.parametrize(
    ("free_mb", "status"),
    [(200, Status.OK), (199, Status.WARNING), (50, Status.WARNING), (49, Status.FAILED)],
)
def test_free_space_has_two_limits(
    tmp_path: Path, monkeypatch: MonkeyPatch, free_mb: int, status: Status
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * 1_000_000))
    check = machine.disk_space(tmp_path)
    assert check.status is status
    assert bool(check.advice) == (status is not Status.OK)


# Ledger


def a_config(folder: Path, **mqtt: Any) -> Config:
    mqtt = {"host": HOST, "port": 1, **mqtt}
    return Config(gate=GateSection("north-hall", "gate-1", state_dir=folder), mqtt=MqttSection(**mqtt))


def write_ledger(folder: Path, records: int, *, gate: str = "gate-1", acknowledged: int = 0) -> Path:
    path = folder / "ledger.db"
    with closing(Ledger(path, site="north-hall", gate=gate, new_epoch="e1", boot_id="b")) as ledger:
        for number in range(records):
            ledger.append(events.anomaly("test", str(number)), NOW)
    with closing(Outbox(path)) as outbox:
        outbox.acknowledge(acknowledged)
    return path


def later(ms: int) -> Moment:
    return replace(NOW, wall_ms=NOW.wall_ms + ms)


def test_no_ledger_yet_is_fine(tmp_path: Path) -> None:
    checks = by_name(machine.ledger(a_config(tmp_path), NOW))
    assert [check.value for check in checks.values()] == ["none yet", "empty"]
    assert list(tmp_path.iterdir()) == []


def test_a_good_ledger_with_what_waits_in_it(tmp_path: Path) -> None:
    write_ledger(tmp_path, 7, acknowledged=4)
    checks = by_name(machine.ledger(a_config(tmp_path), later(HOUR_MS)))
    assert checks["ledger"].value.startswith("7 records, all good, head ")
    assert checks["outbox"].value == "3 waiting, the oldest for 1 h"
    assert {check.status for check in checks.values()} == {Status.OK}
    overdue = by_name(machine.ledger(a_config(tmp_path), later(HOUR_MS + 1)))
    assert overdue["outbox"].status is Status.WARNING


def test_an_outbox_that_has_been_delivered(tmp_path: Path) -> None:
    write_ledger(tmp_path, 2, acknowledged=2)
    check = by_name(machine.ledger(a_config(tmp_path), later(9 * HOUR_MS)))["outbox"]
    assert (check.status, check.value) == (Status.OK, "empty, all acknowledged")


def test_a_changed_record_is_named_and_the_file_left_alone(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    path = write_ledger(tmp_path, 3)
    monkeypatch.setattr(machine, "Outbox", None)  # it would open the damaged file for writing
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE records SET body = replace(body, 'test', 'tent') WHERE seq = 2")
    before = path.read_bytes()
    checks = list(machine.ledger(a_config(tmp_path), NOW))
    assert only(checks).status is Status.FAILED
    assert "record 2 is bad" in only(checks).value
    assert path.read_bytes() == before


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    check = only(machine.ledger(a_config(tmp_path), NOW))
    assert check.status is Status.FAILED
    assert "copy it away" in check.advice


def test_the_ledger_of_another_gate(tmp_path: Path) -> None:
    write_ledger(tmp_path, 1, gate="gate-2")
    check = by_name(machine.ledger(a_config(tmp_path), NOW))["ledger"]
    assert (check.status, check.value) == (Status.FAILED, "belongs to hg/1/north-hall/gate-2")


# Clock


def test_a_clock_that_is_kept_by_ntp(tmp_path: Path) -> None:
    check = only(machine.clock(NOW, by_decree=False, not_before=[]))
    assert (check.status, check.value) == (Status.OK, "2027-01-15 08:00:00 UTC, kept by NTP")


def test_a_clock_that_nobody_keeps_says_what_happens_to_codes() -> None:
    check = only(machine.clock(replace(NOW, clock_trusted=False), by_decree=False, not_before=[]))
    assert check.status is Status.WARNING
    assert "no code's validity can be checked" in check.advice


def test_a_clock_before_its_own_files_is_wrong_even_when_trusted(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("")
    check = only(
        machine.clock(later(-50 * 365 * 24 * HOUR_MS), by_decree=True, not_before=[*tmp_path.iterdir()])
    )
    assert check.status is Status.FAILED
    assert "set the clock" in check.advice
    assert machine.software().exists()


# Decoder


def test_the_decoder_reads_the_built_in_code() -> None:
    check = only(machine.decoder())
    assert check.status is Status.OK
    assert check.value.startswith("zxing-cpp ")


def test_a_decoder_that_is_missing_or_reads_something_else(monkeypatch: MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(machine, "DECODED", b"SOMETHING ELSE")
        assert only(machine.decoder()).status is Status.FAILED
    monkeypatch.delitem(sys.modules, "drivers.qr", raising=False)
    monkeypatch.setitem(sys.modules, "zxingcpp", None)
    check = only(machine.decoder())
    assert check.status is Status.FAILED
    assert "python3-zxing-cpp" in check.advice


def test_no_second_decoder_is_no_warning(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyzbar", None)
    monkeypatch.setitem(sys.modules, "pyzbar.pyzbar", None)
    check = only(machine.decoder())
    assert check.status is Status.OK
    assert "no pyzbar (optional)" in check.value


# Pins


def test_pins_are_listed_and_none_is_touched() -> None:
    factory = open_pin_factory("mock")
    check = only(devices.pins(PinsSection(relay=17, passage=27, fire=None, beam=None), factory))
    assert (check.status, check.value) == (Status.OK, "wired (BCM): relay 17, passage 27")
    assert not factory.pins  # type: ignore[attr-defined]  # gpiozero's table of the pins in use
    factory.close()


def test_pins_without_their_library(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero.pins.lgpio", None)
    check = only(devices.pins(PinsSection()))
    assert check.status is Status.FAILED
    assert "python3-lgpio" in check.advice


# Thermometer

SECTION = ThermometerSection()


class Sensor(SimMlx90614):
    """A simulated part in virtual time, that can break after some transactions."""

    def __init__(self, clock: list[float], *, fault_after: int | None = None, **settings: Any) -> None:
        super().__init__(
            VARIANTS["DCC"],
            monotonic=lambda: clock[0],
            sleep=lambda s: clock.append(clock.pop() + s),
            **settings,
        )
        self._calm = fault_after
        self.closed = False

    def i2c_rdwr(self, *messages: Any) -> None:
        if self._calm is not None:
            self._calm -= 1
            if self._calm < 0:
                self.inject(Fault.BAD_PEC)
        super().i2c_rdwr(*messages)

    def close(self) -> None:
        self.closed = True


@fixture
def a_sensor(monkeypatch: MonkeyPatch) -> Callable[..., Sensor]:
    clock = [0.0]
    monkeypatch.setattr(hardware, "sleep", lambda s: clock.append(clock.pop() + s))
    return lambda **settings: Sensor(clock, **settings)


def examined(sensor: Sensor, section: ThermometerSection = SECTION) -> dict[str, Check]:
    checks = by_name(devices.thermometer(section, lambda: sensor))
    assert sensor.closed
    return checks


def test_a_good_thermometer(a_sensor: Callable[..., Sensor]) -> None:
    checks = examined(a_sensor())
    assert checks["thermometer"].value.startswith("serial ")
    assert checks["temperature"].value.startswith("34")
    assert checks["temperature"].limit == "room 14 to 32 C"
    assert {check.status for check in checks.values()} == {Status.OK}


def test_a_thermometer_that_sees_the_wall_is_fine(a_sensor: Callable[..., Sensor]) -> None:
    check = examined(a_sensor(object_cc=1800))["temperature"]
    assert check.status is Status.OK
    assert "nobody before it" in check.value


@mark.parametrize(("ambient_cc", "status"), [(1450, "ok"), (1350, "failed"), (3150, "ok"), (3250, "failed")])
def test_a_room_outside_the_correction_s_window(
    a_sensor: Callable[..., Sensor], ambient_cc: int, status: str
) -> None:
    assert examined(a_sensor(ambient_cc=ambient_cc))["temperature"].status == status


def test_a_thermometer_before_which_something_moves(a_sensor: Callable[..., Sensor]) -> None:
    sensor = a_sensor()
    sensor.drift(60_000)
    assert examined(sensor)["temperature"].status is Status.WARNING


def test_a_thermometer_that_somebody_has_changed(a_sensor: Callable[..., Sensor]) -> None:
    sensor = a_sensor()
    sensor.words[EMISSIVITY] = 0xF000
    check = examined(sensor)["thermometer"]
    assert check.status is Status.FAILED
    assert "replace it" in check.advice


def test_a_thermometer_that_does_not_answer(a_sensor: Callable[..., Sensor]) -> None:
    sensor = a_sensor()
    sensor.inject(Fault.NACK)
    assert list(examined(sensor)) == ["thermometer"]
    assert examined(sensor)["thermometer"].status is Status.FAILED


def test_a_thermometer_whose_readings_are_spoiled(a_sensor: Callable[..., Sensor]) -> None:
    checks = examined(a_sensor(fault_after=13))  # 13 words tell who it is
    assert checks["thermometer"].status is Status.OK
    assert checks["temperature"].status is Status.FAILED
    assert checks["temperature"].value.startswith("pec_error: ")


def test_a_bus_that_does_not_exist() -> None:
    check = only(devices.thermometer(SECTION, lambda: open_bus("/dev/i2c-99", 100)))
    assert (check.status, check.value) == (Status.FAILED, "/dev/i2c-99: no such I2C bus")


# Camera


def looking_at(folder: Path, **scene: object) -> Check:
    path = folder / "scene.json"
    path.write_text(json.dumps({"codes": [], **scene}))
    section = CameraSection(source="synthetic", path=path, width=320, height=240, fps=12)
    return only(devices.camera(section, seed=1))


def test_a_camera_that_sees(tmp_path: Path) -> None:
    check = looking_at(tmp_path)
    assert check.status is Status.OK
    assert "brightness" in check.value
    assert check.limit.startswith("6 fps")


def test_a_camera_with_its_cap_on(tmp_path: Path) -> None:
    check = looking_at(tmp_path, black=True)
    assert check.status is Status.FAILED
    assert check.value.startswith("dark: ")
    assert "cap" in check.advice


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    check = looking_at(tmp_path, gone=True)
    assert (check.status, check.value) == (Status.FAILED, "cannot open")
    assert "plug the camera in" in check.advice


def test_a_camera_that_gives_no_frame_in_time(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "FIRST_FRAME_S", 0.01)
    assert looking_at(tmp_path).value == "no frame"


@mark.parametrize(
    ("fps", "sharpness", "advice"),
    [(6.0, 1.0, ""), (5.9, 1.0, "too few frames"), (6.0, 0.9, "hardly any detail")],
)
def test_a_camera_that_is_slow_or_blurred_is_warned_about(fps: float, sharpness: float, advice: str) -> None:
    health = Health(
        fps=fps,
        brightness=100.0,
        sharpness=sharpness,
        frozen=False,
        frame_age_ms=1,
        frames=9,
        skipped=0,
        unreadable=0,
        memory_mb=50.0,
    )
    check = devices._seen(health, CameraSection(fps=12))
    assert check.status is (Status.WARNING if advice else Status.OK)
    assert check.advice.startswith(advice)


# Broker


def asked(config: Config) -> dict[str, Check]:
    now = Moment(0, time.time_ns() // 1_000_000, clock_trusted=True)
    return by_name(broker.broker(config, now))


@fixture(scope="module")
def guarded(tmp_path_factory: Any) -> Iterator[Mosquitto]:
    folder = tmp_path_factory.mktemp("guarded")
    passwords = password_file(folder, "gate", "right")
    with Mosquitto(folder, "allow_anonymous false", f"password_file {passwords}") as mosquitto:
        yield mosquitto


def a_login(folder: Path, port: int, password: str) -> Config:
    (folder / "password").write_text(f"{password}\n")
    return a_config(folder, port=port, username="gate", password_file=folder / "password")


def test_a_broker_that_accepts_the_gate(tmp_path: Path, guarded: Mosquitto) -> None:
    checks = asked(a_login(tmp_path, guarded.port, "right"))
    assert checks["broker"].value == f"{HOST}:{guarded.port} accepts as gate, MQTT 5"
    assert checks["broker"].status is Status.OK
    assert checks["certificates"].status is Status.SKIPPED


def test_a_wrong_password(tmp_path: Path, guarded: Mosquitto) -> None:
    check = asked(a_login(tmp_path, guarded.port, "wrong"))["broker"]
    assert (check.status, check.value) == (Status.FAILED, "the broker refused the connection: not authorized")
    assert check.advice == "check user name, password and the broker's access list"


def test_a_password_file_that_is_missing(tmp_path: Path) -> None:
    check = asked(a_config(tmp_path, username="gate", password_file=tmp_path / "none"))["broker"]
    assert check.status is Status.FAILED
    assert str(tmp_path / "none") in check.value


def test_no_broker_there(tmp_path: Path) -> None:
    check = asked(a_config(tmp_path, port=free_port()))["broker"]
    assert check.status is Status.FAILED
    assert check.advice == "start the broker or check the port"


def test_an_old_broker_is_asked_in_its_own_version(tmp_path: Path) -> None:
    with StrictBroker(version_reply="0x84") as strict:
        check = asked(a_config(tmp_path, port=strict.port))["broker"]
    assert check.value.endswith("MQTT 3.1.1")
    assert strict.connects == [5, 4]


def test_a_port_that_says_nothing(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "ANSWER_S", 0.1)
    with socket.create_server((HOST, 0)) as silent:
        check = asked(a_config(tmp_path, port=silent.getsockname()[1]))["broker"]
    assert check.value == "the broker does not answer"


def test_the_gate_is_never_said_to_be_lost(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """Cut off without a farewell, the doctor's connection leaves no last will behind."""
    monkeypatch.setattr(Connection, "leave", lambda _: None)
    with Mosquitto(tmp_path / "broker") as mosquitto, Subscriber(mosquitto.port) as subscriber:
        assert asked(a_config(tmp_path, port=mosquitto.port))["broker"].status is Status.OK
        publish.single("hg/1/end", b"", hostname=HOST, port=mosquitto.port)  # a will would come before it
        wait_for(lambda: subscriber.messages, 5, "the message behind the doctor's visit")
    assert [topic for topic, _ in subscriber.messages] == ["hg/1/end"]


def test_a_running_gate_keeps_its_connection(tmp_path: Path) -> None:
    """A broker hangs up on a client when another one comes with its id (MQTT 5.0, 3.1.4)."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        asked(a_config(tmp_path, port=mosquitto.port))
    log = (tmp_path / "broker" / "log").read_text()
    assert " as gate-north-hall-gate-1-doctor " in log
    assert " as gate-north-hall-gate-1 " not in log


@mark.parametrize(
    ("key", "gate", "status", "words"),
    [
        (CENTRE_KEY, "gate-1", Status.OK, "signed with a key of centre.keys_file"),
        (DEVICE_KEY, "gate-1", Status.FAILED, "signed with key "),
        (CENTRE_KEY, "gate-2", Status.WARNING, "no receipt for this gate (misaddressed)"),
        (None, "gate-1", Status.OK, "none came from the broker yet"),
    ],
)
def test_a_receipt_of_another_centre_than_the_one_configured(
    tmp_path: Path, key: Ed25519PrivateKey | None, gate: str, status: Status, words: str
) -> None:
    receipt = Receipt("north-hall", gate, "ab" * 8, 3, b"h" * 32, at_ms=1, ask=Ask.NOTHING)
    check = receipts_of(tmp_path, receipt.signed(key) if key else None)
    assert (check.status, check.value.startswith(words)) == (status, True)
    if status is Status.FAILED:
        assert "of another centre, no receipt counts" in check.advice


def centre_file(folder: Path) -> Path:
    file = folder / "centre.json"
    file.write_text(json.dumps({"sign": [public(CENTRE_KEY).hex()], "seal": "cd" * 32}))
    return file


def receipts_of(folder: Path, kept: bytes | None) -> Check:
    """Return the check of a gate for which the broker keeps this."""
    with Mosquitto(folder / "broker") as mosquitto:
        config = replace(a_config(folder, port=mosquitto.port), centre=CentreSection(centre_file(folder)))
        if kept is not None:
            topic = "hg/1/north-hall/gate-1/receipt"
            publish.single(topic, kept, qos=1, retain=True, hostname=HOST, port=mosquitto.port)
        return asked(config)["receipts"]


@mark.parametrize("line", [b"{}", b"rubbish", b'{"site":"north-hall","gate":"gate-1"}'])
def test_rubbish_is_no_word_of_another_centre(tmp_path: Path, line: bytes) -> None:
    proof = Receipt("north-hall", "gate-1", "ab" * 8, 3, b"h" * 32, at_ms=1).signed(DEVICE_KEY)
    check = receipts_of(tmp_path, line + b"\n" + proof.rpartition(b"\n")[2])
    assert (check.status, check.value) == (Status.WARNING, "no receipt for this gate (unknown_key)")


def test_what_is_not_kept_by_the_broker_is_not_judged(tmp_path: Path) -> None:
    with DocumentBroker() as strict:
        strict.on_subscribe = b"\x30\x0f\x00\x0ahg/1/x/y/r\x00{}"  # a message that is not retained
        config = replace(a_config(tmp_path, port=strict.port), centre=CentreSection(centre_file(tmp_path)))
        assert asked(config)["receipts"].value == "none came from the broker yet"


def test_a_broker_that_lets_no_receipt_through_is_said(tmp_path: Path) -> None:
    with DocumentBroker() as strict:
        strict.suback = 0x87
        config = replace(a_config(tmp_path, port=strict.port), centre=CentreSection(centre_file(tmp_path)))
        check = asked(config)["receipts"]
    assert (check.status, check.value) == (Status.FAILED, "the broker does not let this gate read them")


def test_receipts_are_looked_for_only_where_that_makes_sense(tmp_path: Path) -> None:
    config = replace(a_config(tmp_path, port=free_port()), centre=CentreSection(tmp_path / "none.json"))
    assert asked(config)["receipts"].value == "see broker"
    with Mosquitto(tmp_path / "broker") as mosquitto:
        config = replace(config, mqtt=replace(config.mqtt, port=mosquitto.port))
        assert asked(config)["receipts"].value == "see centre"
        assert asked(replace(config, centre=None))["receipts"].value == "not needed without a centre"


def test_clear_text_beyond_this_machine_is_warned_about(tmp_path: Path) -> None:
    settings = broker.mqtt_settings(a_config(tmp_path, host="broker.example", port=1883))
    assert broker._without_tls(settings).status is Status.WARNING


def over_tls(folder: Path, authority: Authority, port: int, own: tuple[Path, Path] | None = None) -> Config:
    files = {"cert_file": own[0], "key_file": own[1]} if own else {}
    return a_config(folder, port=port, ca_file=authority.ca_file, **files)


@mark.parametrize(("days_left_min", "status"), [(5, Status.OK), (30, Status.WARNING)])
def test_certificates_near_their_end(
    tmp_path: Path, monkeypatch: MonkeyPatch, days_left_min: int, status: Status
) -> None:
    monkeypatch.setattr(broker, "DAYS_LEFT_MIN", days_left_min)
    authority = Authority(tmp_path / "ca")
    own = authority.issue("gate", days=(-1, 40))
    files = authority.issue("broker", days=(-1, 10))
    with a_tls_broker(tmp_path, authority, files, "require_certificate true") as mosquitto:
        checks = asked(over_tls(tmp_path, authority, mosquitto.port, own))
    assert checks["broker"].status is Status.OK
    check = checks["certificates"]
    assert check.status is status
    assert check.value.count(" until ") == 3
    if status is Status.WARNING:
        assert check.advice.startswith("renew the certificate of: broker, authority (")


def test_an_expired_certificate_is_named_with_its_date(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with a_tls_broker(tmp_path, authority, authority.issue("broker", days=(-9, -1))) as mosquitto:
        checks = asked(over_tls(tmp_path, authority, mosquitto.port))
    assert checks["broker"].value == "the broker's certificate has expired"
    assert checks["certificates"].status is Status.FAILED
    assert "(expired)" in checks["certificates"].value


def test_a_broker_signed_by_a_stranger(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    with a_tls_broker(tmp_path, stranger, stranger.issue("broker")) as mosquitto:
        check = asked(over_tls(tmp_path, authority, mosquitto.port))["broker"]
    assert check.value.startswith("the broker's certificate is not signed by an authority in ")


def test_a_certificate_file_that_is_none(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    authority.ca_file.write_text("nothing")
    checks = asked(over_tls(tmp_path, authority, free_port()))
    assert checks["broker"].status is Status.FAILED
    assert checks["certificates"].status is Status.FAILED
    assert "PEM" in checks["certificates"].advice


# The whole

NO_MACHINE = Board(Path("/nowhere"))  # not even this one, which might be a Raspberry Pi


@fixture
def simulated() -> Iterator[World]:
    factory = open_pin_factory("mock")
    sensor = SimMlx90614(VARIANTS["DCC"], monotonic=time.monotonic, sleep=lambda _: None)
    yield World(pin_factory=factory, open_bus=lambda: sensor)
    factory.close()


def test_everything_about_a_simulated_gate_is_well_but_that_it_is_simulated(
    tmp_path: Path, simulated: World
) -> None:
    with Mosquitto(tmp_path / "broker") as mosquitto:
        path = write_config(tmp_path, port=mosquitto.port)
        scene = (
            f'source = "synthetic"\npath = "{tmp_path / "scene.json"}"\nfps = 12\nwidth = 320\nheight = 240'
        )
        path.write_text(path.read_text().replace('device = "/dev/v4l/by-id/none"', scene))
        checks = list(doctor.examine(path, simulated, NO_MACHINE))
    assert {c.name: c.status for c in checks if c.status not in {Status.OK, Status.SKIPPED}} == {
        "configuration": Status.WARNING
    }
    skipped = [c.name for c in checks if c.status is Status.SKIPPED]
    assert skipped == ["user", *raspberry_pi.RASPBERRY_PI, "certificates"]
    assert doctor.exit_status(checks) == 1
    assert not (tmp_path / "state").exists()


def test_without_a_configuration_the_rest_is_still_examined(tmp_path: Path) -> None:
    checks = by_name(doctor.examine(tmp_path / "none.toml", board=NO_MACHINE))
    assert checks["configuration"].status is Status.FAILED
    done = {name for name, check in checks.items() if check.status is not Status.SKIPPED}
    assert done == {"configuration", "clock", "disk space", "decoder", "packages"}
    assert "cannot be used" in checks["camera"].value
    assert list(checks) == list(by_name(doctor.examine(write_config(tmp_path), board=NO_MACHINE)))
    assert doctor.exit_status(checks.values()) == 2


HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


@fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """Let another process hold the lock of a state folder, as a running gate does."""
    state = tmp_path / "state"
    state.mkdir()
    command = [sys.executable, "-c", HOLD, str(state / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield tmp_path
        assert process.poll() is None
        process.communicate(b"\n", 5)


def refuse_bus() -> I2cBus:
    raise AssertionError("the bus was opened beside a running gate")


def test_beside_a_running_gate_no_device_is_touched(held: Path) -> None:
    with Mosquitto(held / "broker") as mosquitto:
        path = write_config(held, port=mosquitto.port)
        checks = by_name(doctor.examine(path, World(open_bus=refuse_bus), NO_MACHINE))
    assert checks["gate"].value == "running"
    for name in ("pins", "thermometer", "temperature", "camera"):
        assert (checks[name].status, checks[name].value) == (Status.SKIPPED, "in use by the running gate")
    assert checks["broker"].status is Status.OK
    assert doctor.exit_status(checks.values()) == 0


def test_what_a_running_gate_has_lost_is_a_failure(held: Path) -> None:
    """An update that breaks a device must not look as well as before, and nobody else may touch it."""
    status = DeskStatus(Mode.DEGRADED, failed=("camera", "fire_contact", "health_service", "lights"))
    server = DeskServer(held / "state" / SOCKET_NAME, lambda _: None, lambda: status)
    server.start()
    try:
        checks = by_name(doctor.examine(write_config(held), World(open_bus=refuse_bus), NO_MACHINE))
    finally:
        server.stop(5)
    found = {name: (checks[name].status, checks[name].value) for name in devices.NAMES}
    assert found == {
        "pins": (Status.FAILED, "the running gate has lost: fire contact, lights"),
        "thermometer": (Status.SKIPPED, "in use by the running gate"),
        "temperature": (Status.SKIPPED, "in use by the running gate"),
        "camera": (Status.FAILED, "the running gate has lost: camera"),
    }
    assert "systemctl stop gate" in checks["camera"].advice


def test_the_lock_is_the_one_that_a_gate_takes(tmp_path: Path) -> None:
    with claim(tmp_path):
        assert machine.hands_off(tmp_path)[1] == "in use by the running gate"


def test_looking_for_a_gate_leaves_its_lock_free(tmp_path: Path) -> None:
    assert machine.hands_off(tmp_path)[1] is None
    assert list(tmp_path.iterdir()) == []
    with (tmp_path / "lock").open("w") as lock:
        assert machine.hands_off(tmp_path)[1] is None
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_cannot_be_looked_at_means_hands_off(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "lock")
    check, why = machine.hands_off(tmp_path)
    assert check.status is Status.WARNING
    assert why is not None


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    """Nothing else of the doctor begins before that is known."""
    os.mkfifo(tmp_path / "lock")
    assert in_time(lambda: machine.hands_off(tmp_path))[1] is None


def test_the_whole_is_bounded(tmp_path: Path) -> None:
    found = machine.Found()
    deque(machine.configuration(write_config(tmp_path), found), 0)
    assert found.config is not None
    parts = list(doctor._with_config(found.config, tmp_path, World(), NO_MACHINE))
    assert 3 + max(part.bound_s for part in parts) < 20


def test_a_part_that_hangs_is_reported_and_left_behind() -> None:
    release = threading.Event()

    def hang() -> Iterator[Check]:
        yield Check("one", Status.OK, "")
        release.wait(30)

    running = Running(Part(("one", "two", "three"), hang, 0.05, "shake it", Status.WARNING))
    try:
        one, two, three = running.checks()
    finally:
        release.set()
    assert one.status is Status.OK
    assert (two.status, two.value, two.advice) == (Status.WARNING, "no result in time", "shake it")
    assert (three.status, three.value) == (Status.SKIPPED, "see two")


@mark.parametrize("before", [0, 1, 2])
def test_a_fault_of_a_check_stays_its_own(before: int) -> None:
    def break_down() -> Iterator[Check]:
        yield from [Check("one", Status.OK, ""), Check("two", Status.OK, "")][:before]
        raise ZeroDivisionError("by zero")

    checks = Running(Part(("one", "two"), break_down, 5)).checks()
    assert [check.name for check in checks] == ["one", "two"]
    assert [check.status for check in checks].count(Status.FAILED) == 1
    assert any("ZeroDivisionError: by zero" in check.value for check in checks)


# Printing


def test_lines_are_aligned_and_advice_stands_below() -> None:
    check = Check("disk space", Status.WARNING, "60 MB free", "at least 200 MB", "free space\nsoon")
    plain = click.unstyle(doctor.as_text(check, 100))
    first, *rest = plain.splitlines()
    assert first.index("disk space") == 9
    assert first.index("60 MB free") == 24
    assert first.endswith("expected at least 200 MB")
    assert [line.strip() for line in rest] == ["> free space", "> soon"]


def test_no_line_is_wider_than_the_terminal() -> None:
    check = Check("camera", Status.FAILED, "word " * 40, "another word " * 5, "advice " * 40)
    plain = click.unstyle(doctor.as_text(check, 80))
    assert max(len(line) for line in plain.splitlines()) <= 80


@mark.parametrize(("worst", "status"), [("ok", 0), ("skipped", 0), ("warning", 1), ("failed", 2)])
def test_the_exit_status_is_that_of_the_worst(worst: str, status: int) -> None:
    checks = [Check("a", Status.OK, ""), Check("b", Status(worst), ""), Check("c", Status.SKIPPED, "")]
    assert doctor.exit_status(checks) == status
    assert doctor.as_dict(checks)["ok"] == (status == 0)
    assert f"1 {worst}" in doctor.summary(checks) or worst in {"ok", "skipped"}
