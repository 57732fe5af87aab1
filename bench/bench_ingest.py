"""What the centre's store takes in per core: `Store.ingest` beside a bare insert of the same rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest.mock import patch

from bench.floor import number, scratch, table
from bench.visit import BOOT_ID, decided_visit
from central.store import Arrived, Store, open_store
from central.store.bulk import COLUMNS, TYPES, RecordRow
from central.store.engine import writing
from central.store.reading import record
from gate.core.chain import genesis, link
from gate.core.events import Event, Origin, encode
from gate.core.moment import Moment
from gate.shell.clock import SystemClock
from tests.central.postgres import Postgres, find_binaries

SITE: Final = "north"
EPOCH: Final = "5ae071d9957692a3"
GATES: Final = 100
MESSAGE_RECORDS: Final = 100
BATCH_RECORDS: Final = 1000
SHORT_BYTES: Final = 300
NOW_MS: Final = 1_795_000_000_000  # 2026-11-18

INSERT: Final = "insert only"
INGEST: Final = "`Store.ingest`"
CHAINLESS: Final = "`Store.ingest` without chain"
SHORT: Final = "300 bytes"
REAL: Final = "a visit's record"

PER_CORE_MIN: Final = {"SQLite": 120_000, "PostgreSQL": 80_000}
WITH_CHAIN_MIN: Final = 0.7

NOTE: Final = (
    "*Insert only*: rows that are known beforehand, so that doubles leave no second row: `INSERT OR IGNORE` "
    "for SQLite, `COPY` into a temporary table and `INSERT … SELECT … ON CONFLICT DO NOTHING` for "
    "PostgreSQL. *`Store.ingest`* begins with the bytes that came: it reads them, checks site and gate, "
    "locks the gates, finds doubles and conflicts, follows the chain and says what is new. Batches of 1000 "
    "records, as a backlog comes: 10 messages of 100 records, from 10 of 100 gates; one transaction each. "
    "*Without chain*: the same without the hashes. The tables have all the indexes of the centre. *Per "
    "core*: by the processor time of everything that takes part, the server's processes too; *by the "
    "clock*: with all waiting, and whatever else the machine did. Rounds in turns; a ratio is the median "
    "over rounds."
)


@dataclass(slots=True)
class Gate:
    """One gate that writes records."""

    name: str
    body: Callable[[str, int], bytes]
    seq: int = 0
    hash: bytes = genesis(EPOCH)

    def write(self) -> tuple[Arrived, bytes]:
        """Return the next record, and its hash in the chain."""
        self.seq += 1
        body = self.body(self.name, self.seq)
        self.hash = link(self.hash, body)
        return Arrived(SITE, self.name, body), self.hash


@dataclass(slots=True)
class Rates:
    """Records per second of each round."""

    per_core: list[float] = field(default_factory=list)
    by_clock: list[float] = field(default_factory=list)

    def ratios(self, other: "Rates") -> list[float]:
        """Return how many times the other rate, in each round."""
        return [own / low for own, low in zip(self.per_core, other.per_core, strict=True)]

    def ratio(self, other: "Rates") -> float:
        """Return how many times the other rate, the median over rounds."""
        return median(self.ratios(other))

    def spread(self, other: "Rates") -> str:
        """Write that ratio with the lowest and the highest of a round."""
        ratios = self.ratios(other)
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one store and one length of records."""

    database: str
    length: str
    record_bytes: int
    on_disk_bytes: float
    insert: Rates
    chainless: Rates
    ingest: Rates


def run(rounds: int = 7, batches: int = 20) -> list[str]:
    """Measure and return Markdown lines."""
    results: list[Result] = []
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        server = stack.enter_context(Postgres("")) if find_binaries() else None
        for length, body in ((SHORT, short_body), (REAL, real_body())):
            results.append(measure_sqlite(folder, length, body, rounds, batches))
            if server is not None:
                results.append(measure_postgres(server, length, body, rounds, batches))
    return report(results, rounds, batches)


