"""The rounds of staff on one day (SB-3, TH-5): who came and left when, and who is overdue.

Staff are measured before and after work, on coming back from any absence, and again and again during work. A
measurement counts wherever it was made and however the visit ended.

A person's pseudonym changes at the gate's local midnight, and nothing in a record joins it with that of the
day before: who works over midnight is somebody else on the new day.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

from central.people.presence import Stay
from central.people.settings import PeopleSettings
from central.people.sightings import Lost
from central.people.visits import Visit, visits
from central.reports.spans import instant
from central.store import Store
from central.store.engine import reading
from gate.core.evidence import Direction, Person

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Gap:
    """A time inside without a measurement that was longer than allowed; unix milliseconds."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Member:
    """One member of staff on one day, at one site.

    `name`: the pseudonym. `arrived_ms` is None for who was inside when the day began,
    `left_ms` None for who is inside. `reentries`: the times of coming back. `measured_ms`: the times of all
    measurements. `unmeasured`: passages of this day without one. `overdue_ms`: since when a measurement is
    due at the instant that was asked for, None when none is.
    """

    site: str
    name: str
    arrived_ms: int | None
    left_ms: int | None
    inside: bool
    reentries: tuple[int, ...]
    measured_ms: tuple[int, ...]
    unmeasured: tuple[Visit, ...]
    gaps: tuple[Gap, ...]
    overdue_ms: int | None
    sure: bool


@dataclass(slots=True)
class Rounds:
    """The rounds of a day as known at `at_ms`; members by site and arrival."""

    day: date
    at_ms: int
    members: list[Member] = field(default_factory=list)
    lost: Lost = field(default_factory=Lost)

    @property
    def overdue(self) -> list[Member]:
        """Who is inside and should have been measured, the longest overdue first."""
        due = [member for member in self.members if member.overdue_ms is not None]
        return sorted(due, key=lambda member: member.overdue_ms or 0)


def rounds(
    store: Store, settings: PeopleSettings, stay: Stay, day: date, at_ms: int, site: str | None = None
) -> Rounds:
    """Return the rounds of a local day, as they stood at an instant. Raises StoreError."""
    start_ms, end_ms = instant(day, 0, stay.zone), instant(day + timedelta(days=1), 0, stay.zone)
    found = Rounds(day, max(start_ms, min(at_ms, end_ms)))
    since_ms = start_ms - stay.longest_h * _HOUR_MS
    with reading(store.engine) as connection:
        known = visits(connection, site, None, since_ms, found.at_ms + 1, found.lost)
    staff = [visit for visit in known if visit.person == Person.STAFF and visit.subject]
    persons: dict[tuple[str, str], list[Visit]] = defaultdict(list)
    for visit in staff:
        persons[visit.site, visit.subject].append(visit)
    for (of_site, _), own in persons.items():
        day_of = _Day(of_site, own, start_ms, found.at_ms, settings.round_min * _MINUTE_MS, stay)
        if day_of.concerned:
            found.members.append(day_of.member())
    found.members.sort(key=lambda member: (member.site, member.arrived_ms or 0, member.name))
    return found


class _Spell(NamedTuple):
    """A time inside. `came`, `went`: whether the coming and the leaving were seen."""

    from_ms: int
    until_ms: int
    came: bool
    went: bool


class _Day:
    """One person's day. `own`: the visits by time, also those of the evening before."""

    def __init__(
        self, site: str, own: Sequence[Visit], start_ms: int, at_ms: int, round_ms: int, stay: Stay
    ) -> None:
        self._site = site
        self._own = own
        self._today = [visit for visit in own if visit.first.latest_ms >= start_ms]
        self._start_ms, self._at_ms, self._round_ms = start_ms, at_ms, round_ms
        self._spells = list(_spells(own, stay))
        self._measured = sorted(visit.measured.earliest_ms for visit in own if visit.measured is not None)

    @property
    def concerned(self) -> bool:
        """True when the person was seen on this day, or was inside when it began."""
        return bool(self._today) or any(spell.until_ms > self._start_ms for spell in self._spells)

    def member(self) -> Member:
        """Say how the day has gone."""
        now = self._now
        passed = [visit for visit in self._today if visit.passed is not None]
        today = [spell for spell in self._spells if spell.until_ms > self._start_ms]
        arrived = bool(today) and today[0].came and today[0].from_ms >= self._start_ms
        left = bool(today) and today[-1].went
        return Member(
            site=self._site,
            name=self._own[0].subject,
            arrived_ms=today[0].from_ms if arrived else None,
            left_ms=today[-1].until_ms if left else None,
            inside=now is not None,
            reentries=tuple(spell.from_ms for before, spell in pairwise(today) if before.went and spell.came),
            measured_ms=tuple(ms for ms in self._measured if ms >= self._start_ms),
            unmeasured=tuple(visit for visit in passed if visit.measured is None),
            gaps=tuple(gap for spell in today for gap in self._gaps(spell)),
            overdue_ms=None if now is None else self._overdue_ms(now),
            sure=all(visit.sure for visit in self._today),
        )

    @property
    def _now(self) -> _Spell | None:
        """The spell in which the person is at the instant that is asked for."""
        last = self._spells[-1] if self._spells else None
        return last if last is not None and not last.went and last.until_ms > self._at_ms else None

    def _gaps(self, spell: _Spell) -> Iterator[Gap]:
        until_ms = min(spell.until_ms, self._at_ms)
        within = [ms for ms in self._measured if spell.from_ms < ms < until_ms]
        for before, after in pairwise([spell.from_ms, *within, until_ms]):
            if after - before > self._round_ms and after > self._start_ms:
                yield Gap(before, after)

    def _overdue_ms(self, spell: _Spell) -> int | None:
        # Who was measured on the way in was so a moment before; for who was not, the time runs from then.
        within = [ms for ms in self._measured if spell.from_ms < ms <= self._at_ms]
        due_ms = (within[-1] if within else spell.from_ms) + self._round_ms
        return due_ms if self._at_ms > due_ms else None


def _spells(own: Iterable[Visit], stay: Stay) -> Iterator[_Spell]:
    """Yield the times inside. Who passes the way in while inside has made a round, and has not left."""
    from_ms: int | None = None
    for visit in own:
        if visit.passed is None:
            continue
        at_ms = visit.passed.earliest_ms
        entering = visit.direction == Direction.IN
        if from_ms is not None and at_ms > stay.until_ms(from_ms):
            yield _Spell(from_ms, stay.until_ms(from_ms), came=True, went=False)
            from_ms = None
        if entering and from_ms is None:
            from_ms = at_ms
        elif not entering:
            came = from_ms is not None
            yield _Spell(from_ms if from_ms is not None else stay.from_ms(at_ms), at_ms, came, went=True)
            from_ms = None
    if from_ms is not None:
        yield _Spell(from_ms, stay.until_ms(from_ms), came=True, went=False)
