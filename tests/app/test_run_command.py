"""`gate run` as an operator starts it: a process of its own, with good and bad configurations, and killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gate.checked import EX_CONFIG
from gate.demo.passes import ISSUER, Issuer
from gate.shell.clock import SystemClock
from gate.sinks.settings import state_body
from gate.store.ledger import entries, verify
from tests.app.running_gate import GATE, SITE, a_policy
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for

pytestmark = pytest.mark.apart

GATE_COMMAND = Path(sys.executable).with_name("gate")
STATE_SCHEMA = Draft202012Validator(
    json.loads(files("gate.schemas").joinpath("state-1.json").read_text("utf-8"))
)
ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """A folder with a configuration of a gate without hardware, and a counter that issues passes for it."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.state = folder / "state"
        self.config = folder / "gate.toml"
        self.scene = folder / "scene.json"
        self.issuer = Issuer(SITE, random.Random(11), SystemClock(lambda: True).now().wall_s)
        key = self.issuer._key.public_key().public_bytes_raw().hex()
        (folder / "keys.toml").write_text(
            f'[[keys]]\nissuer = "{ISSUER}"\nissuer_name = "Counter"\n'
            f'public_key = "{key}"\npurposes = ["visitor"]\n'
        )
        policy = a_policy(folder, "[mask]", 'rule = "CO-3"', "required = false")
        policy.write_text(policy.read_text().replace("pass_s = 2", "pass_s = 1"))
        self.config.write_text(
            f"""
            [gate]
            site = "{SITE}"
            id = "{GATE}"
            policy = "{policy}"
            lang = "en"
            state_dir = "{self.state}"
            clock = "always_trusted"
            trust_files = ["{folder / "keys.toml"}"]
            [mqtt]
            host = "127.0.0.1"
            port = {port or free_port()}
            [camera]
            source = "synthetic"
            path = "{self.scene}"
            width = 640
            height = 480
            fps = 12
            [thermometer]
            bus = "simulated"
            [pins]
            factory = "mock"
            """
        )
        self.show()

    def show(self, *codes: str) -> None:
        part = self.scene.with_suffix(".part")
        part.write_text(json.dumps({"codes": codes}))
        part.replace(self.scene)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(entry.body) for entry in entries(self.state / "ledger.db")]


