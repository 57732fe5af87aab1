"""What Prometheus is told of a gate: each figure, and that nobody who asks can stop or slow it."""

import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pytest import approx

from gate.app.application import serve_metrics
from gate.app.board import Board
from gate.app.metrics import METRICS, RELAY, RELAY_BUCKETS_S, GateMetrics, Spread, Type
from gate.checked import ConfigError
from gate.config import GateSection, MetricsSection, load_policy, parse_config
from gate.core import events
from gate.core.actor import GateActor
from gate.core.codes import Trust
from gate.core.delivery import PreviousEpoch
from gate.core.effects import Effect, LightSignal, Record, Show, Unlock
from gate.core.events import Kind, Outcome
from gate.core.evidence import Unmeasured
from gate.core.inputs import (
    ArmTurned,
    CommandReceived,
    Device,
    DeviceFailed,
    InboxOverflowed,
    Input,
    LedgerRenewed,
    ReadingTaken,
    RecordFailed,
    TimePassed,
)
from gate.core.moment import NS_PER_MS, Moment
from gate.core.texts import Key
from gate.shell.clock import SystemClock
from gate.sinks.mqtt import SinkStatus
from tests.app.running_gate import GATE, SITE, RunningGate, a_config
from tests.brokers import HOST, Mosquitto, free_port, wait_for
from tests.certificates import Authority

SECTION = GateSection(site=SITE, id=GATE)
QUIET = SinkStatus(
    connected=False,
    protocol=None,
    acknowledged=0,
    head=0,
    oldest_unacknowledged_age_s=None,
    last_error=None,
    reconnects=0,
    nobody_listens=False,
)
NOW = Moment(0, 1_795_000_000_000, clock_trusted=True)
STOPPED = events.gate_stopped()


class StandingClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> Moment:
        return self.moment


class Box:
    """The figures of a gate of which nothing runs, on a board of which nothing is known."""

    def __init__(self, certificate: Path | None = None, board: Path = Path("/nowhere")) -> None:
        self.clock = StandingClock()
        self.size = 0
        self.delivery = QUIET
        self.actor = GateActor(load_policy("county-hall"), Trust(), SITE, run="0a1b2c3d")
        self.metrics = GateMetrics(
            SECTION,
            "1.2.3",
            actor=self.actor,
            clock=self.clock,
            ledger_size=lambda: self.size,
            delivery=lambda: self.delivery,
            certificate=certificate,
            board=Board(board),
        )

    def happens(self, happened: Input, *effects: Effect) -> None:
        for effect in (None, *effects):
            self.metrics.observe(happened, effect, NOW)

    def value(self, name: str, *labels: str) -> float | None:
        (metric,) = (metric for metric in METRICS if metric.name == name)
        return self.metrics.snapshot().series[metric].get(labels)


@pytest.fixture
def box() -> Box:
    return Box()


# The table


def test_names_follow_the_rules_of_prometheus() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("gate_")
        assert metric.name.endswith("_total") == (metric.type is Type.COUNTER), metric.name
        assert metric.words.endswith(".")
        assert len(metric.labels) == 1 or not metric.known
    assert [metric for metric in METRICS if metric.type is Type.HISTOGRAM] == [RELAY]


def a_board(folder: Path, alarm: str) -> Path:
    (monitor := folder / "sys/class/hwmon/hwmon1").mkdir(parents=True, exist_ok=True)
    (monitor / "name").write_text("rpi_volt\n")
    (monitor / "in0_lcrit_alarm").write_text(alarm)
    return folder


