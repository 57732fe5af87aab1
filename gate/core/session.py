"""One visit: its states, and the table of what leads from one to the next.

A visit begins when somebody arrives or shows a code, collects evidence, and ends in exactly one way. The
table is the whole truth about the order of things: code that wants to move a visit names what happened,
and `advance` answers with the next state or refuses. Three rules keep it sound:

1. A visit is authorised only from a state in which somebody stands at the gate with evidence of their own.
2. Every state but IDLE has a deadline (`actor.py`), so that every visit ends.
3. Evidence lives in `Visit` and dies with it; nothing is carried to the next person.

RETESTING waits for the second measurement, CURING for something that the visitor can put right (a mask, a
code that is still valid), WITH_STAFF for the person on duty, AUTHORISED for the arm to turn, and FAREWELL
for a visitor who was turned away, or who has not walked through, to read why and leave.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gate.core.codes.model import CodeResult
from gate.core.events import Event
from gate.core.evidence import Evidence, Reading
from gate.core.policy import Decision
from gate.core.uses import Use


class State(StrEnum):
    """Where a visit stands."""

    IDLE = "idle"
    COLLECTING = "collecting"
    RETESTING = "retesting"
    CURING = "curing"
    WITH_STAFF = "with_staff"
    AUTHORISED = "authorised"
    FAREWELL = "farewell"


class Happening(StrEnum):
    """What moves a visit."""

    BEGAN = "began"
    ADMITTED = "admitted"
    RETEST_WANTED = "retest_wanted"
    CURE_WANTED = "cure_wanted"
    REFERRED = "referred"
    REFUSED = "refused"
    PASSED = "passed"
    NOT_PASSED = "not_passed"
    ENDED = "ended"


_END: Final = {Happening.ENDED: State.IDLE}
_JUDGED: Final = {
    Happening.ADMITTED: State.AUTHORISED,
    Happening.RETEST_WANTED: State.RETESTING,
    Happening.CURE_WANTED: State.CURING,
    Happening.REFERRED: State.WITH_STAFF,
    Happening.REFUSED: State.FAREWELL,
}

TRANSITIONS: Final[dict[State, dict[Happening, State]]] = {
    State.IDLE: {Happening.BEGAN: State.COLLECTING},
    State.COLLECTING: {**_JUDGED, **_END},
    State.RETESTING: {**_JUDGED, **_END},
    State.CURING: {**_JUDGED, **_END},
    State.WITH_STAFF: {Happening.ADMITTED: State.AUTHORISED, Happening.REFUSED: State.FAREWELL, **_END},
    State.AUTHORISED: {Happening.PASSED: State.IDLE, Happening.NOT_PASSED: State.FAREWELL, **_END},
    State.FAREWELL: dict(_END),
}

# States in which new evidence is taken in and judged.
OPEN_STATES: Final = frozenset({State.COLLECTING, State.RETESTING, State.CURING})
# ... and the one in which the person on duty decides on it.
JUDGED_STATES: Final = OPEN_STATES | {State.WITH_STAFF}


class ImpossibleTransitionError(Exception):
    """A programming error: the table has no such move; the state has not changed."""


def advance(state: State, happening: Happening) -> State:
    """Return the state that follows, or raise ImpossibleTransitionError."""
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise ImpossibleTransitionError(f"{happening} while {state}") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """A token about which a verify service was asked, and what it is worth by now."""

    code: CodeResult
    answered: bool = False


@dataclass(slots=True)
class Visit:
    """What belongs to one visit and to no other; instants are monotonic nanoseconds.

    `evidence` is what was collected, `judged` the same with all that followed from it at the last decision.
    `payload` is the code in evidence, `held_up` another one that was shown too late to count. `codes` are all
    that were looked at, `answers` those of which a verify service was asked; `use` is how a pass was counted.
    `told` is what is on record of it last, the end apart, and `told_sealed` what is kept beside it; `sealed`
    waits for the next record.
    `deadline_ns` ends the present state; `left_ns` is when the visitor was last seen to step away.
    """

    name: str
    began_ns: int
    deadline_ns: int
    state: State = State.COLLECTING
    evidence: Evidence = field(default_factory=Evidence)
    judged: Evidence = field(default_factory=Evidence)
    code_ns: int | None = None
    measured_ns: int | None = None
    measuring: bool = False
    tries: int = 0
    payload: bytes | None = None
    held_up: bytes | None = None
    use: Use | None = None
    codes: set[bytes] = field(default_factory=set)
    answers: dict[bytes, Asked] = field(default_factory=dict)
    left_ns: int | None = None
    recorded: bool = False
    told: Event | None = None
    told_sealed: bytes | None = None
    sealed: bytes | None = None
    closed: bool = False
    steps: tuple[Decision, ...] = ()

    @property
    def worth_telling(self) -> bool:
        """True when the visitor has shown or told something, or was measured: that leaves a record."""
        measured = any(isinstance(taken, Reading) for taken in self.evidence.measurements)
        return measured or self.evidence.code is not None or self.sealed is not None

    @property
    def asking(self) -> bool:
        """True while a verify service has been asked and has not answered."""
        return any(not asked.answered for asked in self.answers.values())
