"""Which reports are due, which are late; pure, so that it is tried at every second of a day (GR-1, BU-1).

A report is due every day, holidays too. Whatever was not made in time, because the centre was down, is made
as soon as it can be, and says that it is late; for days that are over it tells of the whole day.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from central.reports.scopes import Scope
from central.reports.settings import ReportSettings
from central.reports.spans import day_of, instant
from central.store import AlarmKind, Suspicion

_DAY: Final = timedelta(days=1)
CATCH_UP_DAYS: Final = 31
"""How far back reports are made that nobody has made; beyond, `central report` makes them one by one."""

LATE_CODE: Final = "report_late"

Name = tuple[str, int, str]
"""Which report of all: day as 2022-04-11, level, unit."""

Kept = Mapping[tuple[int, str], date]
"""The newest day of which a report is kept, by level and unit."""


@dataclass(frozen=True, slots=True)
class Due:
    """A report that is due and not made. `late`: its time and the grace after it have passed."""

    scope: Scope
    day: date
    due_ms: int
    late: bool

    def __str__(self) -> str:
        return f"report {self.day} level {self.scope.level} {self.scope.name}"

    @property
    def name(self) -> Name:
        """Which report of all it is."""
        return self.day.isoformat(), self.scope.level, self.scope.name

    def cut_ms(self, settings: ReportSettings, now_ms: int) -> int:
        """Return its cut-off: the hour itself; of a late one now, but no later than the end of the day."""
        end_ms = instant(self.day + _DAY, 0, settings.zone)
        return min(now_ms, end_ms) if self.late else self.due_ms

    def suspicion(self, settings: ReportSettings) -> Suspicion:
        """Return the alarm that it is late; the day stands in the place of an epoch."""
        level, unit = self.scope.level, self.scope.name
        site, gate = (self.scope.sites[0], self.scope.gate) if level == 3 else ("", f"level {level} {unit}")
        text = f"report {self.day} level {level} due {settings.due_text(level)} not made"
        evidence = {"text": text, "day": self.day.isoformat(), "level": level, "unit": unit}
        return Suspicion(AlarmKind.MISSED, site, gate, self.day.isoformat(), LATE_CODE, evidence=evidence)


def due(settings: ReportSettings, scopes: Iterable[Scope], kept: Kept, now_ms: int) -> list[Due]:
    """Return every report that is due and not kept, in the order in which they were due."""
    newest = {
        level: max((day for (of, _), day in kept.items() if of == level), default=None) for level in (1, 2, 3)
    }
    found = [
        report
        for scope in scopes
        for report in _due(settings, scope, kept.get((scope.level, scope.name)), newest[scope.level], now_ms)
    ]
    return sorted(found, key=lambda report: (report.due_ms, -report.scope.level, report.scope.name))


def owes(settings: ReportSettings, scope: Scope, day: date) -> bool:
    """Return whether a unit has to report a day: it must have had a gate by the time."""
    return scope.begun_ms is not None and scope.begun_ms <= _due_ms(settings, scope, day)


def is_late(settings: ReportSettings, due_ms: int, now_ms: int) -> bool:
    """Return whether the time of a report, and the grace after it, have passed."""
    return now_ms > due_ms + settings.late_s * 1000


def _due(
    settings: ReportSettings, scope: Scope, last: date | None, newest: date | None, now_ms: int
) -> Iterator[Due]:
    if scope.begun_ms is None:
        return
    today = day_of(now_ms, settings.zone)
    day = max(_first(settings, scope, scope.begun_ms, last, newest), today - CATCH_UP_DAYS * _DAY)
    while day <= today:
        due_ms = _due_ms(settings, scope, day)
        if owes(settings, scope, day) and due_ms <= now_ms:
            yield Due(scope, day, due_ms, is_late(settings, due_ms, now_ms))
        day += _DAY


def _first(
    settings: ReportSettings, scope: Scope, begun_ms: int, last: date | None, newest: date | None
) -> date:
    """Return the first day for which a unit may owe a report; `newest` is the newest of any unit's."""
    if last is not None:
        return last + _DAY
    if newest is not None and begun_ms <= _due_ms(settings, scope, newest - _DAY):
        return newest + _DAY  # it has reported all the time, under another name
    return day_of(begun_ms, settings.zone)


def _due_ms(settings: ReportSettings, scope: Scope, day: date) -> int:
    return instant(day, settings.due_minute(scope.level), settings.zone)
