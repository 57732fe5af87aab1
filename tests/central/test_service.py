"""The centre with a real Mosquitto and store: what is stored is acknowledged, what is proved is signed."""

import base64
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import central.subscriber
from central.config import WatchSection
from central.inbox import Inbox
from central.keys import CentreKeys, load_keys, make_keys
from central.status import overview
from central.store import Alarm, Arrived, Ingested, Store, StoreError, StreamState, open_store, verify
from central.subscriber import BrokerSettings
from gate.core.batches import pack
from gate.core.delivery import Ask
from gate.sinks.connection import FrugalClient
from tests.brokers import HOST, FreezingProxy, Mosquitto, StrictBroker, Subscriber, wait_for
from tests.central.fake_gate import NOW_MS, FakeGate
from tests.central.running import RunningCentre

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> CentreKeys:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder)
    return load_keys(folder)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


@pytest.fixture
def store(tmp_path: Path, sqlite_template: Path) -> Iterator[Store]:
    shutil.copy(sqlite_template, tmp_path / "central.db")
    with open_store(f"sqlite:///{tmp_path}/central.db") as opened:
        yield opened


@pytest.fixture
def gate(broker: Mosquitto, keys: CentreKeys, store: Store) -> Iterator[FakeGate]:
    with FakeGate(broker.port, keys.public) as fake:
        store.register_gate("north", fake.gate, fake.public_key, NOW_MS)
        yield fake


def bodies(store: Store, gate: str = "g-1") -> list[bytes]:
    return [record.body for record in store.records("north", gate)]


def codes(store: Store) -> list[str]:
    return [alarm.about.code for alarm in store.alarms()]


def problems(store: Store, keys: CentreKeys) -> list[str]:
    found: list[str] = []
    verify(store, keys.public, lambda problem: found.append(problem.what))
    return found


# --- the plain way


def test_records_become_a_receipt_when_a_checkpoint_has_proved_them(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store) as centre:
        gate.record(5)
        gate.send()
        gate.checkpoint()
        receipt = gate.wait_receipted(5)
        assert receipt.ask is Ask.NOTHING
        assert bodies(store) == gate.bodies
        assert centre.count("records_total") == 5
    assert not codes(store)
    assert not problems(store, keys)


