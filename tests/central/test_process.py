"""`central run` as a process: ends in order, may be killed at any moment, shares the work with others."""

import json
import random
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from central.cli import main
from central.clock import SystemClock
from central.keys import CentreKeys, load_keys, make_keys
from central.store import open_store
from tests.brokers import Mosquitto, free_port, wait_for
from tests.central.fake_gate import FakeGate
from tests.central.postgres import Postgres
from tests.central.running import CentreProcess, write_config

pytestmark = pytest.mark.soak


@pytest.fixture
def folder(tmp_path: Path, sqlite_template: Path) -> Path:
    make_keys(tmp_path / "centre")
    shutil.copy(sqlite_template, tmp_path / "centre" / "central.db")
    return tmp_path / "centre"


@pytest.fixture
def keys(folder: Path) -> CentreKeys:
    return load_keys(folder)


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    # As a broker that keeps its queues in memory only: sessions live as long as it does.
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


def central(*arguments: str, stdin: bytes = b"") -> Result:
    """Run a command of the centre in this process, which need not import everything anew."""
    return CliRunner().invoke(main, arguments, input=stdin)


def enrol(config: Path, gate: FakeGate) -> None:
    done = central("gates", "add", "-", "--config", str(config), stdin=gate.identity)
    assert done.exit_code == 0, done.output


def exported(config: Path) -> list[dict[str, Any]]:
    done = central("export", "--jsonl", "--config", str(config))
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_whole(config: Path, gate: FakeGate) -> None:
    """Nothing lost, nothing twice, nothing altered, and everything proved."""
    lines = [line for line in exported(config) if line["gate"] == gate.gate]
    assert [line["seq"] for line in lines] == list(range(1, len(gate.bodies) + 1))
    assert [line["hash"] for line in lines] == [digest.hex() for digest in gate.hashes[1:]]
    assert [line["record"] for line in lines] == [json.loads(body) for body in gate.bodies]
    verified = central("verify", "--config", str(config))
    assert verified.exit_code == 0, verified.output


def test_sigterm_ends_it_in_order(folder: Path, keys: CentreKeys, broker: Mosquitto) -> None:
    config = write_config(folder, broker.port)
    with FakeGate(broker.port, keys.public) as gate, CentreProcess(config) as centre:
        enrol(config, gate)
        gate.record(10)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(10, 30)
        assert centre.terminate() == 0
        assert_whole(config, gate)


def test_what_time_brings_is_done_beside_it(folder: Path, keys: CentreKeys, broker: Mosquitto) -> None:
    config = write_config(folder, broker.port)
    with open_store(f"sqlite:///{folder}/central.db") as store:
        two_days_ago_ms = SystemClock().now_ms() - 2 * 86_400_000
        store.register_gate("north", "g-1", b"k" * 32, two_days_ago_ms)
        with CentreProcess(config) as centre:
            wait_for(lambda: "retention: 0 registrations erased" in centre.log(), 30, "the retention")
            late = lambda: [a for a in store.alarms() if a.about.code == "report_late"]  # noqa: E731
            wait_for(late, 30, "the report that nobody has made to be missed")
            assert centre.terminate() == 0


def test_metrics_are_served(folder: Path, keys: CentreKeys, broker: Mosquitto) -> None:
    port = free_port()
    config = write_config(folder, broker.port)
    with config.open("a") as file:
        file.write(f"[metrics]\nport = {port}\n")
    with FakeGate(broker.port, keys.public) as gate, CentreProcess(config):
        enrol(config, gate)
        gate.record(3)
        gate.send()
        gate.checkpoint()
        gate.wait_receipted(3, 30)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    assert "central_records_total 3.0" in text
    assert 'central_alarms_standing{kind="late"} 0.0' in text


