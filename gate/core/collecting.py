"""What a visit's evidence becomes by each thing that is learnt of the visitor."""

from dataclasses import replace

from gate.core.codes.model import Authenticity, CodeResult, reference
from gate.core.evidence import AttendantWord, Evidence, HandCheck, Measurement
from gate.core.inputs import AttendantNoted
from gate.core.rules import MEASUREMENTS_MAX
from gate.core.session import State


def confirmed(evidence: Evidence) -> Evidence:
    """The button says that the person on duty has looked, asked and measured where the gate could not."""
    return replace(evidence, attendant=AttendantWord.CONFIRMED, by_hand=frozenset(HandCheck))


def with_notes(evidence: Evidence, notes: AttendantNoted) -> Evidence:
    """Add what the person on duty has written down; what they have not said stays as it is."""
    return replace(
        evidence,
        person=notes.person or evidence.person,
        registered=evidence.registered | notes.registered,
        id_checked=evidence.id_checked if notes.id_checked is None else notes.id_checked,
        symptoms=evidence.symptoms if notes.symptoms is None else notes.symptoms,
        travel=notes.travel or evidence.travel,
        origin=notes.origin or evidence.origin,
        test=notes.test or evidence.test,
    )


def with_token_id(code: CodeResult, payload: bytes) -> CodeResult:
    """Where a service names no person, the token itself is what may not be used twice in a row."""
    if code.authenticity is not Authenticity.VERIFIED or code.subject_ref is not None:
        return code
    return replace(code, pass_id=reference(payload))


def measured_twice(evidence: Evidence) -> bool:
    """Say whether the second measurement has been made, which decides."""
    return len(evidence.measurements) == MEASUREMENTS_MAX


def with_measurement(evidence: Evidence, measurement: Measurement, state: State) -> Evidence:
    """Add the second measurement to the first, or take the first."""
    kept = evidence.measurements[: MEASUREMENTS_MAX - 1] if state is State.RETESTING else ()
    return replace(evidence, measurements=(*kept, measurement))
