"""What the gate says: two lines for the visitor, a few words for the person on duty; a file per language.

To add a language, write `<lang>.py` beside `zh.py` and name it in `LANGUAGES`; the tests say what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.core.texts import en, zh


class Key(StrEnum):
    """One screen of the visitor display."""

    WELCOME = "welcome"
    ONE_CODE_ONLY = "one_code_only"
    CHECKING_CODE = "checking_code"
    MEASURING_AGAIN = "measuring_again"
    PLEASE_WAIT_RETEST = "please_wait_retest"
    MASK_PLEASE = "mask_please"
    PASS_PLEASE = "pass_please"  # noqa: S105 - a screen, not a password
    OPENED_BY_CENTRE = "opened_by_centre"
    # To the person on duty.
    SEE_STAFF = "see_staff"
    CODE_CANNOT_VERIFY = "code_cannot_verify"
    CODE_NOT_FOUND = "code_not_found"
    STATUS_UNKNOWN = "status_unknown"
    WRONG_SITE = "wrong_site"
    RULES_NOT_MET = "rules_not_met"
    SERVICE_UNAVAILABLE = "service_unavailable"
    RATE_LIMITED = "rate_limited"
    CLOCK_UNTRUSTED = "clock_untrusted"
    TRAVEL_UNKNOWN = "travel_unknown"
    REGISTRATION_MISSING = "registration_missing"
    ID_UNCHECKED = "id_unchecked"
    APPOINTMENT_UNVERIFIED = "appointment_unverified"
    TEST_UNVERIFIED = "test_unverified"
    MEASURED_BY_STAFF = "measured_by_staff"
    ROUND_OVERDUE = "round_overdue"
    FULL = "full"
    # Turned away.
    REFUSED_CODE_EXPIRED = "refused_code_expired"
    REFUSED_CODE_NOT_YET_VALID = "refused_code_not_yet_valid"
    REFUSED_CODE_NOT_VALID = "refused_code_not_valid"
    REVOKED = "revoked"
    REPLAY = "replay"
    REFUSED_STATUS = "refused_status"
    REFUSED_BY_ATTENDANT = "refused_by_attendant"
    # Fever with a disposition has the screen "refused_" + disposition; refused_fever is the one without.
    REFUSED_FEVER = "refused_fever"
    REFUSED_WEAR_MASK = "refused_wear_mask"
    REFUSED_OBSERVE_AT_HOME = "refused_observe_at_home"
    REFUSED_FEVER_CLINIC = "refused_fever_clinic"
    REFUSED_ISOLATE_AND_CALL_120 = "refused_isolate_and_call_120"
    SYMPTOMS = "symptoms"
    SYMPTOMS_OBSERVE_AT_HOME = "symptoms_observe_at_home"
    SYMPTOMS_FEVER_CLINIC = "symptoms_fever_clinic"
    SYMPTOMS_ISOLATE_AND_CALL_120 = "symptoms_isolate_and_call_120"
    TEST_POSITIVE = "test_positive"
    TEST_MISSING = "test_missing"
    TEST_TOO_OLD = "test_too_old"
    RISK_AREA = "risk_area"
    NOT_RESIDENT = "not_resident"
    EXCEPTION_INCOMPLETE = "exception_incomplete"
    APPOINTMENT_MISSING = "appointment_missing"
    APPOINTMENT_USED = "appointment_used"
    APPOINTMENT_EARLY = "appointment_early"
    APPOINTMENT_LATE = "appointment_late"
    APPOINTMENT_BOOKED_LATE = "appointment_booked_late"
    PASS_MISSING = "pass_missing"  # noqa: S105 - a screen, not a password
    PASS_OUTSIDE_HOURS = "pass_outside_hours"  # noqa: S105 - a screen, not a password
    PASS_USED_UP = "pass_used_up"  # noqa: S105 - a screen, not a password
    NOT_PASSED = "not_passed"
    FORCED = "forced"
    EVACUATE = "evacuate"
    SUSPENDED = "suspended"
    CLOSED_HOURS = "closed_hours"
    GATE_FAULT = "gate_fault"
    CLOSED = "closed"
    SENSOR_FAULT = "sensor_fault"


@dataclass(frozen=True, slots=True)
class Screen:
    """Two lines for a visitor: what is the matter, what to do next; 20 full-width characters each."""

    title: str
    next: str


@dataclass(frozen=True, slots=True)
class Language:
    """All words of one language: (title, next) by screen, and a short word by reason."""

    screens: dict[str, tuple[str, str]]
    reasons: dict[str, str]


LANGUAGES: Final = {
    "zh": Language(zh.SCREENS, zh.REASONS),
    "en": Language(en.SCREENS, en.REASONS),
}


class _Facts(dict[str, object]):
    """Facts for a text; one that is missing shows as a gap, because a word must never stop a gate."""

    def __missing__(self, _: str) -> str:
        return "…"


def screen(lang: str, key: Key, **facts: object) -> Screen:
    """Return the two lines of a screen; `wait_s` is the one fact used, by please_wait_retest.

    Raises KeyError on a language that is not in `LANGUAGES`; the configuration check refuses it earlier.
    """
    title, step = LANGUAGES[lang].screens[key]
    known = _Facts(facts)
    return Screen(title.format_map(known), step.format_map(known))


def text(lang: str, key: Key, **facts: object) -> str:
    """Return a screen as one text: title, line break, next step."""
    shown = screen(lang, key, **facts)
    return f"{shown.title}\n{shown.next}"


def reason_text(lang: str, reason: str) -> str:
    """Return the short words for a reason, for the person on duty; an unknown reason is shown as it is."""
    return LANGUAGES[lang].reasons.get(reason, reason)
