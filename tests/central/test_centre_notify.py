"""What systemd hears from a centre: ready when its store is, alive while its main loop goes round."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from central.keys import CentreKeys, load_keys, make_keys
from central.notify import Liveness
from central.store import Store, StoreError, open_store
from tests.brokers import Mosquitto, free_port, wait_for
from tests.central.fake_gate import NOW_MS, FakeGate
from tests.central.running import CentreProcess, RunningCentre, write_config
from tests.service_manager import ServiceManagerStandIn

pytestmark = pytest.mark.apart


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManagerStandIn]:
    with ServiceManagerStandIn(tmp_path) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        yield listening


@pytest.fixture
def keys(tmp_path: Path) -> CentreKeys:
    make_keys(tmp_path / "centre")
    return load_keys(tmp_path / "centre")


def test_it_is_ready_with_its_store_and_says_when_it_stops(
    tmp_path: Path, keys: CentreKeys, systemd: ServiceManagerStandIn
) -> None:
    config = write_config(tmp_path / "centre", free_port())  # no broker: that is waited for
    with CentreProcess(config) as centre:
        wait_for(lambda: systemd.count("READY=1"), 60, "the centre to be ready")
        assert (tmp_path / "centre" / "central.db").stat().st_size > 0
        wait_for(lambda: systemd.count("WATCHDOG=1") > 3, 20, "the watchdog to be fed")
        assert centre.terminate() == 0
    assert systemd.count("READY=1") == 1
    assert systemd.said()[-1] == "STOPPING=1"


def test_a_store_that_cannot_be_opened_is_never_ready(
    tmp_path: Path, keys: CentreKeys, systemd: ServiceManagerStandIn
) -> None:
    config = write_config(tmp_path / "centre", free_port(), store=f"sqlite:///{tmp_path}/nowhere/central.db")
    with CentreProcess(config) as centre:
        assert centre._process is not None
        assert centre._process.wait(60) != 0
    assert systemd.said() == []


def test_it_goes_round_while_it_waits_for_its_store(
    tmp_path: Path, sqlite_template: Path, keys: CentreKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sqlite_template, tmp_path / "central.db")

    ingest, gone = Store.ingest, threading.Event()

    def failing(*arguments: Any) -> Any:
        if gone.is_set():
            raise StoreError("the disk is gone")
        return ingest(*arguments)

    monkeypatch.setattr(Store, "ingest", failing)
    with (
        Mosquitto(tmp_path / "broker") as broker,
        open_store(f"sqlite:///{tmp_path}/central.db") as store,
        FakeGate(broker.port, keys.public) as gate,
        RunningCentre(broker.port, keys, store) as centre,
    ):
        store.register_gate("north", gate.gate, gate.public_key, NOW_MS)
        gone.set()
        turns: list[int] = []
        centre.centre._turn = lambda: turns.append(centre.count("store_failures_total"))
        gate.record(1)
        gate.send()
        wait_for(lambda: len(set(turns)) > 5, 20, "the centre to go round from failure to failure")
        gone.clear()
        gate.checkpoint()
        gate.wait_receipted(1)


def test_it_is_said_at_most_once_a_second(systemd: ServiceManagerStandIn) -> None:
    now_s = 100.0
    liveness = Liveness(lambda: now_s)
    for _ in range(100):
        now_s += 0.1
        liveness.turn()
    assert 9 <= systemd.count("WATCHDOG=1") <= 11
    liveness.stopping()
    liveness.turn()
    assert systemd.said()[-1] == "STOPPING=1"


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    liveness = Liveness(lambda: 0.0)
    liveness.turn()
    liveness.stopping()
