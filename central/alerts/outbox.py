"""What is due to whom: read from the tables, claimed by one centre, settled with an outcome.

A delivery (one alert to one address of one role) is `waiting` with an instant at which it is due, then
`delivered`, or `dropped` with a reason in the log. Claiming it moves the instant on by a lease, so that
another centre, or this one after a crash, takes it up again: sending is at least once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Boolean, Connection, Engine, bindparam, func, insert, select, update

from central.alerts.book import call_in
from central.alerts.packing import MINUTE_MS, Due, Recent, plan, ranges, retry_ms
from central.alerts.routing import Routing
from central.alerts.rules import Alert, AlertKind, Severity, Source
from central.alerts.tables import alerts, attempts, deliveries, steps, tasks
from central.store.engine import reading, writing

LEASE_MS: Final = 60_000  # longer than any attempt (`send.ATTEMPT_S_MAX`)
GIVE_UP_MS: Final = 72 * 3_600_000  # an address that has not answered for three days is wrong
DUE_MAX: Final = 5_000  # looked at in one round
_CHUNK: Final = 500  # SQLite takes a few thousand parameters
_OUTCOME_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """One message that this centre alone is to send now. `duties`: open tasks (rule, zh, en) by alert."""

    address: str
    role: str
    dues: tuple[Due, ...]
    duties: tuple[tuple[str, str, str], ...]


class Outbox:
    """The deliveries of one centre's database. Several centres may send from one."""

    def __init__(self, engine: Engine, routing: Routing) -> None:
        self._engine = engine
        self._routing = routing

    def reroute(self, now_ms: int) -> int:
        """Send what waits for addresses that are no longer configured where its roles are reached today.

        Returns how many deliveries were dropped. Once at start: the configuration does not change later.
        Without any address at all, they wait for a configuration that has one.
        """
        if not self._routing.all_addresses():
            return 0
        gone = deliveries.c.address.not_in(self._routing.all_addresses())
        with writing(self._engine) as connection:
            dropped = connection.execute(
                update(deliveries)
                .where(deliveries.c.state == "waiting", gone)
                .values(state="dropped", next_ms=None)
                .returning(
                    deliveries.c.alert_id, deliveries.c.role, deliveries.c.address, deliveries.c.escalated
                )
            ).all()
            for row in dropped:
                self._rerouted(connection, row, now_ms)
        return len(dropped)

    def escalate(self, now_ms: int) -> int:
        """Call in the next role wherever nobody has answered in time; return how often."""
        with reading(self._engine) as connection:
            overdue = select(steps.c.alert_id).where(steps.c.escalate_ms <= now_ms).limit(1)
            if connection.scalar(overdue) is None:
                return 0
        with writing(self._engine) as connection:
            over = connection.execute(
                update(steps)
                .where(steps.c.escalate_ms <= now_ms)
                .values(escalate_ms=None)
                .returning(steps.c.alert_id, steps.c.role)
            ).all()
            for alert_id, name in sorted(over):
                role = self._routing.next_after(name)
                if role is not None:
                    call_in(connection, self._routing, alert_id, role, now_ms, escalated=True)
        return len(over)

    def addresses_due(self, now_ms: int) -> list[str]:
        """Return the addresses for which something is due."""
        query = (
            select(deliveries.c.address)
            .where(deliveries.c.address.in_(self._routing.all_addresses()), deliveries.c.next_ms <= now_ms)
            .distinct()
        )
        with reading(self._engine) as connection:
            return sorted(connection.scalars(query))

    def claim(self, address: str, per_minute: int, now_ms: int) -> Claimed | None:
        """Return the next message for an address, for this centre alone until the lease is over."""
        with reading(self._engine) as connection:
            due = _due(connection, address, now_ms)
            recent = _recent(connection, address, now_ms)
        chosen = plan(due, recent, now_ms, per_minute)
        if not (chosen.send or chosen.hold):
            return None
        with writing(self._engine) as connection:
            for until_ms, held in chosen.hold:
                _move(connection, held, until_ms, now_ms)
            mine = _move(connection, chosen.send, now_ms + LEASE_MS, now_ms)
            send = tuple(one for one in chosen.send if one.delivery in mine)
            duties = _duties(connection, [one.alert for one in send])
        return Claimed(address, send[0].role, send, duties) if send else None

    def settle(self, claimed: Claimed, *, delivered: bool, outcome: str, took_ms: int, now_ms: int) -> None:
        """Write into the log what became of a message, and when those that failed are tried again."""
        with writing(self._engine) as connection:
            connection.execute(insert(attempts), [_attempt(claimed, delivered, outcome, took_ms, now_ms)])
            rows = [_settled(one, delivered, now_ms) for one in claimed.dues]
            connection.execute(_SETTLE, rows)

    def _rerouted(self, connection: Connection, row: Any, now_ms: int) -> None:
        role = self._routing.named(row.role)
        alert = connection.execute(select(alerts).where(alerts.c.id == row.alert_id)).one()
        roles = (role,) if role else self._routing.told(_alert(alert))
        for called in roles:
            call_in(connection, self._routing, row.alert_id, called, now_ms, escalated=row.escalated)
        if alert.acked_ms is not None:
            unneeded = update(steps).where(steps.c.alert_id == row.alert_id).values(escalate_ms=None)
            connection.execute(unneeded)
        log = _log_row(row.address, row.role, "", str(row.alert_id), 1)
        outcome = "this address is no longer configured"
        connection.execute(
            insert(attempts), [{**log, "at_ms": now_ms, "took_ms": 0, "delivered": False, "outcome": outcome}]
        )


