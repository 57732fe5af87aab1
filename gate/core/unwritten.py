"""What could not be written while the ledger failed, in memory and in order, until it works again."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from gate.core import events
from gate.core.effects import Effect, Record
from gate.core.events import Event, Stage

# A fault serves no visits, so this is hours of device faults.
UNWRITTEN_MAX: Final = 1000


class Unwritten:
    """Records that wait, marked late. `serves_on`: people are let in although nothing can be written."""

    def __init__(self, *, serves_on: bool) -> None:
        self.serves_on = serves_on
        self._waiting: deque[Record] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Record:
        """Return the record that has waited longest, which waits no more."""
        return self._waiting.popleft()

    def keep(self, records: Iterable[Record]) -> None:
        """Hold what could not be written: what had been waiting before stays at the front, in its order."""
        given = list(records)
        self._waiting.extendleft(record for record in reversed(given) if "late" in record.event.data)
        for record in given:
            if "late" not in record.event.data:
                self.hold(record)

    def hold(self, record: Record) -> None:
        """Hold one more record behind the others, or count it as lost when there are too many."""
        if len(self._waiting) >= UNWRITTEN_MAX:
            self._dropped += 1
            return
        data = {**record.event.data, "late": True}
        if data.get("stage") == Stage.AUTHORISED and not self.serves_on:
            # An authorisation that was never durable has never been one.
            data["stage"] = str(Stage.UNDECIDED)
            record = replace(record, use=None)
        self._waiting.append(replace(record, event=replace(record.event, data=data)))

    def lost(self) -> Event | None:
        """Return the record of how many were lost since this was asked last, None for none."""
        lost, self._dropped = self._dropped, 0
        if not lost:
            return None
        return events.anomaly("records_lost", f"{lost} records were lost while the ledger failed")


def undone_by(event: Event, asked: Sequence[Effect]) -> tuple[Effect, ...]:
    """Return the record that failed and all that was asked for after it: none of it was performed."""
    records = [effect.event if isinstance(effect, Record) else None for effect in asked]
    places = [place for place, recorded in enumerate(records) if recorded is event]
    return tuple(asked[places[0] :]) if places else (Record(event),)
