"""Reports that were due: made, put where they are asked for, and kept as they were handed in.

A report is made, kept in the store, and then written into its folder from what is kept: several centres on
one store may make the same report; one of them keeps it, and all of them write that one. What fails is tried
again after a minute, and stops no other unit; until the report is kept and its files are written, the alarm
stands. After a start the files of the last day that are not in the folder are written again.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from central.reports.day import Order, report_of, span_for
from central.reports.page import page
from central.reports.schedule import CATCH_UP_DAYS, LATE_CODE, Due, Name, due, is_late, owes
from central.reports.scopes import Scope, registered, scopes
from central.reports.sealing import sealed, written
from central.reports.settings import Form, ReportSettings
from central.reports.tables import reports
from central.reports.workbook import workbook
from central.store import Alarm, Store, StoreError
from central.store.engine import reading, writing
from central.store.streams import insert_new
from gate.durable import replace

LOG: Final = logging.getLogger(__name__)
RETRY_MS: Final = 60_000
SETTLE_MS: Final = 120_000
"""Gates come back, send what they have, and sign for it, within two minutes."""

_DAY_MS: Final = 86_400_000

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptReport:
    """One report as it was handed in; times in unix milliseconds."""

    day: date
    level: int
    unit: str
    due_ms: int
    made_ms: int
    cut_ms: int
    document: Document


class UnreadableReportError(StoreError):
    """What is kept of a report is none; the store works."""


class ReportDesk:
    """Makes the reports that are due. Call `tick` every few seconds, in a thread that may take its time.

    `began_ms`: since when the centre has been at work. What is late by then waits a little longer, until the
    gates have had time to send what they could not send before.
    """

    def __init__(
        self, store: Store, settings: ReportSettings, centre_key: Ed25519PrivateKey, *, began_ms: int = 0
    ) -> None:
        self._store = store
        self._settings = settings
        self._centre_key = centre_key
        self._settled_ms = began_ms + SETTLE_MS
        self._failed_ms: dict[Name, int] = {}
        self._unwritten: dict[Name, Due] | None = None  # None: nobody has looked since the start
        self._alarmed: set[Name] = set()

    def tick(self, now_ms: int) -> list[str]:
        """Raise the alarm for what is late, then make what is due; return what was done, or failed, in words.

        What fails stops no other report, and is tried again after a minute; an error of the program is
        logged as well. Raises StoreError when the store cannot be used.
        """
        units = scopes(self._settings, registered(self._store.gates()))
        owed = due(self._settings, units, newest_days(self._store), now_ms)
        for report in owed:
            if report.late:
                self._store.raise_alarm(report.suspicion(self._settings), now_ms)
        if self._unwritten is None:
            self._unwritten = self._left_unwritten(units, now_ms)
        self._forget_failures({report.name for report in owed} | self._unwritten.keys())
        told = [*self._write_again(self._unwritten, now_ms), *self._make_all(owed, self._unwritten, now_ms)]
        self._clear(units, self._unwritten, now_ms)
        return told

    # --- making

    def _make_all(self, owed: list[Due], unwritten: dict[Name, Due], now_ms: int) -> Iterator[str]:
        pressing = {report.scope for report in owed if not report.late}
        waiting: set[Scope] = set()
        for report in owed:
            ready = now_ms >= self._settled_ms or report.scope in pressing
            # Each begins where the one before has ended: a later day of a unit waits for the earlier one.
            if not ready or report.scope in waiting or self._rests(report, now_ms):
                waiting.add(report.scope)
                continue
            problem = self._tried(self._make, report, now_ms)
            if problem:
                waiting.add(report.scope)
            else:
                unwritten[report.name] = report
                problem = self._written(report, unwritten, now_ms)
            yield problem or f"{report} made{', late' if report.late else ''}"

    def _make(self, report: Due, now_ms: int) -> None:
        cut_ms = report.cut_ms(self._settings, now_ms)
        last_ms = last_cut_ms(self._store, report.scope, report.day)
        span = span_for(self._settings, report.scope, report.day, cut_ms, last_ms)
        order = Order(report.scope, span, report.due_ms, report.late)
        document = sealed(report_of(self._store, self._settings, order), self._centre_key)
        _keep(self._store, report, span.cut_ms, document, now_ms)

    # --- writing

    def _write_again(self, unwritten: dict[Name, Due], now_ms: int) -> Iterator[str]:
        for report in list(unwritten.values()):
            if not self._rests(report, now_ms):
                yield self._written(report, unwritten, now_ms) or f"{report} written"

    def _written(self, report: Due, unwritten: dict[Name, Due], now_ms: int) -> str:
        problem = self._tried(self._write, report, now_ms)
        if not problem:
            del unwritten[report.name]
        elif report.name not in self._alarmed and is_late(self._settings, report.due_ms, now_ms):
            # Once: a centre beside this one, which can write its files, ends it.
            self._alarmed.add(report.name)
            self._store.raise_alarm(report.suspicion(self._settings), now_ms)
        return problem

    def _write(self, report: Due, _now_ms: int) -> None:
        # What is kept, which may be what another centre has made in the meantime.
        kept = kept_report(self._store, report.day, report.scope.level, report.scope.name)
        if kept is not None:
            put(kept.document, self._settings)

    def _left_unwritten(self, units: list[Scope], now_ms: int) -> dict[Name, Due]:
        """Return what an earlier run has kept and perhaps not written: of the last day, or with an alarm."""
        if self._settings.folder is None:
            return {}
        named = {_named(alarm.about.evidence) for alarm in self._store.alarms() if _is_late_report(alarm)}
        by_name = _by_name(units)
        found: dict[Name, Due] = {}
        for name, due_ms, made_ms in _kept_since(self._store, now_ms - CATCH_UP_DAYS * _DAY_MS):
            unit = by_name.get(name[1:])
            wanted = made_ms >= now_ms - _DAY_MS or name in named
            if unit is not None and wanted and not all(map(_is_there, files(self._settings, *name).values())):
                found[name] = Due(unit, date.fromisoformat(name[0]), due_ms, late=True)
        return found

    # --- trouble

    def _tried(self, attempt: Callable[[Due, int], None], report: Due, now_ms: int) -> str:
        """Do one thing for a report; return in words what has failed, "" when nothing has."""
        try:
            attempt(report, now_ms)
        except (OSError, UnreadableReportError) as error:
            problem = f"{report} cannot be written: {error}"
        except StoreError:
            raise
        except Exception:
            LOG.exception("%s: an error in the program; tried again in %d s", report, RETRY_MS // 1000)
            problem = f"{report} has failed: an error in the program"
        else:
            return ""
        self._failed_ms[report.name] = now_ms
        return problem

    def _rests(self, report: Due, now_ms: int) -> bool:
        failed_ms = self._failed_ms.get(report.name)
        return failed_ms is not None and 0 <= now_ms - failed_ms < RETRY_MS

    def _forget_failures(self, known: set[Name]) -> None:
        self._failed_ms = {name: at_ms for name, at_ms in self._failed_ms.items() if name in known}
        self._alarmed &= known

    def _clear(self, units: list[Scope], unwritten: Mapping[Name, Due], now_ms: int) -> None:
        """End the alarms of reports that are there now, and of those that nobody owes any more."""
        by_name = _by_name(units)
        for alarm in filter(_is_late_report, self._store.alarms()):
            name = _named(alarm.about.evidence)
            if name is None or name in unwritten:
                continue
            unit = by_name.get(name[1:])
            if _is_kept(self._store, name):
                reason = "the report was made, late"
            elif unit is None or not owes(self._settings, unit, date.fromisoformat(name[0])):
                reason = "its gates are registered no longer, or only since; nobody owes this report"
            else:
                continue
            self._store.clear_alarm(alarm.id, now_ms, by="central", reason=reason)


def _by_name(units: Iterable[Scope]) -> dict[tuple[int, str], Scope]:
    return {(unit.level, unit.name): unit for unit in units}


def _is_late_report(alarm: Alarm) -> bool:
    return alarm.about.code == LATE_CODE


def _named(evidence: Mapping[str, Any]) -> Name | None:
    """Return which report an alarm is about, None where its evidence does not say."""
    day, level, unit = (evidence.get(name) for name in ("day", "level", "unit"))
    try:
        date.fromisoformat(day if isinstance(day, str) else "")
    except ValueError:
        return None
    if not isinstance(day, str) or not isinstance(level, int) or not isinstance(unit, str):
        return None
    return day, level, unit


def files(settings: ReportSettings, day: str, level: int, unit: str) -> dict[Form, Path]:
    """Return the files of a report in the folder, by form; none without a folder."""
    if settings.folder is None:
        return {}
    stem = f"level{level}-{_file_name(unit)}"
    return {form: settings.folder / day / f"{stem}.{form}" for form in settings.forms}


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def put(document: Document, settings: ReportSettings) -> list[Path]:
    """Write a report's forms into the folder, whole or not at all; return the files. Raises OSError."""
    made = files(settings, document["date"], document["level"], document["unit"])
    for form, path in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, FORMS[form](document, settings.lang))
    return list(made.values())


