"""Who was inside while somebody was: the contacts of one person (CH-5).

For each stay of the person: who else was inside the same site at some instant of it, when and through which
gates each of them came and left, so that the pictures of those instants can be looked up. Whoever came
without a code is in it by the name of the visit. What a gate with an untrusted clock says may have been at
any time between what it states and when it came.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from central.people.presence import Presence, Stay, presences, whose
from central.people.sightings import Lost, ledgers, rows
from central.people.subjects import Subject
from central.people.visits import Visit, visits, visits_of_subject
from central.store import Store
from central.store.engine import reading
from gate.core.events import Kind
from gate.core.evidence import Direction

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody who was inside at the same time; `from_ms` to `until_ms` is the time that both have shared."""

    presence: Presence
    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Shared:
    """One stay of the person, and who was inside meanwhile, by the time that they began to share.

    `leavers`: who left without a code meanwhile; they are among the contacts as those who came. `fires`: when
    and at which gate a fire alarm began or ended, with the arm free in between for anybody, unseen.
    """

    presence: Presence
    contacts: tuple[Contact, ...]
    leavers: tuple[Visit, ...]
    fires: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Trace:
    """The answer. `visits`: all visits of the person in the span, also those that ended at the gate."""

    visits: list[Visit] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    lost: Lost = field(default_factory=Lost)


def trace(
    store: Store, subject: Subject, stay: Stay, from_ms: int, to_ms: int, site: str | None = None
) -> Trace:
    """Follow one person through a span (the end excluded). Raises StoreError.

    Reads all records of the sites where the person was, of the time of each stay.
    """
    found = Trace()
    # Who came in before the span was inside when it began.
    since_ms = from_ms - stay.longest_h * _HOUR_MS
    with reading(store.engine) as connection:
        own = visits_of_subject(connection, subject, site, since_ms, to_ms, found.lost)
        found.visits = [visit for visit in own if visit.first.latest_ms >= from_ms]
        for presence in _by_time(presences(own, stay, lambda _: subject.reference)):
            if presence.until_ms >= from_ms:
                others = _others(connection, subject, stay, presence, found.lost)
                found.shared.append(others)
    return found


def _others(connection: Connection, subject: Subject, stay: Stay, presence: Presence, lost: Lost) -> Shared:
    """Look around one stay; a stay of another that overlaps it lies within the longest one on both sides."""
    margin_ms = stay.longest_h * _HOUR_MS
    around = visits(
        connection, presence.site, None, presence.from_ms - margin_ms, presence.until_ms + margin_ms, lost
    )
    strangers = [visit for visit in around if not visit.is_of(subject)]
    contacts = [
        Contact(other, max(other.from_ms, presence.from_ms), min(other.until_ms, presence.until_ms))
        for other in presences(strangers, stay)
        if other.overlaps(presence)
    ]
    contacts.sort(key=lambda contact: (contact.from_ms, contact.presence.who))
    fires = tuple(_fires(connection, presence))
    return Shared(presence, tuple(contacts), tuple(_leavers(strangers, presence)), fires)


def _fires(connection: Connection, presence: Presence) -> Iterator[tuple[str, int]]:
    for ledger in ledgers(connection, presence.site):
        for row in rows(connection, ledger, presence.from_ms, presence.until_ms + 1, (Kind.FIRE_ALARM,)):
            yield ledger.gate, row.seen_ms if row.at_ms is None else row.at_ms


def _leavers(strangers: Iterable[Visit], presence: Presence) -> Iterable[Visit]:
    return (
        visit
        for visit in strangers
        if visit.passed is not None
        and not whose(visit)
        and visit.direction == Direction.OUT
        and presence.from_ms <= visit.passed.latest_ms
        and visit.passed.earliest_ms <= presence.until_ms
    )


def _by_time(found: Iterable[Presence]) -> Sequence[Presence]:
    return sorted(found, key=lambda presence: (presence.from_ms, presence.site))