_SETTLE: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"))
    # What was acknowledged meanwhile stays dropped, unless it has arrived after all.
    .where((deliveries.c.state == "waiting") | bindparam("arrived", type_=Boolean))
    .values(
        state=bindparam("new_state"),
        tries=bindparam("new_tries"),
        next_ms=bindparam("new_next_ms"),
        delivered_ms=bindparam("new_delivered_ms"),
        delay_ms=bindparam("new_delay_ms"),
    )
)


def _due(connection: Connection, address: str, now_ms: int) -> list[Due]:
    query = (
        select(alerts, deliveries.c.id.label("delivery"), deliveries.c.role, deliveries.c.tries)
        .add_columns(deliveries.c.escalated)
        .join(alerts, alerts.c.id == deliveries.c.alert_id)
        .where(deliveries.c.address == address, deliveries.c.next_ms <= now_ms)
        .order_by(deliveries.c.next_ms, deliveries.c.id)
        .limit(DUE_MAX)
    )
    return [
        Due(
            delivery=row.delivery, alert=row.id, role=row.role, site=row.site, gate=row.gate,
            kind=AlertKind(row.kind), severity=Severity(row.severity), zh=row.zh, en=row.en,
            rules=tuple(row.rules.split()), event_ms=row.event_ms, clock_trusted=row.clock_trusted,
            noted_ms=row.noted_ms, acknowledged_by=row.acked_by, escalated=row.escalated, tries=row.tries,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def _recent(connection: Connection, address: str, now_ms: int) -> list[Recent]:
    query = select(attempts.c.at_ms, attempts.c.role, attempts.c.about, attempts.c.delivered).where(
        attempts.c.address == address, attempts.c.at_ms > now_ms - MINUTE_MS
    )
    return [Recent(*row) for row in connection.execute(query)]


def _move(connection: Connection, dues: Sequence[Due], until_ms: int, now_ms: int) -> set[int]:
    """Make these due at another time; return those that were still due, and so are ours."""
    mine: set[int] = set()
    for chunk in _chunks([one.delivery for one in dues]):
        moved = (
            update(deliveries)
            .where(deliveries.c.id.in_(chunk), deliveries.c.next_ms <= now_ms)
            .values(next_ms=until_ms)
            .returning(deliveries.c.id)
        )
        mine.update(connection.scalars(moved))
    return mine


def _duties(connection: Connection, alert_ids: Sequence[int]) -> tuple[tuple[str, str, str], ...]:
    found: dict[tuple[str, str, str], None] = {}
    for chunk in _chunks(alert_ids):
        query = (
            select(tasks.c.rule, tasks.c.zh, tasks.c.en)
            .where(tasks.c.alert_id.in_(chunk), tasks.c.done_ms.is_(None))
            .group_by(tasks.c.rule, tasks.c.zh, tasks.c.en)
            .order_by(func.min(tasks.c.id))
        )
        found |= dict.fromkeys((row[0], row[1], row[2]) for row in connection.execute(query))
    return tuple(found)


def _settled(one: Due, delivered: bool, now_ms: int) -> dict[str, Any]:
    known = one.clock_trusted and one.event_ms is not None
    given_up = not delivered and now_ms - one.noted_ms >= GIVE_UP_MS
    waiting = not (delivered or given_up)
    return {
        "delivery": one.delivery,
        "arrived": delivered,
        "new_state": "waiting" if waiting else "delivered" if delivered else "dropped",
        "new_tries": one.tries + (not delivered),
        "new_next_ms": now_ms + retry_ms(one.tries) if waiting else None,
        "new_delivered_ms": now_ms if delivered else None,
        "new_delay_ms": now_ms - one.event_ms if delivered and known and one.event_ms is not None else None,
    }


def _attempt(claimed: Claimed, delivered: bool, outcome: str, took_ms: int, now_ms: int) -> dict[str, Any]:
    about = {one.about for one in claimed.dues}
    numbers = sorted(one.alert for one in claimed.dues)
    log = _log_row(
        claimed.address, claimed.role, about.pop() if len(about) == 1 else "", ranges(numbers), len(numbers)
    )
    return {
        **log,
        "at_ms": now_ms,
        "took_ms": took_ms,
        "delivered": delivered,
        "outcome": outcome[:_OUTCOME_MAX],
    }


def _log_row(address: str, role: str, about: str, numbers: str, count: int) -> dict[str, Any]:
    return {"address": address, "role": role, "about": about, "alerts": numbers, "count": count}


def _chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))


def _alert(row: Any) -> Alert:
    kind, severity = AlertKind(row.kind), Severity(row.severity)
    return Alert(
        Source(row.source),
        row.site,
        row.gate,
        row.epoch,
        row.seq,
        kind,
        severity,
        row.zh,
        row.en,
        row.event_ms,
    )
