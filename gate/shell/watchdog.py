"""What the service manager is told: ready, how the gate stands, still alive, stopping.

systemd starts a gate anew that has not fed its watchdog for `WatchdogSec=`. The brain's thread feeds it, and
only while every other critical loop keeps what it has last said: that it goes round again within so many
seconds. A loop that waits goes round while it waits, and says so before anything that may take longer. So a
part that is merely broken starves nothing, a thread that hangs does; which one is logged when it is late,
before systemd acts. A brain that hangs feeds nothing, and says nothing: where it stands is seen in the stacks
that are written at the end (`gate run` enables faulthandler).

Protocol: sd_notify(3), systemd.service(5).
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from gate.service_manager import ServiceManager

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
FEEDS_PER_PERIOD: Final = 4


class Loop:
    """One critical loop, which calls this at every turn; from its own thread."""

    def __init__(self, name: str, bound_s: float, monotonic: Callable[[], float]) -> None:
        self.name = name
        self._bound_s = bound_s
        self._monotonic = monotonic
        self._due: float | None = None

    def __call__(self, within_s: float = 0.0) -> None:
        """Promise to call again within the loop's bound, or within `within_s` seconds if that is longer."""
        self._due = self._monotonic() + max(self._bound_s, within_s)

    def begin(self) -> None:
        """Count from now on, where the loop has not yet gone round at all."""
        if self._due is None:
            self()

    def late_s(self) -> float:
        """Return for how many seconds a turn has been due; 0 or less where none is, or nothing has begun."""
        return 0.0 if self._due is None else self._monotonic() - self._due


class Watchdog:
    """Says at each `turn` of the brain what there is to say; all but the loops belong to the brain's thread.

    `status` says in a few words how the gate stands; it is asked once a second.
    """

    def __init__(
        self,
        status: Callable[[], str],
        manager: ServiceManager | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._manager = manager or ServiceManager()
        self._monotonic = monotonic
        self._loops: list[Loop] = []
        self._late: frozenset[str] = frozenset()
        self._ready = False
        self._said = ""
        self._look_at = self._feed_at = float("-inf")

    def loop(self, name: str, bound_s: float) -> Loop:
        """Watch one more loop, whose turns take at most `bound_s` seconds unless it says otherwise."""
        loop = Loop(name, bound_s, self._monotonic)
        self._loops.append(loop)
        return loop

    def turn(self) -> None:
        """Go round once more. The first call says that the gate is ready: all parts have been started."""
        now = self._monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            if news := [*self._readiness(), *self._news(), *self._food(now)]:
                self._manager.notify(*news)

    def stopping(self) -> None:
        """Say that the gate stops by itself, and nothing more."""
        self._manager.notify("STOPPING=1", "STATUS=stopping")
        self._manager.close()

    def _readiness(self) -> Collection[str]:
        if self._ready:
            return ()
        self._ready = True
        for loop in self._loops:
            loop.begin()
        return ("READY=1",)

    def _news(self) -> Collection[str]:
        said, self._said = self._said, self._status()
        return () if said == self._said else (f"STATUS={self._said}",)

    def _food(self, now: float) -> Collection[str]:
        late = [loop for loop in self._loops if loop.late_s() > 0]
        self._report(late)
        period_s = self._manager.period_s
        if late or period_s is None or now < self._feed_at:
            return ()
        self._feed_at = now + period_s / FEEDS_PER_PERIOD
        return ("WATCHDOG=1",)

    def _report(self, late: Collection[Loop]) -> None:
        names = frozenset(loop.name for loop in late)
        for loop in late:
            if loop.name not in self._late:
                log.error(
                    "the loop %s hangs: its turn is late by %.1f s; until it goes on the watchdog is not fed",
                    loop.name,
                    loop.late_s(),
                )
        for name in self._late - names:
            log.warning("the loop %s goes on", name)
        self._late = names


def status_words(
    mode: str, *, failed: Collection[str], stale: Collection[str], unwritten: int, connected: bool
) -> str:
    """Say how a gate stands in one line of ASCII: its mode, and what is missing."""
    words = [mode.replace("_", " ")]
    if failed:
        words.append(f"without {', '.join(sorted(failed)).replace('_', ' ')}")
    if stale:
        words.append(f"out of date: {', '.join(sorted(stale)).replace('_', ' ')}")
    if unwritten:
        words.append("the ledger cannot be written")
    if not connected:
        words.append("not connected to the broker")
    return "; ".join(words)
