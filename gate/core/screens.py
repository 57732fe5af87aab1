"""Which text and which lights go with a mode, a referral or a refusal."""

from typing import Final

from gate.core.effects import LightSignal, Show
from gate.core.mode import Mode
from gate.core.policy import Decision, Disposition
from gate.core.texts import Key

# No red light where staff and residents still pass.
_IDLE: Final = {
    Mode.SERVING: Show(Key.WELCOME, LightSignal.OFF),
    Mode.SUSPENDED: Show(Key.SUSPENDED, LightSignal.OFF),
    Mode.CLOSED_HOURS: Show(Key.CLOSED_HOURS, LightSignal.OFF),
    Mode.DEGRADED: Show(Key.SEE_STAFF, LightSignal.OFF),
    Mode.FAULT: Show(Key.GATE_FAULT, LightSignal.STOP),
    Mode.EVACUATING: Show(Key.EVACUATE, LightSignal.EVACUATE),
}
# What is not here goes to staff without more words: the person on duty sees every reason.
_REFERRALS: Final = {
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
# Without a code nobody is registered and no travel is known: what comes of it is not named beside its cause.
_FOLLOW: Final = {"travel_unknown", "registration_missing"}
# The gravest first: the body, the code and the risk, what this entrance asks for, the attendant, the mask.
_REFUSALS: Final = {
    "temperature_fever": Key.REFUSED_FEVER,
    "test_positive": Key.TEST_POSITIVE,
    "symptoms": Key.SYMPTOMS,
    "status_red": Key.REFUSED_STATUS,
    "status_yellow": Key.REFUSED_STATUS,
    "bad_signature": Key.REFUSED_CODE_NOT_VALID,
    "revoked": Key.REVOKED,
    "expired": Key.REFUSED_CODE_EXPIRED,
    "not_yet_valid": Key.REFUSED_CODE_NOT_YET_VALID,
    "risk_area": Key.RISK_AREA,
    "test_missing": Key.TEST_MISSING,
    "test_too_old": Key.TEST_TOO_OLD,
    "suspended": Key.SUSPENDED,
    "closed_hours": Key.CLOSED_HOURS,
    "not_resident": Key.NOT_RESIDENT,
    "exception_incomplete": Key.EXCEPTION_INCOMPLETE,
    "appointment_missing": Key.APPOINTMENT_MISSING,
    "appointment_used": Key.APPOINTMENT_USED,
    "appointment_booked_late": Key.APPOINTMENT_BOOKED_LATE,
    "appointment_early": Key.APPOINTMENT_EARLY,
    "appointment_late": Key.APPOINTMENT_LATE,
    "pass_missing": Key.PASS_MISSING,
    "pass_outside_hours": Key.PASS_OUTSIDE_HOURS,
    "pass_used_up": Key.PASS_USED_UP,
    "refused_by_attendant": Key.REFUSED_BY_ATTENDANT,
    "mask_missing": Key.REFUSED_WEAR_MASK,
}
# Where the plan says where to go next.
_PLACES: Final = {
    (Key.REFUSED_FEVER, Disposition.OBSERVE_AT_HOME): Key.REFUSED_OBSERVE_AT_HOME,
    (Key.REFUSED_FEVER, Disposition.FEVER_CLINIC): Key.REFUSED_FEVER_CLINIC,
    (Key.REFUSED_FEVER, Disposition.ISOLATE_AND_CALL_120): Key.REFUSED_ISOLATE_AND_CALL_120,
    (Key.SYMPTOMS, Disposition.OBSERVE_AT_HOME): Key.SYMPTOMS_OBSERVE_AT_HOME,
    (Key.SYMPTOMS, Disposition.FEVER_CLINIC): Key.SYMPTOMS_FEVER_CLINIC,
    (Key.SYMPTOMS, Disposition.ISOLATE_AND_CALL_120): Key.SYMPTOMS_ISOLATE_AND_CALL_120,
}
# What reads otherwise while it can still be put right.
_CURES: Final = {Key.REFUSED_WEAR_MASK: Key.MASK_PLEASE}


def idle_screen(mode: Mode) -> Show:
    """Return what is shown while no visit is under way."""
    return _IDLE[mode]


def referral_screen(decision: Decision) -> Show:
    """Return what a visitor reads who is sent to the person on duty; what stands alone is named."""
    return Show(_referral_key(decision), LightSignal.ATTENTION)


def curing_screen(decision: Decision) -> Show:
    """Return what a visitor reads who can put something right now."""
    key = _refusal_key(decision)
    return Show(_CURES.get(key, key), LightSignal.WAIT)


def refusal_screen(decision: Decision) -> Show:
    """Return what a visitor reads who is turned away: the gravest reason, and where to go."""
    return Show(_refusal_key(decision), LightSignal.STOP)


def _referral_key(decision: Decision) -> Key:
    reasons = {finding.reason for finding in decision.deciding}
    keys = {_REFERRALS.get(reason, Key.SEE_STAFF) for reason in reasons - _FOLLOW or reasons}
    return keys.pop() if len(keys) == 1 else Key.SEE_STAFF


def _refusal_key(decision: Decision) -> Key:
    # Nobody is asked to renew a code who may not enter with a new one either: curable reasons come last.
    lasting = {finding.reason for finding in decision.deciding if not finding.curable}
    reasons = lasting or {finding.reason for finding in decision.deciding}
    key = next((key for reason, key in _REFUSALS.items() if reason in reasons), None)
    if key is None:  # the person on duty has confirmed what still lacks something
        return _referral_key(decision)
    return _PLACES.get((key, decision.disposition), key)
