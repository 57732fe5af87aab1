"""What systemd hears from a gate: from a process as it starts one, and from gates whose parts really hang."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.i2c import I2cBus
from gate.app.application import World
from gate.config import CameraSection, Config, MqttSection
from gate.core.inputs import PersonArrived
from tests.app.running_gate import RunningGate, a_config
from tests.app.test_run_command import GATE_COMMAND, ROOT, Installation
from tests.brokers import HOST, Mosquitto, wait_for
from tests.certificates import Authority
from tests.service_manager import ServiceManagerStandIn

pytestmark = pytest.mark.apart

PERIOD_S = 1.2
# Shorter than in life, and still longer than what a busy machine makes of the turns below.
BOUND_S = 1.5
TURN_S = 0.1
NO_LONGER = -1000.0
"""Of a connection: none takes longer here than any other turn."""


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[ServiceManagerStandIn]:
    with ServiceManagerStandIn(tmp_path) as listening:
        yield listening


@pytest.fixture
def watched(systemd: ServiceManagerStandIn, monkeypatch: pytest.MonkeyPatch) -> ServiceManagerStandIn:
    """The environment of a service whose loops are watched more closely than in life."""
    for name, value in systemd.environment(PERIOD_S, os.getpid()).items():
        monkeypatch.setenv(name, value)
    for name in ("THERMOMETER_TURN_S", "SINK_TURN_S"):
        monkeypatch.setattr(f"gate.app.application.{name}", BOUND_S)
    monkeypatch.setattr("gate.shell.watchdog.LOOK_EVERY_S", TURN_S)
    monkeypatch.setattr("gate.shell.loop.IDLE_S", TURN_S)
    monkeypatch.setattr("gate.shell.reading.TURN_S", TURN_S)
    monkeypatch.setattr("gate.sinks.mqtt._TURN_S", TURN_S)
    return systemd


def still_fed(systemd: ServiceManagerStandIn, times: int = 4) -> None:
    """It is fed four times in its period, so that this takes one period, or as many as are asked for."""
    before = systemd.count("WATCHDOG=1")
    wait_for(lambda: systemd.count("WATCHDOG=1") >= before + times, 10 * PERIOD_S, "the feeding to go on")


def fed_no_more(systemd: ServiceManagerStandIn) -> None:
    """After two periods without food systemd has ended it long ago."""
    wait_for(lambda: systemd.unfed_s() > 2 * PERIOD_S, 10 * PERIOD_S, "the feeding to end")


# --- a process as systemd starts it


def start(gate: Installation, systemd: ServiceManagerStandIn, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | systemd.environment(PERIOD_S)
    command = [GATE_COMMAND, "run", "--config", gate.config]
    with log.open("wb") as err:
        return subprocess.Popen(command, stderr=err, cwd=ROOT, env=environment)


def test_it_is_ready_when_it_serves_and_says_how_it_stands_until_it_stops(
    tmp_path: Path, systemd: ServiceManagerStandIn
) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        gate = Installation(tmp_path, broker.port)
        with start(gate, systemd, tmp_path / "log") as process:
            try:
                wait_for(lambda: systemd.count("READY=1"), 20, "the gate to be ready")
                assert [event["type"] for event in gate.events()][:1] == ["hg.gate.started.v1"]
                wait_for(lambda: systemd.status() == "serving", 20, "all to be well")
                still_fed(systemd)
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0, (tmp_path / "log").read_text()
            finally:
                process.kill()
    assert systemd.count("READY=1") == 1
    assert systemd.said()[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_a_configuration_that_is_wrong_is_never_ready(tmp_path: Path, systemd: ServiceManagerStandIn) -> None:
    gate = Installation(tmp_path)
    gate.config.write_text(gate.config.read_text().replace("[mqtt]", "[mqtt]\nhots = 1"))
    with start(gate, systemd, tmp_path / "log") as process:
        assert process.wait(20) == 78
    assert systemd.said() == []


def test_when_systemd_ends_it_the_journal_says_where_each_thread_stood(
    tmp_path: Path, systemd: ServiceManagerStandIn
) -> None:
    gate = Installation(tmp_path)
    with start(gate, systemd, tmp_path / "log") as process:
        try:
            wait_for(lambda: systemd.count("WATCHDOG=1") > 1, 20, "the gate to be fed")
            process.send_signal(signal.SIGABRT)  # what systemd sends when the watchdog is not fed
            assert process.wait(10) == -signal.SIGABRT
        finally:
            process.kill()
    log = (tmp_path / "log").read_text()
    for place in ("inbox.py", "reading.py", "camera.py", "mqtt.py"):
        assert place in log


# --- gates whose parts really hang, or are merely broken


class Hung:
    """A bus on which a transaction does not come back until it is let go."""

    def __init__(self, sensor: I2cBus) -> None:
        self._sensor = sensor
        self.hangs, self.let_go = threading.Event(), threading.Event()

    def i2c_rdwr(self, *messages: Any) -> None:
        hang(self.let_go, self.hangs.is_set())
        self._sensor.i2c_rdwr(*messages)

    def close(self) -> None:
        self._sensor.close()


def hang(let_go: threading.Event, now: bool) -> None:
    if now:
        let_go.wait(60)


def test_a_thermometer_thread_that_hangs_ends_the_feeding(
    tmp_path: Path, watched: ServiceManagerStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    buses: list[Hung] = []

    def with_bus(world: World) -> World:
        assert world.open_bus is not None
        buses.append(Hung(world.open_bus()))
        return replace(world, open_bus=lambda: buses[0])

    with RunningGate(a_config(tmp_path), world_of=with_bus) as gate:
        still_fed(watched)
        buses[0].hangs.set()
        gate.app._thermometer.request("a")
        try:
            fed_no_more(watched)
            assert "the loop thermometer hangs" in caplog.text
            assert watched.count("READY=1") == 1
        finally:
            buses[0].let_go.set()
        still_fed(watched)


def test_a_brain_that_hangs_ends_the_feeding(tmp_path: Path, watched: ServiceManagerStandIn) -> None:
    let_go = threading.Event()
    with RunningGate(a_config(tmp_path)) as gate:
        still_fed(watched)
        gate.meddle = lambda happened, _effect: hang(let_go, isinstance(happened, PersonArrived))
        try:
            gate.app._inbox.post(PersonArrived())
            fed_no_more(watched)
        finally:
            let_go.set()
        still_fed(watched)


def test_a_camera_thread_that_hangs_ends_the_feeding(
    tmp_path: Path, watched: ServiceManagerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gate.app.application.CAMERA_TURN_S", 4.0)
    hangs, let_go = threading.Event(), threading.Event()
    with RunningGate(a_config(tmp_path)) as gate:
        camera = gate.app._camera._camera  # type: ignore[attr-defined]
        hand_on = camera._on_health

        def on_health(health: Any) -> None:
            hang(let_go, hangs.is_set())
            hand_on(health)

        camera._on_health = on_health
        still_fed(watched)
        hangs.set()
        try:
            fed_no_more(watched)
        finally:
            let_go.set()
        still_fed(watched)


def test_a_sink_that_hangs_ends_the_feeding(
    tmp_path: Path, watched: ServiceManagerStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, let_go = threading.Event(), threading.Event()
    with RunningGate(a_config(tmp_path)) as gate:
        look = gate.app.sink._look_at_outbox

        def look_at_outbox() -> None:
            hang(let_go, hangs.is_set())
            look()

        monkeypatch.setattr(gate.app.sink, "_look_at_outbox", look_at_outbox)
        still_fed(watched)
        hangs.set()
        try:
            fed_no_more(watched)
        finally:
            let_go.set()
        still_fed(watched)


def nothing_works(config: Config, folder: Path) -> Config:
    """No camera that can be opened, and, in `a_config`, no broker that listens."""
    camera = CameraSection(source="v4l2", device=str(folder / "nowhere"), path=config.camera.path)
    return replace(config, camera=camera)


def test_parts_that_are_merely_broken_starve_nothing(
    tmp_path: Path,
    watched: ServiceManagerStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gate.sinks.mqtt._LOOKUP_S", NO_LONGER)
    config = nothing_works(a_config(tmp_path), tmp_path)
    with RunningGate(config, before=lambda place: place.break_thermometer()):
        expected = "degraded; without camera, thermometer; not connected to the broker"
        wait_for(lambda: watched.status() == expected, 30, "the words for it")
        still_fed(watched, times=16)
    assert "hangs" not in caplog.text


def test_a_sink_that_delivers_goes_round(
    tmp_path: Path,
    watched: ServiceManagerStandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gate.sinks.mqtt._LOOKUP_S", NO_LONGER)
    with Mosquitto(tmp_path / "broker") as broker, RunningGate(a_config(tmp_path, broker.port)):
        wait_for(lambda: watched.status() == "serving", 20, "the gate to be connected")
        still_fed(watched, times=12)
    assert "hangs" not in caplog.text


@pytest.mark.parametrize("tls", [pytest.param(False, marks=pytest.mark.soak), True])
def test_a_broker_that_never_answers_starves_nothing(
    tmp_path: Path, watched: ServiceManagerStandIn, caplog: pytest.LogCaptureFixture, tls: bool
) -> None:
    with socket.create_server((HOST, 0)) as mute:
        port = int(mute.getsockname()[1])
        mqtt = MqttSection(host=HOST, port=port, ca_file=Authority(tmp_path).ca_file if tls else None)
        with RunningGate(a_config(tmp_path, mqtt)):
            still_fed(watched, times=28)
    assert "hangs" not in caplog.text
