"""Which screen goes with what: one for every mode, one for every reason to send somebody elsewhere."""

from itertools import combinations, product

import pytest

from gate.core.effects import LightSignal, Show
from gate.core.mode import Mode
from gate.core.policy import Decision, Disposition, Finding, Verdict
from gate.core.screens import curing_screen, idle_screen, referral_screen, refusal_screen
from gate.core.texts import LANGUAGES, Key

# Reasons that speak for somebody, and the one that asks for a second measurement.
NO_SCREEN = {
    "ok",
    "code_ok",
    "from_elsewhere",
    "open_hours",
    "exception_granted",
    "appointment_kept",
    "pass_kept",
    "room_inside",
    "full_approved",
    "fever_seen_out",
    "registration_by_id",
    "id_checked",
    "travel_clear",
    "travel_risk_area",
    "travel_declared",
    "test_negative",
    "temperature_normal",
    "temperature_raised",
    "round_kept",
    "mask_worn",
    "registration_complete",
    "code_by_real_name",
    "code_by_attendant",
    "hours_by_attendant",
    "appointment_by_attendant",
    "pass_by_attendant",
    "travel_by_attendant",
    "test_by_attendant",
    "symptoms_by_attendant",
    "temperature_by_attendant",
    "mask_by_attendant",
    "registration_by_attendant",
}
REFERRALS = {
    "code_missing": Key.SEE_STAFF,
    "multiple_codes": Key.SEE_STAFF,
    "mask_unknown": Key.SEE_STAFF,
    "symptoms_noted": Key.SEE_STAFF,
    "unreadable": Key.CODE_CANNOT_VERIFY,
    "unsupported": Key.CODE_CANNOT_VERIFY,
    "too_large": Key.CODE_CANNOT_VERIFY,
    "malformed": Key.CODE_CANNOT_VERIFY,
    "unknown_issuer": Key.CODE_CANNOT_VERIFY,
    "wrong_purpose": Key.CODE_CANNOT_VERIFY,
    "not_checkable": Key.CODE_CANNOT_VERIFY,
    "not_found": Key.CODE_NOT_FOUND,
    "status_unknown": Key.STATUS_UNKNOWN,
    "wrong_site": Key.WRONG_SITE,
    "rules_not_met": Key.RULES_NOT_MET,
    "service_timeout": Key.SERVICE_UNAVAILABLE,
    "service_error": Key.SERVICE_UNAVAILABLE,
    "revocations_stale": Key.SERVICE_UNAVAILABLE,
    "risk_areas_stale": Key.SERVICE_UNAVAILABLE,
    "occupancy_stale": Key.SEE_STAFF,
    "temperature_fever": Key.MEASURED_BY_STAFF,
    "replay": Key.REPLAY,
    "rate_limited": Key.RATE_LIMITED,
    "clock_untrusted": Key.CLOCK_UNTRUSTED,
    "hours_unknown": Key.CLOCK_UNTRUSTED,
    "pass_unverified": Key.CLOCK_UNTRUSTED,
    "pass_outside_hours": Key.PASS_OUTSIDE_HOURS,
    "pass_used_up": Key.PASS_USED_UP,
    "pass_missing": Key.PASS_MISSING,
    "appointment_unverified": Key.APPOINTMENT_UNVERIFIED,
    "test_unverified": Key.TEST_UNVERIFIED,
    "id_unchecked": Key.ID_UNCHECKED,
    "full": Key.FULL,
    "temperature_unmeasurable": Key.SENSOR_FAULT,
    "temperature_uncertain": Key.MEASURED_BY_STAFF,
    "temperature_missing": Key.MEASURED_BY_STAFF,
    "round_overdue": Key.ROUND_OVERDUE,
    "travel_unknown": Key.TRAVEL_UNKNOWN,
    "registration_missing": Key.REGISTRATION_MISSING,
}
# The gravest first, in groups.
BODY = {
    "temperature_fever": Key.REFUSED_FEVER,
    "test_positive": Key.TEST_POSITIVE,
    "symptoms": Key.SYMPTOMS,
}
CODE = {
    "status_red": Key.REFUSED_STATUS,
    "status_yellow": Key.REFUSED_STATUS,
    "bad_signature": Key.REFUSED_CODE_NOT_VALID,
    "revoked": Key.REVOKED,
    "expired": Key.REFUSED_CODE_EXPIRED,
    "not_yet_valid": Key.REFUSED_CODE_NOT_YET_VALID,
    "risk_area": Key.RISK_AREA,
    "test_missing": Key.TEST_MISSING,
    "test_too_old": Key.TEST_TOO_OLD,
}
ENTRANCE = {
    "suspended": Key.SUSPENDED,
    "closed_hours": Key.CLOSED_HOURS,
    "not_resident": Key.NOT_RESIDENT,
    "exception_incomplete": Key.EXCEPTION_INCOMPLETE,
    "appointment_missing": Key.APPOINTMENT_MISSING,
    "appointment_used": Key.APPOINTMENT_USED,
    "appointment_early": Key.APPOINTMENT_EARLY,
    "appointment_late": Key.APPOINTMENT_LATE,
    "appointment_booked_late": Key.APPOINTMENT_BOOKED_LATE,
    "pass_missing": Key.PASS_MISSING,
    "pass_outside_hours": Key.PASS_OUTSIDE_HOURS,
    "pass_used_up": Key.PASS_USED_UP,
}
MASK = {"mask_missing": Key.REFUSED_WEAR_MASK}
GROUPS = (
    *({reason: key} for reason, key in BODY.items()),
    CODE,
    ENTRANCE,
    {"refused_by_attendant": Key.REFUSED_BY_ATTENDANT},
    MASK,
)
REFUSALS = {reason: key for group in GROUPS for reason, key in group.items()}


