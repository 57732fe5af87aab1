"""The thread that turns records into alerts and alerts into messages.

Ingest hands over what is new and goes on: it waits for no database of ours and for no address. One thread
notes, calls in and claims; each address has a thread of its own while something is being sent to it, so that
a dead one holds up nobody else. All state is in the tables: what a crash cuts short is found again, records
by `backlog`, messages by their lease.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from sqlalchemy import Engine

from central.alerts.backlog import alarms_after, first_unnoted_alarm, records_without_alert
from central.alerts.book import Book
from central.alerts.messages import word
from central.alerts.outbox import Claimed, Outbox
from central.alerts.routing import Routing
from central.alerts.rules import of_alarm, of_record
from central.alerts.send import ATTEMPT_S_MAX, Addresses, Sent, open_addresses
from central.alerts.settings import AlertSettings
from central.clock import Clock
from central.store.model import Alarm, Ingested, StoredRecord, StoreError
from central.worker import Worker
from gate.core.events import Kind

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 1.0  # how often the tables are asked what is due
QUEUE_MAX: Final = 50_000
BATCH: Final = 500
LOOK_BACK_MS: Final = 3 * 86_400_000  # at start: an older record is no immediate alert any more
LOOK_AGAIN_MS: Final = 900_000
LOOK_EVERY_MS: Final = 60_000
TROUBLE_S: Final = 5.0
FAREWELL_S: Final = 5.0


@dataclass(slots=True)
class _Sending:
    """One message on its way; `sent` and `ended_ms` are set by its thread."""

    claimed: Claimed
    began: float
    sent: Sent | None = None
    ended_ms: int = 0
    given_up: bool = field(default=False)


Start = Callable[[Callable[[], None]], None]


def _in_thread(work: Callable[[], None]) -> None:
    # A daemon: nothing can end it, and the centre must be able to stop.
    threading.Thread(target=work, name="alert-sender", daemon=True).start()


class Dispatcher(Worker):
    """Tells people what has happened, by the rules of the settings; without any, alerts are noted only."""

    def __init__(
        self,
        engine: Engine,
        settings: AlertSettings,
        clock: Clock,
        zone: tzinfo,
        *,
        addresses: Addresses | None = None,
        send_in: Start = _in_thread,
    ) -> None:
        super().__init__(
            "alerts", clock, round_s=ROUND_S, trouble_s=TROUBLE_S, farewell_s=FAREWELL_S + ROUND_S
        )
        self._engine = engine
        self._settings = settings
        self._zone = zone
        self._send_in = send_in
        self._addresses = addresses or _usable(settings)
        routing = Routing(settings, self._addresses.shown)
        self._book = Book(engine, routing)
        self._outbox = Outbox(engine, routing)
        self._queue: deque[StoredRecord] = deque()
        self._overflowed = False
        self._sending: dict[str, _Sending] = {}
        self._alarm_seen: int | None = None
        self._looked_ms: int | None = None

    def stored(self, ingested: Ingested) -> None:
        """Take note of what has just been stored. Never blocks, never raises; any thread may call it."""
        self.take(ingested.new)

    def alarmed(self, _alarms: Sequence[Alarm]) -> None:
        """Look at the log of alarms now; it is read from the store, so that none is missed. Likewise."""
        self.wake()

    def take(self, new: Iterable[StoredRecord]) -> None:
        """Look at records that have just been stored; likewise."""
        calling = [record for record in new if _calls_for_something(record)]
        if not calling:
            return
        if len(self._queue) < QUEUE_MAX:
            self._queue.extend(calling)
        else:
            self._overflowed = True  # they are in the store, and `backlog` finds them
        self.wake()

    def step(self) -> None:
        """Do what is due now, and wait for nothing. Raises StoreError; what is left is done next time."""
        now_ms = self._clock.now_ms()
        if self._alarm_seen is None:
            self._alarm_seen = first_unnoted_alarm(self._engine, now_ms - LOOK_BACK_MS)
            self._outbox.reroute(now_ms)
        self._look_back(now_ms)
        self._note_records(now_ms)
        self._note_alarms(now_ms)
        self._outbox.escalate(now_ms)
        self._collect()
        for address in self._outbox.addresses_due(now_ms):
            if address not in self._sending:
                self._send_next(address)

    def leave(self) -> None:
        """Give messages on their way a few seconds; the others are for the next start."""
        until = self._clock.monotonic() + FAREWELL_S
        try:
            self._collect()
            while self._sending and (left := until - self._clock.monotonic()) > 0:
                self.rest(left)
                self._collect()
        except StoreError as error:
            LOG.warning("alerts: %s; what was on its way will be sent again", error)

    def _look_back(self, now_ms: int) -> None:
        """Note what a crash, another centre's too, or a full queue has left out."""
        first = self._looked_ms is None
        if not first and not self._overflowed and now_ms - (self._looked_ms or 0) < LOOK_EVERY_MS:
            return
        whole = first or self._overflowed
        self._overflowed = False
        since_ms = now_ms - (LOOK_BACK_MS if whole else LOOK_AGAIN_MS)
        while found := records_without_alert(self._engine, since_ms):
            if not self._book.note((alert for record in found for alert in of_record(record)), now_ms):
                break  # another centre was quicker
        self._looked_ms = now_ms

    def _note_records(self, now_ms: int) -> None:
        while batch := [self._queue[index] for index in range(min(BATCH, len(self._queue)))]:
            self._book.note((alert for record in batch for alert in of_record(record)), now_ms)
            for _ in batch:
                self._queue.popleft()

    def _note_alarms(self, now_ms: int) -> None:
        while found := alarms_after(self._engine, self._alarm_seen or 0):
            self._book.note((of_alarm(alarm) for alarm in found), now_ms)
            self._alarm_seen = found[-1].id

    def _send_next(self, address: str) -> None:
        channel = self._addresses.channels[address]
        claimed = self._outbox.claim(address, self._per_minute(address), self._clock.now_ms())
        if claimed is None:
            return
        role = self._settings.named(claimed.role)
        lang = (role and role.lang) or self._settings.spoken
        message = word(claimed.dues, claimed.duties, lang=lang, zone=self._zone)
        sending = _Sending(claimed, self._clock.monotonic())
        self._sending[address] = sending

        def send() -> None:
            sent = channel.send(message)
            sending.ended_ms = self._clock.now_ms()
            sending.sent = sent
            self.wake()

        self._send_in(send)

    def _collect(self) -> None:
        """Settle what has ended, and what should have."""
        for address, sending in list(self._sending.items()):
            took_s = self._clock.monotonic() - sending.began
            if sending.sent is not None:
                if sending.sent.delivered or not sending.given_up:
                    self._settle(sending, sending.sent, sending.ended_ms, took_s)
                del self._sending[address]
            elif took_s > ATTEMPT_S_MAX and not sending.given_up:
                # Its thread is left to itself, and nothing else goes to this address until it ends.
                outcome = f"no answer within {ATTEMPT_S_MAX} s"
                self._settle(sending, Sent(delivered=False, outcome=outcome), self._clock.now_ms(), took_s)
                sending.given_up = True

    def _settle(self, sending: _Sending, sent: Sent, now_ms: int, took_s: float) -> None:
        if not sent.delivered:
            LOG.warning("alerts: %s: %s", sending.claimed.address, sent.outcome)
        self._outbox.settle(
            sending.claimed, delivered=sent.delivered, outcome=sent.outcome, took_ms=round(took_s * 1000),
            now_ms=now_ms,
        )  # fmt: skip

    def _per_minute(self, address: str) -> int:
        urls = {url for url, shown in self._addresses.shown.items() if shown == address}
        return min(role.per_minute for role in self._settings.role if urls.intersection(role.urls))


def _calls_for_something(record: StoredRecord) -> bool:
    return record.abnormal or (record.kind == Kind.VISIT_DECIDED and b'"tasks"' in record.body)


def _usable(settings: AlertSettings) -> Addresses:
    addresses, problems = open_addresses(settings)
    for problem in problems:
        LOG.error("%s; nobody is told there", problem)
    return addresses
