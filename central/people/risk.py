"""Abnormal visits of a span by what was abnormal, and how grave that is (GR-3).

A visit stands under each reason that it has, and whoever comes from a risk area is named, admitted or not.
High: a sign of the illness, or of having been near it. Medium: a doubt that the plans want looked into.
Low: a rule that was not kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from central.people.settings import DAY_MS
from central.people.sightings import Lost
from central.people.visits import Visit, remarkable_visits
from central.store import Store
from central.store.engine import reading
from gate.core.events import Result


class Risk(StrEnum):
    """How grave, gravest first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Group:
    """Visits that were abnormal in one way, by time."""

    risk: Risk
    name: str
    visits: tuple[Visit, ...]


@dataclass(slots=True)
class Ledger:
    """The groups, gravest first."""

    groups: list[Group] = field(default_factory=list)
    lost: Lost = field(default_factory=Lost)


_PIECES_MAX: Final = 1000
_PIECE_MS: Final = 7 * DAY_MS
_OTHER: Final = "other"
_FORCED: Final = "forced"
_EXPOSED: Final = "risk_area"

_RISKS: Final[Mapping[str, Risk]] = {
    "fever": Risk.HIGH,
    "red_code": Risk.HIGH,
    "positive_test": Risk.HIGH,
    _EXPOSED: Risk.HIGH,
    "yellow_code": Risk.MEDIUM,
    "symptoms": Risk.MEDIUM,
    "raised_temperature": Risk.MEDIUM,
    "false_code": Risk.MEDIUM,
    _FORCED: Risk.MEDIUM,
    "not_cooperating": Risk.MEDIUM,
    "no_test": Risk.MEDIUM,
    "no_mask": Risk.LOW,
    _OTHER: Risk.LOW,
}
"""The groups in the order in which they are shown."""

_GROUPS: Final[Mapping[str, str]] = {
    "temperature_fever": "fever",
    "fever_seen_out": "fever",
    "status_red": "red_code",
    "test_positive": "positive_test",
    "risk_area": _EXPOSED,
    "status_yellow": "yellow_code",
    "symptoms": "symptoms",
    "symptoms_noted": "symptoms",
    "temperature_raised": "raised_temperature",
    "temperature_uncertain": "raised_temperature",
    "bad_signature": "false_code",
    "revoked": "false_code",
    "refused_by_attendant": "not_cooperating",
    "test_missing": "no_test",
    "test_too_old": "no_test",
    "mask_missing": "no_mask",
}


def by_risk(store: Store, from_ms: int, to_ms: int, site: str | None = None) -> Ledger:
    """Return the abnormal visits that begin in a span (the end excluded). Raises StoreError."""
    found = Ledger()
    sorted_out: dict[str, dict[tuple[str, str, str], Visit]] = {name: {} for name in _RISKS}
    with reading(store.engine) as connection:
        # In pieces, because most visits are nothing of this and need not stay in memory.
        piece_ms = max(_PIECE_MS, (to_ms - from_ms) // _PIECES_MAX)
        for start_ms in range(from_ms, to_ms, piece_ms):
            end_ms = min(start_ms + piece_ms, to_ms)
            for visit in remarkable_visits(connection, site, start_ms, end_ms, _GROUPS, found.lost):
                for name in groups_of(visit):
                    sorted_out[name].setdefault((visit.site, visit.gate, visit.name), visit)
    found.groups = [Group(_RISKS[name], name, tuple(own.values())) for name, own in sorted_out.items() if own]
    return found


def groups_of(visit: Visit) -> Iterable[str]:
    """Return in which ways a visit was abnormal; nothing for one that was not."""
    reasons = {finding.reason for told in visit.decided for finding in told.findings}
    names = {_GROUPS[reason] for reason in reasons if reason in _GROUPS}
    if any(told.exposed for told in visit.decided):
        names.add(_EXPOSED)
    if visit.result == Result.FORCED:
        names.add(_FORCED)
    if not names and visit.abnormal:
        names.add(_OTHER)
    return names
