"""What the gate says: two lines for the visitor, a few words for the person on duty; a file per language."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gate.core.texts import en, zh


class Key(StrEnum):
    """One screen of the visitor display."""

    WELCOME = "welcome"
    ONE_CODE_ONLY = "one_code_only"
    MEASURING_AGAIN = "measuring_again"
    PLEASE_WAIT_RETEST = "please_wait_retest"
    MASK_PLEASE = "mask_please"
    SEE_STAFF = "see_staff"
    PASS_PLEASE = "pass_please"  # noqa: S105 - a screen, not a password
    CODE_CANNOT_VERIFY = "code_cannot_verify"
    REFUSED_CODE_EXPIRED = "refused_code_expired"
    REFUSED_CODE_NOT_VALID = "refused_code_not_valid"
    REFUSED_STATUS = "refused_status"
    REFUSED_BY_ATTENDANT = "refused_by_attendant"
    # A refusal with a disposition has the screen "refused_" + disposition; refused_fever is the one without.
    REFUSED_FEVER = "refused_fever"
    REFUSED_WEAR_MASK = "refused_wear_mask"
    REFUSED_OBSERVE_AT_HOME = "refused_observe_at_home"
    REFUSED_FEVER_CLINIC = "refused_fever_clinic"
    REFUSED_ISOLATE_AND_CALL_120 = "refused_isolate_and_call_120"
    NOT_PASSED = "not_passed"
    FORCED = "forced"
    EVACUATE = "evacuate"
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
