"""Memory of the whole service with its camera child, and the time from its start until it serves."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.broker import a_broker
from bench.floor import ROOT, number, scratch, table, verdict
from gate.demo.broker import BrokerAddress
from gate.shell.clock import sleep

BARE: Final = "import cv2, numpy"
MEMORY_MB_MAX: Final = 150.0
EXIT_S: Final = 20.0
SETTLE_S: Final = 1.0

NOTE: Final = (
    "The service runs in a process of its own on simulated hardware, with a broker beside it. It serves once "
    "its start is on record, the broker has accepted it, and the camera child has handed over a first code. "
    "*PSS* shares the pages that processes have in common among them; *RSS* counts them in each "
    "(`/proc/*/smaps_rollup`). The service's process holds the simulated sensor, pins and visitors as well; "
    "its camera child draws phone screens, which a child with a real camera does not."
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds, in MB (of a million bytes)."""

    pss_mb: float
    rss_mb: float

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.pss_mb + other.pss_mb, self.rss_mb + other.rss_mb)


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured: start times in seconds, memory of service, camera child and the bare import."""

    broker: str
    visits: int
    serving_s: list[float]
    bare_s: list[float]
    service: Memory
    camera: Memory
    bare: Memory


def run(starts: int = 5, visits: int = 20) -> list[str]:
    """Measure and return Markdown lines."""
    with scratch() as folder:
        return report(measure(folder, starts, visits))


def measure(folder: Path, starts: int, visits: int) -> Found:
    """Start the service and a bare import in turns; let visitors through in the last one."""
    serving_s, bare_s = [], []
    with a_broker(folder) as (address, broker):
        for number_of_start in range(starts):
            took_s, bare = bare_import()
            bare_s.append(took_s)
            state = folder / f"state-{number_of_start}"
            with the_service(state, address) as (process, took_s):
                serving_s.append(took_s)
                if number_of_start == starts - 1:
                    let_through(process, visits)
                    service, camera = memory_of(process.pid), memory_of(only_child(process.pid))
    return Found(broker, visits, serving_s, bare_s, service, camera, bare)


def bare_import() -> tuple[float, Memory]:
    """Import the two libraries in a new process: how long until it is done, and what it then holds."""
    lines = f"{BARE}; print('done', flush=True); input()"
    began = time.perf_counter()
    with _started(["-c", lines]) as process:
        _expect(process, "done")
        took_s = time.perf_counter() - began
        found = memory_of(process.pid)
        process.communicate("\n", EXIT_S)
    return took_s, found


@contextmanager
def the_service(state: Path, address: BrokerAddress) -> Iterator[tuple["subprocess.Popen[str]", float]]:
    """Run the service in a process of its own; give it with the seconds from its start until it served."""
    state.mkdir()
    (state / "password").write_text(address.password or "", "utf-8")
    began = time.perf_counter()
    with _started(["-m", "bench.service", str(state), str(address.port), address.user or ""]) as process:
        try:
            _expect(process, "serving")
            yield process, time.perf_counter() - began
            process.communicate(None, EXIT_S)
            assert process.returncode == 0, f"the service ended with {process.returncode}"
        finally:
            process.kill()


def let_through(process: "subprocess.Popen[str]", visits: int) -> None:
    """Let visitors through one after the other, and a moment pass."""
    assert process.stdin is not None
    for _ in range(visits):
        process.stdin.write("visit\n")
        process.stdin.flush()
        _expect(process, "visited")
    sleep(SETTLE_S)


def only_child(pid: int) -> int:
    """Return the process id of the one child of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    (child,) = [int(word) for task in tasks for word in task.read_text("ascii").split()]
    return child


def memory_of(pid: int) -> Memory:
    """Return what a process holds."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return Memory(kib["Pss"] * 1024 / 1e6, kib["Rss"] * 1024 / 1e6)


def report(found: Found) -> list[str]:
    """Return a section of the results."""
    together = found.service + found.camera
    ratio = median(own / bare for own, bare in zip(found.serving_s, found.bare_s, strict=True))
    return [
        "## Service: memory and start",
        "",
        f"After {found.visits} visits, with {found.broker}; {len(found.serving_s)} starts in turns.",
        "",
        *table(
            ["", "PSS MB", "RSS MB"],
            [
                ["service", *_cells(found.service)],
                ["camera child", *_cells(found.camera)],
                ["together", *_cells(together)],
                [f"bare `{BARE}`", *_cells(found.bare)],
            ],
        ),
        "",
        *table(
            ["from process start", "median s", "longest s", "× bare"],
            [
                [f"bare `{BARE}`", number(median(found.bare_s), 2), number(max(found.bare_s), 2), "1.00"],
                ["until serving", number(median(found.serving_s), 2), number(max(found.serving_s), 2),
                 f"{ratio:.2f}"],
            ],
        ),
        "",
        *table(
            ["limit", "at most", "measured", ""],
            [
                ["service with camera child, RSS MB", f"{MEMORY_MB_MAX:.0f}", number(together.rss_mb),
                 verdict(together.rss_mb, MEMORY_MB_MAX)],
            ],
        ),
        "",
        NOTE,
    ]  # fmt: skip


def _cells(memory: Memory) -> list[str]:
    return [number(memory.pss_mb), number(memory.rss_mb)]


def _started(arguments: list[str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, text=True, cwd=ROOT.parent)


def _expect(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if line != word:
        raise RuntimeError(f"the process said {line!r} instead of {word!r}")


def main() -> None:
    print("\n".join(run()))


if __name__ == "__main__":
    main()
