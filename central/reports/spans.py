"""Local days, and which records belong to the report of one.

A report of a day has a cut-off: it tells what the centre had received before that instant. Reports are due
before the day is over (17:00, GR-1), gates may have been cut off, and a gate's clock may be wrong; still
every record is in exactly one of the reports that are kept, because each falls into one section of one
report:

    day      it happened on this day and was here before the cut-off
    carried  it happened before this day, and was not here in time for the report before: the evening after
             that report's cut-off, and whatever a gate could send only now
    unsure   the gate did not trust its clock: it counts where it came, by the centre's clock

All instants are unix milliseconds; spans include their beginning and exclude their end.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000

# A gate may state an instant that has no date in some zone: a day after the first, a day before the last has.
_FIRST_MS: Final = -62_135_510_400_000  # 0001-01-02
_LAST_MS: Final = 253_402_214_400_000  # 9999-12-31


class Section(StrEnum):
    """In which part of a report a record counts."""

    DAY = "day"
    CARRIED = "carried"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Span:
    """One local day from `start_ms` to `end_ms`, as known before `cut_ms`.

    `since_ms` is the cut-off of the report before. A day is 23 to 25 hours long where clocks are changed.
    """

    day: date
    zone: ZoneInfo
    start_ms: int
    end_ms: int
    cut_ms: int
    since_ms: int

    @property
    def over(self) -> bool:
        """True when the whole day lies before the cut-off."""
        return self.cut_ms >= self.end_ms

    @property
    def until_ms(self) -> int:
        """Up to when this report tells of the day."""
        return min(self.cut_ms, self.end_ms)

    def section(self, at_ms: int | None, seen_ms: int, *, trusted: bool) -> Section | None:
        """Say where a record counts that happened at `at_ms` by the gate's clock and came at `seen_ms`."""
        if seen_ms >= self.cut_ms:
            return None
        if at_ms is None or not trusted:
            return Section.UNSURE if self.since_ms <= seen_ms < self.until_ms else None
        if self.start_ms <= at_ms < self.until_ms:
            return Section.DAY
        # Known and past: a clock that is ahead does not make a record fall between two reports.
        known_ms = max(at_ms, seen_ms)
        carried = at_ms < self.start_ms and self.since_ms <= known_ms < self.until_ms
        return Section.CARRIED if carried else None

    def local(self, at_ms: int) -> str:
        """Write an instant in local time with its offset, ISO 8601 with milliseconds."""
        return local(at_ms, self.zone)


def span_of(day: date, zone: ZoneInfo, cut_ms: int, since_ms: int) -> Span:
    """Return the span of a local day. Raises ValueError when the day begins only after the cut-off."""
    if day == date.max:
        raise ValueError(f"{day} has no end")
    start_ms, end_ms = instant(day, 0, zone), instant(day + timedelta(days=1), 0, zone)
    if cut_ms <= start_ms:
        raise ValueError(f"{day} begins after the cut-off")
    return Span(day, zone, start_ms, end_ms, cut_ms, min(since_ms, start_ms))


def instant(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return when a minute (0 to 1439) of a local day begins.

    A time that comes twice is its first; one that is left out is the instant of the change.
    """
    at = datetime.combine(day, time(minute // 60, minute % 60), zone)
    return round(at.timestamp() * 1000)


def day_of(at_ms: int, zone: ZoneInfo) -> date:
    """Return the local day of an instant."""
    return _datetime(at_ms, zone).date()


def local(at_ms: int, zone: ZoneInfo) -> str:
    """Write an instant in local time with its offset, ISO 8601 with milliseconds; any integer is taken."""
    return _datetime(at_ms, zone).isoformat(timespec="milliseconds")


def _datetime(at_ms: int, zone: ZoneInfo) -> datetime:
    # By way of integers: a float of seconds would round the last millisecond of a day into the next.
    known_ms = min(max(at_ms, _FIRST_MS), _LAST_MS)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=known_ms)).astimezone(zone)
