"""The whole gate with a centre: receipts, a ledger that is not the one the centre knows, commands."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest import LogCaptureFixture, MonkeyPatch, fixture, mark

from gate.app.centre import CentreKeys
from gate.app.identity import KEY_NAME, device_key
from gate.config import CentreSection, Config
from gate.core.commands import Address, Command, Name
from gate.core.events import Kind
from gate.core.inputs import Device
from gate.core.mode import Mode
from gate.shell.clock import SystemClock
from gate.store.ledger import entries, verify
from tests.app.running_gate import GATE, SITE, RunningGate, a_config
from tests.brokers import Mosquitto, wait_for
from tests.centre import CENTRE_KEY, SmallCentre, public
from tests.integration.test_centre_delivery import CentreClient

pytestmark = mark.apart

KEYS = CentreKeys((public(CENTRE_KEY),), b"s" * 32)


@fixture(autouse=True)
def _quick_checkpoints(monkeypatch: MonkeyPatch) -> None:
    """Let checkpoints follow each other sooner; their pace of one a second is for `test_checkpoints`."""
    monkeypatch.setattr("gate.sinks.checkpoints.APART_S", 0.1)


@fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as broker:
        yield broker


def with_centre(folder: Path, port: int) -> Config:
    path = folder / "centre.json"
    path.write_text(json.dumps({"sign": [key.hex() for key in KEYS.sign], "seal": KEYS.seal.hex()}))
    return replace(a_config(folder, port), centre=CentreSection(path))


@contextmanager
def a_centre(config: Config) -> Iterator[CentreClient]:
    """A centre that knows this gate's key."""
    device = public(device_key(config.gate.state_dir))
    with CentreClient(config.mqtt.port, SmallCentre(SITE, GATE, device)) as client:
        yield client


def all_receipted(gate: RunningGate) -> bool:
    status = gate.app.sink.status()
    return status.acknowledged == status.head == len(gate.bodies())


def epoch_of(gate: RunningGate) -> str:
    return str(wait_for(gate.events, 3, "the first record")[0]["data"]["epoch"])


def test_a_visit_is_done_when_the_centre_has_signed_for_it(tmp_path: Path, broker: Mosquitto) -> None:
    config = with_centre(tmp_path, broker.port)
    with a_centre(config) as client, RunningGate(config) as gate:
        gate.visit()
        wait_for(lambda: all_receipted(gate), 8, "receipts for everything")
        epoch = epoch_of(gate)
        assert client.centre.bodies(epoch) == gate.bodies()
        state = gate.app._state()
        assert (state["receipted"], state["epoch"]) == (len(gate.bodies()), epoch)
    first, second, *_ = gate.events()
    assert first["type"] == "hg.epoch.started.v1"
    assert (first["data"]["reason"], first["data"]["previous"]) == ("first start", None)
    assert second["type"] == "hg.gate.started.v1"
    assert verify(gate.ledger).ok


def test_without_a_centre_nothing_of_it_is_there(tmp_path: Path, broker: Mosquitto) -> None:
    with RunningGate(a_config(tmp_path, broker.port)) as gate:
        gate.visit()
        assert "receipted" not in gate.app._state()
    assert gate.events()[0]["type"] == "hg.gate.started.v1"
    assert not (gate.config.gate.state_dir / KEY_NAME).exists()


def test_a_gate_whose_key_is_damaged_serves_and_says_so(tmp_path: Path, broker: Mosquitto) -> None:
    config = with_centre(tmp_path, broker.port)
    with a_centre(config) as client:
        (config.gate.state_dir / KEY_NAME).write_text("noise")
        with RunningGate(config) as gate:
            failed = gate.wait_recorded(Kind.DEVICE_FAILED, device="identity")
            assert "is damaged; bring back a copy" in failed["problem"]
            gate.visit()
            assert gate.app.actor.failed_devices == {Device.IDENTITY}
            assert gate.app.actor.mode is Mode.DEGRADED
            stream = client.centre.stream(epoch_of(gate))
            wait_for(lambda: stream.linked == len(gate.bodies()), 5, "everything at the centre, unproved")
            assert client.centre.checkpoints == []


def test_a_lost_key_is_replaced_loudly_once_there_are_records(
    tmp_path: Path, broker: Mosquitto, caplog: LogCaptureFixture
) -> None:
    def warnings_of_a_run() -> list[str]:
        caplog.clear()
        with RunningGate(config) as gate:
            wait_for(gate.events, 3, "the first record")
        return [one.getMessage() for one in caplog.records if "device key" in one.getMessage()]

    config = with_centre(tmp_path, broker.port)
    assert warnings_of_a_run() == [], "the first key of a first ledger"
    (config.gate.state_dir / KEY_NAME).unlink()
    (warning,) = warnings_of_a_run()
    assert "`gate identity` here and `central gates add` there" in warning
    assert warnings_of_a_run() == [], "the same key as before"


