"""How long after an event the centre has its record, and the gate the centre's receipt for it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from statistics import median
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.centre import PATIENCE_S, Town, a_ledger, a_town, until_done
from bench.floor import number, scratch, table
from bench.visit import visits
from gate.core.events import Event
from gate.demo.broker import BrokerAddress
from gate.ports import Held
from gate.shell.clock import SystemClock, sleep
from gate.store.ledger import Outbox

VISITS: Final = 500
PACES: Final = ((1, 40), (100, 1500), (1000, 10_000))
"""Events a second, and how many."""

RAW: Final = "paho to paho"
TOPIC: Final = "bench/raw"
RECORD_BYTES: Final = 1000  # on the average of the two records of a visit

NOTE: Final = (
    "From the instant at which an event was due. *Centre*: the event is encoded, chained and flushed to the "
    "gate's disk, sent through Mosquitto, chained and committed by `central run` (SQLite, another flush); "
    "until the instant after that commit. *From the gate's disk*: without the time until the gate's own "
    "commit, for which events that come faster than its disk flushes have to wait. The centre waits until "
    "nothing has come for 5 ms, at most 50 ms, so that a stream is committed in batches. *Receipt*: until "
    "the gate's ledger holds a signed receipt that covers the record; the gate signs a checkpoint when all "
    "is sent, at most one a second, or after 100 records, so that this is up to a second by design. *paho "
    "to paho*: as many messages of {size} bytes with QoS 1 from one client to another through the same "
    "broker, nothing stored or signed, both in the gate's process."
)


@dataclass(frozen=True, slots=True)
class Live:
    """Latencies at one pace, in milliseconds, of each event."""

    per_s: int
    raw_ms: Sequence[float]
    disk_ms: Sequence[float]
    centre_ms: Sequence[float]
    receipt_ms: Sequence[float]


class StampedOutbox(Outbox):
    """Takes down when each receipt was kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.receipts: list[tuple[int, int]] = []

    def receive(self, receipt: Held) -> None:
        """Keep it, then note the time."""
        super().receive(receipt)
        self.receipts.append((receipt.upto, time.monotonic_ns()))

    def receipted_ns(self, seq: int) -> int:
        """Return when the first receipt for this record was kept; to be asked in rising order only."""
        while self.receipts[0][0] < seq:
            del self.receipts[0]
        return self.receipts[0][1]


def run(paces: Sequence[tuple[int, int]] = PACES) -> list[str]:
    """Measure and return Markdown lines."""
    with scratch() as folder:
        events = visits(SystemClock(lambda: True), VISITS)
        return report([measure(folder / f"at-{per_s}", events, per_s, n) for per_s, n in paces])


def measure(folder: Path, events: Sequence[Event], per_s: int, n: int) -> Live:
    """Measure one pace: first paho alone, then the gate."""
    with a_town(folder, events[0]) as town:
        raw_ms = paho_to_paho(town.address, per_s, n)
        return Live(per_s, raw_ms, *gate_to_centre(town, events, per_s, n))


def evenly(per_s: int, n: int, do: Callable[[], object]) -> list[int]:
    """Do something so many times, so often a second; return when each was due (monotonic nanoseconds)."""
    began, due = time.monotonic_ns() + 50_000_000, list[int]()
    for index in range(n):
        due.append(began + index * 1_000_000_000 // per_s)
        while (left_ns := due[-1] - time.monotonic_ns()) > 0:
            sleep(left_ns / 1e9)
        do()
    return due


def gate_to_centre(
    town: Town, events: Sequence[Event], per_s: int, n: int
) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """Record events and deliver them; return their latencies to the disk, to the centre, to the receipt."""
    path, clock, coming = town.folder / "ledger.db", SystemClock(lambda: True), cycle(events)
    ledger, outbox = a_ledger(path), StampedOutbox(path)
    sink = town.sink(outbox)
    sink.start()
    ledger.append(next(coming), clock.now())
    sink.notify()
    until_done(sink, 1)

    flushed = list[int]()

    def record() -> None:
        ledger.append(next(coming), clock.now())
        flushed.append(time.monotonic_ns())
        sink.notify()

    due = evenly(per_s, n, record)
    until_done(sink, n + 1)
    sink.stop(PATIENCE_S)
    ledger.close()
    stored, numbered = town.stored_ns(), list(zip(count(2), due, strict=False))
    return (
        [(there - at_ns) / 1e6 for there, at_ns in zip(flushed, due, strict=True)],
        [(stored[seq] - at_ns) / 1e6 for seq, at_ns in numbered],
        [(outbox.receipted_ns(seq) - at_ns) / 1e6 for seq, at_ns in numbered],
    )


def paho_to_paho(address: BrokerAddress, per_s: int, n: int) -> Sequence[float]:
    """Send messages from one client to another; return their latencies."""
    arrived, listening, all_there = list[int](), threading.Event(), threading.Event()

    def came(*_: Any) -> None:
        arrived.append(time.monotonic_ns())
        if len(arrived) == n:
            all_there.set()

    body = bytes(RECORD_BYTES)
    with a_client(address) as listener, a_client(address) as speaker:
        listener.on_message = came
        listener.on_subscribe = lambda *_: listening.set()
        listener.subscribe(TOPIC, 1)
        assert listening.wait(PATIENCE_S)
        due = evenly(per_s, n, lambda: speaker.publish(TOPIC, body, qos=1))
        assert all_there.wait(PATIENCE_S), f"{len(arrived)} of {n} messages came"
    return [(there - at_ns) / 1e6 for there, at_ns in zip(arrived, due, strict=True)]


@contextmanager
def a_client(address: BrokerAddress) -> Iterator[Client]:
    """Give a connected client with its own thread."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(address.user, address.password)
    client.connect(address.host, address.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def report(found: Sequence[Live]) -> list[str]:
    """Return a section of the results."""
    way = ["centre p50 ms", "p99 ms", "longest ms", f"× {RAW} p50"]
    beside = [f"{RAW} p50 ms", "p99 ms", "from the gate's disk p50 ms", "p99 ms", "receipt p50 ms", "p99 ms"]
    return [
        "## Live: from an event to the centre",
        "",
        *table(["events/s", "events", *way, *beside], [_row(live) for live in found]),
        "",
        NOTE.format(size=RECORD_BYTES),
    ]


def _row(live: Live) -> list[str]:
    times = median(live.centre_ms) / median(live.raw_ms)
    on_the_way = [there - flushed for there, flushed in zip(live.centre_ms, live.disk_ms, strict=True)]
    beside = [word for some_ms in (live.raw_ms, on_the_way, live.receipt_ms) for word in _spread(some_ms)[:2]]
    pace = [f"{live.per_s:,}", f"{len(live.centre_ms):,}"]
    return [*pace, *_spread(live.centre_ms), number(times, 1), *beside]


def _spread(times_ms: Sequence[float]) -> list[str]:
    ordered = sorted(times_ms)
    return [number(value, 1) for value in (median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1])]


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
