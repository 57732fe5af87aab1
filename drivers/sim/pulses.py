"""What a simulated turnstile writes down for an outsider: each pulse of its relay, one line of JSON.

    {"pulse": 17, "at_ms": 1795325465123, "pid": 4711}

The line is appended by one write and flushed to the disk before the relay is on, so that no pulse is without
its line, whoever is killed when. `pulse` counts from 1 in this file and goes on after a restart; `at_ms` is
unix milliseconds; `pid` tells one run from the next. A line that a power cut has torn is no pulse.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pulse:
    """One pulse of the relay."""

    pulse: int
    at_ms: int
    pid: int


class PulseLog:
    """Appends pulses to a file that is made when there is none; for one process at a time.

    `wall_ms` tells unix milliseconds. Raises OSError when the file cannot be read and written.
    """

    def __init__(self, path: Path, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._pid = os.getpid()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self.count = max((pulse.pulse for pulse in read_pulses(path)), default=0)
            self._end_torn_line()
        except BaseException:
            self.close()
            raise

    def append(self) -> None:
        """Write one pulse; durable on return. Raises OSError."""
        line = json.dumps({"pulse": self.count + 1, "at_ms": self._wall_ms(), "pid": self._pid})
        self._write(line.encode("ascii") + b"\n")
        self.count += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._write(b"\n")

    def _write(self, line: bytes) -> None:
        written = os.write(self._file, line)
        os.fsync(self._file)
        if written != len(line):  # the disk is full; what is torn is no pulse, and the next begins a new line
            self._end_torn_line()
            raise OSError("a pulse was not written whole")


def read_pulses(path: Path) -> Iterator[Pulse]:
    """Yield the pulses in the order of the file, without lines that were torn. Raises OSError."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                said = json.loads(line)
                pulse = Pulse(int(said["pulse"]), int(said["at_ms"]), int(said["pid"]))
            except (ValueError, TypeError, LookupError):
                continue
            yield pulse