@contextlib.contextmanager
def started(log: Path, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone behind the block, with its standard error in a file."""
    with log.open("ab") as err, subprocess.Popen([*map(str, command)], stderr=err, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def refused(config: Path) -> tuple[int, str]:
    done = subprocess.run(
        [GATE_COMMAND, "run", "--config", config], capture_output=True, text=True, timeout=20, check=False
    )
    return done.returncode, done.stderr


def test_it_serves_until_sigterm_and_leaves_in_order(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        gate = Installation(tmp_path, broker.port)
        with started(tmp_path / "log", GATE_COMMAND, "run", "--config", gate.config) as process:
            wait_for(lambda: subscriber.bodies("state"), 10, "the birth message")
            first = json.loads(subscriber.bodies("state")[-1])
            assert (first["state"], first["mode"], first["failed"]) == ("ready", "serving", [])
            gate.show(gate.issuer.issue())
            wait_for(lambda: b'"authorised"' in b"".join(subscriber.bodies()), 10, "an admission")

            # A second gate on the same folder would fork the chain.
            status, said = refused(gate.config)
            assert status == 1
            assert said.strip() == f"another gate is running on {gate.state}; stop it first"

            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, (tmp_path / "log").read_text()
        assert [event["type"] for event in gate.events()][-2:] == [
            "hg.visit.closed.v1",
            "hg.gate.stopped.v1",
        ]
        wait_for(lambda: len(subscriber.bodies()) >= len(gate.events()), 3, "all events")
        with Subscriber(broker.port, f"hg/1/{SITE}/{GATE}/state") as late:
            wait_for(lambda: late.messages, 3, "the retained state")
            assert json.loads(late.messages[0][1])["state"] == "disconnected"
        for message in (*subscriber.bodies("state"), state_body("lost", {})):
            STATE_SCHEMA.validate(json.loads(message))
    assert verify(gate.state / "ledger.db").ok
    assert "Traceback" not in (tmp_path / "log").read_text()


def at_the_desk(gate: Installation, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [GATE_COMMAND, "desk", "--config", gate.config, *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_person_on_duty_talks_to_it_about_the_visitor_who_is_there(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        gate = Installation(tmp_path, broker.port)
        with started(tmp_path / "log", GATE_COMMAND, "run", "--config", gate.config) as process:
            wait_for(lambda: subscriber.bodies("state"), 10, "the birth message")
            gone = "that visitor has gone; look again with show\n"
            assert at_the_desk(gate, "--visit", "0a1b2c3d-000001", "confirm") == (1, gone)
            assert at_the_desk(gate, "show") == (0, "The gate is serving.\nNobody is being checked.\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert "no gate is running here" in at_the_desk(gate, "show")[1]
    types = [event["type"] for event in gate.events() if event["type"] != "hg.device.checked.v1"]
    assert types == ["hg.gate.started.v1", "hg.gate.stopped.v1"]


def test_killed_at_any_moment_it_forgets_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    rng, never = random.Random(seed), threading.Event()
    unlocked = tmp_path / "unlocked"
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, qos=1) as subscriber:
        gate = Installation(tmp_path, broker.port)
        command = (sys.executable, "-m", "tests.app.service", gate.config, unlocked)
        for blow in range(3):
            gate.show()
            before = len(subscriber.bodies())
            with started(tmp_path / "log", *command) as process:
                wait_for(lambda n=before: len(subscriber.bodies()) > n, 10, "the start to be told")
                gate.show(gate.issuer.issue())
                if blow == 0:  # once with somebody between the light and the arm, for certain
                    wait_for(unlocked.read_bytes, 20, "the light")
                else:
                    never.wait(rng.uniform(0.3, 2.5))  # the moment of the blow, not a wait for anything
                process.send_signal(signal.SIGKILL)
                process.wait(5)
            assert verify(gate.state / "ledger.db").ok
        gate.show()
        with started(tmp_path / "log", *command) as process:
            wait_for(lambda: _starts(gate) == 4, 10, "the fourth start")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        ledger = [entry.body for entry in entries(gate.state / "ledger.db")]
        wait_for(lambda: set(ledger) <= set(subscriber.bodies()), 5, "every record at the subscriber")
    assert set(subscriber.bodies()) == set(ledger), "nothing that was sent is missing in the ledger"
    ids = [json.loads(body)["id"] for body in dict.fromkeys(subscriber.bodies())]
    assert len(ids) == len(set(ids)) == len(ledger), "one id, one record"
    assert verify(gate.state / "ledger.db").ok
    _check_visits(gate, set(unlocked.read_text().split()))


def _starts(gate: Installation) -> int:
    return sum(event["type"] == "hg.gate.started.v1" for event in gate.events())


def _check_visits(gate: Installation, unlocked: set[str]) -> None:
    authorised: dict[str, list[str]] = {}
    results: dict[str, list[str]] = {}
    run = ""
    for event in gate.events():
        data = event["data"]
        if event["type"] == "hg.gate.started.v1":
            run = data["run"]
        elif event["type"] == "hg.visit.decided.v1":
            authorised.setdefault(data["visit"], []).append(data["stage"])
        elif event["type"] == "hg.visit.closed.v1":
            results.setdefault(data["visit"], []).append(data["result"])
            if not data["visit"].startswith(run):
                assert data["result"] == "interrupted"
    assert unlocked <= {visit for visit, stages in authorised.items() if "authorised" in stages}
    assert results.keys() == authorised.keys(), "every visit is closed, by this run or the next"
    assert all(len(closed) == 1 for closed in results.values())
    assert ["interrupted"] in results.values()
    assert unlocked


@pytest.mark.parametrize(
    ("thread", "spoil"),
    [
        ("camera-reader", "gate.app.hardware.CameraPart._health = lambda *_: 1 / 0"),
        ("thermometer", "gate.app.hardware.ThermometerPart.prepare = lambda _: 1 / 0"),
        ("MainThread", "gate.core.actor.GateActor._device_recovered = lambda *_: 1 / 0"),
    ],
)
def test_a_programming_error_in_any_thread_ends_the_service(tmp_path: Path, thread: str, spoil: str) -> None:
    gate = Installation(tmp_path)
    if thread == "MainThread":
        gate.show(gate.issuer.issue())  # the reading that follows says that the thermometer is well
    code = f"import gate.app.hardware, gate.core.actor, gate.cli; {spoil}; gate.cli.main()"
    command = (sys.executable, "-c", code, "run", "--config", gate.config)
    with started(tmp_path / "log", *command) as process:
        assert process.wait(15) == 1
    said = (tmp_path / "log").read_text()
    assert "ZeroDivisionError" in said
    assert f"thread {thread} failed; the gate ends" in said or thread == "MainThread"


# --- bad configurations: everything at once, exit 78, nothing touched


def test_every_problem_is_listed_and_nothing_is_touched(tmp_path: Path) -> None:
    gate = Installation(tmp_path)
    text = gate.config.read_text()
    text = text.replace("state_dir", "state_dri").replace('factory = "mock"', 'factory = "mock"\nrelay = 4')
    text = text.replace("width = 640", 'width = "wide"').replace("[thermometer]", "[thermometre]")
    gate.config.write_text(text)
    before = sorted(tmp_path.iterdir())
    status, said = refused(gate.config)
    assert status == EX_CONFIG
    lines = said.strip().splitlines()
    assert len(lines) == 4, said
    for words in (
        "gate.state_dri: unknown key; did you mean 'state_dir'?",
        "thermometre: unknown key; did you mean 'thermometer'?",
        "camera.width: ",
        "pins.relay: ",
    ):
        assert sum(words in line for line in lines) == 1, words
    assert sorted(tmp_path.iterdir()) == before, "no state folder"
    assert not Path("/var/lib/gate").exists()


def test_every_file_that_is_named_is_checked_before_anything_is_touched(tmp_path: Path) -> None:
    gate = Installation(tmp_path)
    text = gate.config.read_text().replace("quick-hall.toml", "quick-hal.toml").replace("keys.toml", "k.toml")
    text = text.replace("[camera]", f'password_file = "{tmp_path / "no-password"}"\n[camera]')
    gate.config.write_text(text)
    status, said = refused(gate.config)
    assert status == EX_CONFIG
    for words in ("quick-hal.toml: no such file", "k.toml: no such file", "mqtt.password_file: "):
        assert words in said
    assert not gate.state.exists()
    gate.config.write_text(text.replace("no-password", "."))
    assert "Is a directory" in refused(gate.config)[1]


def test_a_pin_factory_is_not_opened_for_a_bad_configuration(tmp_path: Path) -> None:
    gate = Installation(tmp_path)
    gate.config.write_text(gate.config.read_text().replace("fps = 12", "fps = 0"))
    code = (
        "import gate.app.hardware, gate.cli; "
        "gate.app.hardware.open_pin_factory = lambda _: print('touched'); gate.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--config", gate.config],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    gate = Installation(tmp_path)
    gate.state.write_text("a file where a folder is expected")
    status, said = refused(gate.config)
    assert status == 1
    assert said.startswith(f"the state folder {gate.state} cannot be written (")
    assert "gate.state_dir" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_without_permission_is_named(tmp_path: Path) -> None:
    gate = Installation(tmp_path)
    gate.state.mkdir(mode=0o500)
    status, said = refused(gate.config)
    assert (status, "Permission denied" in said) == (1, True)
