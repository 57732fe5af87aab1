"""Alerts and their tasks, from the moment that they are noted until they are closed.

    open ----------- acknowledged ----- closed
      \\ nobody answers: the next role is called in (`central.alerts.outbox`)

An alert is noted once, however often its record comes and however many centres note it. It is acknowledged
by one person; it is closed when it is acknowledged and every task that came with it is ticked off. A task is
there once for each visit and rule of the plan, although a visit has several records.

All of it lives in the tables, so that a restart changes nothing. Times are arguments, unix milliseconds.
Every method may raise StoreError: then nothing of it was done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, and_, exists, func, select, update

from central.alerts.duties import duty
from central.alerts.routing import Routing
from central.alerts.rules import Alert, AlertKind, Severity, Source, own_repeat
from central.alerts.settings import Role
from central.alerts.tables import alerts, deliveries, steps, tasks
from central.orders.tables import commands, sendings
from central.store.engine import insert_unless_there, reading, writing

NAME_MAX: Final = 64
_IDENTITY: Final = ("source", "site", "gate", "epoch", "seq", "kind")


@dataclass(frozen=True, slots=True)
class NotedAlert:
    """An alert in the book. `told`: how many addresses it has reached, of how many it is to reach.

    `delay_ms`: from the event to the first delivery; None before it, and where the gate's clock was unsure.
    """

    id: int
    source: Source
    site: str
    gate: str
    epoch: str
    seq: int
    kind: AlertKind
    severity: Severity
    zh: str
    en: str
    rules: tuple[str, ...]
    event_ms: int | None
    clock_trusted: bool
    noted_ms: int
    acknowledged_by: str | None
    acknowledged_ms: int | None
    roles: tuple[str, ...]
    told: int
    to_tell: int
    delay_ms: int | None


@dataclass(frozen=True, slots=True)
class OpenTask:
    """Something that is still to be done, for a visit or, where there is none, for a record."""

    id: int
    alert_id: int
    site: str
    gate: str
    visit: str
    rule: str
    zh: str
    en: str
    opened_ms: int


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an answer: `by` and `at_ms` are those of the first one, which counts."""

    fresh: bool
    by: str
    at_ms: int


class UnknownNumberError(LookupError):
    """There is no alert, or no task, of this number."""


