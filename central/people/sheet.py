"""The sheet of one person (TH-5): every visit in a span, with what was decided and how it ended."""

from dataclasses import dataclass, field

from central.people.sightings import Lost
from central.people.subjects import Subject
from central.people.visits import Visit, visits_of_subject
from central.store import Store
from central.store.engine import reading


@dataclass(slots=True)
class Sheet:
    """The visits, by time."""

    visits: list[Visit] = field(default_factory=list)
    lost: Lost = field(default_factory=Lost)


def sheet(store: Store, subject: Subject, from_ms: int, to_ms: int, site: str | None = None) -> Sheet:
    """Return a person's visits that begin in a span (the end excluded). Raises StoreError."""
    found = Sheet()
    with reading(store.engine) as connection:
        found.visits = visits_of_subject(connection, subject, site, from_ms, to_ms, found.lost)
    return found
