"""The book of commands: each made, counted, signed and kept in one transaction, before it is sent.

The counter of a gate's commands is the time in milliseconds, or one more than the last: so it rises with
several operators at once, and also when the centre has been restored from a backup that is older than the
last commands (the gate would refuse what does not come above them).
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, exists, func, insert, select, text

from central.orders.answers import Answer, Body, Reply, answer, replies
from central.orders.tables import ANSWERING, commands, sendings
from central.store.contents import states
from central.store.engine import reading, writing
from central.store.streams import Stream, everything, insert_new, of_row
from central.store.tables import records, streams
from gate.core.commands import COUNTER_MAX, LIFE_S_MAX, Address, Command, Name

EARLY_S: Final = 60
"""How far a gate's clock may be behind: a command is valid from so long before it was made."""

EXPIRES_S_MAX: Final = LIFE_S_MAX - EARLY_S


class NotMadeError(Exception):
    """There is no such command for this gate; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants a gate to do. `args`: see `gate.core.commands.Name`.

    `source`: the name of the file whose text is among them, "" without one.
    """

    site: str
    gate: str
    name: Name
    args: Mapping[str, str | int]
    source: str
    by: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Order:
    """One command as it is kept, and how it stands. Times: unix milliseconds.

    It is void from `expires_ms` on. `sent`: how often it was published, the last time at `sent_ms`.
    """

    id: str
    site: str
    gate: str
    epoch: str
    counter: int
    after: int
    name: Name
    summary: str
    made_by: str
    made_ms: int
    expires_ms: int
    message: bytes
    sent: int
    sent_ms: int | None
    answer: Answer | None


VERSION_WORD: Final = "to "


def in_a_line(args: Mapping[str, str | int], source: str = "") -> str:
    """Return what a command says besides its name; of a file where it came from, and which bytes these were.

    `central verify` holds what is kept against it: all of it but for `source`, which nobody signs.
    """
    if "text" in args:
        body = str(args["text"]).encode()
        return f"{source}, {len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()[:16]}"
    if "version" in args:
        return f"{VERSION_WORD}{args['version']}"
    return f"after {args['after']}" if "after" in args else str(args.get("reason", ""))


def make(
    engine: Engine,
    centre_key: Ed25519PrivateKey,
    wanted: Wanted,
    now_ms: int,
    *,
    new_id: Callable[[], str] = lambda: secrets.token_hex(8),
) -> str:
    """Make a command for the gate's present ledger, and keep it; return its id.

    Raises NotMadeError when there is no such command or nothing is known of the gate, StoreError when the
    store cannot be used.
    """
    with writing(engine) as connection:
        ledger = _present_ledger(connection, wanted.site, wanted.gate)
        counter = _next_counter(connection, wanted, now_ms)
        now_s = now_ms // 1000
        expires = now_s + wanted.expires_s
        try:
            command = Command(
                id=new_id(),
                to=Address(wanted.site, wanted.gate, ledger.epoch),
                counter=counter,
                not_before=now_s - EARLY_S,
                expires=expires,
                name=wanted.name,
                args=wanted.args,
            )
            message = command.signed(centre_key)
        except ValueError as error:
            raise NotMadeError(f"{wanted.name}: {error}") from error
        summary = in_a_line(wanted.args, wanted.source)
        connection.execute(
            insert(commands).values(
                id=command.id, site=wanted.site, gate=wanted.gate, epoch=ledger.epoch, counter=counter,
                after=ledger.top, name=str(wanted.name), summary=summary, made_by=wanted.by,
                made_ms=now_ms, expires_ms=(expires + 1) * 1000, message=message,
            )
        )  # fmt: skip
    return command.id


def _present_ledger(connection: Connection, site: str, gate: str) -> Stream:
    """Return the ledger that the gate writes now, and hold its row: one operator at a time counts."""
    of_gate = everything().where(streams.c.site == site, streams.c.gate == gate)
    rows = connection.execute(of_gate.order_by(streams.c.id).with_for_update(of=streams))
    # Anybody who reaches the broker can begin a ledger; only the gate can sign for one.
    signed = [stream for stream in map(of_row, rows) if stream.vouched]
    if not signed:
        raise NotMadeError(f"{site}/{gate} has never sent a checkpoint that is believed; see: central status")
    return max(signed, key=lambda stream: (not stream.successor, stream.heard_ms or 0))


def _next_counter(connection: Connection, wanted: Wanted, now_ms: int) -> int:
    highest = select(func.max(commands.c.counter)).where(
        commands.c.site == wanted.site, commands.c.gate == wanted.gate
    )
    counter = max(now_ms, (connection.scalar(highest) or 0) + 1)
    if counter > COUNTER_MAX:
        raise NotMadeError("the centre's clock is wrong by ages; set it")
    return counter


def claim(engine: Engine, order: Order, now_ms: int) -> bool:
    """Note that this order is sent once more; False when another centre was quicker."""
    with writing(engine) as connection:
        row = {"command": order.id, "n": order.sent + 1, "at_ms": now_ms}
        return insert_new(connection, sendings, [row]) == 1