def short_body(gate: str, seq: int) -> bytes:
    """Return a record of 300 bytes, like the rows that the limits were set with; gates write longer ones."""
    time_ = f"2026-11-18T11:{seq // 1000 % 60:02}:00.{seq % 1000:03}+00:00"
    start = (
        f'{{"type":"hg.gate.mode.v1","time":"{time_}","data":{{"site":"{SITE}","gate":"{gate}",'
        f'"epoch":"{EPOCH}","seq":{seq},"abnormal":false,"mode":"'
    )
    return start.encode().ljust(SHORT_BYTES - 3, b"x") + b'"}}'


def real_body() -> Callable[[str, int], bytes]:
    """Return what makes the record of a visitor who may pass."""
    event = decided_visit(SystemClock(lambda: True))
    return lambda gate, seq: _encoded(event, gate, seq)


def _encoded(event: Event, gate: str, seq: int) -> bytes:
    now = Moment(seq * 10**9, NOW_MS + seq, True)
    return encode(event, Origin(SITE, gate, EPOCH, BOOT_ID), seq, now)


def measure_sqlite(
    folder: Path, length: str, body: Callable[[str, int], bytes], rounds: int, batches: int
) -> Result:
    """Measure SQLite; everything happens in this process."""
    paths = [folder / f"{len(length)}-{name}.db" for name in ("insert", "chainless", "ingest")]
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(f"sqlite:///{path}")) for path in paths]
        rates, record_bytes = _in_turns(stores, _insert_sqlite, time.process_time, body, rounds, batches)
        with stores[2].engine.connect() as connection:
            used = connection.exec_driver_sql(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
            ).scalar_one()
    return Result("SQLite", length, record_bytes, used / _stored(rounds, batches), *rates)


def measure_postgres(
    server: Postgres, length: str, body: Callable[[str, int], bytes], rounds: int, batches: int
) -> Result:
    """Measure PostgreSQL; the time of all its processes counts."""

    def cpu_s() -> float:
        return time.process_time() + server.cpu_s()

    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(server.new_database())) for _ in range(3)]
        rates, record_bytes = _in_turns(stores, _insert_postgres, cpu_s, body, rounds, batches)
        with stores[2].engine.connect() as connection:
            used = connection.exec_driver_sql("SELECT pg_total_relation_size('records')").scalar_one()
    return Result("PostgreSQL", length, record_bytes, used / _stored(rounds, batches), *rates)


def _stored(rounds: int, batches: int) -> int:
    return (rounds + 1) * batches * BATCH_RECORDS


def _in_turns(
    stores: Sequence[Store],
    insert: Callable[[Store, list[RecordRow]], None],
    cpu_s: Callable[[], float],
    body: Callable[[str, int], bytes],
    rounds: int,
    batches: int,
) -> tuple[tuple[Rates, Rates, Rates], int]:
    """Insert and ingest the same records, in turns; the first round does not count."""
    gates = [Gate(f"g-{number:03}", body) for number in range(GATES)]
    for store in stores:
        for gate in gates:
            store.register_gate(SITE, gate.name, gate.name.encode().ljust(32), 1)
    bare, chainless, whole = Rates(), Rates(), Rates()
    for number_ in range(rounds + 1):
        arrived, rows = _next(gates, batches)
        with _timed(bare if number_ else Rates(), cpu_s, batches):
            for batch in rows:
                insert(stores[0], batch)
        with (
            patch("central.store.ingest.link", lambda previous, _body: previous),
            _timed(chainless if number_ else Rates(), cpu_s, batches),
        ):
            _ingest(stores[1], arrived)
        with _timed(whole if number_ else Rates(), cpu_s, batches):
            _ingest(stores[2], arrived)
    return (bare, chainless, whole), len(gates[0].body(gates[0].name, 1000))


def _ingest(store: Store, arrived: Sequence[list[Arrived]]) -> None:
    for batch in arrived:
        assert len(store.ingest(batch, NOW_MS).new) == BATCH_RECORDS


def _next(gates: list[Gate], batches: int) -> tuple[list[list[Arrived]], list[list[RecordRow]]]:
    arrived: list[list[Arrived]] = []
    rows: list[list[RecordRow]] = []
    for _ in range(batches):
        chosen, gates[:] = gates[:10], gates[10:] + gates[:10]
        written = [gate.write() for gate in chosen for _ in range(MESSAGE_RECORDS)]
        arrived.append([one for one, _ in written])
        rows.append([_row(one, digest) for one, digest in written])
    return arrived, rows


