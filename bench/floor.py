"""What the benchmarks share: the floor, interleaved rounds, what a disk has counted, and tables.

Times of one machine say little about another, so that every benchmark measures something plain beside the
gate, in the same run and in turns, and reports the ratio. For everything durable the plain thing is the
floor: the same bytes appended to a file and flushed. Nothing durable can be had for less.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parent
SECTOR_BYTES: Final = 512  # the unit of the kernel's disk statistics, whatever the disk's own

Action = Callable[[], int]
"""Does something once and returns how long it took, in nanoseconds."""


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder on the disk that holds the checkout (not in memory), and take it away afterwards."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=ROOT) as folder:
        yield Path(folder)


class Floor:
    """Appends bytes to a file and flushes them: the least that durability costs."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, body: bytes) -> int:
        """Append and flush; return the nanoseconds it took."""
        began = time.perf_counter_ns()
        os.write(self._fd, body)
        os.fdatasync(self._fd)
        return time.perf_counter_ns() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def timed(work: Callable[[], object]) -> Action:
    """Turn work into an action that times it."""

    def action() -> int:
        began = time.perf_counter_ns()
        work()
        return time.perf_counter_ns() - began

    return action


@dataclass(frozen=True, slots=True)
class Written:
    """What was written between two looks: by this process into files, and by everybody onto the disk.

    The disk counts file-system journal and checkpoints too; None where the kernel does not count.
    """

    by_process_bytes: int
    on_disk_bytes: int | None
    flushes: int | None


class Disk:
    """The counters of the disk that holds a folder: /sys/block/*/stat and /proc/self/io."""

    def __init__(self, folder: Path) -> None:
        number = folder.stat().st_dev
        part = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
        if not part.exists():  # a file system without a disk of its own
            self._stat: Path | None = None
        else:
            whole = part.resolve()
            self._stat = (whole.parent if (whole / "partition").exists() else whole) / "stat"

    def counts(self) -> Written:
        """Return the counters since the machine and the process started."""
        io = dict(line.split(": ") for line in Path("/proc/self/io").read_text("ascii").splitlines())
        process = int(io["write_bytes"])
        if self._stat is None:
            return Written(process, None, None)
        fields = [int(word) for word in self._stat.read_text("ascii").split()]
        flushes = fields[15] if len(fields) > 15 else None  # since Linux 5.5
        return Written(process, fields[6] * SECTOR_BYTES, flushes)

    def since(self, before: Written) -> Written:
        """Return what has been written since `before`."""
        now = self.counts()
        return Written(
            now.by_process_bytes - before.by_process_bytes,
            _difference(now.on_disk_bytes, before.on_disk_bytes),
            _difference(now.flushes, before.flushes),
        )


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one action: its times in microseconds, and what was written meanwhile."""

    times_us: list[float]
    written: Written


class Measured:
    """All rounds of one action."""

    def __init__(self, rounds: Sequence[Round]) -> None:
        self.rounds = rounds
        self._sorted = sorted(each for one in rounds for each in one.times_us)

    @property
    def p50_us(self) -> float:
        """The median."""
        return median(self._sorted)

    @property
    def p99_us(self) -> float:
        """The 99th percentile."""
        return self._sorted[len(self._sorted) * 99 // 100]

    def ratios(self, floor: "Measured") -> list[float]:
        """Return how many times the floor, for each round of its own: a busy moment counts for both."""
        pairs = zip(self.rounds, floor.rounds, strict=True)
        return [median(own.times_us) / median(low.times_us) for own, low in pairs]

    def ratio(self, floor: "Measured") -> float:
        """Return how many times the floor: the median over rounds."""
        return median(self.ratios(floor))

    def spread(self, floor: "Measured") -> str:
        """Write that ratio with the lowest and the highest of a round: how far one run can be trusted."""
        ratios = self.ratios(floor)
        return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    def per_action(self, pick: Callable[[Written], int | None]) -> float | None:
        """Return the median over rounds of something written, for each time the action was done."""
        shares = [
            amount / len(one.times_us) for one in self.rounds if (amount := pick(one.written)) is not None
        ]
        return median(shares) if shares else None


def interleave(
    actions: Mapping[str, Action], disk: Disk, *, rounds: int, each: int, warm_up: int
) -> dict[str, Measured]:
    """Do every action `each` times in every round, one after the other; a warm-up does not count."""
    for action in actions.values():
        for _ in range(warm_up):
            action()
    found: dict[str, list[Round]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            before = disk.counts()
            times_us = [action() / 1000 for _ in range(each)]
            found[name].append(Round(times_us, disk.since(before)))
    return {name: Measured(done) for name, done in found.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def verdict(value: float | None, limit: float) -> str:
    """Say whether a value keeps a limit."""
    if value is None:
        return "not known here"
    return "kept" if value <= limit else "**missed**"


def number(value: float | None, digits: int = 0, *, unit: float = 1) -> str:
    """Write a number in a unit; a dash for one that could not be had."""
    return "-" if value is None else f"{value / unit:,.{digits}f}"


def _difference(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before
