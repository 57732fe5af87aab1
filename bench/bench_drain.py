"""A backlog on its way to signed receipts, beside paho that sends the same records from memory."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest.mock import patch

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.broker import a_broker
from bench.centre import PATIENCE_S, Town, a_ledger, a_town, until_done
from bench.floor import number, scratch, table
from bench.visit import visits
from gate.core.batches import BATCH_RECORDS_MAX, pack
from gate.core.events import Event
from gate.demo.broker import BrokerAddress
from gate.shell.clock import SystemClock
from gate.sinks.settings import WINDOW_MAX
from gate.store.ledger import Outbox, entries

RECORDS: Final = 100_000
VISITS: Final = 2000  # different ones; a batch is far shorter, so that it finds nothing twice

RAW: Final = "paho from memory"
RECEIPTED: Final = "gate to signed receipts"
SINGLY: Final = "the same, a broker without batches"

OF_RAW_MIN: Final = 0.85

NOTE: Final = (
    "*paho from memory*: `publish` within `on_publish`, never more than {window} messages under way, MQTT 5, "
    "QoS 1, nobody subscribed; until the last acknowledgement. *Gate*: the real sink with the same window on "
    "the outbox of a ledger on disk, in batches; until the ledger holds the centre's receipt for the last "
    "record. The centre is `central run` with SQLite: records stored, chained, proved by checkpoints, signed "
    "for. *Without batches* is what is left where a broker lets none through. Each drain has a broker, a "
    "centre and a copy of the ledger of its own, and begins with connecting. *CPU*: of the sending process "
    "and of the centre's, for each record; the broker's is not counted."
)


@dataclass(frozen=True, slots=True)
class Drain:
    """How long one drain took, by the clock and of which processor; seconds."""

    took_s: float
    sender_cpu_s: float
    centre_cpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes for each record: the record itself, in the gate's ledger and the centre's store, on the wire."""

    record: float
    ledger: float
    store: float
    batched: float


def run(rounds: int = 3, records: int = RECORDS) -> list[str]:
    """Measure and return Markdown lines."""
    with scratch() as folder:
        bench = Bench(folder, visits(SystemClock(lambda: True), VISITS), records)
        found = bench.measure(rounds)
        return report(found, bench.sizes(), records)


