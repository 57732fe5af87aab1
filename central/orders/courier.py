"""The thread that sends commands to gates, beside a centre at work.

A command that waits in the book is published at once, and again while it is neither answered nor void: when
its gate comes back, and after ever longer pauses, because a broker keeps nothing for a gate that is away and
may lose what it has taken. The gate obeys one of them; for the others it records that it refuses a repetition
(`central.orders.answers` knows). The commands of one gate go out in the order in which they were made, with a
moment for the answer in between: one that is overtaken by a later one would be refused.

Of several centres on one store each sending is done by one. A command that becomes void without an answer
that the gate has signed for is an alarm; it is over when one comes after all, however late, or the gate
answers a later command.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Final

from sqlalchemy import select

from central.clock import Clock
from central.orders import book
from central.orders.book import Order
from central.orders.unanswered import UNANSWERED, about, suspicion
from central.store import Store
from central.store.engine import reading
from central.store.tables import alarms
from central.worker import Worker

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 0.5
TROUBLE_S: Final = 5.0
FAREWELL_S: Final = 5.0
SETTLE_MS: Final = 3_000
"""How long the gate's next command waits for the answer to one that was just sent."""

FIRST_PAUSE_MS: Final = 10_000
PAUSE_MS_MAX: Final = 120_000
ALARM_EVERY_MS: Final = 5_000
GRACE_MS: Final = 60_000
"""An answer that was given in time may come late: records wait behind others."""

LOOK_BACK_MS: Final = 7 * 86_400_000


def due(orders: Iterable[Order], came_back_ms: int, now_ms: int) -> Iterator[Order]:
    """Yield what is to be sent now of one gate's commands, which come by counter. Pure.

    `came_back_ms`: when the gate was last heard to be listening anew, 0 for never. What is dated after now
    was before the centre's clock was put back; how long ago, nobody knows, so that it says nothing any more.
    """
    for order in orders:
        if order.answer is not None:
            continue
        rested_ms = now_ms - (order.sent_ms or 0)
        # Obeying changes a gate's state too, so that right after a sending its message means nothing.
        missed = (order.sent_ms or 0) + SETTLE_MS <= came_back_ms <= now_ms
        if not order.sent or missed or not 0 <= rested_ms < _pause_ms(order.sent):
            yield order
            return
        if rested_ms < SETTLE_MS:
            return


def _pause_ms(sent: int) -> int:
    return min(PAUSE_MS_MAX, FIRST_PAUSE_MS << min(sent - 1, 10))


def unanswered(void: Iterable[Order]) -> tuple[list[Order], set[str]]:
    """Tell which of these, by gate and counter, are alarms, and the ids of those that are none any more."""
    silent: list[Order] = []
    answered: set[str] = set()
    for _, own in groupby(void, key=_gate):
        lately: list[Order] = []
        for order in own:
            if order.answer is None or not order.answer.proved:  # one that is not may be forged
                lately.append(order)
            else:
                answered |= {order.id, *(earlier.id for earlier in lately)}
                lately.clear()
        silent += lately
    return silent, answered


class Courier(Worker):
    """Sends with `publish(topic, message)` while the centre is `connected`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        publish: Callable[[str, bytes], None],
        connected: Callable[[], bool],
    ) -> None:
        super().__init__("commands", clock, round_s=ROUND_S, trouble_s=TROUBLE_S, farewell_s=FAREWELL_S)
        self._store = store
        self._publish = publish
        self._connected = connected
        self._came_back: dict[tuple[str, str], int] = {}
        self._alarms_at_ms = 0
        self._settled_ms = 0
        self._told: set[str] = set()

    def came_back(self, site: str, gate: str) -> None:
        """Take note that this gate listens, perhaps anew. Never blocks; any thread may call it."""
        self._came_back[site, gate] = self._clock.now_ms()
        self.wake()

    def step(self) -> None:
        """Do what is due now. Raises StoreError; what is left is done next time."""
        now_ms = self._clock.now_ms()
        if self._connected():
            for names, own in groupby(book.in_force(self._store.engine, now_ms), key=_gate):
                for order in due(own, self._came_back.get(names, 0), now_ms):
                    self._send(order, now_ms)
        if not 0 <= now_ms - self._alarms_at_ms < ALARM_EVERY_MS:
            self._alarms_at_ms = now_ms
            self._mind_alarms(now_ms)

    def _send(self, order: Order, now_ms: int) -> None:
        if book.claim(self._store.engine, order, now_ms):
            LOG.info("%s for %s/%s sent (%s)", order.name, order.site, order.gate, order.id)
            self._publish(f"hg/1/{order.site}/{order.gate}/cmd", order.message)

    def _mind_alarms(self, now_ms: int) -> None:
        until_ms = now_ms - GRACE_MS
        since_ms = max(min(self._settled_ms, until_ms), until_ms - LOOK_BACK_MS)
        standing = self._standing()
        void = book.void_since(self._store.engine, since_ms, until_ms, with_those_from=standing)
        silent, answered = unanswered(void)
        # The answers to older ones may be retired: those end alarms, and never begin one.
        silent = [order for order in silent if order.expires_ms > since_ms]
        for order in silent:
            self._raise(order, now_ms)
        for command in answered & standing.keys():
            reason = "it was answered after all, or a later one was"
            self._store.clear_alarm(standing[command], now_ms, by="centre", reason=reason)
        # What was answered needs no second look, but for what was made after one that was not.
        self._settled_ms = max(since_ms, min((order.made_ms for order in silent), default=until_ms))

    def _standing(self) -> dict[str, int]:
        """Return the commands that alarms of this kind stand for, with the numbers of the alarms."""
        standing = select(alarms.c.id, alarms.c.evidence).where(
            alarms.c.code == UNANSWERED, alarms.c.cleared_ms.is_(None)
        )
        with reading(self._store.engine) as connection:
            found = [(about(row.evidence), row.id) for row in connection.execute(standing)]
        return {named[0]: alarm for named, alarm in found if named is not None}

    def _raise(self, order: Order, now_ms: int) -> None:
        if order.id in self._told or self._was_raised(order):
            self._told.add(order.id)
        elif self._store.raise_alarm(suspicion(order), now_ms):
            self._told.add(order.id)
            LOG.warning("%s for %s/%s was never answered", order.name, order.site, order.gate)

    def _was_raised(self, order: Order) -> bool:
        """Tell whether it has been an alarm: one that somebody has looked into is not raised again."""
        evidence = select(alarms.c.evidence).where(
            alarms.c.code == UNANSWERED, alarms.c.site == order.site, alarms.c.gate == order.gate
        )
        with reading(self._store.engine) as connection:
            return any(f'"{order.id}"' in said for said in connection.scalars(evidence).all())


def _gate(order: Order) -> tuple[str, str]:
    return order.site, order.gate