def test_killed_at_any_moment_it_loses_nothing_and_doubles_nothing(
    folder: Path, keys: CentreKeys, broker: Mosquitto
) -> None:
    config = write_config(folder, broker.port)
    dice = random.Random(1)
    with FakeGate(broker.port, keys.public) as gate, CentreProcess(config) as centre:
        enrol(config, gate)
        for _ in range(3):
            gate.record(300)
            gate.send()
            gate.checkpoint()
            goal = gate.mark + dice.randrange(1, 300)
            wait_for(lambda goal=goal: stored(folder) >= goal, 30, "some records to be stored")
            centre.kill()
            listened = centre.log().count("listening")
            centre.start()
        # Everything may have been signed for before the last kill: it must not be asked to end at its start.
        wait_for(lambda: centre.log().count("listening") > listened, 30, "the last one to listen")
        gate.checkpoint()
        gate.wait_receipted(900, 60)
        assert centre.terminate() == 0
        assert_whole(config, gate)


def stored(folder: Path) -> int:
    with open_store(f"sqlite:///{folder}/central.db") as store:
        return sum(state.top for state in store.streams())


def test_a_broker_killed_with_all_its_queues_costs_nothing(
    folder: Path, keys: CentreKeys, broker: Mosquitto
) -> None:
    config = write_config(folder, broker.port)
    with FakeGate(broker.port, keys.public) as gate:
        with CentreProcess(config) as centre:
            enrol(config, gate)
            gate.record(5)
            gate.send()
            gate.checkpoint()
            gate.wait_receipted(5, 30)
            assert centre.terminate() == 0
        gate.record(50)  # taken by the broker for the centre's session, and lost with it
        gate.send()
        gate.checkpoint()
        broker.kill()
        broker.start()
        with CentreProcess(config) as centre:
            wait_for(lambda: "listening" in centre.log(), 30, "the centre to listen")
            gate.wait_subscribed()
            gate.checkpoint()
            gate.wait_receipted(55, 60)
            assert centre.terminate() == 0
        assert_whole(config, gate)


def test_two_centres_share_the_messages_and_one_may_die(
    folder: Path, keys: CentreKeys, broker: Mosquitto, postgres: Postgres, postgres_template: str
) -> None:
    url = postgres.new_database(postgres_template)
    configs = []
    for name in ("one", "two"):
        path = write_config(folder, broker.port, store=url, shared=True, client_id=f"centre-{name}")
        configs.append(path.rename(folder / f"{name}.toml"))
    with FakeGate(broker.port, keys.public) as gate, FakeGate(broker.port, keys.public, "g-2") as other:
        enrol(configs[0], gate)
        enrol(configs[0], other)
        with CentreProcess(configs[0]) as one, CentreProcess(configs[1]) as two:
            for process in (one, two):
                wait_for(lambda process=process: "listening" in process.log(), 30, "both to listen")
            for each in (gate, other):
                each.record(500)
                each.send()
                each.checkpoint()
            gate.wait_receipted(500, 60)
            other.wait_receipted(500, 60)
            one.kill()
            for each in (gate, other):
                each.record(200)
                each.send()
                each.checkpoint()
            gate.wait_receipted(700, 60)
            other.wait_receipted(700, 60)
            assert two.terminate() == 0
        for each in (gate, other):
            assert_whole(configs[1], each)


def test_a_database_that_stops_and_comes_back(
    tmp_path: Path, folder: Path, keys: CentreKeys, broker: Mosquitto
) -> None:
    with Postgres() as cluster, FakeGate(broker.port, keys.public) as gate:
        config = write_config(folder, broker.port, store=cluster.new_database(lasting=True))
        enrol(config, gate)
        with CentreProcess(config) as centre:
            gate.record(10)
            gate.send()
            gate.checkpoint()
            gate.wait_receipted(10, 30)
            cluster.stop()
            gate.record(10)
            gate.send()
            gate.checkpoint()
            wait_for(lambda: "nothing is acknowledged" in centre.log(), 30, "the fault to be said")
            cluster.start()
            gate.wait_receipted(20, 60)
            assert "can be used again" in centre.log()
            assert centre.terminate() == 0
        assert_whole(config, gate)
