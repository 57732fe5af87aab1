"""Virtual time: one heap of (time, order, action), and time jumps to whatever is due next."""

import heapq
from collections.abc import Callable
from typing import Final

from gate.core.moment import NS_PER_MS, NS_PER_S

Action = Callable[[], None]

# 2022-03-07 07:00 in China, the true time at which every run begins.
BEGINS_WALL_MS: Final = 1_646_607_600_000

# More things than this at one and the same instant mean that something wakes itself for ever.
SAME_INSTANT_MAX: Final = 10_000


class StandstillError(Exception):
    """Time no longer moves: something asks to be woken at an instant that has come, again and again."""


class Timeline:
    """What is still to happen, in order; instants are nanoseconds from the start of the simulation."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[tuple[int, int, Action]] = []
        self._order = 0
        self._at_this_instant = 0

    def at(self, instant_ns: int, action: Action) -> None:
        """Do `action` at an instant, at once after everything else when it has passed."""
        self._order += 1
        heapq.heappush(self._heap, (max(instant_ns, self.now_ns), self._order, action))

    def after(self, seconds: float, action: Action) -> None:
        """Do `action` when `seconds` have passed."""
        self.at(self.now_ns + round(seconds * NS_PER_S), action)

    def run_until(self, end_ns: int) -> None:
        """Let everything happen that is due up to `end_ns`, and arrive there.

        An action may call this itself: a device that sleeps lets the world go on meanwhile.
        Raises StandstillError when time does not move.
        """
        heap = self._heap
        while heap and heap[0][0] <= end_ns:
            instant_ns, _, action = heapq.heappop(heap)
            if instant_ns > self.now_ns:
                self.now_ns, self._at_this_instant = instant_ns, 0
            self._at_this_instant += 1
            if self._at_this_instant > SAME_INSTANT_MAX:
                raise StandstillError(f"{SAME_INSTANT_MAX} actions at {instant_ns} ns")
            action()
        self.now_ns = max(self.now_ns, end_ns)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass, and with them whatever is due."""
        self.run_until(self.now_ns + round(seconds * NS_PER_S))

    @property
    def wall_ms(self) -> int:
        """The true wall time of this instant, in unix milliseconds."""
        return BEGINS_WALL_MS + self.now_ns // NS_PER_MS

    def monotonic(self) -> float:
        """Return this instant in seconds."""
        return self.now_ns / NS_PER_S
