"""How the gates stand with their versions, read from the book of commands and the gates' own records.

Nothing is kept here: what was asked for stands in the book, what came of it in the gate's records (types
`hg.command.v1`, that it was heard, and `hg.update.v1`), and which version runs in its `hg.gate.started.v1`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, select, text

from central.orders import book
from central.orders.book import Order
from central.store.contents import states
from central.store.engine import reading
from central.store.model import GateKey
from central.store.tables import records
from central.updates.settings import RingSettings
from central.updates.tables import VERSIONS
from gate.core.events import Kind, Outcome
from gate.core.updates import UpdateOutcome

T = TypeVar("T")


class State(StrEnum):
    """How the last update of a gate stands. After the first four something may still come of it."""

    ASKED = "asked"
    """The gate has not answered yet."""
    TAKEN = "taken"
    """It is on record there; nothing has come of it yet."""
    WAITING = "waiting"
    UNPROVED = "unproved"
    """What came of it is here, and the gate has not signed for it yet."""
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    VOID = "void"
    """The gate has never answered, or could not obey; say it again."""


FAILED: Final = frozenset({State.ROLLED_BACK, State.REFUSED})
OPEN: Final = frozenset({State.ASKED, State.TAKEN, State.WAITING, State.UNPROVED})


@dataclass(frozen=True, slots=True)
class Reported:
    """What a gate's record says of an update. `proved`: the gate has signed for it."""

    command: str
    outcome: UpdateOutcome
    detail: str
    seq: int
    proved: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """One gate. `runs`: the version that has started last, "" for none known.

    `wanted`: the version of its last order; without one that is "", and there is no state.
    """

    site: str
    gate: str
    runs: str
    wanted: str
    order: Order | None
    reported: Reported | None
    state: State | None

    @property
    def detail(self) -> str:
        """The reason, where there is one."""
        if self.reported is not None:
            return self.reported.detail
        answer = self.order and self.order.answer
        return answer.reason if answer else ""


def standings(engine: Engine, keys: Sequence[GateKey], now_ms: int) -> list[Standing]:
    """Return how each gate stands whose key is believed, by site and gate. Raises StoreError."""
    orders = {(order.site, order.gate): order for order in book.newest_updates(engine)}
    names = sorted({(key.site, key.gate) for key in keys if key.revoked_ms is None})
    with reading(engine) as connection:
        return [_standing(connection, name, orders.get(name), now_ms) for name in names]


def members(ring: RingSettings, gates: Sequence[Standing]) -> list[Standing]:
    """Return the gates of a ring."""
    return [gate for gate in gates if ring.holds(gate.site, gate.gate)]


def objection(version: str, ring: str, rings: Sequence[RingSettings], gates: Sequence[Standing]) -> str:
    """Return why a ring should not get this version now, "" when nothing speaks against it. Pure.

    A version that one gate had to undo goes no further, and each ring waits until one gate of every ring
    before it has done it.
    """
    tried = [gate for gate in gates if gate.wanted == version]
    for gate in tried:
        if gate.state in FAILED:
            return f"{gate.site}/{gate.gate}: {version} was {_said(gate)}"
    for earlier in rings[: [each.name for each in rings].index(ring)]:
        there = members(earlier, gates)
        if there and not any(gate.wanted == version and gate.state is State.DONE for gate in there):
            return f"no gate of the ring {earlier.name!r}, which comes before, has done {version} yet"
    return ""


def _said(gate: Standing) -> str:
    words = "rolled back" if gate.state is State.ROLLED_BACK else "refused"
    return f"{words} ({gate.detail})" if gate.detail else words


def _standing(connection: Connection, name: tuple[str, str], order: Order | None, now_ms: int) -> Standing:
    found = list(_said_of_versions(connection, *name))
    runs = next((runs for runs in map(_started, found) if runs), "")
    if order is None:
        return Standing(*name, runs, "", None, None, None)
    reported = next(
        (said for said in map(_reported, found) if said is not None and said.command == order.id), None
    )
    version = order.summary.removeprefix(book.VERSION_WORD)
    return Standing(*name, runs, version, order, reported, _state(order, reported, now_ms))


def _state(order: Order, reported: Reported | None, now_ms: int) -> State:
    if reported is not None and reported.outcome is UpdateOutcome.WAITING:
        return State.WAITING
    if reported is not None:
        return State(reported.outcome) if reported.proved else State.UNPROVED
    if order.answer is None:
        return State.VOID if now_ms >= order.expires_ms else State.ASKED
    return State.TAKEN if order.answer.outcome is Outcome.DONE else State.VOID


@dataclass(frozen=True, slots=True)
class _Record:
    kind: str
    data: Mapping[str, Any]
    seq: int
    proved: bool


def _said_of_versions(connection: Connection, site: str, gate: str) -> Iterator[_Record]:
    """Yield the records of a gate that tell of versions, newest first, as far as its ledgers are linked."""
    wanted = select(records.c.seq, records.c.kind, records.c.body).where(
        records.c.hash.is_not(None), text(VERSIONS)
    )
    for ledger in reversed(states(connection, site, gate)):
        of_ledger = wanted.where(records.c.stream == ledger.id).order_by(records.c.seq.desc())
        for row in connection.execute(of_ledger.limit(_LOOK_BACK)):
            data = _of(row.body, lambda event: dict(event["data"]))
            if data is not None:
                yield _Record(row.kind, data, row.seq, row.seq <= ledger.proved)


_LOOK_BACK: Final = 200
"""So many starts and updates of one ledger are looked through: a gate that falls all day has many."""


def _of(body: bytes, read: Callable[[Any], T]) -> T | None:
    """Return what a record says, None when it is retired or altered; `central verify` finds the latter."""
    try:
        return read(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _started(record: _Record) -> str:
    version = record.data.get("version")
    return version if record.kind == Kind.GATE_STARTED and isinstance(version, str) else ""


def _reported(record: _Record) -> Reported | None:
    if record.kind != Kind.UPDATE:
        return None
    try:
        outcome = UpdateOutcome(record.data["outcome"])
        command, detail = record.data["command"], str(record.data.get("detail", ""))
    except (KeyError, ValueError, TypeError):
        return None
    return Reported(str(command), outcome, detail, record.seq, record.proved)