def test_a_ledger_that_was_rolled_back_is_put_aside_and_a_new_epoch_says_why(
    tmp_path: Path, broker: Mosquitto
) -> None:
    config = with_centre(tmp_path, broker.port)
    with a_centre(config) as client:
        with RunningGate(config) as gate:
            gate.visit()
        backup = shutil.copy(gate.ledger, tmp_path / "backup.db")
        with RunningGate(config) as gate:
            gate.issuer.issue()  # the first pass of every run is the same, and has been used
            gate.visit()
            wait_for(lambda: all_receipted(gate), 8, "receipts for everything")
        old = epoch_of(gate)
        shutil.copy(backup, gate.ledger)
        rolled_back = len(gate.bodies())
        with RunningGate(config) as gate:
            gate.wait_recorded(Kind.ANOMALY, what="receipt_disagreed")
            gate.wait_recorded(Kind.EPOCH_STARTED)
            for _ in range(2):
                gate.issuer.issue()
            gate.visit()
            wait_for(lambda: all_receipted(gate), 8, "receipts for the new epoch")
            new = epoch_of(gate)
            assert client.centre.bodies(new) == gate.bodies()
        aside = gate.ledger.with_name(f"ledger-{old}.db")
        assert verify(aside).ok
        assert verify(gate.ledger).ok
        first = gate.events()[0]
        assert first["type"] == "hg.epoch.started.v1"
        before = list(entries(aside))
        assert before[rolled_back - 1].seq == rolled_back, "nothing of the old file is lost"
        assert first["data"]["previous"]["epoch"] == old != new
        assert first["data"]["previous"]["size"] == len(before)
        assert first["data"]["previous"]["hash"] == verify(aside).head_hash


def test_a_centre_that_went_back_is_on_record(tmp_path: Path, broker: Mosquitto) -> None:
    config = with_centre(tmp_path, broker.port)
    with a_centre(config) as client, RunningGate(config) as gate:
        gate.visit()
        wait_for(lambda: all_receipted(gate), 8, "receipts for everything")
        client.centre.lose(after=2, epoch=epoch_of(gate))
        client.says(client.centre.receipt(epoch_of(gate)))
        gate.wait_recorded(Kind.ANOMALY, what="receipt_went_back")
        wait_for(lambda: all_receipted(gate), 8, "receipts for everything, once more")
        assert client.centre.bodies(epoch_of(gate)) == gate.bodies()


class Commander:
    """Commands one gate, with rising counters."""

    def __init__(self, client: CentreClient, gate: RunningGate) -> None:
        self._client, self._gate = client, gate
        self._counter = 0

    def tell(self, name: Name, **args: str | int) -> bytes:
        self._counter += 1
        now_s = SystemClock(lambda: True).now().wall_s
        to = Address(SITE, GATE, epoch_of(self._gate))
        command = Command(f"c{self._counter}", to, self._counter, now_s - 5, now_s + 60, name, args)
        message = command.signed(CENTRE_KEY)
        self._client.publish("cmd", message, retain=False)
        return message

    def answer(self, number: int, **facts: object) -> dict[str, Any]:
        return self._gate.wait_recorded(Kind.COMMAND, id=f"c{number}", **facts)


def test_commands_of_the_centre_are_obeyed_and_answered_on_the_record(
    tmp_path: Path, broker: Mosquitto
) -> None:
    config = with_centre(tmp_path, broker.port)
    with a_centre(config) as client:
        with RunningGate(config) as gate:
            wait_for(lambda: gate.app.sink.status().connected, 5, "a connection")
            centre = Commander(client, gate)
            told = centre.tell(Name.SUSPEND, reason="drill")
            centre.answer(1, outcome="done")
            wait_for(lambda: gate.app.actor.mode is Mode.SUSPENDED, 3, "the gate to be suspended")
            client.publish("cmd", told, retain=False)
            centre.answer(1, outcome="refused")
            assert gate.wait_recorded(Kind.COMMAND, outcome="refused")["reason"] == "replayed"
        with RunningGate(config) as gate:
            wait_for(lambda: gate.app.actor.mode is Mode.SUSPENDED, 3, "the suspension to outlive a restart")
            centre = Commander(client, gate)
            centre._counter = 1
            wait_for(lambda: gate.app.sink.status().connected, 5, "a connection")
            centre.tell(Name.RESUME)
            wait_for(lambda: gate.app.actor.mode is Mode.SERVING, 3, "the gate to serve")
            singles, checkpoints = client.centre.singles, len(client.centre.checkpoints)
            centre.tell(Name.RESEND, after=0)
            wait_for(lambda: client.centre.singles >= singles + len(gate.bodies()), 5, "everything again")
            centre.tell(Name.CHECKPOINT)
            wait_for(lambda: len(client.centre.checkpoints) > checkpoints, 5, "a checkpoint")
            gate.visit()
            wait_for(lambda: all_receipted(gate), 8, "receipts for everything")
    assert verify(gate.ledger).ok


@mark.parametrize("fit", [True, False])
def test_a_plan_of_the_centre_is_followed_from_then_on(tmp_path: Path, broker: Mosquitto, fit: bool) -> None:
    config = with_centre(tmp_path, broker.port)
    plan = (tmp_path / "quick-hall.toml").read_text().replace("quick-hall", "sent-hall")
    with a_centre(config) as client:
        with RunningGate(config) as gate:
            wait_for(lambda: gate.app.sink.status().connected, 5, "a connection")
            centre = Commander(client, gate)
            centre.tell(Name.POLICY, text=plan if fit else plan + "\nno = 1\n")
            centre.answer(1)
            if not fit:
                gate.wait_recorded(Kind.ANOMALY, what="policy_rejected")
                assert gate.app.actor.policy.name == "quick-hall"
                return
            assert gate.wait_recorded(Kind.POLICY_ADOPTED)["policy"] == "sent-hall"
            gate.visit()
        decided = gate.wait_recorded(Kind.VISIT_DECIDED)
        assert decided["policy"] == "sent-hall"
        with RunningGate(config) as again:
            assert again.wait_recorded(Kind.GATE_STARTED)["policy"] == "sent-hall"
