"""Judging evidence that is written down as JSON: for examining a plan, and for judging the past again."""

import json
from dataclasses import dataclass
from datetime import datetime
from math import inf, isinf
from typing import Annotated, Any, Final, Literal, NoReturn

from annotated_types import Ge, Le, MaxLen
from pydantic import Field

from drivers.mlx90614 import CORE_WINDOW_CC
from gate.checked import build
from gate.core.codes.model import (
    Authenticity,
    CodeResult,
    Format,
    Freshness,
    LabTest,
    Reason,
    RegistrationField,
    Status,
    Travel,
)
from gate.core.evidence import (
    Appointment,
    AttendantWord,
    Direction,
    Evidence,
    HouseholdPass,
    MaskStatus,
    Measurement,
    Origin,
    Person,
    Reading,
    Symptom,
    Unmeasured,
)
from gate.core.policy import Decision, Policy, policy_hash
from gate.core.rules import MEASUREMENTS_MAX, decide

Celsius = Annotated[float, Ge(-50), Le(150)]
Instant = Annotated[str, MaxLen(40)]
From = Annotated[Instant | None, Field(alias="from")]  # one of Python's own words

NUMBER_DIGITS_MAX: Final = 40
PROBLEMS_MAX: Final = 20
PROBLEM_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class AppointmentForm:
    """A booked slot; instants are ISO 8601 with an offset."""

    from_: From = None
    until: Instant | None = None
    booked_at: Instant | None = None
    used: bool = False


