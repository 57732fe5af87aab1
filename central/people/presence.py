"""From when until when somebody was inside a site.

A presence begins with a passage in and ends with the same person's next passage out, through whichever gate
of the site. Where no gate has seen one of both, it is assumed, and said so: inside since the local day began,
or until it ended, and never longer than the longest stay. Who comes in again without having been seen leaving
was outside just before. Somebody without a code cannot be told from others: each of his visits in stands by
itself.

A person's pseudonym changes at local midnight. Who comes before it and leaves after it is two persons here,
unless it is the one who is asked for and the site's key is known; both presences then reach to the end, or
from the beginning, of the day, so that nobody is missed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from central.people.visits import Visit
from central.reports.spans import day_of, instant
from gate.core.evidence import Direction

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Presence:
    """One stay. `entered`, `left`: the visits that it begins and ends with, None where none was seen.

    `from_ms`, `until_ms`: unix milliseconds; as early and as late as they may have been.
    """

    site: str
    who: str
    from_ms: int
    until_ms: int
    entered: Visit | None
    left: Visit | None

    @property
    def visit(self) -> Visit:
        """The visit that says most of the person."""
        known = self.entered or self.left
        assert known is not None
        return known

    @property
    def sure(self) -> bool:
        """True when both ends were seen, by gates that trusted their clocks."""
        ends = (self.entered, self.left)
        return all(visit is not None and visit.sure and not visit.perhaps for visit in ends)

    def overlaps(self, other: "Presence") -> bool:
        """Return whether both were inside the same site at some instant."""
        return self.site == other.site and self.from_ms <= other.until_ms and other.from_ms <= self.until_ms


@dataclass(frozen=True, slots=True)
class Stay:
    """How long somebody is taken to have stayed whose coming or leaving was not seen."""

    zone: ZoneInfo
    longest_h: int

    def until_ms(self, from_ms: int) -> int:
        """Return when a stay that began then is over at the latest."""
        longest_ms = from_ms + self.longest_h * _HOUR_MS
        try:
            tomorrow = day_of(from_ms, self.zone) + timedelta(days=1)
            return min(instant(tomorrow, 0, self.zone), longest_ms)
        except OverflowError:  # a gate may state any time; the calendar ends
            return longest_ms

    def from_ms(self, until_ms: int) -> int:
        """Return when a stay that ended then began at the earliest."""
        longest_ms = until_ms - self.longest_h * _HOUR_MS
        try:
            return max(instant(day_of(until_ms, self.zone), 0, self.zone), longest_ms)
        except OverflowError:
            return longest_ms


def whose(visit: Visit) -> str:
    """Return who a visit belongs to: the pseudonym, or "" for nobody known."""
    return visit.subject


def presences(
    visits: Iterable[Visit], stay: Stay, whose: Callable[[Visit], str] = whose
) -> Iterator[Presence]:
    """Yield the stays that these visits amount to, person by person."""
    persons: dict[tuple[str, str], list[Visit]] = defaultdict(list)
    for visit in visits:
        if visit.passed is None:
            continue
        who = whose(visit)
        if who:
            persons[visit.site, who].append(visit)
        elif visit.direction == Direction.IN:
            yield _stay(visit, visit.name, None, stay)
    for (_, who), passages in persons.items():
        passages.sort(key=_passed_ms)
        yield from _of_person(who, passages, stay)


def _of_person(who: str, passages: list[Visit], stay: Stay) -> Iterator[Presence]:
    inside: Visit | None = None
    for visit in passages:
        if visit.direction == Direction.IN:
            if inside is not None:
                yield _stay(inside, who, None, stay, before=visit)
            inside = visit
        else:
            yield _stay(inside, who, visit, stay)
            inside = None
    if inside is not None:
        yield _stay(inside, who, None, stay)


def _stay(
    entered: Visit | None, who: str, left: Visit | None, stay: Stay, *, before: Visit | None = None
) -> Presence:
    """Build a stay; `before`: the visit before which it was over, though nobody was seen leaving."""
    known = entered or left
    assert known is not None
    if left is not None:
        until_ms = _latest_ms(left)
    else:
        until_ms = stay.until_ms(_latest_ms(known))
        if before is not None:
            until_ms = min(until_ms, _latest_ms(before))
    from_ms = stay.from_ms(_passed_ms(known)) if entered is None else _passed_ms(entered)
    return Presence(known.site, who, from_ms, until_ms, entered, left)


def _passed_ms(visit: Visit) -> int:
    assert visit.passed is not None
    return visit.passed.earliest_ms


def _latest_ms(visit: Visit) -> int:
    assert visit.passed is not None
    return visit.passed.latest_ms