class Bench:
    """One full ledger, and every way of sending what is in it."""

    def __init__(self, folder: Path, events: Sequence[Event], records: int) -> None:
        self._folder = folder
        self._first = events[0]
        self._records = records
        self._path = folder / "full.db"
        _fill(self._path, events, records)
        self._bodies = [entry.body for entry in entries(self._path)]
        self._store_bytes = 0
        self._towns = 0

    def measure(self, rounds: int) -> dict[str, list[Drain]]:
        """Drain in each way, in turns."""
        ways: dict[str, Callable[[], Drain]] = {
            RAW: self._raw,
            RECEIPTED: self._gate,
            SINGLY: self._singly,
        }
        found: dict[str, list[Drain]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, drain in ways.items():
                found[name].append(drain())
        return found

    def sizes(self) -> Sizes:
        """Return what a record takes up; to be asked after the measurement."""
        bodies, count = self._bodies, self._records
        batches = (bodies[first : first + BATCH_RECORDS_MAX] for first in range(0, count, BATCH_RECORDS_MAX))
        return Sizes(
            record=sum(map(len, bodies)) / count,
            ledger=self._path.stat().st_size / count,
            store=self._store_bytes / count,
            batched=sum(len(pack(batch)) for batch in batches) / count,
        )

    def _raw(self) -> Drain:
        with a_broker(self._folder) as (address, _):
            return self._sent_by_paho(address)

    def _sent_by_paho(self, address: BrokerAddress) -> Drain:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(address.user, address.password)
        client.max_inflight_messages = 0  # the window is kept here
        waiting, left = iter(self._bodies), len(self._bodies)

        def connected(*_: Any) -> None:
            for body in islice(waiting, WINDOW_MAX):
                client.publish("bench/raw", body, qos=1)

        def published(*_: Any) -> None:
            nonlocal left
            left -= 1
            body = next(waiting, None)
            if body is not None:
                client.publish("bench/raw", body, qos=1)
            elif not left:
                client.disconnect()

        client.on_connect, client.on_publish = connected, published
        began, cpu_began = time.perf_counter(), time.process_time()
        client.connect(address.host, address.port)
        client.loop_forever()
        return Drain(time.perf_counter() - began, time.process_time() - cpu_began)

    def _gate(self) -> Drain:
        self._towns += 1
        with a_town(self._folder / f"town-{self._towns}", self._first) as town:
            found = self._drained(town)
            stored = len(town.stored_ns())
            assert stored == self._records, f"{stored} of {self._records} records stored"
            self._store_bytes = town.store.stat().st_size
            shutil.rmtree(town.folder)
        return found

    def _singly(self) -> Drain:
        with patch("gate.sinks.by_receipt.BATCH_RECORDS_MAX", self._records + 1):
            return self._gate()

    def _drained(self, town: Town) -> Drain:
        path = town.folder / "ledger.db"
        shutil.copy(self._path, path)
        sink = town.sink(Outbox(path))
        began, cpu_began, centre_began = time.perf_counter(), time.process_time(), town.centre_cpu_s()
        sink.start()
        until_done(sink, self._records)
        found = Drain(
            time.perf_counter() - began,
            time.process_time() - cpu_began,
            town.centre_cpu_s() - centre_began,
        )
        sink.stop(PATIENCE_S)
        return found


def _fill(path: Path, events: Sequence[Event], records: int) -> None:
    """Write a ledger whose visits come again after some thousands."""
    clock = SystemClock(lambda: True)
    ledger = a_ledger(path)
    # Nobody measures this: as records are flushed one by one it would take as long as everything else.
    ledger._db.execute("PRAGMA synchronous = OFF")
    for index in range(records):
        ledger.append(events[index % len(events)], clock.now())
    ledger.close()


def report(found: dict[str, list[Drain]], sizes: Sizes, records: int) -> list[str]:
    """Return a section of the results."""
    raw, rounds = found[RAW], len(found[RAW])
    ratio = median(_ratios(found[RECEIPTED], raw))
    kept = "kept" if ratio >= OF_RAW_MIN else "**missed**"
    return [
        "## Backlog: from the ledger to signed receipts",
        "",
        f"{records:,} records, window {WINDOW_MAX}, through Mosquitto; {rounds} rounds in turns.",
        "",
        *table(
            ["", "s", "records/s", f"× {RAW} (rounds)", "CPU µs, sender", "CPU µs, centre"],
            [_row(name, drains, raw, records) for name, drains in found.items()],
        ),
        "",
        *table(
            ["limit", "at least", "measured", ""],
            [[f"{RECEIPTED}, × {RAW}", f"{OF_RAW_MIN}", f"{ratio:.2f}", kept]],
        ),
        "",
        *table(
            ["bytes for each record", "", "× record"],
            [
                [name, number(value), number(value / sizes.record, 2)]
                for name, value in (
                    ("the record itself", sizes.record),
                    ("on the gate's disk, with chain and indexes", sizes.ledger),
                    ("on the centre's disk (SQLite), likewise", sizes.store),
                    (f"sent, in batches of {BATCH_RECORDS_MAX}", sizes.batched),
                )
            ],
        ),
        "",
        NOTE.format(window=WINDOW_MAX),
    ]


def _row(name: str, drains: list[Drain], raw: list[Drain], records: int) -> list[str]:
    ratios = _ratios(drains, raw)
    return [
        name,
        number(median(one.took_s for one in drains), 1),
        number(records / median(one.took_s for one in drains)),
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        number(median(one.sender_cpu_s for one in drains) / records * 1e6),
        number(_centre_us(drains, records)),
    ]


def _centre_us(drains: list[Drain], records: int) -> float | None:
    known = [one.centre_cpu_s for one in drains if one.centre_cpu_s is not None]
    return median(known) / records * 1e6 if known else None


def _ratios(drains: list[Drain], raw: list[Drain]) -> list[float]:
    """Return how many times as fast as paho, in each round."""
    return [plain.took_s / own.took_s for own, plain in zip(drains, raw, strict=True)]


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
