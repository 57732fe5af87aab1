"""Real time: the only module of the centre that reads a clock or waits on one, and how a time is written."""

import threading
import time
from datetime import UTC, datetime, tzinfo
from typing import Protocol


class Clock(Protocol):
    """What the centre asks about time."""

    def now_ms(self) -> int:
        """Return unix milliseconds."""

    def monotonic(self) -> float:
        """Return seconds since some instant; they never go back."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set, or for so long; return whether it is set."""


class SystemClock:
    """The machine's clocks. NTP is expected to keep the wall clock: receipts and reports carry its time."""

    def now_ms(self) -> int:
        """Return unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds since some instant; they never go back."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set, or for so long; return whether it is set."""
        return event.wait(max(0.0, seconds))


def moment(ms: int | None, zone: tzinfo | None = None) -> str:
    """Return unix milliseconds as time with its offset, of a zone or the machine's own; nothing for None."""
    if ms is None:
        return ""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).isoformat(" ", timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a gate may state any number
        return f"{ms} ms"