@dataclass(frozen=True, slots=True)
class LabTestForm:
    """A nucleic-acid test; a negative one of which nobody knows the day cannot be verified."""

    taken_at: Instant | None = None
    result: Literal["negative", "positive", "unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class PassForm:
    """A household's or a supplier's pass."""

    from_: From = None
    until: Instant | None = None
    uses_left: Annotated[int, Ge(0), Le(1_000_000)] | None = None


@dataclass(frozen=True, slots=True)
class AttendantForm:
    """What the person on duty has said."""

    confirmed: bool = False
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class EvidenceForm:
    """What is known of one visit, as JSON says it; whatever is absent or null was not given.

    `temperatures_c` are the first and the second measurement in degrees Celsius, null for one that could not
    be made, each read by a thermometer that is right within `temperature_error_c`. What no thermometer would
    take for a person (`CORE_WINDOW_CC`) counts as not measured.
    """

    at: Instant | None = None
    person: Person | None = None
    direction: Direction | None = None
    temperatures_c: Annotated[tuple[Celsius | None, ...], MaxLen(MEASUREMENTS_MAX)] | None = None
    temperature_error_c: Annotated[float, Ge(0), Le(5)] | None = None
    health_code: Literal["green", "yellow", "red", "unknown", "none", "service_unreachable"] | None = None
    travel_code: Literal["clear", "risk_area", "declared", "unknown", "none"] | None = None
    mask: MaskStatus | None = None
    symptoms: tuple[Symptom, ...] | None = None
    registration: tuple[RegistrationField, ...] | None = None
    id_checked: bool | None = None
    appointment: AppointmentForm | None = None
    nucleic_acid_test: LabTestForm | None = None
    origin: Origin | None = None
    household_pass: PassForm | None = None
    occupancy: Annotated[int, Ge(0), Le(1_000_000)] | None = None
    suspended: bool | None = None
    attendant: AttendantForm | None = None
    last_measured_at: Instant | None = None


_CODES: Final = {
    "green": CodeResult(Format.UNKNOWN, Reason.OK, Status.GREEN, Authenticity.VERIFIED, Freshness.CURRENT),
    "yellow": CodeResult(
        Format.UNKNOWN, Reason.STATUS_YELLOW, Status.YELLOW, Authenticity.VERIFIED, Freshness.CURRENT
    ),
    "red": CodeResult(
        Format.UNKNOWN, Reason.STATUS_RED, Status.RED, Authenticity.VERIFIED, Freshness.CURRENT
    ),
    "unknown": CodeResult(Format.UNKNOWN, Reason.NOT_CHECKABLE),
    "service_unreachable": CodeResult(
        Format.CN_HEALTH, Reason.SERVICE_TIMEOUT, authenticity=Authenticity.SERVICE_UNREACHABLE
    ),
}


class EvidenceError(ValueError):
    """Evidence that cannot be read; `problems` has one line for each thing to put right."""

    def __init__(self, *problems: str) -> None:
        shown = [_shortened(problem) for problem in problems[:PROBLEMS_MAX]]
        if len(problems) > PROBLEMS_MAX:
            shown.append(f"and {len(problems) - PROBLEMS_MAX} more")
        self.problems = tuple(shown)
        super().__init__("; ".join(shown))


class Judge:
    """One plan, ready to answer in JSON; `tasks`: also with the rules of the tasks that are called for."""

    def __init__(self, policy: Policy, *, tasks: bool = False) -> None:
        self._policy = policy
        self._tasks = tasks
        self._hash = policy_hash(policy)

    def answer(self, data: bytes) -> dict[str, Any]:
        """Return the decision on one evidence, both as JSON. Raises EvidenceError."""
        decision = decide(self._policy, self._hash, read_evidence(_parsed(data)))
        tasks = {"tasks": list(decision.tasks)} if self._tasks else {}
        return _as_dict(decision) | tasks


def read_evidence(data: object) -> Evidence:
    """Read evidence in JSON form. Raises EvidenceError with every problem."""
    if not isinstance(data, dict):
        raise EvidenceError("evidence is one JSON object in braces")
    form, found = build(EvidenceForm, _given(data))
    if form is None:
        # What has no place stands against the whole: pydantic's reader is stricter than Python's.
        raise EvidenceError(*(_unreadable(data) if not place else found[place] for place in found))
    problems: list[str] = []
    evidence = _evidence(form, problems)
    if problems:
        raise EvidenceError(*problems)
    return evidence


def _as_dict(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": str(decision.verdict),
        "disposition": str(decision.disposition),
        "findings": [
            {"rule": found.rule, "verdict": str(found.verdict), "reason": found.reason}
            for found in decision.findings
        ],
        "policy": decision.policy,
        "policy_hash": decision.policy_hash,
    }


def _parsed(data: bytes) -> object:
    """Read JSON as strictly as its standard: no NaN, no key twice, no number that turns into infinity."""
    try:
        text = data.decode("utf-8-sig")
        if not text.strip():
            raise EvidenceError("there is no evidence: the input is empty")
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise EvidenceError(f"not UTF-8: byte {error.start + 1} cannot be read") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        if error.msg == "Extra data":
            problem = f"more than one JSON value, from {where}: with --lines each stands on a line of its own"
        else:
            problem = f"not valid JSON at {where}: {error.msg}"
        raise EvidenceError(problem) from error
    except RecursionError:
        raise EvidenceError("nested too deep to be evidence") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in table if keys.count(key) > 1)
        raise EvidenceError(f"{twice!r} is given twice")
    return table


def _no_number(word: str) -> NoReturn:
    raise EvidenceError(f"{word} is no number in JSON; null says that there is none")


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise EvidenceError(f"{digits} is too large a number")
    return number


def _integer(digits: str) -> int:
    if len(digits) > NUMBER_DIGITS_MAX:
        raise EvidenceError(f"{digits[:12]}… is too large a number")
    return int(digits)


def _given(value: Any) -> Any:
    """Leave out what is null in a table: it was not given."""
    if not isinstance(value, dict):
        return value
    return {key: _given(part) for key, part in value.items() if part is not None}


def _unreadable(data: object) -> str:
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "a text holds half a character, such as \\ud800 without its other half"
    return "nested too deep to be evidence"


def _shortened(problem: str) -> str:
    # The nearest known word is one of Python's here, see `From`.
    said = problem.replace("did you mean 'from_'?", "did you mean 'from'?")
    return said if len(said) <= PROBLEM_CHARS_MAX else said[: PROBLEM_CHARS_MAX - 1] + "…"


