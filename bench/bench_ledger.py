"""What a durable, chained record costs: Ledger.append beside a bare append and flush of the same bytes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from bench.floor import Action, Disk, Floor, Measured, interleave, number, scratch, table, timed, verdict
from bench.visit import BOOT_ID, EPOCH, GATE, SITE, SITE_KEY, decided_visit
from gate.core.events import encode
from gate.shell.clock import SystemClock
from gate.store.ledger import Ledger

FLOOR: Final = "append + fdatasync"
APPEND: Final = "`Ledger.append`"
COMMIT: Final = "of which commit with chain"
MEMORY: Final = "`Ledger.append` in memory"

TIME_MAX: Final = 1.15
WRITTEN_KB_MAX: Final = 10.0
FLUSHES_MAX: Final = 1.05  # one for each record, and a few for each checkpoint of a thousand pages

NOTE: Final = (
    "The commit with its chain is everything but the encoding of the event as JSON. *kB, process*: what the "
    "process gave to files (`/proc/self/io`). *kB, disk* and *flushes*: the disk's own counters "
    "(`/sys/block/*/stat`), with file-system journal and checkpoints, and with whatever else the machine "
    "wrote meanwhile; medians over rounds. The floor's file grows with each append, which the file system "
    "has to journal; the write-ahead log, once it has its length, is written over again and does not grow."
)


def run(rounds: int = 15, each: int = 400, warm_up: int = 600) -> list[str]:
    """Measure and return Markdown lines. The warm-up lets the write-ahead log reach its full length."""
    with scratch() as folder:
        size, found = measure(folder, rounds, each, warm_up)
    return report(size, found)


def measure(folder: Path, rounds: int, each: int, warm_up: int) -> tuple[int, dict[str, Measured]]:
    """Return the bytes of one record, and what was measured."""
    clock = SystemClock(lambda: True)
    event, now = decided_visit(clock), clock.now()
    appended, encoded, in_memory = (a_ledger(path) for path in (folder / "1.db", folder / "2.db", ":memory:"))
    body = appended.append(event, now).body
    with Floor(folder / "floor") as floor:
        actions = {
            FLOOR: lambda: floor.append(body),
            APPEND: timed(lambda: appended.append(event, now)),
            COMMIT: without_encoding(lambda: encoded.append(event, now)),
            MEMORY: timed(lambda: in_memory.append(event, now)),
        }
        found = interleave(actions, Disk(folder), rounds=rounds, each=each, warm_up=warm_up)
    for ledger in (appended, encoded, in_memory):
        ledger.close()
    return len(body), found


def a_ledger(path: Path | str) -> Ledger:
    """Open a new ledger."""
    return Ledger(path, site=SITE, gate=GATE, new_epoch=EPOCH, boot_id=BOOT_ID, site_key=SITE_KEY)


def without_encoding(append: Callable[[], object]) -> Action:
    """Time an append from the instant at which the event has been encoded."""
    encoded_ns = 0

    def stamped(*given: Any) -> bytes:
        nonlocal encoded_ns
        body = encode(*given)
        encoded_ns = time.perf_counter_ns()
        return body

    def action() -> int:
        with patch("gate.store.ledger.encode", stamped):
            append()
            return time.perf_counter_ns() - encoded_ns

    return action


def report(size: int, found: dict[str, Measured]) -> list[str]:
    """Return a section of the results."""
    floor, append = found[FLOOR], found[APPEND]
    whole, commit = append.ratio(floor), found[COMMIT].ratio(floor)
    written_kb = (_on_disk(append) or _by_process(append) or 0) / 1000
    flushes = append.per_action(lambda written: written.flushes)
    limits = [
        ["commit with chain, × floor", f"{TIME_MAX}", f"{commit:.2f}", verdict(commit, TIME_MAX)],
        ["the same with encoding, × floor", f"{TIME_MAX}", f"{whole:.2f}", verdict(whole, TIME_MAX)],
        ["kB for each record", f"{WRITTEN_KB_MAX}", f"{written_kb:.1f}", verdict(written_kb, WRITTEN_KB_MAX)],
        ["flushes for each record", f"{FLUSHES_MAX}", number(flushes, 2), verdict(flushes, FLUSHES_MAX)],
    ]
    rounds, each = len(append.rounds), len(append.rounds[0].times_us)
    return [
        "## Ledger: one durable record with its chain",
        "",
        f"The record of a visitor who may pass, {size} bytes; {rounds} rounds of {each} records, in turns.",
        "",
        *table(
            ["", "p50 µs", "p99 µs", "× floor (rounds)", "kB, process", "kB, disk", "flushes"],
            [_row(name, one, floor) for name, one in found.items()],
        ),
        "",
        *table(["limit", "at most", "measured", ""], limits),
        "",
        NOTE,
    ]


def _row(name: str, one: Measured, floor: Measured) -> list[str]:
    return [
        name,
        number(one.p50_us),
        number(one.p99_us),
        one.spread(floor),
        number(_by_process(one), 1, unit=1000),
        number(_on_disk(one), 1, unit=1000),
        number(one.per_action(lambda written: written.flushes), 2),
    ]


def _by_process(one: Measured) -> float | None:
    return one.per_action(lambda written: written.by_process_bytes)


def _on_disk(one: Measured) -> float | None:
    return one.per_action(lambda written: written.on_disk_bytes)


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
