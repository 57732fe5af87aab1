"""What goes on record of one visit, in its two stages, and what it keeps to tell later."""

from dataclasses import replace

from gate.core import events
from gate.core.effects import Record
from gate.core.events import Result, Stage
from gate.core.moment import NS_PER_MS, Moment
from gate.core.policy import Decision
from gate.core.session import Visit
from gate.core.uses import Use


def record_decision(
    visit: Visit, stage: Stage, decision: Decision, now: Moment, use: Use | None = None
) -> Record:
    """Put on record what was decided, together with the use of a pass that goes with it."""
    event = events.visit_decided(
        visit.name, stage, decision, visit.judged, visit.steps, _elapsed_ms(visit, now)
    )
    record = _with_sealed(visit, Record(event, use))
    visit.recorded, visit.told, visit.told_sealed = True, record.event, record.sealed
    return record


def record_end(visit: Visit, result: Result, now: Moment, returned: Use | None) -> Record:
    """Put on record how a visit has ended; `returned` is the use of a pass that is given back."""
    visit.closed = True
    event = events.visit_closed(visit.name, result, _elapsed_ms(visit, now))
    return _with_sealed(visit, Record(event, returned))


def record_again(visit: Visit) -> Record | None:
    """Tell in a new epoch what the end of an open visit will refer to; None where nothing is on record."""
    if visit.told is None or visit.closed:
        return None
    return Record(visit.told, visit.use, sealed=visit.told_sealed)


def _with_sealed(visit: Visit, record: Record) -> Record:
    """Hand over what was sealed since the last record: once, with the first record that follows."""
    sealed, visit.sealed = visit.sealed, None
    return replace(record, event=events.with_sealed(record.event, sealed), sealed=sealed)


def _elapsed_ms(visit: Visit, now: Moment) -> int:
    return (now.mono_ns - visit.began_ns) // NS_PER_MS