def _evidence(form: EvidenceForm, problems: list[str]) -> Evidence:
    return Evidence(
        measurements=_measurements(form),
        code=_CODES.get(form.health_code or "none"),
        mask=form.mask or MaskStatus.UNKNOWN,
        registered=frozenset(form.registration or ()),
        attendant=_word(form.attendant),
        person=form.person or Person.VISITOR,
        direction=form.direction or Direction.IN,
        at_s=None if form.at is None else _unix_s("at", form.at, problems),
        travel=Travel.UNKNOWN if form.travel_code in {None, "none"} else Travel(form.travel_code),
        symptoms=frozenset(form.symptoms or ()),
        id_checked=form.id_checked,
        appointment=_appointment(form.appointment, problems),
        test=_test(form.nucleic_acid_test, problems),
        origin=form.origin or Origin.UNKNOWN,
        household_pass=_household_pass(form.household_pass, problems),
        occupancy=form.occupancy,
        suspended=form.suspended or False,
        last_measured_s=_given_unix_s("last_measured_at", form.last_measured_at, problems),
    )


def _appointment(slot: AppointmentForm | None, problems: list[str]) -> Appointment | None:
    if slot is None:
        return None
    return Appointment(
        from_s=_given_unix_s("appointment.from", slot.from_, problems),
        until_s=_given_unix_s("appointment.until", slot.until, problems),
        booked_s=_given_unix_s("appointment.booked_at", slot.booked_at, problems),
        used=slot.used,
    )


def _household_pass(held: PassForm | None, problems: list[str]) -> HouseholdPass | None:
    if held is None:
        return None
    return HouseholdPass(
        from_s=_given_unix_s("household_pass.from", held.from_, problems),
        until_s=_given_unix_s("household_pass.until", held.until, problems),
        uses_left=held.uses_left,
    )


def _test(taken: LabTestForm | None, problems: list[str]) -> LabTest | None:
    if taken is None:
        return None
    # Without its day a test lies in the future: not verified, whatever the age that a plan allows.
    taken_s = (
        inf if taken.taken_at is None else _unix_s("nucleic_acid_test.taken_at", taken.taken_at, problems)
    )
    return None if taken.result == "unknown" else LabTest(taken_s, taken.result == "negative")


def _given_unix_s(where: str, text: str | None, problems: list[str]) -> float | None:
    return None if text is None else _unix_s(where, text, problems)


def _unix_s(where: str, text: str, problems: list[str]) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems.append(f"{where}: {text!r} is no instant such as 2022-04-11T10:00:00+08:00")
        return 0.0
    if moment.tzinfo is None:
        problems.append(f"{where}: {text!r} lacks its offset from UTC, such as +08:00")
        return 0.0
    return moment.timestamp()


def _word(form: AttendantForm | None) -> AttendantWord:
    if form is None:
        return AttendantWord.NONE
    if form.refuses:
        return AttendantWord.REFUSED
    return AttendantWord.CONFIRMED if form.confirmed else AttendantWord.NONE


def _measurements(form: EvidenceForm) -> tuple[Measurement, ...]:
    error_c = form.temperature_error_c or 0.0
    return tuple(_measurement(celsius, error_c) for celsius in form.temperatures_c or ())


def _measurement(celsius: float | None, error_c: float) -> Measurement:
    """Say where the true value lies, as exactly as it was given."""
    if celsius is None:
        return Unmeasured("not_measured")
    value_cc = round(celsius * 100)
    lowest_cc, highest_cc = CORE_WINDOW_CC
    if not lowest_cc <= value_cc <= highest_cc:
        return Unmeasured("implausible", f"{celsius} °C")
    # Rounded to a millionth: 37.3 * 100 is 3729.9999999999995.
    low_cc, high_cc = (round((celsius + error) * 100, 6) for error in (-error_c, error_c))
    return Reading(value_cc, low_cc, high_cc)
