"""The rounds of staff (SB-3): when each of them was last measured, in memory only."""

from typing import Final

from gate.core.evidence import Person, Reading
from gate.core.moment import Moment
from gate.core.session import Visit

# How many members of staff are remembered between two rounds.
STAFF_MAX: Final = 2000


class Rounds:
    """When members of staff were last measured; `measured_s` in unix seconds, by pseudonym."""

    def __init__(self) -> None:
        self.measured_s: dict[str, float] = {}

    def passed(self, visit: Visit, now: Moment) -> None:
        """Remember somebody of the staff who was measured and has passed, if the time is known."""
        code = visit.evidence.code
        measured = any(isinstance(taken, Reading) for taken in visit.evidence.measurements)
        if visit.judged.person is not Person.STAFF or not measured or not now.clock_trusted:
            return
        if code is not None and code.subject_ref is not None:
            if len(self.measured_s) >= STAFF_MAX:
                del self.measured_s[next(iter(self.measured_s))]
            self.measured_s[code.subject_ref] = now.wall_ms / 1000