def decision(
    verdict: Verdict,
    *reasons: str,
    disposition: Disposition = Disposition.NONE,
    curable: tuple[str, ...] = (),
    also: tuple[Finding, ...] = (),
) -> Decision:
    findings = tuple(Finding("R-1", verdict, reason, disposition) for reason in reasons)
    cures = tuple(Finding("R-3", verdict, reason, disposition, curable=True) for reason in curable)
    return Decision(verdict, disposition, cures + findings + also, "plan", "0" * 64)


@pytest.mark.parametrize(
    ("mode", "key", "signal"),
    [
        (Mode.SERVING, Key.WELCOME, LightSignal.OFF),
        (Mode.SUSPENDED, Key.SUSPENDED, LightSignal.OFF),
        (Mode.CLOSED_HOURS, Key.CLOSED_HOURS, LightSignal.OFF),
        (Mode.DEGRADED, Key.SEE_STAFF, LightSignal.OFF),
        (Mode.FAULT, Key.GATE_FAULT, LightSignal.STOP),
        (Mode.EVACUATING, Key.EVACUATE, LightSignal.EVACUATE),
    ],
)
def test_without_a_visit(mode: Mode, key: Key, signal: LightSignal) -> None:
    assert idle_screen(mode) == Show(key, signal)


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_has_a_screen(mode: Mode) -> None:
    assert isinstance(idle_screen(mode), Show)


def test_every_reason_has_been_thought_of() -> None:
    """The words are those of the rules (see test_texts): whoever adds one says here what a visitor reads."""
    assert {*NO_SCREEN, *REFERRALS, *REFUSALS} == set(LANGUAGES["zh"].reasons)
    assert not NO_SCREEN & {*REFERRALS, *REFUSALS}


# --- to the person on duty


@pytest.mark.parametrize(("reason", "key"), REFERRALS.items())
def test_referred_for_one_reason(reason: str, key: Key) -> None:
    assert referral_screen(decision(Verdict.REFER, reason)) == Show(key, LightSignal.ATTENTION)


@pytest.mark.parametrize(
    ("reasons", "key"),
    [
        (["code_missing", "mask_unknown"], Key.SEE_STAFF),
        (["code_missing", "temperature_unmeasurable"], Key.SEE_STAFF),
        (["service_timeout", "id_unchecked"], Key.SEE_STAFF),
        (["full", "unknown_to_this_table"], Key.SEE_STAFF),
        (["hours_unknown", "clock_untrusted"], Key.CLOCK_UNTRUSTED),
        (["risk_areas_stale", "revocations_stale"], Key.SERVICE_UNAVAILABLE),
        (["occupancy_stale", "risk_areas_stale"], Key.SEE_STAFF),
        (["temperature_fever", "mask_unknown"], Key.SEE_STAFF),
        (["pass_missing", "mask_unknown"], Key.SEE_STAFF),
    ],
)
def test_several_things_are_for_staff_to_say_unless_they_read_the_same(reasons: list[str], key: Key) -> None:
    assert referral_screen(decision(Verdict.REFER, *reasons)).key is key


@pytest.mark.parametrize(
    ("reasons", "key"),
    [
        (["not_checkable", "registration_missing"], Key.CODE_CANNOT_VERIFY),
        (["service_error", "travel_unknown", "registration_missing"], Key.SERVICE_UNAVAILABLE),
        (["code_missing", "travel_unknown"], Key.SEE_STAFF),
        (["travel_unknown", "registration_missing"], Key.SEE_STAFF),
    ],
)
def test_what_follows_from_a_cause_is_not_named_beside_it(reasons: list[str], key: Key) -> None:
    assert referral_screen(decision(Verdict.REFER, *reasons)).key is key


def test_a_referral_looks_at_what_decided_only() -> None:
    milder = (Finding("R-2", Verdict.RETEST, "temperature_raised"),)
    assert referral_screen(decision(Verdict.REFER, "full", also=milder)).key is Key.FULL


