"""Links and brokers that hold back, drop, cut, repeat and reorder what they were given."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.brokers import FreezingProxy, Mosquitto
from tests.chaos.plant import Part, free_ports
from tests.integration.fault_town import QUIET, Town, until
from tests.integration.meddling import CuttingProxy, MeddlingProxy

pytestmark = pytest.mark.soak


@contextmanager
def strict_links(folder: Path, broker_port: int, *maxima: int) -> Iterator[tuple[list[int], Part]]:
    """Yield ports that lead to the broker, each with a Receive Maximum that it is strict about."""
    ports = free_ports(len(maxima))
    links = [f"link{port}:{port}:{most}" for most, port in zip(maxima, ports, strict=True)]
    wire = Part("wire", folder, (sys.executable, "-m", "tests.chaos.proxy", broker_port, *links))
    wire.start()
    try:
        yield ports, wire
    finally:
        wire.kill()


def test_brokers_that_are_strict_about_receive_maximum(town: Town) -> None:
    with strict_links(town.folder, town.broker.port, 1, 1, 10, 20) as (ports, wire):
        gates = [town.gate(f"g{number}", port) for number, port in enumerate(ports[1:], 1)]
        for gate in gates:
            gate.write_beforehand(60)  # more than fits into any window, too few for batches
            gate.configure(QUIET)
        town.start(town.centre(ports[0]), *gates)
        for gate in gates:
            until(lambda gate=gate: gate.records() > 60, lambda gate=gate: gate.said())
            town.wait_receipted(gate)
        town.settle(*gates)
        assert "excess" not in wire.log.read_text()
    assert town.alarms() == []


def test_a_gate_whose_link_freezes(town: Town) -> None:
    with FreezingProxy(town.broker.port) as proxy:
        gate = town.gate(port=proxy.port)
        town.start(town.centre(watch=["lost_s = 5"]), gate)
        town.wait_proved(gate, 10)
        proxy.freeze()
        written = gate.records()
        gate.wait_records(50)
        town.wait_alarm("missed/lost g1")
        assert gate.mark() <= written, "nothing is done that was written since"
        proxy.thaw()
        town.wait_receipted(gate)
        town.wait_over("missed/lost g1")
        town.settle(gate)
    assert town.alarms(standing=True) == []


def test_a_broker_whose_queue_is_full_drops_what_it_has_acknowledged(
    tmp_path: Path, sqlite_template: Path
) -> None:
    broker = Mosquitto(tmp_path / "broker", "max_queued_messages 20", "max_inflight_messages 5")
    with Town(tmp_path, sqlite_template, broker=broker) as town:
        gate, centre = town.gate(), town.centre()
        town.start(centre, gate)
        town.wait_proved(gate, 10)
        centre.kill()
        written = gate.records()
        gate.wait_records(80)
        assert gate.mark() <= written, "nothing is done that was written since"
        assert "being dropped" in (tmp_path / "broker" / "log").read_text()
        town.start(centre)
        town.wait_receipted(gate)
        town.settle(gate)
        assert town.alarms(standing=True) == []


def test_deliveries_that_are_repeated_and_reordered(town: Town) -> None:
    with MeddlingProxy(town.broker.port, 1) as near, MeddlingProxy(town.broker.port, 2) as far:
        gate = town.gate(port=near.port)
        gate.write_beforehand(90)
        town.start(town.centre(far.port), gate)
        gate.wait_records(150)
        town.wait_receipted(gate)
        town.settle(gate)
        assert min(near.repeated, near.overtaken, far.repeated, far.overtaken) > 10
    assert town.alarms(standing=True) == []


def test_a_link_that_always_breaks_gets_a_backlog_through(town: Town) -> None:
    with CuttingProxy(town.broker.port, 110_000) as proxy:
        gate = town.gate(port=proxy.port)
        gate.write_beforehand(800)
        gate.configure(QUIET)
        town.start(town.centre(), gate)
        until(lambda: gate.records() > 800, gate.said)
        town.wait_receipted(gate)
        assert proxy.cuts >= 2
        gate.stop()
        proxy.bytes_max = 2**30  # or the last word would be cut off as well
        gate.start()
        gate.wait_records(1)
        town.settle(gate)
    assert town.alarms() == []
