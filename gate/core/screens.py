"""Which text and which lights go with a mode, a referral or a refusal."""

from typing import Final

from gate.core.effects import LightSignal, Show
from gate.core.mode import Mode
from gate.core.policy import Decision, Disposition
from gate.core.texts import Key

_IDLE: Final = {
    Mode.SERVING: Show(Key.WELCOME, LightSignal.OFF),
    Mode.DEGRADED: Show(Key.SEE_STAFF, LightSignal.OFF),
    Mode.FAULT: Show(Key.GATE_FAULT, LightSignal.STOP),
    Mode.EVACUATING: Show(Key.EVACUATE, LightSignal.EVACUATE),
}
_REFERRALS: Final = {
    "not_checkable": Key.CODE_CANNOT_VERIFY,
    "temperature_unmeasurable": Key.SENSOR_FAULT,
}
_REFUSALS: Final = {
    "expired": Key.REFUSED_CODE_EXPIRED,
    "bad_signature": Key.REFUSED_CODE_NOT_VALID,
    "not_yet_valid": Key.REFUSED_CODE_NOT_VALID,
    "status_yellow": Key.REFUSED_STATUS,
    "status_red": Key.REFUSED_STATUS,
    "refused_by_attendant": Key.REFUSED_BY_ATTENDANT,
}


def idle_screen(mode: Mode) -> Show:
    """Return what is shown while no visit is under way."""
    return _IDLE[mode]


def referral_screen(decision: Decision) -> Show:
    """Return what a visitor reads who is sent to the person on duty; a reason that stands alone is named."""
    # Without a code nobody is registered either: what comes of it is not named beside its cause.
    reasons = {finding.reason for finding in decision.deciding} - {"registration_missing"}
    known = [key for reason, key in _REFERRALS.items() if reason in reasons]
    return Show(known[0] if len(reasons) == 1 and known else Key.SEE_STAFF, LightSignal.ATTENTION)


def curing_screen(decision: Decision) -> Show:
    """Return what a visitor reads who can put something right now."""
    return Show(_refusal_key(decision, Key.MASK_PLEASE), LightSignal.WAIT)


def refusal_screen(decision: Decision) -> Show:
    """Return what a visitor reads who is turned away: why, and where to go."""
    return Show(_refusal_key(decision, Key.REFUSED_WEAR_MASK), LightSignal.STOP)


def _refusal_key(decision: Decision, mask: Key) -> Key:
    """The gravest thing first: fever, then the code or the attendant, then the mask."""
    if decision.disposition not in {Disposition.NONE, Disposition.WEAR_MASK}:
        return Key(f"refused_{decision.disposition}")
    reasons = {finding.reason for finding in decision.deciding}
    if "temperature_fever" in reasons:
        return Key.REFUSED_FEVER
    return next((key for reason, key in _REFUSALS.items() if reason in reasons), mask)
