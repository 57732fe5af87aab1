"""The brain thread: takes inputs in order, and time when it is due."""

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final

from gate.core.inputs import Input, Started, Stopped, TimePassed
from gate.core.moment import NS_PER_MS, NS_PER_S, Moment
from gate.perform import Brain
from gate.ports import Clock
from gate.shell.inbox import Inbox

log = logging.getLogger(__name__)

SLOW_NS: Final = 50 * NS_PER_MS
IDLE_S: Final = 1.0  # how often a quiet loop proves that it is alive


class BrainLoop:
    """Runs one brain until `Stopped` has been handled.

    `after` is called once each input has been handled, `turn` at least once a second from when everything
    that was there at the start has been handled.
    """

    def __init__(
        self,
        brain: Brain,
        inbox: Inbox,
        clock: Clock,
        after: Callable[[], None] = lambda: None,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._brain = brain
        self._after = after
        self._turn = turn
        self._inbox = inbox
        self._clock = clock

    def run(self, started: Started, then: Iterable[Input] = ()) -> None:
        """Handle `started`, what was there `then`, and inputs until a `Stopped` has been handled.

        Programming errors are raised.
        """
        for first in chain((started,), then):
            self._step(first, self._clock.now())
        while True:
            self._turn()
            happened = self._inbox.take(self._timeout_s())
            now = self._clock.now()
            wakeup = self._brain.actor.next_wakeup()
            if wakeup is not None and now.mono_ns >= wakeup:
                self._step(TimePassed(), now)
            if happened is None:
                continue
            self._step(happened, now)
            self._report_slow(now.mono_ns, type(happened).__name__)
            if isinstance(happened, Stopped):
                return

    def _step(self, happened: Input, now: Moment) -> None:
        self._brain.step(happened, now)
        self._after()

    def _timeout_s(self) -> float:
        wakeup = self._brain.actor.next_wakeup()
        if wakeup is None:
            return IDLE_S
        return min(IDLE_S, max(0.0, (wakeup - self._clock.now().mono_ns) / NS_PER_S))

    def _report_slow(self, began_ns: int, name: str) -> None:
        took_ns = self._clock.now().mono_ns - began_ns
        if took_ns > SLOW_NS:
            log.warning("handling %s took %d ms", name, took_ns // NS_PER_MS)
