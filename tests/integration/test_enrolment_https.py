"""Enrolment with real processes: `central run`, `gate run`, `gate enrol`, and Mosquitto as deploy/ has it."""

import http.client
import json
import random
import shutil
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from central.clock import SystemClock
from central.enrolment.book import EnrolmentBook
from central.enrolment.service import OF_ONE_ADDRESS_MAX
from central.keys import public_keys
from central.store import Problem, verify
from gate.cli.enrol import EX_TEMPFAIL
from tests.brokers import HOST, free_port
from tests.central.enrolment.enrolling import Device, a_token
from tests.central.running import CentreProcess
from tests.chaos.plant import GATE, SITE, Gate
from tests.integration.fault_town import until
from tests.integration.secure_broker import SecureBroker, central

pytestmark = pytest.mark.soak


class Setting:
    """A broker, a centre that enrols, and gates that have nothing but a token."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "centre").mkdir()
        shutil.copy(template, folder / "centre" / "central.db")  # so that nothing has to be migrated
        self.broker = SecureBroker(folder)
        self.keys = self.broker.keys
        files = {name: str(path) for name, path in self.broker.own("centre").items()}
        self.broker.config.write_text(
            f'[centre]\nkeys_dir = "{self.keys}"\nstore = "sqlite:///{self.keys / "central.db"}"\n'
            f'[mqtt]\nhost = "{HOST}"\nport = {self.broker.port}\n'
            + "".join(f'{name} = "{path}"\n' for name, path in files.items())
            + f'[enrolment]\nport = {self.port}\naddress = "{HOST}"\nnames = ["{HOST}"]\n'
        )
        self.centre = CentreProcess(self.broker.config)

    def give(self, gate: Gate, token: str | None = None) -> Path:
        """Give a gate what its card would, and the configuration of a gate that has enrolled."""
        gate.configure(600)
        state = gate.folder / "state"
        state.mkdir()
        made = token or central("enrol", "token", SITE, "--config", self.broker.config)
        (gate.folder / "token").write_text(made)
        (gate.folder / "enrol.toml").write_text(
            f'url = "https://{HOST}:{self.port}"\nca_file = "{self.keys / "ca.pem"}"\n'
            f'token_file = "{gate.folder / "token"}"\n'
        )
        files = {"ca_file": "tls/ca.pem", "cert_file": "tls/gate.pem", "key_file": "device.key"}
        tls = "".join(f'{name} = "{state / place}"\n' for name, place in files.items())
        gate.config.write_text(gate.config.read_text().replace("keepalive_s", tls + "keepalive_s"))
        return state

    def enrol(self, gate: Gate, *more: str) -> "subprocess.CompletedProcess[str]":
        arguments = [
            "--config",
            gate.config,
            "--enrol-config",
            gate.folder / "enrol.toml",
            "--clock-wait-s",
            "0",
        ]
        command = [*GATE, "enrol", *map(str, arguments), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def receipted(self, gate: Gate) -> int:
        rows = json.loads(central("status", "--json", "--config", self.broker.config))
        return max((row["receipted"] or 0 for row in rows if row["gate"] == gate.name), default=0)


@pytest.fixture
def setting(tmp_path: Path, sqlite_template: Path) -> Iterator[Setting]:
    setting = Setting(tmp_path, sqlite_template)
    with setting.broker, setting.centre:
        yield setting


def test_from_a_token_to_receipts_and_a_renewal_under_its_hands(setting: Setting) -> None:
    gate = Gate("g1", setting.folder, setting.broker.port, seed=1, keys_file=setting.keys / "centre.json")
    state = setting.give(gate)
    until(lambda: setting.enrol(gate).returncode == 0, lambda: setting.enrol(gate).stderr)
    assert not (gate.folder / "token").exists()
    gate.start()
    try:
        until(lambda: setting.receipted(gate) >= 5, lambda: f"receipts: {gate.log.read_text()}")

        # A copy of its card: the same name, and a key that it has made itself.
        copy = Gate("copy", setting.folder, setting.broker.port, seed=2, keys_file=None)
        setting.give(copy)
        copy.config.write_text(copy.config.read_text().replace('id = "copy"', 'id = "g1"'))
        refused = setting.enrol(copy)
        assert (refused.returncode, "central enrol allow" in refused.stderr) == (EX_TEMPFAIL, True)
        assert "waiting" in central("enrol", "list", "--config", setting.broker.config)

        # Renewed under its hands: what it has does not count any more, what it gets does, without a restart.
        before = (state / "tls" / "gate.pem").read_bytes()
        identity = gate.folder / "identity"
        identity.write_bytes(gate.identity())
        central("gates", "revoke", SITE, "g1", "--config", setting.broker.config)
        assert "was revoked" in setting.enrol(gate, "--again").stderr
        central("gates", "add", identity, "--config", setting.broker.config)
        assert setting.enrol(gate, "--again").returncode == 0
        assert (state / "tls" / "gate.pem").read_bytes() != before
        setting.broker.refresh()
        setting.broker.kill()
        setting.broker.start()
        mark = setting.receipted(gate)
        until(lambda: setting.receipted(gate) > mark + 5, lambda: f"more receipts: {gate.log.read_text()}")
        assert gate.died is None
    finally:
        gate.kill()
    assert setting.centre.terminate() == 0


def posted(port: int, context: ssl.SSLContext, body: bytes) -> dict[str, Any]:
    """Return what the centre answers, nothing where it does not."""
    try:
        with urllib.request.urlopen(f"https://{HOST}:{port}/enrol", body, 20, context=context) as answer:
            return dict(json.load(answer))
    except (OSError, http.client.HTTPException, ValueError):
        return {}


def test_a_centre_that_is_killed_at_any_moment_loses_no_device_and_spends_no_token(setting: Setting) -> None:
    numbers = random.Random()
    context = ssl.create_default_context(cafile=setting.keys / "ca.pem")
    with setting.broker.store() as store:
        book = EnrolmentBook(store.engine)
        # As many as one address may have served at once, so that none is hung up on, nor asks too often.
        devices = [Device(f"g-{n}") for n in range(OF_ONE_ADDRESS_MAX)]
        tokens = [a_token(book, now_ms=SystemClock().now_ms()) for _ in devices]
        bodies = [
            device.body(token, at_ms=SystemClock().now_ms())
            for device, token in zip(devices, tokens, strict=True)
        ]
        got: dict[str, str] = {}

        def ask(number: int) -> None:
            answer = posted(setting.port, context, bodies[number])
            assert "refused" not in answer, answer
            if "certificate" in answer:
                first = got.setdefault(devices[number].gate, answer["certificate"])
                assert first == answer["certificate"]

        kills = 0
        with ThreadPoolExecutor(len(devices)) as pool:
            while len(got) < len(devices):
                until(lambda: posted(setting.port, context, b"{}"), setting.centre.log)
                asking = [pool.submit(ask, number) for number in range(len(devices))]
                if kills < 6:
                    threading.Event().wait(numbers.uniform(0, 0.2))
                    setting.centre.kill()
                    setting.centre.start()
                    kills += 1
                for future in asking:
                    future.result(30)
        problems: list[Problem] = []
        verify(store, public_keys(setting.keys), problems.append)
        assert problems == []
        assert sorted(key.gate for key in store.gates()) == sorted(device.gate for device in devices)
        assert (book.waiting(), book.tokens(SystemClock().now_ms())) == ([], [])
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM certificates").scalar() == len(devices)
