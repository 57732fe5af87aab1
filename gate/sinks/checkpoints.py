"""When this gate states how far its ledger reaches, and how far it has sent it.

All but one kind state the whole ledger: at the start of the sink; every 60 s also when nothing is new, for it
is the heartbeat; when everything has been sent, be it for the second time; whenever it is asked for; and at
the stop. All but the first and the last come a second apart, unless 100 records have become new within it.

While a backlog is being sent, those name records that have not arrived yet. So after 100 records that were
sent there is one (`Why.COUNT`) for the last of them, which the centre can sign for at once: the first on each
connection, however short that turns out to be, and then a second apart, unless 100 records have become new.

Pure: no clock, no socket, no key. Instants are seconds of one monotonic clock.
"""

import math
from typing import Final

from gate.core.delivery import Why

INTERVAL_S: Final = 60.0
RECORDS_MAX: Final = 100
APART_S: Final = 1.0


class CheckpointClock:
    """Knows which checkpoint is due."""

    def __init__(self) -> None:
        self._stated_at: float | None = None
        self._unstated = 0
        """Records sent since the whole ledger was stated."""
        self._counted_at = -math.inf
        self._counted_size = 0
        self._uncounted = 0
        """Records sent since it was stated how far."""
        self._asked = False

    def begin(self) -> None:
        """Note a new connection: of what was stated on the one before nothing may have arrived."""
        self._asked = True
        self._counted_at = -math.inf
        self._uncounted = 0

    def again(self) -> None:
        """Note that sending begins anew behind an earlier record."""
        self._uncounted = 0

    def due(self, now: float, *, size: int, drained: bool) -> Why | None:
        """Tell why a checkpoint is due, None when none is. `drained`: all of the `size` records were sent."""
        at, why = self._next(size=size, drained=drained)
        return why if now >= at else None

    def due_in_s(self, now: float, *, size: int, drained: bool) -> float:
        """Return in how many seconds one will be due if nothing happens until then; 0 for now."""
        at, _ = self._next(size=size, drained=drained)
        return max(0.0, at - now)

    def _next(self, *, size: int, drained: bool) -> tuple[float, Why]:
        if self._stated_at is None:
            return -math.inf, Why.START
        return min(self._candidates(self._stated_at, size, drained), key=lambda candidate: candidate[0])

    def _candidates(self, stated_at: float, size: int, drained: bool) -> list[tuple[float, Why]]:
        """Return when each kind is due that may be; of two at the same time the first goes first."""
        soon = stated_at + APART_S
        found = [(stated_at + INTERVAL_S, Why.INTERVAL)]
        if self._asked:
            found.insert(0, (soon, Why.DEMAND))
        enough = self._uncounted >= RECORDS_MAX
        grown = enough and size - self._counted_size >= RECORDS_MAX
        if drained and self._unstated:
            found.append((-math.inf if grown else soon, Why.DRAINED))
        elif enough and not drained:
            found.append((-math.inf if grown else self._counted_at + APART_S, Why.COUNT))
        return found

    def sent(self, records: int) -> None:
        """Note records that were handed over."""
        self._unstated += records
        self._uncounted += records

    def ask(self) -> None:
        """Note that somebody wants a checkpoint now."""
        self._asked = True

    def made(self, now: float, why: Why, *, size: int, drained: bool) -> None:
        """Note a checkpoint; `size` and `drained` as in `due`."""
        if why is not Why.COUNT:
            self._stated_at, self._unstated, self._asked = now, 0, False
        if why is Why.COUNT or drained:
            self._counted_at, self._counted_size, self._uncounted = now, size, 0