def test_every_name_is_told_and_no_other(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("gate")
    box = Box(certificate, a_board(tmp_path, "0"))
    box.delivery = replace(QUIET, receipt_at_ms=NOW.wall_ms)
    box.happens(TimePassed(), Record(refused("v1")))
    with serving(box.metrics) as ask:
        told = {(family.name, family.type) for family in families(ask())}
    assert told == {(metric.name.removesuffix("_total"), str(metric.type)) for metric in METRICS}


def test_the_text_has_the_same_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8").split("## Of the centre")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(metric.name, ", ".join(metric.labels), metric.words) for metric in METRICS]
    names = {metric.name for metric in METRICS}
    assert set(re.findall(r"\bgate_[a-z_]+", text)) == names


# The machine


def test_the_end_of_the_certificate_follows_the_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("gate", days=(-1, 40))
    box, days = Box(certificate), 86_400
    ends_s = box.value("gate_certificate_ends_timestamp_seconds")
    assert ends_s is not None
    assert 39 * days < ends_s - certificate.stat().st_mtime <= 40 * days
    renewed, _ = authority.issue("renewed", days=(-1, 90))
    certificate.write_bytes(renewed.read_bytes())
    assert box.value("gate_certificate_ends_timestamp_seconds") == approx(ends_s + 50 * days, abs=60)
    certificate.write_text("half a certificate")
    assert box.value("gate_certificate_ends_timestamp_seconds") is None
    certificate.unlink()
    assert box.value("gate_certificate_ends_timestamp_seconds") is None


@pytest.mark.parametrize(("alarm", "told"), [("0\n", 0), ("1\n", 1)])
def test_the_board_s_own_alarm_is_told(tmp_path: Path, alarm: str, told: float) -> None:
    assert Box(board=a_board(tmp_path, alarm)).value("gate_supply_low") == told


def test_of_a_board_that_does_not_say_nothing_is_told(box: Box) -> None:
    assert box.value("gate_supply_low") is None
    assert box.value("gate_certificate_ends_timestamp_seconds") is None


# What counts as what


def test_known_values_are_told_from_the_beginning(box: Box) -> None:
    assert box.value("gate_passages_total", "forced") == 0
    assert box.value("gate_records_total", "visit.decided") == 0
    assert box.value("gate_commands_total", "refused") == 0
    assert box.value("gate_unlocks_total") == 0
    assert box.value("gate_receipt_age_seconds") is None


def refused(visit: str, stage: str = "refused", verdict: str = "refuse") -> events.Event:
    findings = [
        {"rule": "TR-1", "verdict": "admit", "reason": "code_ok"},
        {"rule": "CH-2", "verdict": "refuse", "reason": "temperature_fever"},
        {"rule": "CO-3", "verdict": "refuse", "reason": "mask_missing"},
    ]
    data = {"visit": visit, "stage": stage, "verdict": verdict, "findings": findings}
    return events.Event(Kind.VISIT_DECIDED, data)


def test_a_refusal_counts_by_all_of_its_reasons_once(box: Box) -> None:
    box.happens(TimePassed(), Record(refused("v1")))
    # What a visit that is under way is told once more in a new ledger.
    previous = PreviousEpoch("e0", 1, "0" * 64, "lost")
    box.happens(LedgerRenewed("e1", previous), Record(events.epoch_started(previous)), Record(refused("v1")))
    assert box.value("gate_visits_decided_total", "refused", "refuse") == 1
    assert box.value("gate_refusals_total", "temperature_fever") == 1
    assert box.value("gate_refusals_total", "mask_missing") == 1
    assert box.value("gate_refusals_total", "code_ok") is None
    assert box.value("gate_records_total", "visit.decided") == 2, "there are two of them in the ledger"


def test_who_is_referred_and_then_let_in_is_told_twice_and_is_no_refusal(box: Box) -> None:
    box.happens(TimePassed(), Record(refused("v1", "referred", "refer")))
    box.happens(TimePassed(), Record(refused("v1", "authorised", "admit")))
    assert box.value("gate_visits_decided_total", "referred", "refer") == 1
    assert box.value("gate_visits_decided_total", "authorised", "admit") == 1
    assert box.value("gate_refusals_total", "temperature_fever") is None


def test_the_rest_of_what_is_counted(box: Box) -> None:
    box.happens(ReadingTaken("v1", Unmeasured("pec_error")))
    box.happens(RecordFailed(STOPPED, "disk full"))
    box.happens(InboxOverflowed(17))
    box.happens(ArmTurned(), Record(events.passage_forced()))
    box.happens(
        CommandReceived(b"", retained=True), Record(events.command(None, Outcome.REFUSED, "retained"))
    )
    box.happens(TimePassed(), Unlock(500), Show(Key.PASS_PLEASE, LightSignal.GO))
    assert box.value("gate_readings_total", "pec_error") == 1
    assert box.value("gate_record_failures_total") == 1
    assert box.value("gate_inputs_lost_total") == 17
    assert box.value("gate_passages_total", "forced") == 1
    assert box.value("gate_commands_total", "refused") == 1
    assert box.value("gate_unlocks_total") == 1
    assert box.metrics.snapshot().relay == Spread(), "it was not evidence that led to it"


def test_from_evidence_to_relay(box: Box) -> None:
    for took_ms in (1, 2, 3, 4000):
        happened = ReadingTaken("v1", Unmeasured("timeout"))
        box.clock.moment = replace(NOW, mono_ns=took_ms * NS_PER_MS)
        box.happens(happened, Unlock(500))
    assert box.metrics.snapshot().relay == Spread((1, 1, 1, *[0] * (len(RELAY_BUCKETS_S) - 3), 1), 4.006)
    with serving(box.metrics) as ask:
        samples = samples_of(ask())
    assert [samples["gate_evidence_to_relay_seconds_bucket", (("le", str(le)),)] for le in (0.001, 1.0)] == [
        1,
        3,
    ]
    assert samples["gate_evidence_to_relay_seconds_bucket", (("le", "+Inf"),)] == 4
    assert samples["gate_evidence_to_relay_seconds_count", ()] == 4
    assert samples["gate_evidence_to_relay_seconds_sum", ()] == pytest.approx(4.006)


def test_how_the_gate_stands(box: Box) -> None:
    assert box.value("gate_mode", "serving") == 1
    assert box.value("gate_device_up", "camera") == 1
    assert box.value("gate_info", "1.2.3", SITE, GATE, "county-hall") == 1
    box.actor.handle(DeviceFailed(Device.CAMERA, "dark"), NOW)
    assert [box.value("gate_mode", mode) for mode in ("serving", "degraded")] == [0, 1]
    assert [box.value("gate_device_up", device) for device in ("camera", "thermometer")] == [0, 1]
    assert box.value("gate_clock_trusted") == 1


def test_how_delivery_stands(box: Box) -> None:
    box.size = 42
    box.delivery = replace(
        QUIET,
        connected=True,
        acknowledged=40,
        head=41,
        oldest_unacknowledged_age_s=1.5,
        reconnects=3,
        receipt_at_ms=NOW.wall_ms - 2500,
        refused_receipts=2,
    )
    told = {
        "gate_ledger_records": 42,
        "gate_backlog_records": 2,
        "gate_backlog_oldest_age_seconds": 1.5,
        "gate_receipt_age_seconds": 2.5,
        "gate_broker_connected": 1,
        "gate_broker_reconnects_total": 3,
        "gate_receipts_refused_total": 2,
    }
    assert {name: box.value(name) for name in told} == told
    # A new ledger that the sink has not seen yet; a centre whose clock is ahead of ours.
    box.size = 1
    box.delivery = replace(box.delivery, receipt_at_ms=NOW.wall_ms + 2500)
    assert box.value("gate_backlog_records") == 0
    assert box.value("gate_receipt_age_seconds") == 0


# Over HTTP


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Asker:
    """Asks the server at a port as Prometheus does."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str = "/metrics") -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
            return body.decode()


@contextmanager
def serving(metrics: GateMetrics) -> Iterator[Asker]:
    server = serve_metrics(MetricsSection(free_port()), metrics)
    assert server
    with closing(server):
        yield Asker(server.port)


def families(text: str) -> list[Any]:
    return list(text_string_to_metric_families(text))


def samples_of(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text)
        for sample in family.samples
    }


def test_it_answers_at_the_loopback_and_nothing_but_metrics(box: Box) -> None:
    with serving(box.metrics) as ask:
        assert 'gate_mode{mode="serving"} 1.0' in ask()
        assert "# HELP gate_passages_total Turns of the arm." in ask("/metrics?name=x")
        with pytest.raises(urllib.error.HTTPError, match="404") as raised:
            ask("/secret")
        raised.value.close()
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask()


def test_somebody_who_asks_and_hangs_up_or_says_nothing_holds_nobody_up_for_long(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(box.metrics) as ask:
        there = (HOST, ask.port)
        with socket.create_connection(there) as silent:
            silent.sendall(b"GET /metr")
            assert "gate_mode" in ask()
        with socket.create_connection(there) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            rude.sendall(b"GET /metr")
        assert "gate_mode" in ask()
        with socket.create_connection(there) as rude:
            rude.sendall(b"\0\1\2 nonsense\r\n\r\n")
            assert "gate_mode" in ask()
    assert not caplog.records


def test_without_a_port_nobody_can_ask(box: Box) -> None:
    assert serve_metrics(MetricsSection(), box.metrics) is None
    code = "import sys, gate.app.metrics; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_port_that_is_taken_is_said_and_the_gate_goes_on(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert serve_metrics(MetricsSection(port), box.metrics) is None
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use)" in caplog.text


def test_without_the_library_it_is_said_what_to_install(
    box: Box, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gate.app.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert serve_metrics(MetricsSection(free_port()), box.metrics) is None
    assert "install python3-prometheus-client" in caplog.text


def test_nothing_is_lost_while_somebody_asks_all_the_time(box: Box) -> None:
    """The brain's thread takes no lock; new labels appear while copies are made."""
    ended = threading.Event()
    seen: list[float] = []

    def ask_on() -> None:
        while not ended.is_set():
            snapshot = box.metrics.snapshot()
            seen.append(sum(value for metric in snapshot.series.values() for value in metric.values()))

    asker = threading.Thread(target=ask_on)
    asker.start()
    for number in range(20_000):
        box.happens(ReadingTaken("v1", Unmeasured(f"reason {number % 500}")), Unlock(500))
    ended.set()
    asker.join(10)
    assert sum(box.value("gate_readings_total", f"reason {number}") or 0 for number in range(500)) == 20_000
    assert box.value("gate_unlocks_total") == 20_000
    assert sum(box.metrics.snapshot().relay.counts) == 20_000
    assert len(seen) > 1


# A gate at work


def watched(gate: RunningGate) -> GateMetrics:
    """The figures of a gate that is not running yet."""
    metrics = GateMetrics(
        gate.config.gate,
        "1.2.3",
        actor=gate.app.actor,
        clock=SystemClock(lambda: True),
        ledger_size=lambda: gate.app._ledger.head[0],
        delivery=gate.app.sink.status,
    )
    gate.meddle = lambda happened, effect: metrics.observe(happened, effect, gate.steps[-1][2])
    return metrics


def a_few_visits(gate: RunningGate, metrics: GateMetrics) -> tuple[Samples, int]:
    """Let one in, turn one away, force the arm, evacuate; return what is told then, and how many records."""
    with gate:
        gate.visit()
        gate.come(gate.issuer.issue(), body_cc=3900)
        gate.wait_recorded(Kind.VISIT_DECIDED, stage="refused", within_s=12)
        gate.leave()
        gate.place.force()
        gate.wait_recorded(Kind.PASSAGE_FORCED)
        gate.place.fire(active=True)
        gate.wait_recorded(Kind.FIRE_ALARM, active=True)
        gate.place.force()
        wait_for(lambda: gate.count(ArmTurned) == 3, 3, "the arm to be noticed")
        gate.place.fire(active=False)
        gate.wait_recorded(Kind.GATE_MODE, mode="serving")
        wait_for(lambda: gate.app.sink.status().acknowledged == len(gate.bodies()), 5, "delivery")
        with serving(metrics) as ask:
            told = samples_of(ask())
        return told, len(gate.bodies())


def test_visits_at_a_running_gate(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        gate = RunningGate(a_config(tmp_path, broker.port))
        told, size = a_few_visits(gate, watched(gate))
    counted = {
        ("gate_visits_decided_total", (("stage", "authorised"), ("verdict", "admit"))): 1,
        ("gate_visits_decided_total", (("stage", "refused"), ("verdict", "refuse"))): 1,
        ("gate_visits_closed_total", (("result", "passed"),)): 1,
        ("gate_refusals_total", (("reason", "temperature_fever"),)): 1,
        ("gate_passages_total", (("kind", "authorised"),)): 1,
        ("gate_passages_total", (("kind", "forced"),)): 1,
        ("gate_passages_total", (("kind", "evacuation"),)): 1,
        ("gate_unlocks_total", ()): 1,
        ("gate_evidence_to_relay_seconds_count", ()): 1,
        ("gate_mode", (("mode", "serving"),)): 1,
        ("gate_ledger_records", ()): size,
        ("gate_backlog_records", ()): 0,
        ("gate_broker_connected", ()): 1,
    }
    assert {key: told[key] for key in counted} == counted
    assert told["gate_readings_total", (("outcome", "ok"),)] >= 3
    assert told["gate_code_frames_total", ()] >= 2
    assert 0 < told["gate_evidence_to_relay_seconds_sum", ()] < 1
    records = sum(value for (name, _), value in told.items() if name == "gate_records_total")
    assert records == size


def test_a_gate_with_a_port_answers_until_it_stops(tmp_path: Path) -> None:
    config = replace(a_config(tmp_path), metrics=MetricsSection(free_port()))
    certificate, key = Authority(tmp_path).issue("gate")
    config = replace(config, mqtt=replace(config.mqtt, cert_file=certificate, key_file=key))
    assert config.metrics.port
    ask = Asker(config.metrics.port)
    with RunningGate(config) as gate:
        gate.visit()
        told = samples_of(ask())
        size = len(gate.bodies())
    assert told["gate_passages_total", (("kind", "authorised"),)] == 1
    assert sum(value for (name, _), value in told.items() if name == "gate_records_total") == size
    assert told["gate_backlog_records", ()] == size
    assert told["gate_broker_connected", ()] == 0
    assert ("gate_certificate_ends_timestamp_seconds", ()) in told
    with pytest.raises(urllib.error.URLError, match="refused"):
        ask()


def test_a_gate_whose_port_is_taken_serves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken:
        section = MetricsSection(taken.getsockname()[1])
        with RunningGate(replace(a_config(tmp_path), metrics=section)) as gate:
            gate.visit()
    assert "no metrics: cannot listen" in caplog.text


# Configuration


def test_the_section() -> None:
    data = {"gate": {"site": SITE, "id": GATE}, "mqtt": {"host": HOST}, "camera": {"device": "/dev/v4l/x"}}
    assert parse_config("gate.toml", data).metrics == MetricsSection(None, "127.0.0.1")
    given = parse_config("gate.toml", {**data, "metrics": {"port": 9465, "address": "::1"}})
    assert given.metrics == MetricsSection(9465, "::1")
    with pytest.raises(ConfigError) as raised:
        parse_config("gate.toml", {**data, "metrics": {"port": 0, "adress": "x"}})
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["metrics.port", "metrics.adress"]