def _as_json(document: Document, _lang: str) -> bytes:
    return written(document)


FORMS: Final[Mapping[Form, Callable[[Document, str], bytes]]] = {
    "json": _as_json,
    "xlsx": workbook,
    "html": page,
}
"""The forms of a report, each from the signed document and the language of the form."""


def _file_name(unit: str) -> str:
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in unit)
    # Two units must not share a file because their names differ in what no file name can hold.
    return plain if plain == unit else f"{plain}-{hashlib.sha256(unit.encode()).hexdigest()[:8]}"


def newest_days(store: Store) -> dict[tuple[int, str], date]:
    """Return the newest day of which a report is kept, by level and unit. Raises StoreError."""
    asked = select(reports.c.level, reports.c.unit, func.max(reports.c.day)).group_by(
        reports.c.level, reports.c.unit
    )
    with reading(store.engine) as connection:
        return {(level, unit): date.fromisoformat(day) for level, unit, day in connection.execute(asked)}


def last_cut_ms(store: Store, scope: Scope, day: date) -> int | None:
    """Return the cut-off of the unit's last report before a day, None without one. Raises StoreError."""
    asked = (
        select(reports.c.cut_ms)
        .where(reports.c.level == scope.level, reports.c.unit == scope.name)
        .where(reports.c.day < day.isoformat())
        .order_by(reports.c.day.desc())
        .limit(1)
    )
    with reading(store.engine) as connection:
        found = connection.execute(asked).scalar()
    return None if found is None else int(found)