class Book:
    """The alerts of one centre's database. Several centres may keep one book."""

    def __init__(self, engine: Engine, routing: Routing | None = None) -> None:
        self._engine = engine
        self._routing = routing or Routing()

    def note(self, found: Iterable[Alert], now_ms: int) -> int:
        """Write down what is not there yet, with whom to tell and what to do; return how many were new."""
        by_identity = {_identity(alert): alert for alert in found}
        if not by_identity:
            return 0
        with writing(self._engine) as connection:
            by_identity = _milder(connection, by_identity)
            new = self._insert_new(connection, by_identity, now_ms)
            for alert_id, alert in new:
                for role in self._routing.told(alert):
                    call_in(connection, self._routing, alert_id, role, now_ms)
                _open_tasks(connection, alert_id, alert, now_ms)
        return len(new)

    def acknowledge(self, alert_id: int, by: str, now_ms: int) -> Answered:
        """Note who has taken an alert on; nobody further is called in. Raises UnknownNumberError.

        Roles that a rule names are still told, each once: they have to know in any case.
        """
        with writing(self._engine) as connection:
            answered = _answer(connection, alerts, alert_id, by, now_ms)
            if answered.fresh:
                connection.execute(update(steps).where(steps.c.alert_id == alert_id).values(escalate_ms=None))
                connection.execute(
                    update(deliveries)
                    .where(deliveries.c.alert_id == alert_id, deliveries.c.escalated)
                    .where(deliveries.c.state == "waiting")
                    .values(state="dropped", next_ms=None)
                )
                _close(connection, alert_id, now_ms)
        return answered

    def finish(self, task_id: int, by: str, now_ms: int) -> Answered:
        """Note who has done a task. Raises UnknownNumberError."""
        with writing(self._engine) as connection:
            answered = _answer(connection, tasks, task_id, by, now_ms)
            if answered.fresh:
                alert_id = connection.scalar(select(tasks.c.alert_id).where(tasks.c.id == task_id))
                _close(connection, alert_id, now_ms)
        return answered

    def alike(self, alert_id: int) -> list[int]:
        """Return the numbers of the unanswered alerts of the same gate and kind, this one included."""
        with reading(self._engine) as connection:
            this = connection.execute(select(alerts).where(alerts.c.id == alert_id)).one_or_none()
            if this is None:
                raise UnknownNumberError(alert_id)
            same = and_(alerts.c.site == this.site, alerts.c.gate == this.gate, alerts.c.kind == this.kind)
            query = select(alerts.c.id).where(same, alerts.c.acked_ms.is_(None)).order_by(alerts.c.id)
            return list(connection.scalars(query))

    def open_alerts(self) -> list[NotedAlert]:
        """Return the alerts that are not closed, oldest first."""
        query = select(alerts).where(alerts.c.closed_ms.is_(None)).order_by(alerts.c.id)
        reached = (
            select(deliveries)
            .join(alerts, alerts.c.id == deliveries.c.alert_id)
            .where(alerts.c.closed_ms.is_(None))
        )
        with reading(self._engine) as connection:
            told: dict[int, list[Any]] = {}
            for delivery in connection.execute(reached):
                told.setdefault(delivery.alert_id, []).append(delivery)
            return [_noted(row, told.get(row.id, [])) for row in connection.execute(query)]

    def open_tasks(self) -> list[OpenTask]:
        """Return the tasks that nobody has ticked off, oldest first."""
        columns = [tasks.c[name] for name in OpenTask.__dataclass_fields__]
        query = select(*columns).where(tasks.c.done_ms.is_(None)).order_by(tasks.c.id)
        with reading(self._engine) as connection:
            return [OpenTask(*row) for row in connection.execute(query)]

    def _insert_new(
        self, connection: Connection, by_identity: dict[tuple[Any, ...], Alert], now_ms: int
    ) -> list[tuple[int, Alert]]:
        # In one order everywhere: two centres that note the same alerts must not wait for each other.
        rows = [_row(by_identity[identity], now_ms) for identity in sorted(by_identity)]
        statement = insert_unless_there(connection, alerts).returning(
            alerts.c.id, *(alerts.c[name] for name in _IDENTITY)
        )
        return sorted(
            ((row[0], by_identity[tuple(row[1:])]) for row in connection.execute(statement, rows)),
            key=lambda new: new[0],
        )


def _milder(
    connection: Connection, by_identity: dict[tuple[Any, ...], Alert]
) -> dict[tuple[Any, ...], Alert]:
    """Return the alerts, those of repetitions that were the centre's own as what they are."""
    replayed = {alert.replayed for alert in by_identity.values() if alert.replayed}
    if not replayed:
        return by_identity
    # A sending is written down before it is sent, so the second one is here before its refusal can be.
    repeated = (
        select(commands.c.site, commands.c.gate, commands.c.id)
        .join(sendings, sendings.c.command == commands.c.id)
        .where(commands.c.id.in_(sorted(replayed)))
        .group_by(commands.c.site, commands.c.gate, commands.c.id)
        .having(func.count() > 1)
    )
    ours = {tuple(row) for row in connection.execute(repeated)}
    return {
        identity: own_repeat(alert) if (alert.site, alert.gate, alert.replayed) in ours else alert
        for identity, alert in by_identity.items()
    }