@pytest.mark.parametrize(
    ("reason", "sent", "turned_away"),
    [
        ("temperature_fever", Key.MEASURED_BY_STAFF, Key.REFUSED_FEVER_CLINIC),
        ("pass_missing", Key.PASS_MISSING, Key.PASS_MISSING),
    ],
)
def test_who_leaves_is_sent_to_the_person_on_duty_where_others_are_turned_away(
    reason: str, sent: Key, turned_away: Key
) -> None:
    clinic = Disposition.FEVER_CLINIC
    referred = decision(Verdict.REFER, reason, disposition=clinic)
    assert referral_screen(referred) == Show(sent, LightSignal.ATTENTION)
    refused = decision(Verdict.REFUSE, reason, disposition=clinic)
    assert refusal_screen(refused) == Show(turned_away, LightSignal.STOP)


# --- turned away


@pytest.mark.parametrize(("reason", "key"), REFUSALS.items())
def test_refused_for_one_reason(reason: str, key: Key) -> None:
    assert refusal_screen(decision(Verdict.REFUSE, reason)) == Show(key, LightSignal.STOP)


@pytest.mark.parametrize(("graver", "milder"), list(combinations(GROUPS, 2)))
def test_the_gravest_is_named(graver: dict[str, Key], milder: dict[str, Key]) -> None:
    for grave, mild in product(graver, milder):
        assert refusal_screen(decision(Verdict.REFUSE, mild, grave)).key is REFUSALS[grave]


def test_a_closed_hall_is_said_before_a_wrong_booking() -> None:
    assert (
        refusal_screen(decision(Verdict.REFUSE, "appointment_early", "closed_hours")).key is Key.CLOSED_HOURS
    )
    assert refusal_screen(decision(Verdict.REFUSE, "closed_hours", "suspended")).key is Key.SUSPENDED


@pytest.mark.parametrize(
    ("reasons", "curable", "key"),
    [
        (["suspended"], ["expired"], Key.SUSPENDED),
        (["refused_by_attendant"], ["not_resident", "mask_missing"], Key.REFUSED_BY_ATTENDANT),
        ([], ["mask_missing", "not_resident"], Key.NOT_RESIDENT),
        ([], ["not_resident", "expired"], Key.REFUSED_CODE_EXPIRED),
    ],
)
def test_nobody_is_asked_to_cure_what_would_not_help(
    reasons: list[str], curable: list[str], key: Key
) -> None:
    assert refusal_screen(decision(Verdict.REFUSE, *reasons, curable=tuple(curable))).key is key


PLACES = {
    Disposition.NONE: (Key.REFUSED_FEVER, Key.SYMPTOMS),
    Disposition.WEAR_MASK: (Key.REFUSED_FEVER, Key.SYMPTOMS),
    Disposition.OBSERVE_AT_HOME: (Key.REFUSED_OBSERVE_AT_HOME, Key.SYMPTOMS_OBSERVE_AT_HOME),
    Disposition.FEVER_CLINIC: (Key.REFUSED_FEVER_CLINIC, Key.SYMPTOMS_FEVER_CLINIC),
    Disposition.ISOLATE_AND_CALL_120: (
        Key.REFUSED_ISOLATE_AND_CALL_120,
        Key.SYMPTOMS_ISOLATE_AND_CALL_120,
    ),
}


@pytest.mark.parametrize("disposition", Disposition)
def test_every_disposition_says_where_to_go(disposition: Disposition) -> None:
    fever, symptoms = PLACES[disposition]
    for reasons, key in (
        (["status_red", "temperature_fever"], fever),
        (["symptoms", "temperature_fever"], fever),
        (["mask_missing", "symptoms"], symptoms),
        (["mask_missing"], Key.REFUSED_WEAR_MASK),
    ):
        assert refusal_screen(decision(Verdict.REFUSE, *reasons, disposition=disposition)).key is key


def test_a_positive_test_is_not_called_a_fever() -> None:
    isolated = decision(Verdict.REFUSE, "test_positive", disposition=Disposition.ISOLATE_AND_CALL_120)
    assert refusal_screen(isolated).key is Key.TEST_POSITIVE


@pytest.mark.parametrize(
    ("reasons", "key"),
    [
        (["id_unchecked"], Key.ID_UNCHECKED),
        (["registration_missing"], Key.REGISTRATION_MISSING),
        (["mask_unknown", "full"], Key.SEE_STAFF),
    ],
)
def test_confirmed_while_something_is_still_missing(reasons: list[str], key: Key) -> None:
    assert refusal_screen(decision(Verdict.REFER, *reasons)) == Show(key, LightSignal.STOP)


# --- asked to put something right


@pytest.mark.parametrize(
    ("curable", "key"),
    [
        (["mask_missing"], Key.MASK_PLEASE),
        (["expired"], Key.REFUSED_CODE_EXPIRED),
        (["not_yet_valid"], Key.REFUSED_CODE_NOT_YET_VALID),
        (["not_resident"], Key.NOT_RESIDENT),
        (["mask_missing", "expired"], Key.REFUSED_CODE_EXPIRED),
    ],
)
def test_asked_to_put_something_right(curable: list[str], key: Key) -> None:
    asked = decision(Verdict.REFUSE, curable=tuple(curable), disposition=Disposition.WEAR_MASK)
    assert curing_screen(asked) == Show(key, LightSignal.WAIT)