def kept_report(store: Store, day: date, level: int, unit: str) -> KeptReport | None:
    """Return a report as it was handed in, None when there is none.

    Raises StoreError, UnreadableReportError for one of which somebody has changed the bytes.
    """
    asked = select(reports).where(
        reports.c.day == day.isoformat(), reports.c.level == level, reports.c.unit == unit
    )
    with reading(store.engine) as connection:
        row = connection.execute(asked).first()
    if row is None:
        return None
    try:
        document = json.loads(zlib.decompress(row.body))
    except (zlib.error, TypeError, ValueError, RecursionError) as error:
        raise UnreadableReportError(
            f"the report {day} level {level} {unit} cannot be read; see: central verify"
        ) from error
    return KeptReport(day, row.level, row.unit, row.due_ms, row.made_ms, row.cut_ms, document)


def _kept_since(store: Store, made_ms: int) -> list[tuple[Name, int, int]]:
    """Return which reports were made since then; each with when it was due, and made."""
    columns = (reports.c[name] for name in ("day", "level", "unit", "due_ms", "made_ms"))
    asked = select(*columns).where(reports.c.made_ms >= made_ms).order_by(reports.c.due_ms)
    with reading(store.engine) as connection:
        return [
            ((row.day, row.level, row.unit), row.due_ms, row.made_ms) for row in connection.execute(asked)
        ]


def _is_kept(store: Store, name: Name) -> bool:
    day, level, unit = name
    asked = select(reports.c.due_ms).where(
        reports.c.day == day, reports.c.level == level, reports.c.unit == unit
    )
    with reading(store.engine) as connection:
        return connection.execute(asked).first() is not None


def _keep(store: Store, report: Due, cut_ms: int, document: Document, now_ms: int) -> None:
    row = {
        "day": report.day.isoformat(),
        "level": report.scope.level,
        "unit": report.scope.name,
        "due_ms": report.due_ms,
        "made_ms": now_ms,
        "cut_ms": cut_ms,
        "zero": document["zero"],
        "sha256": document["sha256"],
        "body": zlib.compress(written(document)),
    }
    with writing(store.engine) as connection:
        insert_new(connection, reports, [row])
