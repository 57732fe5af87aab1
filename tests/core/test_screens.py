"""Which screen goes with what: one for every mode, one for every reason to send somebody elsewhere."""

import pytest

from gate.core.effects import LightSignal, Show
from gate.core.mode import Mode
from gate.core.policy import Decision, Disposition, Finding, Verdict
from gate.core.screens import curing_screen, idle_screen, referral_screen, refusal_screen
from gate.core.texts import Key


def decision(
    verdict: Verdict,
    *reasons: str,
    disposition: Disposition = Disposition.NONE,
    also: tuple[Finding, ...] = (),
) -> Decision:
    findings = tuple(Finding("R-1", verdict, reason, disposition) for reason in reasons)
    return Decision(verdict, disposition, findings + also, "plan", "0" * 64)


@pytest.mark.parametrize(
    ("mode", "key", "signal"),
    [
        (Mode.SERVING, Key.WELCOME, LightSignal.OFF),
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


@pytest.mark.parametrize(
    ("reasons", "key"),
    [
        (["code_missing"], Key.SEE_STAFF),
        (["multiple_codes"], Key.SEE_STAFF),
        (["not_checkable", "registration_missing"], Key.CODE_CANNOT_VERIFY),
        (["not_checkable"], Key.CODE_CANNOT_VERIFY),
        (["temperature_unmeasurable"], Key.SENSOR_FAULT),
        (["temperature_uncertain"], Key.SEE_STAFF),
        (["mask_unknown"], Key.SEE_STAFF),
        (["code_missing", "mask_unknown"], Key.SEE_STAFF),
        (["code_missing", "temperature_unmeasurable"], Key.SEE_STAFF),
    ],
)
def test_referred(reasons: list[str], key: Key) -> None:
    assert referral_screen(decision(Verdict.REFER, *reasons)) == Show(key, LightSignal.ATTENTION)


def test_a_referral_looks_at_what_decided_only() -> None:
    milder = (Finding("R-2", Verdict.ADMIT, "mask_worn"),)
    assert (
        referral_screen(decision(Verdict.REFER, "not_checkable", also=milder)).key is Key.CODE_CANNOT_VERIFY
    )


REFUSALS = [
    (["expired"], Disposition.NONE, Key.REFUSED_CODE_EXPIRED),
    (["bad_signature"], Disposition.NONE, Key.REFUSED_CODE_NOT_VALID),
    (["not_yet_valid"], Disposition.NONE, Key.REFUSED_CODE_NOT_VALID),
    (["status_yellow"], Disposition.NONE, Key.REFUSED_STATUS),
    (["status_red"], Disposition.NONE, Key.REFUSED_STATUS),
    (["refused_by_attendant"], Disposition.NONE, Key.REFUSED_BY_ATTENDANT),
    (["mask_missing", "expired"], Disposition.WEAR_MASK, Key.REFUSED_CODE_EXPIRED),
    (["temperature_fever"], Disposition.NONE, Key.REFUSED_FEVER),
    (["temperature_fever", "status_red"], Disposition.WEAR_MASK, Key.REFUSED_FEVER),
    (["temperature_fever"], Disposition.OBSERVE_AT_HOME, Key.REFUSED_OBSERVE_AT_HOME),
    (["temperature_fever"], Disposition.FEVER_CLINIC, Key.REFUSED_FEVER_CLINIC),
    (["status_red", "temperature_fever"], Disposition.ISOLATE_AND_CALL_120, Key.REFUSED_ISOLATE_AND_CALL_120),
]


@pytest.mark.parametrize(("reasons", "disposition", "key"), REFUSALS)
def test_refused(reasons: list[str], disposition: Disposition, key: Key) -> None:
    refused = decision(Verdict.REFUSE, *reasons, disposition=disposition)
    assert refusal_screen(refused) == Show(key, LightSignal.STOP)


def test_refused_without_a_mask_and_asked_to_put_one_on() -> None:
    missing = decision(Verdict.REFUSE, "mask_missing", disposition=Disposition.WEAR_MASK)
    assert refusal_screen(missing) == Show(Key.REFUSED_WEAR_MASK, LightSignal.STOP)
    assert curing_screen(missing) == Show(Key.MASK_PLEASE, LightSignal.WAIT)


def test_asked_for_another_code() -> None:
    expired = decision(Verdict.REFUSE, "expired")
    assert curing_screen(expired) == Show(Key.REFUSED_CODE_EXPIRED, LightSignal.WAIT)


@pytest.mark.parametrize("disposition", Disposition)
def test_every_disposition_has_a_screen(disposition: Disposition) -> None:
    assert isinstance(refusal_screen(decision(Verdict.REFUSE, "x", disposition=disposition)), Show)