def test_records_that_come_after_their_checkpoint_are_signed_for_without_another(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    gate.obey = False
    with RunningCentre(broker.port, keys, store):
        gate.record(8)
        gate.checkpoint()
        wait_for(lambda: gate.receipts, 5, "the answer to the checkpoint")
        assert gate.mark == 0
        gate.send()
        gate.wait_receipted(8, 5)


def test_a_receipt_waits_for_a_gate_that_was_away(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.record(2)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(2)
        with Subscriber(broker.port, "hg/1/north/g-1/receipt", qos=1) as late:
            wait_for(lambda: late.messages, 5, "the retained receipt")


def test_every_checkpoint_is_answered_also_when_nothing_is_new(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.checkpoint()
        wait_for(lambda: len(gate.receipts) == 1, 5, "the receipt of nothing")
        message = gate.checkpoint()
        wait_for(lambda: len(gate.receipts) == 2, 5, "another one")
        gate.publish("checkpoint", message)
        wait_for(lambda: len(gate.receipts) == 3, 5, "an answer to a repeated one")
        times = [receipt.at_ms for receipt in gate.receipts]
        assert times == sorted(set(times))


def test_batches_doubles_and_disorder_leave_every_record_once(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store) as centre:
        gate.record(1050)
        gate.send([7, 3, 1050, 3])  # what is abnormal comes first, and once more in its place
        gate.send_batches()
        gate.checkpoint()
        gate.wait_receipted(1050)
        assert bodies(store) == gate.bodies
        assert centre.count("duplicates_total") == 4
    assert not problems(store, keys)


# --- what is missing is asked for


def test_a_hole_is_asked_for_and_filled(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.record(10)
        gate.send([1, 2, 3, 6, 7, 8, 9, 10])
        gate.checkpoint()
        gate.wait_receipted(10)
        assert any(receipt.ask is Ask.RECORDS for receipt in gate.receipts)
    assert bodies(store) == gate.bodies


def test_a_lost_checkpoint_is_asked_for(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.checkpoint()
        gate.record(4)
        gate.send()
        gate.wait_receipted(4)
    assert any(receipt.ask is Ask.CHECKPOINT for receipt in gate.receipts)


def asked(gate: FakeGate) -> int:
    return sum(receipt.ask is Ask.RECORDS for receipt in gate.receipts)


def test_asking_a_deaf_gate_is_patient(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    gate.obey = False
    with RunningCentre(broker.port, keys, store, watch=WatchSection(late_s=5, hole_s=5)):
        gate.record(10)
        gate.send(range(1, 5))
        gate.checkpoint()
        wait_for(lambda: {"late", "hole"} <= set(codes(store)), 15, "both alarms")
        wait_for(lambda: asked(gate) >= 2, 10, "two requests")
        assert asked(gate) <= 5
        gate.obey = True
        gate.send(range(5, 11))
        gate.checkpoint()
        gate.wait_receipted(10)
        wait_for(lambda: not codes(store), 5, "the alarms to be over")


# --- who is not believed


def test_strangers_are_stored_unproved_and_proved_when_they_are_registered(
    broker: Mosquitto, keys: CentreKeys, store: Store
) -> None:
    with RunningCentre(broker.port, keys, store), FakeGate(broker.port, keys.public, "g-9") as stranger:
        stranger.record(3)
        stranger.send()
        stranger.checkpoint()
        wait_for(lambda: "unknown_gate" in codes(store), 5, "the alarm")
        wait_for(lambda: len(bodies(store, "g-9")) == 3, 5, "the records")
        assert not stranger.receipts
        store.register_gate("north", "g-9", stranger.public_key, NOW_MS)
        stranger.checkpoint()
        stranger.wait_receipted(3)
        assert not codes(store)


def test_a_checkpoint_of_a_revoked_key_is_an_alarm_and_gets_no_receipt(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        store.revoke_key("north", "g-1", None, NOW_MS)
        gate.record(1)
        gate.send()
        gate.checkpoint()
        wait_for(lambda: "revoked_key" in codes(store), 5, "the alarm")
        gate.checkpoint(key=Ed25519PrivateKey.generate())
        wait_for(lambda: "unknown_key" in codes(store), 5, "the other alarm")
        assert not gate.receipts


_PLACE = b'{"type":"hg.a.v1","data":{"site":"north","gate":"g-1","epoch":"%s","seq":1%s}}'
JUNK = (_PLACE % (b"\xff", b""), _PLACE % (b"e", b',"x":' + b"[" * 3000 + b"]" * 3000))


def test_junk_in_every_topic_is_counted_and_harms_nobody(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store) as centre:
        for leaf in ("ev", "ev/batch", "sealed", "checkpoint", "state", "ev/other"):
            for junk in (b"", b"\x00\xff", b"{}", b"[" * 10_000, pack([b"{}", b""]), b"x" * 100_000, *JUNK):
                gate.publish(leaf, junk)
        gate.record(2)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(2)
        assert centre.count("rejects_total") > 0
        assert centre.count("strays_total") > 0
        assert not centre.count("poison_total")


# --- what cannot be: each is an alarm


def test_a_ledger_that_went_back_is_concealed_and_its_other_records_are_kept(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.record(10)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(10)
        gate.obey = False
        known = list(gate.bodies)
        gate.roll_back(6)
        gate.record(2, other="bytes")
        gate.send([7, 8])
        gate.checkpoint()
        wait_for(lambda: {"went_back", "altered"} <= set(codes(store)), 10, "both alarms")
    assert bodies(store) == known
    kinds = {alarm.about.code: str(alarm.about.kind) for alarm in store.alarms()}
    assert (kinds["went_back"], kinds["altered"]) == ("concealed", "false")
    assert gate.receipts[-1].upto == 10  # by which the gate sees that its ledger is not the one


def test_records_that_contradict_their_checkpoint_are_sent_again(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.record(3)
        forged = gate.bodies[1].replace(b"part-2", b"part-X")
        gate.publish("ev", forged)  # whoever may write to the topic can do that
        gate.send([1, 3])
        wait_for(lambda: len(bodies(store)) == 3, 5, "the records")
        gate.checkpoint()
        gate.wait_receipted(3)
    assert bodies(store) == gate.bodies
    assert "checkpoint_differs" in codes(store)


def test_a_new_ledger_that_does_not_say_why_is_concealed(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        gate.record(3)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(3)
        gate.begin("epoch2")
        gate.record(2)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(2)
    assert codes(store) == ["unannounced_epoch"]


def test_a_record_waits_for_its_attachment(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    gate.obey = False
    secret = b"sealed to the centre"
    with RunningCentre(broker.port, keys, store):
        gate.record(1)
        gate.record(1, sealed=hashlib.sha256(secret).hexdigest())
        gate.send()
        gate.checkpoint()
        wait_for(lambda: asked(gate), 10, "the centre to ask")
        assert gate.mark == 0
        stated = {"v": 1, "epoch": "epoch1", "seq": 2, "sealed": base64.b64encode(secret).decode()}
        gate.publish("sealed", json.dumps(stated).encode())
        gate.wait_receipted(2)
    assert store.sealed("north", "g-1", "epoch1", 2) == secret


# --- faults


class FaultyStore:
    """A store that fails as it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gone = threading.Event()
        self.attempts = 0
        self.poison = b""
        self.another_centre = threading.Event()
        self.outdone = 0

    def stream(self, site: str, gate: str, epoch: str) -> StreamState | None:
        state = self._store.stream(site, gate, epoch)
        if state is not None and self.another_centre.is_set():
            self.outdone += 1
            return replace(state, proved=state.proved + 1)
        return state

    def ingest(self, arrived: Sequence[Arrived], now_ms: int) -> Ingested:
        self.attempts += 1
        if self.gone.is_set():
            raise StoreError("the store is away")
        if self.poison and any(self.poison in one.body for one in arrived):
            raise RuntimeError("an error of the program")
        return self._store.ingest(arrived, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def faulty(store: Store) -> Any:
    return FaultyStore(store)


def test_while_the_store_is_away_nothing_is_acknowledged_and_nothing_lost(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    broken = faulty(store)
    broken.gone.set()
    with RunningCentre(broker.port, keys, broken, receive_maximum=10) as centre:
        gate.record(100)
        gate.send()
        gate.checkpoint()
        wait_for(lambda: broken.attempts >= 3, 10, "some attempts")
        # Receive Maximum keeps the rest at the broker.
        assert not bodies(store)
        assert not gate.receipts
        broken.gone.clear()
        gate.wait_receipted(100)
        assert centre.subscriber.status().connections == 1
        assert broken.attempts < 60
    assert bodies(store) == gate.bodies


def test_a_centre_that_is_stopped_while_the_store_is_away_gets_it_all_next_time(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    broken = faulty(store)
    broken.gone.set()
    gate.obey = False
    with RunningCentre(broker.port, keys, broken):
        gate.record(20)
        gate.send()
        gate.checkpoint()
        wait_for(lambda: broken.attempts >= 2, 10, "some attempts")
    assert not bodies(store)
    with RunningCentre(broker.port, keys, store):
        gate.wait_receipted(20)


def test_one_poisonous_message_does_not_keep_out_the_others(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    broken = faulty(store)
    broken.poison = b"part-6"
    with RunningCentre(broker.port, keys, broken) as centre:
        gate.record(10)
        gate.send()
        wait_for(lambda: len(bodies(store)) == 9, 10, "the other records")
        assert centre.count("poison_total") == 1
        broken.poison = b""
        gate.checkpoint()
        gate.wait_receipted(10, within_s=40)  # asked for after some seconds, and this time it goes well


def test_a_broker_that_is_killed_and_comes_back(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store) as centre:
        gate.record(10)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(10)
        broker.kill()
        wait_for(lambda: not centre.subscriber.status().connected, 5, "the end to be noticed")
        assert centre.subscriber.status().fault
        gate.record(10)
        broker.start()
        wait_for(lambda: centre.subscriber.status().connections == 2, 10, "another connection")
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(20)


def test_a_frozen_connection_is_given_up_and_all_comes_again(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with FreezingProxy(broker.port) as proxy, RunningCentre(proxy.port, keys, store, keepalive_s=2) as centre:
        proxy.freeze()
        gate.record(10)
        gate.send()
        gate.checkpoint()
        fault = wait_for(lambda: centre.subscriber.status().fault, 6, "the silence to be noticed")
        assert "has been silent" in fault
        proxy.thaw()
        gate.wait_receipted(10)
        assert centre.subscriber.status().connections == 2
    assert bodies(store) == gate.bodies


@pytest.mark.parametrize("receive_maximum", [1, 10])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_small_windows_and_both_versions(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate, receive_maximum: int, protocol: str
) -> None:
    options = {"receive_maximum": receive_maximum, "protocol": protocol}
    with RunningCentre(broker.port, keys, store, **options) as centre:
        assert centre.subscriber.status().protocol == protocol
        gate.record(200)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(200, 30)
    assert bodies(store) == gate.bodies


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_more_than_there_is_room_for_is_dropped_unacknowledged_and_comes_again(
    tmp_path: Path, keys: CentreKeys, store: Store, protocol: str
) -> None:
    with (
        Mosquitto(tmp_path / "eager", "max_inflight_messages 0") as eager,
        FakeGate(eager.port, keys.public) as gate,
    ):
        gate.obey = False
        store.register_gate("north", "g-1", gate.public_key, NOW_MS)
        broken = faulty(store)
        broken.gone.set()
        with RunningCentre(eager.port, keys, broken, capacity=20, protocol=protocol) as centre:
            gate.record(300)
            gate.send()
            gate.checkpoint()
            wait_for(lambda: broken.attempts >= 2, 10, "some attempts")
            broken.gone.clear()
            gate.wait_receipted(300, 60)
            assert centre.subscriber.status().connections > 1
        assert bodies(store) == gate.bodies


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_came_while_the_centre_was_away_waits_in_the_broker_s_session(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate, protocol: str
) -> None:
    with RunningCentre(broker.port, keys, store, protocol=protocol):
        pass
    gate.obey = False
    gate.record(30)
    gate.send()
    gate.checkpoint()
    with RunningCentre(broker.port, keys, store, protocol=protocol):
        gate.wait_receipted(30)


def test_a_gate_whose_last_will_stands_is_an_alarm_until_it_is_back(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store, watch=WatchSection(lost_s=5)) as centre:
        gate.publish("state", b'{"v":1,"state":"lost"}', retain=True)
        wait_for(lambda: "lost" in codes(store), 10, "the alarm")
        stands = {"kind": "missed"}
        value = centre.metrics.registry.get_sample_value
        wait_for(lambda: value("central_alarms_standing", stands) == 1, 5, "the figure")
        assert value("central_gates", {"state": "lost"}) == 1
        gate.publish("state", json.dumps({"v": 1, "state": "ready", "mode": "serving"}).encode(), retain=True)
        wait_for(lambda: "lost" not in codes(store), 10, "the end of it")


def test_a_gate_that_says_it_is_in_fault_is_an_alarm_and_shown_until_it_says_other(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate, caplog: pytest.LogCaptureFixture
) -> None:
    def shown() -> tuple[str, str]:
        return next((one.state, one.mode) for one in overview(store, NOW_MS) if one.gate == "g-1")

    with RunningCentre(broker.port, keys, store) as centre:
        for said, stands in (("serving", False), ("fault", True), ("degraded", False)):
            state = {"v": 1, "state": "ready", "mode": said}
            gate.publish("state", json.dumps(state).encode(), retain=True)
            wait_for(lambda said=said: shown() == ("ready", said), 10, f"{said} to be shown")
            wait_for(lambda stands=stands: ("fault" in codes(store)) is stands, 10, "the alarm, or its end")
            gate.publish("state", b'{"v":1,"state":"lost"}', retain=True)  # which says nothing of the mode
            wait_for(lambda: shown()[0] == "lost", 10, "that to be shown")
            assert shown()[1] == said
            kept = centre.centre._reports["north", "g-1"]
            gate.publish("state", json.dumps(state).encode(), retain=True)
            wait_for(lambda: shown()[0] == "ready", 10, "that it is back")
            back = centre.centre._reports["north", "g-1"]
            assert (back.fault_ms, back.well_ms) == (kept.fault_ms, kept.well_ms), "a mode outlasts a link"
            assert back.since_ms > kept.since_ms
    assert "missed/fault  north/g-1: the gate says that it is in fault" in caplog.text
    assert "{'" not in caplog.text


def test_a_gate_that_is_registered_while_the_centre_runs_is_known_at_once(
    broker: Mosquitto, keys: CentreKeys, store: Store
) -> None:
    with FakeGate(broker.port, keys.public) as gate, RunningCentre(broker.port, keys, store) as centre:
        value = centre.metrics.registry.get_sample_value
        gate.publish("state", b'{"v":1,"state":"ready"}', retain=True)
        gate.publish("ev", b"junk")  # goes the same way, so that the state has been heard when it is counted
        wait_for(lambda: centre.count("rejects_total"), 5, "the centre to hear")
        store.register_gate("north", "g-1", gate.public_key, NOW_MS)
        wait_for(lambda: value("central_gates", {"state": "ready"}) == 1, 5, "the figure")
        assert value("central_gates", {"state": "unknown"}) == 0


def test_strangers_do_not_fill_the_memory(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("central.service._STRANGERS_MAX", 3)
    with RunningCentre(broker.port, keys, store) as centre:
        for number in range(20):
            gate._client.publish(f"hg/1/north/s-{number}/state", b'{"state":"ready"}', qos=1)
        gate.publish("ev", b"junk")
        wait_for(lambda: centre.count("rejects_total"), 5, "the centre to hear")
        wait_for(lambda: ("north", "s-19") in centre.centre._strangers, 5, "the last to be heard")
        wait_for(lambda: len(centre.centre._strangers) == 3, 5, "the memory to be bounded")
        assert ("north", "s-19") in centre.centre._strangers


def test_a_registered_gate_that_says_it_is_there_is_told_of(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    ready: list[tuple[str, str]] = []
    with RunningCentre(
        broker.port, keys, store, on_ready=lambda site, name: ready.append((site, name))
    ) as centre:
        value = centre.metrics.registry.get_sample_value
        wait_for(lambda: value("central_gates", {"state": "unknown"}) == 1, 5, "the gate to be known")
        gate._client.publish("hg/1/north/stranger/state", b'{"state":"ready"}', qos=1)
        gate.publish("state", b'{"v":1,"state":"lost"}')
        for _ in range(2):  # again, although nothing has changed: it may have come back in between
            gate.publish("state", b'{"v":1,"state":"ready"}')
        wait_for(lambda: len(ready) == 2, 5, "both to be heard")
    assert ready == [("north", "g-1")] * 2


def test_every_command_goes_out_and_of_receipts_the_newest() -> None:
    with StrictBroker() as broker:
        inbox = Inbox(time.monotonic)
        subscriber = central.subscriber.Subscriber(
            BrokerSettings(HOST, "centre", port=broker.port), ["hg"], inbox, uniform=lambda low, _: low
        )
        for number in range(3):
            subscriber.publish("hg/1/north/g-1/cmd", b"c%d" % number, retain=False, newest_only=False)
            subscriber.publish("hg/1/north/g-1/receipt", b"r%d" % number, retain=True)
        subscriber.start()
        wait_for(lambda: len(broker.received) >= 4, 10, "what was kept")
        subscriber.stop()
        assert broker.bodies("cmd") == [b"c0", b"c1", b"c2"]
        assert broker.bodies("receipt") == [b"r2"]


class Notes:
    """An audience."""

    def __init__(self) -> None:
        self.records: list[int] = []
        self.alarms: list[str] = []

    def stored(self, ingested: Ingested) -> None:
        self.records += [record.seq for record in ingested.new]

    def alarmed(self, alarms: Sequence[Alarm]) -> None:
        self.alarms += [alarm.about.code for alarm in alarms]


def test_whoever_listens_hears_of_each_new_record_once(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    notes = Notes()
    with RunningCentre(broker.port, keys, store, audience=[notes]):
        gate.record(5)
        gate.send()
        gate.send()
        gate.checkpoint(key=Ed25519PrivateKey.generate())
        gate.checkpoint()
        gate.wait_receipted(5)
    assert sorted(notes.records) == [1, 2, 3, 4, 5]
    assert notes.alarms == ["unknown_key"]


def test_of_two_centres_the_one_that_has_proved_less_keeps_silent(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    shared = faulty(store)
    shared.another_centre.set()
    with RunningCentre(broker.port, keys, shared, alone=False):
        gate.record(3)
        gate.send()
        gate.checkpoint()
        wait_for(lambda: shared.outdone, 5, "the first centre to look again")
        shared.another_centre.clear()
        gate.checkpoint()
        gate.wait_receipted(3)
        assert len(gate.receipts) == 1


def test_a_broker_that_takes_no_receipt_is_left(keys: CentreKeys, store: Store) -> None:
    with StrictBroker() as broker, RunningCentre(broker.port, keys, store, keepalive_s=5) as centre:
        broker.mute.set()
        centre.subscriber.publish("hg/1/north/g-1/receipt", b"signed", retain=True)
        wait_for(lambda: centre.subscriber.status().fault, 9, "the end of the connection")
        assert "not acknowledged a message" in (centre.subscriber.status().fault or "")


# --- a centre that was restored from an old backup


def test_a_restored_centre_says_so_and_gets_everything_again(
    tmp_path: Path, sqlite_template: Path, broker: Mosquitto, keys: CentreKeys
) -> None:
    now, old = tmp_path / "now.db", tmp_path / "old.db"
    shutil.copy(sqlite_template, now)
    with FakeGate(broker.port, keys.public) as gate:
        with open_store(f"sqlite:///{now}") as store:
            store.register_gate("north", "g-1", gate.public_key, NOW_MS)
            with RunningCentre(broker.port, keys, store):
                gate.record(10)
                gate.send()
                gate.checkpoint()
                gate.wait_receipted(10)
                with closing(sqlite3.connect(now)) as source, closing(sqlite3.connect(old)) as copy:
                    source.backup(copy)
                gate.record(15)
                gate.send()
                gate.checkpoint()
                gate.wait_receipted(25)
        shutil.copy(old, now)
        for leftover in tmp_path.glob("now.db-*"):
            leftover.unlink()
        gate.receipts.clear()
        with open_store(f"sqlite:///{now}") as store, RunningCentre(broker.port, keys, store):
            wait_for(lambda: any(receipt.upto == 10 for receipt in gate.receipts), 10, "the mark to go back")
            gate.wait_receipted(25)
            assert bodies(store) == gate.bodies
            assert not problems(store, keys)


# --- order of things


@pytest.mark.parametrize("mqtt", [{}, {"shared": True, "client_id": "one"}], ids=["alone", "one of several"])
def test_nothing_is_acknowledged_before_it_is_committed(
    broker: Mosquitto,
    keys: CentreKeys,
    store: Store,
    gate: FakeGate,
    monkeypatch: pytest.MonkeyPatch,
    mqtt: dict[str, Any],
) -> None:
    order: list[str] = []

    def noting(word: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            done = work(*args, **kwargs)
            order.append(word)
            return done

        return noted

    centre = RunningCentre(broker.port, keys, store, **mqtt)
    monkeypatch.setattr(store, "ingest", noting("stored", store.ingest))
    monkeypatch.setattr(store, "checkpoint", noting("judged", store.checkpoint))
    monkeypatch.setattr(store, "keep_receipts", noting("kept", store.keep_receipts))
    # The packet itself: paho would send it as soon as a message is there, if it were not told otherwise.
    monkeypatch.setattr(FrugalClient, "_send_puback", noting("acknowledged", FrugalClient._send_puback))
    monkeypatch.setattr(centre.subscriber, "publish", noting("said", centre.subscriber.publish))
    with centre:
        gate.record(1)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(1)
    assert order.index("stored") < order.index("acknowledged")
    assert order.index("judged") < order.index("kept") < order.index("said")


def test_a_lone_record_is_answered_at_once(
    broker: Mosquitto, keys: CentreKeys, store: Store, gate: FakeGate
) -> None:
    with RunningCentre(broker.port, keys, store):
        delays = []
        for seq in range(1, 11):
            gate.record()
            began = time.monotonic()
            gate.send()
            gate.checkpoint()
            gate.wait_receipted(seq)
            delays.append(time.monotonic() - began)
        assert sorted(delays)[5] < 0.5