def call_in(
    connection: Connection,
    routing: Routing,
    alert_id: int,
    role: Role,
    now_ms: int,
    *,
    escalated: bool = False,
) -> None:
    """Have a role told of an alert, and the next one if it does not answer; once, however often called."""
    last = routing.next_after(role.name) is None
    step = {
        "alert_id": alert_id,
        "role": role.name,
        "began_ms": now_ms,
        "escalate_ms": None if last else now_ms + role.after_s * 1000,
    }
    connection.execute(insert_unless_there(connection, steps), [step])
    connection.execute(
        insert_unless_there(connection, deliveries),
        [
            {
                "alert_id": alert_id, "role": role.name, "address": address, "escalated": escalated,
                "state": "waiting", "tries": 0, "next_ms": now_ms,
            }
            for address in routing.addresses(role)
        ],
    )  # fmt: skip


def _identity(alert: Alert) -> tuple[Any, ...]:
    return (str(alert.source), alert.site, alert.gate, alert.epoch, alert.seq, str(alert.kind))


def _row(alert: Alert, now_ms: int) -> dict[str, Any]:
    return {
        **dict(zip(_IDENTITY, _identity(alert), strict=True)),
        "severity": str(alert.severity), "zh": alert.zh, "en": alert.en, "rules": " ".join(alert.rules),
        "event_ms": alert.at_ms, "clock_trusted": alert.clock_trusted, "noted_ms": now_ms,
    }  # fmt: skip


def _open_tasks(connection: Connection, alert_id: int, alert: Alert, now_ms: int) -> None:
    if not alert.tasks:
        return
    rows = []
    for rule in alert.tasks:
        words = duty(alert.policy, rule)
        rows.append({
            "alert_id": alert_id, "site": alert.site, "gate": alert.gate, "epoch": alert.epoch,
            "visit": alert.visit or f"#{alert.seq}", "rule": rule, "zh": words.zh, "en": words.en,
            "opened_ms": now_ms,
        })  # fmt: skip
    connection.execute(insert_unless_there(connection, tasks), rows)


def _answer(connection: Connection, table: Table, number: int, by: str, now_ms: int) -> Answered:
    """Write the first answer and keep it: of two people who answer at once, one is told of the other."""
    who, when = (
        (table.c.acked_by, table.c.acked_ms) if table is alerts else (table.c.done_by, table.c.done_ms)
    )
    written = connection.execute(
        update(table).where(table.c.id == number, when.is_(None)).values({who: by, when: now_ms})
    )
    row = connection.execute(select(who, when).where(table.c.id == number)).one_or_none()
    if row is None:
        raise UnknownNumberError(number)
    return Answered(fresh=written.rowcount == 1, by=row[0], at_ms=row[1])


def _close(connection: Connection, alert_id: int | None, now_ms: int) -> None:
    """Close an alert that is acknowledged and has no task left."""
    # Two people who do the last two things at once must see each other.
    connection.execute(select(alerts.c.id).where(alerts.c.id == alert_id).with_for_update())
    left = exists().where(tasks.c.alert_id == alerts.c.id, tasks.c.done_ms.is_(None))
    connection.execute(
        update(alerts)
        .where(alerts.c.id == alert_id, alerts.c.acked_ms.is_not(None), alerts.c.closed_ms.is_(None), ~left)
        .values(closed_ms=now_ms)
    )


def _noted(row: Any, told: Sequence[Any]) -> NotedAlert:
    delays = [delivery.delay_ms for delivery in told if delivery.delay_ms is not None]
    return NotedAlert(
        id=row.id, source=Source(row.source), site=row.site, gate=row.gate, epoch=row.epoch, seq=row.seq,
        kind=AlertKind(row.kind), severity=Severity(row.severity), zh=row.zh, en=row.en,
        rules=tuple(row.rules.split()), event_ms=row.event_ms, clock_trusted=row.clock_trusted,
        noted_ms=row.noted_ms, acknowledged_by=row.acked_by, acknowledged_ms=row.acked_ms,
        roles=tuple(dict.fromkeys(delivery.role for delivery in told)),
        told=sum(delivery.state == "delivered" for delivery in told), to_tell=len(told),
        delay_ms=min(delays, default=None),
    )  # fmt: skip