# Reading


def find(engine: Engine, id_: str) -> Order | None:
    """Return one command and how it stands. Raises StoreError."""
    return next(iter(_read(engine, commands.c.id == id_)), None)


def in_force(engine: Engine, now_ms: int) -> list[Order]:
    """Return the commands that are not void yet, by gate, in the order of their counters."""
    return _read(engine, commands.c.expires_ms > now_ms)


def void_since(
    engine: Engine, since_ms: int, now_ms: int, *, with_those_from: Collection[str] = ()
) -> list[Order]:
    """Return the commands that have become void in this span (its end included), likewise.

    And those of the same gates, void for longer, from the commands with these ids on.
    """
    first = commands.alias()
    from_there = exists().where(
        first.c.id.in_(with_those_from),
        first.c.site == commands.c.site,
        first.c.gate == commands.c.gate,
        first.c.counter <= commands.c.counter,
    )
    wanted = commands.c.expires_ms > since_ms
    if with_those_from:
        wanted |= from_there
    return _read(engine, wanted, commands.c.expires_ms <= now_ms)


def newest(engine: Engine, count: int, site: str | None = None, gate: str | None = None) -> list[Order]:
    """Return the newest commands, of one site or gate if it is named; the oldest of them first."""
    where = [column == value for column, value in ((commands.c.site, site), (commands.c.gate, gate)) if value]
    found = _read(engine, *where, count=count)
    return sorted(found, key=lambda order: (order.made_ms, order.counter))


def newest_updates(engine: Engine) -> list[Order]:
    """Return the newest `update` of each gate that was ever given one."""
    other = commands.alias()
    last = select(func.max(other.c.counter)).where(
        other.c.site == commands.c.site, other.c.gate == commands.c.gate, other.c.name == str(Name.UPDATE)
    )
    return _read(engine, commands.c.name == str(Name.UPDATE), commands.c.counter == last.scalar_subquery())


_OF_COMMAND: Final = sendings.c.command == commands.c.id
_SENT_LAST: Final = select(sendings.c.at_ms).where(_OF_COMMAND).order_by(sendings.c.n.desc()).limit(1)
_ORDERS: Final[Select[Any]] = select(
    commands,
    select(func.count()).where(_OF_COMMAND).scalar_subquery().label("sent"),
    _SENT_LAST.scalar_subquery().label("sent_ms"),
)


def _read(engine: Engine, *where: ColumnElement[bool], count: int | None = None) -> list[Order]:
    wanted = _ORDERS.where(*where)
    if count is not None:
        wanted = wanted.order_by(commands.c.made_ms.desc(), commands.c.counter.desc()).limit(count)
    with reading(engine) as connection:
        rows = connection.execute(wanted).all()
        ordered = sorted(rows, key=lambda row: (row.site, row.gate, row.counter))
        return [
            order
            for _, own in groupby(ordered, key=lambda row: (row.site, row.gate))
            for order in _of_gate(connection, list(own))
        ]


def _of_gate(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[Order]:
    """Yield commands of one gate with what its records say of them."""
    said: dict[str, list[Reply]] = {row.id: [] for row in rows}
    for reply in replies(_answering(connection, rows)):
        if reply.id in said:
            said[reply.id].append(reply)
    for row in rows:
        name = Name(row.name)
        yield Order(
            id=row.id, site=row.site, gate=row.gate, epoch=row.epoch, counter=row.counter, after=row.after,
            name=name, summary=row.summary, made_by=row.made_by, made_ms=row.made_ms,
            expires_ms=row.expires_ms, message=bytes(row.message), sent=row.sent, sent_ms=row.sent_ms,
            answer=answer(name, said[row.id]),
        )  # fmt: skip


def _answering(connection: Connection, rows: Sequence[Row[Any]]) -> Iterable[Body]:
    """Yield the records of one gate that may answer these commands, in order.

    A gate answers in the ledger that it writes: the first that a command was for, behind what had come of
    that by then, or one that follows.
    """
    after: dict[str, int] = {}
    for row in rows:
        after[row.epoch] = min(row.after, after.get(row.epoch, row.after))
    ledgers = states(connection, rows[0].site, rows[0].gate)
    place = next((place for place, ledger in enumerate(ledgers) if ledger.epoch in after), 0)
    wanted = select(
        records.c.seq, records.c.kind, records.c.body, records.c.hash.is_not(None).label("linked")
    )
    for number, ledger in enumerate(ledgers[place:]):
        behind = 0 if number else after.get(ledger.epoch, 0)
        found = wanted.where(records.c.stream == ledger.id, records.c.seq > behind, text(ANSWERING))
        for row in connection.execute(found.order_by(records.c.seq)):
            yield Body(ledger.epoch, row.seq, row.kind, bytes(row.body), row.linked, row.seq <= ledger.proved)