def _row(one: Arrived, digest: bytes) -> RecordRow:
    _, says = record(one.site, one.gate, one.body)
    return (
        int(one.gate[2:]) + 1, says.seq, says.at_ms, NOW_MS, says.kind, says.abnormal, one.body, digest, None,
    )  # fmt: skip


@contextmanager
def _timed(rates: Rates, cpu_s: Callable[[], float], batches: int) -> Iterator[None]:
    began, cpu_began = time.perf_counter(), cpu_s()
    yield
    count = batches * BATCH_RECORDS
    rates.by_clock.append(count / (time.perf_counter() - began))
    rates.per_core.append(count / max(cpu_s() - cpu_began, 0.01))


def _insert_sqlite(store: Store, rows: list[RecordRow]) -> None:
    marks = ", ".join("?" * len(TYPES))
    with writing(store.engine) as connection:
        connection.exec_driver_sql(f"INSERT OR IGNORE INTO records ({COLUMNS}) VALUES ({marks})", rows)


def _insert_postgres(store: Store, rows: list[RecordRow]) -> None:
    with writing(store.engine) as connection:
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE IF NOT EXISTS came (LIKE records) ON COMMIT DELETE ROWS")
            with cursor.copy(f"COPY came ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(TYPES)
                for row in rows:
                    copy.write_row(row)
            cursor.execute("INSERT INTO records SELECT * FROM came ON CONFLICT DO NOTHING")


def report(results: Sequence[Result], rounds: int, batches: int) -> list[str]:
    """Return a section of the results."""
    head = ["", "", "per core", "by the clock", f"× {INSERT} (rounds)", "bytes", "on disk"]
    limits = ["limit", "at least", "measured", ""]
    return [
        "## The centre's store: records per second",
        "",
        f"{rounds} rounds of {batches * BATCH_RECORDS:,} records for each, in turns.",
        *(
            []
            if any(one.database == "PostgreSQL" for one in results)
            else ["PostgreSQL is not installed here."]
        ),
        "",
        *table(head, [row for one in results for row in _rows(one)]),
        "",
        *table(limits, [row for one in results if one.length == SHORT for row in _limits(one)]),
        "",
        NOTE,
    ]


def _rows(one: Result) -> list[list[str]]:
    name, size = f"{one.database}, {one.length}", number(one.record_bytes)
    return [
        [name, INSERT, *_rate(one.insert), "1", size, ""],
        [name, CHAINLESS, *_rate(one.chainless), one.chainless.spread(one.insert), size, ""],
        [name, INGEST, *_rate(one.ingest), one.ingest.spread(one.insert), size, number(one.on_disk_bytes)],
    ]


def _rate(rates: Rates) -> list[str]:
    return [f"{median(rates.per_core):,.0f}/s", f"{median(rates.by_clock):,.0f}/s"]


def _limits(one: Result) -> list[list[str]]:
    limit, rate, ratio = PER_CORE_MIN[one.database], median(one.insert.per_core), one.ingest.ratio(one.insert)
    with_chain, chain = median(one.ingest.per_core), one.ingest.ratio(one.chainless)
    least = WITH_CHAIN_MIN
    return [
        [f"{one.database}: {INSERT}, per core", f"{limit:,}/s", f"{rate:,.0f}/s", _verdict(rate, limit)],
        [
            f"{one.database}: {INGEST}, per core",
            f"{limit * least:,.0f}/s",
            f"{with_chain:,.0f}/s",
            _verdict(with_chain, limit * least),
        ],
        [f"{one.database}: × {INSERT}", f"{WITH_CHAIN_MIN}", f"{ratio:.2f}", _verdict(ratio, WITH_CHAIN_MIN)],
        [
            f"{one.database}: × {CHAINLESS}",
            f"{WITH_CHAIN_MIN}",
            f"{chain:.2f}",
            _verdict(chain, WITH_CHAIN_MIN),
        ],
    ]


def _verdict(value: float, limit: float) -> str:
    return "kept" if value >= limit else "**missed**"


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
