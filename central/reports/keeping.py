"""Reports that were due: made, put where they are asked for, and kept as they were handed in.

A report counts as made when its files are in their folder and its row is in the store, in this order. What
fails is tried again after a minute; until it succeeds the alarm stands. Several centres on one store may do
the same report; one of them keeps it, and all of them write the same files.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from central.reports.day import Order, report_of, span_for
from central.reports.page import page
from central.reports.schedule import LATE_CODE, Due, due
from central.reports.scopes import Scope, registered, scopes
from central.reports.sealing import sealed, written
from central.reports.settings import Form, ReportSettings
from central.reports.tables import reports
from central.reports.workbook import workbook
from central.store import Store
from central.store.engine import reading, writing
from gate.durable import replace

RETRY_MS: Final = 60_000
SETTLE_MS: Final = 120_000
"""Gates come back, send what they have, and sign for it, within two minutes."""

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
        self._retry_ms = 0

    def tick(self, now_ms: int) -> list[str]:
        """Raise the alarm for what is late, then make what is due; return what was done, or failed, in words.

        Raises StoreError when the store cannot be used.
        """
        owed = due(self._settings, self._scopes(), newest_days(self._store), now_ms)
        for report in owed:
            if report.late:
                self._store.raise_alarm(report.suspicion(self._settings), now_ms)
        if now_ms < self._retry_ms:
            return []
        ready = [report for report in owed if not report.late or now_ms >= self._settled_ms]
        told = [self._make(report, now_ms) for report in ready]
        self._clear(now_ms)
        return told

    def _scopes(self) -> list[Scope]:
        return scopes(self._settings, registered(self._store.gates()))

    def _make(self, report: Due, now_ms: int) -> str:
        name = f"report {report.day} level {report.scope.level} {report.scope.name}"
        try:
            cut_ms = report.cut_ms(self._settings, now_ms)
            last_ms = last_cut_ms(self._store, report.scope, report.day)
            span = span_for(self._settings, report.scope, report.day, cut_ms, last_ms)
            order = Order(report.scope, span, report.due_ms, report.late)
            document = sealed(report_of(self._store, self._settings, order), self._centre_key)
            put(document, self._settings)
        except OSError as error:
            self._retry_ms = now_ms + RETRY_MS
            return f"{name} cannot be written: {error}"
        _keep(self._store, report, span.cut_ms, document, now_ms)
        return f"{name} made{', late' if report.late else ''}"

    def _clear(self, now_ms: int) -> None:
        """End the alarms of reports that are there now."""
        standing = [alarm for alarm in self._store.alarms() if alarm.about.code == LATE_CODE]
        for alarm in standing:
            said = alarm.about.evidence
            if _is_kept(self._store, str(said["day"]), int(said["level"]), str(said["unit"])):
                self._store.clear_alarm(alarm.id, now_ms, by="central", reason="the report was made, late")


def put(document: Document, settings: ReportSettings) -> list[Path]:
    """Write a report's forms into the folder, whole or not at all; return the files. Raises OSError."""
    if settings.folder is None:
        return []
    folder = settings.folder / document["date"]
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"level{document['level']}-{_file_name(document['unit'])}"
    made = []
    for form in settings.forms:
        path = folder / f"{stem}.{form}"
        replace(path, FORMS[form](document, settings.lang))
        made.append(path)
    return made


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
    """Return a report as it was handed in, None when there is none. Raises StoreError."""
    asked = select(reports).where(
        reports.c.day == day.isoformat(), reports.c.level == level, reports.c.unit == unit
    )
    with reading(store.engine) as connection:
        row = connection.execute(asked).first()
    if row is None:
        return None
    document = json.loads(zlib.decompress(row.body))
    return KeptReport(day, row.level, row.unit, row.due_ms, row.made_ms, row.cut_ms, document)


def _is_kept(store: Store, day: str, level: int, unit: str) -> bool:
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
    insert = (postgresql if store.engine.dialect.name == "postgresql" else sqlite).insert(reports)
    with writing(store.engine) as connection:
        connection.execute(insert.values(row).on_conflict_do_nothing())
